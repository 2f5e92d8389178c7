/** Roles at the routes of the API, and keys over the API: who may what, and within which tenant. */
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKey, type KeyRole, keyRoles, openKeys, revokeKey } from '../../services/access/keys.js';
import { Access } from '../../services/query/api/access.js';
import { api } from '../../services/query/api/api.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';

const directory = mkdtempSync(join(tmpdir(), 'api-keys-'));
let stream: LocalStream;
let server: FastifyInstance;
/** The text of each key, by `role@tenant`. */
const texts = new Map<string, string>();
const asked: { name: string; tenant: string }[] = [];

/** The API without a store: who asks for rows gets none. */
async function serve(keysFile?: string): Promise<FastifyInstance> {
  const keys = openKeys(directory, keysFile === undefined ? {} : { file: keysFile });
  const app = Fastify();
  await app.register(api, {
    prefix: '/api/v1',
    stream,
    keys,
    data: directory,
    access: new Access(keys, Buffer.from('secret'), Date.now),
    async *askFor(_request, { name, tenant }) {
      asked.push({ name, tenant });
      yield Buffer.from('');
    },
    tail: undefined as never,
    rules: undefined,
    status: undefined as never,
    version: '1.2.3',
  });
  return app;
}

beforeAll(async () => {
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
  for (const tenant of ['acme', 'globex', '*'])
    for (const role of keyRoles) {
      if (tenant === '*' && role !== 'read' && role !== 'admin') continue;
      const name = `${role}@${tenant === '*' ? 'all' : tenant}`;
      texts.set(name, (await createKey(directory, { name, role, tenant })).key);
    }
  server = await serve();
});
afterAll(async () => {
  await server.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

async function call(who: string | undefined, route: string, body?: object, app = server) {
  const [method, path] = route.split(' ') as ['GET' | 'POST' | 'DELETE', string];
  const answer = await app.inject({
    method,
    url: `/api/v1${path}`,
    headers: who === undefined ? {} : { authorization: `Bearer ${texts.get(who) ?? who}` },
    ...(body === undefined ? {} : { body }),
  });
  return { status: answer.statusCode, body: (answer.body === '' ? {} : answer.json()) as Record<string, unknown> };
}

const acknowledge = { kind: 'acknowledge', target: 'alert-1', reason: 'seen' };
const statuses: Readonly<Record<KeyRole | 'nobody', readonly number[]>> = {
  //        session, throttles, responses, keys, make, revoke
  nobody: [401, 401, 401, 401, 401, 401],
  emit: [403, 403, 403, 403, 403, 403],
  call: [403, 403, 403, 403, 403, 403],
  respond: [403, 403, 201, 403, 403, 403],
  read: [200, 200, 403, 403, 403, 403],
  admin: [200, 200, 201, 200, 201, 204],
};
test.each(Object.entries(statuses))('what %s may', async (role, expected) => {
  const who = role === 'nobody' ? undefined : `${role}@acme`;
  const got = [
    await call(who, 'GET /session'),
    await call(who, 'GET /throttles'),
    await call(who, 'POST /responses', acknowledge),
    await call(who, 'GET /keys'),
    await call(who, 'POST /keys', { name: 'made', role: 'read' }),
    await call(who, 'DELETE /keys/made'),
  ];
  expect(got.map(({ status }) => status)).toEqual(expected);
  for (const { status, body } of got) if (status >= 400) expect(body).toHaveProperty('error.mend');
});

test('an admin of every tenant reads all rows, and decides as the operator', async () => {
  expect((await call('admin@all', 'GET /session')).body).toMatchObject({ role: 'admin', tenant: '*' });
  asked.length = 0;
  await call('admin@all', 'GET /throttles');
  await call('admin@acme', 'GET /throttles');
  expect(asked.map(({ tenant }) => tenant)).toEqual(['*', 'acme']);
  const decided = await call('admin@all', 'POST /responses', acknowledge);
  expect(decided.body).toMatchObject({ tenant: 'default', author_key: 'admin@all' });
  expect((await call('admin@acme', 'POST /responses', acknowledge)).body).toMatchObject({ tenant: 'acme' });
});

test('an admin sees, makes and revokes keys of its own tenant only, and no secret', async () => {
  const names = async (who: string) => {
    const { keys } = (await call(who, 'GET /keys')).body as { keys: Record<string, string>[] };
    for (const key of keys) expect(Object.keys(key).sort()).toEqual(['created_at', 'name', 'role', 'tenant']);
    return keys.map(({ name }) => name!);
  };
  expect(await names('admin@acme')).toEqual(keyRoles.map((role) => `${role}@acme`));
  expect(await names('admin@all')).toHaveLength(texts.size);
  for (const tenant of ['globex', '*', 'default']) {
    const refused = await call('admin@acme', 'POST /keys', { name: 'x', role: 'read', tenant });
    expect([refused.status, refused.body.error], tenant).toEqual([
      403,
      expect.objectContaining({ code: 'key_tenant_wrong' }),
    ]);
  }
  // As if it were not there: neither what it is nor whose is told.
  for (const name of ['read@globex', 'admin@all', 'nothing']) {
    const refused = await call('admin@acme', `DELETE /keys/${name}`);
    expect([refused.status, JSON.stringify(refused.body)]).toEqual([404, expect.not.stringContaining('globex,')]);
    expect(refused.body.error).toMatchObject({ code: 'key_unknown', message: `There is no key named "${name}".` });
  }
  const made = await call('admin@all', 'POST /keys', { name: 'grafana', role: 'read', tenant: 'globex' });
  expect(made).toMatchObject({ status: 201, body: { tenant: 'globex', key: expect.stringMatching(/^mca_read_/) } });
  const text = made.body.key as string;
  expect((await call(text, 'GET /session')).body).toMatchObject({ key: 'grafana', tenant: 'globex', role: 'viewer' });
  expect((await call('admin@globex', 'DELETE /keys/grafana')).status).toBe(204);
  expect((await call(text, 'GET /session')).status).toBe(401);
  expect((await call('admin@acme', 'POST /keys', { name: 'admin@acme', role: 'read' })).status).toBe(409);
  expect((await call('admin@acme', 'POST /keys', { name: 'a b', role: 'read' })).status).toBe(400);
  expect((await call('admin@all', 'POST /keys', { name: 'x', role: 'emit', tenant: '*' })).status).toBe(400);
});

test('the last admin of a tenant is not revoked over the API, also when two revoke one another', async () => {
  const last = await call('admin@acme', 'DELETE /keys/admin@acme');
  expect([last.status, last.body.error]).toEqual([409, expect.objectContaining({ code: 'key_last_admin' })]);
  const second = (await call('admin@acme', 'POST /keys', { name: 'second', role: 'admin' })).body.key as string;
  const both = await Promise.all([call('admin@acme', 'DELETE /keys/second'), call(second, 'DELETE /keys/admin@acme')]);
  expect(both.map(({ status }) => status).filter((status) => status === 204)).toHaveLength(1);
  const left = both[0]!.status === 204 ? 'admin@acme' : second;
  expect((await call(left, 'GET /keys')).status).toBe(200);
});

test("a session is what its keys are: an admin's decides and manages, one for looking on does not", async () => {
  const begin = async (token: string) => {
    const answer = await server.inject({ method: 'POST', url: '/api/v1/session', body: { token } });
    return {
      cookie: String(answer.headers['set-cookie']).split(';')[0]!,
      role: (answer.json() as { role: string }).role,
    };
  };
  const keysOf = async (cookie: string, headers = {}) =>
    (await server.inject({ method: 'GET', url: '/api/v1/keys', headers: { cookie, ...headers } })).statusCode;
  const admin = await begin(texts.get('admin@all')!);
  expect([admin.role, await keysOf(admin.cookie)]).toEqual(['admin', 200]);
  const elsewhere = await server.inject({
    method: 'POST',
    url: '/api/v1/keys',
    headers: { cookie: admin.cookie, origin: 'https://evil.example' },
    body: { name: 'evil', role: 'admin', tenant: '*' },
  });
  expect(elsewhere.statusCode).toBe(403);
  const link = async (respond_key?: string) =>
    (await call('admin@all', 'POST /login-tokens', { ...(respond_key && { respond_key }) })).body.token as string;
  const viewing = await begin(await link());
  expect([viewing.role, await keysOf(viewing.cookie)]).toEqual(['viewer', 403]);
  const deciding = await begin(await link(texts.get('respond@acme')));
  expect([deciding.role, await keysOf(deciding.cookie)]).toEqual(['responder', 403]);
  expect((await begin(await link(texts.get('admin@all')))).role).toBe('admin');
});

test("a session ends with its key, and who gets the key's name later does not get the session", async () => {
  const { key } = await createKey(directory, { name: 'carol', role: 'read', tenant: 'acme' });
  await call('admin@all', 'GET /keys');
  const answer = await server.inject({ method: 'POST', url: '/api/v1/session', body: { token: key } });
  const cookie = String(answer.headers['set-cookie']).split(';')[0]!;
  const session = async () =>
    (await server.inject({ method: 'GET', url: '/api/v1/session', headers: { cookie } })).statusCode;
  expect(await session()).toBe(200);
  await revokeKey(directory, 'carol');
  await createKey(directory, { name: 'carol', role: 'admin', tenant: '*' });
  await call('admin@all', 'GET /keys');
  expect(await session()).toBe(401);
});

test('where the keys come from a file of another place they are shown, and changed there', async () => {
  const file = join(directory, 'mounted.json');
  copyFileSync(join(directory, 'keys.json'), file);
  const app = await serve(file);
  expect((await call('admin@globex', 'GET /keys', undefined, app)).status).toBe(200);
  for (const [route, body] of [
    ['POST /keys', { name: 'x', role: 'read' }],
    ['DELETE /keys/read@globex', undefined],
  ] as const) {
    const { status, body: told } = await call('admin@globex', route, body, app);
    expect([status, told.error]).toEqual([409, expect.objectContaining({ code: 'keys_file_fixed' })]);
  }
  await app.close();
});
