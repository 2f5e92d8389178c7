import { readFileSync } from 'node:fs';
import { dataPaths } from '../../schemas/data-directory.js';
import { complainOnce } from './complaints.js';
import { lifeOf, type ProcessIdentity } from './process-identity.js';

export interface GatewayOptions {
  /** Default: MCP_AUDITD_URL, else what `daemon.json` in the data directory says. */
  readonly url?: string;
  /** Default: MCP_AUDITD_KEY, MCP_AUDITD_KEY_FILE, else `keys/emitter.key` in the data directory. */
  readonly key?: string;
  readonly keyFile?: string;
}

export interface GatewayTarget {
  readonly url: URL;
  readonly key: string;
}

/**
 * Where the gateway is now, and the key: looked up for each new connection, because a daemon that was started anew has
 * moved. Throws an error whose message says what is missing.
 */
export function findGateway(data: string, options: GatewayOptions, path: string): GatewayTarget {
  const named = options.url || process.env.MCP_AUDITD_URL;
  const address = named || daemonUrl(data);
  let url: URL;
  try {
    url = new URL(`${address.replace(/\/+$/, '')}${path}`);
  } catch {
    throw new Error(`${address} is no URL of a gateway (MCP_AUDITD_URL)`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new Error(`${address} is no http or https URL`);
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    complainOnce('plain', `${url.origin} is reached without TLS: the key and the events can be read on the way`);
  }
  return { url, key: findKey(data, options) };
}

/** Where the daemon of the data directory listens. Another process may have its port by now: it must live. */
function daemonUrl(data: string): string {
  const path = dataPaths.daemon(data);
  let holder: Partial<ProcessIdentity> & { url?: unknown };
  try {
    holder = JSON.parse(readFileSync(path, 'utf8')) as typeof holder;
  } catch {
    throw new Error(`no daemon runs on ${data} (mcp-auditd up starts one)`);
  }
  if (typeof holder.url !== 'string') throw new Error(`the daemon of ${data} is starting`);
  if (lifeOf(holder as ProcessIdentity) === 'dead') {
    throw new Error(`the daemon of ${data} has ended (mcp-auditd up starts one)`);
  }
  return holder.url;
}

function findKey(data: string, options: GatewayOptions): string {
  const key = options.key || process.env.MCP_AUDITD_KEY;
  if (key) return key;
  const path = options.keyFile || process.env.MCP_AUDITD_KEY_FILE || dataPaths.emitterKey(data);
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new Error(`the gateway's key cannot be read: ${(error as Error).message}`);
  }
}

export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}
