/** The shape of a route: from one list of them follow the server, docs/openapi.json and its test. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { AuditdError } from '../../../schemas/errors.js';
import type { Principal } from './access.js';

/** Rows of one statement, asked by somebody. */
export type AskRows = <T>(sql: string, parameters?: Readonly<Record<string, string>>) => Promise<T[]>;

export interface Asked<Q = unknown, B = unknown> {
  readonly query: Q;
  readonly body: B;
  /** The parts of the path that stand for something. */
  readonly params: Readonly<Record<string, string>>;
  readonly who: Principal;
  readonly ask: AskRows;
  readonly now: number;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below /api/v1, as `/calls/:id`. */
  readonly path: string;
  readonly summary: string;
  /** `anyone` checks by itself. */
  readonly role: 'viewer' | 'responder' | 'admin' | 'anyone';
  readonly query: z.ZodType;
  readonly body: z.ZodType;
  /** undefined: it answers by itself, with `media`. */
  readonly answer: z.ZodType | undefined;
  readonly media?: string;
  readonly status: number;
  handle(asked: Asked<never, never>): Promise<unknown>;
}

const nothing = z.unknown();

/** A route, its types from its schemas. */
export function route<
  Q extends z.ZodType = z.ZodUnknown,
  B extends z.ZodType = z.ZodUnknown,
  A extends z.ZodType = z.ZodType,
>(
  method: Route['method'],
  path: string,
  summary: string,
  parts: {
    readonly role?: Route['role'];
    readonly query?: Q;
    readonly body?: B;
    readonly answer?: A;
    readonly media?: string;
    readonly status?: number;
    handle(asked: Asked<z.output<Q>, z.output<B>>): Promise<z.input<A> | unknown>;
  },
): Route {
  const { role = 'viewer', query = nothing, body = nothing, answer, media, status = 200, handle } = parts;
  return {
    method,
    path,
    summary,
    role,
    query,
    body,
    answer,
    ...(media === undefined ? {} : { media }),
    status,
    handle: handle as Route['handle'],
  };
}

/** What a schema makes of a value. @throws AuditdError `request_invalid`, naming each place. */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'request'}: ${message}`);
  throw new AuditdError('request_invalid', problems.join('; '));
}

/** A cursor is opaque to who has it: the sort key of the last row. */
export function cursorOf(parts: readonly string[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/** @throws AuditdError `cursor_invalid`. */
export function readCursor(cursor: string | undefined, parts: number): string[] | undefined {
  if (cursor === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (Array.isArray(value) && value.length === parts && value.every((each) => typeof each === 'string')) return value;
  } catch {
    // Told below.
  }
  throw new AuditdError('cursor_invalid', 'cursor: this is none that a list has answered.');
}
