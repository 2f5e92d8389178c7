import { AuditdError } from '../../schemas/errors.js';
import { Admission, abortedError } from './admission.js';
import type { ClickHouseConnection } from './clickhouse-connection.js';
import { clickHouseError, codeOf, messageOf } from './clickhouse-errors.js';
import { Fence, namesFormat } from './fence.js';
import { checkFormat, tenantSettings } from './own-rows-first.js';
import { defaultLimits, limitError, queryError } from './query-errors.js';
import { escapedParameters, type QueryLimits, type QueryOptions } from './store.js';
import { tenantFilters } from './tenant.js';

/** Users' queries at once, over all that they do to a server that also takes the inserts; the others wait or come again. */
const maxRunning = 8;
const maxWaiting = 32;
/** How much later than the server's own limit of time a request is given up. */
const graceMs = 10_000;
const syntaxErrorCode = 62;

/**
 * Users' queries on a server. Each is judged by the server's own parse before it runs, and reads only, within
 * its limits. The result is sent when it is whole (`wait_end_of_query`), so an error never hides in half a result.
 */
export class ClickHouseQueries {
  private readonly admission = new Admission(maxRunning, maxWaiting);
  private readonly fence: Fence;

  constructor(private readonly connection: ClickHouseConnection) {
    this.fence = new Fence((query) => connection.select(query), connection.database);
  }

  async *run(sql: string, options: QueryOptions): AsyncGenerator<Uint8Array> {
    const limits = { ...defaultLimits, ...options.limits };
    const { signal, format, tenant, onRows, progress } = options;
    checkFormat(format, tenant);
    await this.admission.enter(signal);
    try {
      if (signal?.aborted) throw abortedError();
      const filters =
        tenant === undefined ? {} : { additional_table_filters: tenantFilters(this.connection.database, tenant) };
      const settings = { ...options.settings, ...placeholders(options), ...settingsOf(limits), ...filters };
      const request = {
        settings,
        timeoutMs: limits.timeMs + graceMs,
        ...(signal === undefined ? {} : { signal }),
      };
      const ast = await this.judge(sql, request, options);
      const own = tenant === undefined ? {} : tenantSettings(ast, sql, options);
      let bytes = 0;
      for await (const piece of this.connection.stream(sql, {
        ...request,
        settings: { ...settings, ...own, default_format: format },
        onSummary: ({ result_rows, read_rows, read_bytes }) => {
          onRows?.(Number(result_rows ?? 0));
          if (tenant === undefined)
            progress?.told({
              readRows: Number(read_rows ?? 0),
              readBytes: Number(read_bytes ?? 0),
              totalRows: Number(read_rows ?? 0),
            });
        },
      })) {
        bytes += piece.length;
        // The server counts bytes in memory, this counts them as they are written.
        if (bytes > limits.resultBytes) throw limitError(`the result is longer than ${limits.resultBytes} bytes`);
        yield piece;
      }
    } catch (error) {
      throw failureOf(error, signal);
    } finally {
      this.admission.leave();
    }
  }

  private async judge(
    sql: string,
    request: Parameters<ClickHouseConnection['run']>[1],
    { tenant, isOurs = false }: QueryOptions,
  ): Promise<string> {
    let ast: string;
    try {
      ast = (
        await this.connection.run(`EXPLAIN AST ${sql}`, {
          ...request,
          settings: { ...request?.settings, default_format: 'TSVRaw' },
        })
      ).toString();
    } catch (error) {
      if (codeOf(error) === syntaxErrorCode) await this.explainSyntaxError(sql);
      throw error;
    }
    const refusal = await this.fence.refusalOf({ sql, ast, isTenant: tenant !== undefined, isOurs });
    if (refusal) throw new AuditdError('query_refused', refusal);
    // INTO OUTFILE: a literal of the statement itself. A server refuses it over HTTP; this is said before it is asked.
    if (/^ {1,2}Literal /m.test(ast) && /\boutfile\b/i.test(sql)) {
      throw new AuditdError('query_refused', 'INTO OUTFILE is not taken: it writes files of the server');
    }
    if (namesFormat(ast, this.connection.database)) {
      throw new AuditdError('query_refused', 'leave FORMAT out of the statement and give the format beside it');
    }
    return ast;
  }

  /** The text goes as a value, so the message names the place in it and not in what was put before it. */
  private async explainSyntaxError(sql: string): Promise<void> {
    await this.connection.run('SELECT formatQuery({sql:String}) FORMAT Null', { parameters: { sql } });
  }
}

/** Values of placeholders, beside the settings in the request's address. */
function placeholders({ parameters = {}, parametersEscaped = false }: QueryOptions): Record<string, string> {
  const values = Object.entries(parametersEscaped ? parameters : escapedParameters(parameters));
  return Object.fromEntries(values.map(([name, value]) => [`param_${name}`, value]));
}

function settingsOf(limits: QueryLimits): Record<string, string | number> {
  return {
    max_execution_time: limits.timeMs / 1000,
    timeout_overflow_mode: 'throw',
    max_memory_usage: limits.memoryBytes,
    max_result_rows: limits.resultRows,
    max_result_bytes: limits.resultBytes,
    result_overflow_mode: 'throw',
    wait_end_of_query: 1,
    // The caller who leaves ends the query.
    cancel_http_readonly_queries_on_client_close: 1,
    // 1 would forbid the settings beside it where the user's profile is 2 already, which is what deploy/secrets.sh makes
    // it; SETTINGS inside a statement are refused by the fence.
    readonly: 2,
  };
}

function failureOf(error: unknown, signal: AbortSignal | undefined): Error {
  if (error instanceof AuditdError) return error;
  if (signal?.aborted) return abortedError();
  const code = codeOf(error);
  if (code === 0) return clickHouseError(error, 'asking ClickHouse');
  return queryError(code, messageOf(error), error);
}
