/**
 * The newest sliding window: (newest − size, newest], with a number for each event and what was measured over them kept
 * up to date. For averages, percentiles and ratios, which rise and fall: an early verdict on a past window would be
 * overturned, so only the window that ends with the newest event is judged.
 */
import { SortedNumbers } from './times.js';

/** Half of it is moved at most for an event out of order. */
const chunkLength = 512;

interface Chunk {
  times: number[];
  values: number[];
}

export class RecentValues {
  private chunks: Chunk[] = [];
  /** Numbers at the front of the first chunk that were let go of. */
  private head = 0;
  count = 0;
  /** Thousandths, so that sums of up to 9·10^12 with three decimals are exact in any order. */
  private sumThousandths = 0;
  private sorted: SortedNumbers | undefined;

  /** `ordered`: keep the values sorted too, for percentiles. */
  constructor(
    private readonly size: number,
    ordered: boolean,
  ) {
    if (ordered) this.sorted = new SortedNumbers();
  }

  newest(): number {
    const tail = this.chunks[this.chunks.length - 1];
    return tail === undefined ? Number.NEGATIVE_INFINITY : (tail.times[tail.times.length - 1] as number);
  }

  /** Takes a value unless its time lies before the newest window. Returns whether it was taken. */
  insert(time: number, value: number): boolean {
    const newest = this.newest();
    if (time <= newest - this.size) return false;
    if (time >= newest) {
      const tail = this.chunks[this.chunks.length - 1];
      if (tail === undefined || tail.times.length >= chunkLength) this.chunks.push({ times: [time], values: [value] });
      else {
        tail.times.push(time);
        tail.values.push(value);
      }
      this.forget(time - this.size);
    } else this.insertLate(time, value);
    this.count++;
    this.sumThousandths += Math.round(value * 1000);
    this.sorted?.insert(value);
    return true;
  }

  private insertLate(time: number, value: number): void {
    let index = this.chunks.length - 1;
    while (index > 0 && ((this.chunks[index] as Chunk).times[0] as number) > time) index--;
    const chunk = this.chunks[index] as Chunk;
    let at = chunk.times.length;
    const floor = index === 0 ? this.head : 0;
    while (at > floor && (chunk.times[at - 1] as number) > time) at--;
    chunk.times.splice(at, 0, time);
    chunk.values.splice(at, 0, value);
    if (chunk.times.length > chunkLength * 2) {
      const times = chunk.times.splice(chunkLength);
      this.chunks.splice(index + 1, 0, { times, values: chunk.values.splice(chunkLength) });
    }
  }

  private forget(through: number): void {
    for (;;) {
      const first = this.chunks[0];
      if (first === undefined) return;
      while (this.head < first.times.length && (first.times[this.head] as number) <= through) {
        const value = first.values[this.head] as number;
        this.count--;
        this.sumThousandths -= Math.round(value * 1000);
        this.sorted?.remove(value);
        this.head++;
      }
      if (this.head < first.times.length) {
        if (this.head > 32 && this.head * 2 > first.times.length) {
          first.times.splice(0, this.head);
          first.values.splice(0, this.head);
          this.head = 0;
        }
        return;
      }
      this.chunks.shift();
      this.head = 0;
    }
  }

  get sum(): number {
    return this.sumThousandths / 1000;
  }

  /** Nearest rank: the smallest value with at least `percent` of the values at or below it. */
  percentile(percent: number): number {
    const sorted = this.sorted as SortedNumbers;
    return sorted.at(Math.max(0, Math.ceil((percent / 100) * sorted.size) - 1));
  }

  /** Bytes of memory, roughly. */
  get bytes(): number {
    return 160 + this.chunks.length * 96 + this.count * 16 + (this.sorted?.bytes ?? 0);
  }

  save(): unknown {
    return this.chunks.map(({ times, values }, index) => [
      times.slice(index === 0 ? this.head : 0),
      values.slice(index === 0 ? this.head : 0),
    ]);
  }

  static load(size: number, ordered: boolean, saved: unknown): RecentValues {
    const recent = new RecentValues(size, ordered);
    for (const [times, values] of saved as [number[], number[]][]) {
      for (let at = 0; at < times.length; at++) recent.insert(times[at] as number, values[at] as number);
    }
    return recent;
  }
}
