import { createRequire } from 'node:module';

/** The version of this package, whether it runs from its sources or from dist/. */
export function packageVersion(): string {
  const require = createRequire(import.meta.url);
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = require(path) as { name?: string; version?: string };
      if (name === 'mcp-auditd' && version !== undefined) return version;
    } catch {
      // It is at the other place.
    }
  }
  throw new Error('package.json of mcp-auditd is not where it belongs');
}
