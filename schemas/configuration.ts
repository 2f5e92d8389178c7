/**
 * The configuration: one list of keys with their defaults and meanings. The type, the check (configuration-sources.ts),
 * the JSON Schema, the names of the environment variables and docs/configuration.md (configuration-keys.ts) follow from
 * it.
 *
 * An unknown key is refused, because a limit that is spelled wrong is a limit that does not hold.
 */
import { z } from 'zod';
import { clickhouseSection, kafkaSection } from './configuration-cluster.js';
import { notifierSection } from './notification.js';
import { limitsSection, throttlerSection } from './throttle-configuration.js';

/** Sizes and counts: at least one, and what a JSON number holds exactly. */
const count = () => z.int().min(1);

const localSection = z
  .strictObject({
    partitions: z
      .int()
      .min(1)
      .max(256)
      .optional()
      .describe('Partitions of each topic, fixed when the data directory is made. Then 1, unless said.'),
    durability: z
      .enum(['fsync', 'kernel'])
      .default('fsync')
      .describe(
        'What an acknowledged event survives. fsync: also the loss of power. kernel: SIGKILL of every process only.',
      ),
    retention_days: count()
      .default(7)
      .describe('Records older than this are dropped from the stream, whole segment files at a time.'),
    retention_bytes: count()
      .default(4 * 1024 ** 3)
      .describe('Bytes that a partition may keep; the oldest segment files are dropped first.'),
  })
  .describe('Segment files in the data directory, for one machine.');

const address = () =>
  z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s[\]]+):\d{1,5}$/, 'expected HOST:PORT, for example 127.0.0.1:7467 or [::1]:0');

export const configurationSchema = z.strictObject({
  data: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Data directory. --data and MCP_AUDITD_DATA come first; default $XDG_STATE_HOME/mcp-auditd, else ~/.local/state/mcp-auditd. A file that lies in the data directory must not name another.',
    ),
  listen: address()
    .default('127.0.0.1:7467')
    .describe(
      'Address of the HTTP server. Port 0 takes a free one; so does the default when its port is taken. Commands and emitters find the address in daemon.json.',
    ),
  log: z
    .strictObject({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
        .default('info')
        .describe("Lowest level of the daemon's own log on standard error."),
      format: z
        .enum(['auto', 'json', 'text'])
        .default('auto')
        .describe('text is one short line an entry; auto is text on a terminal and json elsewhere.'),
    })
    .prefault({})
    .describe("The daemon's own log."),
  stream: z
    .strictObject({ local: localSection.optional(), kafka: kafkaSection.optional() })
    .refine(({ local, kafka }) => local === undefined || kafka === undefined, {
      error: 'local and kafka are both configured, expected one of them',
    })
    // Without either it is the local one, so that one machine needs no configuration.
    .transform(({ local, kafka }) => (kafka === undefined ? { local: local ?? localSection.parse({}) } : { kafka }))
    .prefault({})
    .describe('Where events wait between the gateway and the store: local, or kafka.'),
  store: z
    .strictObject({
      retention_days: count().default(90).describe('Days that a row is kept, counted from recorded_at.'),
      body_retention_days: count()
        .default(30)
        .describe('Days that arguments and result of a row are kept. At most retention_days is of use.'),
      clickhouse: clickhouseSection.optional(),
    })
    .prefault({})
    .describe("Where rows are kept: ClickHouse's engine in this process, or a server when clickhouse is configured."),
  access: z
    .strictObject({
      keys_file: z
        .string()
        .min(1)
        .optional()
        .describe(
          'keys.json of another place, read only and read again when it changes, so that several processes share keys. Default: keys.json in the data directory.',
        ),
    })
    .prefault({})
    .describe('API keys.'),
  metrics: z
    .strictObject({
      access: z
        .enum(['key', 'open'])
        .default('key')
        .describe(
          'Who may read GET /metrics from another machine: who has a key with the role read, or everybody who reaches the port.',
        ),
    })
    .prefault({})
    .describe('GET /metrics.'),
  start_timeout_ms: count()
    .default(30_000)
    .describe(
      'Milliseconds that a start waits for brokers or a store that do not answer yet. What is wrong for good ends it at once.',
    ),
  stop_timeout_ms: count()
    .default(20_000)
    .describe(
      'Milliseconds that a stop may take to store what is in hand; what is not stored then is read again by the next process. Below the time after which a supervisor kills.',
    ),
  gateway: z
    .strictObject({
      max_body_bytes: count()
        .default(16 * 1024 ** 2)
        .describe('Largest body of one request, after gzip was undone.'),
      max_line_bytes: count()
        .default(4 * 1024 ** 2)
        .describe('Longest line, which is one event.'),
      events_per_second: count()
        .default(100_000)
        .describe('Events a second that one key may send; more are answered with 429 and Retry-After.'),
    })
    .prefault({})
    .describe('POST /v1/events.'),
  ingestor: z
    .strictObject({
      max_rows: count().default(20_000).describe('Rows of one insert at most.'),
      max_delay_ms: count().default(500).describe('Milliseconds that a row waits for others at most.'),
      direct: z
        .strictObject({
          tenant: z
            .string()
            .min(1)
            .max(256)
            .default('default')
            .describe('Tenant of a record that came to the topic without the gateway and names none.'),
          may_name_tenant: z
            .boolean()
            .default(false)
            .describe(
              'Whether such a record may name its tenant itself. Then whoever can write to the topic writes for every tenant.',
            ),
        })
        .prefault({})
        .describe('Producers that write to the topic calls themselves.'),
    })
    .prefault({})
    .describe('From the stream to the store.'),
  notifier: notifierSection.prefault({}).describe('From alerts to people.'),
  rules: z
    .strictObject({
      pack: z
        .boolean()
        .default(true)
        .describe('Whether the rules that ship with the program are loaded; your own may replace and tune them.'),
      directory: z
        .string()
        .min(1)
        .default('rules')
        .describe(
          'Directory with your own rules, or one file; a relative path lies in the data directory. It need not exist.',
        ),
    })
    .prefault({})
    .describe('Which rules are in force. A change on the disk is taken up while the daemon runs.'),
  detector: z
    .strictObject({
      checkpoint_ms: count()
        .default(10_000)
        .describe(
          'Milliseconds between two checkpoints at least. After a kill the calls since the last one are looked at again.',
        ),
      reload_ms: count().default(2_000).describe('Milliseconds between two looks at the rule files.'),
      max_state_bytes: count()
        .default(512 * 1024 ** 2)
        .describe(
          'Bytes that rules may remember together. Beyond them groups with the least to lose are let go, which is counted and alerted on.',
        ),
      remembered_ids: count()
        .default(2 ** 21)
        .describe(
          'Ids of the newest calls by which a repeated delivery is known, rounded up to a power of two; 40 bytes each. 2,097,152 are 35 minutes at 1,000 calls a second.',
        ),
      alerts_per_minute: count()
        .default(1_000)
        .describe('Alert records that one rule may raise for one tenant in a minute; more are counted and alerted on.'),
    })
    .prefault({})
    .describe('From calls to alerts.'),
  limits: limitsSection,
  throttler: throttlerSection.prefault({}).describe('From alerts to signals that hold callers back.'),
  query: z
    .strictObject({
      time_ms: count().default(60_000).describe('Milliseconds until a query is stopped.'),
      memory_bytes: count()
        .default(2 * 1024 ** 3)
        .describe('Bytes of memory that a query may use.'),
      result_rows: count().default(1_000_000).describe('Rows that a query may answer.'),
      result_bytes: count()
        .default(1024 ** 3)
        .describe('Bytes that a query may answer.'),
      clickhouse_listen: address()
        .optional()
        .describe(
          "HOST:PORT of a second HTTP server that speaks ClickHouse's protocol at its root, for drivers that take no path. Default: none; the protocol is at /clickhouse of the first one.",
        ),
      trace_url: z
        .url({ protocol: /^https?$/ })
        .includes('{trace_id}')
        .optional()
        .describe(
          'Address of a trace where traces are kept, with {trace_id} in it: the dashboard links there from a call. Default: none.',
        ),
    })
    .prefault({})
    .describe('Limits of queries over HTTP and of the query command; a request may ask for less, never for more.'),
});

export type Configuration = z.infer<typeof configurationSchema>;
