/** From the configuration to the two ports: which stream and which store this process works with. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Configuration } from '../../schemas/configuration.js';
import { AuditdError } from '../../schemas/errors.js';
import type { ClickHouseStoreOptions } from '../store/clickhouse.js';
import type { QueryLimits, Store } from '../store/store.js';
import type { KafkaEvent, KafkaStreamOptions } from '../stream/kafka.js';
import { openLocalStream } from '../stream/local.js';
import type { Stream, Topic } from '../stream/stream.js';
import { clientCredentialsToken } from './oauth.js';

const dayMs = 86_400_000;
/** A command that reads the store while no daemon runs holds it for a moment; a daemon waits that long for it. */
const storeWaitMs = 10_000;
const storePollMs = 100;

type ClickHouseSection = NonNullable<Configuration['store']['clickhouse']>;
export type KafkaSection = NonNullable<Configuration['stream']['kafka']>;

/** The options of the adapter that the section stream.kafka asks for. */
export function kafkaOptions(
  section: KafkaSection,
  log: Logger,
  observe?: (event: KafkaEvent) => void,
): KafkaStreamOptions {
  const { ssl } = section;
  const sasl = saslOptions(section.sasl);
  return {
    brokers: section.brokers,
    clientId: section.client_id,
    topicPrefix: section.topic_prefix,
    compression: section.compression,
    sessionTimeoutMs: section.session_timeout_ms,
    ssl: ssl?.enabled === true ? pemTexts(ssl) : false,
    ...(sasl === undefined ? {} : { sasl }),
    // Whatever matters of it comes as an error or an event of ours too, with the way to mend it.
    log: (_level, message, details) => log.debug({ kafka: details }, message),
    ...(observe === undefined ? {} : { observe }),
  };
}

function pemTexts(ssl: NonNullable<KafkaSection['ssl']>): { ca?: string; cert?: string; key?: string } {
  const { ca, cert, key } = ssl;
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function saslOptions(sasl: KafkaSection['sasl']): KafkaStreamOptions['sasl'] {
  if (sasl === undefined) return undefined;
  const { mechanism, username = '', password = '' } = sasl;
  if (mechanism !== 'oauthbearer') return { mechanism, username, password } as KafkaStreamOptions['sasl'];
  return { mechanism, oauthBearerProvider: async () => ({ value: await bearerToken(sasl) }) };
}

async function bearerToken(sasl: NonNullable<KafkaSection['sasl']>): Promise<string> {
  if (sasl.token_file !== undefined) return (await readFile(sasl.token_file, 'utf8')).trim();
  return clientCredentialsToken({
    endpoint: sasl.token_endpoint!,
    clientId: sasl.token_client_id!,
    clientSecret: sasl.token_client_secret!,
    scope: sasl.token_scope,
  });
}

/**
 * Opens the stream: segment files in the data directory, or Kafka.
 * @throws AuditdError of the adapter.
 */
export async function openStream(
  configuration: Configuration,
  data: string,
  log: Logger,
  observe?: (event: KafkaEvent) => void,
): Promise<Stream> {
  const { kafka, local } = configuration.stream;
  if (kafka !== undefined) {
    const { openKafkaStream } = await import('../stream/kafka.js');
    return openKafkaStream(kafkaOptions(kafka, log, observe));
  }
  const { partitions, durability, retention_days, retention_bytes } = local;
  return openLocalStream({
    directory: join(data, 'stream'),
    ...(partitions === undefined ? {} : { partitions }),
    durability,
    retention: { maxAgeMs: retention_days * dayMs, maxBytes: retention_bytes },
    report: (problem) => log.warn({ problem }, 'the stream met a problem'),
  });
}

/**
 * Looks whether the topics are there and `calls` has the partitions that the configuration asks for.
 * @throws AuditdError `kafka_topic_missing`, `kafka_partitions_too_few` or `kafka_not_allowed`.
 */
export async function requireTopics(
  configuration: Configuration,
  stream: Stream,
  topics: readonly Topic[],
): Promise<void> {
  const { kafka } = configuration.stream;
  if (kafka === undefined) return;
  for (const topic of topics) {
    const { length } = await stream.partitions(topic);
    if (topic === 'calls' && length < kafka.partitions)
      throw new AuditdError(
        'kafka_partitions_too_few',
        `${kafka.topic_prefix}${topic} has ${length} partitions; stream.kafka.partitions asks for ${kafka.partitions}`,
      );
  }
}

/** Pause between attempts to reach what does not answer yet. */
const startPollMs = 1_000;

/**
 * Waits for a server that does not answer yet, for at most `start_timeout_ms`: everything may be starting at once. What
 * will not pass by itself, such as a wrong password, is thrown at once.
 */
export async function untilAnswered<T>(configuration: Configuration, log: Logger, open: () => Promise<T>): Promise<T> {
  const giveUpAtMs = Date.now() + configuration.start_timeout_ms;
  for (;;) {
    try {
      return await open();
    } catch (error) {
      const passes = error instanceof AuditdError && error.retriable;
      if (!passes || Date.now() + startPollMs > giveUpAtMs) throw error;
      log.warn({ err: error }, 'waiting for it to answer');
      await delay(startPollMs);
    }
  }
}

/** The configuration's limits of queries in the port's terms. */
export function queryLimits(configuration: Configuration): QueryLimits {
  const { time_ms, memory_bytes, result_rows, result_bytes } = configuration.query;
  return { timeMs: time_ms, memoryBytes: memory_bytes, resultRows: result_rows, resultBytes: result_bytes };
}

/**
 * Opens the store: a ClickHouse server, or the engine in process, which is waited for while another process has it.
 * `migrate` brings its tables up to date; who only reads leaves that to the ingestors.
 * @throws AuditdError of the adapter.
 */
export async function openStore(configuration: Configuration, data: string, migrate = true): Promise<Store> {
  const { clickhouse } = configuration.store;
  const store = clickhouse === undefined ? await openEngine(configuration, data) : await openServer(configuration);
  try {
    if (migrate) await store.migrate();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The options of the adapter that the section store.clickhouse asks for. */
export function clickhouseOptions(section: ClickHouseSection, store: Configuration['store']): ClickHouseStoreOptions {
  const { url, username, password, database, cluster, ssl } = section;
  return {
    url,
    username,
    database,
    retentionDays: store.retention_days,
    bodyRetentionDays: store.body_retention_days,
    ...(password === undefined ? {} : { password }),
    ...(cluster === undefined ? {} : { cluster }),
    ...(ssl?.enabled === true ? { tls: pemTexts(ssl) } : {}),
  };
}

async function openServer(configuration: Configuration): Promise<Store> {
  const { openClickHouseStore } = await import('../store/clickhouse.js');
  return openClickHouseStore(clickhouseOptions(configuration.store.clickhouse!, configuration.store));
}

async function openEngine(configuration: Configuration, data: string): Promise<Store> {
  const { retention_days, body_retention_days } = configuration.store;
  const options = {
    directory: join(data, 'store'),
    retentionDays: retention_days,
    bodyRetentionDays: body_retention_days,
  };
  // A cluster's image has no engine in it: it is looked for only where it is used.
  const { openChdbStore, storeHolder } = await import('../store/chdb.js');
  const endsAtMs = Date.now() + storeWaitMs;
  for (;;) {
    // The engine writes to standard error when it finds its lock taken, so it does not try as long as that is known.
    while (storeHolder(options.directory) !== undefined && Date.now() < endsAtMs) await delay(storePollMs);
    try {
      return await openChdbStore(options);
    } catch (error) {
      const held = error instanceof AuditdError && error.code === 'data_directory_held';
      if (!held || Date.now() >= endsAtMs) throw error;
    }
  }
}
