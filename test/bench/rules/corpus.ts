/** Events and rules of the benchmarks of the detector, from a seed: the same for every engine that is measured. */
import { formatTimeMicros } from '../../../schemas/time.js';
import { seededRandom } from '../../traffic.js';

const manyActors = 10_000;
const startMicros = Date.UTC(2026, 10, 24, 8) * 1000;

const verbs = ['read', 'write', 'list', 'search', 'create', 'update', 'delete', 'export', 'import', 'sync'];
const nouns = ['file', 'mail', 'ticket', 'page', 'row', 'calendar', 'contact', 'invoice', 'branch', 'dashboard'];
const tools = verbs.flatMap((verb) => nouns.map((noun) => `${verb}_${noun}`));
const servers = ['filesystem', 'mail', 'github', 'jira', 'postgres', 'slack', 'drive', 'crm'];
const outcomes = ['success', 'success', 'success', 'success', 'success', 'success', 'success', 'tool_error', 'denied'];
const words = [
  'alpha',
  'report',
  'quarter',
  'customer',
  'invoice',
  'draft',
  'final',
  'team',
  'plan',
  'budget',
  'notes',
];

function hex(random: () => number, digits: number): string {
  let text = '';
  while (text.length < digits)
    text += Math.floor(random() * 65536)
      .toString(16)
      .padStart(4, '0');
  return text.slice(0, digits);
}

/** JSON lines of about 500 bytes; unless told otherwise 10,000 actors and 1,000 events a second of event time. */
export function* eventLines(
  count: number,
  { seed = 1, actors = manyActors, eventsPerSecond = 1_000 } = {},
): Generator<string> {
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  for (let index = 0; index < count; index++) {
    const actor = Math.floor(random() * actors);
    const micros = startMicros + Math.floor((index * 1e6) / eventsPerSecond) - Math.floor(random() * 200_000);
    const millis = Math.floor(micros / 1000);
    const stamp = millis.toString(16).padStart(12, '0');
    const outcome = pick(outcomes);
    yield JSON.stringify({
      event_id: `${stamp.slice(0, 8)}-${stamp.slice(8)}-7${hex(random, 3)}-8${hex(random, 3)}-${index.toString(16).padStart(12, '0')}`,
      schema_version: 1,
      producer_id: `${pick(servers)}-4f1d9c20`,
      producer_sequence: index + 1,
      occurred_at: formatTimeMicros(micros),
      duration_ms: Math.floor(random() * 400_000) / 1000,
      actor_id: `user-${actor}@example.com`,
      actor_verified: true,
      session_id: `session-${actor}-${Math.floor(index / 600_000)}`,
      client_address: `10.${actor % 200}.${Math.floor(actor / 200)}.7`,
      server_name: pick(servers),
      method: 'tools/call',
      tool_name: pick(tools),
      outcome,
      error_message: outcome === 'success' ? '' : `the request of ${pick(words)} was refused`,
      arguments: JSON.stringify({
        path: `/srv/${pick(words)}/${pick(words)}-${Math.floor(random() * 5000)}.txt`,
        limit: 50,
      }),
      result_bytes: Math.floor(random() * 20_000),
    });
  }
}

/** One rule, in no engine's language. */
export interface NeutralRule {
  readonly id: string;
  /** Field, modifier ('' for equality) and value; all must hold, the last one not when `negated`. */
  readonly tests: readonly (readonly [field: string, modifier: string, value: string | number])[];
  readonly negated: boolean;
  readonly correlation?: {
    readonly type: 'event_count' | 'value_count' | 'temporal_ordered';
    readonly field?: string;
    readonly threshold: number;
  };
}

/** The three that every size has: a count, a distinct count and an ordered sequence over 5 minutes, for each actor. */
export const threeRules: readonly NeutralRule[] = [
  {
    id: 'count',
    tests: [['method', '', 'tools/call']],
    negated: false,
    correlation: { type: 'event_count', threshold: 60 },
  },
  {
    id: 'distinct',
    tests: [['method', '', 'tools/call']],
    negated: false,
    correlation: { type: 'value_count', field: 'tool_name', threshold: 50 },
  },
  {
    id: 'steps',
    tests: [['tool_name', '', 'read_file']],
    negated: false,
    correlation: { type: 'temporal_ordered', threshold: 2 },
  },
];

/** The second step of every ordered sequence here. */
export const secondStep = ['tool_name', '', 'export_contact'] as const;

/**
 * The three, then 90 % rules of one event (equals, contains, startswith, endswith, regex, numeric, not) and 10 %
 * correlations. As in a real pack hardly any of them ever matches.
 */
export function ruleMix(size: number, seed = 2): readonly NeutralRule[] {
  const random = seededRandom(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const rules: NeutralRule[] = [...threeRules];
  for (let index = rules.length; index < size; index++) {
    const odd = hex(random, 6);
    if (index % 10 === 9) {
      rules.push({
        id: `correlation-${index}`,
        tests: [
          ['tool_name', '', pick(tools)],
          ['server_name', '', `server-${odd}`],
        ],
        negated: false,
        correlation: { type: pick(['event_count', 'value_count'] as const), field: 'session_id', threshold: 20 },
      });
      continue;
    }
    const kinds: readonly NeutralRule['tests'][] = [
      [['tool_name', '', `tool_${odd}`]],
      [['arguments', 'contains', `/etc/${odd}`]],
      [['tool_name', 'startswith', `prod_${odd}`]],
      [['arguments', 'endswith', `${odd}.key"}`]],
      [['error_message', 're', `(denied|refused) by [a-z]+-${odd}`]],
      [
        ['tool_name', '', pick(tools)],
        ['result_bytes', 'gt', 20_000 + Math.floor(random() * 1_000)],
      ],
      [
        ['server_name', '', pick(servers)],
        ['arguments', 'contains', `../${odd}`],
        ['outcome', '', 'denied'],
      ],
    ];
    rules.push({
      id: `single-${index}`,
      tests: kinds[index % kinds.length] as NeutralRule['tests'],
      negated: index % 7 === 6,
    });
  }
  return rules;
}

const selection = (tests: NeutralRule['tests']): Record<string, unknown> =>
  Object.fromEntries(
    tests.map(([field, modifier, value]) => [modifier === '' ? field : `${field}|${modifier}`, value]),
  );

/** In our language, as YAML (which JSON is). */
export function ownYaml(rules: readonly NeutralRule[]): string {
  return JSON.stringify({
    rules: rules.map(({ id, tests, negated, correlation }) => {
      const first = negated ? tests.slice(0, -1) : tests;
      const detection = {
        s: selection(first),
        ...(negated && { n: selection(tests.slice(-1)) }),
        condition: negated ? 's and not n' : 's',
      };
      if (correlation === undefined) return { id, detection };
      const { type, field, threshold } = correlation;
      const common = { id, type, 'group-by': 'actor_id', timespan: '5m' };
      if (type === 'temporal_ordered') return { ...common, steps: [selection(tests), selection([secondStep])] };
      return { ...common, detection, condition: { gte: threshold }, ...(type === 'value_count' && { field }) };
    }),
  });
}

/** For RSigma: a detection for each rule and each step, and a correlation where the rule is one. */
export function sigmaYaml(rules: readonly NeutralRule[]): string {
  const documents: Record<string, unknown>[] = [];
  const add = (name: string, rest: Record<string, unknown>): void => {
    const id = `00000000-0000-4000-8000-${documents.length.toString(16).padStart(12, '0')}`;
    documents.push({ title: name, name, id, status: 'test', level: 'high', ...rest });
  };
  const detect = (name: string, detection: Record<string, unknown>): void =>
    add(name, { logsource: { category: 'mcp' }, detection });
  for (const { id, tests, negated, correlation } of rules) {
    const first = negated ? tests.slice(0, -1) : tests;
    const base = correlation === undefined ? id : `${id}-base`;
    detect(base, {
      s: selection(first),
      ...(negated && { n: selection(tests.slice(-1)) }),
      condition: negated ? 's and not n' : 's',
    });
    if (correlation === undefined) continue;
    const { type, field, threshold } = correlation;
    const common = { type, 'group-by': ['actor_id'], timespan: '5m' };
    if (type === 'temporal_ordered') {
      detect(`${id}-second`, { s: selection([secondStep]), condition: 's' });
      add(id, { correlation: { ...common, rules: [base, `${id}-second`] } });
    } else {
      const condition = { ...(type === 'value_count' && { field }), gte: threshold };
      add(id, { correlation: { ...common, rules: [base], condition } });
    }
  }
  return documents.map((document) => JSON.stringify(document)).join('\n---\n');
}
