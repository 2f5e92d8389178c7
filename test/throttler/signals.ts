/** Alerts and signals for tests, and a throttler's key. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Alert, ThrottleAction } from '../../schemas/alert.js';
import {
  signalId,
  signSignal,
  type ThrottleSignal,
  throttleKeyId,
  type UnsignedSignal,
} from '../../schemas/throttle.js';
import { formatTimeMicros } from '../../schemas/time.js';

export function makeSigner(): {
  keyId: string;
  publicKey: KeyObject;
  sign: (signal: UnsignedSignal) => ThrottleSignal;
} {
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = createPublicKey(privateKey);
  const keyId = throttleKeyId(publicKey);
  return { keyId, publicKey, sign: (signal) => signSignal(signal, privateKey, keyId) };
}

export function makeAlert(
  atMicros: number,
  changed: Partial<Alert> = {},
  throttle: ThrottleAction = { rate: '1/s', ttl: '15m' },
): Alert {
  const at = formatTimeMicros(atMicros);
  return {
    alert_id: 'a1',
    revision: 1,
    state: 'firing',
    rule_id: 'volume',
    rule_version: '1',
    title: 'Many calls',
    description: '',
    level: 'high',
    tags: [],
    runbook: '',
    actions: [{ throttle }],
    dry_run: false,
    tenant: 'default',
    group: { actor_id: 'alice', tool_name: 'echo' },
    started_at: at,
    at,
    first_at: at,
    last_at: at,
    caused_at: at,
    count: 301,
    values: {},
    reason: 'count 301 ≥ 300 in 5m',
    evidence: [],
    evidence_sql: '',
    flags: [],
    ...changed,
  };
}

export function makeSignal(nowMicros: number, changed: Partial<UnsignedSignal> = {}): UnsignedSignal {
  const signal = {
    revision: 1,
    state: 'active' as const,
    origin: 'alert' as const,
    tenant: 'default',
    scope: { actor_id: 'alice' },
    each: [],
    except: [],
    block: false,
    interval_micros: 1e6,
    burst: 3,
    delay_ms: 0,
    producers: 1,
    dry_run: false,
    reason: 'Too many calls.',
    alert_ids: [],
    rule_ids: [],
    author: '',
    author_key: '',
    issued_at: formatTimeMicros(nowMicros),
    expires_at: formatTimeMicros(nowMicros + 15 * 60e6),
    ...changed,
  };
  return { signal_id: signalId(signal.tenant, signal.origin, signal.scope, signal.each), ...signal };
}
