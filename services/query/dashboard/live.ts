/** The newest calls of the stream, held outside of React: what shows them is drawn anew four times a second at most. */
import { useEffect, useState, useSyncExternalStore } from 'react';
import type { CallList, CallRow, Summary } from '../api/contract.js';
import { get, streamPath } from './ask.js';

const mostShown = 500;
/** Calls that are fetched where the stream begins, or begins again. */
const mostFetched = 100;
/** When they are fetched: at once, and when the ingestor has stored what it had in hand then. */
const fetchAfterMs = [0, 1_500] as const;
/** Calls a second that the server sends of more: nobody reads as many. */
const mostPerSecond = 40;
const everyMs = 250;
/** One second is 0 between two calls; so many together are a rate that can be read. */
const rateSeconds = 5;

export interface LiveNow {
  /** The newest first. */
  readonly calls: readonly CallRow[];
  readonly state: 'connecting' | 'live' | 'paused' | 'broken';
  /** Calls that were recorded while nobody looked and are not in the list, between two times in milliseconds. */
  readonly missed: { readonly calls: number; readonly fromMs: number; readonly toMs: number } | undefined;
  /** Calls of a second, on average of the last five: those there were, and those that were sent. */
  readonly rate: { readonly matched: number; readonly shown: number } | undefined;
}

/** Read from the stream from `open` on until `close`; while the page is hidden it is closed. */
export class Live {
  private now: LiveNow = { calls: [], state: 'connecting', missed: undefined, rate: undefined };
  private readonly watchers = new Set<() => void>();
  private source: EventSource | undefined;
  private paused = false;
  /** As text: what is never shown is never parsed. */
  private waiting: string[] = [];
  private seconds: { readonly matched: number; readonly shown: number }[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private fetches: ReturnType<typeof setTimeout>[] = [];

  constructor(private readonly filters: readonly string[]) {}

  readonly subscribe = (changed: () => void): (() => void) => {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  };
  readonly calls = (): readonly CallRow[] => this.now.calls;
  readonly state = (): LiveNow['state'] => this.now.state;
  readonly missed = (): LiveNow['missed'] => this.now.missed;
  readonly rate = (): LiveNow['rate'] => this.now.rate;

  open(): void {
    document.addEventListener('visibilitychange', this.follow);
    this.follow();
  }

  close(): void {
    document.removeEventListener('visibilitychange', this.follow);
    this.leave();
  }

  pause(paused: boolean): void {
    this.paused = paused;
    this.set({ state: paused ? 'paused' : this.source?.readyState === EventSource.OPEN ? 'live' : 'connecting' });
    this.show();
    if (!paused) this.fetchSoon();
  }

  private set(changes: Partial<LiveNow>): void {
    this.now = { ...this.now, ...changes };
    for (const changed of this.watchers) changed();
  }

  private readonly follow = (): void => {
    if (document.hidden) this.leave();
    if (document.hidden || this.source !== undefined) return;
    const source = new EventSource(streamPath('/tail', { filter: this.filters, most: mostPerSecond }));
    this.source = source;
    const stands = (state: LiveNow['state']) => () => this.set({ state: this.paused ? 'paused' : state });
    source.onmessage = ({ data }) => {
      this.waiting.push(data as string);
      // Cut now and then, as cutting it for each one would move all of it.
      if (this.waiting.length > 2 * mostShown) this.waiting.splice(0, this.waiting.length - mostShown);
      this.timer ??= setTimeout(() => this.show(), everyMs);
    };
    source.addEventListener('ready', () => {
      stands('live')();
      this.fetchSoon();
    });
    source.addEventListener('rate', ({ data }) => {
      this.seconds = [...this.seconds, JSON.parse(data as string)].slice(-rateSeconds);
      const mean = (of: 'matched' | 'shown') =>
        this.seconds.reduce((sum, each) => sum + each[of], 0) / this.seconds.length;
      this.set({ rate: { matched: mean('matched'), shown: mean('shown') } });
    });
    source.onerror = stands('broken');
  };

  private leave(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const each of this.fetches) clearTimeout(each);
    this.source?.close();
    this.source = undefined;
    this.seconds = [];
    this.set({ rate: undefined, state: this.paused ? 'paused' : 'connecting' });
  }

  private fetchSoon(): void {
    for (const each of this.fetches) clearTimeout(each);
    this.fetches = fetchAfterMs.map((ms) => setTimeout(() => void this.fetch(), ms));
  }

  /** What was recorded before the stream began, and while nobody looked. */
  private async fetch(): Promise<void> {
    const stored = await get<CallList>('/calls', { filter: this.filters, limit: mostFetched }).catch(() => undefined);
    if (stored === undefined || this.paused || this.source === undefined) return;
    this.show();
    const here = this.now.calls;
    const missed = this.unknown(stored.calls);
    if (missed.length === 0) return;
    // Where none of them is known there were more, and a list with a hole would not say so.
    const goesOn = missed.length < stored.calls.length || stored.next === null;
    const since = goesOn ? '' : missed.at(-1)!.occurred_at;
    if (!goesOn && here.length > 0) void this.count(here[0]!.occurred_at, since);
    const calls = [...here.filter(({ occurred_at }) => occurred_at >= since), ...missed];
    this.set({ calls: calls.sort((a, b) => (a.occurred_at < b.occurred_at ? 1 : -1)).slice(0, mostShown) });
  }

  /** What lies between the newest call that was here and the oldest that was fetched. */
  private async count(newest: string, oldest: string): Promise<void> {
    const [fromMs, toMs] = [Date.parse(newest) + 1, Date.parse(oldest)];
    const times = { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() };
    if (toMs <= fromMs) return;
    const found = await get<Summary>('/summary', { filter: this.filters, ...times }).catch(() => undefined);
    if (found !== undefined && found.calls > 0) this.set({ missed: { calls: found.calls, fromMs, toMs } });
  }

  private show(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.paused || this.waiting.length === 0) return;
    const fresh = this.waiting
      .slice(-mostShown)
      .reverse()
      .map((text) => JSON.parse(text) as CallRow);
    this.waiting = [];
    this.set({ calls: [...this.unknown(fresh), ...this.now.calls].slice(0, mostShown) });
  }

  private unknown(calls: readonly CallRow[]): CallRow[] {
    const known = new Set(this.now.calls.map(({ event_id }) => event_id));
    return calls.filter(({ event_id }) => !known.has(event_id));
  }
}

/** The stream of the calls that match, for as long as the component stands. */
export function useLive(filters: readonly string[]): Live {
  const key = JSON.stringify(filters);
  const [live, setLive] = useState(() => new Live(filters));
  useEffect(() => {
    const next = new Live(JSON.parse(key) as string[]);
    setLive(next);
    next.open();
    return () => next.close();
  }, [key]);
  return live;
}

/** A part of what it knows; the component is drawn again when that part changes. */
export function useLivePart<Name extends 'calls' | 'state' | 'missed' | 'rate'>(live: Live, name: Name): LiveNow[Name] {
  return useSyncExternalStore(live.subscribe, live[name] as () => LiveNow[Name]);
}
