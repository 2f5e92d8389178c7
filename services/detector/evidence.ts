/** A rule's selection as SQL over the table `calls`, for looking at what an alert saw. Values are quoted, always. */
import type { Expression, Test } from './expression.js';
import { type FieldReference, sqlOf, sqlString } from './fields.js';

/** Rows that are shown: an incident is read in pages. */
const mostRows = 1_000;
/** Characters; the column holds 64 KiB, and group values may take up to 16 KiB of them. */
const longestSelection = 8_192;

export interface Evidence {
  readonly tenant: string;
  /** Event times, both inclusive, microseconds. */
  readonly fromMicros: number;
  readonly toMicros: number;
  readonly group: readonly { readonly field: FieldReference; readonly value: string }[];
  /** One of them must hold. */
  readonly selections: readonly Expression[];
  readonly eventId?: string;
}

export function evidenceSql({ tenant, fromMicros, toMicros, group, selections, eventId }: Evidence): string {
  const conditions = [`tenant = ${sqlString(tenant)}`];
  if (eventId !== undefined && /^[0-9a-f-]{36}$/.test(eventId)) conditions.push(`event_id = ${sqlString(eventId)}`);
  else {
    conditions.push(`occurred_at >= ${sqlTime(fromMicros)}`, `occurred_at <= ${sqlTime(toMicros)}`);
    for (const { field, value } of group) {
      const column = sqlOf(field);
      if (column !== undefined) conditions.push(`toString(${column}) = ${sqlString(value)}`);
    }
    const any = selectionSql(selections);
    // One with thousands of values would be longer than all the rest.
    if (any !== undefined && any.length <= longestSelection) conditions.push(any);
  }
  return `SELECT * FROM calls WHERE ${conditions.join(' AND ')} ORDER BY occurred_at LIMIT ${mostRows}`;
}

/** A condition that holds for every row for which one of the selections does, and for few others; undefined for all. */
export function selectionSql(selections: readonly Expression[]): string | undefined {
  const parts = selections.map(conditionOf);
  // A part that SQL cannot say may hold for any row.
  if (parts.length === 0 || parts.includes(undefined)) return undefined;
  return parts.length === 1 ? parts[0] : `(${[...new Set(parts)].join(' OR ')})`;
}

function sqlTime(micros: number): string {
  const time = new Date(Math.floor(micros / 1000)).toISOString().slice(0, -1).replace('T', ' ');
  return `toDateTime64('${time}${String(micros - Math.floor(micros / 1000) * 1000).padStart(3, '0')}', 6, 'UTC')`;
}

/** Undefined for what SQL cannot say: calendars, and fields that are in no table. */
function conditionOf(expression: Expression): string | undefined {
  switch (expression.op) {
    case 'constant':
      return expression.value ? '1' : '0';
    case 'and': {
      const parts = expression.children.map(conditionOf).filter((part) => part !== undefined);
      return parts.length === 0 ? undefined : `(${parts.join(' AND ')})`;
    }
    case 'or': {
      const parts = expression.children.map(conditionOf);
      return parts.some((part) => part === undefined) ? undefined : `(${parts.join(' OR ')})`;
    }
    case 'not': {
      const part = exactly(expression.child) ? conditionOf(expression.child) : undefined;
      return part === undefined ? undefined : `NOT ${part}`;
    }
    case 'before': {
      const part = conditionOf(expression.child);
      const time = `occurred_at < ${sqlTime(expression.endMicros)}`;
      return part === undefined ? time : `(${time} AND ${part})`;
    }
    case 'calendar':
      return undefined;
    case 'test':
      return testOf(expression.field, expression.test);
  }
}

/** Whether SQL says all of it: the negation of a part that was left out would leave out too much. */
function exactly(expression: Expression): boolean {
  if (expression.op === 'and' || expression.op === 'or') return expression.children.every(exactly);
  if (expression.op === 'not' || expression.op === 'before') return exactly(expression.child);
  return conditionOf(expression) !== undefined;
}

function testOf(field: FieldReference, test: Test): string | undefined {
  const column = sqlOf(field);
  if (column === undefined) return undefined;
  if (field.path !== undefined && field.root !== 'attributes') return insideTest(field, test);
  if (field.kind === 'list' && test.kind !== 'exists')
    return `arrayExists(x -> ${textTest('x', test) ?? '1'}, ${column})`;
  if (test.kind === 'exists') {
    const present =
      field.kind === 'list'
        ? `notEmpty(${column})`
        : field.kind === 'counter' || field.kind === 'size' || field.kind === 'integer'
          ? `${column} != 0`
          : `isNotNull(${column}) AND toString(${column}) != ''`;
    return test.expected ? `(${present})` : `NOT (${present})`;
  }
  if (test.kind === 'field') {
    const other = sqlOf(test.other);
    return other === undefined ? undefined : fieldTest(`toString(${column})`, `toString(${other})`, test);
  }
  const text = field.kind === 'name' || field.kind === 'text' || field.kind === 'body' || field.kind === 'map';
  return textTest(text || field.path !== undefined ? column : `ifNull(toString(${column}), '')`, test);
}

/** A value inside a JSON body: its text, or the texts of a list's items, of which one is enough. */
function insideTest({ root, path = [] }: FieldReference, test: Test): string | undefined {
  // ClickHouse counts a list's items from 1.
  const steps = path.map((step) => (/^\d+$/.test(step) ? String(Number(step) + 1) : sqlString(step)));
  const place = [root, ...steps].join(', ');
  const items = `if(JSONType(${place}) = 'Array', JSONExtractArrayRaw(${place}), [JSONExtractRaw(${place})])`;
  const text = `multiIf(startsWith(x, '"'), JSONExtractString(x), x = 'null', '', x)`;
  const condition = test.kind === 'exists' ? `${text} ${test.expected ? '!=' : '='} ''` : textTest(text, test);
  return condition === undefined ? undefined : `arrayExists(x -> ${condition}, ${items})`;
}

function fieldTest(left: string, right: string, { how, cased }: Extract<Test, { kind: 'field' }>): string {
  const [a, b] = cased ? [left, right] : [`lowerUTF8(${left})`, `lowerUTF8(${right})`];
  const present = `${left} != '' AND ${right} != ''`;
  if (how === 'equals') return `(${present} AND ${a} = ${b})`;
  if (how === 'contains') return `(${present} AND position(${a}, ${b}) > 0)`;
  return `(${present} AND ${how === 'startswith' ? 'startsWith' : 'endsWith'}(${a}, ${b}))`;
}

const operators = { gt: '>', gte: '>=', lt: '<', lte: '<=', eq: '=', neq: '!=' } as const;

function textTest(column: string, test: Test): string | undefined {
  switch (test.kind) {
    case 'equals':
    case 'contains':
    case 'startswith':
    case 'endswith': {
      const value = test.cased ? column : `lowerUTF8(${column})`;
      const text = sqlString(test.text);
      if (test.kind === 'equals') return `${value} = ${text}`;
      if (test.kind === 'contains') return `position(${value}, ${text}) > 0`;
      return `${test.kind === 'startswith' ? 'startsWith' : 'endsWith'}(${value}, ${text})`;
    }
    case 'wildcard': {
      const escaped = (part: string): string => part.replaceAll(/[\\%_]/g, '\\$&').replaceAll('\uffff', '_');
      return `${column} ${test.cased ? 'LIKE' : 'ILIKE'} ${sqlString(test.parts.map(escaped).join('%'))}`;
    }
    case 'regex': {
      // ClickHouse's `.` takes line ends unless told otherwise; RE2 on its own does not.
      const flags = `${test.flags}${test.flags.includes('s') ? '' : '-s'}`;
      return `match(${column}, ${sqlString(`(?${flags})${test.pattern}`)})`;
    }
    case 'cidr': {
      // The function throws for what is no address, and is asked for values of other rows as well.
      const valid = `(isIPv4String(${column}) OR isIPv6String(${column}))`;
      return `(${valid} AND isIPAddressInRange(if(${valid}, ${column}, '::'), ${sqlString(test.network)}))`;
    }
    case 'number':
      return `ifNull(toFloat64OrNull(${column}) ${operators[test.comparison]} ${test.value}, 0)`;
    case 'exists':
    case 'field':
      return undefined;
  }
}
