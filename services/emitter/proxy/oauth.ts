/**
 * The proxy as an OAuth 2.1 resource server, as the MCP authorization specification has it: protected resource metadata
 * (RFC 9728), bearer tokens that are JWTs (RFC 9068) checked for signature, issuer, audience (RFC 8707), expiry and
 * scope, and a challenge that leads a client to its authorization server.
 */
import { createHash } from 'node:crypto';
import type { JWTPayload, JWTVerifyGetKey } from 'jose';
import { textOf } from '../messages.js';
import { type Authenticator, bearerToken, type Caller, type Denial, quoted } from './auth.js';
import { isLoopback } from './origin.js';

export interface OAuthOptions {
  /** The authorization server, exactly as its tokens name it in `iss`. */
  readonly issuer: string;
  /** The URL by which clients call this server: what a token must be for, and what the metadata names. */
  readonly resource: string;
  /** What `aud` must hold instead of `resource`, for servers that do not know RFC 8707. */
  readonly audience?: string;
  /** All of these must be granted. Default: none is asked for. */
  readonly scopes?: readonly string[];
  /** Default: what the issuer's metadata says (RFC 8414, OpenID Connect Discovery). */
  readonly jwksUrl?: string;
  /** The claim that names the actor. Default: sub. */
  readonly actorClaim?: string;
}

/** Signatures with a public key only: a shared secret, or none, would let whoever knows our configuration in. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
/** Clocks of two machines differ. */
const clockToleranceSeconds = 5;
/** A verified token is trusted so long without another look at the keys: what is revoked by rotation ends within it. */
const trustedMs = 60_000;
/** 32 bytes of digest and a caller, about 300 bytes each: 3 MB. */
const mostTrusted = 10_000;
/** No token of a sane server is longer, and headers as a whole are bounded too. */
const longestToken = 16_384;
const discoveryTimeoutMs = 5_000;

/**
 * Checks tokens of one authorization server. Nothing is fetched before the first token comes; keys are fetched again
 * when a token names one that is not known (rotation), at most every 30 s, and after 10 minutes.
 * @throws TypeError for a URL that is none, or one that is neither https nor loopback.
 */
export function oauthAuthenticator(options: OAuthOptions): Authenticator {
  const issuer = secureUrl(options.issuer, 'issuer');
  const resource = secureUrl(options.resource, 'resource', true);
  const scopes = options.scopes ?? [];
  const jwksUrl = options.jwksUrl === undefined ? undefined : secureUrl(options.jwksUrl, 'jwksUrl');
  let keys: JWTVerifyGetKey | undefined;
  const trusted = new Map<string, { readonly caller: Caller; readonly untilMs: number }>();

  const path = resource.pathname === '/' ? '' : resource.pathname;
  const metadataUrl = `${resource.origin}/.well-known/oauth-protected-resource${path}`;
  const metadata = JSON.stringify({
    resource: options.resource,
    authorization_servers: [options.issuer],
    bearer_methods_supported: ['header'],
    ...(scopes.length === 0 ? {} : { scopes_supported: scopes }),
  });

  async function verify(token: string, digest: string): Promise<Caller | Denial> {
    let payload: JWTPayload;
    // Only here: who audits a server without tokens need not load it.
    const { createRemoteJWKSet, errors, jwtVerify } = await import('jose');
    try {
      keys ??= createRemoteJWKSet(jwksUrl ?? (await discoverKeys(issuer, options.issuer)), {
        cooldownDuration: 30_000,
      });
      ({ payload } = await jwtVerify(token, keys, {
        algorithms,
        issuer: options.issuer,
        audience: options.audience ?? [options.resource, options.resource.replace(/\/$/, '')],
        clockTolerance: clockToleranceSeconds,
        requiredClaims: ['exp'],
      }));
    } catch (error) {
      return denialOf(error, errors);
    }
    const granted = new Set(grantedScopes(payload));
    const missing = scopes.filter((scope) => !granted.has(scope));
    if (missing.length > 0)
      return { status: 403, error: 'insufficient_scope', description: `The token lacks: ${missing.join(' ')}.` };
    const claim = options.actorClaim ?? 'sub';
    const id = textOf(payload[claim]);
    if (id === '') return invalid(`The token has no claim ${claim} that names its actor.`);
    const clientId = textOf(payload.client_id) || textOf(payload.azp);
    const type = id === clientId ? 'service' : 'user';
    const caller: Caller = { actor: { id, type, verified: true }, clientId };
    const expiresMs = ((payload.exp as number) + clockToleranceSeconds) * 1000;
    if (trusted.size >= mostTrusted)
      for (const oldest of trusted.keys()) {
        trusted.delete(oldest);
        break;
      }
    trusted.set(digest, { caller, untilMs: Math.min(expiresMs, Date.now() + trustedMs) });
    return caller;
  }

  return {
    authenticate(headers) {
      const token = bearerToken(headers);
      if (token === undefined)
        return headers.authorization === undefined
          ? { status: 401, error: '', description: 'An access token is needed.' }
          : invalid('Authorization holds no bearer token.');
      if (token.length > longestToken) return invalid('The token is too long.');
      const digest = createHash('sha256').update(token).digest('base64');
      const known = trusted.get(digest);
      if (known !== undefined) {
        if (known.untilMs > Date.now()) return known.caller;
        trusted.delete(digest);
      }
      return verify(token, digest);
    },
    challenge({ error, description }) {
      const parts = [`resource_metadata=${quoted(metadataUrl)}`];
      if (error !== '') parts.push(`error=${quoted(error)}`, `error_description=${quoted(description)}`);
      if (scopes.length > 0) parts.push(`scope=${quoted(scopes.join(' '))}`);
      return `Bearer ${parts.join(', ')}`;
    },
    document: (asked) =>
      asked === `/.well-known/oauth-protected-resource${path}` || asked === '/.well-known/oauth-protected-resource'
        ? metadata
        : undefined,
  };
}

function invalid(description: string): Denial {
  return { status: 401, error: 'invalid_token', description };
}

/** What is wrong with the token is the caller's to mend; that keys cannot be had is not. */
function denialOf(error: unknown, errors: typeof import('jose').errors): Denial {
  if (error instanceof errors.JWTExpired) return invalid('The token has expired.');
  if (error instanceof errors.JWTClaimValidationFailed)
    return invalid(`The token's ${error.claim} is not the one expected.`);
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed)
    return invalid('The token is not signed by the authorization server.');
  if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError) || error.code === 'ERR_JOSE_GENERIC')
    return { status: 503, error: '', description: 'The keys of the authorization server cannot be had now.' };
  return invalid('The token is no JWT that can be verified.');
}

/** `scope` (RFC 8693 §4.2) or `scp`, as text or as a list. */
function grantedScopes(payload: JWTPayload): string[] {
  const value = payload.scope ?? payload.scp;
  if (Array.isArray(value)) return value.filter((each): each is string => typeof each === 'string');
  return textOf(value)
    .split(' ')
    .filter((each) => each !== '');
}

/** RFC 8414 §3.1 puts the well-known part before the issuer's path, OpenID Connect behind it. */
async function discoverKeys(issuer: URL, expected: string): Promise<URL> {
  const path = issuer.pathname.replace(/\/$/, '');
  const candidates = [
    `${issuer.origin}/.well-known/oauth-authorization-server${path}`,
    `${issuer.origin}${path}/.well-known/openid-configuration`,
  ];
  for (const url of candidates) {
    const response = await fetch(url, { signal: AbortSignal.timeout(discoveryTimeoutMs), redirect: 'error' });
    if (!response.ok) continue;
    const found = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown };
    // RFC 8414 §3.3: metadata of another issuer is not to be used.
    if (found.issuer === expected && typeof found.jwks_uri === 'string') return secureUrl(found.jwks_uri, 'jwks_uri');
  }
  throw new Error(`${expected} tells no jwks_uri`);
}

function secureUrl(text: string, name: string, mayBePlain = false): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`${name}: ${JSON.stringify(text)} is no URL`);
  }
  const isSecure = url.protocol === 'https:' || (url.protocol === 'http:' && (mayBePlain || isLoopback(url.hostname)));
  if (!isSecure) throw new TypeError(`${name}: ${text} must be https, or http on loopback`);
  return url;
}
