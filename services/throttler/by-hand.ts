/** What people decided, from the topic `responses`. */
import type { Response } from '../../schemas/response.js';
import { longestTtlMicros, type ScopeField, scopeFields } from '../../schemas/throttle.js';
import { parseTimeMicros } from '../../schemas/time.js';
import { type Lift, limitOf, type Wish } from './wishes.js';

/**
 * The wish of a response of the kind `throttle`; one without a scope and a limit is the override.
 * @throws Error when it asks for nothing that can be done.
 */
export function wishOfResponse(response: Response): Wish {
  const { response_id, tenant, reason, author, author_key, throttle, at, ends_at } = response;
  const since = parseTimeMicros(at);
  const until = parseTimeMicros(ends_at ?? '');
  if (throttle === undefined || Number.isNaN(since) || Number.isNaN(until))
    throw new Error(`the response ${response_id} says neither what nor until when`);
  const unknown = [...Object.keys(throttle.scope), ...throttle.each].find(
    (field) => !scopeFields.includes(field as ScopeField),
  );
  if (unknown !== undefined) throw new Error(`a scope may name ${scopeFields.join(', ')}, found ${unknown}`);
  const limit = limitOf(throttle);
  if (Number.isNaN(limit.interval_micros) || Number.isNaN(limit.delay_ms))
    throw new Error(`the response ${response_id} has no rate or delay that can be read`);
  return {
    id: response_id,
    origin: throttle.override === true ? 'override' : 'person',
    tenant,
    scope: throttle.override === true ? {} : throttle.scope,
    each: throttle.each,
    limit,
    dryRun: throttle.dry_run === true,
    reason,
    alertId: '',
    ruleId: '',
    author,
    authorKey: author_key,
    sinceMicros: since,
    untilMicros: Math.min(until, since + longestTtlMicros),
  };
}

/** What a response of the kind `lift` ends: the signal that `target` names, and what asked for it until then. */
export function liftOf({ target, at, author, author_key, reason }: Response): Lift {
  const atMicros = parseTimeMicros(at);
  if (target === '' || Number.isNaN(atMicros)) throw new Error('a lift names a signal and a time');
  return { signalId: target, atMicros, author, authorKey: author_key, reason };
}
