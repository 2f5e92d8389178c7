/** What a session of a question is set to before anything of the question runs on it. */
import type { Session } from 'chdb';
import { AuditdError } from '../../schemas/errors.js';
import { escapedParameters, type QueryLimits, type QueryOptions } from './store.js';
import { tenantFilters } from './tenant.js';

/** Each runs in one thread, so that recording keeps the other cores. */
const threadsPerQuery = 1;
/**
 * The most that a block of a long one waits for an insert: longer than an insert takes, but where a disk is slow to sync,
 * inserts stand for seconds and use no processor meanwhile. The engine's own 1,000 ms made 20 s of a question of 20 blocks.
 */
const blockWaitMs = 200;

/** An attempt at a question. */
interface Marked {
  readonly limits: QueryLimits;
  readonly mark: string;
  readonly priority: number;
}

/** As the engine has it by itself: bytes of a statement that it parses. */
const maxStatementBytes = 262_144;

/** Settings and values for all that follows on the session. */
export async function prepare(session: Session, settings: readonly string[]): Promise<void> {
  if (settings.length === 0) return;
  const statement = `SET ${settings.join(', ')}`;
  const bytes = Buffer.byteLength(statement);
  if (bytes > maxStatementBytes) await session.queryAsync(`SET max_query_size = ${bytes + 1}`);
  await session.queryAsync(statement);
}

export function settingsOf(
  { limits, mark, priority }: Marked,
  options: QueryOptions,
  own: Readonly<Record<string, number>> = {},
): string[] {
  const { settings: others = {}, tenant, parameters = {}, parametersEscaped = false } = options;
  return [
    ...assignments(others),
    ...placeholders(parametersEscaped ? parameters : escapedParameters(parameters)),
    // By which `kill` finds it among the engine's queries.
    `log_comment = '${mark}'`,
    `priority = ${priority}`,
    `low_priority_query_wait_time_ms = ${blockWaitMs}`,
    ...(tenant === undefined ? [] : [`additional_table_filters = ${tenantFilters('default', tenant)}`]),
    `max_execution_time = ${limits.timeMs / 1000}`,
    "timeout_overflow_mode = 'throw'",
    `max_memory_usage = ${limits.memoryBytes}`,
    `max_result_rows = ${limits.resultRows}`,
    `max_result_bytes = ${limits.resultBytes}`,
    "result_overflow_mode = 'throw'",
    `max_threads = ${threadsPerQuery}`,
    `max_query_size = ${maxStatementBytes}`,
    ...Object.entries(own).map(([name, value]) => `${name} = ${value}`),
    // Last: nothing can be set after it.
    'readonly = 1',
  ];
}

/** @throws AuditdError `query_refused` for a name that is none. */
export function assignments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).map(([name, value]) => {
    if (!/^\w{1,100}$/.test(name)) throw new AuditdError('query_refused', `${JSON.stringify(name)} is no setting`);
    return `${name} = '${value.replace(/[\\']/g, '\\$&')}'`;
  });
}

/** Values of `{name:Type}`. Those of a session belong to it, while those of a bound query are all queries' (chdb 3.4.0). */
export function placeholders(parameters: Readonly<Record<string, string>>): string[] {
  return assignments(Object.fromEntries(Object.entries(parameters).map(([name, value]) => [`param_${name}`, value])));
}
