/**
 * Ordered steps within a span, with steps that must not happen between, exact for events in any order.
 *
 * For each prefix of steps one number is enough: the latest start among the partial sequences that are alive. An event
 * of the next step prolongs it, a forbidden event kills it, and a sequence is complete when its last step comes within
 * the span of its start. An event out of order is put in its place, and the numbers are computed again from the chunk
 * it fell into until they are what they were: later events soon have later starts.
 */

const chunkLength = 128;
const none = Number.NEGATIVE_INFINITY;

interface Chunk {
  /** The latest starts before the chunk's first event. */
  before: number[];
  times: number[];
  /** Bits of the roles, and `completes`. */
  roles: number[];
}

/** The event completes a sequence; above the bits of all roles. */
const completes = 1 << 30;

export class Sequence {
  private chunks: Chunk[] = [];
  /** The latest starts after the newest event. */
  private current: number[];

  constructor(
    /** Roles 0..steps−1 are the steps. */
    private readonly steps: number,
    /** Bit of each forbidden role, by the step it must not follow. */
    private readonly forbidden: readonly number[],
    private readonly span: number,
  ) {
    this.current = new Array(steps - 1).fill(none);
  }

  newest(): number {
    const tail = this.chunks[this.chunks.length - 1];
    return tail === undefined ? none : (tail.times[tail.times.length - 1] as number);
  }

  /** Moves the starts over one event; returns whether it completed a sequence. */
  private advance(starts: number[], time: number, roles: number): boolean {
    const { steps, forbidden, span } = this;
    let complete = false;
    // From the last step back, so that one event never serves two steps; a step sees the starts from before the event.
    for (let step = steps - 1; step >= 0; step--) {
      const start = step === 0 ? time : (starts[step - 1] as number);
      const matches = (roles & (1 << step)) !== 0;
      if (step === steps - 1) {
        if (matches && time - start < span) complete = true;
        continue;
      }
      if ((roles & (forbidden[step] as number)) !== 0) starts[step] = none;
      if (matches && start > (starts[step] as number)) starts[step] = start;
    }
    return complete;
  }

  /** Takes an event and forgets chunks that ended before `horizon` − span. Returns the earliest newly completing time. */
  insert(time: number, roles: number, horizon: number): number | undefined {
    while (this.chunks.length > 1 && ((this.chunks[1] as Chunk).times[0] as number) < horizon - this.span)
      this.chunks.shift();
    let index = this.chunks.length - 1;
    if (time >= this.newest()) {
      const tail = this.chunks[index];
      const before = tail === undefined || tail.times.length >= chunkLength ? this.current.slice() : undefined;
      const complete = this.advance(this.current, time, roles);
      const marked = complete ? roles | completes : roles;
      // Most groups never get a second event: arrays of one take room for one.
      if (before !== undefined) {
        const chunk = { before, times: [time], roles: [marked] };
        if (tail === undefined) this.chunks = [chunk];
        else this.chunks.push(chunk);
      } else {
        (tail as Chunk).times.push(time);
        (tail as Chunk).roles.push(marked);
      }
      return complete ? time : undefined;
    }
    while (index > 0 && ((this.chunks[index] as Chunk).times[0] as number) > time) index--;
    const chunk = this.chunks[index] as Chunk;
    let at = chunk.times.length;
    while (at > 0 && (chunk.times[at - 1] as number) > time) at--;
    chunk.times.splice(at, 0, time);
    chunk.roles.splice(at, 0, roles);
    if (chunk.times.length > chunkLength * 2) this.split(index);
    return this.recompute(index);
  }

  private split(index: number): void {
    const chunk = this.chunks[index] as Chunk;
    this.chunks.splice(index + 1, 0, {
      before: [],
      times: chunk.times.splice(chunkLength),
      roles: chunk.roles.splice(chunkLength),
    });
  }

  private recompute(from: number): number | undefined {
    let found: number | undefined;
    const starts = (this.chunks[from] as Chunk).before.slice();
    for (let index = from; index < this.chunks.length; index++) {
      const chunk = this.chunks[index] as Chunk;
      if (index > from) {
        if (chunk.before.length > 0 && starts.every((start, step) => start === chunk.before[step])) return found;
        chunk.before = starts.slice();
      }
      for (let at = 0; at < chunk.times.length; at++) {
        const before = chunk.roles[at] as number;
        const roles = before & ~completes;
        const complete = this.advance(starts, chunk.times[at] as number, roles);
        if (complete && before === roles && found === undefined) found = chunk.times[at];
        chunk.roles[at] = complete ? roles | completes : roles;
      }
    }
    this.current = starts;
    return found;
  }

  /** Bytes of memory, roughly: time and roles of each event. */
  get bytes(): number {
    return 200 + this.chunks.length * 240 + this.chunks.reduce((sum, { times }) => sum + times.length, 0) * 16;
  }

  save(): unknown {
    return { chunks: this.chunks, current: this.current };
  }

  restore(saved: unknown): this {
    const from = structuredClone(saved) as { chunks: Chunk[]; current: number[] };
    this.chunks = from.chunks;
    this.current = from.current;
    return this;
  }
}
