/** 5,000 calls a second from the gateway to those who look on: is each shown, or told of as left out? */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import Table from 'cli-table3';
import { event, type Running, Sandbox } from '../commands/run.js';
import { type Notes, openBrowser, openView, untilData } from './dashboard/page.js';
import { percentile, round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description =
  'Live tail at 5,000 calls a second, to one reader, to ten, and to one who rests and reads later; and in Chromium (that alone: --only=page).';

const perSecond = 5_000;
const everyMs = 100;
/** Frames longer than this are seen as a stutter: three of a screen with 60 a second. */
const stutterMs = 50;

/** One who looks on: what it was shown, what it was told of, and how late. */
class Reader {
  shown = 0;
  toldOf = 0;
  readonly lateMs: number[] = [];
  private text = '';

  private constructor(private readonly response: IncomingMessage) {}

  static async open(url: string, key: string, rests = false): Promise<Reader> {
    const request = get(`${url}/v1/tail`, { headers: { authorization: `Bearer ${key}` } });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const reader = new Reader(response);
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => reader.take(chunk));
    if (rests) response.pause();
    response.on('error', () => undefined);
    return reader;
  }

  readOn(): void {
    this.response.resume();
  }

  close(): void {
    this.response.destroy();
  }

  private take(chunk: string): void {
    const frames = (this.text + chunk).split('\n\n');
    this.text = frames.pop()!;
    for (const frame of frames) {
      const skipped = /^event: skipped\ndata: (.*)$/.exec(frame)?.[1];
      if (skipped !== undefined) this.toldOf += (JSON.parse(skipped) as { skipped: number }).skipped;
      if (!frame.startsWith('data: ')) continue;
      this.shown++;
      if (this.shown % 50 !== 0) continue;
      this.lateMs.push(Date.now() - Date.parse((JSON.parse(frame.slice(6)) as { occurred_at: string }).occurred_at));
    }
  }
}

/** Sends for so many seconds at the pace; how many calls were accepted, and in how many seconds. */
async function send(
  sandbox: Sandbox,
  daemon: Running,
  seconds: number,
): Promise<{ sent: number; tookSeconds: number }> {
  const start = performance.now();
  const all = perSecond * seconds;
  let sent = 0;
  while (sent < all) {
    const due = Math.min(all, Math.ceil(((performance.now() - start) / 1000) * perSecond));
    if (due > sent) {
      const occurred_at = new Date().toISOString();
      const lines = Array.from({ length: Math.min(due - sent, 5_000) }, (_, index) =>
        event({
          event_id: randomUUID(),
          occurred_at,
          actor_id: `agent-${index % 40}`,
          tool_name: `tool-${index % 12}`,
        }),
      );
      sent += (await sandbox.send(daemon.url, lines)).accepted;
    }
    await delay(everyMs);
  }
  return { sent, tookSeconds: (performance.now() - start) / 1000 };
}

/** Waits until every reader knows of everything, or nothing has come for ten seconds. */
async function untilTold(readers: readonly Reader[], sent: number): Promise<void> {
  const known = () => readers.reduce((sum, { shown, toldOf }) => sum + Math.min(sent, shown + toldOf), 0);
  let last = -1;
  for (let still = 0; known() < sent * readers.length && still < 100; still = known() === last ? still + 1 : 0) {
    last = known();
    await delay(100);
  }
}

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const seconds = Number(options.seconds ?? 10);
  const sandbox = new Sandbox();
  const readers: Reader[] = [];
  try {
    // Rules would be measured as well.
    const daemon = await sandbox.up([], { MCP_AUDITD_RULES__PACK: 'false' });
    const key = sandbox.key('reader');
    const table = new Table({ head: ['readers', 'calls a second', 'shown', 'told of', 'unaccounted', 'late p95, ms'] });
    const figures: Record<string, { shown: number; told_of: number; unaccounted: number; late_p95_ms: number }> = {};
    let rate = 0;
    const crowds =
      options.only === 'page'
        ? []
        : ([
            ['one', 0, 1],
            ['ten', 0, 10],
            ['beside one who rests', 1, 1],
          ] as const);
    for (const [name, resting, quick] of crowds) {
      readers.length = 0;
      for (let each = 0; each < resting; each++) readers.push(await Reader.open(daemon.url, key, true));
      for (let each = 0; each < quick; each++) readers.push(await Reader.open(daemon.url, key));
      const { sent, tookSeconds } = await send(sandbox, daemon, seconds);
      for (const each of readers) each.readOn();
      await untilTold(readers, sent);
      rate = Math.max(rate, sent / tookSeconds);
      for (const [group, some] of [
        ['one who rests', readers.slice(0, resting)],
        [name, readers.slice(resting)],
      ] as const) {
        if (some.length === 0) continue;
        const least = some.reduce((found, each) => (each.shown < found.shown ? each : found));
        const row = {
          shown: round2(least.shown / sent),
          told_of: round2(least.toldOf / sent),
          unaccounted: Math.max(...some.map(({ shown, toldOf }) => sent - shown - toldOf)),
          late_p95_ms: percentile(
            some.flatMap(({ lateMs }) => lateMs),
            0.95,
          ),
        };
        figures[group] = row;
        table.push([group, Math.round(sent / tookSeconds), row.shown, row.told_of, row.unaccounted, row.late_p95_ms]);
      }
      for (const each of readers) each.close();
    }
    if (crowds.length > 0) console.log(table.toString());
    const page = await inChromium(sandbox, daemon, seconds);
    if (page !== undefined)
      console.log(
        `in Chromium: ${page.frames_per_second} frames a second, ${page.quiet_frames_per_second} without calls; ${page.stutters} frames longer than ${stutterMs} ms, longest task ${page.longest_task_ms} ms; its main thread is busy ${page.busy} of the time, ${page.quiet_busy} without calls; it says "${page.says}"`,
      );
    await daemon.stop();
    const unaccounted = Math.max(0, ...Object.values(figures).map((each) => each.unaccounted));
    const ratio = page === undefined ? Number.NaN : round2(page.frames_per_second / page.quiet_frames_per_second);
    return {
      name: 'live-tail',
      ratio,
      target:
        'every call shown or told of; frames a second in Chromium ≥ 0.8 of those without calls, and it says that it samples',
      ok: unaccounted === 0 && (figures.one?.shown ?? 1) === 1 && ratio >= 0.8 && page!.says !== '',
      calls_per_second: Math.round(rate),
      readers: figures,
      ...(page === undefined ? {} : { page }),
    };
  } finally {
    for (const each of readers) each.close();
    await sandbox.dispose();
  }
}

async function inChromium(sandbox: Sandbox, daemon: Running, seconds: number) {
  const browser = await openBrowser();
  if (browser === undefined) return undefined;
  try {
    const page = await openView(browser, sandbox, daemon.url, '/now');
    await untilData(page);
    await page.waitForSelector('[data-live=live]');
    const devtools = await page.context().newCDPSession(page);
    await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
    const busySeconds = async (): Promise<number> =>
      (await devtools.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')!.value;
    const notesOf = async (work: () => Promise<unknown>) => {
      const [busyBefore, start] = [await busySeconds(), performance.now()];
      await page.evaluate(() => {
        const { notes } = globalThis as unknown as { notes: { frames: number[]; longTasks: number[] } };
        notes.frames.length = 0;
        notes.longTasks.length = 0;
      });
      await work();
      const found = await page.evaluate(() => (globalThis as unknown as { notes: Notes }).notes);
      return { ...found, busy: round2((1000 * ((await busySeconds()) - busyBefore)) / (performance.now() - start)) };
    };
    const quiet = await notesOf(() => delay(3_000));
    let says = '';
    const loud = await notesOf(async () => {
      const sending = send(sandbox, daemon, seconds);
      // The page tells the rate of five seconds.
      await delay(6_000);
      says = ((await page.textContent('[data-sampled]').catch(() => '')) ?? '').trim();
      await sending;
    });
    const rateOf = ({ frames }: Notes) => round2((1000 * frames.length) / frames.reduce((sum, each) => sum + each, 0));
    return {
      frames_per_second: rateOf(loud),
      quiet_frames_per_second: rateOf(quiet),
      stutters: loud.frames.filter((each) => each > stutterMs).length,
      busy: loud.busy,
      quiet_busy: quiet.busy,
      longest_task_ms: Math.round(Math.max(0, ...loud.longTasks)),
      says,
    };
  } finally {
    await browser.close();
  }
}
