/** The dashboard in a real Chromium, on a daemon that has recorded real servers' calls. */
import axe from 'axe-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chromiumPath, type Opened, openDashboard } from './browser.js';

const browser = chromiumPath();
let opened: Opened;

beforeAll(async () => {
  if (browser !== undefined) opened = await openDashboard(browser);
}, 180_000);
afterAll(() => opened?.close());

test.skipIf(browser === undefined)(
  'the link of `up` opens the dashboard once, and what happens is seen live',
  async () => {
    const { page, record } = opened;
    await page.waitForSelector('[data-live="live"]');
    await record([{ tool_name: 'seen_live', outcome: 'tool_error' }]);
    await page.waitForSelector('a.row:has-text("seen_live")');
    const again = await opened.context.newPage();
    await opened.context.clearCookies();
    await again.goto(opened.link);
    expect(await again.textContent('[role=alert]')).toContain('used already');
    await again.close();
    await opened.signIn();
  },
);

test.skipIf(browser === undefined)('an alert is acknowledged with the keyboard alone', async () => {
  const { page } = opened;
  await page.goto(`${opened.url}/now`);
  await page.waitForSelector('[data-live]');
  await page.keyboard.press('g');
  await page.keyboard.press('a');
  await page.waitForSelector('h1:has-text("Alerts")');
  await page.waitForSelector('a.alert-row');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-key=a]');
  await page.keyboard.press('a');
  await page.keyboard.type('looked at it');
  await page.keyboard.press('Tab');
  await page.keyboard.type('Ada');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-standing="acknowledged"]');
  expect(await page.textContent('main')).toContain('looked at it');
});

/** Addresses of views, each with something that is there once it has its data. */
const views: readonly (readonly [path: string, ready: string])[] = [
  ['/now', 'figure'],
  ['/explore?range=1h', 'a.row'],
  ['/explore?range=1h&by=outcome&filter=outcome!=success', 'a.row'],
  ['/actors', '.table a'],
  ['/actors/agent-7', 'a.row'],
  ['/tools', '.table a'],
  ['/sessions', '.table a'],
  ['/alerts', 'a.alert-row'],
  ['/rules', '.table a'],
  ['/rules/destructive-without-approval', '.said'],
  ['/sql', '.cm-content'],
  ['/health', '.facts'],
];

test.skipIf(browser === undefined)(
  'axe finds nothing serious in any view',
  async () => {
    const { page, url } = opened;
    const found: string[] = [];
    const call = await opened.aCall();
    for (const [path, ready] of [
      ...views,
      [`/calls/${call.event_id}`, '.tree'],
      [`/sessions/${call.session_id}`, '.span'],
    ] as const) {
      for (const colorScheme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme });
        if (colorScheme === 'dark') await page.goto(`${url}${path}`);
        await page.waitForSelector(ready);
        await page.evaluate(axe.source);
        const { violations } = await page.evaluate(() =>
          (globalThis as unknown as { axe: typeof axe }).axe.run({ resultTypes: ['violations'] } as never),
        );
        for (const { id, impact, nodes } of violations)
          if (impact === 'serious' || impact === 'critical')
            found.push(
              `${path} ${colorScheme} ${id}: ${nodes
                .map(({ html }) => html.slice(0, 160))
                .slice(0, 2)
                .join(' ')}`,
            );
      }
    }
    expect(found).toEqual([]);
  },
  120_000,
);

test.skipIf(browser === undefined)('at 400 pixels no view is wider than the window', async () => {
  const { page, url } = opened;
  await page.setViewportSize({ width: 400, height: 860 });
  const wide: string[] = [];
  for (const [path, ready] of views) {
    await page.goto(`${url}${path}`);
    await page.waitForSelector(ready);
    const width = await page.evaluate<number>('document.documentElement.scrollWidth');
    if (width > 400) wide.push(`${path}: ${width}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  expect(wide).toEqual([]);
});

test.skipIf(browser === undefined)('events that mean harm are shown and do nothing', async () => {
  const { page, url } = opened;
  const markup = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>';
  const turned = '\u202egpj.exe\u0007';
  await opened.record([
    {
      tool_name: markup,
      actor_id: markup,
      server_name: `"><svg onload=window.harmed=1>`,
      session_id: markup,
      error_message: markup,
      outcome: 'tool_error',
      arguments: JSON.stringify({ [markup]: markup, [turned]: turned, __proto__: 1 }),
      result: '{"content": "not closed',
    },
    {
      tool_name: turned,
      actor_id: 'javascript:window.harmed=1',
      arguments: JSON.stringify({ long: 'x'.repeat(1_000_000) }),
    },
    {
      tool_name: '{{window.harmed=1}}',
      client_name: markup,
      arguments: JSON.stringify(Array.from({ length: 20_000 }, (_, index) => index)),
    },
  ]);
  const shown: string[] = [];
  for (const path of [
    '/now',
    '/explore?range=15m',
    '/actors?range=1h',
    '/tools?range=1h',
    '/sessions?range=1h',
    `/actors/${encodeURIComponent(markup)}`,
    `/sessions/${encodeURIComponent(markup)}`,
  ]) {
    await page.goto(`${url}${path}`);
    await page.waitForSelector('bdi');
    await page.waitForTimeout(150);
    shown.push((await page.textContent('main')) ?? '');
  }
  for (const filter of ['actor~onerror', 'actor~javascript', 'client~onerror']) {
    await page.goto(`${url}/explore?range=15m&filter=${encodeURIComponent(filter)}`);
    await page.waitForSelector('a.row');
    await page.click('a.row');
    await page.waitForSelector('.tree, .card pre');
    const text = (await page.textContent('main')) ?? '';
    expect(text.length).toBeLessThan(60_000);
    shown.push(text);
  }
  expect(shown.join('\n')).toContain('<img src=x onerror=');
  expect(shown.join('\n')).toContain('⟨U+202E⟩');
  expect(await page.evaluate(() => (globalThis as { harmed?: number }).harmed)).toBeUndefined();
  expect(await page.evaluate('document.querySelectorAll("main img, main script").length')).toBe(0);
});

test.skipIf(browser === undefined)(
  'SQL is run with the keyboard, drawn over time, and refused with the reason',
  async () => {
    const { page, url } = opened;
    await page.goto(
      `${url}/sql?q=${encodeURIComponent('SELECT minute, sum(calls) AS calls FROM calls_per_minute GROUP BY minute')}`,
    );
    await page.waitForSelector('.cm-content');
    await page.keyboard.press('/');
    await page.keyboard.press('Control+Enter');
    await page.waitForSelector('section[aria-label=Rows] td');
    await page.goto(`${url}/sql?q=${encodeURIComponent("SELECT * FROM file('/etc/passwd')")}`);
    await page.waitForSelector('.cm-content');
    await page.click('text=Run');
    expect(await page.textContent('[role=alert]')).toContain('file');
  },
);

test.skipIf(browser === undefined)('what changes something must come from the dashboard itself', async () => {
  const cookie = (await opened.context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  const ask = (headers: Record<string, string>, method = 'POST') =>
    fetch(`${opened.url}/api/v1/responses`, {
      method,
      headers: { cookie, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ kind: 'acknowledge', target: 'none' }),
    });
  expect((await ask({ origin: 'http://127.0.0.1:1' })).status).toBe(403);
  expect((await ask({ 'sec-fetch-site': 'same-site' })).status).toBe(403);
  expect((await ask({ origin: opened.url })).status).toBe(201);
  expect(
    (await fetch(`${opened.url}/api/v1/session`, { headers: { cookie: `${cookie.slice(0, -2)}xx` } })).status,
  ).toBe(401);
});

test.skipIf(browser === undefined)('no view has said anything to the console, and none met the policy', () => {
  expect(opened.complaints).toEqual([]);
});
