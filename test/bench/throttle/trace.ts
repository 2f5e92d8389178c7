/**
 * The stages of the loop and when each was reached, by the clock that all processes of a machine share
 * (CLOCK_MONOTONIC). Methods are wrapped where a stage ends, so the program itself carries none of this.
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** In the order in which the loop goes through them. */
export const places = [
  'call made',
  'emitter sends',
  'gateway appends',
  'call durable',
  'detector has call',
  'detector appends',
  'alert durable',
  'throttler has alert',
  'throttler appends',
  'signal durable',
  'gateway has signal',
  'emitter has signal',
  'call refused',
] as const;
export type Place = (typeof places)[number];

/** Milliseconds. */
export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

export interface Traced {
  /** By actor. */
  readonly reached: Record<string, Partial<Record<Place, number>>>;
  /** How long each fdatasync of the stream took, milliseconds. */
  readonly syncs: number[];
  /** Pauses of the garbage collector: when each began, and how long it took. */
  readonly pauses: [number, number][];
}

export class Trace implements Traced {
  readonly reached: Traced['reached'] = {};
  readonly syncs: number[] = [];
  readonly pauses: [number, number][] = [];
  readonly #calls = new Map<string, number>();

  /** The first time counts. */
  at(place: Place, actor: string): void {
    this.reached[actor] ??= {};
    this.reached[actor][place] ??= nowMs();
  }

  /** Counts calls by their actor as they pass a place in their order; returns the actors whose call crosses the line. */
  crossing(where: string, actors: readonly (string | undefined)[], threshold: number): string[] {
    return actors.filter((actor): actor is string => {
      if (actor === undefined) return false;
      const place = where + actor;
      const calls = (this.#calls.get(place) ?? 0) + 1;
      if (calls <= threshold) this.#calls.set(place, calls);
      return calls === threshold;
    });
  }

  save(path: string): void {
    writeFileSync(path, JSON.stringify(this));
  }
}

export function readTrace(path: string): Traced {
  return JSON.parse(readFileSync(path, 'utf8')) as Traced;
}

/** The actor that an event, an alert or a signal is about; undefined when that is none of a round. */
export function actorOf(text: string): string | undefined {
  const begin = text.indexOf('"actor_id":"agent-') + '"actor_id":"'.length;
  return begin < '"actor_id":"'.length ? undefined : text.slice(begin, text.indexOf('"', begin));
}
