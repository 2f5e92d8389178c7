/**
 * The record of a statement that somebody keeps under a name, on the topic `saved_queries`. Its key is tenant and name,
 * so the records of one name stand in one partition and the newest counts.
 */
import { z } from 'zod';
import { type Field, type Fields, positionFields } from './field.js';
import { jsonTopic } from './record-topic.js';

/** Names and statements stand in lists and menus: 1,000 of one tenant are 64 MB at most. */
export const mostSavedQueries = 1_000;
const mostStatementBytes = 64 * 1024;

/** A name that can be typed as one word, in a command and in an address. */
export const savedNameSchema = z
  .string()
  .regex(/^[\p{L}\p{N}][\p{L}\p{N}._-]{0,79}$/u, 'expected up to 80 letters, digits, dots, dashes and underscores');

/** What a person gives of it. */
export const savedQueryRequestSchema = z.strictObject({
  statement: z
    .string()
    .trim()
    .min(1)
    .refine(
      (text) => !/\p{Surrogate}/u.test(text) && Buffer.byteLength(text) <= mostStatementBytes,
      `expected at most ${mostStatementBytes} bytes of text`,
    )
    .describe('SQL; it is judged when it is asked.'),
  author: z.string().max(256).default('').describe('Who keeps it; a claim.'),
});

export interface SavedQuery {
  /** Of this record. */
  readonly record_id: string;
  readonly name: string;
  readonly tenant: string;
  /** Empty: the name is forgotten. */
  readonly statement: string;
  readonly author: string;
  readonly author_key: string;
  readonly saved_at: string;
}

export const savedQueryFields = {
  record_id: { kind: 'text', required: true, maxBytes: 64, description: 'The record.' },
  name: { kind: 'text', required: true, maxBytes: 320, description: 'The name it is kept under.' },
  tenant: { kind: 'name', description: 'Tenant of the key that vouched for it.' },
  statement: { kind: 'text', maxBytes: mostStatementBytes, description: 'The SQL; empty: the name is forgotten.' },
  author: { kind: 'text', maxBytes: 1_024, description: 'Who kept it, as they say.' },
  author_key: { kind: 'name', description: 'Key that vouched for the author.' },
  saved_at: { kind: 'time_micros', required: true, description: 'When.' },
  attributes: { kind: 'map', description: 'Fields of a record that this program does not know.' },
  ...positionFields,
} as const satisfies Fields & Record<keyof SavedQuery, Field>;

export const savedQueriesTopic = jsonTopic(savedQueryFields, ['record_id']);
