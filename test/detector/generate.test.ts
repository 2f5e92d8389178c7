import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { generatedRuleFiles } from '../../services/detector/generate.js';

test.each([...generatedRuleFiles])('%s is what npm run generate makes', (path, make) => {
  expect(readFileSync(join(import.meta.dirname, '..', '..', path), 'utf8')).toBe(make());
});
