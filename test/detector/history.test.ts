/** What the detector asks of the store, asked of the real engine: history, warm-up, and the SQL in alerts. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { formatTimeMicros } from '../../schemas/time.js';
import { startDetector } from '../../services/detector/detector.js';
import { Engine } from '../../services/detector/engine.js';
import { type EngineRecord, streamMicros } from '../../services/detector/event-reader.js';
import { type Ask, readHistory } from '../../services/detector/history.js';
import { replay } from '../../services/detector/replay.js';
import { startIngestor } from '../../services/ingestor/ingestor.js';
import { openChdbStore } from '../../services/store/chdb.js';
import type { Store } from '../../services/store/store.js';
import { openLocalStream } from '../../services/stream/local.js';
import type { Stream } from '../../services/stream/stream.js';
import { newId, rulesOf } from './rules.js';

let directory: string;
let store: Store;
let stream: Stream;
let nowMs = Date.now() - 3 * 3_600_000;
const appended: EngineRecord[] = [];
const hostile = `it's "\\" \u{1f600} %_* \n;--`;

const ask: Ask = (sql, format) => store.query(sql, { format });

async function append(fields: Record<string, unknown>, tenant = 'acme'): Promise<void> {
  nowMs += 1_000;
  const occurred = formatTimeMicros(nowMs * 1000 - 250_123);
  const value = Buffer.from(
    JSON.stringify({ event_id: newId(), method: 'tools/call', outcome: 'success', occurred_at: occurred, ...fields }),
  );
  const [position] = await stream.append('calls', [{ key: '', value, headers: { tenant, producer_key: 'emitter' } }]);
  appended.push({ value, tenant, producerKey: 'emitter', ...position!, recordedAtMicros: streamMicros(nowMs) });
}

const event = (index: number): Record<string, unknown> => ({
  actor_id: `actor-${index % 3}`,
  tool_name: index % 10 === 9 ? 'Delete_All' : 'read_file',
  outcome: index % 7 === 0 ? 'tool_error' : 'success',
  duration_ms: index % 11 === 0 ? null : index * 1.5,
  client_address: index % 2 === 0 ? '10.1.2.3' : 'fd00::1',
  redactions: index % 5 === 0 ? ['arguments.password:key', 'result:jwt'] : [],
  arguments: { path: `/tmp/${index}`, deep: { list: ['x', 'etc/passwd'] }, text: hostile },
  attributes: { 'deployment.environment': 'prod' },
  tool_read_only: index % 4 === 0 ? true : null,
  own_field: index % 6 === 0 ? 'set' : undefined,
});

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'history-'));
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel', now: () => nowMs });
  store = await openChdbStore({ directory: join(directory, 'store') });
  await store.migrate();
  for (let index = 0; index < 240; index++) await append(event(index), index % 40 === 39 ? 'other' : 'acme');
  const ingestor = await startIngestor({ stream, store, limits: { timeMs: 10 }, metrics: new Registry() });
  while ((await store.highestOffsets('calls')).get(0) !== 239) await new Promise((resolve) => setTimeout(resolve, 20));
  await ingestor.close();
});

afterAll(async () => {
  await stream.close();
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const everyTest = rulesOf(`rules:
- {id: equals, detection: {s: {tool: delete_all}}}
- {id: cased, detection: {s: {tool|cased: Delete_All}}}
- {id: contains, detection: {s: {arguments|contains: '/TMP/13'}}}
- {id: startswith, detection: {s: {tool|startswith: delete}}}
- {id: endswith, detection: {s: {tool|endswith: _ALL}}}
- {id: wildcard, detection: {s: {tool: 'd*e_?ll'}}}
- {id: regex, detection: {s: {tool|re: '^D.*l$'}}}
- {id: cidr, detection: {s: {address|cidr: 10.0.0.0/8}, t: {outcome: tool_error}, condition: s and t}}
- {id: cidr6, detection: {s: {address|cidr: 'fd00::/8', tool: delete_all}}}
- {id: missing, detection: {s: {duration_ms|exists: false}}}
- {id: number, detection: {s: {duration_ms|gte: 330}}}
- {id: field, detection: {s: {actor|fieldref: session}, t: {actor: actor-1, tool: delete_all}, condition: not s and t}}
- {id: list, detection: {s: {redactions|endswith: jwt, actor: actor-0}}}
- {id: inside, detection: {s: {arguments.deep.list: etc/passwd, arguments.path|endswith: '/100'}}}
- {id: attribute, detection: {s: {attributes.own_field: set}}}
- {id: hostile, detection: {s: {arguments.text: "it's \\"\\\\\\\\\\" \u{1f600} %_\\\\* \\n;--", actor: actor-2, tool: delete_all}}}
- {id: any, detection: {a: {outcome: tool_error, actor: actor-1}, b: {tool_read_only: true, actor: actor-2}, condition: 1 of *}}
- {id: until, detection: {s: {tool: delete_all}}, exceptions: [{name: old, fields: [actor], values: [actor-0], expires: 2020-01-01}]}
- {id: hours, detection: {s: {tool: delete_all}}, when: {calendar: never, is: closed}}
calendars: {never: {tz: UTC, open: [mon 00:00-00:01], closed: []}}
`);

/** Records by alert, without what each route words for itself. */
const told = (alerts: readonly Alert[]): string[] =>
  alerts.map(({ alert_id, state, rule_id }) => `${rule_id} ${state} ${alert_id}`);

describe('stored history', () => {
  test('raises the alerts that the stream raised, test for test', async () => {
    const live = told(replay(everyTest, appended));
    const alerts: Alert[] = [];
    const engine = new Engine(everyTest, (alert) => alerts.push(alert));
    const seen: [number, number][] = [];
    const range = { fromMicros: 0, untilMicros: streamMicros(Date.now()) };
    for await (const records of readHistory(ask, range, engine.columns, (read, total) => seen.push([read, total])))
      for (const record of records) engine.take(record);
    expect(told(alerts)).toEqual(live);
    expect([...new Set(alerts.map(({ rule_id }) => rule_id))].sort()).toEqual(
      everyTest.rules.map(({ id }) => id).sort(),
    );
    expect(seen.at(-1)).toEqual([240, 240]);
  });

  test('may be cut to a range and a condition', async () => {
    const found: EngineRecord[] = [];
    const range = {
      fromMicros: appended[10]!.recordedAtMicros - 999,
      untilMicros: appended[20]!.recordedAtMicros - 999,
    };
    for await (const records of readHistory(ask, { ...range, where: "tool_name = 'read_file'" }, ['tool_name']))
      found.push(...records);
    expect(found.map(({ offset }) => offset)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18]);
  });
});

describe('the SQL of an alert', () => {
  test('shows the event that raised it', async () => {
    for (const alert of replay(everyTest, appended)) {
      const rows: string[] = [];
      const sql = alert.evidence_sql.replace('SELECT *', 'SELECT event_id');
      for await (const chunk of ask(sql, 'TSV')) rows.push(...Buffer.from(chunk).toString().trim().split('\n'));
      expect(rows, `${alert.rule_id}: ${alert.evidence_sql}`).toEqual(alert.evidence);
    }
  });

  test('shows the whole window of a count, and nothing else', async () => {
    const grouped = everyTest.rules.map((rule) => ({
      ...rule,
      resolveAfterMicros: 3_600e6,
      roles: rule.roles.map((role) => ({
        ...role,
        groupBy: rulesOf('rules: [{id: a, detection: {s: {tool: x}}, group-by: [actor, attributes.own_field]}]')
          .rules[0]!.roles[0]!.groupBy,
      })),
      groupNames: ['actor_id', 'attributes.own_field'],
    }));
    const last = new Map<string, Alert>();
    const alerts = replay({ ...everyTest, rules: grouped }, appended, { untilMicros: streamMicros(Date.now()) });
    for (const alert of alerts) if (alert.state === 'resolved') last.set(alert.alert_id, alert);
    expect(last.size).toBeGreaterThan(everyTest.rules.length);
    for (const { evidence_sql, count, rule_id } of last.values()) {
      // A calendar is nothing that SQL could say; here it is never open.
      const rows: string[] = [];
      for await (const chunk of ask(evidence_sql, 'TSV'))
        rows.push(...Buffer.from(chunk).toString().trim().split('\n'));
      expect(rows.length, `${rule_id}: ${evidence_sql}`).toBe(count);
    }
  });
});

test('a new rule has learned from history: it alerts on nothing old, and on what goes on now', async () => {
  writeFileSync(
    join(directory, 'rules.yaml'),
    `rules:
- {id: unexpected, type: new_value, field: tool, group-by: actor, warmup: {events: 20}, learn: 1m}
- {id: volume, type: event_count, detection: {s: {tool: read_file}}, group-by: actor, timespan: 10m, condition: {gte: 73}}`,
  );
  const reports: Readonly<Record<string, unknown>>[] = [];
  const detector = startDetector({
    stream,
    directory: join(directory, 'detector'),
    rules: { pack: false, paths: [join(directory, 'rules.yaml')] },
    metrics: new Registry(),
    ask,
    storedOffsets: () => store.highestOffsets('calls'),
    times: { checkpointMs: 10 },
    report: (_what, details) => reports.push(details),
    clock: () => nowMs,
  });
  const alerts: Alert[] = [];
  await append({ actor_id: 'actor-1', tool_name: 'read_file' });
  await append({ actor_id: 'actor-1', tool_name: 'drop_table' });
  await new Promise<void>((resolve) => {
    void stream.consume({
      topic: 'alerts',
      assigned: async () => new Map([[0, 0]]),
      revoked: async () => undefined,
      async batch({ records }) {
        alerts.push(...records.map(({ value }) => JSON.parse(value.toString()) as Alert));
        if (alerts.length >= 2) resolve();
      },
    });
  });
  await detector.close();
  expect(reports).toMatchObject([{ rules: 2, events: 240 }]);
  expect(alerts).toMatchObject([
    { rule_id: 'volume', group: { actor_id: 'actor-1' }, values: { count: 73 } },
    { rule_id: 'unexpected', group: { tool_name: 'drop_table' } },
  ]);
});

test('a detector that takes over on another disk goes on with the alerts of the one before, and ends them', async () => {
  const rules = join(directory, 'takeover.yaml');
  writeFileSync(
    rules,
    `rules:
- {id: calls, type: event_count, detection: {s: {tool: t}}, group-by: [actor, server], timespan: 10m, condition: {gte: 3}, realert: {every: 1h}}
- {id: facts, detection: {s: {tool: t, actor: c}}}`,
  );
  const first = appended.length;
  const at = (index: number): number => (appended[first + index] as EngineRecord).recordedAtMicros;
  const call = (actor_id: string) => append({ actor_id, tool_name: 't', server_name: 's' });
  const ingestor = await startIngestor({ stream, store, limits: { timeMs: 10 }, metrics: new Registry() });
  const detect = (name: string, memory: Stream) =>
    startDetector({
      stream: memory,
      directory: join(directory, name),
      rules: { pack: false, paths: [rules] },
      metrics: new Registry(),
      ask,
      storedOffsets: () => store.highestOffsets('calls'),
      times: { checkpointMs: 10 },
      clock: () => nowMs,
    });
  const alerts = async (): Promise<[string, number, string, string, string][]> => {
    const rows: Buffer[] = [];
    const sql = `SELECT alert_id, revision, state, group['actor_id'], toString(count) FROM alerts WHERE rule_id IN ('calls', 'facts') ORDER BY alert_id, revision`;
    for await (const chunk of ask(sql, 'JSONCompactEachRow')) rows.push(Buffer.from(chunk));
    return Buffer.concat(rows)
      .toString()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
  };
  const told = async (count: number): Promise<void> => {
    while ((await alerts()).length < count) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  try {
    const one = detect('first', stream);
    // Of `a` an alert that goes on, of `b` one that ends while nobody watches, of `c` a window that is not full yet.
    for (const actor of ['a', 'b', 'a', 'b', 'a', 'b', 'c', 'c']) await call(actor);
    await told(4);
    await one.close();
    nowMs += 5 * 60_000;
    const two = detect('second', stream);
    for (const actor of ['a', 'c']) await call(actor);
    await told(6);
    nowMs += 20 * 60_000;
    await call('d');
    await told(9);
    await two.close();
  } finally {
    await ingestor.close();
  }
  const records = appended.slice(first);
  const expected = replay(rulesOf(readFileSync(rules, 'utf8')), records, {
    untilMicros: at(records.length - 1) + 3_600e6,
  })
    .map(({ alert_id, revision, state, group, count }) => [
      alert_id,
      revision,
      state,
      group.actor_id ?? '',
      String(count),
    ])
    .sort((left, right) => (`${left[0]} ${left[1]}` < `${right[0]} ${right[1]}` ? -1 : 1));
  expect(await alerts()).toEqual(expected);
});
