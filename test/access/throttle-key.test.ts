import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import { ThrottleKeys } from '../../services/access/throttle-key.js';
import { givenKey } from '../../services/app/throttle-keys.js';
import { makeSignal } from '../throttler/signals.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'throttle-key-'));
  vi.useFakeTimers({ toFake: ['Date'] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(directory, { recursive: true, force: true });
});

function makeKey(): { privatePem: string; publicPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privatePem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    publicPem: String(publicKey.export({ type: 'spki', format: 'pem' })),
  };
}

/** More than the second within which a changed file is seen. */
const later = (): unknown => vi.setSystemTime(Date.now() + 1_001);

test('keys in files of the configuration are taken up while a throttler and a gateway run, broken files are not', () => {
  const [before, after] = [makeKey(), makeKey()];
  const [keyFile, publicFile] = [join(directory, 'throttle.key'), join(directory, 'throttle.pub')];
  writeFileSync(keyFile, before.privatePem);
  writeFileSync(publicFile, before.publicPem);
  const configuration = parseConfiguration({
    environment: { MCP_AUDITD_THROTTLER__SIGNING_KEY_FILE: keyFile },
    file: { path: join(directory, 'config.yaml'), text: 'throttler: {public_keys_file: throttle.pub}' },
    readFile: (path) => (path === keyFile ? before.privatePem : before.publicPem),
  });
  const throttler = new ThrottleKeys(join(directory, 'throttler'), {
    signingKey: givenKey(configuration, 'signing_key'),
    publicKeys: givenKey(configuration, 'public_keys'),
  });
  const gateway = new ThrottleKeys(join(directory, 'gateway'), { publicKeys: givenKey(configuration, 'public_keys') });
  const old = throttler.sign(makeSignal(Date.now() * 1000, {}));
  expect(gateway.isTrusted(old)).toBe(true);

  writeFileSync(publicFile, `${after.publicPem}${before.publicPem}`);
  writeFileSync(keyFile, 'cut off');
  later();
  expect(throttler.signingKeyId).toBe(old.key_id);
  writeFileSync(keyFile, after.privatePem);
  later();
  expect(throttler.signingKeyId).not.toBe(old.key_id);
  const next = throttler.sign(makeSignal(Date.now() * 1000, {}));
  expect([gateway.isTrusted(next), gateway.isTrusted(old), throttler.isTrusted(old)]).toEqual([true, true, true]);

  writeFileSync(publicFile, '');
  later();
  expect(gateway.isTrusted(next)).toBe(true);
  writeFileSync(publicFile, after.publicPem);
  later();
  expect([gateway.isTrusted(next), gateway.isTrusted(old)]).toEqual([true, false]);
});
