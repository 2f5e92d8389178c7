/**
 * Random faults on the loop, on one machine: the daemon (gateway and throttler) and a server with the emitter, either or
 * both killed with SIGKILL while somebody adds and lifts throttles; sometimes the daemon is killed again while it starts.
 * After each round everything runs, and calls are made as every actor that a signal is or was about:
 *
 * - lost: throttles whose recording was acknowledged and that hold nobody back before their end, or lifts likewise,
 * - duplicated: signals that hold a caller back after their end, or let a caller's burst through twice in one process,
 *   and records of a signal that say nothing new,
 * - gaps: revisions of a signal that are missing in the table.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { signalId } from '../../schemas/throttle.js';
import { seededRandom } from '../traffic.js';
import { Daemon, ended, root } from './daemon.js';

const faults = ['daemon', 'emitter', 'both', 'none'] as const;

export interface ThrottleReport {
  rounds: number;
  throttles: number;
  lifts: number;
  /** Calls that were made to find out. */
  asked: number;
  kills: Record<(typeof faults)[number], number>;
  lost: number;
  duplicated: number;
  gaps: number;
  /** What was wrong, in words. */
  readonly faults: string[];
}

/** Somebody's decision that was acknowledged. */
interface Decided {
  readonly actor: string;
  readonly kind: 'block' | 'rate';
  readonly endsMs: number;
  isLifted: boolean;
  /** Calls that the emitter's present process let through under the rate. */
  passed: number;
}

interface Answer {
  /** Calls that were let through. */
  readonly passed: number;
  readonly connected: boolean;
}

/** Longest wait until everything that was acknowledged holds: a daemon starts, an emitter finds it. */
const settleMs = 30_000;
const burst = 3;
/** Ends of the clock's tick and of a request under way. */
const marginMs = 50;
/** Throttles that are looked at in each round; older ones are no longer. */
const watched = 12;

/** The process of throttle-emitter.ts. */
export class Emitter {
  private child!: ChildProcess;
  private lines!: Interface;
  private waiting: ((answer: Answer | undefined) => void) | undefined;

  constructor(
    private readonly environment: Readonly<Record<string, string>>,
    private readonly words: readonly string[] = [],
  ) {}

  start(): void {
    const script = ['--import', 'tsx', join(root, 'test/fault/throttle-emitter.ts')];
    const child = spawn(process.execPath, [...script, ...this.words], {
      cwd: root,
      env: { ...process.env, ...this.environment },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    this.child = child;
    // A run that is ended from outside leaves nothing behind.
    const killAtExit = () => child.kill('SIGKILL');
    process.on('exit', killAtExit);
    child.once('exit', () => process.off('exit', killAtExit));
    this.child.stdin!.on('error', () => undefined);
    this.lines = createInterface({ input: this.child.stdout! });
    this.lines.on('line', (line) => this.waiting?.(JSON.parse(line) as Answer));
    this.child.once('exit', () => this.waiting?.(undefined));
  }

  /** Undefined when it ended meanwhile. */
  async call(actor: string, calls: number): Promise<Answer | undefined> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return undefined;
    const answer = new Promise<Answer | undefined>((resolve) => {
      this.waiting = resolve;
    });
    this.child.stdin!.write(`${JSON.stringify({ actor, calls })}\n`);
    return answer;
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await ended(this.child);
  }
}

export async function killThrottle(options: {
  seed: number;
  rounds: number;
  progress?: (line: string) => void;
}): Promise<ThrottleReport> {
  const random = seededRandom(options.seed);
  const report: ThrottleReport = {
    rounds: 0,
    throttles: 0,
    lifts: 0,
    asked: 0,
    kills: { daemon: 0, emitter: 0, both: 0, none: 0 },
    lost: 0,
    duplicated: 0,
    gaps: 0,
    faults: [],
  };
  const data = mkdtempSync(join(tmpdir(), 'mcp-auditd-throttle-'));
  const daemon = new Daemon(data);
  const emitter = new Emitter({ MCP_AUDITD_DATA: data });
  const decided: Decided[] = [];
  try {
    await daemon.up();
    emitter.start();
    for (let round = 1; round <= options.rounds; round++) {
      const fault = faults[Math.floor(random() * 3.5)] as (typeof faults)[number];
      report.kills[fault] += 1;
      // One decision is acknowledged, and somebody decides more while the kill comes.
      await decideSome(daemon, decided, random, `${round}-first`, 1, report);
      const deciding = decideSome(daemon, decided, random, String(round), 3, report);
      await delay(random() * 60);
      if (fault === 'daemon' || fault === 'both') await daemon.end('SIGKILL');
      if (fault === 'emitter' || fault === 'both') await emitter.kill();
      await deciding;
      if (fault === 'emitter' || fault === 'both') {
        for (const each of decided) each.passed = 0;
        emitter.start();
      }
      if (fault === 'daemon' || fault === 'both') {
        if (random() < 0.3) await daemon.dieStarting(random() * 2_000);
        await daemon.up();
      }
      await check(emitter, decided.slice(-watched), round, report);
      report.rounds = round;
      options.progress?.(
        `round ${round}: ${fault}, ${report.throttles} throttles, ${report.lifts} lifts; ${report.lost} lost, ${report.duplicated} duplicated`,
      );
    }
    await checkRecords(daemon, report);
    return report;
  } finally {
    await Promise.all([emitter.kill(), daemon.end('SIGKILL')]);
    rmSync(data, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

/** What is not acknowledged may hold or not: such an actor is not looked at. */
async function decideSome(
  daemon: Daemon,
  decided: Decided[],
  random: () => number,
  name: string,
  count: number,
  report: ThrottleReport,
): Promise<void> {
  for (let each = 0; each < count; each++) {
    const lifted = decided.slice(-watched).find((one) => !one.isLifted && one.endsMs > Date.now() + settleMs);
    if (lifted !== undefined && random() < 0.25) {
      const target = signalId('default', 'person', { actor_id: lifted.actor }, []);
      // Until it is known what became of it, nothing is asked of this actor.
      decided.splice(decided.indexOf(lifted), 1);
      if (!(await daemon.decide({ kind: 'lift', target, reason: 'a round' }))) continue;
      report.lifts += 1;
      lifted.isLifted = true;
      decided.push(lifted);
      continue;
    }
    const actor = `actor-${name}-${each}`;
    const kind = random() < 0.5 ? 'block' : 'rate';
    const endsMs = Date.now() + (random() < 0.3 ? 1_000 + Math.floor(random() * 2_000) : 3_600_000);
    const throttle = {
      scope: { actor_id: actor },
      each: [],
      ...(kind === 'block' ? { block: true } : { rate: '1/h', burst }),
    };
    const ends_at = new Date(endsMs).toISOString();
    if (!(await daemon.decide({ kind: 'throttle', throttle, ends_at, reason: 'a round' }))) continue;
    report.throttles += 1;
    decided.push({ actor, kind, endsMs, isLifted: false, passed: 0 });
  }
}

async function check(
  emitter: Emitter,
  decided: readonly Decided[],
  round: number,
  report: ThrottleReport,
): Promise<void> {
  const deadline = Date.now() + settleMs;
  for (const one of decided) {
    for (;;) {
      const beforeMs = Date.now();
      // A rate's burst is 3; one more call than that is refused.
      const calls = one.kind === 'block' ? 1 : burst + 1;
      const answer = await emitter.call(one.actor, calls);
      report.asked += calls;
      if (answer === undefined) throw new Error('the emitter ended by itself');
      const holds = !one.isLifted && one.endsMs > Date.now() + marginMs;
      const hasEnded = one.endsMs < beforeMs - marginMs;
      const isRefused = answer.passed < calls;
      if (hasEnded && isRefused) {
        report.duplicated += 1;
        report.faults.push(`round ${round}: ${one.actor} is held back after the end`);
        break;
      }
      const fits = holds ? isRefused : !isRefused;
      if (holds && one.kind === 'rate' && isRefused) {
        one.passed += answer.passed;
        if (one.passed > burst) {
          report.duplicated += 1;
          report.faults.push(`round ${round}: ${one.actor} had ${one.passed} calls of a burst of ${burst}`);
        }
      }
      if (fits || (!holds && !one.isLifted && !hasEnded)) break;
      if (Date.now() > deadline) {
        report.lost += 1;
        report.faults.push(`round ${round}: ${one.isLifted ? 'the lift' : 'the throttle'} of ${one.actor} is lost`);
        break;
      }
      await delay(20);
    }
  }
}

/** The records of the topic as the table has them. */
async function checkRecords(daemon: Daemon, report: ThrottleReport): Promise<void> {
  await daemon.caughtUp();
  const [counts] = await daemon.sql<{ gaps: string; repeated: string }>(`
    SELECT
      (SELECT sum(highest - revisions) FROM (SELECT max(revision) AS highest, uniqExact(revision) AS revisions FROM throttle GROUP BY signal_id)) AS gaps,
      (SELECT count() - uniqExact(signal_id, revision) FROM throttle)
      + (SELECT count() FROM (
          SELECT state, block, interval_micros, burst, producers, expires_at, key_id, author, reason,
            lagInFrame(tuple(state, block, interval_micros, burst, producers, expires_at, key_id, author, reason)) OVER w AS before, revision
          FROM throttle WINDOW w AS (PARTITION BY signal_id ORDER BY revision ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))
        WHERE revision > 1 AND before = tuple(state, block, interval_micros, burst, producers, expires_at, key_id, author, reason)) AS repeated`);
  report.gaps += Number(counts!.gaps);
  report.duplicated += Number(counts!.repeated);
}
