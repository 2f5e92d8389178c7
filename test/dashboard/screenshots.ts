/** `npm run screenshots`: the pictures of docs/dashboard.md, of real servers' calls and an hour of made-up ones around them. */
import { mkdirSync } from 'node:fs';
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
  const alert = await opened.anAlert();
  const shots: readonly (readonly [name: string, path: string, ready: string, scheme?: 'light', width?: number])[] = [
    ['now', '/now', '[data-live=live]'],
    ['explore', '/explore?range=1h', 'a.row'],
    ['explore-light', '/explore?range=1h', 'a.row', 'light'],
    ['call', `/calls/${call.event_id}`, '.tree'],
    ['actor', '/actors/agent-7', 'a.row'],
    ['tools-light', '/tools', '.table a', 'light'],
    ['session', `/sessions/${call.session_id}`, '.span'],
    ['alerts-light', '/alerts', 'a.alert-row', 'light'],
    ['alert', `/alerts/${alert}`, '.facts'],
    ['rules', '/rules', '.table a'],
    [
      'sql',
      `/sql?q=${encodeURIComponent('SELECT minute, sum(calls) AS calls\nFROM calls_per_minute\nGROUP BY minute\nORDER BY minute')}`,
      '.cm-content',
    ],
    ['health-light', '/health', '.facts', 'light'],
    ['alert-phone', `/alerts/${alert}`, '.facts', 'light', 400],
  ];
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
    await page.screenshot({ path: join(directory, `${name}.png`), scale: 'css' });
    console.log(`wrote docs/dashboard/${name}.png`);
  }
} finally {
  await opened.close();
}
