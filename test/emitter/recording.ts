/** A recorder that keeps its calls in memory, in the place of the one that writes a spool. */
export interface RecordedEntry {
  readonly eventId: string;
  readonly beginning: Record<string, unknown>;
  end?: Record<string, unknown>;
}

export class Recording {
  /** Every recording opened in this test file, oldest first. */
  static readonly opened: Recording[] = [];
  readonly calls: RecordedEntry[] = [];
  readonly counters = {};
  failing = false;
  failingEnds = false;
  closed = false;
  #isAllKept = true;

  static open(options: { name?: string }): Recording {
    const recording = new Recording(options);
    Recording.opened.push(recording);
    Recording.#byName.set(options.name ?? '', recording);
    return recording;
  }

  /** The newest recording of an emitter with this name, opened in whichever test. */
  static named(name: string): Recording {
    return Recording.#byName.get(name)!;
  }

  static readonly #byName = new Map<string, Recording>();

  static latest(): Recording {
    return Recording.opened.at(-1)!;
  }

  constructor(readonly options: unknown) {}

  common(fields: Record<string, unknown>): Record<string, unknown> {
    return fields;
  }

  begin({ common = [], ...told }: Record<string, unknown> & { common?: Record<string, unknown>[] }): RecordedEntry {
    if (this.failing) this.#isAllKept = false;
    const beginning = Object.assign({}, ...common, inSnakeCase(told));
    const entry = { eventId: `event-${this.calls.length + 1}`, beginning };
    if (!this.failing) this.calls.push(entry);
    return entry;
  }

  end(call: RecordedEntry, end: Record<string, unknown>): void {
    if (this.failingEnds) this.#isAllKept = false;
    if (call.end !== undefined) throw new Error(`${call.eventId} ended twice`);
    call.end = inSnakeCase(end);
  }

  commit(): boolean {
    const isAllKept = this.#isAllKept;
    this.#isAllKept = true;
    return isAllKept;
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.closed = true;
  }

  /** The calls of one method, beginning and end in one object. */
  of(method: string): Record<string, unknown>[] {
    return this.calls
      .filter((call) => call.beginning.method === method)
      .map((call) => ({ ...call.beginning, ...call.end, event_id: call.eventId }));
  }
}

/** Names as the event has them; what is empty is not told, as in the event. */
function inSnakeCase(told: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(told).filter(([, value]) => value !== undefined && value !== '');
  return Object.fromEntries(
    entries.map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
  );
}
