/** Malformed, hostile and odd JSON-RPC from a seed, fast enough for millions. */
import { messageKind } from '../../services/emitter/messages.js';

/** Numbers that follow from a seed (mulberry32): a failure is found again by its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0, below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

const methods = [
  ...[
    'initialize',
    'tools/call',
    'tools/list',
    'resources/read',
    'prompts/get',
    'ping',
    'tasks/get',
    'server/discover',
  ],
  ...[
    'notifications/cancelled',
    'sampling/createMessage',
    'elicitation/create',
    '__proto__',
    'constructor',
    '',
    'é\u0000',
  ],
];
const values: readonly unknown[] = [
  ...[null, true, -1, 0, 1e308, 1.5, '', 'text', 'é€😀', '\ud800', '\u0000\n\r', [], {}, [[]], { a: { b: [1] } }],
  ...['__proto__', { constructor: 1 }, 'password=hunter2', { token: 'abc' }, 'x'.repeat(300), { toString: null }],
];
const ids: readonly unknown[] = [0, 1, 2, 3, 'a', '', null, 1.5, -0, 'constructor', '__proto__', {}, [], true];
const odd: readonly string[] = [
  '',
  ' ',
  '{',
  '[',
  '}',
  '"',
  'nul',
  '{"a":1,"a":2}',
  '\ufeff{}',
  '[]',
  '[[]]',
  '-',
  '0',
  '\t{}\t',
];
const results: readonly unknown[] = [
  ...[
    {},
    { isError: true },
    { content: [{ type: 'text', text: 'x' }] },
    { tools: [{ name: 'echo' }, null, { name: 3 }] },
  ],
  ...[{ serverInfo: { name: 'fuzz', version: 1 } }, { task: { taskId: 't' } }, { resultType: 'input_required' }],
];

/** The text of one message, or of something that is none; without line ends, so that it can be a line. */
export function fuzzText(random: Random): string {
  const kind = random.below(20);
  if (kind < 2) return random.of(odd);
  if (kind === 2) return '['.repeat(random.below(3000));
  const text = JSON.stringify(kind === 3 ? batch(random) : message(random));
  if (kind === 4) return text.slice(0, random.below(text.length));
  if (kind === 5) {
    const at = random.below(text.length);
    return text.slice(0, at) + random.of(['\\', '"', '\u0001', '\ud83d', '}{', ',']) + text.slice(at);
  }
  return text;
}

function batch(random: Random): unknown[] {
  return Array.from({ length: random.below(4) }, () => (random.below(8) === 0 ? random.of(values) : message(random)));
}

function message(random: Random): unknown {
  const kind = random.below(12);
  if (kind === 0) return random.of(values);
  const made: Record<string, unknown> = { jsonrpc: random.of(['2.0', '2.0', '2.0', '1.0', 2]) };
  if (random.below(8) !== 0) made.id = random.of(ids);
  if (kind < 7) {
    made.method = random.below(12) === 0 ? random.of(values) : random.of(methods);
    if (random.below(4) !== 0) made.params = params(random);
  } else if (kind < 10) made.result = random.below(4) === 0 ? random.of(values) : random.of(results);
  else
    made.error =
      random.below(3) === 0
        ? random.of(values)
        : { code: random.of([429, -32000, 'x', null]), message: random.of(values) };
  return made;
}

function params(random: Random): unknown {
  if (random.below(6) === 0) return random.of(values);
  return {
    name: random.below(2) === 0 ? 'echo' : random.of(values),
    arguments: random.of(values),
    requestId: random.of(ids),
    uri: random.of(values),
    _meta: random.below(3) === 0 ? random.of(values) : { traceparent: random.of(values) },
  };
}

/** How many records a text must leave: one for each request and for each thing that is no message. */
export function recordsOf(text: string): number {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return 1;
  }
  const items: unknown[] = Array.isArray(parsed) && parsed.length > 0 ? parsed : [parsed];
  return items.filter((each) => ['request', 'invalid'].includes(messageKind(each))).length;
}
