/**
 * `new_value`: a value that its group did not have within `history`. Quiet until the rule has watched for `learn` and
 * the group had `warmup` events: without that the first hour would be all alerts.
 */
import { z } from 'zod';
import { ruleShape } from '../../../schemas/rule.js';
import type { Evaluator } from '../evaluator.js';
import { minute, type RuleType } from '../rule.js';
import { takeOverflow } from '../windowed.js';

/** Values of one group: at about 100 bytes each, 500 KB. More are not learned, counted, and no longer alerted on. */
const mostValues = 5_000;
const day = 24 * 60 * minute;

interface State {
  seen: Map<string, number>;
  events: number;
  /** When the first of them occurred. */
  since: number;
  newest: number;
  overflow: number;
}

export const newValue: RuleType = {
  name: 'new_value',
  summary: 'A field has a value that is new for its group.',
  shape: {
    field: z.string().describe('Field whose values are remembered for each group.'),
    on: z
      .enum(['new', 'returned'])
      .optional()
      .describe('`returned`: seen before, but not within `history`. Default new.'),
    history: ruleShape.lateness.describe('How long a value stays known. Default 30d.'),
    remember: ruleShape.lateness.describe('How long `returned` values are remembered. Default 12 times history.'),
    warmup: z
      .strictObject({
        events: z.number().int().min(0).optional().describe('Events that a group must have behind it.'),
        for: ruleShape.lateness,
      })
      .optional()
      .describe('Events and time that a group must have behind it. Default 20 events.'),
    learn: ruleShape.lateness.describe(
      'First-run guard: the rule only learns for so long after its first event. Default 1h.',
    ),
  },
  needsDetection: false,
  windows: [],
  defaultLatenessMicros: Number.POSITIVE_INFINITY,
  read(draft) {
    const field = draft.field(String(draft.keys.field), 'field');
    const warmup = (draft.keys.warmup ?? {}) as { events?: number };
    const history = draft.duration('history') ?? 30 * day;
    return {
      roles: [{ name: 'detection', expression: draft.main, ...(field && { valueField: field }) }],
      options: {
        on: draft.keys.on ?? 'new',
        history,
        remember: draft.duration('remember') ?? 12 * history,
        events: warmup.events ?? 20,
        for: draft.duration('warmup.for') ?? 0,
        learn: draft.duration('learn') ?? 60 * minute,
      },
      resolveAfterMicros: 0,
    };
  },
  evaluator(rule): Evaluator<State> {
    const { on, history, remember, events, learn } = rule.options as {
      on: string;
      history: number;
      remember: number;
      events: number;
      learn: number;
    };
    const since = Number(rule.options.for);
    const name = rule.roles[0]?.valueField?.name ?? 'value';
    const keep = on === 'returned' ? Math.max(remember, history) : history;
    return {
      keepMicros: keep,
      create: ({ time }) => ({ seen: new Map(), events: 0, since: time, newest: time, overflow: 0 }),
      event(state, { time, value, watchedSince }) {
        if (value === '') return undefined;
        const last = state.seen.get(value);
        const warm = state.events >= events && time - state.since >= since && time - watchedSince >= learn;
        state.events++;
        state.since = Math.min(state.since, time);
        state.newest = Math.max(state.newest, time);
        if (last === undefined && state.seen.size >= mostValues) forget(state, state.newest - keep);
        if (last === undefined && state.seen.size >= mostValues) {
          state.overflow++;
          return undefined;
        }
        state.seen.set(value, Math.max(last ?? time, time));
        const fires =
          on === 'new'
            ? last === undefined || time - last > history
            : last !== undefined && time - last > history && time - last <= keep;
        if (!fires || !warm) return undefined;
        return { at: time, values: { value }, once: true, also: { [name]: value } };
      },
      save: ({ seen, events: count, since: first, newest }) => ({
        seen: [...seen],
        events: count,
        since: first,
        newest,
      }),
      load(saved) {
        const from = saved as { seen: [string, number][]; events: number; since: number; newest: number };
        return { ...from, seen: new Map(from.seen), overflow: 0 };
      },
      bytes: ({ seen }) => 200 + seen.size * 100,
      overflow: takeOverflow,
    };
  },
};

function forget(state: State, before: number): void {
  for (const [value, last] of state.seen) if (last < before) state.seen.delete(value);
}
