/** The schema that editors use says of rule files what the loader says, as far as a schema can. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

const root = join(import.meta.dirname, '..', '..');
const schema = JSON.parse(readFileSync(join(root, 'schemas', 'rule.schema.json'), 'utf8'));
const valid = new Ajv2020({ strict: false, allErrors: true }).compile(schema);
const mistakesOf = (text: string): string[] =>
  valid(parse(text)) ? [] : (valid.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`);

const pack = readdirSync(join(root, 'rules')).filter((name) => name.endsWith('.yaml'));
test.each(pack)('rules/%s is as the schema says', (name) => {
  expect(mistakesOf(readFileSync(join(root, 'rules', name), 'utf8'))).toEqual([]);
});

const guide = readFileSync(join(root, 'docs', 'rules.md'), 'utf8');
const examples = [...guide.matchAll(/```yaml\n([\s\S]*?)```/g)]
  .map(([, text]) => text as string)
  // Whole files of our own language; Sigma's has a schema of its own.
  .filter((text) => /^(rules|lists|macros|calendars|tune):/m.test(text));
test('the examples of docs/rules.md are as the schema says', () => {
  expect(examples.length).toBeGreaterThan(3);
  for (const text of examples) expect(mistakesOf(text), text).toEqual([]);
});

describe('what the loader refuses for its shape, the schema refuses too', () => {
  test.each([
    ['an unknown key', 'rules: [{id: x, detectoin: {s: {tool: a}}}]'],
    ['an unknown key of the file', 'ruels: []'],
    ['an unknown level', 'rules: [{id: x, level: sever, detection: {s: {tool: a}}}]'],
    ['an unknown type', 'rules: [{id: x, type: event_cuont, detection: {s: {tool: a}}}]'],
    ['a rule without an id', 'rules: [{detection: {s: {tool: a}}}]'],
    ['text for a switch', 'rules: [{id: x, enabled: "no", detection: {s: {tool: a}}}]'],
  ])('%s', (_, text) => {
    expect(mistakesOf(text)).not.toEqual([]);
  });
});
