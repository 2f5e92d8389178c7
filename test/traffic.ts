import type { Outcome, ProducedEvent } from '../schemas/event.js';

/**
 * Varied, realistic events for tests and benches: Zipf-distributed tools, actors and words, sessions of an actor, ids
 * as the emitter draws them, about 630 bytes of JSON an event. The same seed gives the same events.
 */
export interface TrafficOptions {
  readonly seed: number;
  readonly count: number;
  /** Milliseconds since the epoch of the first event, and the time over which all are spread. */
  readonly startMs?: number;
  readonly spanMs?: number;
  readonly actors?: number;
  readonly producers?: number;
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Ranks 0 to size - 1, the rank r with a probability in proportion to 1 / (r + 1). */
function zipf(random: () => number, size: number): () => number {
  const sums: number[] = [];
  let sum = 0;
  for (let rank = 0; rank < size; rank++) {
    sum += 1 / (rank + 1);
    sums.push(sum);
  }
  return () => {
    const target = random() * sum;
    let low = 0;
    let high = size - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) < target) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

const syllables = 'ka re mi to lan ver su no pi dra fel gor hun ist jo qua rin sta tul wex'.split(' ');
const servers = ['filesystem', 'memory', 'github', 'postgres', 'slack', 'browser', 'search', 'calendar'];
const verbs = ['read', 'write', 'list', 'search', 'create', 'update', 'delete', 'get'];
const nouns = ['file', 'directory', 'entity', 'issue', 'row', 'message', 'page', 'event'];

function word(rank: number): string {
  let rest = rank;
  let text = syllables[rest % syllables.length] as string;
  do {
    rest = Math.floor(rest / syllables.length);
    text += syllables[(rest * 7 + 3) % syllables.length];
  } while (rest > 0);
  return text;
}

const hexadecimal = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** Events in the order of their times. */
export function* generateEvents(options: TrafficOptions): Generator<ProducedEvent> {
  const { seed, count, startMs = Date.UTC(2026, 9, 1), spanMs = 86_400_000, actors = 500, producers = 20 } = options;
  const random = seededRandom(seed);
  const nextActor = zipf(random, actors);
  const nextTool = zipf(random, servers.length * verbs.length);
  const nextWord = zipf(random, 20_000);
  const words = (number: number) => Array.from({ length: number }, () => word(nextWord())).join(' ');
  // 62 bits drawn once a process, as the emitter does (RFC 9562 §6.2).
  const tails = Array.from({ length: producers }, () => {
    const high = hexadecimal(0x8000 + Math.floor(random() * 0x4000), 4);
    return `${high}-${hexadecimal(Math.floor(random() * 2 ** 48), 12)}`;
  });
  const sequences = new Array<number>(producers).fill(0);
  const sessions = new Map<number, { id: string; left: number }>();
  for (let index = 0; index < count; index++) {
    // Jitter within the event's own slot: times are as irregular as real ones and still in order.
    const at = startMs + (spanMs * (index + random())) / count;
    const millis = Math.floor(at);
    const micros = Math.floor((at - millis) * 1000);
    const actor = nextActor();
    let session = sessions.get(actor);
    if (!session || session.left === 0) {
      session = { id: hexadecimal(Math.floor(random() * 2 ** 32), 8), left: 10 + Math.floor(random() * 80) };
      sessions.set(actor, session);
    }
    session.left--;
    const producer = actor % producers;
    const sequence = (sequences[producer] as number) + 1;
    sequences[producer] = sequence;
    const time = hexadecimal(millis, 12);
    const tool = nextTool();
    const server = servers[tool % servers.length] as string;
    const verb = Math.floor(tool / servers.length);
    const failed = random() < 0.04;
    const outcome: Outcome = failed ? (random() < 0.8 ? 'tool_error' : 'protocol_error') : 'success';
    const callArguments = JSON.stringify({
      path: `/srv/${word(nextWord())}/${word(nextWord())}.txt`,
      query: words(3),
      reference: hexadecimal(Math.floor(random() * 2 ** 32), 8),
      limit: 10 * (1 + Math.floor(random() * 5)),
    });
    const result = JSON.stringify({ content: [{ type: 'text', text: words(6) }] });
    yield {
      event_id: `${time.slice(0, 8)}-${time.slice(8)}-7${hexadecimal(sequence % 4096, 3)}-${tails[producer]}`,
      producer_id: `${servers[producer % servers.length]}-${hexadecimal(0x4f1d0000 + producer, 8)}`,
      producer_sequence: sequence,
      occurred_at: `${new Date(millis).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`,
      duration_ms: Math.round(1000 * Math.exp(1 + 4 * random())) / 1000,
      actor_id: `${word(actor)}@example.com`,
      actor_verified: actor % 3 !== 0,
      session_id: session.id,
      client_name: actor % 2 ? 'claude-code' : 'cursor',
      server_name: server,
      method: 'tools/call',
      tool_name: `${verbs[verb]}_${nouns[tool % nouns.length]}`,
      outcome,
      arguments: callArguments,
      result,
      arguments_bytes: callArguments.length,
      result_bytes: result.length,
      ...(failed ? { error_type: outcome, error_message: words(4) } : {}),
    };
  }
}

/** The events as a producer's NDJSON, one Buffer an event, without the newline. */
export function* generateEventLines(options: TrafficOptions): Generator<Buffer> {
  for (const event of generateEvents(options)) yield Buffer.from(JSON.stringify(event));
}
