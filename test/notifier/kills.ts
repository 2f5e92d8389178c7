/**
 * SIGKILLs of a notifying process between every two steps of a delivery, on each channel. Each process first finishes
 * what the one before left behind, then is killed at a point that the seed chooses.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { seededRandom } from '../traffic.js';
import { MailServer } from './mail-server.js';
import { SlackStandIn } from './slack-standin.js';

const channels = ['bot', 'incoming', 'mail', 'hook'] as const;
type ChannelName = (typeof channels)[number];
const points = [
  'before:pending',
  'after:pending',
  'before:sending',
  'after:sending',
  'arrived',
  'before:sent',
  'after:sent',
] as const;

export interface KillReport {
  readonly kills: number;
  readonly alerts: number;
  /** Alerts on the stream of which no message arrived. */
  readonly lost: readonly string[];
  /** Messages of a delivery that had arrived before, by channel. */
  readonly duplicates: Readonly<Record<ChannelName, number>>;
  readonly killsByPoint: Readonly<Record<string, number>>;
}

export async function killNotifiers(options: {
  readonly seed: number;
  readonly kills: number;
  readonly progress?: (line: string) => void;
}): Promise<KillReport> {
  const { kills, progress = () => undefined } = options;
  const random = seededRandom(options.seed);
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-kills-'));
  const farSide = await FarSide.start();
  const argument = JSON.stringify({ directory, section: farSide.section(), environment: farSide.environment() });
  const killsByPoint: Record<string, number> = {};
  const raised: { readonly id: string; readonly channel: ChannelName }[] = [];
  try {
    for (let kill = 0; kill <= kills; kill++) {
      const child = new Child(argument);
      await child.line('ready');
      const before = raised.at(-1);
      if (before !== undefined) await child.line(`sent ${before.id} ${before.channel}`);
      if (kill === kills) {
        await child.end();
        break;
      }
      // Every point on every channel in turn, in an order of the seed's.
      const channel = channels[Math.floor(random() * channels.length)]!;
      const point = points[kill % points.length]!;
      const id = `alert${kill}`;
      raised.push({ id, channel });
      if (point === 'arrived') farSide.whenArrived(channel, () => child.kill());
      child.raise(id, channel, point);
      await child.died;
      killsByPoint[`${point} ${channel}`] = (killsByPoint[`${point} ${channel}`] ?? 0) + 1;
      progress(`kill ${kill + 1} of ${kills}: ${point} on ${channel}`);
    }
    const lost = raised.filter(({ id, channel }) => !farSide.has(channel, id)).map(({ id }) => id);
    return { kills, alerts: raised.length, lost, duplicates: farSide.duplicates(), killsByPoint };
  } finally {
    await farSide.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A notifying process and the lines that it writes. */
export class Child {
  private readonly child: ChildProcess;
  private readonly lines: Interface;
  private readonly seen = new Set<string>();
  private readonly waiting: (() => void)[] = [];
  private errors = '';
  readonly died: Promise<void>;

  constructor(argument: string) {
    const loader = resolve(import.meta.dirname, '../../node_modules/tsx/dist/loader.mjs');
    const script = join(import.meta.dirname, 'notifying-child.ts');
    this.child = spawn(process.execPath, ['--import', loader, script, argument], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdin!.on('error', () => undefined);
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.errors = (this.errors + chunk.toString()).slice(-4_000);
    });
    this.lines = createInterface({ input: this.child.stdout! });
    this.lines.on('line', (line) => {
      this.seen.add(line);
      for (const resolve of this.waiting.splice(0)) resolve();
    });
    this.died = once(this.child, 'close').then(() => {
      for (const resolve of this.waiting.splice(0)) resolve();
    });
  }

  /** Resolves when a line was written. */
  async line(wanted: string): Promise<void> {
    while (!this.seen.has(wanted)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`the process ended before "${wanted}": ${this.errors}`);
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  raise(id: string, channel: string, point: string): void {
    this.child.stdin!.write(`raise ${id} ${channel} ${point}\n`);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  async end(): Promise<void> {
    this.child.stdin!.end();
    await this.died;
  }
}

/** The four channels' servers. A message names its alert in the footer: `rule alert7 1`. */
class FarSide {
  private readonly hookBodies: string[] = [];
  private hookArrived: (() => void) | undefined;

  private constructor(
    private readonly slack: SlackStandIn,
    private readonly mail: MailServer,
    private readonly hook: Server,
  ) {}

  static async start(): Promise<FarSide> {
    const hook = createServer();
    const farSide = new FarSide(await SlackStandIn.start({ limitsRate: false }), await MailServer.start(), hook);
    hook.on('request', (request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        farSide.hookBodies.push(body);
        const arrived = farSide.hookArrived;
        farSide.hookArrived = undefined;
        if (arrived === undefined) response.writeHead(200).end('ok');
        else arrived();
      });
    });
    hook.listen(0, '127.0.0.1');
    await once(hook, 'listening');
    return farSide;
  }

  section(): Record<string, unknown> {
    const { port } = this.hook.address() as AddressInfo;
    return {
      channels: {
        bot: { type: 'slack', token_variable: 'TOKEN', channel: 'C0123456789', api_url: this.slack.apiUrl },
        incoming: { type: 'slack', webhook_variable: 'INCOMING' },
        mail: {
          type: 'email',
          url: `smtp://127.0.0.1:${this.mail.port}`,
          tls: 'when_offered',
          from: 'a@example.com',
          to: ['b@example.com'],
        },
        hook: { type: 'webhook', url: `http://127.0.0.1:${port}/`, secret_variable: 'SECRET' },
      },
      route: { group_wait: '0s', group_interval: '0s', group_by: ['rule'] },
      picture_wait_ms: 0,
    };
  }

  environment(): Record<string, string> {
    const secret = Buffer.from('0123456789abcdef0123456789abcdef').toString('base64');
    return { TOKEN: this.slack.options.token, INCOMING: this.slack.webhookUrl, SECRET: `whsec_${secret}` };
  }

  /** Calls back when the next message of a channel has arrived, which is then not answered. */
  whenArrived(channel: ChannelName, arrived: () => void): void {
    if (channel === 'bot') this.slack.fault('chat.postMessage', { arrived });
    else if (channel === 'incoming') this.slack.fault('webhook', { arrived });
    else if (channel === 'mail') this.mail.faults.push({ arrived });
    else this.hookArrived = arrived;
  }

  /** Ids of alerts in the order of the messages that name them. */
  private arrivals(channel: ChannelName): string[] {
    const texts =
      channel === 'bot'
        ? this.slack.of().map((message) => JSON.stringify(message.blocks))
        : channel === 'incoming'
          ? this.slack.webhookMessages.map((message) => JSON.stringify(message.blocks))
          : channel === 'mail'
            ? this.mail.mails.map(({ mail }) => mail.text ?? '')
            : this.hookBodies.map((body) => body.replace(/"rule_id":"(\w+)"/, 'rule $1 '));
    return texts.map((text) => /rule (alert\d+) /.exec(text)?.[1] ?? '');
  }

  has(channel: ChannelName, id: string): boolean {
    return this.arrivals(channel).includes(id);
  }

  duplicates(): Record<ChannelName, number> {
    const count = (channel: ChannelName): number => {
      const ids = this.arrivals(channel);
      return ids.length - new Set(ids).size;
    };
    return { bot: count('bot'), incoming: count('incoming'), mail: count('mail'), hook: count('hook') };
  }

  async stop(): Promise<void> {
    await this.slack.stop();
    await this.mail.stop();
    this.hook.closeAllConnections();
    this.hook.close();
    await once(this.hook, 'close');
  }
}
