/** Who may call through the proxy: API keys, and tokens of a real authorization server and of one made by hand. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { Provider } from 'oidc-provider';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Authenticator, apiKeyAuthenticator } from '../../services/emitter/proxy/auth.js';
import { type OAuthOptions, oauthAuthenticator } from '../../services/emitter/proxy/oauth.js';
import { openProxy } from '../../services/emitter/proxy/proxy.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

const open: (() => unknown)[] = [];
beforeEach(() => {
  Recording.opened.length = 0;
});
afterEach(async () => {
  for (const step of open.splice(0).reverse()) await step();
});

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that answers everything, behind a proxy; what it was sent as credentials. */
async function guarded(authenticator: Authenticator, passCredentials = false) {
  const seen: (string | undefined)[] = [];
  const upstream = await listen((request, response) => {
    seen.push(request.headers.authorization);
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 's1' });
      response.end('{"jsonrpc":"2.0","id":1,"result":{}}');
    });
  });
  const proxy = await openProxy({
    upstream: `${upstream}/mcp`,
    throttle: false,
    authenticator,
    passCredentials,
    drainMs: 100,
  });
  open.push(() => proxy.close());
  const ask = (headers: Record<string, string> = {}) =>
    fetch(proxy.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}',
    });
  return { proxy, ask, seen };
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const resource = 'https://mcp.example.com/mcp';

describe('API keys', () => {
  it('let their holder in under its name, and stay behind', async () => {
    const find = (key: string) => ({ 'key-of-alice': 'alice', 'key-of-bob': 'bob' })[key];
    const { ask, seen } = await guarded(apiKeyAuthenticator(find));
    expect((await ask()).headers.get('www-authenticate')).toBe('Bearer realm="mcp"');
    expect((await ask(bearer('wrong'))).status).toBe(401);
    expect((await ask(bearer('key-of-alice'))).status).toBe(200);
    expect((await ask({ 'x-api-key': 'key-of-bob' })).status).toBe(200);
    expect(seen).toEqual([undefined, undefined]);
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { actor_id: 'alice', actor_verified: true, outcome: 'success' },
      { actor_id: 'bob', actor_verified: true },
    ]);
    expect(Recording.latest().of('http/request')).toMatchObject([
      { outcome: 'denied', error_type: 'unauthenticated', error_code: 401 },
      { outcome: 'denied', error_type: 'invalid_token', attributes: { client_address: '127.0.0.1' } },
    ]);
  });

  it("do not open another actor's session", async () => {
    const find = (key: string) => key;
    const { ask } = await guarded(apiKeyAuthenticator(find));
    expect((await ask(bearer('alice'))).headers.get('mcp-session-id')).toBe('s1');
    expect((await ask({ ...bearer('alice'), 'mcp-session-id': 's1' })).status).toBe(200);
    expect((await ask({ ...bearer('bob'), 'mcp-session-id': 's1' })).status).toBe(404);
    expect(Recording.latest().of('http/request')).toMatchObject([{ error_type: 'session_of_another' }]);
  });
});

describe('tokens of an authorization server', () => {
  it('oidc-provider: discovery, metadata, audience and scope', { timeout: 30_000 }, async () => {
    let handle: RequestListener = (_request, response) => void response.writeHead(503).end();
    const issuer = await listen((request, response) => handle(request, response));
    const { privateKey } = await generateKeyPair('RS256', { extractable: true });
    const provider = new Provider(issuer, {
      clients: [
        {
          client_id: 'agent-7',
          client_secret: 'a secret of some length',
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        },
      ],
      jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }] },
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo: (_context, indicator) => ({
            scope: 'mcp:tools',
            audience: indicator,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      },
    });
    handle = provider.callback();
    const token = async (indicator: string, scope?: string): Promise<string> => {
      const body = new URLSearchParams({
        grant_type: 'client_credentials',
        resource: indicator,
        ...(scope ? { scope } : {}),
      });
      const basic = Buffer.from(`agent-7:${encodeURIComponent('a secret of some length')}`).toString('base64');
      const response = await fetch(`${issuer}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${basic}` },
        body,
      });
      return ((await response.json()) as { access_token: string }).access_token;
    };
    const { proxy, ask, seen } = await guarded(oauthAuthenticator({ issuer, resource, scopes: ['mcp:tools'] }));

    const first = await ask();
    expect(first.status).toBe(401);
    const metadataUrl = 'https://mcp.example.com/.well-known/oauth-protected-resource/mcp';
    expect(first.headers.get('www-authenticate')).toBe(`Bearer resource_metadata="${metadataUrl}", scope="mcp:tools"`);
    const metadata = await fetch(new URL(new URL(metadataUrl).pathname, proxy.url));
    expect(await metadata.json()).toEqual({
      resource,
      authorization_servers: [issuer],
      bearer_methods_supported: ['header'],
      scopes_supported: ['mcp:tools'],
    });
    expect((await ask(bearer(await token(resource, 'mcp:tools')))).status).toBe(200);
    const narrow = await ask(bearer(await token(resource)));
    expect(narrow.status).toBe(403);
    expect(narrow.headers.get('www-authenticate')).toContain('error="insufficient_scope"');
    const foreign = await ask(bearer(await token('https://other.example.com/mcp', 'mcp:tools')));
    expect(foreign.status).toBe(401);
    expect(await foreign.json()).toMatchObject({
      error: 'invalid_token',
      error_description: expect.stringContaining('aud'),
    });
    expect(seen).toEqual([undefined]);
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { actor_id: 'agent-7', actor_verified: true, actor_type: 'service', client_id: 'agent-7' },
    ]);
  });

  /** An authorization server that signs whatever it is asked to, with keys that can be changed. */
  async function signing(options: Partial<OAuthOptions> = {}, passCredentials = false) {
    let published: object[] = [];
    let fetches = 0;
    let isAway = false;
    const issuer = await listen((request, response) => {
      if (isAway) return void response.destroy();
      if (request.url === '/jwks') fetches += 1;
      const body = request.url === '/jwks' ? { keys: published } : { issuer, jwks_uri: `${issuer}/jwks` };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    const newKey = async (kid: string) => {
      const { privateKey, publicKey } = await generateKeyPair('ES256');
      published = [...published, { ...(await exportJWK(publicKey)), kid, alg: 'ES256' }];
      return (claims: JWTPayload = {}) =>
        new SignJWT({ iss: issuer, aud: resource, sub: 'alice', client_id: 'app', ...claims })
          .setProtectedHeader({ alg: 'ES256', kid })
          .setExpirationTime((claims.exp as number | undefined) ?? '5m')
          .sign(privateKey);
    };
    const guard = await guarded(oauthAuthenticator({ issuer, resource, ...options }), passCredentials);
    const goAway = (): void => {
      isAway = true;
    };
    return { ...guard, newKey, fetches: () => fetches, goAway };
  }

  it('are refused when they are expired, of another issuer, unsigned, or without an actor', async () => {
    const { ask, newKey } = await signing({ actorClaim: 'email' });
    const sign = await newKey('one');
    const why = async (token: string) =>
      ((await (await ask(bearer(token))).json()) as { error_description: string }).error_description;
    expect(await why(await sign({ email: 'a@b', exp: Math.floor(Date.now() / 1000) - 60 }))).toContain('expired');
    expect(await why(await sign({ email: 'a@b', iss: 'https://evil.example' }))).toContain('iss');
    expect(await why(await sign())).toContain('no claim email');
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"x"}').toString('base64url')}.`;
    expect(await why(none)).not.toBe('');
    expect(await why('gibberish')).toContain('no JWT');
    expect((await ask({ authorization: 'Basic YTpi' })).status).toBe(401);
    expect((await ask(bearer(await sign({ email: 'a@b' })))).status).toBe(200);
    expect(Recording.latest().of('tools/call')).toMatchObject([
      { actor_id: 'a@b', actor_type: 'user', client_id: 'app' },
    ]);
  });

  it('are known by cached keys, and by new ones after a rotation', async () => {
    const { ask, newKey, fetches } = await signing();
    const sign = await newKey('one');
    for (const jti of ['a', 'b', 'c']) expect((await ask(bearer(await sign({ jti })))).status).toBe(200);
    expect(fetches()).toBe(1);
    const later = Date.now() + 60_000;
    const rotated = await newKey('two');
    vi.spyOn(Date, 'now').mockReturnValue(later);
    try {
      expect((await ask(bearer(await rotated()))).status).toBe(200);
    } finally {
      vi.restoreAllMocks();
    }
    expect(fetches()).toBe(2);
  });

  it('cannot be judged while the server is away: 503, and not the caller is to blame', async () => {
    const { ask, newKey, goAway } = await signing();
    const sign = await newKey('one');
    const token = await sign();
    goAway();
    const answer = await ask(bearer(token));
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('5');
  });

  it('go on to the server only where that is asked for', async () => {
    const { ask, newKey, seen } = await signing({}, true);
    const token = await (await newKey('one'))();
    await ask(bearer(token));
    expect(seen).toEqual([`Bearer ${token}`]);
  });

  it('are asked of an issuer on https, or on loopback', () => {
    expect(() => oauthAuthenticator({ issuer: 'http://login.example.com', resource })).toThrow(/issuer.*must be https/);
  });
});
