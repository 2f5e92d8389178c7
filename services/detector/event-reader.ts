/** The fields that rules look at, read from the bytes of one record. */
import { parseTimeMicros } from '../../schemas/time.js';
import type { FieldReference } from './fields.js';

export interface EngineRecord {
  /** JSON text of one event, as `schemas/event.ts` has it; fields may be missing. */
  readonly value: Buffer;
  /** Whose it is, as the stream's header says; without it the event's own `tenant`, else "default". */
  readonly tenant?: string | undefined;
  /** Instead of "default". */
  readonly otherwiseTenant?: string | undefined;
  readonly producerKey?: string | undefined;
  readonly partition: number;
  readonly offset: number;
  /** Microseconds since the epoch, by the stream's clock. Never decreases. */
  readonly recordedAtMicros: number;
}

/**
 * The stream's time in microseconds. A record's timestamp is cut to milliseconds: taken at their end, so that an event of
 * the same machine does not seem to come from the future.
 */
export function streamMicros(timestampMs: number): number {
  return timestampMs * 1000 + 999;
}

/** What a field is in one event: its text, or of a list the texts of its items. '' is what the event does not have. */
export type FieldText = string | readonly string[];

const notText = Symbol('not read yet');

/** Reads one record at a time. A record that is no JSON object is refused; what is of the wrong type is taken as text. */
export class EventReader {
  private event: Readonly<Record<string, unknown>> = {};
  private record: EngineRecord | undefined;
  private bodies = new Map<string, unknown>();
  private readonly texts: (FieldText | typeof notText)[];
  /** Own time in microseconds, never ahead of the stream's. */
  timeMicros = 0;
  /** Microseconds that the event's own time was ahead of the stream's. */
  aheadMicros = 0;

  constructor(private readonly fields: readonly FieldReference[]) {
    this.texts = new Array(fields.length).fill(notText);
  }

  /** Takes a record. False when it is no JSON object: no field can be read then. */
  read(record: EngineRecord): boolean {
    let event: unknown;
    try {
      event = JSON.parse(record.value.toString('utf8'));
    } catch {
      return false;
    }
    if (typeof event !== 'object' || event === null || Array.isArray(event)) return false;
    this.event = event as Readonly<Record<string, unknown>>;
    this.record = record;
    this.bodies.clear();
    this.texts.fill(notText);
    const occurred = this.event.occurred_at;
    const micros = typeof occurred === 'string' ? parseTimeMicros(occurred) : Number.NaN;
    // Without a readable time of its own it happened when it was recorded.
    this.aheadMicros = Number.isNaN(micros) ? 0 : Math.max(0, micros - record.recordedAtMicros);
    this.timeMicros = Number.isNaN(micros) ? record.recordedAtMicros : micros - this.aheadMicros;
    return true;
  }

  get eventId(): string {
    const id = this.event.event_id;
    return typeof id === 'string' ? id : '';
  }

  get tenant(): string {
    const { tenant, otherwiseTenant } = this.record as EngineRecord;
    return tenant ?? (textOf(this.event.tenant) || (otherwiseTenant ?? 'default'));
  }

  text(slot: number): FieldText {
    const known = this.texts[slot] as FieldText | typeof notText;
    if (known !== notText) return known;
    const text = this.find(this.fields[slot] as FieldReference);
    this.texts[slot] = text;
    return text;
  }

  private find({ root, kind, path }: FieldReference): FieldText {
    const record = this.record as EngineRecord;
    switch (root) {
      case 'tenant':
        return this.tenant;
      case 'producer_key':
        return record.producerKey ?? textOf(this.event.producer_key);
      case 'recorded_at':
        return new Date(Math.floor(record.recordedAtMicros / 1000)).toISOString();
      case 'stream_partition':
        return String(record.partition);
      case 'stream_offset':
        return String(record.offset);
      case 'ahead_ms':
        return String(this.aheadMicros / 1000);
      case 'late_ms':
        return String(Math.max(0, record.recordedAtMicros - this.timeMicros) / 1000);
      case 'attributes':
        return this.attribute((path as readonly string[])[0] as string);
      case 'arguments':
      case 'result':
        return path === undefined ? textOf(this.event[root]) : inside(this.body(root), path);
      default: {
        const value = this.event[root];
        if (value === undefined || value === null) return defaultText(kind);
        return kind === 'list' && Array.isArray(value) ? value.map(textOf) : textOf(value);
      }
    }
  }

  /** What the producer put into `attributes` comes before a field of the record that the contract does not name. */
  private attribute(name: string): string {
    const { attributes } = this.event;
    if (typeof attributes === 'object' && attributes !== null && Object.hasOwn(attributes, name))
      return textOf((attributes as Record<string, unknown>)[name]);
    return Object.hasOwn(this.event, name) ? textOf(this.event[name]) : '';
  }

  /** The parsed body; a text that is no JSON stays text. */
  private body(root: 'arguments' | 'result'): unknown {
    if (!this.bodies.has(root)) {
      let body = this.event[root];
      if (typeof body === 'string') {
        try {
          body = JSON.parse(body);
        } catch {
          // A body that was cut at a limit.
        }
      }
      this.bodies.set(root, body);
    }
    return this.bodies.get(root);
  }
}

function defaultText(kind: FieldReference['kind']): string {
  if (kind === 'counter' || kind === 'size' || kind === 'integer') return '0';
  return kind === 'flag' ? 'false' : '';
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return '';
  try {
    return JSON.stringify(value);
  } catch {
    // Nested deeper than the stack: nothing that a rule could look for is lost in it.
    return '';
  }
}

/** The value at a path; a list of plain values is taken as its items. */
function inside(body: unknown, path: readonly string[]): FieldText {
  let here = body;
  for (const step of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, step)) return '';
    here = (here as Record<string, unknown>)[step];
  }
  if (Array.isArray(here) && here.every((item) => typeof item !== 'object')) return here.map(textOf);
  return textOf(here);
}
