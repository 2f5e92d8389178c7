import kafkajs, { type Admin, type Kafka, type Consumer as KafkaJsConsumer, type KafkaMessage } from 'kafkajs';
import { AuditdError } from '../../schemas/errors.js';
import { kafkaError } from './kafka-errors.js';
import { oneOwnerAssigner } from './kafka-owner.js';
import { KafkaRecordDecoder } from './kafka-record.js';
import type { Consumer, ConsumerOptions, RecordBatch, StreamRecord } from './stream.js';

const defaultMaxBatchBytes = 4 * 1024 * 1024;
/** A fetch waits this long for data, and a resumed partition at most this long for its fetch. */
const maxWaitTimeMs = 100;
/**
 * Who reads all partitions in one order holds a record until the fetch behind it has shown that no other partition has
 * an older one, so it asks more often. An idle fetch costs about 0.3 ms.
 */
const oneOwnerWaitTimeMs = 25;
/** How long a full lane holds the fetch loop up before its partition is paused; well below a heartbeat. */
const laneWaitMs = 250;
/** Partitions whose batches are handed out at once: no lane waits for another one's. */
const partitionsAtOnce = 256;
/** First and longest pause before a consumer is built again. */
const firstPauseMs = 300;
const longestPauseMs = 10_000;

export interface KafkaConsumerHome {
  readonly kafka: Kafka;
  readonly admin: Admin;
  readonly topicName: string;
  readonly group: string;
  readonly sessionTimeoutMs: number;
  readonly giveUpAfterMs: number;
  readonly watchdogIntervalMs: number;
  observe(event: KafkaConsumerEvent): void;
  left(consumer: KafkaConsumer): void;
}

export type KafkaConsumerEvent =
  | { readonly kind: 'assigned'; readonly partitions: readonly number[] }
  | { readonly kind: 'revoked'; readonly partitions: readonly number[] }
  | { readonly kind: 'commit_ignored'; readonly partition: number; readonly reason: string }
  | { readonly kind: 'restarted'; readonly reason: string }
  | { readonly kind: 'stuck'; readonly partitions: readonly number[] }
  | { readonly kind: 'hole'; readonly partition: number; readonly from: number; readonly to: number }
  | { readonly kind: 'lag'; readonly partition: number; readonly lag: number };

/** One partition while it is ours: one batch with the handler, the next ones waiting. */
interface Lane {
  readonly partition: number;
  waiting: RecordBatch[];
  running: Promise<void> | undefined;
  paused: boolean;
  /** One past the last record that was handed out. */
  position: number;
  lastTimestamp: number;
  /** Offset that the next fetched batch has to be asked from. */
  fetchOffset: number;
  /** A fetch offset that was asked for a second time, because a batch came from beyond it. */
  askedAgain: number | undefined;
  movedAt: number;
  /** Wakes the fetch loop where it waits for room. */
  room: () => void;
}

/**
 * States: joining → consuming ⇄ joining (a rebalance, a rebuild) → closed. Every assignment has lanes of its own;
 * a lane that is not in `lanes` any more is stale, and what is in hand there is neither committed nor continued.
 * Before every join the handlers of the lanes before it run out, so that a partition has one writer at a time.
 */
export class KafkaConsumer implements Consumer {
  readonly closed: Promise<void>;
  private lanes = new Map<number, Lane>();
  /** Its service does not begin anew when it is built again. */
  private readonly since = Date.now();
  private consumer: KafkaJsConsumer | undefined;
  private ending: Promise<void> | undefined;
  private assigning: Promise<void> = Promise.resolve();
  private settle!: { resolve: () => void; reject: (error: unknown) => void };
  private wakePause: () => void = () => undefined;
  private joins = 0;
  /** The partitions that `assigned` was told of last. */
  private given: readonly number[] = [];
  /** When a batch was handled last, or there was nothing to handle. */
  private lastGoodAt = Date.now();
  private readonly watchdog: NodeJS.Timeout;
  private readonly decoder = new KafkaRecordDecoder();

  constructor(
    private readonly options: ConsumerOptions,
    private readonly home: KafkaConsumerHome,
  ) {
    this.closed = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    // Whoever does not look at `closed` must not end the process by it.
    this.closed.catch(() => undefined);
    this.watchdog = setInterval(() => void this.watch().catch(() => undefined), home.watchdogIntervalMs).unref();
  }

  /** Joins the group; resolves when the first join is under way. */
  start(): void {
    void this.supervise();
  }

  async commit(partition: number, nextOffset: number): Promise<void> {
    if (this.options.group === undefined) return;
    const ignore = (reason: string) => this.home.observe({ kind: 'commit_ignored', partition, reason });
    if (!this.lanes.has(partition) || this.consumer === undefined) return ignore('the partition is not ours any more');
    try {
      await this.consumer.commitOffsets([{ topic: this.home.topicName, partition, offset: String(nextOffset) }]);
    } catch (error) {
      // The commit is a hint: after a rebalance its new owner commits, after a broker's restart the next batch.
      ignore((error as Error).message);
    }
  }

  async close(): Promise<void> {
    this.end();
    await this.ending;
  }

  private end(fault?: { readonly error: unknown }): void {
    this.ending ??= this.finish(fault);
  }

  private async finish(fault?: { readonly error: unknown }): Promise<void> {
    clearInterval(this.watchdog);
    this.wakePause();
    const lanes = [...this.lanes.values()];
    for (const lane of lanes) {
      lane.waiting = [];
      lane.room();
    }
    // The batches in hand may still commit; then kafkajs says LeaveGroup and the partitions are free at once.
    await Promise.all(lanes.map((lane) => lane.running));
    this.lanes.clear();
    await this.assigning;
    await this.discard();
    if (this.options.group === undefined) await this.home.admin.deleteGroups([this.home.group]).catch(() => undefined);
    this.home.left(this);
    if (fault !== undefined) this.settle.reject(fault.error);
    else this.settle.resolve();
  }

  private async discard(): Promise<void> {
    const consumer = this.consumer;
    this.consumer = undefined;
    await consumer?.disconnect().catch(() => undefined);
  }

  /** Builds a consumer, waits until it fails, and builds the next one, until the end or until nothing joins for long. */
  private async supervise(): Promise<void> {
    let pauseMs = firstPauseMs / 2;
    while (this.ending === undefined) {
      const startedAt = Date.now();
      const error = await this.incarnation();
      if (this.ending !== undefined) return;
      await this.revokeAll();
      await this.discard();
      const mapped = kafkaError(error, `consuming ${this.home.topicName} as group ${this.home.group}`);
      // The topic was there when the consumer was made: a broker that starts does not know its topics at once.
      const final = !mapped.retriable && mapped.code !== 'kafka_topic_missing';
      if (final || Date.now() - this.lastGoodAt > this.home.giveUpAfterMs) return this.end({ error: mapped });
      this.home.observe({ kind: 'restarted', reason: mapped.message });
      pauseMs = this.lastGoodAt >= startedAt ? firstPauseMs : Math.min(pauseMs * 2, longestPauseMs);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pauseMs);
        this.wakePause = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Resolves with the fault that ended it. */
  private async incarnation(): Promise<unknown> {
    const maxBytes = Math.min(this.options.maxBatchBytes ?? defaultMaxBatchBytes, 1024 * 1024);
    const consumer = this.home.kafka.consumer({
      groupId: this.home.group,
      sessionTimeout: this.home.sessionTimeoutMs,
      heartbeatInterval: Math.max(300, Math.floor(this.home.sessionTimeoutMs / 10)),
      maxBytesPerPartition: maxBytes,
      maxWaitTimeInMs: this.options.oneOwner ? oneOwnerWaitTimeMs : maxWaitTimeMs,
      allowAutoTopicCreation: false,
      // Every crash comes to us with restart=false: kafkajs alone would restart some for ever and others never.
      retry: { retries: 5, initialRetryTime: 100, maxRetryTime: 1000, restartOnFailure: async () => false },
      partitionAssigners: [
        (tools) => {
          // The one place where something can be done before a join: kafkajs asks the cluster for the coordinator.
          const { cluster } = tools;
          const find = cluster.findGroupCoordinator.bind(cluster);
          cluster.findGroupCoordinator = async (group: { groupId: string }) => {
            await this.revokeAll();
            return find(group);
          };
          const assigner = this.options.oneOwner ? oneOwnerAssigner(this.since) : kafkajs.PartitionAssigners.roundRobin;
          return assigner(tools);
        },
      ],
    });
    this.consumer = consumer;
    return new Promise<unknown>((resolve) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => resolve(payload.error));
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        const partitions = payload.memberAssignment[this.home.topicName] ?? [];
        this.joins++;
        // Paused before the first fetch, until it is known where to begin.
        consumer.pause([{ topic: this.home.topicName, partitions }]);
        this.assigning = this.assigning
          .then(() => this.assign(consumer, partitions))
          .catch((error) => this.end({ error }));
      });
      this.restart = resolve;
      const begin = async () => {
        await consumer.connect();
        // Given up meanwhile: run() would join the group with a consumer that nobody looks after.
        if (this.consumer !== consumer) return void (await consumer.disconnect());
        await consumer.subscribe({ topics: [this.home.topicName], fromBeginning: true });
        await consumer.run({
          autoCommit: false,
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: partitionsAtOnce,
          eachBatch: async ({ batch, resolveOffset }) => {
            const lane = this.lanes.get(batch.partition);
            if (lane === undefined || this.ending !== undefined || batch.messages.length === 0) return;
            if (!this.follows(consumer, lane, Number((batch as unknown as { fetchedOffset: string }).fetchedOffset)))
              return;
            this.take(lane, batch.messages, Number(batch.highWatermark));
            lane.fetchOffset = Number(batch.lastOffset()) + 1;
            resolveOffset(batch.lastOffset());
            await this.waitForRoom(consumer, lane);
          },
        });
      };
      begin().catch(resolve);
    });
  }

  /** Ends the present incarnation; set by it. */
  private restart: (reason: unknown) => void = () => undefined;

  private async revokeAll(): Promise<void> {
    const lanes = [...this.lanes.values()];
    const partitions = this.given;
    this.lanes = new Map();
    this.given = [];
    if (partitions.length === 0) return;
    for (const lane of lanes) {
      lane.waiting = [];
      lane.room();
    }
    this.home.observe({ kind: 'revoked', partitions });
    const drained = this.options
      .revoked(partitions)
      .catch((error) => this.end({ error }))
      .then(() => Promise.all(lanes.map((lane) => lane.running)));
    // Longer than that the member would be thrown out for its silence; then fencing in the store protects the rows.
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.home.sessionTimeoutMs / 2);
    });
    await Promise.race([drained, late]);
    clearTimeout(timer);
    // A handler that is late still ends before its partition is read again here.
    this.assigning = this.assigning.then(async () => void (await drained));
  }

  private async assign(consumer: KafkaJsConsumer, partitions: readonly number[]): Promise<void> {
    if (this.ending !== undefined || this.consumer !== consumer) return;
    const joins = this.joins;
    this.given = partitions;
    const wanted = partitions.length > 0 ? await this.options.assigned(partitions) : new Map<number, number>();
    let starts: Map<number, number>;
    try {
      starts = await this.startOffsets(partitions, wanted);
    } catch (error) {
      if (error instanceof AuditdError && !error.retriable) throw error;
      this.restart(error);
      return;
    }
    // Taken away meanwhile, or given anew.
    if (this.given !== partitions || this.consumer !== consumer || joins !== this.joins) return;
    if (this.ending !== undefined) return;
    const topic = this.home.topicName;
    for (const [partition, position] of starts) {
      const room = () => undefined;
      const lane = { partition, waiting: [], running: undefined, paused: false, position };
      this.lanes.set(partition, {
        ...lane,
        lastTimestamp: 0,
        fetchOffset: position,
        askedAgain: undefined,
        movedAt: Date.now(),
        room,
      });
      consumer.seek({ topic, partition, offset: String(position) });
    }
    consumer.resume([{ topic, partitions: [...partitions] }]);
    this.home.observe({ kind: 'assigned', partitions });
  }

  /** Where to begin, as offsets that exist: kafkajs would begin at 0 for "latest" and reset what is out of range. */
  private async startOffsets(
    partitions: readonly number[],
    wanted: ReadonlyMap<number, number | 'latest' | undefined>,
  ) {
    const { admin, topicName: topic, group } = this.home;
    const bounds = new Map((await admin.fetchTopicOffsets(topic)).map((one) => [one.partition, one]));
    const committed = new Map<number, number>();
    if (this.options.group !== undefined) {
      const [answer] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
      for (const one of answer?.partitions ?? []) committed.set(one.partition, Number(one.offset));
    }
    const starts = new Map<number, number>();
    for (const partition of partitions) {
      const low = Number(bounds.get(partition)?.low ?? 0);
      const high = Number(bounds.get(partition)?.high ?? 0);
      const asked = wanted.get(partition);
      const offset = asked === 'latest' ? high : (asked ?? committed.get(partition) ?? low);
      if (asked !== 'latest' && asked !== undefined && asked > high) {
        throw new AuditdError(
          'kafka_offsets_lost',
          `partition ${partition} of ${topic} ends at ${high}; the reader wants to go on at ${asked}`,
        );
      }
      starts.set(partition, Math.min(Math.max(offset, low), high));
    }
    return starts;
  }

  /**
   * A fetch that was under way during a rebalance may bring a batch from beyond the place where the lane begins. It is
   * dropped and asked for again from the right offset; when the same comes twice, the log has a hole there (control
   * records, compaction, or retention that was faster than we are).
   */
  private follows(consumer: KafkaJsConsumer, lane: Lane, fetchedOffset: number): boolean {
    if (fetchedOffset === lane.fetchOffset) return true;
    if (fetchedOffset > lane.fetchOffset && lane.askedAgain === lane.fetchOffset) {
      const { partition, fetchOffset: from } = lane;
      this.home.observe({ kind: 'hole', partition, from, to: fetchedOffset });
      return true;
    }
    lane.askedAgain = lane.fetchOffset;
    consumer.seek({ topic: this.home.topicName, partition: lane.partition, offset: String(lane.fetchOffset) });
    return false;
  }

  private take(lane: Lane, messages: readonly KafkaMessage[], endOffset: number): void {
    const maxBytes = this.options.maxBatchBytes ?? defaultMaxBatchBytes;
    let records: StreamRecord[] = [];
    let bytes = 0;
    const flush = () => {
      if (records.length === 0) return;
      const nextOffset = records.at(-1)!.offset + 1;
      const { partition } = lane;
      lane.waiting.push({ topic: this.options.topic, partition, records, nextOffset, endOffset });
      records = [];
      bytes = 0;
    };
    for (const message of messages) {
      const size = message.value?.length ?? 0;
      if (bytes + size > maxBytes) flush();
      bytes += size;
      // A broker's clock may go back, for one when the leader changes.
      lane.lastTimestamp = Math.max(lane.lastTimestamp, Number(message.timestamp));
      records.push(this.decoder.recordOf(message, lane.lastTimestamp));
    }
    flush();
    lane.movedAt = Date.now();
    lane.running ??= this.run(lane);
  }

  private async run(lane: Lane): Promise<void> {
    // The caller stores this promise first.
    await Promise.resolve();
    for (let batch = lane.waiting.shift(); batch !== undefined; batch = lane.waiting.shift()) {
      if (lane.waiting.length === 0) lane.room();
      this.home.observe({ kind: 'lag', partition: lane.partition, lag: batch.endOffset - batch.nextOffset });
      try {
        await this.options.batch(batch);
      } catch (error) {
        // What a handler throws after its partition was taken away concerns nobody any more.
        if (this.lanes.get(lane.partition) === lane) this.end({ error });
        lane.waiting = [];
        break;
      }
      lane.position = batch.nextOffset;
      lane.movedAt = Date.now();
      this.lastGoodAt = lane.movedAt;
    }
    lane.running = undefined;
    lane.room();
  }

  /** Backpressure: one fetched response may wait in a lane; then its partition is paused and heartbeats go on. */
  private async waitForRoom(consumer: KafkaJsConsumer, lane: Lane): Promise<void> {
    const topicPartitions = [{ topic: this.home.topicName, partitions: [lane.partition] }];
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        lane.paused = true;
        consumer.pause(topicPartitions);
        resolve();
      }, laneWaitMs);
      lane.room = () => {
        lane.room = () => undefined;
        clearTimeout(timer);
        resolve();
        const ours = this.lanes.get(lane.partition) === lane && this.consumer === consumer;
        if (lane.paused && ours && this.ending === undefined) consumer.resume(topicPartitions);
        lane.paused = false;
      };
      // The handler may have caught up while the promise was made.
      if (lane.waiting.length === 0) lane.room();
    });
  }

  /** Idle means nothing new on the broker; stuck means records are there, the handler is free, and none come. */
  private async watch(): Promise<void> {
    if (this.ending !== undefined || this.lanes.size === 0) return;
    const limit = Date.now() - 2 * this.home.sessionTimeoutMs;
    const offsets = await this.home.admin.fetchTopicOffsets(this.home.topicName);
    const stuck = offsets.flatMap(({ partition, high }) => {
      const lane = this.lanes.get(partition);
      if (lane === undefined || lane.running !== undefined) return [];
      this.home.observe({ kind: 'lag', partition, lag: Math.max(0, Number(high) - lane.position) });
      return Number(high) > lane.position && lane.movedAt < limit ? [partition] : [];
    });
    const idle = offsets.every(
      ({ partition, high }) => (this.lanes.get(partition)?.position ?? 0) >= Number(high) || !this.lanes.has(partition),
    );
    if (idle) this.lastGoodAt = Date.now();
    if (stuck.length === 0) return;
    this.home.observe({ kind: 'stuck', partitions: stuck });
    this.restart(new AuditdError('kafka_consumer_stuck', `partitions ${stuck.join(', ')} have records and none come`));
  }
}
