/** Limits that hold without any rule, from the configuration. */
import type { z } from 'zod';
import { longestTtlMicros, type ScopeField, scopeFields, scopeNames, signalId } from '../../schemas/throttle.js';
import type { fixedLimitSchema } from '../../schemas/throttle-configuration.js';
import { limitOf, type Wish } from './wishes.js';

export type FixedLimit = z.infer<typeof fixedLimitSchema>;

/** A fixed limit is renewed in the second half of the longest time that a signal may hold. */
const renewedMicros = longestTtlMicros / 2;

/** The wishes of the fixed limits. Their end moves on in steps, so that a limit is written twice a day and not always. */
export function* limitWishes(limits: readonly FixedLimit[], nowMicros: number): Generator<Wish> {
  const step = Math.floor(nowMicros / renewedMicros);
  for (const limit of limits) {
    const each = [limit.each ?? []].flat().map((name) => scopeNames[name]);
    const scope: Partial<Record<ScopeField, string>> = {};
    for (const [name, field] of Object.entries(scopeNames) as [keyof typeof scopeNames, ScopeField][]) {
      const value = limit[name];
      if (value !== undefined) scope[field] = value;
    }
    yield {
      id: `limit/${signalId(limit.tenant, 'limit', scope, each)}`,
      origin: 'limit',
      tenant: limit.tenant,
      scope,
      each,
      limit: limitOf(limit),
      dryRun: limit.dry_run,
      reason: limit.message ?? `A fixed limit holds${describe(scope, each)}.`,
      alertId: '',
      ruleId: '',
      author: '',
      authorKey: '',
      sinceMicros: step * renewedMicros,
      untilMicros: (step + 2) * renewedMicros,
    };
  }
}

function describe(scope: Wish['scope'], each: readonly ScopeField[]): string {
  const named = scopeFields
    .filter((field) => scope[field] !== undefined)
    .map((field) => `${wordOf(field)} ${scope[field]}`);
  const every = each.map((field) => `each ${wordOf(field)}`);
  return named.length + every.length === 0 ? '' : ` for ${[...named, ...every].join(', ')}`;
}

/** As people say it: tool_name is tool. */
function wordOf(field: ScopeField): string {
  return field.replace(/_(id|name)$/, '');
}
