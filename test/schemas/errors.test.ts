import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { errorCatalogue } from '../../schemas/errors.js';

const root = resolve(import.meta.dirname, '..', '..');

function text(directory: string): string {
  return readdirSync(join(root, directory), { withFileTypes: true })
    .map((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return ['dist', 'node_modules'].includes(entry.name) ? '' : text(path);
      return entry.name.endsWith('.ts') && path !== join('schemas', 'errors.ts')
        ? readFileSync(join(root, path), 'utf8')
        : '';
    })
    .join('\n');
}

test('every code of the catalogue is used, so the page promises no error that cannot happen', () => {
  const sources = text('services') + text('schemas');
  expect(Object.keys(errorCatalogue).filter((code) => !sources.includes(`'${code}'`))).toEqual([]);
});
