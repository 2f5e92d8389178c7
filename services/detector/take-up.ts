/**
 * Where a detector begins: state and offsets of the checkpoint; rules that it does not know are run over stored history.
 */
import type { Stream } from '../stream/stream.js';
import { type CheckpointHead, CheckpointUnusable, readCheckpoint } from './checkpoint.js';
import type { Engine, EngineLimits } from './engine.js';
import { streamMicros } from './event-reader.js';
import type { Ask } from './history.js';
import { openAlerts } from './open-alerts.js';
import type { Rule, RuleSet } from './rule.js';
import { inTurns } from './turns.js';
import { untilStored } from './until-stored.js';
import { warmUp } from './warmup.js';

export interface DetectorState {
  readonly engine: Engine;
  /** Next offset of each partition. */
  readonly offsets: Map<number, number>;
}

export interface TakingUp {
  readonly stream: Stream;
  readonly group: string;
  /** An engine of its own for these rules, in steps. */
  readonly making: (rules: RuleSet) => Generator<void, Engine>;
  readonly limits: Partial<EngineLimits>;
  readonly ask: Ask | undefined;
  readonly storedOffsets: (() => Promise<ReadonlyMap<number, number>>) | undefined;
  readonly report: (what: string, details: Readonly<Record<string, unknown>>) => void;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
  /** Lets the rest of the process have its turn. */
  readonly pause: () => Promise<void>;
  /** Aborted when the detector stops. */
  readonly signal: AbortSignal;
}

export interface TakenUp {
  readonly state: DetectorState;
  /** Partitions that were read to their end already. */
  readonly drained: ReadonlySet<number>;
}

const topic = 'calls';

/** The state for the first partitions of a consumer. */
export async function takeUp(
  around: TakingUp,
  rules: RuleSet,
  partitions: readonly number[],
  file: string,
): Promise<TakenUp> {
  const engine = await inTurns(around.making(rules), around.pause);
  const checkpoint = await usable(around, file);
  const known = checkpoint === undefined ? new Set<string>() : engine.load(checkpoint.pieces);
  const { offsets, drained } = await begin(around, partitions, checkpoint?.head.offsets ?? new Map());
  if (around.ask !== undefined && newTo(engine, known).length > 0 && !(await untilStored(around, offsets)))
    around.report('stored history is behind the stream; what is not stored yet is missing from what rules learn', {
      partitions,
    });
  await teach(around, engine, known, offsets);
  return { state: { engine, offsets }, drained };
}

/** More partitions for a consumer that has some: groups in them begin with nothing. */
export async function takeMore(
  around: TakingUp,
  { engine, offsets }: DetectorState,
  partitions: readonly number[],
): Promise<TakenUp> {
  const more = await begin(around, partitions, new Map());
  around.report('took over partitions of another detector; their groups begin anew', { partitions });
  return { state: { engine, offsets: new Map([...offsets, ...more.offsets]) }, drained: more.drained };
}

/** The same state under other rules: what is unchanged goes on, what is new learns from history. */
export async function withRules(around: TakingUp, { engine, offsets }: DetectorState, rules: RuleSet): Promise<Engine> {
  const next = await inTurns(around.making(rules), around.pause);
  const known = await inTurns(next.succeeding(engine), around.pause);
  await teach(around, next, known, offsets);
  return next;
}

/** The checkpoint, when it is whole and of this stream. */
async function usable(
  { stream, report }: TakingUp,
  file: string,
): Promise<ReturnType<typeof readCheckpoint> | undefined> {
  let checkpoint: ReturnType<typeof readCheckpoint>;
  try {
    checkpoint = readCheckpoint(file);
  } catch (error) {
    if (!(error instanceof CheckpointUnusable)) throw error;
    report('the checkpoint is not usable; the rules learn from stored history', { error: error.message });
    return undefined;
  }
  if (checkpoint === undefined) return undefined;
  const states = await stream.partitions(topic);
  const ahead = states.filter(({ partition, endOffset }) => offsetOf(checkpoint.head, partition) > endOffset);
  if (ahead.length === 0) return checkpoint;
  report('the checkpoint is of another stream; the rules learn from stored history', {
    partitions: ahead.map(({ partition }) => partition),
  });
  return undefined;
}

const offsetOf = ({ offsets }: CheckpointHead, partition: number): number => offsets.get(partition) ?? 0;

/**
 * Where to read on: after the checkpoint, else where the group was, else after what is stored, else at the beginning.
 */
async function begin(
  { stream, group, storedOffsets, report }: TakingUp,
  partitions: readonly number[],
  saved: ReadonlyMap<number, number>,
): Promise<{ offsets: Map<number, number>; drained: Set<number> }> {
  const states = new Map((await stream.partitions(topic)).map((each) => [each.partition, each]));
  const unsaved = partitions.filter((partition) => !saved.has(partition));
  const committed = unsaved.length === 0 ? new Map<number, number>() : await stream.committed(topic, group);
  const never = unsaved.filter((partition) => !committed.has(partition));
  const stored = never.length === 0 ? undefined : await storedOffsets?.();
  const offsets = new Map<number, number>();
  const drained = new Set<number>();
  for (const partition of partitions) {
    const { earliestOffset = 0, endOffset = 0 } = states.get(partition) ?? {};
    const behind = stored?.get(partition);
    const wanted = saved.get(partition) ?? committed.get(partition) ?? (behind === undefined ? 0 : behind + 1);
    if (wanted < earliestOffset && (saved.has(partition) || committed.has(partition)))
      report('records left the stream before the detector had seen them', {
        partition,
        from: wanted,
        until: earliestOffset,
      });
    const offset = Math.min(Math.max(wanted, earliestOffset), Math.max(earliestOffset, endOffset));
    offsets.set(partition, offset);
    if (offset >= endOffset) drained.add(partition);
  }
  return { offsets, drained };
}

function newTo({ ruleSet }: Engine, known: ReadonlySet<string>): Rule[] {
  return ruleSet.rules.filter(({ enabled, id }) => enabled && !known.has(id));
}

async function teach(
  { ask, limits, pause, report, clock }: TakingUp,
  engine: Engine,
  known: ReadonlySet<string>,
  offsets: ReadonlyMap<number, number>,
): Promise<void> {
  const { ruleSet } = engine;
  const fresh = newTo(engine, known);
  if (fresh.length === 0 || ask === undefined) return;
  const untilMicros = Number.isFinite(engine.clock) ? engine.clock : streamMicros(clock());
  const names = fresh.slice(0, 20).map(({ id }) => id);
  try {
    const warmed = await warmUp(ask, {
      rules: { ...ruleSet, rules: fresh },
      untilMicros,
      offsets,
      limits,
      pause,
    });
    // What the rules would have alerted on is not told, and a condition that holds now is told when it next holds: unless
    // a detector before this one has told it, whose alerts go on.
    const seenMicros = Number.isFinite(warmed.engine.clock) ? warmed.engine.clock : untilMicros;
    warmed.engine.goOn(await openAlerts(ask, fresh, seenMicros));
    await inTurns(engine.adopting(warmed.engine), pause);
    report('new rules learned from stored history', {
      rules: fresh.length,
      names,
      events: warmed.events,
      ...(warmed.sinceMicros !== undefined && { since: new Date(warmed.sinceMicros / 1000).toISOString() }),
      ...(warmed.cut && { more: 'there is more history than is read' }),
    });
  } catch (error) {
    // Detection does not wait for the store: what comes is looked at, what was is not known.
    report('new rules begin without history, because the store did not answer', { names, error: String(error) });
  }
}
