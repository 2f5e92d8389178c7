/** From `tool=read_file` to SQL. Values travel as parameters and never in the text. */
import { AuditdError } from '../../../schemas/errors.js';
import { type EventField, eventFields } from '../../../schemas/event.js';
import { nearestName } from '../../../schemas/nearest.js';
import type { CallsRange } from './contract.js';

/** Short names that people type. */
const shortNames: Readonly<Record<string, string>> = {
  actor: 'actor_id',
  args: 'arguments',
  client: 'client_name',
  duration: 'duration_ms',
  id: 'event_id',
  server: 'server_name',
  session: 'session_id',
  tool: 'tool_name',
  trace: 'trace_id',
};

const mostFilters = 32;
const longestFilter = 4_096;
const hourMs = 3_600_000;
const pattern = /^([a-z_]+(?:\.[^=!~<>]+)?)(!=|!~|>=|<=|=|~|>|<)(.*)$/s;

/** A condition on `calls`, and the values of its placeholders. */
export interface Condition {
  readonly sql: string;
  readonly parameters: Readonly<Record<string, string>>;
  readonly fromMs: number;
  readonly toMs: number;
}

/** A column of `calls` as SQL, with the field's kind. @throws AuditdError `request_invalid`. */
export function columnOf(written: string): {
  sql: (name: (value: string) => string) => string;
  kind: EventField['kind'];
  field: string;
} {
  const dot = written.indexOf('.');
  const head = dot < 0 ? written : written.slice(0, dot);
  const field = shortNames[head] ?? head;
  const known = Object.hasOwn(eventFields, field) ? eventFields[field as keyof typeof eventFields] : undefined;
  if (dot >= 0) {
    if (field !== 'attributes')
      throw new AuditdError('request_invalid', `${written}: only attributes have keys of their own.`);
    const key = written.slice(dot + 1);
    return { sql: (bind) => `attributes[${bind(key)}]`, kind: 'text', field: written };
  }
  if (known === undefined) {
    const near = nearestName(head, [...Object.keys(eventFields), ...Object.keys(shortNames)]);
    throw new AuditdError(
      'request_invalid',
      `There is no field ${head}${near === undefined ? '' : `; did you mean ${near}?`}`,
    );
  }
  return { sql: () => `calls.${field}`, kind: known.kind, field };
}

/** The condition of a range of calls. @throws AuditdError `request_invalid`, naming the filter. */
export function conditionOf(range: CallsRange, now: number): Condition {
  const toMs = range.to ?? now;
  const fromMs = range.from ?? toMs - hourMs;
  if (fromMs >= toMs) throw new AuditdError('request_invalid', 'from: expected a time before `to`.');
  if (range.filter.length > mostFilters)
    throw new AuditdError(
      'request_invalid',
      `filter: ${range.filter.length} of them, expected at most ${mostFilters}.`,
    );
  const parameters: Record<string, string> = { from: String(fromMs), to: String(toMs) };
  const bind = (value: string, type = 'String'): string => {
    const name = `f${Object.keys(parameters).length}`;
    parameters[name] = value;
    return `{${name}:${type}}`;
  };
  const any = new Map<string, string[]>();
  const all: string[] = [];
  for (const filter of range.filter) {
    const match = filter.length > longestFilter ? null : pattern.exec(filter.trim());
    if (match === null)
      throw new AuditdError(
        'request_invalid',
        `filter ${filter.slice(0, 80)}: expected field, operator and value, as tool=read_file.`,
      );
    const [, written, operator, value] = match as unknown as [string, string, string, string];
    const { sql, kind, field } = columnOf(written);
    const condition = comparison(
      sql((key) => bind(key)),
      kind,
      operator,
      value,
      bind,
      filter,
    );
    if (operator === '=') any.set(field, [...(any.get(field) ?? []), condition]);
    else all.push(condition);
  }
  for (const conditions of any.values())
    all.push(conditions.length === 1 ? conditions[0]! : `(${conditions.join(' OR ')})`);
  return { sql: all.length === 0 ? '1' : all.join(' AND '), parameters, fromMs, toMs };
}

function comparison(
  column: string,
  kind: EventField['kind'],
  operator: string,
  value: string,
  bind: (value: string, type?: string) => string,
  filter: string,
): string {
  const refuse = (expected: string): never => {
    throw new AuditdError('request_invalid', `filter ${filter.slice(0, 80)}: expected ${expected}.`);
  };
  const negated = operator.startsWith('!');
  const not = (condition: string): string => (negated ? `NOT ${condition}` : condition);
  switch (kind) {
    case 'duration':
    case 'size':
    case 'counter':
    case 'integer': {
      if (operator.includes('~')) refuse('one of = != > >= < <=');
      if (value.trim() === '' || !Number.isFinite(Number(value))) refuse('a number');
      return `ifNull(toFloat64(${column}) ${operator} ${bind(String(Number(value)), 'Float64')}, 0)`;
    }
    case 'flag':
    case 'hint':
      if (!/^(true|false)$/.test(value) || !/^!?=$/.test(operator)) refuse('= or != and true or false');
      return not(`ifNull(${column} = ${bind(value, 'Bool')}, 0)`);
    case 'time_millis':
    case 'time_micros':
    case 'map':
    case 'bytes':
      return refuse('another field; times are chosen with from and to, attributes as attributes.KEY');
    case 'list':
      if (/[<>]/.test(operator)) refuse('one of = != ~ !~');
      return operator.includes('~')
        ? not(`arrayExists(x -> positionCaseInsensitiveUTF8(x, ${bind(value)}) > 0, ${column})`)
        : not(`has(${column}, ${bind(value)})`);
    case 'uuid':
      if (!/^!?=$/.test(operator)) refuse('= or !=');
      return not(`(${column} = toUUIDOrZero(${bind(value)}))`);
    default:
      if (/[<>]/.test(operator)) refuse('one of = != ~ !~');
      return operator.includes('~')
        ? not(`(positionCaseInsensitiveUTF8(${column}, ${bind(value)}) > 0)`)
        : not(`(${column} = ${bind(value)})`);
  }
}

/** Whether an event that was not stored yet meets the filters. @throws AuditdError `request_invalid`, as `conditionOf`. */
export function matcherOf(filters: readonly string[]): (event: Readonly<Record<string, unknown>>) => boolean {
  // The same checks, so that a filter that works for lists works for the tail.
  conditionOf({ from: undefined, to: undefined, filter: [...filters] }, Date.now());
  const tests = filters.map((filter) => {
    const [, written, operator, value] = pattern.exec(filter.trim()) as unknown as [string, string, string, string];
    const { field } = columnOf(written);
    const key = field.startsWith('attributes.') ? field.slice('attributes.'.length) : undefined;
    const given = (event: Readonly<Record<string, unknown>>): unknown =>
      key === undefined ? event[field] : (event.attributes as Record<string, unknown> | undefined)?.[key];
    return {
      field,
      any: operator === '=',
      test: (event: Readonly<Record<string, unknown>>) => holds(given(event), operator, value),
    };
  });
  const all = tests.filter(({ any }) => !any);
  const any = new Map<string, typeof tests>();
  for (const test of tests) if (test.any) any.set(test.field, [...(any.get(test.field) ?? []), test]);
  return (event) =>
    all.every(({ test }) => test(event)) && [...any.values()].every((some) => some.some(({ test }) => test(event)));
}

function holds(given: unknown, operator: string, value: string): boolean {
  const text =
    typeof given === 'string'
      ? given
      : given === undefined || given === null
        ? ''
        : typeof given === 'object'
          ? JSON.stringify(given)
          : String(given);
  const number = given === undefined || given === null ? Number.NaN : Number(given);
  switch (operator) {
    case '=':
      return Array.isArray(given) ? given.includes(value) : text === value;
    case '!=':
      return Array.isArray(given) ? !given.includes(value) : text !== value;
    case '~':
      return text.toLowerCase().includes(value.toLowerCase());
    case '!~':
      return !text.toLowerCase().includes(value.toLowerCase());
    case '>':
      return number > Number(value);
    case '>=':
      return number >= Number(value);
    case '<':
      return number < Number(value);
    default:
      return number <= Number(value);
  }
}
