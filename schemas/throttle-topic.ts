/** The columns of the table `throttle`, and the topic of that name: apart from the signal, which emitters load. */
import { type Field, type Fields, positionFields } from './field.js';
import { jsonTopic } from './record-topic.js';
import { type ThrottleSignal, throttleOrigins, throttleStates } from './throttle.js';

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
