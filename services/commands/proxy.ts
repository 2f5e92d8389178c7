import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import type { ActorSource } from '../emitter/actor.js';
import type { Authenticator } from '../emitter/proxy/auth.js';
import type { ProxyOptions } from '../emitter/proxy/proxy.js';
import { addCommonOptions, type CommonOptions } from './context.js';
import { addEmitterOptions, type EmitterOptions, recorderOptionsOf, throttleOptionsOf } from './emitting.js';

interface ProxyCommandOptions extends CommonOptions, EmitterOptions {
  readonly upstream: string;
  readonly listen: string;
  readonly actorHeader?: string;
  readonly auth?: string;
  readonly keys?: string;
  readonly issuer?: string;
  readonly resource?: string;
  readonly audience?: string;
  readonly scope?: string[];
  readonly jwks?: string;
  readonly actorClaim?: string;
  readonly passToken?: boolean;
  readonly allowHost?: string[];
  readonly allowOrigin?: string[];
  readonly maxBody?: string;
}

/** Flags that say nothing without this kind of --auth. */
const flagsOf = {
  'api-key': ['keys'],
  oauth: ['issuer', 'resource', 'audience', 'scope', 'jwks', 'actorClaim'],
} as const;

/** `proxy`: a server behind HTTP, audited without touching it. */
export function addProxy(program: Command): void {
  const command = addCommonOptions(program.command('proxy'))
    .description('stand before an MCP server on HTTP and record every request to it')
    .requiredOption('--upstream <url>', 'the server, as http://127.0.0.1:3001/mcp; clients use the same path here')
    .option('--listen <host:port>', 'where clients connect; port 0 takes a free one', '127.0.0.1:7468');
  addEmitterOptions(command)
    .option('--actor-header <name>', 'header in which a proxy before this one names the caller; a claim')
    .option('--auth <kind>', 'let in whom it knows only: api-key or oauth (default: everybody)')
    .option('--keys <file>', 'api-key: a keys.json of another place (default: the one of the data directory)')
    .option('--issuer <url>', 'oauth: the authorization server')
    .option('--resource <url>', 'oauth: the URL by which clients call this proxy (default: where it listens)')
    .option('--audience <name>', 'oauth: what tokens are for, where it is not the resource')
    .option('--scope <scope...>', 'oauth: scopes that a token needs, all of them')
    .option('--jwks <url>', 'oauth: keys of the issuer (default: what its metadata says)')
    .option('--actor-claim <claim>', 'oauth: the claim that names the actor (default: sub)')
    .option('--pass-token', 'hand the credential on to the server as well')
    .option('--allow-host <host...>', 'names besides localhost by which clients may call')
    .option('--allow-origin <origin...>', 'origins of web pages that may call, * for any')
    .option('--max-body <bytes>', 'the largest request body that goes on (default: 67108864)')
    .addHelpText(
      'after',
      `
For Streamable HTTP of every revision and for the older HTTP+SSE. Bodies and
streams pass as they are; the daemon need not run, records wait in the spool.
A key of the role call lets one caller in: mcp-auditd keys create NAME --role call
SIGTERM and SIGINT stop it: requests under way may end.

Examples:
  mcp-auditd proxy --upstream http://127.0.0.1:3001/mcp
  mcp-auditd proxy --upstream http://127.0.0.1:3001/mcp --listen 127.0.0.1:4001 --auth api-key
  mcp-auditd proxy --upstream http://10.0.0.7:8000/mcp --listen 0.0.0.0:4001 --auth oauth \\
    --issuer https://login.example.com --resource https://mcp.example.com/mcp --scope mcp:tools`,
    )
    .action(run);
}

async function run(options: ProxyCommandOptions): Promise<void> {
  for (const [kind, flags] of Object.entries(flagsOf)) {
    const given = flags.find((flag) => options[flag] !== undefined);
    if (given !== undefined && options.auth !== kind)
      throw new AuditdError('argument_invalid', `--${dashed(given)} goes with --auth ${kind}.`);
  }
  if (options.auth !== undefined && (options.actor !== undefined || options.actorHeader !== undefined))
    throw new AuditdError('argument_invalid', '--auth says who calls, so --actor and --actor-header have no place.');
  if (options.passToken === true && options.auth === undefined)
    throw new AuditdError('argument_invalid', '--pass-token goes with --auth; without it headers pass as they are.');
  const { openProxy } = await import('../emitter/proxy/proxy.js');
  const actor = actorOf(options);
  const throttle = throttleOptionsOf(options);
  const authenticator = await authenticatorOf(options);
  const proxyOptions: ProxyOptions = {
    upstream: options.upstream,
    listen: options.listen,
    recorderOptions: recorderOptionsOf(options),
    ...(actor === undefined ? {} : { actor }),
    ...(throttle === undefined ? {} : { throttle }),
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(options.passToken === undefined ? {} : { passCredentials: options.passToken }),
    ...(options.allowHost === undefined ? {} : { allowedHosts: options.allowHost }),
    ...(options.allowOrigin === undefined ? {} : { allowedOrigins: options.allowOrigin }),
    ...(options.maxBody === undefined ? {} : { maxBodyBytes: wholeNumber('--max-body', options.maxBody) }),
  };
  let signalled!: () => void;
  const signal = new Promise<void>((resolve) => {
    signalled = resolve;
  });
  process.once('SIGTERM', signalled).once('SIGINT', signalled);
  const proxy = await openProxy(proxyOptions).catch((error: NodeJS.ErrnoException) => {
    if (error instanceof TypeError) throw new AuditdError('argument_invalid', `--${error.message}.`);
    if (error.code === 'EADDRINUSE')
      throw new AuditdError('argument_invalid', `--listen: ${options.listen} is taken by another process.`);
    throw error;
  });
  process.stdout.write(`mcp-auditd proxy listens on ${proxy.url}, before ${options.upstream}\n`);
  await signal;
  await proxy.close();
}

function actorOf({ actor, actorHeader }: ProxyCommandOptions): ActorSource | undefined {
  if (actorHeader === undefined) return actor === undefined ? undefined : () => actor;
  const name = actorHeader.toLowerCase();
  return ({ headers }) => headers[name] ?? actor;
}

async function authenticatorOf(options: ProxyCommandOptions): Promise<Authenticator | undefined> {
  const { auth } = options;
  if (auth === undefined) return undefined;
  if (auth === 'api-key') {
    const [{ openKeys }, { apiKeyAuthenticator }, { resolveDataDirectory }] = await Promise.all([
      import('../access/keys.js'),
      import('../emitter/proxy/auth.js'),
      import('../../schemas/data-directory.js'),
    ]);
    const keys = openKeys(resolveDataDirectory(options.data), {
      ...(options.keys === undefined ? {} : { file: options.keys }),
      onError: (error) => process.stderr.write(`mcp-auditd proxy: ${(error as Error).message}\n`),
    });
    return apiKeyAuthenticator((key) => {
      const entry = keys.find(key);
      return entry?.role === 'call' ? entry.name : undefined;
    });
  }
  if (auth !== 'oauth') throw new AuditdError('argument_invalid', `--auth ${auth}: expected api-key or oauth.`);
  const { issuer, audience, scope, jwks, actorClaim } = options;
  if (issuer === undefined) throw new AuditdError('argument_invalid', '--auth oauth needs --issuer.');
  const resource = options.resource ?? defaultResource(options);
  const { oauthAuthenticator } = await import('../emitter/proxy/oauth.js');
  try {
    return oauthAuthenticator({
      issuer,
      resource,
      ...(audience === undefined ? {} : { audience }),
      ...(scope === undefined ? {} : { scopes: scope }),
      ...(jwks === undefined ? {} : { jwksUrl: jwks }),
      ...(actorClaim === undefined ? {} : { actorClaim }),
    });
  } catch (error) {
    throw new AuditdError('argument_invalid', `--auth oauth: ${(error as Error).message}.`);
  }
}

function defaultResource({ listen, upstream }: ProxyCommandOptions): string {
  if (listen.endsWith(':0'))
    throw new AuditdError('argument_invalid', '--auth oauth on port 0 needs --resource: tokens are for one URL.');
  let path = '';
  try {
    path = new URL(upstream).pathname;
  } catch {
    // The proxy itself says what is wrong with it.
  }
  return `http://${listen}${path === '/' ? '' : path}`;
}

function wholeNumber(flag: string, text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new AuditdError('argument_invalid', `${flag} ${text}: expected a whole number from 1.`);
  return Number(text);
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
