import type { FieldName, ProducedEvent } from '../../schemas/event.js';
import { cutAt } from './redaction.js';

/** A field that is written as text, and the most bytes the contract takes of it. */
const textFields = {
  method: 256,
  tool_name: 256,
  resource_uri: 2048,
  prompt_name: 256,
  request_id: 256,
  session_id: 256,
  actor_id: 256,
  actor_type: 256,
  client_id: 256,
  client_name: 256,
  client_version: 256,
  client_address: 256,
  server_name: 256,
  server_version: 256,
  protocol_version: 256,
  transport: 256,
  error_type: 256,
  error_message: 2048,
  tool_definition_hash: 256,
  trace_id: 64,
  span_id: 32,
  parent_event_id: 36,
  task_id: 256,
} as const satisfies Partial<Record<FieldName, number>>;

export type TextField = keyof typeof textFields;
type FlagField = 'actor_verified' | 'tool_read_only' | 'tool_destructive' | 'tool_idempotent' | 'tool_open_world';
/** Every field that is written as it is told. Empty text and null are the same as nothing. */
export type PlainFields = Pick<ProducedEvent, TextField | FlagField | 'error_code'>;

/** Text that needs no escape: by far the most. */
const plainText = /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/;

/** JSON text of a string, at most `maxBytes` of UTF-8 of it, without lone surrogates. */
export function jsonText(value: string, maxBytes: number): string {
  if (value.length <= maxBytes && plainText.test(value)) return `"${value}"`;
  let kept = cutAt(value, maxBytes).toWellFormed();
  while (Buffer.byteLength(kept) > maxBytes) {
    kept = cutAt(kept, Math.min(kept.length - 1, Math.floor((kept.length * maxBytes) / Buffer.byteLength(kept))));
  }
  return JSON.stringify(kept);
}

/** `,"name":"value"`, or '' when there is nothing to tell. */
export function textFieldText(name: TextField, value: string): string {
  return value === '' ? '' : `,"${name}":${jsonText(value, textFields[name])}`;
}

/** `,"name":value` of each field that is told. */
export function fieldsText(fields: Partial<PlainFields>): string {
  let text = '';
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === 'string') text += textFieldText(name as TextField, value);
    else if (typeof value === 'boolean') text += `,"${name}":${value}`;
    else if (Number.isSafeInteger(value) && value !== 0) text += `,"${name}":${value}`;
  }
  return text;
}

/** Entries of attributes, and bytes of a name and of a value: 64 × 1.25 KiB is what the contract takes of a map. */
const maxAttributes = 64;
const maxAttributeNameBytes = 128;
const maxAttributeBytes = 880;

/** `"attributes":{…},`, or '' when there are none. `redact` is given each value and its path. */
export function attributesText(
  attributes: Readonly<Record<string, string>> | undefined,
  redact: (value: string, path: string, name: string) => string,
): string {
  if (attributes === undefined) return '';
  let text = '';
  let count = 0;
  for (const name of Object.keys(attributes)) {
    if (count++ >= maxAttributes) break;
    const value = redact(String(attributes[name]), `attributes.${name}`, name);
    text += `${text === '' ? '' : ','}${jsonText(name, maxAttributeNameBytes)}:${jsonText(value, maxAttributeBytes)}`;
  }
  return text === '' ? '' : `"attributes":{${text}},`;
}
