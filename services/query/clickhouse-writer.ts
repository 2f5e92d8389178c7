/**
 * Any statement for whoever has the endpoint's own key: an ingestor of ours in another process, and tests. It answers as
 * a server does where an engine in process differs: data of an INSERT comes in the body, KILL QUERY ends inserts.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StatementRunner } from '../store/store.js';
import type { ClickHouseRequest } from './clickhouse-request.js';

/** An INSERT under way, from its first byte to its answer. */
export interface Underway {
  readonly queryId: string;
  /** True while its data are still coming: it has changed nothing and can be given up. */
  receiving: boolean;
  readonly giveUp: () => void;
  readonly ended: Promise<void>;
}

export class ClickHouseWriter {
  private readonly directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-insert-'));
  private readonly underway = new Set<Underway>();

  constructor(private readonly engine: StatementRunner) {}

  /** Notes an INSERT whose data begin to come; KILL QUERY finds it from now on. Returns what to do when it has ended. */
  begin(queryId: string, giveUp: () => void): { received(): void; end(): void } {
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const one: Underway = { queryId, receiving: true, giveUp, ended };
    this.underway.add(one);
    return {
      received: () => {
        one.receiving = false;
      },
      end: () => {
        this.underway.delete(one);
        end();
      },
    };
  }

  async run({ sql, data, parameters, settings, format }: ClickHouseRequest): Promise<Uint8Array> {
    const kill = /^\s*KILL\s+QUERY\b/i.test(sql);
    if (kill) return this.kill(sql);
    if (/\bINTO\s+OUTFILE\b/i.test(sql.replace(/'(?:[^'\\]|\\.)*'/g, "''"))) {
      // In process the engine would write the file; a server refuses it over HTTP.
      throw new Error('Code: 344. DB::Exception: INTO OUTFILE is not allowed. (SUPPORT_IS_DISABLED)');
    }
    const options = { format, settings, parameters };
    if (data.length === 0) return this.engine.statement(sql, options);
    const path = join(this.directory, `${randomUUID()}.block`);
    try {
      await writeFile(path, data, { mode: 0o600 });
      return await this.engine.statement(insertFromFile(sql, path), options);
    } finally {
      await unlink(path).catch(() => undefined);
    }
  }

  /** What still comes is given up, what runs is waited for: the engine in process cannot end it. */
  private async kill(sql: string): Promise<Uint8Array> {
    const prefixes = [...sql.matchAll(/startsWith\(query_id, '([^']*)'\)/g)].map((match) => match[1]!);
    const ids = [...sql.matchAll(/\bquery_id = '([^']*)'/g)].map((match) => match[1]!);
    if (prefixes.length + ids.length === 0) {
      throw new Error(
        "Code: 48. DB::Exception: KILL QUERY knows startsWith(query_id, '…') and query_id = '…' here. (NOT_IMPLEMENTED)",
      );
    }
    const found = [...this.underway].filter(
      ({ queryId }) => ids.includes(queryId) || prefixes.some((prefix) => queryId.startsWith(prefix)),
    );
    for (const one of found) if (one.receiving) one.giveUp();
    await Promise.all(found.map(({ ended }) => ended));
    return Buffer.from(found.map(({ queryId }) => `finished\t${queryId}\n`).join(''));
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The same INSERT with its data in a file, because the engine in process takes none with the statement. */
function insertFromFile(sql: string, path: string): string {
  const match = /^([\s\S]*?)\s*\bFORMAT\s+(\w+)\s*;?\s*$/i.exec(sql);
  if (match === null) {
    throw new Error(
      'Code: 62. DB::Exception: An INSERT with data in the body ends with FORMAT and its name. (SYNTAX_ERROR)',
    );
  }
  const [, statement = '', format = ''] = match;
  const fromInput = /\binput\(('(?:[^'\\]|\\.)*')\)/i;
  if (fromInput.test(statement)) {
    return statement.replace(fromInput, (_all, structure: string) => `file('${path}', ${format}, ${structure})`);
  }
  const columns = /\(([^()]*)\)\s*$/.exec(statement)?.[1] ?? '*';
  return `${statement} SELECT ${columns} FROM file('${path}', ${format})`;
}
