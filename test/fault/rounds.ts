/**
 * Random faults on one machine: a server that is called (the emitter in its process, or `wrap` before it) and the
 * daemon, either or both killed with SIGKILL at a random moment, round after round on one data directory; sometimes the
 * daemon is killed again while it starts. After each round the daemon runs again, every spool has been delivered, and
 * the table is held against what was answered:
 *
 * - lost: calls that were answered and have no row that says so,
 * - duplicated: rows beyond one for a call or an event id,
 * - gaps: numbers missing from a producer's sequence.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { seededRandom } from '../traffic.js';
import { Daemon, ended, startScript } from './daemon.js';

const faults = ['emitter', 'daemon', 'both', 'none'] as const;
type Fault = (typeof faults)[number];

export interface FaultReport {
  rounds: number;
  lost: number;
  duplicated: number;
  gaps: number;
  answered: number;
  stored: number;
  noResponse: number;
  kills: Record<Fault, number>;
  /** Daemons that were killed in the middle of their start. */
  killedStarts: number;
  /** Rounds in which `wrap` was the emitter. */
  wrapped: number;
}

export interface FaultOptions {
  readonly seed: number;
  readonly rounds: number;
  /** Called after each round with what happened in it. */
  readonly progress?: (line: string) => void;
}

interface Round {
  readonly fault: Fault;
  readonly isWrapped: boolean;
  readonly firstCall: number;
  readonly most: number;
  readonly inFlight: number;
  /** The kill comes so many milliseconds after so many answers. */
  readonly afterCalls: number;
  readonly afterMs: number;
  /** Milliseconds that a start of the daemon lives before the one that stays; undefined: it is not killed. */
  readonly startLifeMs: number | undefined;
}

/** A process takes most of a second to load from its sources, so kills of a start are spread over its whole length. */
const startLengthMs = 2_000;

function draw(random: () => number, firstCall: number): Round {
  const isWrapped = random() < 0.3;
  // Through two more processes calls are slower; a round is to last about as long.
  const most = 200 + Math.floor(random() * (isWrapped ? 1_500 : 5_000));
  const choice = random();
  return {
    fault: choice < 0.35 ? 'emitter' : choice < 0.65 ? 'daemon' : choice < 0.95 ? 'both' : 'none',
    isWrapped,
    firstCall,
    most,
    inFlight: 1 + Math.floor(random() * 32),
    afterCalls: Math.floor(random() * most),
    afterMs: random() * 60,
    startLifeMs: random() < 0.3 ? random() * startLengthMs : undefined,
  };
}

/** Runs the caller of one round, and the kills; resolves to the numbers of the calls that were answered. */
async function play(round: Round, daemon: Daemon, data: string): Promise<Set<number>> {
  const { fault, firstCall, most, inFlight } = round;
  const script = round.isWrapped ? 'test/fault/calling-client.ts' : 'test/fault/calling-server.ts';
  const { child, errors } = startScript(script, [firstCall, most, inFlight].map(String), data);
  const answered = new Set<number>();
  let emitterPid = 0;
  let rest = '';
  const outputEnded = once(child.stdout!, 'end');
  await new Promise<void>((resolve) => {
    child.stdout!.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (line.startsWith('emitter ')) emitterPid = Number(line.slice('emitter '.length));
        else answered.add(Number(line));
      }
      if (answered.size >= round.afterCalls) resolve();
    });
    child.stdout!.on('end', resolve);
  });
  await new Promise((resolve) => setTimeout(resolve, round.afterMs));
  // A caller that was quicker than the kill has ended well, and its pid may be another's by now.
  const isKilled = (fault === 'emitter' || fault === 'both') && child.exitCode === null && emitterPid !== 0;
  if (isKilled) {
    try {
      process.kill(emitterPid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  if (fault === 'daemon' || fault === 'both') await daemon.end('SIGKILL');
  await Promise.all([outputEnded, ended(child)]);
  if (!isKilled && child.exitCode !== 0)
    throw new Error(`the server was harmed: its caller ended with ${child.exitCode ?? child.signalCode}: ${errors()}`);
  return answered;
}

/** Holds the rows of one round's calls against what was answered, and adds what is found to the report. */
async function hold(round: Round, answered: ReadonlySet<number>, daemon: Daemon, report: FaultReport): Promise<string> {
  const { firstCall, most } = round;
  const rows = await daemon.sql<{ n: number; times: number; outcome: string }>(
    `SELECT toUInt32(JSONExtractUInt(arguments, 'n')) AS n, toUInt32(count()) AS times, any(outcome) AS outcome
     FROM calls WHERE tool_name = 'echo' AND n BETWEEN ${firstCall} AND ${firstCall + most - 1}
     GROUP BY n LIMIT 1000000`,
  );
  const outcomes = new Map(rows.map(({ n, outcome }) => [n, outcome]));
  const lost = [...answered].filter((n) => outcomes.get(n) !== 'success').length;
  const duplicated = rows.reduce((sum, { times }) => sum + times - 1, 0);
  report.rounds++;
  report.lost += lost;
  report.duplicated += duplicated;
  report.answered += answered.size;
  report.stored += rows.length;
  report.noResponse += rows.filter(({ outcome }) => outcome === 'no_response').length;
  return `${answered.size} answered, ${rows.length} stored, ${lost} lost, ${duplicated} duplicated`;
}

export async function runFaults(options: FaultOptions): Promise<FaultReport> {
  const random = seededRandom(options.seed);
  const data = mkdtempSync(join(tmpdir(), 'mcp-auditd-faults-'));
  const daemon = new Daemon(data);
  const report: FaultReport = {
    rounds: 0,
    lost: 0,
    duplicated: 0,
    gaps: 0,
    answered: 0,
    stored: 0,
    noResponse: 0,
    kills: { emitter: 0, daemon: 0, both: 0, none: 0 },
    killedStarts: 0,
    wrapped: 0,
  };
  try {
    await daemon.up();
    let firstCall = 1;
    for (let index = 1; index <= options.rounds; index++) {
      const round = draw(random, firstCall);
      firstCall += round.most;
      report.kills[round.fault]++;
      if (round.isWrapped) report.wrapped++;
      const answered = await play(round, daemon, data);
      if (round.fault === 'daemon' || round.fault === 'both') {
        if (round.startLifeMs !== undefined) {
          report.killedStarts++;
          await daemon.dieStarting(round.startLifeMs);
        }
        await daemon.up();
      }
      await daemon.settled();
      const found = await hold(round, answered, daemon, report);
      options.progress?.(`round ${index}: SIGKILL of ${round.fault}${round.isWrapped ? ' (wrap)' : ''}, ${found}`);
    }
    const [ids] = await daemon.sql<{ extra: number }>(
      'SELECT toUInt32(count() - uniqExact(event_id)) AS extra FROM calls',
    );
    report.duplicated += ids!.extra;
    const [gaps] = await daemon.sql<{ gaps: number }>(
      'SELECT toUInt32(sum(last - held)) AS gaps FROM (SELECT producer_id, max(producer_sequence) AS last, uniqExact(producer_sequence) AS held FROM calls GROUP BY producer_id)',
    );
    report.gaps = gaps!.gaps;
    return report;
  } finally {
    await daemon.end('SIGTERM');
    rmSync(data, { recursive: true, force: true });
  }
}
