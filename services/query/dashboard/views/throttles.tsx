/** Throttles, in words. */
import type { ThrottleRow } from '../../api/contract.js';
import { Decide, liftOf, useMayDecide } from '../decide.js';
import { groupText, plain, Time, took } from '../text.js';

const units = { s: 1e6, m: 60e6, h: 3_600e6 } as const;

function howText({ origin, block, interval_micros, delay_ms, dry_run }: ThrottleRow): string {
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

function whoText({ scope, each }: ThrottleRow): string {
  const short = (field: string): string => field.replace(/_(id|name)$/, '');
  const parts = Object.entries(scope).map(([field, value]) => `${short(field)} ${groupText({ field: value })}`);
  return [...parts, ...each.map((field) => `each ${short(field)}`)].join(', ') || 'everybody';
}

/** Who is held back, how, and until when. */
export function Throttles({ throttles, letter }: { throttles: readonly ThrottleRow[] | undefined; letter?: string }) {
  const may = useMayDecide();
  if (throttles === undefined) return null;
  if (throttles.length === 0) return <p className="dim">Nobody.</p>;
  return throttles.map((row, index) => (
    <div className="held" key={row.signal_id}>
      <span>
        <strong className="warn-text">{howText(row)}</strong> <bdi>{whoText(row)}</bdi>
        <br />
        <span className="dim">
          <bdi>{plain(row.reason, 120)}</bdi> · until <Time at={row.expires_at} />,{' '}
          {took(Math.max(0, Date.parse(row.expires_at) - Date.now()))} left
        </span>
      </span>
      {may === true && (
        <Decide decision={liftOf([row.signal_id], index === 0 ? letter : undefined)}>
          <p>
            <bdi>{whoText(row)}</bdi>
          </p>
        </Decide>
      )}
    </div>
  ));
}
