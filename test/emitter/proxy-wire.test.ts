/** What goes over the wire on both sides, byte by byte: attacks on the framing, and what one hop may not hand on. */

import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { openProxy, type RunningProxy } from '../../services/emitter/proxy/proxy.js';
import { Recording } from './recording.js';

vi.mock('../../services/emitter/recorder.js', async () => {
  const { Recording } = await import('./recording.js');
  return { Recorder: Recording };
});

const call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}';
const answer = '{"jsonrpc":"2.0","id":1,"result":{}}';
const answered = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`;
const head = 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n';
const framed = `Content-Length: ${call.length}\r\n\r\n${call}`;
const chunked = `${call.length.toString(16)}\r\n${call}\r\n0\r\n`;

let server: Server;
let proxy: RunningProxy;
/** What the server was sent on all of its connections, and what it answers to each message that is whole. */
let seen = '';
let told: string[] = [];
beforeAll(async () => {
  server = createServer((socket) => {
    let unread = '';
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      seen += bytes.toString('latin1');
      unread += bytes.toString('latin1');
      if (!/\}$|\r\n0\r\n\r\n$/.test(unread)) return;
      const id = /"id":\d/.exec(unread)?.[0] ?? '';
      unread = '';
      socket.write(told.shift() ?? answered.replace('"id":1', id), 'latin1');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  proxy = await openProxy({ upstream, throttle: false, drainMs: 200 });
});
afterAll(async () => {
  await proxy.close();
  server.close();
});

/** Sends bytes, and takes the answer until it holds the text or the proxy hangs up. */
function talk(bytes: string, until: string, ...answers: string[]): Promise<string> {
  seen = '';
  told = answers;
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(proxy.url).port), '127.0.0.1', () => socket.write(bytes, 'latin1'));
    let got = '';
    socket.on('error', reject);
    socket.on('close', () => resolve(got));
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1');
      if (got.includes(until)) socket.destroy();
    });
  });
}

it.each([
  ['two ways of framing', `${head}Content-Length: ${call.length}\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}\r\n`],
  ['two lengths', `${head}Content-Length: 5\r\n${framed}`],
  ['a transfer coding that is none', `${head}Transfer-Encoding: xchunked\r\n\r\n${call}`],
  ['a transfer coding behind chunked', `${head}Transfer-Encoding: chunked, identity\r\n\r\n${chunked}\r\n`],
  ['a folded header', `${head}X-Fold: a\r\n b: c\r\n${framed}`],
  ['a space before the colon', `${head}${framed.replace(':', ' :')}`],
  ['bare line feeds', `${head}${framed}`.replaceAll('\r', '')],
  ['a carriage return within a value', `${head}X-A: a\rX-B: b\r\n${framed}`],
  ['a zero byte within a value', `${head}X-A: a\0b\r\n${framed}`],
])('%s: refused before the server sees a byte', async (_name, bytes) => {
  expect(await talk(bytes, '\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
  expect(seen).toBe('');
});

it('hands on one Host, one framing and nothing of the client’s own hop', async () => {
  const hop =
    'Connection: x-mine, content-length, host\r\nX-Mine: 1\r\nTE: trailers\r\nProxy-Connection: a\r\nUpgrade: b\r\n';
  expect(await talk(`${head}Host: evil.example\r\n${hop}${framed}`, answer)).toContain('200 OK');
  expect(seen.split('\r\n').map((line) => line.replace(/:.*/, '').toLowerCase())).toEqual([
    'post /mcp http/1.1',
    'host',
    'connection',
    'content-type',
    'via',
    'x-forwarded-for',
    'x-forwarded-proto',
    'x-forwarded-host',
    'content-length',
    '',
    call.replace(/:.*/, '').toLowerCase(),
  ]);
  expect(seen).not.toContain('evil');
  const announced = `${head}Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n${chunked}X-T: 1\r\n\r\n`;
  expect(await talk(announced, answer)).toContain('200 OK');
  expect(seen).toMatch(new RegExp(`content-length: ${call.length}\r\n\r\n`));
  expect(seen.toLowerCase()).not.toMatch(/trailer|x-t:|transfer-encoding/);
});

it('passes bodies of other methods on, and answers with trailers', async () => {
  const told =
    'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n2\r\nhi\r\n0\r\nx-t: v\r\n\r\n';
  const got = await talk(
    `DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}\r\n`,
    'x-t: v\r\n',
    told,
  );
  expect(got).toMatch(/transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: v\r\n/i);
  expect(seen).toContain(`\r\ntransfer-encoding: chunked\r\n\r\n${call.length.toString(16)}\r\n${call}\r\n0\r\n\r\n`);
});

it('answers requests that came in one packet in their order', async () => {
  const second = answer.replace('"id":1', '"id":2');
  const got = await talk(`${head}${framed}${head}${framed.replace('"id":1', '"id":2')}`, second);
  expect(got.match(/"id":\d/g)).toEqual(['"id":1', '"id":2']);
});

it('a second answer that nobody asked for is not the next one’s', async () => {
  const evil = answered.replace('"result":{}', '"result":[]');
  expect(await talk(`${head}${framed}`, answer, answered + evil)).toContain('"result":{}');
  expect(await talk(`${head}${framed}`, answer)).toContain('"result":{}');
});

it.each([
  ['is not HTTP', 'hello\r\n\r\n'],
  ['switches protocols', 'HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'],
  ['splits a header', answered.replace('\r\n', '\r\nx-a: 1\rset-cookie: a\r\n')],
  ['is framed twice', answered.replace('\r\n', '\r\ntransfer-encoding: chunked\r\n')],
])('an answer that %s is a 502, on record', async (_name, bad) => {
  const before = Recording.latest().of('tools/call').length;
  expect(await talk(`${head}${framed}`, '"error"', bad)).toMatch(/^HTTP\/1\.1 502 /);
  expect(Recording.latest().of('tools/call').slice(before)).toMatchObject([
    { outcome: 'no_response', error_type: 'upstream_unreachable' },
  ]);
});
