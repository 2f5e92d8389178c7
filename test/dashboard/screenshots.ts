/** `npm run screenshots`: the pictures of docs/dashboard.md, of real servers' calls and an hour of made-up ones around them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { generateEvents } from '../traffic.js';
import { chromiumPath, openDashboard } from './browser.js';

const directory = resolve(import.meta.dirname, '../../docs/dashboard');
const hourMs = 3_600_000;

const executable = chromiumPath();
if (executable === undefined) throw new Error('There is no Chromium on the PATH.');
mkdirSync(directory, { recursive: true });
const opened = await openDashboard(executable);
try {
  const { page, url } = opened;
  const startMs = Date.now() - hourMs;
  const events = [...generateEvents({ seed: 7, count: 4_000, startMs, spanMs: hourMs, actors: 30 })];
  for (let at = 0; at < events.length; at += 1_000) await opened.record(events.slice(at, at + 1_000));
  // A burst of one agent at one tool, for the rule of volume.
  await opened.record(
    Array.from({ length: 400 }, (_, index) => ({
      actor_id: 'agent-7',
      server_name: 'filesystem',
      tool_name: 'search_files',
      session_id: 'night-run',
      client_name: 'night-agent',
      occurred_at: new Date(Date.now() - (400 - index) * 200).toISOString(),
      duration_ms: 4 + (index % 17),
    })),
  );
  const call = await opened.aCall();
  const alert = await opened.anAlert('Very many calls by');
  const shots: readonly (readonly [name: string, path: string, ready: string, scheme?: 'light', width?: number])[] = [
    ['now', '/now', '[data-live=live]'],
    ['explore-light', '/explore?range=1h', 'a.row', 'light'],
    ['call', `/calls/${call.event_id}`, '.card pre, .tree'],
    ['alert', `/alerts/${alert}`, '.chart canvas'],
    ['alert-phone', `/alerts/${alert}`, '.chart canvas', 'light', 400],
    ['rules', '/rules', '.table a'],
    [
      'sql',
      `/sql?q=${encodeURIComponent('SELECT minute, sum(calls) AS calls\nFROM calls_per_minute\nGROUP BY minute\nORDER BY minute')}`,
      '.cm-content',
    ],
    ['health-light', '/health', '.facts', 'light'],
  ];
  const encoder = await opened.context.browser()!.newPage();
  for (const [name, path, ready, colorScheme = 'dark', width = 1440] of shots) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto(`${url}${path}`);
    await page.waitForSelector(ready);
    if (name === 'sql') await page.click('text=Run');
    if (name === 'now')
      await opened.record(events.slice(0, 40).map(({ event_id: _, occurred_at: __, ...rest }) => rest));
    await page.waitForLoadState('networkidle').catch(() => undefined);
    await page.waitForTimeout(700);
    const png = await page.screenshot({ scale: 'css' });
    const file = join(directory, `${name}.webp`);
    writeFileSync(file, Buffer.from(await encoder.evaluate(webp, png.toString('base64')), 'base64'));
    console.log(`wrote docs/dashboard/${name}.webp`);
  }
} finally {
  await opened.close();
}

/** Runs in the browser, which can write WebP: a quarter of the bytes of PNG. */
async function webp(png: string): Promise<string> {
  const { Image, document } = globalThis as never as {
    Image: new () => { src: string; width: number; height: number; decode(): Promise<void> };
    document: {
      createElement(name: 'canvas'): {
        width: number;
        height: number;
        getContext(kind: '2d'): { drawImage(image: object, x: number, y: number): void };
        toDataURL(kind: string, quality: number): string;
      };
    };
  };
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext('2d').drawImage(image, 0, 0);
  return canvas.toDataURL('image/webp', 0.9).split(',')[1]!;
}
