/**
 * The stream on one machine: segment files under one directory, for the process that holds the data directory.
 *
 *   meta.json                      {"version": 1, "partitions": 1}, fixed when the stream is made
 *   <topic>/groups.json            {"<group>": {"<partition>": offset}}
 *   <topic>/<partition>/           segment files; a record's index is its offset
 *
 * What always holds: an append that resolved survives SIGKILL, and with durability `fsync` the loss of power; its
 * records are seen by consumers only then. Offsets rise and are never given out twice, holes are possible. Retention
 * drops whole segments by age and size, whether or not a group has read them: a group that never comes back must not
 * fill the disk; it is reported.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AuditdError } from '../../schemas/errors.js';
import { ConsumerGroup, LocalConsumer } from './local-consumer.js';
import { GroupOffsets } from './local-offsets.js';
import { LocalPartition, type StreamProblem } from './local-partition.js';
import { partitionOfKey } from './partitioner.js';
import {
  type Consumer,
  type ConsumerOptions,
  type NewRecord,
  type PartitionState,
  type Position,
  type Stream,
  type Topic,
  topics,
} from './stream.js';

export type { StreamProblem } from './local-partition.js';

export interface LocalStreamOptions {
  readonly directory: string;
  /** Of every topic. Default: what the stream was made with, else 1. At most 256: each has open files and a buffer. */
  readonly partitions?: number;
  /** `fsync` (default): one fdatasync for all appends that wait. `kernel`: survives SIGKILL, not the loss of power. */
  readonly durability?: 'fsync' | 'kernel';
  /** Default 64 MiB: at 600 bytes a record 100,000 records, the unit that retention drops. */
  readonly maxSegmentBytes?: number;
  /** Default: neither. `maxBytes` is of one partition. */
  readonly retention?: { readonly maxAgeMs?: number; readonly maxBytes?: number };
  /** Called with what went wrong without stopping the stream. */
  readonly report?: (problem: StreamProblem) => void;
  /** The stream's clock, in milliseconds since the epoch. A clock that goes back is held. */
  readonly now?: () => number;
}

const maxPartitions = 256;
const defaultMaxSegmentBytes = 64 * 1024 * 1024;
/** A segment is dropped at most this long after its time. */
const retentionIntervalMs = 60_000;

interface TopicFiles {
  readonly partitions: LocalPartition[];
  readonly offsets: GroupOffsets;
  readonly groups: Map<string, ConsumerGroup>;
  nextUnkeyed: number;
}

/** The local adapter of the port; `enforceRetention` runs by itself every minute. */
export interface LocalStream extends Stream {
  enforceRetention(): void;
  diskBytes(): Promise<number>;
}

/**
 * Opens the stream in a directory, making it where there is none.
 * @throws AuditdError `stream_partitions_fixed` or `data_directory_newer`, or a file system error.
 */
export function openLocalStream(options: LocalStreamOptions): LocalStream {
  return new SegmentStream(options);
}

class SegmentStream implements LocalStream {
  private readonly topicFiles = new Map<Topic, TopicFiles>();
  private readonly consumers = new Set<LocalConsumer>();
  private readonly retentionTimer: NodeJS.Timeout;
  private closing: Promise<void> | undefined;

  constructor(options: LocalStreamOptions) {
    const { directory, durability = 'fsync' } = options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const partitions = fixedPartitions(directory, options.partitions, durability === 'fsync');
    for (const topic of topics) {
      const offsets = new GroupOffsets(makeTopicDirectory(directory, topic), durability === 'fsync');
      const opened = Array.from({ length: partitions }, (_, partition) => {
        const files = new LocalPartition({
          topic,
          partition,
          directory: join(directory, topic, String(partition)),
          maxSegmentBytes: options.maxSegmentBytes ?? defaultMaxSegmentBytes,
          durability,
          maxAgeMs: options.retention?.maxAgeMs ?? Number.POSITIVE_INFINITY,
          maxBytes: options.retention?.maxBytes ?? Number.POSITIVE_INFINITY,
          now: options.now ?? Date.now,
          report: options.report ?? (() => undefined),
        });
        // Before the first append: no offset that a group has passed may be given out again.
        for (const offset of offsets.at(partition).values()) files.startOffset(offset);
        return files;
      });
      this.topicFiles.set(topic, { partitions: opened, offsets, groups: new Map(), nextUnkeyed: 0 });
    }
    this.retentionTimer = setInterval(() => this.enforceRetention(), retentionIntervalMs).unref();
  }

  async append(topic: Topic, records: readonly NewRecord[]): Promise<Position[]> {
    const files = this.filesOf(topic);
    const { partitions } = files;
    const perPartition = new Map<number, NewRecord[]>();
    const places = records.map((record) => {
      const partition =
        record.key === '' ? files.nextUnkeyed++ % partitions.length : partitionOfKey(record.key, partitions.length);
      const sent = perPartition.get(partition);
      if (sent === undefined) perPartition.set(partition, [record]);
      else sent.push(record);
      return { partition, at: (sent?.length ?? 1) - 1 };
    });
    const firstOffsets = new Map<number, number>();
    await Promise.all(
      Array.from(perPartition, async ([partition, sent]) => {
        firstOffsets.set(partition, await partitions[partition]!.append(sent));
      }),
    );
    return places.map(({ partition, at }) => ({ partition, offset: firstOffsets.get(partition)! + at }));
  }

  async consume(options: ConsumerOptions): Promise<Consumer> {
    const files = this.filesOf(options.topic);
    const { group } = options;
    const members = group === undefined ? undefined : groupOf(files, group);
    const consumer = new LocalConsumer(options, {
      partition: (partition) => files.partitions[partition]!,
      committed: (partition) => (group === undefined ? undefined : files.offsets.of(group).get(partition)),
      commit: async (partition, nextOffset) => {
        if (group !== undefined) await files.offsets.commit(group, partition, nextOffset);
      },
      left: (ended) => {
        this.consumers.delete(ended);
        members?.leave(ended);
      },
    });
    this.consumers.add(consumer);
    if (members !== undefined) members.join(consumer);
    else void consumer.assign([...files.partitions.keys()]);
    return consumer;
  }

  async partitions(topic: Topic): Promise<PartitionState[]> {
    return this.filesOf(topic).partitions.map((partition) => partition.state);
  }

  async committed(topic: Topic, group: string): Promise<Map<number, number>> {
    return this.filesOf(topic).offsets.of(group);
  }

  async diskBytes(): Promise<number> {
    let bytes = 0;
    for (const { partitions } of this.topicFiles.values()) for (const partition of partitions) bytes += partition.bytes;
    return bytes;
  }

  enforceRetention(): void {
    for (const { partitions, offsets } of this.topicFiles.values()) {
      for (const [at, partition] of partitions.entries()) partition.enforceRetention(offsets.at(at));
    }
  }

  close(): Promise<void> {
    this.closing ??= this.closeAll();
    return this.closing;
  }

  private async closeAll(): Promise<void> {
    clearInterval(this.retentionTimer);
    await Promise.all([...this.consumers].map((consumer) => consumer.close()));
    for (const { partitions, offsets } of this.topicFiles.values()) {
      await offsets.close();
      for (const partition of partitions) await partition.close();
    }
  }

  private filesOf(topic: Topic): TopicFiles {
    if (this.closing !== undefined) throw new Error('the stream is closed');
    const files = this.topicFiles.get(topic);
    if (files === undefined)
      throw new Error(`there is no topic ${JSON.stringify(topic)}; there are ${topics.join(', ')}`);
    return files;
  }
}

function groupOf(files: TopicFiles, name: string): ConsumerGroup {
  const known = files.groups.get(name);
  if (known !== undefined) return known;
  const group = new ConsumerGroup(files.partitions.length);
  files.groups.set(name, group);
  return group;
}

function makeTopicDirectory(directory: string, topic: Topic): string {
  const path = join(directory, topic);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return join(path, 'groups.json');
}

/** Reads the number of partitions from meta.json, or writes it there. */
function fixedPartitions(directory: string, wanted: number | undefined, sync: boolean): number {
  if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 1 && wanted <= maxPartitions)) {
    throw new RangeError(`partitions is ${wanted}; expected a whole number from 1 to ${maxPartitions}`);
  }
  const path = join(directory, 'meta.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const partitions = wanted ?? 1;
    writeFileSync(path, `${JSON.stringify({ version: 1, partitions })}\n`, { mode: 0o600, flush: sync });
    return partitions;
  }
  let meta: { version?: unknown; partitions?: unknown };
  try {
    meta = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${path} is no JSON; expected {"version": 1, "partitions": <number of directories of a topic>}`, {
      cause,
    });
  }
  if (typeof meta.version === 'number' && meta.version > 1) {
    throw new AuditdError('data_directory_newer', `${path} has version ${meta.version}; this program reads version 1`);
  }
  const { partitions } = meta;
  if (typeof partitions !== 'number' || !Number.isInteger(partitions) || partitions < 1 || partitions > maxPartitions) {
    throw new Error(
      `${path}: partitions is ${JSON.stringify(partitions)}; expected a whole number from 1 to ${maxPartitions}`,
    );
  }
  if (wanted !== undefined && wanted !== partitions) {
    throw new AuditdError(
      'stream_partitions_fixed',
      `${directory} was made with ${partitions} partitions a topic and can't be opened with ${wanted}`,
    );
  }
  return partitions;
}
