/**
 * What a rule type does with the events of one group: a state machine, pure, told of events and of time.
 *
 * Two times. An event's own time (`time`) decides in which window it is and what comes before what. The stream's time
 * (`recorded`, `clock`) only rises; it decides how long a window waits for more. Microseconds since the epoch.
 */
export interface Happening {
  /** The event's own time; one from the future was set back to `recorded`. */
  readonly time: number;
  /** The stream's time of its record. */
  readonly recorded: number;
  /** Greatest own time of this group's events so far, this one included. None older than this less the lateness comes. */
  readonly newest: number;
  /** Bit i: the event matches role i. */
  readonly roles: number;
  /** Text of the value field; '' without one. */
  readonly value: string;
  readonly eventId: string;
  /** Own time of the first event that the rule saw: its first-run guard counts from here. */
  readonly watchedSince: number;
}

export interface Trigger {
  /** Event time at which the condition held. */
  readonly at: number;
  readonly values: Readonly<Record<string, number | string>>;
  /** Start of an alert of its own; without it the trigger starts or prolongs the group's episode. */
  readonly once?: boolean;
  /** Shown with the group's fields, and part of its identity. */
  readonly also?: Readonly<Record<string, string>>;
}

/** What `event` answers when the event belongs to a window that was closed. */
export const late = 'late';

export interface Elapsed {
  readonly triggers: readonly Trigger[];
  /** The episode ended at this event time. */
  readonly resolved?: number;
}

export const nothingElapsed: Elapsed = { triggers: [] };

/** The state machine of one rule over one group. */
export interface Evaluator<State = unknown> {
  /**
   * Micros of the stream's time without a record of the group after which its state says no more than a new one would.
   * The group then begins anew. At least as long as anything in it waits for time to pass.
   */
  readonly keepMicros: number;
  create(happening: Happening): State;
  /** Lets go of a state that is asked for nothing any more. */
  free?(state: State): void;
  event(state: State, happening: Happening): Trigger | typeof late | undefined;
  /**
   * Next stream's time at which `elapsed` has something to do, and after `elapsed` a later one. A type without it never
   * waits for time.
   */
  due?(state: State): number;
  elapsed?(state: State, clock: number): Elapsed;
  /** When an event ended the group's episode itself: the time it did. */
  resolved?(state: State): number | undefined;
  /** Reads what `event` will read first; what it returns is of no use. */
  fetch?(state: State): number;
  save(state: State): unknown;
  load(saved: unknown): State;
  /** Bytes of memory, roughly. */
  bytes(state: State): number;
  /** Values that a limit kept out, since last asked. */
  overflow?(state: State): number;
}
