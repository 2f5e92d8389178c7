/**
 * A new or changed rule begins with what it would know had it always been there: it is run over stored history, silently.
 */
import { Engine, type EngineLimits } from './engine.js';
import type { EngineRecord } from './event-reader.js';
import { selectionSql } from './evidence.js';
import { type Ask, type HistoryRange, readHistory, rowsByHour } from './history.js';
import type { RuleSet } from './rule.js';
import { inTurns } from './turns.js';

/** Rows for all new rules together: about half a minute. The newest are taken. */
const mostRows = 2_000_000;
/** Longest condition that is sent; beyond it all calls are read. */
const longestWhere = 32_768;
/** Records between two looks at the time. */
const takenAtOnce = 64;

export interface WarmUpRequest {
  readonly rules: RuleSet;
  /** The stream's time up to which the engine is, microseconds. */
  readonly untilMicros: number;
  /** Next offset of each partition: what is stored from there on comes by the stream. */
  readonly offsets: ReadonlyMap<number, number>;
  readonly limits: Partial<EngineLimits>;
  readonly pause: () => Promise<void>;
}

export interface WarmUp {
  readonly engine: Engine;
  readonly events: number;
  /** The stream's time from which on history was read; undefined when there was none. */
  readonly sinceMicros: number | undefined;
  /** There is more history than is read. */
  readonly cut: boolean;
}

export async function warmUp(ask: Ask, request: WarmUpRequest): Promise<WarmUp> {
  const engine = await inTurns(
    Engine.making(request.rules, () => undefined, request.limits),
    request.pause,
  );
  const range = rangeOf(engine, request);
  if (range === undefined) return { engine, events: 0, sinceMicros: undefined, cut: false };
  const hours = await rowsByHour(ask, range);
  let from = hours.length;
  for (let rows = 0; from > 0; from--) {
    rows += (hours[from - 1] as { rows: number }).rows;
    if (rows > mostRows) break;
  }
  if (from === hours.length) return { engine, events: 0, sinceMicros: undefined, cut: hours.length > 0 };
  const sinceMicros = Math.max(range.fromMicros, (hours[from] as { hourMicros: number }).hourMicros);
  let events = 0;
  for await (const records of readHistory(ask, { ...range, fromMicros: sinceMicros }, engine.columns)) {
    await inTurns(taking(engine, records), request.pause);
    events += records.length;
    await request.pause();
  }
  return { engine, events, sinceMicros, cut: from > 0 };
}

function* taking(engine: Engine, records: readonly EngineRecord[]): Generator<void> {
  for (let from = 0; from < records.length; from += takenAtOnce) {
    engine.takeAll(records.slice(from, from + takenAtOnce));
    yield;
  }
}

/** What the rules remember, and no more: each as far back as its groups live, and only what it selects. */
function rangeOf(engine: Engine, { untilMicros, offsets }: WarmUpRequest): HistoryRange | undefined {
  const wanted: { fromMicros: number; condition: string | undefined }[] = [];
  for (const { rule, keepMicros } of engine.memories()) {
    if (keepMicros <= 0) continue;
    wanted.push({
      fromMicros: untilMicros - keepMicros,
      condition: selectionSql(rule.roles.map((role) => role.expression)),
    });
  }
  if (wanted.length === 0) return undefined;
  const fromMicros = Math.max(0, Math.min(...wanted.map((each) => each.fromMicros)));
  const parts = wanted.map(
    (each) =>
      `(c.recorded_at >= fromUnixTimestamp64Milli(${Math.max(0, Math.floor(each.fromMicros / 1000))}, 'UTC')${each.condition === undefined ? '' : ` AND ${each.condition}`})`,
  );
  const some = [...new Set(parts)].join(' OR ');
  const before = [...offsets].map(
    ([partition, offset]) => `(c.stream_partition = ${partition} AND c.stream_offset < ${offset})`,
  );
  const where = [
    ...(some.length <= longestWhere ? [`(${some})`] : []),
    ...(before.length > 0 ? [`(${before.join(' OR ')})`] : []),
  ].join(' AND ');
  // The stream's clock may be behind that of who asks: what is stored below the offsets is history, whenever it was.
  return { fromMicros, untilMicros: untilMicros + 3_600e6, ...(where !== '' && { where }) };
}
