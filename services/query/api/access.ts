/**
 * Who asks the API: a key as Bearer, or a session of the dashboard in a cookie.
 *
 * A session begins with a one-time token (held here by its hash, an hour at most) or with a key, and is a signed cookie
 * that has the hashes of its keys. It lasts while they do: a revoked key ends its sessions with the next request, also
 * when another key has got its name. The secret that signs lies in the data directory, so a restart ends no session.
 *
 * A page of somebody else can't use it: the cookie is SameSite=Strict and HttpOnly, and because a site is a host and not
 * a port, what changes something must come from the dashboard's own origin besides.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AuditdError } from '../../../schemas/errors.js';
import { type KeyEntry, type Keys, may } from '../../access/keys.js';

export interface Principal {
  /** A key that may read. */
  readonly reader: KeyEntry;
  /** A key that may respond, where the session may decide. */
  readonly responder: KeyEntry | undefined;
  readonly role: 'viewer' | 'responder' | 'admin';
  readonly door: 'api' | 'dashboard';
  /** RFC 3339, of a session. */
  readonly expiresAt: string | null;
}

const tokenLifeMs = 3_600_000;
const sessionLifeMs = 12 * 3_600_000;
/** Tokens that nobody has used: 100 bytes each. The oldest goes first. */
const mostTokens = 1_000;

interface Grant {
  readonly reader: string;
  readonly responder: string | undefined;
  readonly expiresMs: number;
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

export class Access {
  private readonly tokens = new Map<string, Grant>();

  constructor(
    private readonly keys: Keys,
    private readonly secret: Buffer,
    private readonly clock: () => number,
  ) {}

  /** Who asks. @throws AuditdError `key_missing`, `key_role_wrong`, `origin_wrong`. */
  principal(request: FastifyRequest): Principal {
    const bearer = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (bearer !== undefined) {
      const reader = this.reader(bearer);
      return principal(reader, may(reader, 'respond') ? reader : undefined, 'api', null);
    }
    const session = this.session(request);
    if (session === undefined) throw new AuditdError('key_missing', 'The request has no key and no session.');
    if (request.method !== 'GET' && request.method !== 'HEAD') requireOwnOrigin(request);
    return session;
  }

  /** Who asks and may decide: a session with a responder's key, or such a key as Bearer. */
  responder(request: FastifyRequest): KeyEntry {
    const bearer = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const entry = bearer === undefined ? this.principal(request).responder : this.keys.find(bearer);
    if (bearer !== undefined && entry === undefined) throw new AuditdError('key_missing', 'Nobody knows this key.');
    if (entry === undefined || !may(entry, 'respond'))
      throw new AuditdError(
        'key_role_wrong',
        'This session may look on and not decide: it began without a key of the role respond.',
      );
    return entry;
  }

  /** Who asks and may see and change keys. */
  admin(request: FastifyRequest): Principal {
    const who = this.principal(request);
    if (who.role !== 'admin')
      throw new AuditdError('key_role_wrong', `The key ${who.reader.name} is not there as admin, expected admin.`);
    return who;
  }

  /** A token that begins one session, for whoever has these keys. */
  issue(reader: KeyEntry, respondKey: string | undefined): { token: string; expiresMs: number } {
    const responder = respondKey === undefined ? undefined : this.keys.find(respondKey);
    if (respondKey !== undefined && (responder === undefined || !may(responder, 'respond')))
      throw new AuditdError('key_role_wrong', 'respond_key: expected a key with the role respond or admin.');
    const token = randomBytes(24).toString('base64url');
    const expiresMs = this.clock() + tokenLifeMs;
    this.tokens.set(hashOf(token), { reader: reader.hash, responder: responder?.hash, expiresMs });
    for (const hash of this.tokens.keys()) {
      if (this.tokens.size <= mostTokens) break;
      this.tokens.delete(hash);
    }
    return { token, expiresMs };
  }

  /** Begins a session with a one-time token, which is spent by it, or a key. @throws AuditdError `login_token_spent`. */
  begin(text: string, request: FastifyRequest, reply: FastifyReply): Principal {
    requireOwnOrigin(request);
    const expiresMs = this.clock() + sessionLifeMs;
    let hashes: readonly [reader: string, responder: string | undefined];
    if (text.startsWith('mca_')) {
      const reader = this.reader(text);
      hashes = [reader.hash, may(reader, 'respond') ? reader.hash : undefined];
    } else {
      const hash = hashOf(text);
      const grant = this.tokens.get(hash);
      this.tokens.delete(hash);
      if (grant === undefined || grant.expiresMs < this.clock())
        throw new AuditdError('login_token_spent', 'This link was used already, or is older than an hour.');
      hashes = [grant.reader, grant.responder];
    }
    const value = this.signed(JSON.stringify([...hashes, expiresMs]));
    setCookie(request, reply, value, Math.floor(sessionLifeMs / 1000));
    const principal = this.ofHashes(hashes[0], hashes[1], expiresMs);
    if (principal === undefined) throw new AuditdError('key_missing', 'The key of this link was revoked.');
    return principal;
  }

  end(request: FastifyRequest, reply: FastifyReply): void {
    requireOwnOrigin(request);
    setCookie(request, reply, '', 0);
  }

  private reader(key: string): KeyEntry {
    const entry = this.keys.find(key);
    if (entry === undefined) throw new AuditdError('key_missing', 'Nobody knows this key.');
    if (!may(entry, 'read'))
      throw new AuditdError('key_role_wrong', `The key ${entry.name} has the role ${entry.role}, expected read.`);
    return entry;
  }

  private session(request: FastifyRequest): Principal | undefined {
    const name = cookieName(request);
    const value = (request.headers.cookie ?? '')
      .split(/; */)
      .find((each) => each.startsWith(`${name}=`))
      ?.slice(name.length + 1);
    if (value === undefined || value.length > 2_048) return undefined;
    const [payload = '', signature = ''] = value.split('.');
    const text = Buffer.from(payload, 'base64url').toString();
    const expected = Buffer.from(this.signed(text));
    const given = Buffer.from(`${payload}.${signature}`);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const [reader, responder, expiresMs] = JSON.parse(text) as [string, string | null, number];
    return expiresMs < this.clock() ? undefined : this.ofHashes(reader, responder ?? undefined, expiresMs);
  }

  private ofHashes(reader: string, responder: string | undefined, expiresMs: number): Principal | undefined {
    const entry = this.keys.ofHash(reader);
    if (entry === undefined || !may(entry, 'read')) return undefined;
    const decides = responder === undefined ? undefined : this.keys.ofHash(responder);
    const expiresAt = new Date(expiresMs).toISOString();
    return principal(
      entry,
      decides !== undefined && may(decides, 'respond') ? decides : undefined,
      'dashboard',
      expiresAt,
    );
  }

  private signed(text: string): string {
    const signature = createHmac('sha256', this.secret).update(text).digest('base64url');
    return `${Buffer.from(text).toString('base64url')}.${signature}`;
  }
}

function principal(
  reader: KeyEntry,
  responder: KeyEntry | undefined,
  door: Principal['door'],
  expiresAt: string | null,
): Principal {
  // A link that an admin made for looking on is one of a viewer: the second key says what the session may do.
  const isAdmin = reader.role === 'admin' && responder?.role === 'admin';
  const role = isAdmin ? 'admin' : responder === undefined ? 'viewer' : 'responder';
  return { reader, responder, role, door, expiresAt };
}

/** Cookies know no ports: two daemons on one host would end one another's sessions. */
function cookieName(request: FastifyRequest): string {
  return `mcp_auditd_${request.socket.localPort ?? 0}`;
}

function setCookie(request: FastifyRequest, reply: FastifyReply, value: string, maxAgeSeconds: number): void {
  const secure = request.protocol === 'https' || request.headers['x-forwarded-proto'] === 'https' ? '; Secure' : '';
  void reply.header(
    'set-cookie',
    `${cookieName(request)}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAgeSeconds}${secure}`,
  );
}

/** @throws AuditdError `origin_wrong` for a page of another origin, port included. */
function requireOwnOrigin(request: FastifyRequest): void {
  const { origin, host } = request.headers;
  const site = request.headers['sec-fetch-site'];
  const own = site === undefined || site === 'same-origin' || site === 'none';
  let same = true;
  if (origin !== undefined) {
    try {
      same = new URL(origin).host === host;
    } catch {
      same = false;
    }
  }
  if (!own || !same) throw new AuditdError('origin_wrong', 'The request comes from a page of another origin.');
}
