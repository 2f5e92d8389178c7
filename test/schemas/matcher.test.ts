import fc from 'fast-check';
import { RE2JS } from 're2js';
import { describe, expect, test } from 'vitest';
import { allMatch, parseMatcher } from '../../schemas/matcher.js';

const labels = new Map([
  ['level', ['high']],
  ['actor', ['svc-batch']],
  ['tag', ['attack.t1078', 'owasp.llm01']],
]);

test.each([
  ['actor=svc-batch', true],
  ['actor="svc-batch"', true],
  ['actor != svc-batch', false],
  ['actor=~svc-.*', true],
  ['actor=~svc', false],
  ['actor!~alice|bob', true],
  ['level>=medium', true],
  ['level>=critical', false],
  ['level<=high', true],
  ['tag=owasp.llm01', true],
  ['tag!=owasp.llm01', false],
  ['tag=~attack\\..*', true],
  ['missing=', true],
  ['missing!=x', true],
  ['missing=~.+', false],
])('%s is %s', (text, expected) => {
  expect(parseMatcher(text).test(labels)).toBe(expected);
});

test.each([
  ['level', 'is no matcher, expected LABEL= LABEL!= LABEL=~ LABEL!~ LABEL>= LABEL<= with a value'],
  ['level>=urgent', '"urgent" is no level, expected one of informational, low, medium, high, critical'],
  ['actor>=b', '>= orders levels only, and "actor" is none'],
  ['actor=~(', '"(" is no expression that RE2 takes'],
  [`actor=${'x'.repeat(2_000)}`, 'is no matcher'],
])('%s is refused', (text, message) => {
  expect(() => parseMatcher(text)).toThrow(message);
});

describe('expressions', () => {
  test('plain words with | between them mean what RE2 says they mean', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', '|', '-', '_', '@', '/', ':', ' ', '0'), maxLength: 8 });
    fc.assert(
      fc.property(word, word, (expression, value) => {
        const trimmed = expression.trim();
        const ours = parseMatcher(`x=~${trimmed}`).test(new Map([['x', [value]]]));
        expect(ours).toBe(RE2JS.compile(trimmed).matches(value));
      }),
      { numRuns: 2_000 },
    );
  });

  test('an expression that explodes elsewhere takes no time', () => {
    const matcher = parseMatcher('actor=~(a+)+b');
    expect(matcher.test(new Map([['actor', ['a'.repeat(100_000)]]]))).toBe(false);
  });
});

test('no matcher at all matches everything', () => {
  expect(allMatch([], labels)).toBe(true);
  expect(allMatch([parseMatcher('level=high'), parseMatcher('actor=alice')], labels)).toBe(false);
});
