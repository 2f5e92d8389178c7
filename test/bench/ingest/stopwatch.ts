import { Session as Inspector, type Profiler } from 'node:inspector/promises';

export interface IngestMeasure {
  readonly eventsPerSecond: number;
  readonly cpuMicros: number;
  readonly stored: number;
  readonly residentMiB: number;
  /** Microseconds of the main thread an event, by source file; present when it was profiled. */
  readonly profile?: Readonly<Record<string, number>>;
}

/** Clocks from the first event after the warm-up to the last one. */
export class Stopwatch {
  private started: { at: number; cpu: NodeJS.CpuUsage; done: number } | undefined;
  private inspector: Inspector | undefined;

  constructor(private readonly task: { readonly events: number; readonly warmup: number; readonly profile: boolean }) {}

  /** Told how many events are done, as often as one likes; resolves at once but for the start and stop of profiling. */
  async reached(done: number): Promise<void> {
    if (this.started !== undefined || done < this.task.warmup) return;
    if (this.task.profile) {
      this.inspector = new Inspector();
      this.inspector.connect();
      await this.inspector.post('Profiler.enable');
      await this.inspector.post('Profiler.start');
    }
    this.started = { at: performance.now(), cpu: process.cpuUsage(), done };
  }

  async stop(stored: number): Promise<IngestMeasure> {
    if (this.started === undefined) throw new Error('the measure ended before it began');
    const seconds = (performance.now() - this.started.at) / 1000;
    const { user, system } = process.cpuUsage(this.started.cpu);
    const events = this.task.events - this.started.done;
    const measure = {
      eventsPerSecond: events / seconds,
      cpuMicros: (user + system) / events,
      stored,
      residentMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
    };
    if (this.inspector === undefined) return measure;
    const { profile } = await this.inspector.post('Profiler.stop');
    return { ...measure, profile: microsByFile(profile, events) };
  }
}

function microsByFile(profile: Profiler.Profile, events: number): Record<string, number> {
  const files = new Map<number, string>();
  for (const { id, callFrame } of profile.nodes) {
    const { url, functionName } = callFrame;
    files.set(id, url === '' ? functionName : url.slice(url.lastIndexOf('/') + 1));
  }
  const micros: Record<string, number> = {};
  for (const [at, id] of (profile.samples ?? []).entries()) {
    const file = files.get(id) as string;
    if (file !== '(idle)') micros[file] = (micros[file] ?? 0) + (profile.timeDeltas?.[at] ?? 0) / events;
  }
  return micros;
}
