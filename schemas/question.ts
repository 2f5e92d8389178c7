/** The record of a question that somebody asked of the history, on the topic `queries`: who read what, and when. */
import { type Field, type Fields, positionFields } from './field.js';
import { jsonTopic } from './record-topic.js';

/** The door it came through. */
export const questionDoors = ['sql', 'clickhouse', 'api', 'dashboard'] as const;
export type QuestionDoor = (typeof questionDoors)[number];

/** How it ended: the rows were sent, or refused by the fence, failed in the engine, beyond a limit, not admitted, left. */
export const questionOutcomes = ['answered', 'refused', 'failed', 'limit', 'busy', 'cancelled'] as const;
export type QuestionOutcome = (typeof questionOutcomes)[number];

/** Characters of a statement that are kept; the whole length stands beside them. */
export const keptStatementCharacters = 16 * 1024;

export interface Question {
  readonly query_id: string;
  readonly asked_at: string;
  readonly asker: string;
  readonly tenant: string;
  readonly door: QuestionDoor;
  readonly user_name: string;
  readonly client_name: string;
  readonly client_address: string;
  readonly statement: string;
  readonly statement_bytes: number;
  readonly parameters: Readonly<Record<string, string>>;
  readonly format: string;
  readonly outcome: QuestionOutcome;
  readonly error_code: string;
  readonly error_message: string;
  readonly duration_ms: number;
  readonly result_rows: number;
  readonly result_bytes: number;
}

export const questionFields = {
  query_id: { kind: 'text', required: true, maxBytes: 256, description: 'The question; a client may have named it.' },
  asked_at: { kind: 'time_micros', required: true, description: 'When it was asked.' },
  asker: { kind: 'name', required: true, description: 'Name of the key that asked.' },
  tenant: { kind: 'name', description: 'Whose rows the key sees; `*` for those of every tenant.' },
  door: { kind: 'choice', required: true, values: questionDoors, description: 'The door it came through.' },
  user_name: { kind: 'name', description: 'The user that the client named; a claim.' },
  client_name: { kind: 'name', description: 'The program that the client named; a claim.' },
  client_address: { kind: 'name', description: 'Address of the connection.' },
  statement: { kind: 'text', maxBytes: 65_536, description: 'The SQL, its first 16,384 characters.' },
  statement_bytes: { kind: 'size', description: 'Length of the whole statement.' },
  parameters: { kind: 'map', description: 'Values of its placeholders.' },
  format: { kind: 'name', description: 'Format of the answer.' },
  outcome: { kind: 'choice', required: true, values: questionOutcomes, description: 'How it ended.' },
  error_code: { kind: 'name', description: 'Code of the error, as in errors.md.' },
  error_message: { kind: 'text', maxBytes: 8_192, description: 'What the error said.' },
  duration_ms: { kind: 'duration', description: 'Until the last byte was handed over.' },
  result_rows: { kind: 'counter', description: 'Rows of the answer as far as it was sent.' },
  result_bytes: { kind: 'counter', description: 'Bytes of the answer as far as it was sent.' },
  attributes: { kind: 'map', description: 'Fields of a record that this program does not know.' },
  ...positionFields,
} as const satisfies Fields & Record<keyof Question, Field>;

export const queriesTopic = jsonTopic(questionFields, ['query_id', 'asked_at']);
