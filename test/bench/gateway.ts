import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { keyFilePath } from '../../services/access/keys.js';
import { generateEventLines } from '../traffic.js';
import { median, round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'Events the gateway accepts durably, beside a bare server that appends the same bytes.';

/** What is looked at costs: each event is parsed and checked once, of which JSON.parse alone is about 2 µs. */
const target = { ratio: 0.25, growthMiB: 64 };
const bodyEvents = 500;
const newline = Buffer.from('\n');

interface Usage {
  readonly cpuMicros: number;
  readonly rss: number;
}

class Server {
  private constructor(
    private readonly child: ChildProcess,
    private readonly data: string,
    private readonly url: string,
    private readonly agent: Agent,
  ) {}

  static async start(variant: 'ours' | 'limit', connections: number): Promise<Server> {
    const data = mkdtempSync(join(tmpdir(), 'gateway-bench-'));
    const path = fileURLToPath(new URL('./gateway/server.ts', import.meta.url));
    const child = fork(path, [variant, data], { execArgv: ['--import', 'tsx'] });
    const [{ url }] = (await once(child, 'message')) as [{ url: string }];
    return new Server(child, data, url, new Agent({ keepAlive: true, maxSockets: connections }));
  }

  async usage(): Promise<Usage> {
    this.child.send('usage');
    const [usage] = (await once(this.child, 'message')) as [Usage];
    return usage;
  }

  post(body: Buffer): Promise<void> {
    const key = keyFilePath(this.data, 'emit');
    const headers = {
      'content-type': 'application/x-ndjson',
      'content-length': body.length,
      ...(existsSync(key) ? { authorization: `Bearer ${readFileSync(key, 'utf8').trim()}` } : {}),
    };
    return new Promise((resolve, reject) => {
      const sent = request(`${this.url}/v1/events`, { method: 'POST', agent: this.agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200 && (text === '{}' || JSON.parse(text).accepted === bodyEvents)) resolve();
          else reject(new Error(`${response.statusCode} ${text.slice(0, 300)}`));
        });
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  /** Sends so many events over so many connections, each with one request at a time. */
  async send(bodies: readonly Buffer[], events: number, connections: number): Promise<void> {
    let left = Math.ceil(events / bodyEvents);
    const connection = async (): Promise<void> => {
      while (left > 0) await this.post(bodies[left-- % bodies.length] as Buffer);
    };
    await Promise.all(Array.from({ length: connections }, connection));
  }

  async stop(): Promise<void> {
    this.agent.destroy();
    this.child.kill();
    await once(this.child, 'exit');
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** Bodies as emitters send them under load, of different events. */
function makeBodies(): Buffer[] {
  const lines = [...generateEventLines({ seed: 1, count: 40 * bodyEvents })];
  return Array.from({ length: 40 }, (_, body) =>
    Buffer.concat(lines.slice(body * bodyEvents, (body + 1) * bodyEvents).flatMap((line) => [line, newline])),
  );
}

interface Measure {
  readonly eventsPerSecond: number;
  readonly cpuMicros: number;
}

async function measure(
  server: Server,
  bodies: readonly Buffer[],
  events: number,
  connections: number,
): Promise<Measure> {
  await server.send(bodies, events / 5, connections);
  const before = await server.usage();
  const start = performance.now();
  await server.send(bodies, events, connections);
  const seconds = (performance.now() - start) / 1000;
  const after = await server.usage();
  return { eventsPerSecond: events / seconds, cpuMicros: (after.cpuMicros - before.cpuMicros) / events };
}

/** Memory of the gateway's process after each twentieth of the events, in MiB. */
async function memoryOver(bodies: readonly Buffer[], events: number): Promise<number[]> {
  const server = await Server.start('ours', 16);
  const samples: number[] = [];
  for (let step = 0; step < 20; step++) {
    await server.send(bodies, events / 20, 16);
    samples.push(Math.round((await server.usage()).rss / 2 ** 20));
    process.stderr.write(
      `\rmemory: ${(step + 1) * 5} % of ${events.toLocaleString('en')} events, ${samples.at(-1)} MiB `,
    );
  }
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  await server.stop();
  return samples;
}

/** `--events` (5 million) are sent for the memory; the rates are medians of `--rounds` of `--rate-events` each. */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const events = Number(options.events ?? 5_000_000);
  const rateEvents = Number(options['rate-events'] ?? 100_000);
  const rounds = Number(options.rounds ?? 3);
  const bodies = makeBodies();
  const bytes = Math.round(bodies.reduce((sum, body) => sum + body.length, 0) / bodies.length / bodyEvents);
  const figures: Record<string, { ours: Measure[]; limit: Measure[] }> = {};
  for (const connections of [1, 16]) {
    const of = { ours: [] as Measure[], limit: [] as Measure[] };
    for (let round = 0; round < rounds; round++) {
      for (const variant of ['limit', 'ours'] as const) {
        const server = await Server.start(variant, connections);
        of[variant].push(await measure(server, bodies, rateEvents, connections));
        await server.stop();
      }
    }
    figures[connections] = of;
  }
  const memory = await memoryOver(bodies, events);
  const table = new Table({
    head: ['connections', 'events/s', 'CPU µs an event', 'limit, events/s', 'limit, CPU µs', 'ratio'],
  });
  const result: Record<string, Record<string, number>> = {};
  for (const [connections, { ours, limit }] of Object.entries(figures)) {
    const ratio = round2(median(ours.map((one, at) => one.eventsPerSecond / limit[at]!.eventsPerSecond)));
    const rate = (of: Measure[]): number => Math.round(median(of.map((one) => one.eventsPerSecond)));
    const cpu = (of: Measure[]): number => round2(median(of.map((one) => one.cpuMicros)));
    table.push([
      connections,
      rate(ours).toLocaleString('en'),
      cpu(ours),
      rate(limit).toLocaleString('en'),
      cpu(limit),
      ratio,
    ]);
    result[`connections_${connections}`] = {
      events_per_second: rate(ours),
      cpu_micros: cpu(ours),
      limit_events_per_second: rate(limit),
      limit_cpu_micros: cpu(limit),
      ratio,
    };
  }
  console.log(`bodies of ${bodyEvents} events of ${bytes} bytes, every answer after the sync`);
  console.log(table.toString());
  // The heap grows to its working size first; what counts is whether it goes on.
  const settled = memory.slice(5);
  const half = settled.length >> 1;
  const growth = median(settled.slice(-half)) - median(settled.slice(0, half));
  console.log(`memory over ${events.toLocaleString('en')} events, MiB: ${memory.join(' ')}`);
  const ratio = Math.min(...Object.values(result).map((one) => one.ratio as number));
  return {
    name: 'gateway',
    ratio,
    target: `≥ ${target.ratio} of the limit's events/s from 1 and from 16 connections; memory grows by at most ${target.growthMiB} MiB`,
    ok: ratio >= target.ratio && growth <= target.growthMiB,
    events,
    ...result,
    memory_mib: memory,
    memory_growth_mib: growth,
  };
}
