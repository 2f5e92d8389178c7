/** The program, with the time at which the loop's stages are reached; TRACE_FILE has them when it has ended. */
import { PerformanceObserver } from 'node:perf_hooks';
import { SegmentLog } from '../../../services/segments/segments.js';
import { KafkaConsumer } from '../../../services/stream/kafka-consumer.js';
import { KafkaProducer } from '../../../services/stream/kafka-producer.js';
import { LocalConsumer } from '../../../services/stream/local-consumer.js';
import { LocalPartition } from '../../../services/stream/local-partition.js';
import type { ConsumerOptions, NewRecord, RecordBatch, Topic } from '../../../services/stream/stream.js';
import { actorOf, nowMs, type Place, Trace } from './trace.js';

const trace = new Trace();
const threshold = Number(process.env.TRACE_THRESHOLD);

type Loose = Record<string, unknown>;

/** Calls `before` with the object and the arguments each time; what it returns is called when the method has ended. */
function wrap(
  prototype: object,
  name: string,
  before: (self: Loose, words: unknown[]) => (() => void) | undefined,
): void {
  const methods = prototype as Record<string, (...words: unknown[]) => unknown>;
  const method = methods[name]!;
  methods[name] = function (this: Loose, ...words: unknown[]) {
    const after = before(this, words);
    const result = method.apply(this, words);
    if (after !== undefined) Promise.resolve(result).then(after, () => undefined);
    return result;
  };
}

const appends: Partial<Record<Topic, [Place, Place]>> = {
  calls: ['gateway appends', 'call durable'],
  alerts: ['detector appends', 'alert durable'],
  throttle: ['throttler appends', 'signal durable'],
};

/** Whom records concern: of calls only those whose record crosses the line. Their key ends in the actor. */
function actorsOf(where: string, topic: Topic, records: readonly NewRecord[]): string[] {
  if (topic === 'calls') {
    const actors = records.map(({ key }) => (key.includes('agent-') ? key.slice(key.indexOf('\0') + 1) : undefined));
    return trace.crossing(where, actors, threshold);
  }
  return records.flatMap(({ value }) => actorOf(value.toString()) ?? []);
}

function appending(topic: Topic, records: readonly NewRecord[]): (() => void) | undefined {
  const stages = appends[topic];
  if (stages === undefined) return undefined;
  const actors = actorsOf('append', topic, records);
  if (actors.length === 0) return undefined;
  for (const actor of actors) trace.at(stages[0], actor);
  return () => {
    for (const actor of actors) trace.at(stages[1], actor);
  };
}

wrap(LocalPartition.prototype, 'append', (self, [records]) =>
  appending((self.options as { topic: Topic }).topic, records as readonly NewRecord[]),
);
wrap(KafkaProducer.prototype, 'append', (_, [topic, records]) =>
  appending(topic as Topic, records as readonly NewRecord[]),
);
wrap(SegmentLog.prototype, 'sync', () => {
  const begun = nowMs();
  return () => trace.syncs.push(nowMs() - begun);
});

/** A consumer without a group is told by who makes it. */
const readers: readonly [Topic, (options: ConsumerOptions, stack: string) => boolean, Place][] = [
  ['calls', ({ group }) => group === 'detector', 'detector has call'],
  ['alerts', ({ group }, stack) => group === undefined && /throttler\.ts/.test(stack), 'throttler has alert'],
  ['throttle', ({ group }, stack) => group === undefined && /throttle-board\.ts/.test(stack), 'gateway has signal'],
];
Error.stackTraceLimit = 50;

const watched = new WeakSet<object>();

function watch(self: Loose): undefined {
  if (watched.has(self)) return undefined;
  watched.add(self);
  const options = self.options as ConsumerOptions;
  const stack = new Error().stack ?? '';
  const reader = readers.find(([topic, is]) => topic === options.topic && is(options, stack));
  if (reader === undefined) return undefined;
  const [topic, , place] = reader;
  const batch = (read: RecordBatch): Promise<void> => {
    for (const actor of actorsOf('read', topic, read.records)) trace.at(place, actor);
    return options.batch(read);
  };
  self.options = {
    ...options,
    assigned: options.assigned.bind(options),
    revoked: options.revoked.bind(options),
    batch,
  };
  return undefined;
}

wrap(LocalConsumer.prototype, 'assign', watch);
wrap(KafkaConsumer.prototype, 'start', watch);

new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) {
    trace.pauses.push([startTime + nowMs() - performance.now(), duration]);
  }
}).observe({ entryTypes: ['gc'] });

process.on('exit', () => trace.save(process.env.TRACE_FILE!));
await import('../../../services/cli.js');
