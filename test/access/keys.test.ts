import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  createKey,
  ensureKeys,
  keyFilePath,
  listKeys,
  openKeys,
  readSecretFile,
  revokeKey,
} from '../../services/access/keys.js';

let data: string;
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'keys-'));
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

const mode = (path: string): number => statSync(path).mode & 0o777;

test('the first start makes a key of each role, for this user only, and keeps no secret at rest', async () => {
  await ensureKeys(data);
  const emitter = readSecretFile(keyFilePath(data, 'emit'));
  expect(emitter).toMatch(/^mca_emit_[\w-]{43}$/);
  expect(readSecretFile(keyFilePath(data, 'read'))).toMatch(/^mca_read_[\w-]{43}$/);
  for (const path of [keyFilePath(data, 'emit'), keyFilePath(data, 'read'), join(data, 'keys.json')])
    expect(mode(path)).toBe(0o600);
  expect(readFileSync(join(data, 'keys.json'), 'utf8')).not.toContain(emitter);
  expect(openKeys(data).find(emitter)).toMatchObject({ name: 'emitter', role: 'emit', tenant: 'default' });
  expect(readdirSync(data).sort()).toEqual(['keys', 'keys.json']);
});

test('later starts change nothing, and a revoked key stays revoked', async () => {
  await ensureKeys(data);
  const before = readFileSync(join(data, 'keys.json'), 'utf8');
  await ensureKeys(data);
  expect(readFileSync(join(data, 'keys.json'), 'utf8')).toBe(before);
  await revokeKey(data, 'emitter');
  await ensureKeys(data);
  expect(listKeys(data).map(({ name }) => name)).toEqual(['reader', 'responder']);
});

test('a kill between entry and key file, or a deleted keys.json, is mended at the next start', async () => {
  await ensureKeys(data);
  rmSync(keyFilePath(data, 'emit'));
  await ensureKeys(data);
  expect(openKeys(data).find(readSecretFile(keyFilePath(data, 'emit')))?.name).toBe('emitter');
  rmSync(join(data, 'keys.json'));
  await ensureKeys(data);
  expect(openKeys(data).find(readSecretFile(keyFilePath(data, 'emit')))?.name).toBe('emitter');
  expect(listKeys(data)).toHaveLength(3);
});

test('a wrong, cut or enormous key is nobody', async () => {
  await ensureKeys(data);
  const keys = openKeys(data);
  const right = readSecretFile(keyFilePath(data, 'emit'));
  for (const wrong of ['', right.slice(0, -1), `${right}x`, right.toUpperCase(), 'x'.repeat(1_000_000)])
    expect(keys.find(wrong)).toBeUndefined();
});

test('created and revoked keys count within a second, without a restart', async () => {
  await ensureKeys(data);
  let now = 0;
  const keys = openKeys(data, { clock: () => now });
  const { key } = await createKey(data, { name: 'agents', role: 'emit', tenant: 'acme' });
  expect(keys.find(key)).toBeUndefined();
  now += 1_000;
  expect(keys.find(key)).toMatchObject({ name: 'agents', tenant: 'acme' });
  await revokeKey(data, 'agents');
  now += 1_000;
  expect(keys.find(key)).toBeUndefined();
});

test('a keys.json that became invalid keeps the known keys and is reported once', async () => {
  await ensureKeys(data);
  let now = 0;
  const errors: unknown[] = [];
  const keys = openKeys(data, { clock: () => now, onError: (error) => errors.push(error) });
  writeFileSync(join(data, 'keys.json'), '[{"name":"x"}]', { mode: 0o600 });
  for (const elapsedMs of [1_000, 1_000]) {
    now += elapsedMs;
    expect(keys.find(readSecretFile(keyFilePath(data, 'emit')))?.name).toBe('emitter');
  }
  expect(errors).toMatchObject([
    { code: 'keys_file_invalid', message: expect.stringContaining('keys.json: entry 0.') },
  ]);
});

test('a secret that others can read is refused, with the file and its mode', async () => {
  await ensureKeys(data);
  chmodSync(join(data, 'keys.json'), 0o644);
  expect(() => openKeys(data)).toThrow(/keys\.json has mode 0644 and expected 0600/);
  chmodSync(keyFilePath(data, 'read'), 0o640);
  expect(() => readSecretFile(keyFilePath(data, 'read'))).toThrow(/reader\.key has mode 0640/);
});

test('names are unique, checked, and an unknown one is answered with those there are', async () => {
  await ensureKeys(data);
  const options = { role: 'read', tenant: 'default' } as const;
  await expect(createKey(data, { ...options, name: 'reader' })).rejects.toMatchObject({ code: 'key_name_taken' });
  await expect(createKey(data, { ...options, name: 'a\nb' })).rejects.toMatchObject({ code: 'key_name_invalid' });
  await expect(revokeKey(data, 'nobody')).rejects.toThrow('There are: emitter, reader');
});

test('changes at the same time lose nothing, and a lock of a dead process is taken', async () => {
  // 2^22 is the most a pid can be on Linux, so nobody has this one.
  writeFileSync(join(data, 'keys.json.lock'), '4194305\n');
  const names = Array.from({ length: 20 }, (_, index) => `key-${index}`);
  await Promise.all(names.map((name) => createKey(data, { name, role: 'emit', tenant: 'default' })));
  expect(listKeys(data).map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  expect(existsSync(join(data, 'keys.json.lock'))).toBe(false);
});
