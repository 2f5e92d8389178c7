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
    // What was before it opened.
    await page.waitForSelector('a.row');
    await record([{ tool_name: 'seen_live', outcome: 'tool_error' }]);
    await page.waitForSelector('a.row:has-text("seen_live")');
    // And what was while nobody looked.
    const show = (hidden: boolean) =>
      page.evaluate(`Object.defineProperty(document, 'hidden', { configurable: true, value: ${hidden} });
        document.dispatchEvent(new Event('visibilitychange'))`);
    await show(true);
    await page.waitForSelector('[data-live="connecting"]');
    await record([{ tool_name: 'seen_later' }]);
    await show(false);
    await page.waitForSelector('a.row:has-text("seen_later")');
    expect(await page.locator('a.row:has-text("seen_live")').count()).toBe(1);
    // More of them than are fetched: the list begins anew, and says what is not in it.
    await show(true);
    await page.waitForSelector('[data-live="connecting"]');
    const sinceMs = Date.now();
    const occurredAt = (at: number) => new Date(sinceMs + at).toISOString();
    await record(Array.from({ length: 130 }, (_, at) => ({ tool_name: `away_${at}`, occurred_at: occurredAt(at) })));
    await show(false);
    const missed = page.locator('[data-missed]');
    expect(await missed.textContent()).toMatch(/\d+ more while you were away/);
    expect(await missed.getAttribute('href')).toMatch(/explore\?.*range=\d+\.\.\d+/);
    const again = await opened.context.newPage();
    await opened.context.clearCookies();
    await again.goto(opened.link);
    expect(await again.textContent('[role=alert]')).toContain('used already');
    await again.close();
    await opened.signIn();
  },
);

test.skipIf(browser === undefined)('its files travel packed to who can unpack them, and are kept', async () => {
  const page = await (await fetch(`${opened.url}/now`)).text();
  const script = `${opened.url}${/src="([^"]+\.js)"/.exec(page)![1]}`;
  const bare = await (await fetch(script, { headers: { 'accept-encoding': 'identity' } })).text();
  for (const [accepted, encoding] of [
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip, br;q=0', 'gzip'],
    ['identity', null],
  ] as const) {
    const answer = await fetch(script, { headers: { 'accept-encoding': accepted } });
    expect(answer.headers.get('content-encoding'), accepted).toBe(encoding);
    expect(answer.headers.get('cache-control')).toContain('immutable');
    expect((await answer.text()) === bare).toBe(true);
  }
});

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

test.skipIf(browser === undefined)('a silence is made and ended, and who is held back is let through', async () => {
  const { page, url } = opened;
  const decide = async (button: string) => {
    const dialog = page.locator('dialog[open]');
    await dialog.locator('textarea').fill('for the test');
    await dialog.locator('input[name=author]').fill('Ada');
    await dialog.locator(`button:text-is("${button}")`).click();
    await dialog.waitFor({ state: 'detached' });
  };
  const cookie = (await opened.context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
  // A page that is opened before it is stored looks again some seconds later only.
  const isStored = async (path: string, text: string) => {
    while (!(await (await fetch(`${url}/api/v1${path}`, { headers: { cookie } })).text()).includes(text))
      await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await page.goto(`${url}/alerts/${await opened.anAlert()}`);
  await page.click('[data-key=s]');
  await decide('Silence');
  await isStored('/silences', 'for the test');
  await page.goto(`${url}/alerts`);
  const silence = page.locator('.held:has-text("for the test")');
  await silence.locator('button').first().click();
  await decide('End');
  await silence.waitFor({ state: 'detached' });
  const made = await fetch(`${url}/api/v1/responses`, {
    method: 'POST',
    headers: { cookie, origin: url, 'content-type': 'application/json' },
    body: JSON.stringify({
      kind: 'throttle',
      throttle: { scope: { actor_id: 'mallory' }, rate: '1/m' },
      ends_at: new Date(Date.now() + 3_600_000).toISOString(),
      author: 'Ada',
    }),
  });
  expect([made.status, await made.text()]).toMatchObject([201, expect.stringContaining('response_id')]);
  await isStored('/throttles', 'mallory');
  await page.goto(`${url}/now`);
  const held = page.locator('.held:has-text("mallory")');
  await held.locator('button').first().click();
  await decide('Lift');
  await held.waitFor({ state: 'detached' });
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
  'axe finds nothing serious in any view, dark or light, and at 400 pixels none is wider than the window',
  async () => {
    const { page, url } = opened;
    const found: string[] = [];
    const call = await opened.aCall();
    const axeFinds = async (path: string, options: axe.RunOptions): Promise<void> => {
      const { violations } = await page.evaluate(
        (how) => (globalThis as unknown as { axe: typeof axe }).axe.run(how as never),
        { resultTypes: ['violations'], ...options } as never,
      );
      for (const { id, impact, nodes } of violations)
        if (impact === 'serious' || impact === 'critical')
          found.push(`${path} ${id}: ${nodes.slice(0, 2).map(({ html }) => html.slice(0, 160))}`);
    };
    for (const [path, ready] of [
      ...views,
      [`/calls/${call.event_id}`, '.tree'],
      [`/sessions/${call.session_id}`, 'a.span'],
      [`/alerts/${await opened.anAlert()}`, '.legend button'],
    ] as const) {
      await page.emulateMedia({ colorScheme: 'dark' });
      await page.goto(`${url}${path}`);
      await page.waitForSelector(ready);
      await page.evaluate(axe.source);
      await axeFinds(path, {});
      // Another scheme changes the colours and nothing else.
      await page.emulateMedia({ colorScheme: 'light' });
      await axeFinds(`${path} light`, { runOnly: ['color-contrast'] });
      await page.setViewportSize({ width: 400, height: 860 });
      const width = await page.evaluate<number>('document.documentElement.scrollWidth');
      if (width > 400) found.push(`${path} is ${width} wide`);
      await page.setViewportSize({ width: 1440, height: 900 });
    }
    expect(found).toEqual([]);
  },
  240_000,
);

test.skipIf(browser === undefined)(
  'every view is reached, walked and opened with keys, and what has the focus shows it',
  async () => {
    const { page, url } = opened;
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    await page.goto(`${url}/health`);
    await page.waitForSelector('.facts');
    await page.keyboard.press('?');
    await page.waitForSelector('dialog[open] kbd');
    await page.keyboard.press('Escape');
    await page.waitForSelector('dialog[open]', { state: 'detached' });
    for (const [key, name, opens] of [
      ['e', 'Explore', '/calls/'],
      ['c', 'Actors', '/actors/'],
      ['t', 'Tools', '/tools/'],
      ['s', 'Sessions', '/sessions/'],
      ['r', 'Rules', '/rules/'],
    ] as const) {
      await page.keyboard.press('g');
      await page.keyboard.press(key);
      await page.waitForSelector(`h1:text-is("${name}")`);
      await page.waitForSelector('a.row, .table td:first-child a');
      await page.keyboard.press('j');
      await page.keyboard.press('j');
      await page.keyboard.press('k');
      const outline = await page.evaluate<string>('getComputedStyle(document.activeElement).outlineStyle');
      expect(outline, name).toBe('solid');
      await page.keyboard.press('Enter');
      await page.waitForURL((address) => address.pathname.startsWith(opens));
    }
    const motion = await page.evaluate(() => {
      const { document, getComputedStyle } = globalThis as never as {
        document: { createElement(name: string): never; body: { append(...each: unknown[]): void } };
        getComputedStyle(each: unknown): { animationName: string };
      };
      const [outer, inner] = ['div', 'i'].map((name) => document.createElement(name)) as never as [
        { className: string; append(each: unknown): void; remove(): void },
        unknown,
      ];
      outer.className = 'waiting';
      outer.append(inner);
      document.body.append(outer);
      const { animationName } = getComputedStyle(inner);
      outer.remove();
      return animationName;
    });
    expect(motion).toBe('none');
  },
);

test.skipIf(browser === undefined)(
  'a chart is heard, read as a table, and a range of it is chosen with keys; the address then says which',
  async () => {
    const { page, url } = opened;
    await page.goto(`${url}/explore?range=1h&by=outcome`);
    await page.waitForSelector('.chart canvas');
    expect(await page.getAttribute('.chart', 'aria-label')).toMatch(
      /Calls over time by outcome.*success: from 0 to \d/,
    );
    await page.click('.legend button');
    const rows = await page.getAttribute('section[aria-label$="as a table"] table', 'aria-rowcount');
    expect(Number(rows)).toBeGreaterThan(100);
    await page.focus('.chart');
    for (const key of ['End', 'Shift+ArrowLeft', 'Shift+ArrowLeft']) await page.keyboard.press(key);
    expect(await page.textContent('.legend .at time')).toMatch(/\d\d:\d\d/);
    await page.keyboard.press('Enter');
    await page.waitForURL(/range=\d+\.\.\d+/);
    await page.goto(`${url}/explore?range=6h`);
    await page.waitForSelector('[data-range="6h"]');
    await page.keyboard.press('y');
    await page.waitForSelector('.told:has-text("copied")');
    expect(page.url()).toMatch(/range=\d+\.\.\d+/);
  },
);

test.skipIf(browser === undefined)(
  'a chart of 100,000 points, and as many rows, of which few are in the page',
  async () => {
    const { page, url } = opened;
    const sql = "SELECT toDateTime('2026-01-01', 'UTC') + number AS at, number % 97 AS value FROM numbers(100000)";
    await page.goto(`${url}/sql?q=${encodeURIComponent(sql)}`);
    await page.waitForSelector('.cm-content');
    await page.click('text=Run');
    await page.waitForSelector('.chart canvas');
    expect(await page.getAttribute('section[aria-label=Rows] table', 'aria-rowcount')).toBe('100001');
    expect(await page.locator('section[aria-label=Rows] tr').count()).toBeLessThan(200);
    await page.evaluate("document.querySelector('section[aria-label=Rows]').scrollTop = 1e9");
    await page.waitForSelector('tr[aria-rowindex="100001"]');
  },
);

test.skipIf(browser === undefined)('a call leads to its trace, here and where traces are kept', async () => {
  const { page, url, record } = opened;
  const trace_id = '0af7651916cd43dd8448eb211c80319c';
  const event_id = '01890a5d-ac96-774b-bcce-b302099a8057';
  await record([{ event_id, tool_name: 'traced', trace_id }]);
  await page.goto(`${url}/calls/${event_id}`);
  const link = page.locator('a[data-key=x]');
  expect(await link.getAttribute('href')).toBe(`https://traces.example.com/t/${trace_id}`);
  expect(await link.textContent()).toContain('traces.example.com');
  await page.keyboard.press('r');
  await page.waitForSelector('a.row:has-text("traced")');
});

test.skipIf(browser === undefined)(
  'a result is shown as what it is: text, what was hidden, and a picture once asked for',
  async () => {
    const { page, url } = opened;
    const data = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
    const picture = { type: 'image', mimeType: 'image/png', data };
    await opened.record([
      {
        tool_name: 'rendered',
        trace_id: 'ab'.repeat(16),
        redactions: ['result.content.0.text:github_token'],
        result: JSON.stringify({
          content: [{ type: 'text', text: 'first\n[redacted]' }, picture, { ...picture, mimeType: 'image/svg+xml' }],
        }),
      },
    ]);
    await page.goto(`${url}/explore?range=15m&filter=tool%3Drendered`);
    await page.click('a.row');
    await page.waitForSelector('text=hidden in it: github_token');
    expect(await page.locator('main img').count()).toBe(0);
    await page.click('text=Show the picture');
    await page.waitForSelector('main img');
    expect(await page.locator('text=Show the picture').count()).toBe(0);
    await page.click('text=Its trace');
    await page.waitForURL(/trace_id/);
  },
);

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
    await page.click('text=Which tools has nobody used for 30 days?');
    expect(await page.textContent('.cm-content')).toContain('FROM tools');
    await page.click('text=Run');
    await page.waitForSelector('text=/[0-9]+ rows? in [0-9]+ ms/');
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
