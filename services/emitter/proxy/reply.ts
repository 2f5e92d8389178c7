/** Passes the server's answer on: recorded first, its bytes as they came. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { unrecorded } from '../refusal.js';
import { answerRefusal, refusedMessage } from './answers.js';
import { type Decoded, decode, maxParsedBytes } from './body.js';
import type { ProxyContext } from './context.js';
import type { Conversation } from './conversation.js';
import { latin1, responseHeaders } from './headers.js';
import { endWhole, type Flow, type Head, joined, Outgoing } from './outgoing.js';
import { EventStream } from './stream.js';

export interface ReplyOptions {
  readonly context: ProxyContext;
  readonly conversation: Conversation;
  readonly request: IncomingMessage;
  /** To the client. */
  readonly response: ServerResponse;
  /** There is no answer, or nothing of it has gone on. */
  failed(error: NodeJS.ErrnoException): void;
}

/** What becomes of an answer's body. */
interface AnswerBody {
  take(chunk: Buffer): void;
  /** @param trailers names and values in turn. */
  ended(trailers: readonly string[]): void;
  brokeOff(error: Error): void;
}

/** Hears the server's answer to one request. */
export class Reply implements Dispatcher.DispatchHandler {
  readonly #options: ReplyOptions;
  #controller: Dispatcher.DispatchController | undefined;
  #body: AnswerBody | undefined;
  #isAborted = false;

  constructor(options: ReplyOptions) {
    this.#options = options;
  }

  /** Whether the answer is a stream of server-sent events. */
  get isStream(): boolean {
    return this.#body instanceof EventStream;
  }

  /** Nobody wants the answer any more: the server is told by the end of the connection. */
  abort(): void {
    this.#isAborted = true;
    this.#controller?.abort(new Error('nobody waits for the answer'));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isAborted) this.abort();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    statusCode: number,
    headers: IncomingHttpHeaders,
    statusMessage = '',
  ): void {
    // 103 and its like are for one hop.
    if (statusCode < 200) return;
    const { conversation, request, response } = this.#options;
    conversation.follow(statusCode, headers);
    const head = { statusCode, statusMessage, headers: responseHeaders(latin1(controller.rawHeaders), headers) };
    const type = String(headers['content-type'] ?? '')
      .replace(/;.*/s, '')
      .trim()
      .toLowerCase();
    if (type === 'text/event-stream' && request.method !== 'HEAD')
      this.#body = this.#stream(head, headers['content-encoding'], controller);
    else if (request.method === 'POST' && /^application\/([\w.-]+\+)?json$/.test(type))
      this.#body = new JsonBody(this.#options, head, headers['content-encoding'], controller, (rest) => {
        this.#body = rest;
        if (rest === undefined) this.abort();
      });
    else
      this.#body = new OtherBody(new Outgoing(response, head, controller), () =>
        conversation.answered(statusCode, type),
      );
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#body?.take(chunk);
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    this.#body?.ended(latin1(controller.rawTrailers));
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#body !== undefined) this.#body.brokeOff(error);
    else if (!this.#isAborted) this.#options.failed(error);
  }

  #stream(head: Head, coding: string | undefined, controller: Dispatcher.DispatchController): EventStream {
    const { context, conversation, response } = this.#options;
    if (conversation.session !== undefined) conversation.session.streams += 1;
    const stream: EventStream = new EventStream({
      coding,
      flow: controller,
      to: new Outgoing(response, head, controller),
      failClosed: context.observer.failClosed,
      context: conversation,
      connection: () => conversation.connection,
      endpoint: (data) => conversation.openEndpoint(data, (text) => stream.inject(text)),
      over: (isWhole) => conversation.streamEnded(isWhole, stream.isResumable),
    });
    return stream;
  }
}

/** A JSON body is collected, observed and on record before its head goes on; one that is too large goes on unread. */
class JsonBody implements AnswerBody {
  readonly #options: ReplyOptions;
  readonly #head: Head;
  readonly #coding: string | undefined;
  readonly #flow: Flow;
  /** What follows is the matter of another; undefined: of nobody. */
  readonly #handOver: (body: OtherBody | undefined) => void;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(
    options: ReplyOptions,
    head: Head,
    coding: string | undefined,
    flow: Flow,
    handOver: (body: OtherBody | undefined) => void,
  ) {
    this.#options = options;
    this.#head = head;
    this.#coding = coding;
    this.#flow = flow;
    this.#handOver = handOver;
  }

  take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#options.context.waiting.add(chunk.length);
    if (this.#bytes > maxParsedBytes) this.#tooLarge();
  }

  ended(): void {
    this.#options.context.waiting.add(-this.#bytes);
    const body = joined(this.#chunks);
    if (this.#coding === undefined) {
      this.#whole(body, decode(body));
      return;
    }
    decode(body, this.#coding)
      .then((decoded) => this.#whole(body, decoded))
      .catch(() => {
        this.#options.context.observer.counters.errors += 1;
        this.#options.response.destroy();
      });
  }

  brokeOff(error: Error): void {
    this.#options.context.waiting.add(-this.#bytes);
    this.#options.failed(error);
  }

  #whole(body: Buffer, decoded: Decoded): void {
    const { context, conversation, response } = this.#options;
    const { statusCode } = this.#head;
    const verdict = conversation.observeAnswer(decoded, body.length === 0, statusCode);
    if (context.observer.failClosed && verdict !== undefined && 'refusal' in verdict) {
      const text = JSON.stringify(refusedMessage(conversation.message, verdict.refusal));
      response.writeHead(statusCode, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
      response.end(text);
      return;
    }
    if (!response.destroyed) endWhole(response, this.#head, body);
  }

  #tooLarge(): void {
    const { context, conversation, request, response } = this.#options;
    context.waiting.add(-this.#bytes);
    const reason = `a body of more than ${maxParsedBytes} bytes`;
    conversation.connection.invalid('server_to_client', reason, conversation);
    const errorMessage = `answered with ${reason}, which went on unread`;
    conversation.giveUp({ outcome: 'no_response', errorType: 'too_large', errorMessage });
    if (context.observer.failClosed && 'refusal' in unrecorded) {
      answerRefusal(request, response, conversation.message, unrecorded.refusal);
      this.#handOver(undefined);
    } else {
      const rest = new OtherBody(new Outgoing(response, this.#head, this.#flow), () => {});
      this.#handOver(rest);
      for (const chunk of this.#chunks) rest.take(chunk);
    }
  }
}

/** Bytes that are no message. */
class OtherBody implements AnswerBody {
  readonly #to: Outgoing;
  readonly #over: () => void;

  constructor(to: Outgoing, over: () => void) {
    this.#to = to;
    this.#over = over;
  }

  take(chunk: Buffer): void {
    this.#to.write(chunk);
  }

  ended(trailers: readonly string[]): void {
    this.#over();
    this.#to.end(trailers);
  }

  brokeOff(): void {
    this.#over();
    this.#to.breakOff();
  }
}
