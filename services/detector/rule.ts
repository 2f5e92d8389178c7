/** A rule as the engine takes it: checked, resolved, free of spelling. */
import type { z } from 'zod';
import type { AlertAction, AlertState, Level } from '../../schemas/alert.js';
import type { CalendarDefinition } from '../../schemas/calendar.js';
import type { Evaluator } from './evaluator.js';
import type { Comparison, Expression } from './expression.js';
import type { FieldReference } from './fields.js';
import type { Memory } from './memory.js';
import type { Located, Place } from './yaml.js';

/** One selection of a rule, with where its group and its value stand in matching events. */
export interface Role {
  readonly name: string;
  readonly expression: Expression;
  readonly groupBy: readonly FieldReference[];
  readonly valueField?: FieldReference;
}

export interface Window {
  readonly kind: 'sliding' | 'tumbling' | 'session';
  /** Length; of a session the gap that ends it. */
  readonly sizeMicros: number;
}

export interface Threshold {
  readonly comparison: Comparison;
  readonly value: number;
}

export interface Realert {
  readonly everyMicros: number;
  readonly factor: number;
  readonly maxMicros: number;
}

/** Events of a rule's test: `repeat` of them, `everyMicros` apart. Times count from the test's start. */
export interface TestEvents {
  readonly atMicros: number;
  /** How long after it occurred the stream recorded it. */
  readonly lateMicros: number;
  readonly repeat: number;
  readonly everyMicros: number;
  /** By canonical field name; `arguments.path` and the like are put into their bodies. */
  readonly fields: ReadonlyMap<string, unknown>;
}

export interface TestExpectation {
  readonly atMicros?: number;
  readonly state: AlertState;
  /** What the alert's group says, by canonical field name. */
  readonly group: ReadonlyMap<string, string>;
  readonly values: ReadonlyMap<string, string | number>;
  readonly count?: number;
  readonly place: Place;
}

export interface RuleTest {
  readonly name: string;
  readonly place: Place;
  readonly startMicros: number;
  readonly events: readonly TestEvents[];
  readonly untilMicros: number;
  readonly expect: readonly TestExpectation[];
}

export interface Rule {
  readonly id: string;
  readonly type: string;
  /** Hash of what decides when it fires: two spellings of one meaning have one version. First 16 hex digits. */
  readonly version: string;
  readonly title: string;
  readonly description: string;
  readonly level: Level;
  readonly tags: readonly string[];
  readonly references: readonly string[];
  readonly runbook: string;
  readonly enabled: boolean;
  readonly dryRun: boolean;
  readonly roles: readonly Role[];
  /** Names of the group's fields as alerts show them. */
  readonly groupNames: readonly string[];
  readonly window?: Window;
  /** Infinity: an event counts however late it is recorded. */
  readonly latenessMicros: number;
  readonly threshold?: Threshold;
  /** What the rule's type read from its own keys. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly realert: Realert;
  /** Micros without the condition after which an alert is resolved; 0: it is a fact and never resolved. */
  readonly resolveAfterMicros: number;
  readonly maxKeys: number;
  readonly actions: readonly AlertAction[];
  readonly tests: readonly RuleTest[];
  readonly file: string;
  readonly place: Place;
}

export interface RuleSet {
  readonly rules: readonly Rule[];
  readonly calendars: ReadonlyMap<string, CalendarDefinition>;
}

/** What a rule type's reader gets: the checked keys, and how to read what is inside. */
export interface Draft {
  readonly keys: Readonly<Record<string, unknown>>;
  readonly located: Located;
  readonly window: Window | undefined;
  readonly threshold: Threshold | undefined;
  /** The rule's `detection`, exceptions and calendar applied; true when it has none. */
  readonly main: Expression;
  /** Another selection or detection below a key, exceptions and calendar applied. */
  selection(located: Located): Expression;
  field(written: string, key: string): FieldReference | undefined;
  duration(key: string): number | undefined;
  problem(key: string, message: string): void;
}

export interface RuleType {
  readonly name: string;
  readonly summary: string;
  /** Keys besides the common ones. */
  readonly shape: Readonly<Record<string, z.ZodType>>;
  readonly needsDetection: boolean;
  /** Throttled and denied calls are left out, so that a throttle can end. */
  readonly volume?: boolean;
  /** The order of its roles means nothing. */
  readonly unordered?: boolean;
  readonly windows: readonly Window['kind'][];
  readonly defaultLatenessMicros: number;
  /** Reads its own keys. */
  read(draft: Draft): {
    readonly roles: readonly {
      readonly name: string;
      readonly expression: Expression;
      readonly valueField?: FieldReference;
    }[];
    readonly options: Readonly<Record<string, unknown>>;
    /** Default of resolve_after; 0 for alerts that are facts. */
    readonly resolveAfterMicros: number;
  };
  evaluator(rule: Rule, memory: Memory): Evaluator;
}

export const minute = 60e6;
export const defaultLateness = 2 * minute;

export function holds({ comparison, value }: Threshold, measured: number): boolean {
  switch (comparison) {
    case 'gt':
      return measured > value;
    case 'gte':
      return measured >= value;
    case 'lt':
      return measured < value;
    case 'lte':
      return measured <= value;
    case 'eq':
      return measured === value;
    case 'neq':
      return measured !== value;
  }
}
