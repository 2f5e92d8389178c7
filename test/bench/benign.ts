import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadRules } from '../../services/detector/load.js';
import { replay } from '../../services/detector/replay.js';
import { Sandbox } from '../commands/run.js';
import { seededRandom } from '../traffic.js';
import { kinds, makeProject, runSession } from './benign/sessions.js';
import { layOut, type Recorded } from './benign/weeks.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'Which shipped rules fire over three weeks of ordinary sessions with real servers, and how often.';

/**
 * Drives the real servers with `--sessions` sessions (24) through the emitter and the daemon, lays what was recorded out
 * over `--days` days (21) of `--actors` actors (24), and runs the shipped rules over it. `--save=FILE` keeps the recorded
 * sessions, `--load=FILE` takes them from there.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const seed = Number(options.seed ?? 1);
  const random = seededRandom(seed);
  const recorded =
    options.load === undefined
      ? await drive(Number(options.sessions ?? 24), random)
      : (JSON.parse(readFileSync(options.load, 'utf8')) as [string, Recorded[][]][]);
  if (options.save !== undefined) writeFileSync(options.save, JSON.stringify(recorded));
  const weeks = layOut(new Map(recorded), random, {
    actors: Number(options.actors ?? 24),
    days: Number(options.days ?? 21),
    // A Monday.
    startMicros: Date.UTC(2026, 10, 2) * 1000,
  });
  const { set, problems } = loadRules({ pack: true, paths: [] });
  if (problems.length > 0) throw new Error('the shipped rules have mistakes');
  const alerts = replay(set, weeks.records).filter(({ state }) => state === 'firing');
  const counts = new Map<string, { level: string; alerts: number; keys: Set<string> }>();
  for (const { rule_id, level, group } of alerts) {
    const known = counts.get(rule_id) ?? { level, alerts: 0, keys: new Set() };
    known.alerts++;
    known.keys.add(Object.values(group).join(' '));
    counts.set(rule_id, known);
  }
  const days = weeks.days;
  console.log(
    `seed ${seed}: ${weeks.records.length} events, ${weeks.sessions} sessions of ${weeks.actors} actors in ${days} days`,
  );
  console.log(`\n${'rule'.padEnd(30)} ${'level'.padEnd(8)} alerts  a day  keys`);
  for (const [rule, { level, alerts: count, keys }] of [...counts].sort(
    (left, right) => right[1].alerts - left[1].alerts,
  )) {
    console.log(
      `${rule.padEnd(30)} ${level.padEnd(8)} ${String(count).padStart(6)} ${(count / days).toFixed(2).padStart(6)} ${String(keys.size).padStart(5)}  ${[...keys].slice(0, 3).join('; ')}`,
    );
  }
  console.log(`${set.rules.length - counts.size} of ${set.rules.length} rules did not fire\n`);
  const urgent = alerts.filter(({ level }) => level === 'high' || level === 'critical').length;
  const perDay = alerts.length / days;
  return {
    name: 'benign',
    ratio: (1_000 * alerts.length) / weeks.records.length,
    target: 'no alert of level high or critical, at most 3 alerts a day in all',
    ok: urgent === 0 && perDay <= 3,
    events: weeks.records.length,
    sessions: weeks.sessions,
    alerts_a_day: Number(perDay.toFixed(2)),
    urgent,
    rules: Object.fromEntries([...counts].map(([rule, { alerts: count }]) => [rule, count])),
  };
}

/** Sessions with the real servers, as the daemon stored them, by kind. */
async function drive(sessions: number, random: () => number): Promise<[string, Recorded[][]][]> {
  const sandbox = new Sandbox();
  const daemon = await sandbox.up();
  try {
    const folder = join(sandbox.home, 'project');
    mkdirSync(folder);
    makeProject(folder, random);
    const memory = join(sandbox.home, 'memory.json');
    const environment = { PATH: process.env.PATH ?? '', HOME: sandbox.home, MCP_AUDITD_DATA: sandbox.data };
    for (let number = 0; number < sessions; number++) {
      const kind = kinds[number % kinds.length];
      if (kind === undefined) throw new Error('there are no kinds of sessions');
      await runSession(kind, random, { folder, memory, actor: `${number % kinds.length}/${number}`, environment });
      process.stderr.write(`\r${number + 1} of ${sessions} sessions`);
    }
    process.stderr.write('\n');
    await sandbox.until(daemon.url, 'SELECT uniqExact(actor_id) FROM calls', String(sessions));
    const answer = await fetch(`${daemon.url}/v1/query`, {
      method: 'POST',
      headers: { authorization: `Bearer ${sandbox.key('reader')}`, 'content-type': 'application/json' },
      body: JSON.stringify({ sql: 'SELECT * FROM calls ORDER BY actor_id, occurred_at', format: 'JSONEachRow' }),
    });
    const text = await answer.text();
    const byActor = new Map<string, Recorded[]>();
    for (const line of text.trim().split('\n')) {
      const { stream_partition, stream_offset, recorded_at, ...event } = JSON.parse(line) as Record<string, unknown>;
      const actor = String(event.actor_id);
      byActor.set(actor, [...(byActor.get(actor) ?? []), event]);
    }
    const byKind = new Map<string, Recorded[][]>();
    for (const [actor, events] of byActor) {
      const { name } = kinds[Number(actor.split('/')[0])] as { name: string };
      byKind.set(name, [...(byKind.get(name) ?? []), events]);
    }
    return [...byKind];
  } finally {
    await daemon.stop();
    await sandbox.dispose();
  }
}
