/**
 * What people decided and still holds, kept on the topic `responses`: the stream drops what is older than its
 * retention, so a decision whose newest record is a day old is written again, as it was. Readers know the copy by its
 * id and revision, and the table holds it once.
 */
import type { Response } from '../../schemas/response.js';
import type { NewRecord, StreamRecord } from '../stream/stream.js';
import type { World } from './world.js';

const keptAfterMs = 86_400_000;

interface Kept {
  readonly response: Response;
  readonly record: NewRecord;
  readonly writtenMs: number;
}

export class Decisions {
  /** The newest record of each decision that this reader acts on, by its id. */
  private readonly kept = new Map<string, Kept>();

  constructor(private readonly world: World) {}

  take(record: StreamRecord, response: Response): void {
    if (response.kind !== 'silence' && response.kind !== 'acknowledge' && response.kind !== 'resolve') return;
    const before = this.kept.get(response.response_id);
    if (before !== undefined && before.response.revision > response.revision) return;
    // A copy: what a record holds may be a view of the whole batch that it came with.
    const { key, value, headers, timestamp } = record;
    const copy = { key, value: Buffer.from(value), headers: { ...headers } };
    this.kept.set(response.response_id, { response, record: copy, writtenMs: timestamp });
  }

  /** What is to be written again; forgets what has no effect any more. */
  due(now: number): NewRecord[] {
    const records: NewRecord[] = [];
    for (const [id, { response, record, writtenMs }] of this.kept) {
      if (now - writtenMs < keptAfterMs) continue;
      if (!this.holds(response, now)) this.kept.delete(id);
      else records.push(record);
    }
    return records;
  }

  /** A silence until its end; what was said of an alert for as long as the alert is known and was not resolved. */
  private holds({ response_id, revision, kind, target }: Response, now: number): boolean {
    if (kind === 'silence') {
      const silence = this.world.silences.get(response_id);
      return silence?.response.revision === revision && silence.endsMs > now;
    }
    const said = kind === 'resolve' ? this.world.resolutions : this.world.acknowledgements;
    const alert = this.world.alerts.get(target)?.alert;
    return alert !== undefined && alert.state !== 'resolved' && said.get(target)?.response_id === response_id;
  }
}
