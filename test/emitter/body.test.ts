import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkCall } from '../../schemas/check.js';
import { sortedJson } from '../../services/emitter/arguments-hash.js';
import { boundBody, serialise } from '../../services/emitter/body.js';
import { CallText } from '../../services/emitter/call-text.js';
import { Notes, Redactor } from '../../services/emitter/redaction.js';

const redactor = new Redactor();
const bound = (value: unknown, limits: { maxBytes: number; maxStringLength: number; maxDepth: number }) =>
  boundBody(serialise(value), 'arguments', redactor, limits, new Notes());

describe('a body', () => {
  it('is JSON within every limit, says when it was cut, and is untouched when it was not', () => {
    const limits = fc.record({
      maxBytes: fc.integer({ min: 1024, max: 5000 }),
      maxStringLength: fc.integer({ min: 64, max: 2000 }),
      maxDepth: fc.integer({ min: 1, max: 8 }),
    });
    const value = fc.jsonValue({ maxDepth: 12 });
    const big = fc.oneof(value, fc.array(value, { maxLength: 200 }), fc.string({ maxLength: 9000, unit: 'binary' }));
    fc.assert(
      fc.property(big, limits, (each, given) => {
        const { text, truncated } = bound(each, given);
        expect(Buffer.byteLength(text)).toBeLessThanOrEqual(given.maxBytes);
        const kept: unknown = JSON.parse(text);
        expect(depthOf(kept)).toBeLessThanOrEqual(given.maxDepth + 1);
        if (!truncated) expect(kept).toEqual(JSON.parse(serialise(each)));
      }),
      { numRuns: 60 },
    );
  });

  it('keeps the beginning of what is too long', () => {
    const { text, truncated } = bound(
      { first: 1, list: Array.from({ length: 1000 }, (_, n) => n), last: 2 },
      { maxBytes: 1024, maxStringLength: 100, maxDepth: 5 },
    );
    expect(truncated).toBe(true);
    expect(JSON.parse(text)).toMatchObject({ first: 1, list: expect.arrayContaining([0, 1, 2, 100]) });
  });

  it.each([
    ['a cycle', cyclic(), '[cycle]'],
    ['a BigInt', { n: 10n ** 30n }, '1000000000000000000000000000000'],
    [
      'a getter that throws',
      {
        get x() {
          throw new Error('no');
        },
      },
      '[unreadable]',
    ],
    [
      'toJSON that throws',
      {
        x: {
          toJSON() {
            throw new Error('no');
          },
        },
      },
      'x',
    ],
    [
      'a proxy that refuses',
      new Proxy(
        {},
        {
          ownKeys() {
            throw new Error('no');
          },
        },
      ),
      '[unreadable]',
    ],
    ['depth beyond the stack', nested(200_000), '[too deep]'],
    ['a lone surrogate', { x: '\ud800' }, 'd800'],
    ['__proto__ as a name', JSON.parse('{"__proto__":{"x":1}}'), '__proto__'],
    ['undefined in an array', [undefined, () => 1, Symbol('s')], 'null'],
  ])('of %s is recorded without an exception', (_what, value, expected) => {
    const { text } = bound(value, { maxBytes: 65_536, maxStringLength: 32_768, maxDepth: 64 });
    expect(() => JSON.parse(text)).not.toThrow();
    expect(text).toContain(expected);
  });
});

describe('text of an event', () => {
  it('passes the check of the gateway, whatever the fields are', () => {
    const text = new CallText({}, () => Buffer.alloc(32, 1));
    const any = fc.string({ maxLength: 3000, unit: 'binary' });
    const short = fc.string({ maxLength: 300, unit: 'binary' });
    const call = fc.record({
      method: short.filter((method) => method !== ''),
      toolName: any,
      resourceUri: any,
      promptName: short,
      requestId: short,
      taskId: short,
      arguments: fc.anything(),
      attributes: fc.dictionary(short, short, { maxKeys: 80 }),
    });
    const fields = fc.record({
      client_name: any,
      session_id: any,
      actor_id: any,
      tool_read_only: fc.constantFrom(true, false, null),
    });
    const end = fc.record({
      errorMessage: any,
      errorType: short,
      errorCode: fc.integer(),
      taskId: short,
      result: fc.anything(),
    });
    fc.assert(
      fc.property(call, fields, end, (given, common, ended) => {
        const begun = text.beginning({ ...given, common: [text.common(common)] });
        const head = '{"event_id":"019ab3f0-8c1b-7001-9f3e-5d2c8a417be6","occurred_at":"2026-11-24T03:52:00.123456Z"';
        const whole = `${head}${begun.text},"outcome":"success"${text.end(begun, { outcome: 'success', ...ended })}`;
        const alone = `${head}${begun.text},${begun.alone}"outcome":"no_response"}`;
        const shortest = `${head}${begun.text},"outcome":"success"${text.shortestEnd(begun)}`;
        for (const line of [whole, alone, shortest]) {
          const checked = checkCall(Buffer.from(line), { tenant: 'default', producer_key: 'k' });
          expect(checked.ok ? '' : checked.message).toBe('');
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe('text that is hashed', () => {
  it('is the same for the same arguments in another order, and differs for others', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(sortedJson(JSON.stringify(reversed(a)))).toBe(sortedJson(JSON.stringify(a)));
        const same = sortedJson(JSON.stringify(a)) === sortedJson(JSON.stringify(b));
        expect(same).toBe(JSON.stringify(sortedValue(a)) === JSON.stringify(sortedValue(b)));
      }),
    );
  });
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, each]) => [name, reversed(each)]),
  );
}

/** The value with the members of objects in the order of their names. */
function sortedValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedValue);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return { members: members.map(([name, each]) => [name, sortedValue(each)]) };
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

function cyclic(): unknown {
  const value: Record<string, unknown> = { a: 1 };
  value.self = value;
  return value;
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = { value };
  return value;
}
