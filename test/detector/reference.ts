/**
 * What rules mean, as plainly as it can be said: for each event everything is computed again from all events of its group.
 * Slow, and short enough to be read against the documentation. The engine is held to it.
 */

/** An event of one group, times in any unit. */
export interface Seen {
  /** Own time; never ahead of `recorded`. */
  readonly time: number;
  readonly recorded: number;
  readonly value: string;
  /** Selections that hold, by number. */
  readonly roles: readonly number[];
}

export interface Crossing {
  readonly at: number;
  readonly measured?: number;
}

export interface Meaning {
  readonly lateness: number;
  /** A group is forgotten after so much of the stream's time without an event. */
  readonly keep: number;
  readonly resolveAfter: number;
  /** Wait of an episode for more; the lateness, or what stands for it. */
  readonly grace: number;
  /** Makes what judges the events of a group from its beginning. */
  judge(): Judge;
}

/** Judges a group by all its events, in the order in which they came. */
export interface Judge {
  /** The last one of `all` has just come. 'late': it belongs to a window that was closed. */
  event(all: readonly Seen[]): Crossing | 'late' | undefined;
  /** When time alone makes a difference; Infinity for never. */
  due?(): number;
  elapsed?(at: number): readonly Crossing[];
  /** Time at which what has just come, or has just passed, ended the group's episode. */
  ended?(): number | undefined;
}

/** Lines that say what was alerted on. */
export function expectedAlerts(events: readonly Seen[], until: number, meaning: Meaning): string[] {
  const told: string[] = [];
  let all: Seen[] = [];
  let judge = meaning.judge();
  let episode: { start: number; last: number; recorded: number; count: number } | undefined;
  const resolve = (at: number): void => {
    if (episode !== undefined) told.push(`resolved ${at} since ${episode.start} count ${episode.count}`);
    episode = undefined;
  };
  const trigger = ({ at, measured }: Crossing, recorded: number): void => {
    if (episode !== undefined && at > episode.last + meaning.resolveAfter) resolve(episode.last + meaning.resolveAfter);
    if (episode === undefined) {
      episode = { start: at, last: at, recorded, count: 1 };
      told.push(`firing ${at}${measured === undefined ? '' : ` with ${measured}`}`);
    } else episode = { ...episode, last: Math.max(episode.last, at), recorded, count: episode.count + 1 };
  };
  const passTime = (clock: number): void => {
    for (;;) {
      const ends =
        episode === undefined
          ? Number.POSITIVE_INFINITY
          : Math.max(episode.last + meaning.resolveAfter, episode.recorded) + meaning.grace + 1;
      const due = judge.due?.() ?? Number.POSITIVE_INFINITY;
      if (Math.min(ends, due) > clock) return;
      if (ends <= due) resolve((episode as { last: number }).last + meaning.resolveAfter);
      else {
        for (const each of judge.elapsed?.(due) ?? []) trigger(each, due);
        const ended = judge.ended?.();
        if (ended !== undefined) resolve(ended);
      }
    }
  };
  for (const event of events) {
    passTime(event.recorded);
    const before = all[all.length - 1];
    if (before !== undefined && event.recorded > before.recorded + meaning.keep) {
      all = [];
      judge = meaning.judge();
    }
    if (event.time < Math.max(event.time, ...all.map(({ time }) => time)) - meaning.lateness) continue;
    all.push(event);
    const judged = judge.event(all);
    if (judged !== undefined && judged !== 'late') trigger(judged, event.recorded);
    const ended = judge.ended?.();
    if (ended !== undefined) resolve(ended);
  }
  passTime(until);
  return told;
}

const within = (all: readonly Seen[], end: number, size: number): Seen[] =>
  all.filter(({ time }) => time > end - size && time <= end);

/** The earliest window, of those that end with an event and hold the newest one, that measures at least the threshold. */
export function slidingAtLeast(size: number, threshold: number, measure: (events: readonly Seen[]) => number): Judge {
  return {
    event(all) {
      const { time } = all[all.length - 1] as Seen;
      const ends = all.map((each) => each.time).filter((end) => end >= time && end < time + size);
      const at = ends.sort((a, b) => a - b).find((end) => measure(within(all, end, size)) >= threshold);
      return at === undefined ? undefined : { at, measured: measure(within(all, at, size)) };
    },
  };
}

/** The window that ends with the newest event, for what rises and falls. */
export function newestWindow(
  size: number,
  holds: (measured: number) => boolean,
  measure: (events: readonly Seen[]) => number | undefined,
): Judge {
  return {
    event(all) {
      const newest = Math.max(...all.map(({ time }) => time));
      const events = within(all, newest, size);
      const measured = events.includes(all[all.length - 1] as Seen) ? measure(events) : undefined;
      return measured === undefined || !holds(measured) ? undefined : { at: newest, measured };
    },
  };
}

/** Windows that are judged when they are complete, or at each event where more events only bring the condition nearer. */
export function closedWindows(
  windowOf: (events: readonly Seen[], event: Seen) => { start: number; end: number },
  isClosed: (start: number, closed: number) => boolean,
  lateness: number,
  eager: boolean,
  holds: (measured: number) => boolean,
  measure: (events: readonly Seen[]) => number | undefined,
): Judge {
  let taken: Seen[] = [];
  let closed = Number.NEGATIVE_INFINITY;
  const windows = (): { end: number; due: number; events: Seen[] }[] => {
    const found = new Map<number, { end: number; due: number; events: Seen[] }>();
    for (const event of taken) {
      const { start, end } = windowOf(taken, event);
      const window = found.get(start) ?? { end, due: 0, events: [] };
      window.events.push(event);
      window.due = Math.max(end, ...window.events.map(({ recorded }) => recorded)) + lateness + 1;
      found.set(start, window);
    }
    return [...found.values()].sort((a, b) => a.due - b.due || a.end - b.end);
  };
  return {
    event(all) {
      const event = all[all.length - 1] as Seen;
      const { start, end } = windowOf([...taken, event], event);
      const opens = !taken.some((each) => {
        const other = windowOf([...taken, event], each);
        return other.start === start;
      });
      if (opens && (isClosed(start, closed) || (!eager && end + lateness < event.recorded))) return 'late';
      taken.push(event);
      if (!eager) return undefined;
      const measured = measure(windows().find(({ events }) => events.includes(event))?.events ?? []);
      return measured !== undefined && holds(measured) ? { at: event.time, measured } : undefined;
    },
    due: () => windows()[0]?.due ?? Number.POSITIVE_INFINITY,
    elapsed(at) {
      const over = windows().filter(({ due }) => due <= at);
      taken = taken.filter((event) => !over.some(({ events }) => events.includes(event)));
      closed = Math.max(closed, ...over.map(({ end }) => end));
      return over.flatMap(({ end, events }) => {
        const measured = eager ? undefined : measure(events);
        return measured !== undefined && holds(measured) ? [{ at: end, measured }] : [];
      });
    },
  };
}

/** Steps in order: every choice of events counts. */
export function orderedSteps(steps: number, span: number, forbiddenAfter: ReadonlyMap<number, number>): Judge {
  let complete = new Set<Seen>();
  return {
    event(all) {
      const sorted = [...all].sort((a, b) => a.time - b.time);
      /** First times of all choices of events that end with this one as this step. */
      const known = new Map<string, readonly number[]>();
      const starts = (step: number, index: number): readonly number[] => {
        const name = `${step}/${index}`;
        const found = known.get(name) ?? findStarts(step, index);
        known.set(name, found);
        return found;
      };
      const findStarts = (step: number, index: number): readonly number[] => {
        const event = sorted[index] as Seen;
        if (!event.roles.includes(step)) return [];
        if (step === 0) return [event.time];
        const found: number[] = [];
        for (let earlier = index - 1; earlier >= 0; earlier--) {
          found.push(...starts(step - 1, earlier));
          // What is forbidden after the step before lies between it and this one.
          if ((sorted[earlier] as Seen).roles.some((role) => forbiddenAfter.get(role) === step - 1)) break;
        }
        return [...new Set(found)];
      };
      const completes = (last: number): boolean =>
        starts(steps - 1, last).some((first) => (sorted[last] as Seen).time - first < span);
      const now = new Set(sorted.filter((_, index) => completes(index)));
      const fresh = sorted.find((event) => now.has(event) && !complete.has(event));
      complete = now;
      return fresh === undefined ? undefined : { at: fresh.time };
    },
  };
}
