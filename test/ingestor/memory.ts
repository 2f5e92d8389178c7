import { createHash } from 'node:crypto';
import { callCheck } from '../../schemas/check.js';
import type { CheckedRow } from '../../schemas/checked-row.js';
import { AuditdError } from '../../schemas/errors.js';
import { parseUuid, timeOfUuid } from '../../schemas/uuid.js';
import type { Block } from '../../services/ingestor/writer.js';
import type { InsertBatch, Store } from '../../services/store/store.js';
import type { StreamRecord } from '../../services/stream/stream.js';

/** What a row of the model holds; the block's bytes are its JSON text. */
export interface StoredRow {
  readonly tenant: string;
  readonly event_id: string;
  readonly method: string;
  readonly recordedAtMs: number;
  readonly partition: number;
  readonly offset: number;
}

/** A block that the store in memory can read. */
export class JsonBlock implements Block {
  private list: StoredRow[] = [];
  appendRow(row: CheckedRow, recordedAtMs: number, partition: number, offset: number): void {
    const { tenant, event_id, method } = callCheck.recordOf(row);
    this.list.push({ tenant, event_id, method, recordedAtMs, partition, offset });
  }
  get rows(): number {
    return this.list.length;
  }
  finish(): Uint8Array {
    return Buffer.from(JSON.stringify(this.list));
  }
  reset(): void {
    this.list = [];
  }
}

export type Fault = 'before' | 'after' | 'none';

/** A store in memory that keeps the port's promises and fails when it is told to. */
export class MemoryStore implements Store {
  readonly rows: StoredRow[] = [];
  readonly inserts: InsertBatch[] = [];
  faults: Fault[] = [];
  /** Rows of these events are refused for good. */
  readonly poison = new Set<string>();
  asked = 0;

  async insert(batch: InsertBatch): Promise<void> {
    await Promise.resolve();
    const rows = JSON.parse(Buffer.from(batch.block).toString()) as StoredRow[];
    const fault = this.faults.shift() ?? 'none';
    if (fault === 'before') throw new AuditdError('store_unavailable', 'away');
    if (rows.length !== batch.rows) throw new Error(`the batch says ${batch.rows} rows and has ${rows.length}`);
    const days = new Set(rows.map(({ recordedAtMs }) => Math.floor(recordedAtMs / 86_400_000)));
    if (days.size > 1) throw new AuditdError('store_refused_block', 'two days');
    if (rows.some(({ event_id }) => this.poison.has(event_id))) throw new AuditdError('store_refused_block', 'poison');
    this.rows.push(...rows);
    this.inserts.push(batch);
    if (fault === 'after') throw new AuditdError('store_unavailable', 'cut off');
  }
  takeOver(): Promise<Map<number, number>> {
    return this.highestOffsets();
  }
  async highestOffsets(): Promise<Map<number, number>> {
    const highest = new Map<number, number>();
    for (const { partition, offset } of this.rows)
      highest.set(partition, Math.max(offset, highest.get(partition) ?? -1));
    return highest;
  }
  async storedEventIds(ids: readonly string[], tenant: string): Promise<Set<string>> {
    this.asked += ids.length;
    const wanted = new Set(ids);
    const found = this.rows.filter((row) => row.tenant === tenant && wanted.has(row.event_id));
    return new Set(found.map(({ event_id }) => event_id));
  }
  async storedIdentities(): Promise<Set<string>> {
    return new Set();
  }
  async *query(): AsyncGenerator<Uint8Array> {
    // The tests that need SQL use the real engine.
  }
  async migrate(): Promise<{ applied: string[] }> {
    return { applied: [] };
  }
  async usage(): Promise<{ tables: never[] }> {
    return { tables: [] };
  }
  async close(): Promise<void> {
    this.faults = [];
  }
}

/** Milliseconds since the epoch inside a UUIDv7, 0 of any other. */
export function timeOfId(id: string): number {
  const words = new Uint32Array(4);
  if (!parseUuid(id, words)) throw new Error(`${id} is no UUID`);
  return timeOfUuid(words);
}

/** A UUID that is a function of its name; a UUIDv7 of the given time, or a UUIDv4 without one. */
export function idFrom(name: string, timeMs?: number): string {
  const digits = createHash('sha256').update(name).digest('hex');
  const time = timeMs === undefined ? digits.slice(20, 32) : timeMs.toString(16).padStart(12, '0');
  const version = timeMs === undefined ? '4' : '7';
  return `${time.slice(0, 8)}-${time.slice(8)}-${version}${digits.slice(0, 3)}-8${digits.slice(3, 6)}-${digits.slice(6, 18)}`;
}

export function callRecord(offset: number, tenant: string, id: string, over: Partial<StreamRecord> = {}): StreamRecord {
  const event = { event_id: id, occurred_at: '2026-11-24T03:52:00Z', method: `m${offset}`, outcome: 'success' };
  return {
    key: '',
    value: Buffer.from(JSON.stringify(event)),
    headers: { tenant, producer_key: 'k' },
    offset,
    timestamp: 1_763_956_320_000 + offset,
    ...over,
  };
}
