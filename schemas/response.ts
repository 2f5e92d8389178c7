/**
 * The record of what a person decided about alerts, on the topic `responses`: a silence, an acknowledgement, a
 * resolution by hand, a delivery to be tried again, a throttle added or lifted. Of one `response_id` the highest
 * revision counts.
 */
import { z } from 'zod';
import { type Field, type Fields, positionFields } from './field.js';
import { parseMatcher } from './matcher.js';
import { jsonTopic } from './record-topic.js';
import { limitShape } from './rule.js';
import { type ScopeField, scopeFields } from './throttle.js';
import { parseTimeMicros } from './time.js';

export const responseKinds = ['silence', 'acknowledge', 'resolve', 'retry', 'throttle', 'lift'] as const;
export type ResponseKind = (typeof responseKinds)[number];

export interface ThrottleByHand {
  readonly scope: Readonly<Partial<Record<ScopeField, string>>>;
  readonly each: readonly ScopeField[];
  readonly rate?: string | undefined;
  readonly burst?: number | undefined;
  readonly delay?: string | undefined;
  readonly block?: boolean | undefined;
  readonly dry_run?: boolean | undefined;
  /** Nothing is throttled while it holds; scope and limit say nothing then. */
  readonly override?: boolean | undefined;
}

export interface Response {
  readonly response_id: string;
  /** Counts the records of one response from 1. */
  readonly revision: number;
  readonly kind: ResponseKind;
  /** The alert, or for `retry` the delivery and for `lift` the signal, that it is about; empty for a silence. */
  readonly target: string;
  /** Of a silence: which alerts it hides, all of them together. */
  readonly matchers: readonly string[];
  /** Of a silence. RFC 3339, microseconds. Expired by hand: the time of that. */
  readonly starts_at?: string | undefined;
  readonly ends_at?: string | undefined;
  /** Of a throttle: who is held back and how, until `ends_at`. */
  readonly throttle?: ThrottleByHand | undefined;
  readonly reason: string;
  /** The name that the person gave; a claim. */
  readonly author: string;
  /** Name of the API key that vouched for it. */
  readonly author_key: string;
  readonly tenant: string;
  readonly at: string;
}

const scopeField = z.enum(scopeFields as [ScopeField, ...ScopeField[]]);
const text = (most: number) => z.string().max(most);
const time = z
  .string()
  .refine((each) => !Number.isNaN(parseTimeMicros(each)), 'expected a time such as 2026-11-24T09:00:00Z');

/** What `POST /v1/responses` takes: a response without what the gateway knows better (who vouches, tenant, time). */
export const responseRequestSchema = z
  .strictObject({
    /** Of an earlier response, to change it. */
    response_id: z.uuid().optional(),
    revision: z.int().min(1).max(1_000_000).default(1),
    kind: z.enum(responseKinds),
    target: text(256).default(''),
    matchers: z
      .array(
        text(1024).superRefine((each, context) => {
          try {
            parseMatcher(each);
          } catch (error) {
            context.addIssue({ code: 'custom', message: (error as Error).message });
          }
        }),
      )
      .max(64)
      .default([]),
    starts_at: time.optional(),
    ends_at: time.optional(),
    throttle: z
      .strictObject({
        scope: z.partialRecord(scopeField, z.string().min(1).max(256)).default({}),
        each: z.array(scopeField).default([]),
        ...limitShape,
        dry_run: z.boolean().optional(),
        override: z.boolean().optional(),
      })
      .optional(),
    reason: text(2000).default(''),
    author: text(256).default(''),
  })
  .superRefine((value, context) => {
    const { kind, target, matchers, ends_at, throttle, response_id, revision } = value;
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (kind !== 'silence' && kind !== 'throttle' && target === '') refuse('target', `a ${kind} needs one`);
    if (kind === 'silence' && matchers.length === 0) refuse('matchers', 'a silence needs at least one');
    if ((kind === 'silence' || kind === 'throttle') && ends_at === undefined) refuse('ends_at', `a ${kind} has an end`);
    if ((kind === 'throttle') !== (throttle !== undefined))
      refuse('throttle', 'belongs to the kind throttle, and only there');
    if (throttle !== undefined && throttle.override !== true) {
      const { rate, delay, block } = throttle;
      if (rate === undefined && delay === undefined && block !== true)
        refuse('throttle', 'expected a rate, a delay or block: true');
    }
    if ((response_id === undefined) !== (revision === 1))
      refuse('revision', 'a change names response_id and a revision above 1');
  });

export const responseFields = {
  response_id: { kind: 'text', required: true, maxBytes: 64, description: 'What was decided; a silence keeps its id.' },
  revision: { kind: 'size', required: true, description: 'Counts the records of one response from 1.' },
  kind: { kind: 'choice', required: true, values: responseKinds, description: 'What was decided.' },
  target: { kind: 'text', maxBytes: 1_024, description: 'The alert, delivery or signal it is about.' },
  matchers: { kind: 'list', description: 'Of a silence: which alerts it hides.' },
  starts_at: { kind: 'time_micros', description: 'Of a silence: from when on.' },
  ends_at: { kind: 'time_micros', description: 'Of a silence or throttle: until when.' },
  throttle: { kind: 'body', description: 'JSON, of a throttle: who is held back and how.' },
  reason: { kind: 'text', maxBytes: 8_192, description: 'Why.' },
  author: { kind: 'text', maxBytes: 1_024, description: 'Who, as they say.' },
  author_key: { kind: 'name', description: 'Key that vouched for the author.' },
  tenant: { kind: 'name', description: 'Tenant of that key.' },
  at: { kind: 'time_micros', required: true, description: 'When.' },
  attributes: { kind: 'map', description: 'Fields of a record that this program does not know.' },
  ...positionFields,
} as const satisfies Fields & Record<keyof Response, Field>;

export const responsesTopic = jsonTopic(responseFields, ['response_id', 'revision']);
