import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { longestSignalBytes, parseSignal, type UnsignedSignal } from '../../schemas/throttle.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { Enforcement } from '../../services/emitter/enforcement.js';
import { Throttles } from '../../services/emitter/throttles.js';
import { makeSignal, makeSigner } from '../throttler/signals.js';

const start = parseTimeMicros('2026-11-24T09:00:00Z');
const second = 1e6;
const signer = makeSigner();

function holding(...signals: Partial<UnsignedSignal>[]): Throttles {
  const throttles = new Throttles();
  throttles.trust(new Map([[signer.keyId, signer.publicKey]]));
  for (const changed of signals) expect(throttles.take(signer.sign(makeSignal(start, changed)), start)).toBeUndefined();
  return throttles;
}

const alice = { actor_id: 'alice', tool_name: 'echo', session_id: 's', server_name: 'e' };

describe('a hostile signal', () => {
  const day = 24 * 3_600 * second;
  const stranger = makeSigner();
  const good = () => signer.sign(makeSignal(start, { block: true }));
  test.each([
    ['of a key that is not pinned', stranger.sign(makeSignal(start, { block: true })), 'unknown_key'],
    [
      'under a pinned key’s name, signed by another',
      { ...stranger.sign(makeSignal(start)), key_id: signer.keyId },
      'forged',
    ],
    ['with another caller than was signed', { ...good(), scope: { actor_id: 'bob' } }, 'forged'],
    ['with a later end than was signed', { ...good(), expires_at: formatTimeMicros(start + day) }, 'forged'],
    ['with a signature that is none', { ...good(), signature: '!' }, 'forged'],
    ['that has run out', signer.sign(makeSignal(start - day, { expires_at: formatTimeMicros(start - 1) })), 'expired'],
    ['that ends at no time', signer.sign(makeSignal(start, { expires_at: 'never' })), 'expired'],
    ['from ten minutes ahead', signer.sign(makeSignal(start + 600 * second)), 'too_far_ahead'],
    [
      'that holds for two days',
      signer.sign(makeSignal(start, { expires_at: formatTimeMicros(start + 2 * day) })),
      'too_long',
    ],
  ] as const)('%s is refused and counted, and holds nobody back', (_name, signal, refusal) => {
    const throttles = holding();
    expect(throttles.take(signal, start)).toBe(refusal);
    expect(throttles.refusals[refusal]).toBe(1);
    expect(throttles.size).toBe(0);
    expect(throttles.decide(alice, start).kind).toBe('pass');
    // And it hides no true one, whatever revision it claims.
    expect(throttles.take({ ...signal, revision: 99 } as never, start)).not.toBeUndefined();
    expect(throttles.take(good(), start)).toBeUndefined();
    expect(throttles.decide(alice, start).kind).toBe('refuse');
  });

  it('that is told again after its lift holds nobody back, and a burst is not had twice', () => {
    const first = signer.sign(makeSignal(start));
    const throttles = holding();
    throttles.take(first, start);
    for (let call = 0; call < 3; call++) expect(throttles.decide(alice, start).kind).toBe('pass');
    throttles.take(first, start);
    expect(throttles.decide(alice, start).kind).toBe('refuse');
    throttles.take(signer.sign(makeSignal(start, { revision: 2, state: 'lifted' })), start);
    expect(throttles.take(first, start)).toBeUndefined();
    expect(throttles.decide(alice, start).kind).toBe('pass');
  });

  it('of a flood is refused beyond what an emitter holds, and those it holds go on', { timeout: 30_000 }, () => {
    const throttles = holding({ block: true });
    // The same signature under many names costs a check each, and none is kept.
    const forged = signer.sign(makeSignal(start, { scope: { actor_id: 'x' } }));
    for (let at = 0; at < 5_000; at++) throttles.take({ ...forged, signal_id: String(at) }, start);
    expect(throttles.refusals.forged).toBe(5_000);
    expect(throttles.size).toBe(1);
    expect(throttles.decide(alice, start).kind).toBe('refuse');
  });

  it('as large as a gateway sends none is no signal, and an event that never ends is cut off', async () => {
    expect(
      parseSignal(Buffer.from(JSON.stringify({ ...good(), reason: 'x'.repeat(longestSignalBytes) }))),
    ).toBeUndefined();
    let cut = 0;
    const server = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const timer = setInterval(() => response.write(`data: ${'x'.repeat(64 * 1024)}`), 1);
      response.once('close', () => {
        clearInterval(timer);
        cut += 1;
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const publicKeys = String(signer.publicKey.export({ type: 'spki', format: 'pem' }));
    const enforcement = new Enforcement(
      {},
      { data: '/nowhere', url: `http://127.0.0.1:${port}`, key: 'k', publicKeys },
    );
    // It is cut off, and asks again.
    await expect.poll(() => cut, { timeout: 10_000 }).toBeGreaterThan(1);
    expect(enforcement.counters).toMatchObject({ connected: false, signals: 0 });
    enforcement.close();
    server.closeAllConnections();
    server.close();
  });
});

describe('a rate', () => {
  it('lets a burst through, then one call an interval, and says when to come back', () => {
    const throttles = holding({});
    const kinds = (now: number) => throttles.decide(alice, now).kind;
    expect([kinds(start), kinds(start), kinds(start)]).toEqual(['pass', 'pass', 'pass']);
    expect(throttles.decide(alice, start)).toMatchObject({
      kind: 'refuse',
      retryAfterMs: 1000,
      reason: 'Too many calls.',
    });
    expect(throttles.decide(alice, start + second - 1).kind).toBe('refuse');
    expect([kinds(start + second), kinds(start + second)]).toEqual(['pass', 'refuse']);
    expect(throttles.decide({ ...alice, actor_id: 'bob' }, start).kind).toBe('pass');
  });

  it('lets through what a token bucket would, whatever the times', () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 3_000_000 }), { maxLength: 60 });
    fc.assert(
      fc.property(gaps, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 4 }), (times, burst, producers) => {
        const throttles = holding({ burst, producers });
        const own = Math.max(1, Math.floor(burst / producers));
        const interval = second * producers;
        // Whole numbers: a token is `interval` of credit.
        let credit = own * interval;
        let now = start;
        let before = start;
        for (const gap of times) {
          now += gap;
          credit = Math.min(own * interval, credit + (now - before));
          before = now;
          const passes = credit >= interval;
          if (passes) credit -= interval;
          expect(throttles.decide(alice, now).kind).toBe(passes ? 'pass' : 'refuse');
        }
      }),
    );
  });

  it('has a bucket for each value where the signal says so', () => {
    const throttles = holding({ origin: 'limit', scope: {}, each: ['actor_id'], burst: 1 });
    const of = (actor: string) => throttles.decide({ actor_id: actor }, start).kind;
    expect([of('a'), of('b'), of('a'), of('b')]).toEqual(['pass', 'pass', 'refuse', 'refuse']);
  });

  it('goes on where it was when the signal is extended', () => {
    const throttles = holding({ burst: 1 });
    expect(throttles.decide(alice, start).kind).toBe('pass');
    const longer = makeSignal(start, { burst: 1, revision: 2, expires_at: formatTimeMicros(start + 3600e6) });
    throttles.take(signer.sign(longer), start);
    expect(throttles.decide(alice, start).kind).toBe('refuse');
  });
});

describe('several signals', () => {
  it('refuse a call that any of them refuses, and count it against none', () => {
    const throttles = holding({ burst: 1 }, { scope: { tool_name: 'echo' }, burst: 2, interval_micros: 10 * second });
    expect(throttles.decide(alice, start).kind).toBe('pass');
    expect(throttles.decide(alice, start)).toMatchObject({ kind: 'refuse', retryAfterMs: 1000 });
    // The tool's second token is still there for another caller, and then it is the tool that refuses.
    expect(throttles.decide({ ...alice, actor_id: 'bob' }, start).kind).toBe('pass');
    expect(throttles.decide({ ...alice, actor_id: 'bob' }, start)).toMatchObject({
      kind: 'refuse',
      retryAfterMs: 10_000,
    });
  });

  it('delay by the longest, and a block outweighs everything', () => {
    const throttles = holding(
      { interval_micros: 0, burst: 0, delay_ms: 20 },
      { interval_micros: 0, burst: 0, delay_ms: 50, scope: { tool_name: 'echo' } },
      { block: true, scope: { session_id: 'bad' } },
    );
    expect(throttles.decide(alice, start)).toMatchObject({ kind: 'delay', delayMs: 50 });
    expect(throttles.decide({ ...alice, session_id: 'bad' }, start)).toMatchObject({
      kind: 'refuse',
      retryAfterMs: 15 * 60 * 1000,
    });
  });

  it('hold nobody back while an override is in force', () => {
    const throttles = holding(
      { block: true },
      { origin: 'override', scope: {}, interval_micros: 0, expires_at: formatTimeMicros(start + second) },
    );
    expect(throttles.decide(alice, start).kind).toBe('pass');
    expect(throttles.decide(alice, start + second).kind).toBe('refuse');
  });
});

describe('signals that cannot be had', () => {
  it('let calls pass, or refuse them after a while where that was chosen', () => {
    const open = new Throttles();
    open.disconnected(start);
    expect(open.decide(alice, start + 3600 * second).kind).toBe('pass');
    const closed = new Throttles(60 * second);
    closed.disconnected(start);
    closed.disconnected(start + 30 * second);
    expect(closed.decide(alice, start + 60 * second).kind).toBe('pass');
    expect(closed.decide(alice, start + 61 * second).kind).toBe('refuse');
    closed.connected();
    expect(closed.decide(alice, start + 61 * second).kind).toBe('pass');
  });
});

describe('a signal', () => {
  it('ends at its time, at a lift, and is not brought back by an older revision', () => {
    const throttles = holding({ block: true });
    expect(throttles.decide(alice, start + 15 * 60 * second).kind).toBe('pass');
    const lifted = holding({ block: true }, { block: true, revision: 2, state: 'lifted' });
    lifted.take(signer.sign(makeSignal(start, { block: true })), start);
    expect(lifted.decide(alice, start).kind).toBe('pass');
  });

  it('as a dry run holds nobody back, and counts whom it would have', () => {
    const throttles = holding({ dry_run: true, burst: 1 });
    for (let call = 0; call < 3; call++) expect(throttles.decide(alice, start).kind).toBe('pass');
    expect(throttles.wouldHaveHeld).toBe(2);
  });

  it('lets protected callers through', () => {
    const throttles = holding({ scope: { tool_name: 'echo' }, block: true, except: ['actor_id=alice'] });
    expect(throttles.decide(alice, start).kind).toBe('pass');
    expect(throttles.decide({ ...alice, actor_id: 'bob' }, start).kind).toBe('refuse');
  });

  it.each([
    ['forged', (signal: UnsignedSignal) => ({ ...signer.sign(signal), block: true })],
    ['unknown_key', (signal: UnsignedSignal) => makeSigner().sign(signal)],
    ['expired', (signal: UnsignedSignal) => signer.sign({ ...signal, expires_at: formatTimeMicros(start) })],
    [
      'too_far_ahead',
      (signal: UnsignedSignal) => signer.sign({ ...signal, issued_at: formatTimeMicros(start + 6 * 60 * second) }),
    ],
    [
      'too_long',
      (signal: UnsignedSignal) => signer.sign({ ...signal, expires_at: formatTimeMicros(start + 25 * 3600 * second) }),
    ],
  ] as const)('that is %s is refused and counted', (refusal, make) => {
    const throttles = holding();
    expect(throttles.take(make(makeSignal(start)), start)).toBe(refusal);
    expect(throttles.refusals[refusal]).toBe(1);
    expect(throttles.decide(alice, start).kind).toBe('pass');
  });
});
