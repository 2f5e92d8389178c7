/** Records of the notifier's topics, checked as far as it relies on them; what is no such record is undefined. */
import { z } from 'zod';
import { type Alert, alertStates, levels } from '../../schemas/alert.js';
import { type Delivery, deliveryReasons, deliveryStates, errorKinds } from '../../schemas/delivery.js';
import { type Response, responseKinds } from '../../schemas/response.js';

const text = z.string();
const told = z.record(z.string(), z.tuple([z.number(), z.literal([0, 1]), z.literal([0, 1])]));

const alertShape = z.looseObject({
  alert_id: text.min(1).max(64),
  revision: z.number(),
  state: z.enum(alertStates),
  rule_id: text,
  rule_version: text.default(''),
  title: text.default(''),
  description: text.default(''),
  level: z.enum(levels),
  tags: z.array(text).default([]),
  runbook: text.default(''),
  actions: z.array(z.record(text, z.unknown())).default([]),
  dry_run: z.boolean().default(false),
  tenant: text.default(''),
  group: z.record(text, text).default({}),
  started_at: text,
  at: text,
  first_at: text,
  last_at: text,
  count: z.number().default(0),
  values: z.record(text, z.union([text, z.number()])).default({}),
  reason: text.default(''),
  evidence: z.array(text).default([]),
  evidence_sql: text.default(''),
  flags: z.array(text).default([]),
});

const responseShape = z.looseObject({
  response_id: text.min(1).max(64),
  revision: z.number(),
  kind: z.enum(responseKinds),
  target: text.default(''),
  matchers: z.array(text).default([]),
  starts_at: text.optional(),
  ends_at: text.optional(),
  reason: text.default(''),
  author: text.default(''),
  author_key: text.default(''),
  tenant: text.default(''),
  at: text,
});

const deliveryShape = z.looseObject({
  delivery_id: text,
  revision: z.number(),
  state: z.enum(deliveryStates),
  reason: z.enum(deliveryReasons),
  channel: text,
  via: text,
  lane: text,
  opened_at: text,
  sequence: z.number(),
  group: z.record(text, text),
  telling: told,
  told: told.optional(),
  attempt: z.number(),
  planned_at: text,
  at: text,
  next_attempt_at: text.optional(),
  error_kind: z.enum([...errorKinds, '']),
  root: text,
  possible_duplicate: z.boolean(),
  owner: text,
});

function parse<T>(shape: z.ZodType, value: Buffer): T | undefined {
  try {
    const result = shape.safeParse(JSON.parse(value.toString('utf8')));
    return result.success ? (result.data as T) : undefined;
  } catch {
    return undefined;
  }
}

export const parseAlert = (value: Buffer): Alert | undefined => parse<Alert>(alertShape, value);
export const parseResponse = (value: Buffer): Response | undefined => parse<Response>(responseShape, value);
export const parseDelivery = (value: Buffer): Delivery | undefined => parse<Delivery>(deliveryShape, value);
