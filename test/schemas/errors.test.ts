import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { errorCatalogue } from '../../schemas/errors.js';

const page = readFileSync(join(resolve(import.meta.dirname, '..', '..'), 'docs', 'errors.md'), 'utf8');
const documented = [...page.matchAll(/^## `([a-z_]+)`\n\n([\s\S]*?)(?=\n## |$(?![\s\S]))/gm)];

test('every error of the catalogue is on the page, and nothing else is', () => {
  expect(documented.map((match) => match[1])).toEqual(Object.keys(errorCatalogue).sort());
});

test('the page says for each how to mend it and whether to try again', () => {
  for (const [, code, text] of documented) {
    const entry = errorCatalogue[code as keyof typeof errorCatalogue];
    expect(text, code).toContain(entry.mend);
    expect(text, code).toContain(entry.retriable ? 'May pass: try again.' : 'Does not pass by itself.');
  }
});
