/**
 * Where this process's throttle signals come from: `GET /v1/throttles` of the gateway, server-sent events.
 *
 * States: looking (no connection; tries again with growing pauses) → connected (`ready` was heard) → looking … → closed.
 * Nothing here is on a call's path, and nothing here keeps the process alive.
 */
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { dataPaths } from '../../schemas/data-directory.js';
import { longestSignalBytes, parseSignal, publicKeysOf } from '../../schemas/throttle.js';
import { nowMicros } from './clock.js';
import { complainOnce } from './complaints.js';
import { findGateway, type GatewayOptions } from './gateway-target.js';
import type { Throttles } from './throttles.js';

export interface ThrottleSourceOptions extends GatewayOptions {
  readonly data: string;
  /** Public keys (PEM) to trust. Default: MCP_AUDITD_THROTTLE_KEYS_FILE, else `keys/throttle.pub` in the data directory. */
  readonly publicKeys?: string;
}

/** The gateway sends a comment every 15 s: three missed ones, and the connection is dead. */
const silenceMs = 45_000;
const firstPauseMs = 200;
const longestPauseMs = 5_000;
const sweepMs = 10_000;
/** Least time between two looks at the keys because of a signal that none of them signed. */
const trustAgainMs = 1_000;

export class ThrottleSource {
  readonly #options: ThrottleSourceOptions;
  readonly #throttles: Throttles;
  readonly #sweep: NodeJS.Timeout;
  #request: http.ClientRequest | undefined;
  #timer: NodeJS.Timeout | undefined;
  #place = '';
  #failures = 0;
  /** When the public keys were last read. */
  #trustedMs = 0;
  #isClosed = false;
  /** After a `reset`: the signals told since. */
  #toldAnew: Set<string> | undefined;
  /** The gateway's state is known here. */
  isConnected = false;

  constructor(throttles: Throttles, options: ThrottleSourceOptions) {
    this.#throttles = throttles;
    this.#options = options;
    this.#sweep = setInterval(() => {
      throttles.sweep(nowMicros());
      this.#trustAgain();
    }, sweepMs).unref();
    this.#connect();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweep);
    clearTimeout(this.#timer);
    this.#request?.destroy();
  }

  #connect(): void {
    let target: ReturnType<typeof findGateway>;
    try {
      this.#trust();
      target = findGateway(this.#options.data, this.#options, '/v1/throttles');
    } catch (error) {
      this.#again(error as Error);
      return;
    }
    const { url, key } = target;
    // What was told anew and not to its end is told anew again.
    this.#toldAnew = undefined;
    const headers: http.OutgoingHttpHeaders = { authorization: `Bearer ${key}`, accept: 'text/event-stream' };
    if (this.#place !== '') headers['last-event-id'] = this.#place;
    const request = (url.protocol === 'https:' ? https : http).get(url, { headers, timeout: silenceMs, agent: false });
    this.#request = request;
    request.on('socket', (socket) => socket.unref());
    request.on('timeout', () => request.destroy(new Error(`${url.origin} has been silent for ${silenceMs} ms`)));
    let hasEnded = false;
    const ended = (error: Error): void => {
      if (hasEnded) return;
      hasEnded = true;
      this.#again(error);
    };
    request.on('error', (error) => ended(new Error(`${url.origin} cannot be reached: ${error.message}`)));
    request.on('response', (response) => {
      if (response.statusCode !== 200) {
        response.resume();
        ended(new Error(`${url.origin} answered ${response.statusCode} to the question for throttle signals`));
        request.destroy();
        return;
      }
      this.#read(response);
      response.on('error', ended);
      response.on('close', () => ended(new Error(`${url.origin} ended the stream of throttle signals`)));
    });
  }

  /** Tries again after a pause that grows and is never the same for everybody. */
  #again(error: Error): void {
    if (this.#isClosed) return;
    if (this.isConnected) this.#failures = 0;
    this.isConnected = false;
    this.#throttles.disconnected(nowMicros());
    this.#failures += 1;
    // A server that starts before its daemon does so every day; one that never finds it says so once.
    if (this.#failures === 10) complainOnce('throttles', `no throttle signals: ${error.message}`);
    const pause = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(this.#failures - 1, 10));
    this.#timer = setTimeout(() => this.#connect(), pause * (0.5 + Math.random() / 2));
    this.#timer.unref();
  }

  #read(response: http.IncomingMessage): void {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      text += chunk;
      let end = text.indexOf('\n\n');
      while (end >= 0) {
        this.#event(text.slice(0, end));
        text = text.slice(end + 2);
        end = text.indexOf('\n\n');
      }
      // An event is one signal: what is longer is no gateway of ours.
      if (text.length > 2 * longestSignalBytes) response.destroy(new Error('an event that never ends'));
    });
  }

  #event(text: string): void {
    let name = '';
    let data = '';
    for (const line of text.split('\n')) {
      if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('data: ')) data = line.slice(6);
      else if (line.startsWith('id: ')) this.#place = line.slice(4);
    }
    if (name === 'reset') {
      this.#toldAnew = new Set();
    } else if (name === 'ready') {
      if (this.#toldAnew !== undefined) this.#throttles.keepOnly(this.#toldAnew);
      this.#toldAnew = undefined;
      this.isConnected = true;
      this.#failures = 0;
      this.#throttles.connected();
    } else if (name === 'signal') {
      const signal = parseSignal(Buffer.from(data));
      if (signal === undefined) return;
      this.#toldAnew?.add(signal.signal_id);
      if (this.#throttles.take(signal, nowMicros()) !== 'unknown_key') return;
      // The key may have been rotated since the file was read.
      if (performance.now() < this.#trustedMs + trustAgainMs) return;
      this.#trustAgain();
      this.#throttles.take(signal, nowMicros());
    }
  }

  #trust(): void {
    this.#trustedMs = performance.now();
    this.#throttles.trust(this.#publicKeys());
  }

  /** Follows a rotation. A file that cannot be read for now leaves the keys as they are. */
  #trustAgain(): void {
    try {
      this.#trust();
    } catch {
      // Said when there is no connection either.
    }
  }

  #publicKeys(): Map<string, KeyObject> {
    const { publicKeys, data } = this.#options;
    if (publicKeys !== undefined) return publicKeysOf(publicKeys);
    const path = process.env.MCP_AUDITD_THROTTLE_KEYS_FILE || dataPaths.throttlePublicKeys(data);
    return publicKeysOf(readFileSync(path, 'utf8'));
  }
}
