/** What a message says from the store around an alert, asked of the real engine. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Alert } from '../../schemas/alert.js';
import { contextOf } from '../../services/notifier/context.js';
import type { Context } from '../../services/notifier/render/view.js';
import type { Store } from '../../services/store/store.js';
import { alert, timeText } from './alerts.js';
import { History } from './stored.js';

const spanMs = 30_000;
const dayMs = 86_400_000;
/** Recent, because the table's own retention drops what is old: yesterday at 8:00, the begin of a span. */
const spanStartMs = Math.floor(Date.now() / dayMs) * dayMs - dayMs + 8 * 3_600_000;
const lastMs = spanStartMs + 10_000;
const hostile = `it's "\\" {value0:String} %_* ;--`;

let store: Store;
let remove: () => Promise<void>;
const faults: string[] = [];

beforeAll(async () => {
  const history = new History();
  const alice = { actor_id: 'alice', actor_verified: true, server_name: 'files', tool_name: 'read_file' };
  for (let at = 0; at < 7; at++) history.call(lastMs - at * 1_000, alice);
  // After the alert's newest call: of another time. Of another tenant, another actor: of others.
  history.call(lastMs + 1, alice);
  history.call(lastMs, alice, 'acme');
  history.call(lastMs, { ...alice, actor_id: 'bob', actor_verified: false, tool_name: 'write_file' });
  for (let at = 0; at < 3; at++) history.call(spanStartMs - spanMs, alice);
  history.call(spanStartMs - 29 * spanMs, alice);
  history.call(spanStartMs - 29 * spanMs - 1, alice);
  history.call(lastMs - 2 * spanMs, { ...alice, actor_id: 'carol' });
  history.call(lastMs, { ...alice, actor_id: 'carol', actor_verified: false });
  history.call(lastMs, { ...alice, actor_id: hostile, tool_name: hostile });
  ({ store, remove } = await history.store());
});
afterAll(() => remove());
beforeEach(() => {
  faults.length = 0;
});

function ask(over: Partial<Alert> = {}, openStore: () => Promise<Store> = async () => store): Promise<Context> {
  const about = alert({ started_at: timeText(lastMs - 60_000), last_at: timeText(lastMs), ...over });
  return contextOf(about, openStore, 10_000, (error) => faults.push((error as Error).message));
}

test('the rate of thirty spans that end with the newest call, of this actor and tenant alone', async () => {
  const { series, servers, tools } = await ask();
  expect(faults).toEqual([]);
  expect(series).toEqual({
    counts: [1, ...Array<number>(27).fill(0), 3, 7],
    spanMs,
    endMs: spanStartMs + spanMs,
  });
  expect([servers, tools]).toEqual([['files'], ['read_file']]);
});

test('longer spans for a longer episode', async () => {
  const { series } = await ask({ started_at: timeText(lastMs - 3_600_000) });
  expect(series!.spanMs).toBe(300_000);
  // The call a moment before the first picture's begin is in this one.
  expect(series!.counts.reduce((sum, each) => sum + each)).toBe(12);
});

test('an actor is verified when every call of the time was; one that was not makes it a claim', async () => {
  expect((await ask()).actorVerified).toBe(true);
  expect((await ask({ group: { actor_id: 'carol' } })).actorVerified).toBe(false);
  expect((await ask({ group: { tool_name: 'read_file' } })).actorVerified).toBeUndefined();
});

test('a group’s values are values, and names that are no columns ask nothing', async () => {
  const { series, tools } = await ask({ group: { actor_id: hostile, '1=1; --': 'x' } });
  expect(faults).toEqual([]);
  expect(series!.counts.at(-1)).toBe(1);
  expect(tools).toEqual([hostile]);
});

test('nothing is known of whom nobody recorded, and without a store', async () => {
  expect(await ask({ group: { actor_id: 'nobody' } })).toEqual({});
  expect(await contextOf(alert(), undefined, 100, () => undefined)).toEqual({});
});

test('a store that fails is told of; one that is late is left behind, and neither keeps the message', async () => {
  const failing = async (): Promise<Store> => {
    throw new Error('no answer');
  };
  expect(await ask({}, failing)).toEqual({});
  expect(faults).toEqual(['no answer']);
  const never = (): Promise<Store> => new Promise(() => undefined);
  expect(await contextOf(alert(), never, 1, (error) => faults.push(String(error)))).toEqual({});
  expect(faults).toHaveLength(1);
});
