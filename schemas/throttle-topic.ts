/** The columns of the table `throttle`, and the topic of that name: apart from the signal, which emitters load. */
import { z } from 'zod';
import { type Field, type Fields, positionFields } from './field.js';
import { jsonTopic } from './record-topic.js';
import { type ScopeField, scopeFields, type ThrottleSignal, throttleOrigins, throttleStates } from './throttle.js';

export const throttleFields = {
  signal_id: { kind: 'text', required: true, maxBytes: 64, description: 'Hash of tenant, origin and scope.' },
  revision: { kind: 'size', required: true, description: 'Counts the records of one signal from 1.' },
  state: { kind: 'choice', required: true, values: throttleStates, description: 'Whether it holds.' },
  origin: { kind: 'choice', required: true, values: throttleOrigins, description: 'What it came from.' },
  tenant: { kind: 'name', description: 'Whose calls.' },
  scope: { kind: 'map', description: 'Fields of a call and their values; all must be equal.' },
  each: { kind: 'list', description: 'Fields each value of which has a limit of its own.' },
  except: { kind: 'list', description: 'Calls that are let through all the same, as actor_id=alice.' },
  block: { kind: 'flag', description: 'Every call is refused.' },
  interval_micros: { kind: 'counter', description: 'Microseconds to one call; 0: no rate.' },
  burst: { kind: 'size', description: 'Calls that may come at once.' },
  delay_ms: { kind: 'size', description: 'Milliseconds that each call waits.' },
  producers: { kind: 'size', description: 'Producers that share the rate.' },
  dry_run: { kind: 'flag', description: 'Recorded only: nobody is held back.' },
  reason: { kind: 'text', description: 'In a sentence.' },
  alert_ids: { kind: 'list', description: 'Alerts that asked for it.' },
  rule_ids: { kind: 'list', description: 'Rules of those alerts.' },
  author: { kind: 'text', description: 'Who added or lifted it by hand.' },
  author_key: { kind: 'name', description: 'Key that vouched for the author.' },
  issued_at: { kind: 'time_micros', required: true, description: 'When this revision was made.' },
  expires_at: { kind: 'time_micros', required: true, description: 'When it ends by itself.' },
  key_id: { kind: 'name', description: 'Which key signed it.' },
  signature: { kind: 'text', description: 'Ed25519, base64url.' },
  attributes: { kind: 'map', description: 'Fields of a record that this program does not know.' },
  ...positionFields,
} as const satisfies Fields & Record<keyof ThrottleSignal, Field>;

export const throttleTopic = jsonTopic(throttleFields, ['signal_id', 'revision']);

const scopeField = z.enum(scopeFields as [ScopeField, ...ScopeField[]]);
const count = () => z.int().min(0);

/** A signal as emitters in any language get it; `parseSignal` is the check on the hot side, and a test compares both. */
export const throttleSignalSchema = z.looseObject({
  signal_id: z.string().describe('Known again by it; of one id the highest revision counts.'),
  revision: count(),
  state: z.enum(throttleStates),
  origin: z.enum(throttleOrigins).describe('override: while it is active nothing is held back in its tenant.'),
  tenant: z.string(),
  scope: z.partialRecord(scopeField, z.string()).describe('All must be equal; empty: every call.'),
  each: z.array(scopeField).describe('Fields each value of which has a limit of its own.'),
  except: z.array(z.string()).describe('Calls that pass all the same, as actor_id=alice.'),
  block: z.boolean().describe('Every call is refused.'),
  interval_micros: count().describe('Microseconds to one call; 0: no rate.'),
  burst: count().describe('Calls that may come at once.'),
  delay_ms: count().describe('Milliseconds that each call waits.'),
  producers: count().describe('Producers that share rate and burst.'),
  dry_run: z.boolean(),
  reason: z.string(),
  alert_ids: z.array(z.string()),
  rule_ids: z.array(z.string()),
  author: z.string(),
  author_key: z.string(),
  issued_at: z.string().meta({ format: 'date-time' }),
  expires_at: z.string().meta({ format: 'date-time' }),
  key_id: z.string().describe('First 16 hex digits of the SHA-256 of the public key (SPKI, DER).'),
  signature: z.string().describe('Ed25519, base64url.'),
} satisfies Record<keyof ThrottleSignal, z.ZodType>);
