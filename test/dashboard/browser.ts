/** A daemon in this process that has recorded calls of real servers, and a browser that has opened its dashboard. */
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { parseConfiguration } from '../../schemas/configuration-sources.js';
import type { ProducedEvent } from '../../schemas/event.js';
import { keyFilePath, readSecretFile } from '../../services/access/keys.js';
import { startApp } from '../../services/app.js';
import { dashboardLink } from '../../services/commands/dashboard.js';
import { Caller } from '../../services/commands/demo/calls.js';
import { packageFile } from '../../services/commands/demo/sdk.js';
import build, { program } from '../build.js';

/** The system's Chromium; undefined where none is on the PATH. */
export function chromiumPath(): string | undefined {
  for (const directory of (process.env.PATH ?? '').split(delimiter))
    for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
      const path = join(directory, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // The next one.
      }
    }
  return undefined;
}

export interface Opened {
  readonly url: string;
  readonly link: string;
  readonly page: Page;
  readonly context: BrowserContext;
  /** What the console and the policy said: warnings, errors, violations. */
  readonly complaints: string[];
  /** Sends events through the gateway and waits until they are stored. */
  record(events: readonly Partial<ProducedEvent>[]): Promise<void>;
  /** Opens the page of `path` in a session that began with a fresh link. */
  signIn(path?: string): Promise<void>;
  /** A call of the filesystem's server. */
  aCall(): Promise<{ event_id: string; session_id: string }>;
  /** Id of the newest alert whose title begins so; waits for one. */
  anAlert(title?: string): Promise<string>;
  close(): Promise<void>;
}

const root = resolve(import.meta.dirname, '../..');

/** Starts the daemon, lets the demo's client call the demo's servers, and opens the dashboard. */
export async function openDashboard(executablePath: string): Promise<Opened> {
  build();
  const data = mkdtempSync(join(tmpdir(), 'mcp-auditd-dashboard-'));
  const configuration = parseConfiguration({
    flags: {
      listen: '127.0.0.1:0',
      'store.retention_days': 30,
      'query.trace_url': 'https://traces.example.com/t/{trace_id}',
    },
  });
  const app = await startApp(configuration, data, pino({ level: 'silent' }));
  const [browser] = await Promise.all([
    chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] }),
    callServers(data),
  ]);
  const keys = { read: readSecretFile(keyFilePath(data, 'read')), emit: readSecretFile(keyFilePath(data, 'emit')) };
  const newLink = async () => (await dashboardLink({ url: app.url, key: keys.read }, data, true)).url;
  const stored = async (): Promise<number> => {
    const from = new Date(Date.now() - 86_400_000).toISOString();
    const answer = await fetch(`${app.url}/api/v1/summary?from=${from}`, {
      headers: { authorization: `Bearer ${keys.read}` },
    });
    return ((await answer.json()) as { calls: number }).calls;
  };
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'dark' });
  const complaints: string[] = [];
  const page = await context.newPage();
  page.on('console', (message) => {
    // What the test asks for and is refused is told by the browser itself.
    if (['warning', 'error'].includes(message.type()) && !/status of 40[13]/.test(message.text()))
      complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== app.url) complaints.push(`asked for ${request.url()}`);
  });
  const link = await newLink();
  const signIn = async (path = '/now'): Promise<void> => {
    await page.goto('about:blank');
    await page.goto((await newLink()).replace('/#', `${path}#`));
    await page.waitForSelector('nav');
  };
  await page.goto(link);
  let counter = 0;
  return {
    url: app.url,
    link,
    page,
    context,
    complaints,
    signIn,
    async record(events) {
      const before = await stored();
      const lines = events.map((event) => {
        const tail = (++counter).toString(16).padStart(12, '0');
        const time = Date.now().toString(16).padStart(12, '0');
        const event_id = `${time.slice(0, 8)}-${time.slice(8)}-7001-9f3e-${tail}`;
        return JSON.stringify({
          event_id,
          occurred_at: new Date().toISOString(),
          method: 'tools/call',
          outcome: 'success',
          ...event,
        });
      });
      const answer = await fetch(`${app.url}/v1/events`, {
        method: 'POST',
        headers: { authorization: `Bearer ${keys.emit}`, 'content-type': 'application/x-ndjson' },
        body: lines.join('\n'),
      });
      if (!answer.ok) throw new Error(await answer.text());
      const giveUpAt = Date.now() + 60_000;
      while ((await stored()) < before + events.length) {
        if (Date.now() > giveUpAt) throw new Error('the events were not stored within a minute');
        await delay(50);
      }
    },
    async aCall() {
      const answer = await fetch(`${app.url}/api/v1/calls?filter=tool%3Dread_text_file`, {
        headers: { authorization: `Bearer ${keys.read}` },
      });
      return ((await answer.json()) as { calls: { event_id: string; session_id: string }[] }).calls[0]!;
    },
    async anAlert(title = '') {
      const giveUpAt = Date.now() + 60_000;
      for (;;) {
        const answer = await fetch(`${app.url}/api/v1/alerts?limit=200`, {
          headers: { authorization: `Bearer ${keys.read}` },
        });
        const { alerts } = (await answer.json()) as { alerts: { alert_id: string; title: string }[] };
        const found = alerts.find((each) => each.title.startsWith(title));
        if (found !== undefined) return found.alert_id;
        if (Date.now() > giveUpAt) throw new Error(`no alert ${title} within a minute`);
        await delay(100);
      }
    },
    async close() {
      await browser.close();
      await app.stop();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** The demo's calls: two official servers through `wrap`, and one audited in this process. */
async function callServers(data: string): Promise<void> {
  const files = join(data, 'files');
  mkdirSync(files);
  writeFileSync(join(files, 'report.txt'), 'Revenue rose.\n');
  const [script, flags] = [process.argv[1], [...process.execArgv]];
  process.argv[1] = program;
  process.execArgv.length = 0;
  try {
    const caller = new Caller(root, data, files, new AbortController().signal);
    const node = process.execPath;
    const server = (name: string) => packageFile(root, `@modelcontextprotocol/${name}`, 'dist/index.js');
    await Promise.all([
      caller.inProcess(),
      caller.throughWrap({ name: 'everything', command: [node, server('server-everything'), 'stdio'] }),
      caller.throughWrap({ name: 'filesystem', command: [node, server('server-filesystem'), files] }),
    ]);
  } finally {
    process.argv[1] = script!;
    process.execArgv.push(...flags);
  }
}
