import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));

/**
 * Builds the emitter's package, for what is measured to be what ships: tsx gives every function a name at run time, which
 * costs a call through the proxy 15 µs.
 */
export function buildEmitter(): void {
  execFileSync('npx', ['tsc', '-p', 'services/emitter/tsconfig.json'], { cwd: root, stdio: 'inherit' });
}

/** The package as it was built last. */
export async function builtEmitter(): Promise<typeof import('../../../services/emitter/index.js')> {
  const index = new URL('../../../services/emitter/dist/services/emitter/index.js', import.meta.url);
  return (await import(index.href)) as typeof import('../../../services/emitter/index.js');
}
