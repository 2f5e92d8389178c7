import { z } from 'zod';
import {
  defaultOf,
  exceedsBytes,
  maxDurationMs,
  maxListItemBytes,
  maxListItems,
  maxMapBytes,
  maxMapEntries,
  maxMapKeyBytes,
  maxMapValueBytes,
  maxTextBytes,
  uuidPattern,
} from './check-value.js';
import { type EventField, eventFields } from './event.js';
import type { Field } from './field.js';
import { parseTimeMicros } from './time.js';

/**
 * The contract in zod, from the same list of fields as the check of the hot path. It is the reference that a property
 * test holds `checkCall` to, and what the JSON Schema is made from.
 */

const jsonText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

function textOf(maxBytes: number) {
  return z
    .string()
    .max(maxBytes)
    .refine((text) => !exceedsBytes(text, maxBytes), `longer than ${maxBytes} bytes`);
}

function mapFits(map: Record<string, unknown>): boolean {
  const entries = Object.entries(map).map(([key, value]) => [key, jsonText(value)] as const);
  const bytes = entries.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
  return (
    entries.length <= maxMapEntries &&
    bytes <= maxMapBytes &&
    entries.every(([key, value]) => !exceedsBytes(key, maxMapKeyBytes) && !exceedsBytes(value, maxMapValueBytes))
  );
}

function schemaOf({ kind, maxBytes, values }: Field): z.ZodType {
  switch (kind) {
    case 'uuid':
      return z.string().regex(uuidPattern);
    case 'time_micros':
    case 'time_millis':
      return z
        .string()
        .refine((text) => !Number.isNaN(parseTimeMicros(text)), 'no RFC 3339 time of the years 2000 to 2099')
        .meta({ format: 'date-time' });
    case 'name':
    case 'text':
      return textOf(maxBytes ?? maxTextBytes[kind]);
    case 'body':
      return z
        .unknown()
        .refine((value) => !exceedsBytes(jsonText(value), maxBytes ?? maxTextBytes.body), 'too long as JSON text');
    case 'choice':
      return z.enum(values as readonly string[] as readonly [string, ...string[]]);
    case 'duration':
      return z.number().min(0).max(maxDurationMs);
    case 'counter':
      return z.int().min(0);
    case 'size':
      return z.int().min(0).max(0xffffffff);
    case 'integer':
      return z.int();
    case 'flag':
    case 'hint':
      return z.boolean();
    case 'list':
      return z.array(textOf(maxListItemBytes)).max(maxListItems);
    case 'map':
      return z.record(z.string(), z.unknown()).refine(mapFits, 'too many or too long entries');
    case 'bytes':
      return z.never();
  }
}

const shape = Object.fromEntries(
  (Object.entries(eventFields) as [string, EventField][]).map(([name, field]) => {
    const described = schemaOf(field).meta({
      description: field.setBy ? `Set by the ${field.setBy}; leave it out. ${field.description}` : field.description,
      examples: [field.example],
      ...(field.setBy ? { readOnly: true } : {}),
    });
    return [name, field.required ? described : described.nullish()];
  }),
);

/** What a producer may send. Unknown fields are kept in `attributes`, and count toward its size. */
export const producedEventSchema = z
  .looseObject(shape)
  .refine(
    (record) => {
      const attributes = (record.attributes ?? defaultOf('map')) as Record<string, unknown>;
      const merged: Record<string, unknown> = Object.assign(Object.create(null), attributes);
      for (const [name, value] of Object.entries(record)) {
        if (!Object.hasOwn(eventFields, name)) merged[name in attributes ? `record.${name}` : name] = value;
      }
      return mapFits(merged);
    },
    { path: ['attributes'], error: 'attributes and unknown fields are too many or too long' },
  )
  .meta({
    title: 'mcp-auditd event',
    description: 'One recorded request to an MCP server, as a producer sends it: one JSON object on one line.',
  });
