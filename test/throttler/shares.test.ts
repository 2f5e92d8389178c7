/**
 * One actor's limit over a thousand producers: the real counting of producers and the real decision of each emitter, with
 * simulated time. A new count reaches the emitters 250 ms after the call that changed it.
 */
import { expect, test } from 'vitest';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { Throttles } from '../../services/emitter/throttles.js';
import { ProducerCounts } from '../../services/throttler/producers.js';
import { seededRandom } from '../traffic.js';
import { makeSignal, makeSigner } from './signals.js';

const start = parseTimeMicros('2026-11-24T09:00:00Z');
const producers = 1_000;
const rate = 100;
const burst = 50;
const callsPerSecond = 3_000;
const delayMicros = 250_000;
const scope = { actor_id: 'alice' };

interface Outcome {
  /** Calls that passed in the first two seconds, while the shares were found. */
  readonly first: number;
  /** Calls that passed a second, from then on. */
  readonly perSecond: number;
}

/** @param pick which producer serves a call, from a number in [0, 1). */
function simulate(seconds: number, seed: number, pick: (at: number) => number): Outcome {
  const random = seededRandom(seed);
  const signer = makeSigner();
  const emitters = Array.from({ length: producers }, () => {
    const throttles = new Throttles();
    throttles.trust(new Map([[signer.keyId, signer.publicKey]]));
    return throttles;
  });
  const counts = new ProducerCounts();
  let revision = 0;
  const share = (nowMicros: number, sharing: number): void => {
    revision += 1;
    const signal = signer.sign(
      makeSignal(start, {
        scope,
        revision,
        interval_micros: 1e6 / rate,
        burst,
        producers: sharing,
        issued_at: formatTimeMicros(nowMicros),
      }),
    );
    for (const emitter of emitters) emitter.take(signal, nowMicros);
    counts.watch([signal]);
  };
  share(start, 1);
  const signalId = makeSignal(start, { scope }).signal_id;
  let first = 0;
  let later = 0;
  let told = 1;
  let tellAt = Number.POSITIVE_INFINITY;
  for (let call = 0; call < callsPerSecond * seconds; call++) {
    const now = start + Math.round((call * 1e6) / callsPerSecond);
    if (now >= tellAt) {
      tellAt = Number.POSITIVE_INFINITY;
      told = counts.count(signalId);
      share(now, told);
    }
    const at = pick(random());
    // A refused call is on record as well, and counts its producer.
    if (counts.call({ ...scope, producer_id: String(at) }, now / 1000) && tellAt === Number.POSITIVE_INFINITY)
      tellAt = now + delayMicros;
    if (emitters[at]!.decide(scope, now).kind !== 'pass') continue;
    if (now < start + 2e6) first += 1;
    else later += 1;
  }
  return { first, perSecond: later / (seconds - 2) };
}

const everywhere = (at: number): number => Math.floor(at * producers);
const mostlyTen = (at: number): number =>
  at < 0.9 ? Math.floor((at / 0.9) * 10) : Math.floor(((at - 0.9) / 0.1) * producers);

test.each([
  ['evenly', everywhere, 32, 0.95],
  // Whoever is served by few of them has their shares only: less than the limit, and never more.
  ['nine calls of ten at ten of them', mostlyTen, 10, 0.5],
])('an actor that calls 1,000 producers %s keeps one limit', { timeout: 60_000 }, (_name, pick, seconds, least) => {
  const seed = Number(process.env.MCP_AUDITD_SEED ?? 20261124);
  const { first, perSecond } = simulate(seconds, seed, pick);
  console.log(`seed ${seed}: ${first} calls in the first 2 s, then ${perSecond.toFixed(1)} a second of ${rate}`);
  // What came before the shares were known, then one call of each producer, and what the rate gives.
  expect(first).toBeLessThanOrEqual((callsPerSecond * delayMicros) / 1e6 + producers + 2 * rate);
  // Shares are full at most once each.
  expect(perSecond).toBeLessThanOrEqual(rate + producers / (seconds - 2));
  expect(perSecond).toBeGreaterThanOrEqual(rate * least);
});
