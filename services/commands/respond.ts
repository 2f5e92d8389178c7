import { userInfo } from 'node:os';
import { AuditdError } from '../../schemas/errors.js';
import type { Response } from '../../schemas/response.js';
import { type CommonOptions, type Daemon, loadConfiguration, request } from './context.js';

export interface ResponseOptions extends CommonOptions {
  readonly reason?: string;
  readonly author?: string;
}

/** What is decided; the rest the daemon says. */
export type Decision = Pick<Response, 'kind'> & Partial<Omit<Response, 'author' | 'author_key' | 'tenant' | 'at'>>;

/** Records what a person decided, with this user's responder key. Throws `daemon_needed`, and what the daemon says. */
export async function respond(options: ResponseOptions, decision: Decision): Promise<Response> {
  const { data } = await loadConfiguration(options);
  const answer = await request(await findResponder(data), '/v1/responses', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...decision,
      reason: options.reason ?? decision.reason ?? '',
      author: options.author ?? userInfo().username,
    }),
  });
  return (await answer.json()) as Response;
}

/**
 * The gateway that takes decisions: at MCP_AUDITD_URL with the key in MCP_AUDITD_RESPOND_KEY or the file
 * MCP_AUDITD_RESPOND_KEY_FILE, else the daemon of the directory.
 */
export async function findResponder(data: string): Promise<Daemon> {
  const { MCP_AUDITD_URL, MCP_AUDITD_RESPOND_KEY, MCP_AUDITD_RESPOND_KEY_FILE } = process.env;
  const { readHolder } = await import('../app/hold.js');
  const url = MCP_AUDITD_URL ?? readHolder(data)?.url;
  if (url === undefined) throw new AuditdError('daemon_needed', `No daemon runs on ${data}.`);
  const { keyFilePath, readSecretFile } = await import('../access/keys.js');
  const key = MCP_AUDITD_RESPOND_KEY ?? readSecretFile(MCP_AUDITD_RESPOND_KEY_FILE ?? keyFilePath(data, 'respond'));
  return { url: url.replace(/\/$/, ''), key };
}
