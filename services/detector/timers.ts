/** What waits for the stream's time: a binary heap. Whoever set a timer may have changed its mind; it is asked when it is due. */
export interface Timer {
  readonly at: number;
  readonly rule: number;
  readonly tenant: string;
  readonly key: string;
  readonly of: 'state' | 'episode';
}

/** A total order, so that alerts come in one order whatever was set first. */
function before(left: Timer, right: Timer): boolean {
  if (left.at !== right.at) return left.at < right.at;
  if (left.rule !== right.rule) return left.rule < right.rule;
  if (left.tenant !== right.tenant) return left.tenant < right.tenant;
  if (left.key !== right.key) return left.key < right.key;
  return left.of < right.of;
}

export class Timers {
  private readonly heap: Timer[] = [];

  get size(): number {
    return this.heap.length;
  }

  /** When the next one is due; Infinity without one. */
  get next(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : (this.heap[0] as Timer).at;
  }

  set(timer: Timer): void {
    const { heap } = this;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(timer, heap[parent] as Timer)) break;
      heap[at] = heap[parent] as Timer;
      at = parent;
    }
    heap[at] = timer;
  }

  take(): Timer | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Timer, heap[child] as Timer)) child++;
      if (!before(heap[child] as Timer, last)) break;
      heap[at] = heap[child] as Timer;
      at = child;
    }
    heap[at] = last;
    return first;
  }

  clear(): void {
    this.heap.length = 0;
  }
}
