/** What every command does first: find the data directory, read the configuration, reach the daemon. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Configuration } from '../../schemas/configuration.js';
import { resolveDataDirectory } from '../../schemas/data-directory.js';
import { AuditdError } from '../../schemas/errors.js';

export interface CommonOptions {
  readonly data?: string;
  readonly config?: string;
  readonly verbose?: boolean;
}

/** Adds the options that every command takes. */
export function addCommonOptions(command: Command): Command {
  return command
    .option('--data <directory>', 'data directory (default: MCP_AUDITD_DATA, else the XDG state directory)')
    .option(
      '--config <file>',
      'configuration file (default: MCP_AUDITD_CONFIG, else config.yaml in the data directory)',
    )
    .option('--verbose', 'show where in the program an error came from');
}

export interface Loaded {
  readonly configuration: Configuration;
  /** Absolute. */
  readonly data: string;
  /** The file that was read, where there was one. */
  readonly file: string | undefined;
}

/** Reads file, environment and flags. Throws `configuration_invalid` with every mistake. */
export async function loadConfiguration(
  options: CommonOptions,
  flags: Readonly<Record<string, string | number | undefined>> = {},
): Promise<Loaded> {
  const { parseConfiguration } = await import('../../schemas/configuration-sources.js');
  const named = options.config ?? process.env.MCP_AUDITD_CONFIG;
  const inData = join(resolveDataDirectory(options.data), 'config.yaml');
  const file = named ?? (existsSync(inData) ? inData : undefined);
  let text = '';
  if (file !== undefined) {
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      throw new AuditdError('configuration_invalid', `${file}: cannot be read: ${(error as Error).message}`);
    }
  }
  const configuration = parseConfiguration({
    ...(file === undefined ? {} : { file: { path: file, text } }),
    environment: process.env,
    flags: { ...flags, data: options.data },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
  const data = resolveDataDirectory(options.data ?? configuration.data);
  if (file === inData && inData !== join(data, 'config.yaml'))
    throw new AuditdError('configuration_invalid', `${file}: data: names another directory than the one it lies in`);
  return { configuration, data, file };
}

export interface Daemon {
  readonly url: string;
  /** The key of this user's commands. */
  readonly key: string;
}

/**
 * Whom commands ask: the query role at MCP_AUDITD_QUERY_URL with the key in MCP_AUDITD_QUERY_KEY or the file
 * MCP_AUDITD_QUERY_KEY_FILE, else the daemon of the directory; undefined when none listens.
 */
export async function findDaemon(data: string): Promise<Daemon | undefined> {
  const { keyFilePath, readSecretFile } = await import('../access/keys.js');
  const { MCP_AUDITD_QUERY_URL, MCP_AUDITD_QUERY_KEY, MCP_AUDITD_QUERY_KEY_FILE } = process.env;
  const key = (): string =>
    MCP_AUDITD_QUERY_KEY ?? readSecretFile(MCP_AUDITD_QUERY_KEY_FILE ?? keyFilePath(data, 'read'));
  if (MCP_AUDITD_QUERY_URL !== undefined) return { url: MCP_AUDITD_QUERY_URL.replace(/\/$/, ''), key: key() };
  const { readHolder } = await import('../app/hold.js');
  const url = readHolder(data)?.url;
  return url === undefined ? undefined : { url, key: key() };
}

/** As `findDaemon`. Throws `daemon_needed` when there is none. */
export async function requireDaemon(data: string): Promise<Daemon> {
  const daemon = await findDaemon(data);
  if (daemon === undefined) throw new AuditdError('daemon_needed', `No daemon runs on ${data}.`);
  return daemon;
}

/** An error that the daemon told, with its own code's meaning. */
class DaemonError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly mend: string,
  ) {
    super(message);
    this.name = 'DaemonError';
  }
}

/** One request to the daemon. Throws what the daemon answers, or `daemon_unreachable`. */
export async function request(daemon: Daemon, path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`${daemon.url}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${daemon.key}`, ...(init.headers as Record<string, string>) },
    });
  } catch (error) {
    init.signal?.throwIfAborted();
    throw new AuditdError('daemon_unreachable', `The daemon at ${daemon.url} does not answer.`, { cause: error });
  }
  if (response.ok) return response;
  const text = await response.text();
  let told: { code?: string; message?: string; mend?: string } | undefined;
  try {
    told = (JSON.parse(text) as { error?: typeof told }).error;
  } catch {
    // Something else than a daemon of ours.
  }
  throw new DaemonError(
    told?.code ?? 'daemon_unreachable',
    told?.message ?? `${daemon.url} answered ${response.status}.`,
    told?.mend ?? 'See what listens there.',
  );
}
