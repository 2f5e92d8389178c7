/** What the proxy answers itself, in the server's place. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isObject } from '../messages.js';
import { errorResponse, type Refusal } from '../refusal.js';

/** The SDKs' ConnectionClosed: the server that should answer is not there. */
export const serverAwayCode = -32000;

/** Answers with a JSON body. A page that may call us may also read why it may not now. */
export function answerJson(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  body: object | string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const { origin } = request.headers;
  const cors =
    origin === undefined || (status === 403 && headers['www-authenticate'] === undefined)
      ? {}
      : {
          'access-control-allow-origin': origin,
          'access-control-expose-headers': 'retry-after, www-authenticate',
          vary: 'origin',
        };
  // What was not read of the request can't be told from the next one.
  const rest = request.complete ? {} : { connection: 'close' };
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...cors,
    ...rest,
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : text);
}

/** The ids that wait for an answer: of a request, or of the requests of a batch. */
function waitingIds(message: unknown): unknown[] {
  const isRequest = (each: unknown): boolean =>
    isObject(each) && typeof each.method === 'string' && each.id !== undefined;
  if (!Array.isArray(message)) return isRequest(message) ? [(message as { id: unknown }).id] : [];
  return message.filter(isRequest).map((each) => (each as { id: unknown }).id);
}

/** The JSON-RPC answers that the requests of a message get instead of the server's; without requests one for nobody. */
export function refusedMessage(message: unknown, refusal: Refusal): object {
  const ids = waitingIds(message);
  if (Array.isArray(message) && ids.length > 0) return ids.map((id) => errorResponse(id, refusal));
  return errorResponse(ids[0] ?? null, refusal);
}

/** HTTP's way to say it: 429 when to come back, 503 when it cannot be recorded, 200 for a tool's result. */
export function answerRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  message: unknown,
  refusal: Refusal,
): void {
  const body = refusedMessage(message, refusal);
  // A model reads a result; a client would take any other status than 200 for a failure of the transport.
  const status = refusal.code !== 429 ? 503 : refusal.asResult === true ? 200 : 429;
  const seconds = isObject(refusal.data) ? Number(refusal.data.retryAfterSeconds) : 1;
  answerJson(request, response, status, body, status === 429 ? { 'retry-after': String(seconds) } : {});
}
