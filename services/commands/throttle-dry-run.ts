/**
 * Whom a dry run would have held back: the stored calls since it was issued, decided about as an emitter does. One
 * emitter is assumed, whatever number of producers serves the calls, so what is told is the limit as it reads.
 */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { type ScopeField, scopeFields, signSignal, throttledMethods, throttleKeyId } from '../../schemas/throttle.js';
import { formatTimeMicros, parseTimeMicros } from '../../schemas/time.js';
import { Throttles } from '../emitter/throttles.js';
import { askObjects } from './ask.js';
import type { Loaded } from './context.js';

/** What of a signal decides. */
export interface DryRunSignal {
  readonly signal_id: string;
  readonly tenant: string;
  readonly scope: Readonly<Record<string, string>>;
  readonly each: readonly string[];
  readonly except: readonly string[];
  readonly block: boolean;
  readonly interval_micros: string;
  readonly burst: number;
  readonly delay_ms: number;
  readonly expires_at: string;
}

export interface WouldHold {
  /** RFC 3339; calls before it are not looked at. */
  readonly since: string;
  /** Calls that the signal is about. */
  readonly calls: number;
  readonly held_calls: number;
  readonly held_actors: number;
  /** There were more calls than are looked at. */
  readonly is_cut: boolean;
}

/** Calls that are looked at: 100 bytes each. */
const mostCalls = 500_000;
const longestMicros = 24 * 3_600e6;

/** Decides about the calls since the signal was issued, or since a day ago. */
export async function wouldHold(loaded: Loaded, signal: DryRunSignal): Promise<WouldHold> {
  const { signal_id, tenant } = signal;
  const [issued] = await askObjects<{ at: string }>(loaded, {
    sql: `SELECT toString(toUnixTimestamp64Micro(min(issued_at))) AS at FROM throttle
      WHERE signal_id = {signal:String} AND revision > (SELECT max(if(state = 'lifted', revision, 0)) FROM throttle WHERE signal_id = {signal:String})`,
    parameters: { signal: signal_id },
  });
  const nowMicros = Date.now() * 1000;
  const sinceMicros = Math.max(Number(issued?.at ?? 0), nowMicros - longestMicros);
  const untilMicros = Math.min(
    nowMicros,
    parseTimeMicros(`${signal.expires_at.replace(' ', 'T').replace(/Z?$/, 'Z')}`),
  );
  const named = scopeFields.filter((field) => signal.scope[field] !== undefined);
  const calls = await askObjects<{ at: string } & Record<ScopeField, string>>(loaded, {
    sql: `SELECT toString(toUnixTimestamp64Micro(occurred_at)) AS at, ${scopeFields.join(', ')} FROM calls
      WHERE tenant = {tenant:String} AND outcome != 'throttled' AND method IN (${[...throttledMethods].map((method) => `'${method}'`).join(', ')})
        AND occurred_at BETWEEN fromUnixTimestamp64Micro(toInt64({since:String})) AND fromUnixTimestamp64Micro(toInt64({until:String}))
        ${named.map((field) => `AND ${field} = {${field}:String}`).join(' ')}
      ORDER BY occurred_at LIMIT ${mostCalls + 1}`,
    parameters: {
      tenant,
      since: String(sinceMicros),
      until: String(untilMicros),
      ...Object.fromEntries(named.map((field) => [field, signal.scope[field] as string])),
    },
  });
  const throttles = holding(signal, sinceMicros);
  const actors = new Set<string>();
  let held = 0;
  for (const call of calls.slice(0, mostCalls)) {
    if (throttles.decide(call, Number(call.at)).kind === 'pass') continue;
    held += 1;
    actors.add(call.actor_id);
  }
  return {
    since: formatTimeMicros(sinceMicros),
    calls: Math.min(calls.length, mostCalls),
    held_calls: held,
    held_actors: actors.size,
    is_cut: calls.length > mostCalls,
  };
}

/** What an emitter would hold that took the signal in earnest; it takes none that nobody signed. */
function holding(signal: DryRunSignal, sinceMicros: number): Throttles {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const keyId = throttleKeyId(createPublicKey(privateKey));
  const throttles = new Throttles();
  throttles.trust(new Map([[keyId, publicKey]]));
  const { signal_id, tenant, scope, each, except, block, interval_micros, burst, delay_ms } = signal;
  const unsigned = {
    signal_id,
    revision: 1,
    state: 'active' as const,
    origin: 'person' as const,
    tenant,
    scope,
    each: each as ScopeField[],
    except,
    block,
    interval_micros: Number(interval_micros),
    burst,
    delay_ms,
    producers: 1,
    dry_run: false,
    reason: '',
    alert_ids: [],
    rule_ids: [],
    author: '',
    author_key: '',
    issued_at: formatTimeMicros(sinceMicros),
    expires_at: formatTimeMicros(sinceMicros + longestMicros),
  };
  const refusal = throttles.take(signSignal(unsigned, privateKey, keyId), sinceMicros);
  if (refusal !== undefined) throw new Error(`the signal ${signal_id} would not be taken: ${refusal}`);
  return throttles;
}
