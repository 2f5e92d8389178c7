/** Throttles in words. */
import type { ThrottleRow } from '../../api/contract.js';
import { plain } from '../text.js';

const units = { s: 1e6, m: 60e6, h: 3_600e6 } as const;

export function howText({ origin, block, interval_micros, delay_ms, dry_run }: ThrottleRow): string {
  if (origin === 'override') return 'nobody';
  const counts = Object.entries(units).map(([unit, micros]) => [unit, micros / Math.max(1, interval_micros)] as const);
  const [unit, calls] = counts.find(([, count]) => count >= 1 && Number.isInteger(count)) ?? counts.at(-1)!;
  const parts = [
    block ? 'blocked' : '',
    interval_micros > 0 ? `${Math.round(calls * 100) / 100}/${unit}` : '',
    delay_ms > 0 ? `+${delay_ms} ms` : '',
  ];
  return `${parts.filter((part) => part !== '').join(', ')}${dry_run ? ' (dry run)' : ''}`;
}

export function whoText({ scope, each }: ThrottleRow): string {
  const parts = Object.entries(scope).map(
    ([field, value]) => `${field.replace(/_(id|name)$/, '')} ${plain(value, 60)}`,
  );
  return [...parts, ...each.map((field) => `each ${field.replace(/_(id|name)$/, '')}`)].join(', ') || 'everybody';
}
