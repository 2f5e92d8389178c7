import { createHash } from 'node:crypto';
import { isObject, type JsonObject, textOf } from './messages.js';

/** An expected round costs about 200 bytes; 10,000 of them are 2 MB. The oldest is forgotten: its retry has no parent. */
const maxExpectedRounds = 10_000;

/**
 * Joins the requests of one multi-round-trip call (2026-07-28): a result `input_required` names what is missing, and
 * the client asks again with `inputResponses` and the echoed `requestState`. No connection need join the two, so what
 * is expected is kept for the whole server. A retry is known by its requestState; where the server gave none, by the
 * actor, the target and the names of the inputs, which two equal calls of one actor at the same time could confuse.
 */
export class Rounds {
  readonly #expected = new Map<string, string>();

  /** The event id of the first round of which this request is a further one, else ''. */
  parentOf(actorId: string, method: string, params: JsonObject): string {
    if (this.#expected.size === 0 || (params.requestState === undefined && !isObject(params.inputResponses))) return '';
    return this.#expected.get(keyOf(actorId, method, params, params.inputResponses, params.requestState)) ?? '';
  }

  /** Notes that the call, whose first event is `firstEventId`, was answered with `result`, an input_required. */
  expect(actorId: string, method: string, params: JsonObject, result: JsonObject, firstEventId: string): void {
    const key = keyOf(actorId, method, params, result.inputRequests, result.requestState);
    if (this.#expected.size >= maxExpectedRounds) {
      for (const oldest of this.#expected.keys()) {
        this.#expected.delete(oldest);
        break;
      }
    }
    this.#expected.set(key, firstEventId);
  }
}

function keyOf(actorId: string, method: string, params: JsonObject, inputs: unknown, requestState: unknown): string {
  const target = textOf(params.name) || textOf(params.uri);
  const round = typeof requestState === 'string' ? requestState : isObject(inputs) ? Object.keys(inputs).sort() : [];
  return createHash('sha256')
    .update(JSON.stringify([actorId, method, target, round]))
    .digest('base64url')
    .slice(0, 22);
}
