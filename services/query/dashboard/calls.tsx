/** Rows of calls, as many as there are: only what is seen is in the page. j and k move, Enter opens. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, type ReactNode, useEffect, useRef, useSyncExternalStore } from 'react';
import { Link } from 'wouter';
import type { CallRow } from '../api/contract.js';
import { isFine, Outcome, Said, Time, took } from './text.js';

const narrow = matchMedia('(max-width: 760px)');
const wall = matchMedia('(min-width: 2200px)');

function onSize(changed: () => void): () => void {
  for (const each of [narrow, wall]) each.addEventListener('change', changed);
  return () => {
    for (const each of [narrow, wall]) each.removeEventListener('change', changed);
  };
}

/**
 * Pixels of a row: two lines where the window is narrow. A rem is 15 px, on a wall 20 (style.css); asking the browser for it
 * would lay the page out each time that rows come.
 */
function useRowHeight(): number {
  return useSyncExternalStore(onSize, () => Math.round((narrow.matches ? 3.1 : 2) * (wall.matches ? 20 : 15)));
}

export function Calls({
  calls,
  empty,
  short = false,
  onEnd,
  label = 'Calls',
}: {
  calls: readonly CallRow[];
  /** What to do where there are none. */
  empty?: ReactNode;
  short?: boolean;
  onEnd?: () => void;
  label?: string;
}) {
  const holder = useRef<HTMLDivElement>(null);
  const height = useRowHeight();
  const rows = useVirtualizer({
    count: calls.length,
    getScrollElement: () => holder.current,
    estimateSize: () => height,
    overscan: 12,
    getItemKey: (index) => calls[index]!.event_id,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: every row has another height then.
  useEffect(() => rows.measure(), [height]);
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => {
    if (last >= calls.length - 20 && calls.length > 0) onEnd?.();
  }, [last, calls.length, onEnd]);
  return (
    <section
      className={short ? 'list short' : 'list'}
      ref={holder}
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by the keyboard.
      tabIndex={0}
      data-rows
    >
      <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
        {/* One block moves, and the rows flow in it: a row that stays is not touched when others come before it. */}
        <div className="rows" style={{ transform: `translateY(${items[0]?.start ?? 0}px)` }}>
          {items.map(({ index, key }) => (
            <Row key={key} call={calls[index]!} height={height} />
          ))}
        </div>
      </div>
      {calls.length === 0 && <div className="note">{empty}</div>}
    </section>
  );
}

const Row = memo(function Row({ call, height }: { call: CallRow; height: number }) {
  return (
    <Link
      href={`/calls/${encodeURIComponent(call.event_id)}`}
      className={isFine(call.outcome) ? 'row' : 'row failed'}
      style={{ height }}
    >
      <Time at={call.occurred_at} />
      <span className="who">
        <Said text={call.actor_id} most={60} none="nobody" />
      </span>
      <span className="where dim">
        <Said text={call.server_name} most={60} />
      </span>
      <span className="what">
        <Said text={call.target || call.method} most={80} />
        <span className="why">
          {' '}
          <Said text={call.error_message || call.arguments || ''} most={160} none="" />
        </span>
      </span>
      <Outcome outcome={call.outcome} />
      <span className="took">{took(call.duration_ms)}</span>
    </Link>
  );
});
