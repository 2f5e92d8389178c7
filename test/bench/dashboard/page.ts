/** The dashboard of a daemon in a real Chromium, as a benchmark looks at it. */
import { type Browser, chromium, type Page } from 'playwright-core';
import { dashboardLink } from '../../../services/commands/dashboard.js';
import type { Sandbox } from '../../commands/run.js';
import { chromiumPath } from '../../dashboard/browser.js';

/** undefined where no Chromium is installed. */
export async function openBrowser(): Promise<Browser | undefined> {
  const executablePath = chromiumPath();
  return executablePath === undefined
    ? undefined
    : chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}

/** Opens a view in a browser context of its own, so with nothing cached; the page has begun to load when it resolves. */
export async function openView(browser: Browser, sandbox: Sandbox, url: string, path: string): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(notes);
  const { url: link } = await dashboardLink({ url, key: sandbox.key('reader') }, sandbox.data, true);

  await page.goto(link.replace('/#', `${path}#`));
  return page;
}

/**
 * From the link to the first figures, with nothing cached, so many times; milliseconds. A browser that stands still is ended.
 * undefined where no Chromium is installed. @throws Error, naming the step, when they do not come within `limitMs` in all.
 */
export async function timeFirstFigures(
  sandbox: Sandbox,
  url: string,
  path: string,
  rounds: number,
  limitMs: number,
): Promise<number[] | undefined> {
  const times: number[] = [];
  let step = '';
  const browser = await openBrowser();
  if (browser === undefined) return undefined;
  const limit = setTimeout(() => void browser.close(), limitMs);
  try {
    for (let round = 1; round <= rounds; round++) {
      step = `the page to load, round ${round}`;
      const page = await openView(browser, sandbox, url, path);
      step = `its figures, round ${round}`;
      times.push(await untilData(page));
      await page.context().close();
    }
    return times;
  } catch (error) {
    throw new Error(`Chromium: waited in vain for ${step} (of ${rounds}, ${limitMs / 1000} s in all).`, {
      cause: error,
    });
  } finally {
    clearTimeout(limit);
    await browser.close();
  }
}

/** What happened on the page, in its own clock: milliseconds since the navigation began. */
export interface Notes {
  /** When the first figures of the view had values. */
  readonly dataMs: number | undefined;
  readonly frames: readonly number[];
  readonly longTasks: readonly number[];
}

/** The figures of the view have values. */
export async function untilData(page: Page): Promise<number> {
  await page.waitForFunction(() => (globalThis as unknown as { notes: Notes }).notes.dataMs !== undefined, null, {
    timeout: 60_000,
  });
  return page.evaluate(() => (globalThis as unknown as { notes: Notes }).notes.dataMs!);
}

/** Runs in the page. Kept as text: what a compiler adds to functions is not there. */
const notes = `
globalThis.notes = { dataMs: undefined, frames: [], longTasks: [] };
(() => {
  let last;
  const frame = (now) => {
    if (last !== undefined) notes.frames.push(now - last);
    last = now;
    if (notes.dataMs === undefined) {
      const shown = [...document.querySelectorAll('.figures .figure')].map((each) => each.textContent);
      if (shown.length > 0 && shown.every((text) => !text.includes('…'))) notes.dataMs = performance.now();
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) notes.longTasks.push(entry.duration);
  }).observe({ entryTypes: ['longtask'] });
})();
`;
