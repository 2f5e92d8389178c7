/**
 * The detector: from the topic `calls` to the topic `alerts`. It reads the partitions that it is given in one order
 * (`merge.ts`), feeds the engine, appends its alerts, and writes offsets and state together (`checkpoint.ts`).
 *
 * What always holds: alerts are appended before a checkpoint that lies behind them is written. After a kill the records
 * since the last checkpoint are taken again and raise the same alerts again, with the same ids and revisions.
 *
 * One detector reads all partitions, and the others of its group stand by (`oneOwner`): calls are spread by actor, and a
 * rule that groups by server, tool or tenant counts across partitions. A detector that takes over has a disk of its own;
 * it goes on from the group's committed offsets, its rules learn from stored history what they would know, and open
 * alerts are those of the table.
 */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import type { Alert } from '../../schemas/alert.js';
import { ConsumerProgress, type Health } from '../stream/progress.js';
import { Abandoned, pause, pauseMs, untilDone } from '../stream/retry.js';
import type { Consumer, NewRecord, Stream } from '../stream/stream.js';
import { writeCheckpoint } from './checkpoint.js';
import { type DetectorStatus, statusOf } from './detector-status.js';
import { Engine, type EngineLimits } from './engine.js';
import { type EngineRecord, streamMicros } from './event-reader.js';
import type { Ask } from './history.js';
import type { RuleSources } from './load.js';
import { Merge } from './merge.js';
import { detectorMetrics } from './metrics.js';
import type { RuleSet } from './rule.js';
import { RuleDirectory } from './rule-directory.js';
import { type DetectorState, type TakingUp, takeMore, takeUp, withRules } from './take-up.js';

export interface DetectorTimes {
  /** Between two looks at the rule files. */
  readonly reloadMs: number;
  /** Between two checkpoints at least, when there was something to do. */
  readonly checkpointMs: number;
  /** How long a record of one partition waits for older ones of others. */
  readonly holdMs: number;
  /** For what is in hand when it stops. */
  readonly stopMs: number;
}

export interface DetectorOptions {
  readonly stream: Stream;
  /** Where the checkpoint lies; made when it is not there. */
  readonly directory: string;
  readonly rules: RuleSources;
  readonly metrics: Registry;
  /** Asks the store for history; without it new rules begin with nothing. */
  readonly ask?: Ask;
  /** Highest stored offset of each partition: a detector that was never here begins after it. */
  readonly storedOffsets?: () => Promise<ReadonlyMap<number, number>>;
  readonly limits?: Partial<EngineLimits>;
  readonly times?: Partial<DetectorTimes>;
  /** Tenant of records without the gateway's header. */
  readonly direct?: { readonly tenant: string; readonly mayNameTenant: boolean };
  readonly onFault?: (error: unknown, what: string) => void;
  /** What is worth a line in the log. */
  readonly report?: (what: string, details: Readonly<Record<string, unknown>>) => void;
  /** What somebody should mend: rule files with mistakes, and doubtful ones. */
  readonly warn?: (what: string, details: Readonly<Record<string, unknown>>) => void;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
}

export interface Detector {
  status(): DetectorStatus;
  health(): Health;
  /** Finishes what is in hand, writes a checkpoint and stops. Idempotent. */
  close(): Promise<void>;
}

const topic = 'calls';
const group = 'detector';
/** Held for 40 ms: a fetch of the only owner waits at most 25 ms at the broker, and an alert waits as long as its call. */
const defaultTimes: DetectorTimes = { reloadMs: 2_000, checkpointMs: 10_000, holdMs: 40, stopMs: 10_000 };
/** Milliseconds of work between two turns of the rest of the process. */
const turnMs = 4;
/** A checkpoint may take a twentieth of the time. */
const checkpointShare = 20;
/** Clocks of brokers and of this machine differ by less: an idle stream's time is behind ours by so much. */
const clockMarginMs = 5_000;
/** How often an idle stream's time is looked at. */
const idleMs = 1_000;

/** Lets the rest of the process have its turn. */
const giveWay = (): Promise<void> => setImmediate();

/** Starts to detect. Faults of the stream are retried for ever and reported; broken rule files leave it without rules. */
export function startDetector(options: DetectorOptions): Detector {
  return new RunningDetector(options);
}

class RunningDetector implements Detector {
  private readonly times: DetectorTimes;
  private readonly clock: () => number;
  private readonly file: string;
  private readonly directory: RuleDirectory;
  private readonly merge: Merge;
  private readonly progress: ConsumerProgress;
  private readonly metrics: ReturnType<typeof detectorMetrics>;
  private readonly stopping = new AbortController();
  /** Aborted some time after `stopping`: what is not appended by then is raised again by the next process. */
  private readonly givingUp = new AbortController();
  private readonly around: TakingUp;
  private readonly running: Promise<void>;
  private rules: RuleSet = { rules: [], calendars: new Map() };
  private state: DetectorState;
  private pending: Alert[] = [];
  private consumer: Consumer | undefined;
  /** One step at a time: a turn of work, a change of partitions. */
  private last: Promise<unknown> = Promise.resolve();
  private wake: () => void = () => undefined;
  /** Something came since the turn began: it is not slept over, whenever in the turn it came. */
  private hasNews = false;
  private closing: Promise<void> | undefined;
  private checkpointAtMs: number | undefined;
  private nextCheckpointMs: number;
  private nextReloadMs = 0;
  /** Something was taken since the last checkpoint. */
  private dirty = false;

  constructor(private readonly options: DetectorOptions) {
    this.times = { ...defaultTimes, ...options.times };
    this.clock = options.clock ?? Date.now;
    this.nextCheckpointMs = this.clock() + this.times.checkpointMs;
    this.file = join(options.directory, 'checkpoint');
    this.directory = new RuleDirectory(options.rules, { excerpts: false, pause: giveWay });
    this.merge = new Merge(this.times.holdMs);
    this.progress = new ConsumerProgress({ stream: options.stream, topic, clock: this.clock });
    this.around = {
      stream: options.stream,
      group,
      making: (rules) => Engine.making(rules, (alert) => this.pending.push(alert), options.limits),
      limits: options.limits ?? {},
      ask: options.ask,
      storedOffsets: options.storedOffsets,
      report: (what, details) => options.report?.(what, details),
      clock: this.clock,
      pause: giveWay,
      signal: this.stopping.signal,
    };
    this.state = this.nothing();
    this.metrics = detectorMetrics(options.metrics, {
      engine: () => this.state.engine,
      lags: () => this.progress.lags(),
      problems: () => this.directory.problems.length,
      checkpointAtMs: () => this.checkpointAtMs,
    });
    this.progress.start();
    this.running = this.run();
  }

  private nothing(): DetectorState {
    return { engine: new Engine({ rules: [], calendars: new Map() }, () => undefined), offsets: new Map() };
  }

  /** Runs a step when no other one runs. */
  private exclusively<T>(step: () => Promise<T>): Promise<T> {
    const result = this.last.then(step);
    this.last = result.catch(() => undefined);
    return result;
  }

  private fault(error: unknown, what: string): void {
    if (error instanceof Abandoned) return;
    this.progress.failed(what);
    this.options.onFault?.(error, what);
  }

  /** Sessions of a consumer, one after the other: a fault of the stream begins a new one, from the checkpoint. */
  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await this.session();
      } catch (error) {
        this.fault(error, 'reading the stream');
        await pause(pauseMs(attempt), signal).catch(() => undefined);
      }
    }
  }

  private async session(): Promise<void> {
    const { signal } = this.stopping;
    this.state = this.nothing();
    this.pending = [];
    this.dirty = false;
    const consumer = await this.options.stream.consume({
      topic,
      group,
      oneOwner: true,
      assigned: (partitions) => this.exclusively(() => this.assigned(partitions)),
      revoked: (partitions) => this.exclusively(() => this.revoked(partitions)),
      batch: (batch) => {
        const taken = this.merge.push(batch);
        this.hasNews = true;
        this.wake();
        return taken;
      },
    });
    this.consumer = consumer;
    let ended = false;
    const over = consumer.closed.finally(() => {
      ended = true;
      this.hasNews = true;
      this.wake();
    });
    over.catch(() => undefined);
    try {
      while (!ended && !signal.aborted) {
        this.hasNews = false;
        const waitMs = await this.exclusively(() => this.turn());
        if (waitMs > 0 && !this.hasNews) await this.sleep(waitMs);
        else await setImmediate();
      }
      if (!ended) await this.exclusively(() => this.save());
    } finally {
      // What is in hand and was not taken comes again. Letting it go ends the consumer's handlers.
      this.merge.remove([...this.state.offsets.keys()]);
      await consumer.close();
    }
    await over;
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.stopping.signal.aborted) this.wake();
    });
  }

  private async assigned(partitions: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const { signal } = this.stopping;
    await this.readRules();
    const first = this.state.offsets.size === 0;
    const { state, drained } = await untilDone(
      () =>
        first ? takeUp(this.around, this.rules, partitions, this.file) : takeMore(this.around, this.state, partitions),
      (error) => this.fault(error, 'taking up the state'),
      signal,
    );
    this.state = state;
    for (const partition of partitions) {
      this.merge.add(partition, drained.has(partition));
      this.progress.assigned(partition, state.offsets.get(partition));
    }
    return state.offsets;
  }

  private async revoked(partitions: readonly number[]): Promise<void> {
    await this.save();
    this.merge.remove(partitions);
    for (const partition of partitions) {
      this.state.offsets.delete(partition);
      this.progress.revoked(partition);
    }
  }

  /** Reads rule files that changed. True when other rules are to be in force. */
  private async readRules(): Promise<boolean> {
    const before = this.directory.problems;
    const changed = await this.directory.changed();
    if (changed !== undefined) {
      this.rules = changed.set;
      this.metrics.reloads.inc({ result: 'taken' });
      for (const warning of changed.warnings) this.options.warn?.('a rule file is doubtful', { ...warning });
      return true;
    }
    if (this.directory.problems !== before) {
      this.metrics.reloads.inc({ result: 'refused' });
      const [problem] = this.directory.problems;
      if (problem !== undefined)
        this.options.warn?.('rule files have mistakes; the rules of before stay in force', {
          problems: this.directory.problems.length,
          first: `${problem.file}:${problem.line}:${problem.column}: ${problem.message}`,
        });
    }
    return false;
  }

  /** Works for a moment. Resolves to how long there is nothing to do, in milliseconds. */
  private async turn(): Promise<number> {
    const now = this.clock();
    if (this.state.offsets.size === 0) return idleMs;
    if (now >= this.nextReloadMs) {
      this.nextReloadMs = now + this.times.reloadMs;
      if (await this.readRules()) {
        const engine = await withRules(this.around, this.state, this.rules);
        this.state = { ...this.state, engine };
        this.options.report?.('rules are in force', { rules: engine.status().length });
      }
    }
    const until = performance.now() + turnMs;
    let waitMs = 0;
    while (waitMs === 0 && performance.now() < until) waitMs = this.takeSome(now);
    if (waitMs > 0 && this.merge.idle) this.state.engine.passTime(streamMicros(now - clockMarginMs));
    await this.flush();
    if (this.dirty && this.clock() >= this.nextCheckpointMs) await this.checkpoint();
    return Math.min(waitMs, idleMs, Math.max(1, this.nextReloadMs - this.clock()));
  }

  /** Takes at most 64 records: the time is looked at in between, which costs as much as a record. */
  private takeSome(now: number): number {
    const { tenant, mayNameTenant } = this.options.direct ?? { tenant: 'default', mayNameTenant: false };
    const { engine, offsets } = this.state;
    const records: EngineRecord[] = [];
    let waitMs = 0;
    while (records.length < 64) {
      const next = this.merge.next(now);
      if ('waitMs' in next) {
        ({ waitMs } = next);
        break;
      }
      const { partition, record } = next;
      records.push({
        value: record.value,
        tenant: record.headers.tenant ?? (mayNameTenant ? undefined : tenant),
        otherwiseTenant: tenant,
        producerKey: record.headers.producer_key ?? '',
        partition,
        offset: record.offset,
        recordedAtMicros: streamMicros(record.timestamp),
      });
    }
    engine.takeAll(records);
    for (const { partition, offset } of records) offsets.set(partition, offset + 1);
    if (records.length > 0) this.dirty = true;
    return waitMs;
  }

  /** Appends the alerts that were raised; a stream that is away is waited for. */
  private async flush(): Promise<void> {
    const alerts = this.pending;
    if (alerts.length > 0) {
      const records: NewRecord[] = alerts.map((alert) => ({
        key: alert.alert_id,
        value: Buffer.from(JSON.stringify(alert)),
        headers: { tenant: alert.tenant },
      }));
      await untilDone(
        () => this.options.stream.append('alerts', records),
        (error) => this.fault(error, 'appending alerts'),
        this.givingUp.signal,
      );
      for (const { rule_id, state } of alerts) this.metrics.alerts.inc({ rule: rule_id, state });
      this.pending = [];
    }
    for (const [partition, offset] of this.state.offsets) this.progress.reached(partition, offset);
  }

  private async save(): Promise<void> {
    await this.flush();
    if (this.dirty) await this.checkpoint();
  }

  private async checkpoint(): Promise<void> {
    const started = performance.now();
    const { engine, offsets } = this.state;
    try {
      const head = { offsets: new Map(offsets), writtenAtMs: this.clock() };
      await writeCheckpoint(this.file, head, engine.save(), this.around.pause);
      this.checkpointAtMs = head.writtenAtMs;
      this.dirty = false;
    } catch (error) {
      // A full disk ends no detection; after a kill more records are taken again.
      this.fault(error, 'writing the checkpoint');
    }
    const tookMs = performance.now() - started;
    this.metrics.checkpointSeconds.observe(tookMs / 1000);
    this.nextCheckpointMs = this.clock() + Math.max(this.times.checkpointMs, tookMs * checkpointShare);
    if (!this.dirty) for (const [partition, offset] of offsets) await this.consumer?.commit(partition, offset);
  }

  health(): Health {
    return this.progress.health();
  }

  status(): DetectorStatus {
    const lag = this.progress.lags().reduce((total, each) => total + each.lag, 0);
    return statusOf(this.state.engine, { problems: this.directory.problems, lag, checkpointAtMs: this.checkpointAtMs });
  }

  close(): Promise<void> {
    this.closing ??= (async () => {
      this.stopping.abort();
      this.wake();
      const timer = setTimeout(() => this.givingUp.abort(), this.times.stopMs).unref();
      await this.running;
      clearTimeout(timer);
      this.progress.stop();
    })();
    return this.closing;
  }
}
