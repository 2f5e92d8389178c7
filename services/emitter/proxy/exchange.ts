import type { IncomingMessage, ServerResponse } from 'node:http';
import type { CallEnd } from '../recorder.js';
import type { Refusal } from '../refusal.js';
import { answerJson, answerRefusal, refusedMessage, serverAwayCode } from './answers.js';
import { type Denial, isCaller } from './auth.js';
import { BodyTooLarge, collect, decode, hasBody, maxParsedBytes, readRest, takeWhole } from './body.js';
import type { ProxyContext } from './context.js';
import { Conversation } from './conversation.js';
import { requestHeaders } from './headers.js';
import { originRefusal } from './origin.js';
import { joined } from './outgoing.js';
import { Reply } from './reply.js';

/** One HTTP request: let in, its body read and on record, refused, held or forwarded; what answers it is passed on. */
export class Exchange {
  readonly #context: ProxyContext;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #conversation: Conversation;
  #reply: Reply | undefined;
  #hasLeft = false;

  constructor(context: ProxyContext, request: IncomingMessage, response: ServerResponse) {
    this.#context = context;
    this.#request = request;
    this.#response = response;
    this.#conversation = new Conversation(context, request);
  }

  async run(): Promise<void> {
    const { authenticator, rules } = this.#context;
    const conversation = this.#conversation;
    const { method, headers } = this.#request;
    this.#response.on('close', () => {
      if (!this.#response.writableFinished) this.#left();
    });
    const foreign = originRefusal(rules, headers.host, headers.origin);
    if (foreign !== undefined) return this.#turnAway(403, 'origin_refused', foreign);
    if (authenticator !== undefined) {
      const document = method === 'GET' ? authenticator.document?.(conversation.path.replace(/\?.*/s, '')) : undefined;
      if (document !== undefined) {
        const open = { 'cache-control': 'max-age=300', 'access-control-allow-origin': '*' };
        return answerJson(this.#request, this.#response, 200, document, open);
      }
      // A preflight bears no credentials and does nothing.
      if (method !== 'OPTIONS') {
        const result = authenticator.authenticate(headers);
        const found = result instanceof Promise ? await result : result;
        if (!isCaller(found)) return this.#deny(found);
        conversation.caller = found;
      }
    }
    if (!conversation.join()) return this.#turnAway(404, 'session_of_another', 'Session not found');
    if (method === 'POST') await this.#post();
    else this.#forward(undefined, []);
  }

  async #post(): Promise<void> {
    const { waiting, maxBodyBytes, observer } = this.#context;
    const conversation = this.#conversation;
    if (waiting.isFull) return this.#turnAway(503, 'too_many_bodies', 'The proxy holds as many bodies as it may.');
    if (Number(conversation.header('content-length') ?? 0) > maxBodyBytes) return this.#tooLarge();
    // The parser goes on meanwhile, and then a small body is there.
    await undefined;
    const collected = takeWhole(this.#request) ?? (await collect(this.#request, waiting));
    if (collected === undefined || this.#hasLeft) return;
    if (collected.kind === 'too_large') {
      const reason = `a body of more than ${maxParsedBytes} bytes`;
      conversation.connection.invalid('client_to_server', reason, conversation);
      conversation.connection.commit();
      return observer.failClosed ? this.#tooLarge() : this.#forward(undefined, collected.chunks);
    }
    const body = joined(collected.chunks);
    const coding = conversation.header('content-encoding');
    const decoded = coding === undefined ? decode(body) : await decode(body, coding);
    if (this.#hasLeft) return;
    const verdict = conversation.observeRequest(decoded);
    conversation.connection.commit();
    if (verdict === undefined) return this.#forward(body, []);
    if ('refusal' in verdict) return this.#refuse(verdict.refusal);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, verdict.delayMs);
      this.#response.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
    if (!this.#hasLeft) this.#forward(body, []);
  }

  /** A server of 2024-11-05 answers on its stream, and so do we; its client takes a status for a broken transport. */
  #refuse(refusal: Refusal): void {
    const { message, session } = this.#conversation;
    if (session?.inject !== undefined) {
      const answers = [refusedMessage(message, refusal)].flat();
      const text = answers.map((each) => `event: message\ndata: ${JSON.stringify(each)}\n\n`).join('');
      if (session.inject(text)) {
        this.#response.writeHead(202, { 'content-type': 'text/plain', 'content-length': 8 });
        this.#response.end('Accepted');
        return;
      }
    }
    answerRefusal(this.#request, this.#response, message, refusal);
  }

  /** @param body the whole of it, or undefined: `first` was read of it, and the rest is passed on as it comes. */
  #forward(body: Buffer | undefined, first: readonly Buffer[]): void {
    const { upstream, withoutHeaders, maxBodyBytes } = this.#context;
    const conversation = this.#conversation;
    const request = this.#request;
    const headers = requestHeaders(request, upstream.host, withoutHeaders, body?.length);
    const reply = new Reply({
      context: this.#context,
      conversation,
      request,
      response: this.#response,
      failed: (error) => this.#failed(error),
    });
    this.#reply = reply;
    const rest = hasBody(request) ? readRest(request, first, maxBodyBytes) : null;
    upstream.send({ method: request.method!, path: conversation.path, headers, body: body ?? rest }, reply);
    // A stream on which nobody waits for an answer does not hold up the end of the proxy.
    if (request.method === 'GET') this.#keepUntilClosing(reply);
  }

  #keepUntilClosing(reply: Reply): void {
    const { streams } = this.#context;
    const end = (): void => {
      if (reply.isStream) reply.abort();
    };
    streams.add(end);
    this.#response.once('close', () => streams.delete(end));
  }

  /** The client hung up: nobody waits for the answer, and the server is told so. */
  #left(): void {
    this.#hasLeft = true;
    this.#conversation.left(this.#reply?.isStream === true);
    this.#reply?.abort();
  }

  /** There is no answer: the request can't be sent, the server is away, or it hung up in the middle. */
  #failed(error: NodeJS.ErrnoException): void {
    if (this.#hasLeft || this.#response.headersSent) return;
    if (error instanceof BodyTooLarge) {
      this.#tooLarge();
      return;
    }
    const { code, message } = error;
    if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
      const errorMessage = 'a path or a header that cannot be forwarded';
      this.#conversation.giveUp({ outcome: 'protocol_error', errorType: 'invalid_request', errorMessage });
      this.#turnAway(400, 'invalid_request', errorMessage);
      return;
    }
    const reason = code === undefined || message.includes(code) ? message : `${message} (${code})`;
    this.#conversation.giveUp({
      outcome: 'no_response',
      errorType: 'upstream_unreachable',
      errorCode: serverAwayCode,
      errorMessage: reason,
    });
    const refusal = { code: serverAwayCode, message: `The MCP server behind this proxy does not answer: ${reason}` };
    answerJson(this.#request, this.#response, 502, refusedMessage(this.#conversation.message, refusal));
  }

  #tooLarge(): void {
    this.#turnAway(413, 'too_large', `A body may have ${this.#context.maxBodyBytes} bytes here.`);
  }

  /** Answers what is not let in, and records it. */
  #turnAway(status: number, errorType: string, message: string): void {
    this.#record({ outcome: 'denied', errorType, errorCode: status, errorMessage: message });
    // -32001 is what the SDKs answer for a session that is not there.
    const code = status === 404 ? -32001 : status === 503 ? serverAwayCode : -32600;
    const body = { jsonrpc: '2.0', id: null, error: { code, message } };
    answerJson(this.#request, this.#response, status, body, status === 503 ? { 'retry-after': '1' } : {});
  }

  #deny(denial: Denial): void {
    const { status, error, description } = denial;
    const errorType = error || 'unauthenticated';
    this.#record({ outcome: 'denied', errorType, errorCode: status, errorMessage: description });
    const headers =
      status === 503
        ? { 'retry-after': '5' }
        : { 'www-authenticate': this.#context.authenticator?.challenge(denial) ?? 'Bearer' };
    const body = { error: errorType, error_description: description };
    answerJson(this.#request, this.#response, status, body, headers);
  }

  /** What was turned away before a message of it was read: who it was from, and what for. */
  #record(end: CallEnd): void {
    const { observer, server } = this.#context;
    const { recorder } = observer;
    const attributes = {
      http_method: this.#request.method ?? '',
      http_path: this.#conversation.path.replace(/\?.*/s, ''),
      client_address: this.#request.socket.remoteAddress ?? '',
    };
    const fields = { transport: 'http', server_name: server.name, server_version: server.version };
    const call = recorder.begin({ method: 'http/request', common: [recorder.common(fields)], attributes });
    recorder.end(call, end);
    recorder.commit();
  }
}
