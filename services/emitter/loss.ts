import { createHash } from 'node:crypto';
import { derivedEventId, formatMicros } from './clock.js';
import type { CursorState } from './cursor.js';
import { jsonText } from './event-text.js';

/** The method of events in which an emitter reports on itself. */
export const lossMethod = 'audit/loss';

type Loss = Pick<CursorState, 'lostCount' | 'lostFirst' | 'lostLast' | 'lostReason' | 'lostAtMicros'>;

/** Id of the event that tells of a loss. It follows from the loss: told twice after a kill, it is stored once. */
export function lossEventId(producerId: string, loss: Loss): string {
  const { lostCount, lostFirst, lostLast, lostAtMicros } = loss;
  const digest = createHash('sha256').update(`${producerId} ${lostCount} ${lostFirst} ${lostLast}`).digest();
  return derivedEventId(lostAtMicros, digest);
}

/** JSON text of the event that tells of calls which could not be recorded. */
export function lossEvent(producerId: string, sequence: number, loss: Loss): string {
  const { lostCount, lostFirst, lostLast, lostReason, lostAtMicros } = loss;
  return reportText(producerId, sequence, lossEventId(producerId, loss), lostAtMicros, {
    type: 'calls_lost',
    message: `${lostCount} calls could not be recorded: ${lostReason}`,
    attributes: {
      lost_calls: String(lostCount),
      first_lost_sequence: String(lostFirst),
      last_lost_sequence: String(lostLast),
      reason: lostReason,
    },
  });
}

/** What was found wrong with the files of a spool whose process ended. */
export interface SpoolDamage {
  /** Records in places whose bytes are not what was written. */
  readonly damagedRecords: number;
  /** Ends of calls whose beginning was in such a place. */
  readonly unmatchedEnds: number;
  /** Bytes of an unfinished write at the end: of a call that was not answered. */
  readonly tornBytes: number;
}

/** JSON text of the event that tells of damage, by whoever adopts a spool. */
export function damageEvent(producerId: string, sequence: number, startedMicros: number, damage: SpoolDamage): string {
  const { damagedRecords, unmatchedEnds, tornBytes } = damage;
  const digest = createHash('sha256').update(`${producerId} ${damagedRecords} ${unmatchedEnds} ${tornBytes}`).digest();
  return reportText(producerId, sequence, derivedEventId(startedMicros, digest), startedMicros, {
    type: damagedRecords + unmatchedEnds > 0 ? 'spool_damaged' : 'spool_torn',
    message: `${damagedRecords} records of the spool are damaged, ${unmatchedEnds} ends have no beginning, ${tornBytes} bytes of an unfinished write were dropped`,
    attributes: {
      damaged_records: String(damagedRecords),
      unmatched_ends: String(unmatchedEnds),
      torn_bytes: String(tornBytes),
    },
  });
}

function reportText(
  producerId: string,
  sequence: number,
  eventId: string,
  micros: number,
  report: { type: string; message: string; attributes: Readonly<Record<string, string>> },
): string {
  const attributes = Object.entries(report.attributes).map(([name, value]) => `"${name}":${jsonText(value, 256)}`);
  return (
    `{"event_id":"${eventId}","schema_version":1,"producer_id":"${producerId}","producer_sequence":${sequence}` +
    `,"occurred_at":"${formatMicros(micros)}","method":"${lossMethod}","outcome":"no_response"` +
    `,"error_type":"${report.type}","error_message":${jsonText(report.message, 2048)},"attributes":{${attributes.join(',')}}}`
  );
}
