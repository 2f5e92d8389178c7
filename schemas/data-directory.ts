import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { AuditdError } from './errors.js';

/**
 * The data directory: what was given, else MCP_AUDITD_DATA, else `$XDG_STATE_HOME/mcp-auditd`, else
 * `~/.local/state/mcp-auditd`. Absolute; nothing is read or made. The XDG specification has a relative
 * XDG_STATE_HOME ignored. Throws `data_directory_unknown` where there is none of these.
 */
export function resolveDataDirectory(given?: string, environment: NodeJS.ProcessEnv = process.env): string {
  const named = given || environment.MCP_AUDITD_DATA;
  if (named) return resolve(named);
  const state = environment.XDG_STATE_HOME;
  return join(state?.startsWith('/') ? state : join(home(), '.local', 'state'), 'mcp-auditd');
}

/** Throws where HOME is not set and the user has no entry in the system's list, as in many containers. */
function home(): string {
  try {
    return homedir();
  } catch (error) {
    throw new AuditdError('data_directory_unknown', 'This user has no home directory to keep data in.', {
      cause: error,
    });
  }
}

/** Paths inside a data directory that more than one room needs. */
export const dataPaths = {
  daemon: (data: string) => join(data, 'daemon.json'),
  emitterKey: (data: string) => join(data, 'keys', 'emitter.key'),
  argumentsKey: (data: string) => join(data, 'keys', 'arguments.key'),
  throttleKey: (data: string) => join(data, 'keys', 'throttle.key'),
  throttleNextKey: (data: string) => join(data, 'keys', 'throttle-next.key'),
  throttlePublicKeys: (data: string) => join(data, 'keys', 'throttle.pub'),
  spool: (data: string) => join(data, 'spool'),
  rejected: (data: string) => join(data, 'rejected.jsonl'),
};
