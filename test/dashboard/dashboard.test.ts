/** The dashboard in a real Chromium, on a daemon that has recorded real servers' calls. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { chromiumPath, type Opened, openDashboard } from './browser.js';

const browser = chromiumPath();
let opened: Opened;

beforeAll(async () => {
  if (browser !== undefined) opened = await openDashboard(browser);
}, 60_000);
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
  await page.waitForSelector('a.alert-row');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-standing="firing"]');
  await page.keyboard.press('a');
  await page.keyboard.type('looked at it');
  await page.keyboard.press('Tab');
  await page.keyboard.type('Ada');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[data-standing="acknowledged"]');
  expect(await page.textContent('main')).toContain('looked at it');
});

test.skipIf(browser === undefined)('no view has said anything to the console, and none met the policy', () => {
  expect(opened.complaints).toEqual([]);
});
