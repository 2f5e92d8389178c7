/** What the demo uses of the official SDK, which is there in a clone only and is therefore loaded by its path. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { AuditdError } from '../../../schemas/errors.js';

export type Transport = object;

export interface Client {
  connect(transport: Transport): Promise<void>;
  request(message: { method: string; params?: object }, schema: unknown): Promise<unknown>;
  close(): Promise<void>;
}

/** The root of the package: where node_modules of a clone lies. */
export function packageRoot(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    if (existsSync(join(at, 'package.json')) && existsSync(join(at, 'schemas', 'clickhouse'))) return at;
    if (dirname(at) === at) throw new AuditdError('package_missing', 'The package of mcp-auditd is not complete.');
  }
}

/** Path of a file of an installed package. Throws `package_missing`. */
export function packageFile(root: string, name: string, file: string): string {
  const path = join(root, 'node_modules', name, file);
  if (!existsSync(path)) throw new AuditdError('package_missing', `The demo needs ${name}, which is not installed.`);
  return path;
}

/** A module of the SDK. */
export async function importSdk<Module>(root: string, file: string): Promise<Module> {
  const path = packageFile(root, '@modelcontextprotocol/sdk', join('dist', 'esm', file));
  return (await import(pathToFileURL(path).href)) as Module;
}
