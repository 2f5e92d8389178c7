/** Passes the server's answer on: recorded first, its bytes as they came. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { unrecorded } from '../refusal.js';
import { answerRefusal, refusedMessage } from './answers.js';
import { collect, decode, maxParsedBytes } from './body.js';
import type { ProxyContext } from './context.js';
import type { Conversation } from './conversation.js';
import { responseHeaders } from './headers.js';
import { EventStream } from './stream.js';

export interface Reply {
  readonly context: ProxyContext;
  readonly conversation: Conversation;
  readonly request: IncomingMessage;
  /** To the client. */
  readonly response: ServerResponse;
  /** The server hung up before its answer was whole, and nothing of it has gone on. */
  brokeOff(): void;
}

/** @returns the stream of server-sent events that the answer is, where it is one. */
export function passAnswer(reply: Reply, answer: IncomingMessage): EventStream | undefined {
  const { conversation, request } = reply;
  const { headers, statusCode = 502 } = answer;
  answer.on('error', () => {});
  conversation.follow(answer);
  const type = (headers['content-type'] ?? '').replace(/;.*/s, '').trim().toLowerCase();
  if (type === 'text/event-stream' && request.method !== 'HEAD') return passStream(reply, answer);
  if (request.method === 'POST' && /^application\/([\w.-]+\+)?json$/.test(type)) {
    passJson(reply, answer, statusCode).catch(() => {
      reply.context.observer.counters.errors += 1;
      reply.response.destroy();
    });
    return undefined;
  }
  sendHead(reply.response, answer);
  passRest(reply.response, answer, () => conversation.answered(statusCode, type));
  return undefined;
}

async function passJson(reply: Reply, answer: IncomingMessage, statusCode: number): Promise<void> {
  const { context, conversation, request, response } = reply;
  const { failClosed } = context.observer;
  const collected = await collect(answer, context.waiting);
  if (collected === undefined) return reply.brokeOff();
  if (collected.kind === 'too_large') {
    const reason = `a body of more than ${maxParsedBytes} bytes`;
    conversation.connection.invalid('server_to_client', reason, conversation);
    const errorMessage = `answered with ${reason}, which went on unread`;
    conversation.giveUp({ outcome: 'no_response', errorType: 'too_large', errorMessage });
    if (failClosed && 'refusal' in unrecorded) {
      answer.destroy();
      answerRefusal(request, response, conversation.message, unrecorded.refusal);
      return;
    }
    sendHead(response, answer);
    for (const chunk of collected.chunks) response.write(chunk);
    return passRest(response, answer, () => {});
  }
  const body = collected.chunks.length === 1 ? collected.chunks[0]! : Buffer.concat(collected.chunks);
  const coding = answer.headers['content-encoding'];
  const decoded = coding === undefined ? decode(body) : await decode(body, coding);
  const verdict = conversation.observeAnswer(decoded, body.length === 0, statusCode);
  if (failClosed && verdict !== undefined && 'refusal' in verdict) {
    const text = JSON.stringify(refusedMessage(conversation.message, verdict.refusal));
    response.writeHead(statusCode, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
    return;
  }
  sendHead(response, answer);
  response.end(body);
}

function passStream({ context, conversation, response }: Reply, answer: IncomingMessage): EventStream {
  sendHead(response, answer);
  if (conversation.session !== undefined) conversation.session.streams += 1;
  const stream: EventStream = new EventStream({
    from: answer,
    to: response,
    failClosed: context.observer.failClosed,
    context: conversation,
    connection: () => conversation.connection,
    endpoint: (data) => conversation.openEndpoint(data, (text) => stream.inject(text)),
    ended: (isWhole) => conversation.streamEnded(isWhole, stream.isResumable),
  });
  stream.start();
  // A first event that comes with the head leaves in one packet with it.
  setImmediate(() => {
    if (!stream.hasBegun) response.flushHeaders();
  });
  return stream;
}

function sendHead(response: ServerResponse, answer: IncomingMessage): void {
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage, responseHeaders(answer));
}

/** Passes bytes on that are no message, with backpressure. */
function passRest(response: ServerResponse, answer: IncomingMessage, ended: () => void): void {
  answer.on('data', (chunk: Buffer) => {
    if (!response.write(chunk)) answer.pause();
  });
  response.on('drain', () => answer.resume());
  answer.on('end', () => {
    ended();
    response.end();
  });
  answer.on('close', () => {
    if (answer.complete) return;
    ended();
    response.destroy();
  });
  answer.resume();
}
