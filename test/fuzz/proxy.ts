import { Agent, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { openProxy } from '../../services/emitter/proxy/proxy.js';
import { fuzzText, Random, recordsOf } from './messages.js';
import { Recorded } from './recorded.js';

/** One exchange, as it follows from its number: what is sent, what the server answers, and what must be on record. */
interface FuzzExchange {
  readonly request: Buffer;
  readonly requestHeaders: Record<string, string>;
  readonly status: number;
  readonly answerHeaders: Record<string, string>;
  /** In the pieces in which the server writes it. */
  readonly answer: readonly Buffer[];
  readonly messages: number;
  readonly records: number;
}

const inFlight = 8;

function exchangeOf(seed: number, number: number): FuzzExchange {
  const random = new Random(seed * 1_000_003 + number);
  const text = fuzzText(random);
  const requestHeaders: Record<string, string> = { 'content-type': 'application/json' };
  let records = recordsOf(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  let request = Buffer.from(text);
  const coding = random.below(20);
  if (coding === 0) {
    requestHeaders['content-encoding'] = 'gzip';
    request = gzipSync(request);
  } else if (coding === 1) {
    requestHeaders['content-encoding'] = random.of(['gzip', 'br', 'zstd', 'constructor']);
    request = Buffer.from('no such thing');
    records = 1;
  }
  if (random.below(3) === 0) requestHeaders['mcp-session-id'] = `s${random.below(5)}`;
  if (random.below(4) === 0) requestHeaders['mcp-protocol-version'] = random.of(['2025-11-25', '2026-07-28', 'x']);
  const status = random.of([200, 200, 200, 200, 202, 400, 404, 429, 500]);
  const answerHeaders: Record<string, string> = {};
  let body: Buffer;
  let messages = 1;
  const kind = random.below(10);
  if (kind < 6) {
    answerHeaders['content-type'] = 'text/event-stream';
    const events = Array.from({ length: random.below(10) }, () => eventOf(random));
    body = Buffer.concat(events.map(({ bytes }) => bytes));
    for (const event of events) records += event.records;
    messages += events.length;
  } else {
    const told = fuzzText(random);
    body = random.below(10) === 0 ? Buffer.from([0xff, 0xfe, 0, 0x7b]) : Buffer.from(told);
    messages += 1;
    if (kind < 9) {
      answerHeaders['content-type'] = random.of(['application/json', 'Application/JSON; charset=utf-8']);
      const read = body.toString();
      if (body.length > 0) records += recordsOf(read.charCodeAt(0) === 0xfeff ? read.slice(1) : read);
    } else answerHeaders['content-type'] = random.of(['text/html', 'application/x', '']);
  }
  const answer: Buffer[] = [];
  for (let start = 0; start < body.length; ) {
    const end = random.below(4) === 0 ? start + 1 + random.below(200) : body.length;
    answer.push(body.subarray(start, end));
    start = end;
  }
  return { request, requestHeaders, status, answerHeaders, answer, messages, records };
}

function eventOf(random: Random): { bytes: Buffer; records: number } {
  const lineEnd = random.of(['\n', '\n', '\r\n', '\r']);
  const type = random.of(['message', 'message', '', 'ping', 'endpointer']);
  const data = fuzzText(random).replaceAll(/[\r\n]/g, ' ');
  const lines = [
    ...(random.below(4) === 0 ? [`: ${random.of(['', 'comment', 'data: {}'])}`] : []),
    ...(random.below(3) === 0 ? [`id: ${random.below(9)}`] : []),
    ...(type === '' ? [] : [`event: ${type}`]),
    `data: ${data}`,
    ...(random.below(8) === 0 ? ['retry: 10', 'odd', ':'] : []),
  ];
  const isMessage = type === '' || type === 'message';
  const bytes = Buffer.from(`${lines.join(lineEnd)}${lineEnd}${lineEnd}`);
  return { bytes, records: isMessage && data !== '' ? recordsOf(Buffer.from(data).toString()) : 0 };
}

/**
 * Sends so many messages through the proxy, in requests and in the answers to them.
 * @returns how many passed, both ways counted.
 * @throws Error when a byte is changed, a record is missing or too many, or an exchange fails.
 */
export async function fuzzProxy(seed: number, messages: number): Promise<number> {
  const recorded = new Recorded();
  const failures: string[] = [];
  const server = createServer((request, response) => {
    const exchange = exchangeOf(seed, Number(request.headers['x-fuzz']));
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (!Buffer.concat(chunks).equals(exchange.request)) failures.push(`request ${request.headers['x-fuzz']}`);
      response.writeHead(exchange.status, exchange.answerHeaders);
      for (const piece of exchange.answer) response.write(piece);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  const proxy = await openProxy({ upstream, throttle: false, recorderOptions: recorded.options, drainMs: 1_000 });
  const agent = new Agent({ keepAlive: true });
  let passed = 0;
  let expected = 0;
  let next = 0;
  const ask = async (): Promise<void> => {
    while (passed < messages && failures.length === 0) {
      const number = next++;
      const exchange = exchangeOf(seed, number);
      const { status, body } = await send(proxy.url, agent, number, exchange);
      if (status !== exchange.status || !body.equals(Buffer.concat(exchange.answer)))
        failures.push(`answer ${number} (${status} instead of ${exchange.status}: ${body.subarray(0, 300)})`);
      passed += exchange.messages;
      expected += exchange.records;
    }
  };
  try {
    await Promise.all(Array.from({ length: inFlight }, ask));
    const { errors } = proxy.counters;
    await proxy.close();
    if (failures.length > 0) throw new Error(`seed ${seed}: proxy: bytes were changed: ${failures.join(', ')}`);
    if (errors > 0) throw new Error(`seed ${seed}: proxy: ${errors} errors of its own`);
    if (recorded.count !== expected)
      throw new Error(`seed ${seed}: proxy: ${recorded.count} records instead of ${expected}`);
    return passed;
  } finally {
    await proxy.close();
    agent.destroy();
    server.closeAllConnections();
    server.close();
    recorded.dispose();
  }
}

function send(url: string, agent: Agent, number: number, { request, requestHeaders }: FuzzExchange) {
  const headers = { ...requestHeaders, 'x-fuzz': String(number), 'content-length': request.length };
  return new Promise<{ status: number; body: Buffer }>((resolve, reject) => {
    const sent = httpRequest(url, { agent, method: 'POST', headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(request);
  });
}
