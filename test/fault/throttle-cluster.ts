/**
 * Random SIGKILLs on the loop's form that runs on several machines: gateway, detector and throttler as processes of their
 * own on a real broker, and two servers with the emitter, of which one sends its events straight to Kafka. In each round
 * callers cross the line of a rule and somebody adds and lifts throttles, while some of the processes are killed, each at a
 * time of its own. Then everything runs again, and every caller calls at both servers:
 *
 * - lost: a caller that crossed the line, or a throttle whose recording was acknowledged, that nobody holds back before its
 *   end; or a lift likewise,
 * - outlived: a refusal at a time at which no record of the topic holds the caller back,
 * - twice: a burst that one process let through twice, and two records of one revision,
 * - gaps: revisions of a signal that are missing in the topic.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { signalId, type ThrottleSignal } from '../../schemas/throttle.js';
import { seededRandom } from '../traffic.js';
import type { Emitter } from './throttle.js';
import { type Killed, killed, ThrottleProcesses, threshold } from './throttle-processes.js';

export interface ThrottleClusterReport {
  rounds: number;
  kills: Record<Killed, number>;
  /** Callers that crossed the line of a rule. */
  crossed: number;
  throttles: number;
  lifts: number;
  /** Calls that were made to find out, and how many of them were refused. */
  asked: number;
  refused: number;
  /** Signals and their records in the topic. */
  signals: number;
  records: number;
  lost: number;
  outlived: number;
  twice: number;
  gaps: number;
  /** What was wrong, in words. */
  readonly faults: string[];
}

export interface ThrottleClusterOptions {
  readonly seed: number;
  readonly rounds: number;
  readonly brokers: string[];
  /** What is killed in every round; else some at random. */
  readonly kill?: readonly Killed[];
  readonly progress?: (line: string) => void;
}

const burst = 3;
/** Longest wait until everything that was acknowledged holds; the usual time is one to five seconds. */
const settleMs = 60_000;
/** Clocks tick, and a call takes its time. */
const marginMs = 100;
/** Callers that are looked at in each round; older ones are no longer. */
const watched = 10;

interface Caller {
  readonly actor: string;
  readonly kind: 'long' | 'short' | 'block' | 'rate';
  /** When a throttle by hand ends; of a rule's the topic tells. */
  readonly endsMs: number;
  isLifted: boolean;
  /** Calls that each server's present process let through under the rate. */
  readonly passed: Map<Emitter, number>;
}

interface Refusal {
  readonly round: number;
  readonly actor: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Runs the rounds. Throws where something does not come back at all. */
export async function killThrottleCluster(options: ThrottleClusterOptions): Promise<ThrottleClusterReport> {
  /** Each part of a round draws by itself, so that what runs at the same time changes no draw. */
  const drawing = (round: number, part: number): (() => number) =>
    seededRandom(options.seed * 10_007 + round * 3 + part);
  const report: ThrottleClusterReport = {
    rounds: 0,
    kills: { throttler: 0, gateway: 0, detector: 0, emitter: 0, direct: 0 },
    crossed: 0,
    throttles: 0,
    lifts: 0,
    asked: 0,
    refused: 0,
    signals: 0,
    records: 0,
    lost: 0,
    outlived: 0,
    twice: 0,
    gaps: 0,
    faults: [],
  };
  const cluster = new ThrottleProcesses();
  try {
    await cluster.start(options.brokers);
    const callers: Caller[] = [];
    const refusals: Refusal[] = [];
    for (let round = 1; round <= options.rounds; round++) {
      const begunMs = Date.now();
      const random = drawing(round, 0);
      const dying = options.kill ?? killed.filter(() => random() < 0.35);
      // Emitters are asked by one question at a time, so who crosses a line does so before they die.
      const crossing = crossSome(cluster, callers, drawing(round, 1), round, report);
      const deciding = decideSome(cluster, callers, drawing(round, 2), round, report);
      // Not before somebody was answered, or there is nothing to hold the rest against.
      const times = dying.map(() => 250 + random() * 800);
      const dead = dying.map(async (name, at) => {
        await delay(times[at]);
        await cluster.kill(name);
        report.kills[name] += 1;
      });
      await Promise.all([crossing, deciding, ...dead]);
      for (const name of dying)
        if (name === 'emitter' || name === 'direct')
          for (const { passed } of callers) passed.delete(cluster.emitters[killed.indexOf(name) - 3]!);
      await Promise.all(dying.map((name) => cluster.restart(name)));
      for (const caller of callers.slice(-watched)) {
        for (const emitter of cluster.emitters) await check(cluster, emitter, caller, round, refusals, report);
      }
      // What has ended once may be asked for again by its own calls.
      const over = callers.filter(({ kind, endsMs }) => kind === 'short' || endsMs < Date.now() - marginMs);
      for (const each of over) callers.splice(callers.indexOf(each), 1);
      report.rounds = round;
      options.progress?.(
        `round ${round}: killed ${dying.join(', ') || 'nobody'}; ${report.crossed} crossed, ${report.throttles} throttles, ${report.lifts} lifts; ${report.lost} lost, ${report.outlived} outlived, ${report.twice} twice, ${((Date.now() - begunMs) / 1000).toFixed(1)} s`,
      );
    }
    await cluster.readAll();
    checkRefusals(cluster.records, refusals, report);
    checkRecords(cluster.records, report);
    return report;
  } catch (error) {
    options.progress?.(cluster.processes.map((each) => each.log()).join('\n'));
    throw error;
  } finally {
    await cluster.stop();
  }
}

/** Callers of which every call was answered: those are in the spool, and the rule must fire. */
async function crossSome(
  cluster: ThrottleProcesses,
  callers: Caller[],
  random: () => number,
  round: number,
  report: ThrottleClusterReport,
): Promise<void> {
  for (const kind of ['long', 'short', 'long'] as const) {
    const emitter = cluster.emitters[random() < 0.5 ? 0 : 1]!;
    const actor = `${kind}-${round}-${report.crossed}`;
    const answer = await emitter.call(actor, threshold);
    report.crossed += 1;
    if (answer !== undefined)
      callers.push({ actor, kind, endsMs: Number.POSITIVE_INFINITY, isLifted: false, passed: new Map() });
  }
}

/** What is not acknowledged may hold or not: such a caller is not looked at. */
async function decideSome(
  cluster: ThrottleProcesses,
  callers: Caller[],
  random: () => number,
  round: number,
  report: ThrottleClusterReport,
): Promise<void> {
  for (let each = 0; each < 3; each++) {
    const lifted = callers
      .slice(-watched)
      .find(({ kind, isLifted, endsMs }) => kind !== 'short' && !isLifted && endsMs > Date.now() + settleMs);
    // A rule's caller has its lift only once there is a signal: a lift ends what was asked for before it.
    const target = lifted && signalId('default', 'person', { actor_id: lifted.actor }, []);
    if (lifted !== undefined && cluster.records.some((signal) => signal.signal_id === target) && random() < 0.4) {
      callers.splice(callers.indexOf(lifted), 1);
      if (!(await cluster.decide({ kind: 'lift', target }))) continue;
      report.lifts += 1;
      lifted.isLifted = true;
      callers.push(lifted);
      continue;
    }
    const actor = `hand-${round}-${each}`;
    const kind = random() < 0.5 ? 'block' : 'rate';
    const endsMs = Date.now() + (random() < 0.3 ? 3_000 + Math.floor(random() * 3_000) : 3_600_000);
    const limit = kind === 'block' ? { block: true } : { rate: '1/h', burst };
    const throttle = { scope: { actor_id: actor }, each: [], ...limit };
    if (!(await cluster.decide({ kind: 'throttle', throttle, ends_at: new Date(endsMs).toISOString() }))) continue;
    report.throttles += 1;
    callers.push({ actor, kind, endsMs, isLifted: false, passed: new Map() });
  }
}

/** Calls until the answer is the one that must come. */
async function check(
  cluster: ThrottleProcesses,
  emitter: Emitter,
  caller: Caller,
  round: number,
  refusals: Refusal[],
  report: ThrottleClusterReport,
): Promise<void> {
  const { actor, kind } = caller;
  const deadline = Date.now() + settleMs;
  for (;;) {
    const fromMs = Date.now();
    // A rate's burst is 3; one more call than that is refused.
    const calls = kind === 'rate' ? burst + 1 : 1;
    const answer = await emitter.call(actor, calls);
    if (answer === undefined) throw new Error('a server ended by itself');
    const untilMs = Date.now();
    report.asked += calls;
    report.refused += calls - answer.passed;
    const isRefused = answer.passed < calls;
    if (isRefused) refusals.push({ round, actor, fromMs, untilMs });
    const records = cluster.records.filter(({ scope }) => scope.actor_id === actor);
    if (kind === 'short') {
      // It held somewhere or not: that its signal came, and that the caller passes after its end, is what can be asked.
      const end = Math.max(...records.map(({ expires_at }) => Date.parse(expires_at)));
      if (records.length > 0 && fromMs > end + marginMs && !isRefused) return;
    } else {
      const holds = !caller.isLifted && caller.endsMs > untilMs + marginMs;
      const hasEnded = caller.endsMs < fromMs - marginMs;
      if (holds && kind === 'rate' && isRefused) {
        const passed = (caller.passed.get(emitter) ?? 0) + answer.passed;
        caller.passed.set(emitter, passed);
        if (passed > burst) {
          report.twice += 1;
          report.faults.push(`round ${round}: ${actor} had ${passed} calls of a burst of ${burst}`);
        }
      }
      if (holds ? isRefused : !isRefused || (!caller.isLifted && !hasEnded)) return;
    }
    if (Date.now() > deadline) {
      report.lost += 1;
      // For whoever looks into it.
      report.faults.push(...cluster.processes.map((each) => each.log()));
      report.faults.push(
        `round ${round}: ${caller.isLifted ? 'the lift' : 'the throttle'} of ${actor} is lost (${records.length} records)`,
      );
      return;
    }
    await delay(50);
  }
}

/** Every refusal needs a record that holds its caller back then. */
function checkRefusals(
  records: readonly ThrottleSignal[],
  refusals: readonly Refusal[],
  report: ThrottleClusterReport,
): void {
  for (const { round, actor, fromMs, untilMs } of refusals) {
    const isHeld = records.some(
      ({ scope, state, issued_at, expires_at }) =>
        scope.actor_id === actor &&
        state === 'active' &&
        Date.parse(issued_at) <= untilMs + marginMs &&
        Date.parse(expires_at) >= fromMs - marginMs,
    );
    if (isHeld) continue;
    report.outlived += 1;
    report.faults.push(`round ${round}: ${actor} was refused when no signal held`);
  }
}

function checkRecords(records: readonly ThrottleSignal[], report: ThrottleClusterReport): void {
  const revisions = new Map<string, Set<number>>();
  for (const { signal_id, revision } of records) {
    const known = revisions.get(signal_id) ?? new Set();
    revisions.set(signal_id, known);
    if (known.has(revision)) {
      report.twice += 1;
      report.faults.push(`revision ${revision} of ${signal_id} was written twice`);
    }
    known.add(revision);
  }
  for (const known of revisions.values()) report.gaps += Math.max(...known) - known.size;
  report.signals = revisions.size;
  report.records = records.length;
}
