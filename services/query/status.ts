/** GET /v1/status: rates, lags, depths, drops, disk and versions of a running daemon, in one answer. */
import type { FastifyInstance } from 'fastify';
import { type Keys, tenantSeen } from '../access/keys.js';
import type { Store } from '../store/store.js';
import { type Stream, type Topic, topics } from '../stream/stream.js';
import { requireReader } from './answers.js';
import { type DiskState, diskState } from './disk.js';
import { type Losses, readLosses } from './losses.js';

/** What the roles beside this one say of themselves, by role. */
export type RoleReports = Readonly<Record<string, () => Promise<object> | object>>;

export interface DaemonIdentity {
  readonly version: string;
  readonly pid: number;
  readonly started_at: string;
  readonly data: string;
}

export interface PartitionStatus {
  readonly topic: Topic;
  readonly partition: number;
  readonly earliest_offset: number;
  readonly end_offset: number;
}

export interface Status extends DaemonIdentity {
  readonly node: string;
  readonly memory_bytes: number;
  /** Calls that reached the stream, a second, over the last minute or since the start. */
  readonly calls_per_second: number;
  readonly stream: readonly PartitionStatus[];
  readonly ingestor?: { readonly lag: number };
  readonly detector?: {
    readonly rules: number;
    readonly firing: number;
    readonly lag: number;
    /** Mistakes in the rule files as they are now; the rules in force are those of before. */
    readonly problems: readonly {
      readonly file: string;
      readonly line: number;
      readonly column: number;
      readonly message: string;
    }[];
  };
  readonly gateway?: { readonly rejected_lines: number; readonly refused_requests: number };
  readonly tables: readonly { readonly table: string; readonly rows: number; readonly bytes: number }[];
  readonly dead_letters: number;
  /** null: the store did not answer in time. */
  readonly losses: Losses | null;
  readonly tail_clients: number;
  readonly disk: DiskState;
}

/** Long queries of others must not keep a status waiting; what the store does not tell until then is unknown. */
const storeTimeoutMs = 2_000;
const sampleIntervalMs = 5_000;
/** Twelve intervals of five seconds are the minute that the rate is told of. */
const maxSamples = 13;

/** Follows the end of the topic `calls` to tell a rate. */
export class Rate {
  private readonly samples: { atMs: number; end: number }[] = [];
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly stream: Stream,
    private readonly clock: () => number,
  ) {
    this.timer = setInterval(() => {
      this.sample().catch(() => undefined);
    }, sampleIntervalMs).unref();
    this.sample().catch(() => undefined);
  }

  /** Events a second since the oldest sample. */
  async perSecond(): Promise<number> {
    const now = { atMs: this.clock(), end: await this.end() };
    const first = this.samples[0];
    if (first === undefined || now.atMs <= first.atMs) return 0;
    return Math.round(((now.end - first.end) / (now.atMs - first.atMs)) * 10_000) / 10;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private async sample(): Promise<void> {
    this.samples.push({ atMs: this.clock(), end: await this.end() });
    if (this.samples.length > maxSamples) this.samples.shift();
  }

  private async end(): Promise<number> {
    return (await this.stream.partitions('calls')).reduce((sum, each) => sum + each.endOffset, 0);
  }
}

/** What a status is made of. */
export interface StatusParts {
  readonly stream: Stream;
  readonly store: Store;
  readonly identity: DaemonIdentity;
  readonly reports: RoleReports;
  readonly rate: Rate;
  readonly tailClients: () => number;
}

/** Adds the route. */
export function addStatusRoute(server: FastifyInstance, keys: Keys, parts: StatusParts): void {
  server.get('/v1/status', async (request): Promise<Status> => {
    return statusOf(parts, tenantSeen(requireReader(request, keys)));
  });
}

/** For a key of one tenant: nothing that counts what is not its own. */
export async function statusOf(parts: StatusParts, tenant: string | undefined): Promise<Status> {
  const { stream, store, identity, reports, rate, tailClients } = parts;
  if (tenant !== undefined) return tenantStatusOf(parts, tenant);
  const states = await Promise.all(
    topics.map(async (topic) =>
      (await stream.partitions(topic)).map(({ partition, earliestOffset, endOffset }) => ({
        topic,
        partition,
        earliest_offset: earliestOffset,
        end_offset: endOffset,
      })),
    ),
  );
  const roles: Record<string, unknown> = {};
  for (const [role, report] of Object.entries(reports)) roles[role] = snakeCased(await report());
  return {
    ...identity,
    node: process.version,
    memory_bytes: process.memoryUsage.rss(),
    calls_per_second: await rate.perSecond(),
    stream: states.flat(),
    ...roles,
    tables: (await store.usage()).tables,
    dead_letters: states
      .flat()
      .filter((each) => each.topic === 'dead')
      .reduce((sum, each) => sum + each.end_offset - each.earliest_offset, 0),
    losses: await lossesOf(store),
    tail_clients: tailClients(),
    disk: diskState(identity.data),
  };
}

async function tenantStatusOf({ store, identity }: StatusParts, tenant: string): Promise<Status> {
  const [counted] = (await rowsOf(
    store,
    `SELECT toUInt32((SELECT count() FROM calls)) AS calls, toUInt32((SELECT count() FROM dead)) AS dead,
     round((SELECT count() FROM calls WHERE recorded_at > now('UTC') - INTERVAL 1 MINUTE) / 60, 1) AS rate`,
    tenant,
  ).catch(() => [])) as { calls: number; dead: number; rate: number }[];
  return {
    ...identity,
    node: process.version,
    memory_bytes: process.memoryUsage.rss(),
    calls_per_second: counted?.rate ?? 0,
    stream: [],
    // How many bytes of a table are the tenant's, nobody counts.
    tables: counted === undefined ? [] : [{ table: 'calls', rows: counted.calls, bytes: 0 }],
    dead_letters: counted?.dead ?? 0,
    losses: await lossesOf(store, tenant),
    tail_clients: 0,
    disk: { ...diskState(identity.data), spool_bytes: 0, stream_bytes: 0, store_bytes: 0, spools: [] },
  };
}

function lossesOf(store: Store, tenant?: string): Promise<Losses | null> {
  return readLosses((sql) => rowsOf(store, sql, tenant)).catch(() => null);
}

async function rowsOf(store: Store, sql: string, tenant: string | undefined): Promise<object[]> {
  const signal = AbortSignal.timeout(storeTimeoutMs);
  const pieces: Uint8Array[] = [];
  const seen = tenant === undefined ? {} : { tenant, isOurs: true };
  for await (const piece of store.query(sql, { format: 'JSONEachRow', signal, ...seen })) pieces.push(piece);
  const lines = Buffer.concat(pieces).toString().split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as object);
}

/** Names as every JSON of this program has them. */
function snakeCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCased);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      snakeCased(each),
    ]),
  );
}
