import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { generatedFiles } from '../../schemas/generate.js';

describe('generated files', () => {
  it.each([...generatedFiles()])('%s is what npm run generate makes', (path, text) => {
    const committed = readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
    expect(committed).toBe(text);
  });
});
