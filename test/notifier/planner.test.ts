import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Alert, Level } from '../../schemas/alert.js';
import { notifierSection } from '../../schemas/notification.js';
import type { Response } from '../../schemas/response.js';
import { readSettings, type Timing } from '../../services/notifier/settings.js';
import { mutedUntil } from '../../services/notifier/stages/mute.js';
import { seededRandom } from '../traffic.js';
import { alert, response, startMs, timeText } from './alerts.js';
import { type Happening, referenceSays, type Said } from './reference.js';
import { type FarSide, simulate } from './simulation.js';

const hook = { type: 'webhook', url: 'https://example.com/in', secret_variable: 'HOOK', groups_per_minute: 3 };
const settings = readSettings(
  notifierSection.parse({
    channels: { first: hook, second: { ...hook, send_resolved: false }, third: hook },
    route: {
      channels: ['first'],
      group_by: ['rule'],
      group_wait: '10s',
      group_interval: '30s',
      repeat: { every: '1m', factor: 2, max: '4m' },
      routes: [
        { match: ['level=critical'], channels: ['second'], group_by: ['actor'], group_wait: '0s', continue: true },
        { match: ['tenant=acme'], channels: ['third'], group_by: ['actor', 'rule'], mute: ['night'], repeat: 'never' },
        { match: ['level>=high', 'rule!=r1'], channels: ['first', 'third'], group_wait: '5s' },
      ],
    },
    mute_times: { night: { zone: 'Asia/Kathmandu', times: ['daily 14:47-14:50'] } },
    inhibit: [{ source: ['level=critical'], target: ['level<=medium'], equal: ['actor'] }],
  }),
);
const muted = (route: Timing, ms: number): boolean => mutedUntil(route.mute, ms) !== undefined;
const untilMs = startMs + 420_000;
const second = fc.integer({ min: 0, max: 400 });

/** An alert's life: it fires, may change, and may end. */
const life = fc.record({
  rule: fc.constantFrom('r1', 'r2', 'r3'),
  actor: fc.constantFrom('alice', 'bob', 'carol'),
  tenant: fc.constantFrom('default', 'acme'),
  level: fc.constantFrom<Level>('low', 'medium', 'high', 'critical'),
  named: fc.constantFrom(undefined, 'third'),
  fires: second,
  changes: fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 3 }),
  ends: fc.option(fc.integer({ min: 1, max: 200 })),
});
const decision = fc.record({
  kind: fc.constantFrom<Response['kind']>('silence', 'acknowledge', 'resolve'),
  at: second,
  about: fc.nat(9),
  matchers: fc.constantFrom(['actor=alice'], ['level>=high'], ['rule=~r[12]', 'tenant!=acme']),
  lasts: fc.integer({ min: 1, max: 150 }),
});

function alertsOf(lives: readonly (typeof life extends fc.Arbitrary<infer T> ? T : never)[]): Happening<Alert>[] {
  const happenings = lives.flatMap((each, at) => {
    const record = (revision: number, state: Alert['state']) =>
      alert({
        alert_id: `alert${at}`,
        revision,
        state,
        rule_id: each.rule,
        level: each.level,
        tenant: each.tenant,
        group: { actor_id: each.actor },
        actions: each.named === undefined ? [] : [{ notify: each.named }],
      });
    const found: Happening<Alert>[] = [{ atMs: startMs + each.fires * 1_000, record: record(1, 'firing') }];
    let ms = found[0]!.atMs;
    for (const [index, later] of each.changes.entries()) {
      ms += later * 1_000;
      found.push({ atMs: ms, record: record(index + 2, 'updated') });
    }
    if (each.ends !== null)
      found.push({ atMs: ms + each.ends * 1_000, record: record(each.changes.length + 2, 'resolved') });
    return found;
  });
  return happenings.sort((left, right) => left.atMs - right.atMs);
}

function responsesOf(decisions: readonly (typeof decision extends fc.Arbitrary<infer T> ? T : never)[]) {
  return decisions
    .map(({ kind, at, about, matchers, lasts }, index): Happening<Response> => {
      const atMs = startMs + at * 1_000;
      return {
        atMs,
        record: response({
          response_id: `response${index}`,
          kind,
          at: timeText(atMs),
          ...(kind === 'silence'
            ? { matchers, starts_at: timeText(atMs), ends_at: timeText(atMs + lasts * 1_000) }
            : { target: `alert${about}` }),
        }),
      };
    })
    .sort((left, right) => left.atMs - right.atMs);
}

const byTime = (left: Said, right: Said): number =>
  left.atMs - right.atMs || (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1);
const steady: FarSide = {
  canAsk: true,
  attempt: () => ({ outcome: { kind: 'sent', reference: 'r', answer: 'ok' }, arrives: true }),
};

/** `MODEL_RUNS=5000 npx vitest run test/notifier/planner.test.ts` looks longer. */
const runs = Number(process.env.MODEL_RUNS ?? 40);

describe('the planner says what a naive reference says', () => {
  test('without faults', () => {
    fc.assert(
      fc.property(fc.array(life, { maxLength: 10 }), fc.array(decision, { maxLength: 4 }), (lives, decisions) => {
        const alerts = alertsOf(lives);
        const responses = responsesOf(decisions);
        const expected = referenceSays(settings, alerts, responses, muted, startMs, untilMs);
        const { said, duplicates } = simulate(settings, alerts, responses, {
          fromMs: startMs,
          untilMs,
          farSide: steady,
        });
        expect(said.sort(byTime)).toEqual(expected.sort(byTime));
        expect(duplicates).toBe(0);
      }),
      { numRuns: runs },
    );
  });

  test('killed between any two steps, with a far side that can be asked: the same, and nothing twice', () => {
    fc.assert(
      fc.property(
        fc.array(life, { maxLength: 8 }),
        fc.array(decision, { maxLength: 3 }),
        fc.nat(),
        (lives, decisions, seed) => {
          const alerts = alertsOf(lives);
          const responses = responsesOf(decisions);
          const expected = referenceSays(settings, alerts, responses, muted, startMs, untilMs);
          const random = seededRandom(seed);
          const kill = () => random() < 0.02;
          const { said, duplicates } = simulate(settings, alerts, responses, {
            fromMs: startMs,
            untilMs,
            farSide: steady,
            kill,
          });
          expect(said.sort(byTime)).toEqual(expected.sort(byTime));
          expect(duplicates).toBe(0);
        },
      ),
      { numRuns: runs },
    );
  });

  test('its channels taken away and given back in the middle of attempts: the same, and nothing twice', () => {
    fc.assert(
      fc.property(
        fc.array(life, { maxLength: 8 }),
        fc.array(decision, { maxLength: 3 }),
        fc.nat(),
        (lives, decisions, seed) => {
          const alerts = alertsOf(lives);
          const responses = responsesOf(decisions);
          const expected = referenceSays(settings, alerts, responses, muted, startMs, untilMs);
          const random = seededRandom(seed);
          const away = () => (random() < 0.6 ? false : random() < 0.5 ? 'before' : 'after');
          const { said, duplicates } = simulate(settings, alerts, responses, {
            fromMs: startMs,
            untilMs,
            farSide: steady,
            away,
          });
          expect(said.sort(byTime)).toEqual(expected.sort(byTime));
          expect(duplicates).toBe(0);
        },
      ),
      { numRuns: runs },
    );
  });

  test('with a far side that fails for minutes: everything is told in the end, and twice only where nobody could know', () => {
    fc.assert(
      fc.property(fc.array(life, { maxLength: 8 }), fc.nat(), fc.boolean(), (lives, seed, canAsk) => {
        // Without inhibition: what waits for its channel may be hidden by then, and is rightly not told any more.
        const alerts = alertsOf(lives.map((each) => (each.level === 'low' ? { ...each, level: 'high' } : each))).filter(
          ({ record }) => record.level !== 'medium',
        );
        const random = seededRandom(seed);
        const mendedMs = startMs + 300_000;
        const farSide: FarSide = {
          canAsk,
          attempt: (_delivery, now) => {
            const dice = now >= mendedMs ? 1 : random();
            if (dice < 0.3) return { outcome: { kind: 'unavailable', message: 'connection refused' }, arrives: false };
            if (dice < 0.4)
              return { outcome: { kind: 'rate_limited', message: '429', retryAfterMs: 20_000 }, arrives: false };
            if (dice < 0.6) return { outcome: { kind: 'ambiguous', message: 'timed out' }, arrives: random() < 0.5 };
            return { outcome: { kind: 'sent', reference: 'r', answer: 'ok' }, arrives: true };
          },
        };
        const options = { fromMs: startMs, untilMs: startMs + 900_000, farSide, kill: () => random() < 0.005 };
        const { said, duplicates, records } = simulate(settings, alerts, [], options);
        const expected = referenceSays(settings, alerts, [], muted, startMs, startMs + 900_000);
        expect(lastWords(said)).toEqual(lastWords(expected));
        if (canAsk) expect(duplicates).toBe(0);
        else expect(duplicates).toBeLessThanOrEqual(records.filter((each) => each.possible_duplicate).length);
      }),
      { numRuns: runs },
    );
  });
});

/** What each channel heard last of each alert: its revision and whether it is over. */
function lastWords(said: readonly Said[]): Record<string, string> {
  const words: Record<string, string> = {};
  for (const { channel, alerts } of [...said].sort(byTime))
    for (const each of alerts) {
      const [id, revision, over] = each.split(' ');
      // Where ends are not told, the state depends on the moment at which the one message could leave.
      words[`${channel} ${id}`] = channel === 'second' ? 'told' : `${revision} ${over}`;
    }
  return words;
}
