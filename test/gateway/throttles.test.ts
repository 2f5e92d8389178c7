import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isSignedBy, type UnsignedSignal } from '../../schemas/throttle.js';
import { createKey, ensureKeys, keyFilePath, openKeys, readSecretFile } from '../../services/access/keys.js';
import { Enforcement } from '../../services/emitter/enforcement.js';
import { createGateway } from '../../services/gateway/gateway.js';
import type { Changes } from '../../services/gateway/throttle-board.js';
import { type LocalStream, openLocalStream } from '../../services/stream/local.js';
import { makeSignal, makeSigner } from '../throttler/signals.js';

const signer = makeSigner();
let directory: string;
let stream: LocalStream;
let app: FastifyInstance;
let gateway: ReturnType<typeof createGateway>;
let url: string;
let key: string;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'gateway-throttles-'));
  stream = openLocalStream({ directory: join(directory, 'stream'), durability: 'kernel' });
  await ensureKeys(directory);
  key = readSecretFile(keyFilePath(directory, 'emit'));
  await serve();
});

afterEach(async () => {
  await app.close();
  await gateway.close();
  await stream.close();
  rmSync(directory, { recursive: true, force: true });
});

async function serve(changed: { slowReaderMs?: number } = {}): Promise<void> {
  gateway = createGateway({
    stream,
    keys: openKeys(directory),
    metrics: new Registry(),
    isTrusted: (signal) => isSignedBy(signal, signer.publicKey),
    ...changed,
  });
  await gateway.start();
  app = Fastify({ forceCloseConnections: true });
  await app.register(gateway.plugin);
  url = `${await app.listen({ host: '127.0.0.1', port: 0 })}/v1/throttles`;
}

function issue(changed: Partial<UnsignedSignal>, by = signer): Promise<unknown> {
  const signal = by.sign(makeSignal(Date.now() * 1000, changed));
  const value = Buffer.from(JSON.stringify(signal));
  return stream.append('throttle', [{ key: signal.signal_id, value, headers: {} }]);
}

async function poll(query = '', bearer = key): Promise<{ status: number; body: Changes }> {
  const answer = await fetch(`${url}${query}`, { headers: { authorization: `Bearer ${bearer}` } });
  return { status: answer.status, body: (await answer.json()) as Changes };
}

const of = (actor: string): Partial<UnsignedSignal> => ({ scope: { actor_id: actor } });
const actors = ({ signals }: Changes): unknown[] => signals.map(({ scope }) => scope.actor_id);

/** Reads server-sent events until one of the name has come so often. */
async function readUntil(response: Response, name: string, times: number, texts: string[]): Promise<void> {
  const decoder = new TextDecoder();
  const event = `event: ${name}\n`;
  let seen = 0;
  let tail = '';
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    const text = decoder.decode(chunk, { stream: true });
    texts.push(text);
    // Only what is new is searched: a reader that takes long over its megabytes is itself cut off as a slow one.
    const fresh = tail + text;
    seen += fresh.split(event).length - 1;
    if (seen >= times) return;
    tail = fresh.slice(fresh.lastIndexOf('\n') + 1);
  }
  throw new Error(`ended early: ${texts.join('').slice(-1000)}`);
}

describe('a long poll', () => {
  it('begins with all that holds, then waits for what changes', async () => {
    await issue(of('alice'));
    const [first] = await Promise.all([poll('?wait=20&after=none')]);
    expect(first.body).toMatchObject({ reset: true });
    const place = first.body.id;
    // What was there before may reach the board after the first answer: the place tells.
    const known = actors(first.body).length > 0 ? first.body : (await poll(`?wait=20&after=${place}`)).body;
    expect(actors(known)).toEqual(['alice']);
    const waiting = poll(`?wait=20&after=${known.id}`);
    await issue(of('bob'));
    const next = await waiting;
    expect(next.body.reset).toBe(false);
    expect(actors(next.body)).toEqual(['bob']);
  });

  it('answers at once without news when it is not to wait', async () => {
    const { body } = await poll();
    expect(await poll(`?after=${body.id}`)).toMatchObject({ status: 200, body: { reset: false, signals: [] } });
  });

  it('tells a key of another tenant nothing of it', async () => {
    const other = await createKey(directory, { name: 'other', role: 'emit', tenant: 'other' });
    await app.close();
    await gateway.close();
    await serve();
    const waiting = poll(`?wait=20&after=${(await poll()).body.id}`);
    await issue(of('alice'));
    await waiting;
    expect(actors((await poll('', other.key)).body)).toEqual([]);
    expect(actors((await poll()).body)).toEqual(['alice']);
  });

  it('tells no signal of a key that is not trusted, and none is hidden by one', async () => {
    const waiting = poll(`?wait=20&after=${(await poll()).body.id}`);
    await issue({ ...of('alice'), revision: 50, block: true }, makeSigner());
    await issue(of('alice'));
    expect((await waiting).body.signals).toMatchObject([{ revision: 1, block: false }]);
    expect(gateway.status().throttles.untrusted_signals).toBe(1);
  });

  it('wants a key that may emit', async () => {
    expect((await poll('', 'mca_emit_unknown')).status).toBe(401);
    const reader = readSecretFile(keyFilePath(directory, 'read'));
    expect((await poll('', reader)).status).toBe(403);
  });
});

describe('server-sent events', () => {
  const open = (last?: string): Promise<Response> =>
    fetch(url, {
      headers: {
        authorization: `Bearer ${key}`,
        accept: 'text/event-stream',
        ...(last === undefined ? {} : { 'last-event-id': last }),
      },
    });

  it('begin with all that holds, go on with each change, and resume where a reader was', async () => {
    const texts: string[] = [];
    const response = await open();
    const reading = readUntil(response, 'signal', 2, texts);
    await issue(of('alice'));
    await issue(of('bob'));
    await reading;
    const text = texts.join('');
    expect(text.startsWith('event: reset\n')).toBe(true);
    expect(text.indexOf('alice')).toBeLessThan(text.indexOf('bob'));
    const firstId = /"actor_id":"alice"/.test(text) ? /event: signal\nid: (\S+)\n/.exec(text)?.[1] : undefined;
    const resumed: string[] = [];
    await readUntil(await open(firstId), 'ready', 1, resumed);
    expect(resumed.join('')).not.toContain('event: reset');
    expect(resumed.join('')).not.toContain('alice');
  });

  describe('of 10,000 signals', () => {
    const count = 10_000;
    let records: { key: string; value: Buffer; headers: Record<string, string> }[];
    beforeAll(() => {
      const now = Date.now() * 1000;
      records = Array.from({ length: count }, (_, at) => {
        const signal = signer.sign(makeSignal(now, of(`actor-${at}`)));
        return { key: signal.signal_id, value: Buffer.from(JSON.stringify(signal)), headers: {} };
      });
    });
    beforeEach(async () => {
      await app.close();
      await gateway.close();
      await stream.append('throttle', records);
      await serve({ slowReaderMs: 300 });
    }, 30_000);

    it('reach an emitter all, which holds them', { timeout: 30_000 }, async () => {
      const publicKeys = String(signer.publicKey.export({ type: 'spki', format: 'pem' }));
      const options = { data: directory, url: new URL(url).origin, key };
      const enforcement = new Enforcement({}, { ...options, publicKeys });
      await expect
        .poll(() => enforcement.counters, { timeout: 20_000 })
        .toMatchObject({ connected: true, signals: count });
      await issue({ ...of('actor-7'), revision: 2, state: 'lifted' });
      await expect.poll(() => enforcement.counters.signals).toBe(count - 1);
      enforcement.close();
    });

    it('cost a piece for a reader that takes none; it is cut off, and comes back to all of them', async () => {
      // Whoever is cut off may be told by an error first, and under load it is cut off before a poll looks.
      const closed = (socket: Socket): Promise<void> =>
        new Promise((resolve) => socket.on('error', () => undefined).once('close', () => resolve()));
      let mostWaiting = 0;
      const served = new Promise<void>((resolve, reject) => {
        app.server.once('connection', (socket: Socket) => {
          const write = socket.write.bind(socket) as (...words: unknown[]) => boolean;
          socket.write = (...words: unknown[]) => {
            const result = write(...words);
            mostWaiting = Math.max(mostWaiting, socket.writableLength);
            return result;
          };
          issue(of('late')).catch(reject);
          void closed(socket).then(resolve);
        });
      });
      const slow = connect(Number(new URL(url).port), '127.0.0.1');
      slow.pause();
      const cut = closed(slow);
      slow.write(
        `GET /v1/throttles HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\naccept: text/event-stream\r\n\r\n`,
      );
      await served;
      expect(mostWaiting).toBeGreaterThan(0);
      expect(mostWaiting).toBeLessThan(256 * 1024);
      await expect.poll(() => gateway.status().throttles.signals, { timeout: 20_000 }).toBe(count + 1);
      let received = '';
      slow.setEncoding('utf8').on('data', (text: string) => {
        received += text;
      });
      slow.resume();
      await cut;
      // It was told a part, and no place to come back to: so it begins anew.
      expect(received).toContain('event: signal\n');
      expect(received).not.toMatch(/^id: /m);
      // Its patience is short for everybody: one that a busy machine holds up is cut off and comes back as well.
      const comeBack = async (): Promise<number> => {
        const texts: string[] = [];
        await readUntil(await open(), 'ready', 1, texts);
        return texts.join('').split('event: signal\n').length - 1;
      };
      await expect.poll(() => comeBack().catch(String), { timeout: 30_000 }).toBe(count + 1);
    });
  });

  it('begin anew for a reader of another run', async () => {
    const texts: string[] = [];
    await readUntil(await open('another.7'), 'ready', 1, texts);
    expect(texts.join('')).toContain('event: reset');
  });
});
