/**
 * The condition that keeps tenants apart (`tenant.ts`) must be the first that the engine puts to a row. By itself the engine
 * puts conditions in the order of their cost, together, and computes what a projection is grouped by before it drops rows
 * (tried on 26.7): so `WHERE throwIf(arguments LIKE '%word%')` failed on rows of other tenants that lie in one granule with
 * one's own, and `PREWHERE toUInt64(arguments) = 1` had their arguments in its message.
 *
 * So a tenant's statement runs with these optimizations off, and without PREWHERE, unless nothing in it can fail or take
 * long, whatever a row holds: then nobody can tell in what order it was done. The program's own statements are such ones.
 */
import { AuditdError } from '../../schemas/errors.js';
import type { QueryOptions } from './store.js';

/** Each condition for itself, the tenant's nearest to the table; no projection whose groups are computed before it. */
const inOrder = {
  query_plan_merge_filters: 0,
  optimize_move_to_prewhere: 0,
  optimize_use_projections: 0,
} as const;
/** How many rows an index let through tells of words in other tenants' rows of the same granule. */
const silent = { output_format_write_statistics: 0 } as const;

/** Functions that give a value for any that they take, at once; types are judged before the first row. */
const total: ReadonlySet<string> = new Set(
  `equals notEquals less greater lessOrEquals greaterOrEquals isNull isNotNull and or not in notIn if multiIf coalesce
  ifNull tuple array toStartOfSecond toStartOfMinute toStartOfFiveMinutes toStartOfTenMinutes toStartOfFifteenMinutes
  toStartOfHour toStartOfDay toStartOfWeek toMonday toStartOfMonth toStartOfQuarter toStartOfYear toStartOfInterval
  hasToken length empty notEmpty startsWith endsWith lower upper`
    .trim()
    .split(/\s+/),
);
/** Of a statement's own values alone these are one value, which is computed once and before the first row. */
const folded: ReadonlySet<string> = new Set(
  `plus minus multiply divide negate now now64 today yesterday toDate toDateTime toDateTime64 toString CAST toUUID
  toIntervalSecond toIntervalMinute toIntervalHour toIntervalDay toIntervalWeek toIntervalMonth toIntervalQuarter
  toIntervalYear`
    .trim()
    .split(/\s+/),
);
/** They see the rows that are left; -If with its condition, which is judged for itself. */
const aggregates =
  /^(count|sum|avg|min|max|any|anyLast|argMin|argMax|uniq|uniqExact|groupArray|groupUniqArray|quantile|quantiles|quantileExact|quantileTDigest|quantilesTDigest|median)(If)?$/;

/** Settings of a tenant's statement. `ast` is the output of EXPLAIN AST. */
export function tenantSettings(
  ast: string,
  sql: string,
  { isOurs = false, parameters = {} }: Pick<QueryOptions, 'isOurs' | 'parameters'>,
): Readonly<Record<string, number>> {
  return isOurs || isTotal(ast, sql, parameters) ? silent : { ...silent, ...inOrder };
}

/** @throws AuditdError `query_refused` for what is no name of a format, or one that tells a tenant how much was read. */
export function checkFormat(format: string, tenant: string | undefined): void {
  if (!/^[A-Za-z][A-Za-z0-9]{0,63}$/.test(format))
    throw new AuditdError('query_refused', `${JSON.stringify(format)} is no name of a format`);
  if (tenant !== undefined && /Progress/i.test(format))
    throw new AuditdError(
      'query_refused',
      `${format} is not taken with a key of one tenant: it tells how much was read`,
    );
}

function isTotal(ast: string, sql: string, parameters: Readonly<Record<string, string>>): boolean {
  const lines = ast.split('\n').filter((line) => line.trim() !== '');
  const canForgeLines = mayHoldLineBreaks(sql, parameters);
  return lines.every((line, at) => {
    const name = functionIn(line);
    if (name === undefined) return !/^ *Columns\w*Transformer/.test(line);
    if (total.has(name) || aggregates.test(name)) return true;
    return folded.has(name) && !canForgeLines && isOfConstants(lines, at);
  });
}

function functionIn(line: string): string | undefined {
  return /^ *Function (\S+)/.exec(line)?.[1];
}

/** Whether all below the line is written in the statement itself. */
function isOfConstants(lines: readonly string[], at: number): boolean {
  const depth = (line: string) => line.length - line.trimStart().length;
  for (let below = at + 1; below < lines.length && depth(lines[below]!) > depth(lines[at]!); below++) {
    const line = lines[below]!;
    const name = functionIn(line);
    if (name === undefined ? !/^ *(ExpressionList|Literal)\b/.test(line) : !folded.has(name)) return false;
  }
  return true;
}

/** A name with a line break in it writes lines of the AST, which could end what stands below a function. */
function mayHoldLineBreaks(sql: string, parameters: Readonly<Record<string, string>>): boolean {
  // Names are quoted by these; the engine takes the typographic ones too.
  if (/[`"“”‘’]/.test(sql) && /[\\\r\n]/.test(sql)) return true;
  return /identifier/i.test(sql) && Object.values(parameters).some((value) => /[\\\r\n]/.test(value));
}
