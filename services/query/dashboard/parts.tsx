/** What several views are made of: heads, ranges, filters, figures, tables of calls. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { ToggleGroup } from 'radix-ui';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { Link, useLocation } from 'wouter';
import type { CallRow } from '../api/contract.js';
import { type Address, ranges } from './address.js';
import { Problem } from './ask.js';
import { isFine, Outcome, plain, Said, Time, took } from './text.js';

export function Head({ title, sub, children }: { title: ReactNode; sub?: ReactNode; children?: ReactNode }) {
  return (
    <div className="head">
      <div>
        <h1>{title}</h1>
        {sub !== undefined && <div className="sub">{sub}</div>}
      </div>
      {children}
    </div>
  );
}

export function Range({ address }: { address: Address }) {
  return (
    <ToggleGroup.Root
      type="single"
      className="group"
      aria-label="Time range"
      value={address.range}
      onValueChange={(range) => range !== '' && address.set({ range })}
    >
      {Object.keys(ranges).map((name) => (
        <ToggleGroup.Item key={name} value={name}>
          {name}
        </ToggleGroup.Item>
      ))}
      {address.range.includes('..') && <ToggleGroup.Item value={address.range}>chosen</ToggleGroup.Item>}
    </ToggleGroup.Root>
  );
}

export function Filters({
  address,
  placeholder = 'Filter: tool=read_file, outcome!=success, arguments~passwd',
}: {
  address: Address;
  placeholder?: string;
}) {
  const [text, setText] = useState('');
  return (
    <div className="filters">
      {address.filters.map((filter) => (
        <span className="chip" key={filter}>
          <bdi>{plain(filter, 120)}</bdi>
          <button
            type="button"
            aria-label={`Remove the filter ${plain(filter, 60)}`}
            onClick={() => address.set({ filter: address.filters.filter((each) => each !== filter) })}
          >
            ×
          </button>
        </span>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() === '') return;
          const filter = /[=~<>]/.test(text) ? text.trim() : `arguments~${text.trim()}`;
          address.set({ filter: [...address.filters, filter] });
          setText('');
        }}
      >
        <input
          type="text"
          data-search
          aria-label="Add a filter"
          placeholder={placeholder}
          value={text}
          spellCheck={false}
          autoComplete="off"
          onChange={(event) => setText(event.target.value)}
        />
      </form>
    </div>
  );
}

export function Figure({
  name,
  value,
  unit,
  bad = false,
}: {
  name: string;
  value: ReactNode;
  unit?: string;
  bad?: boolean;
}) {
  return (
    <div className={bad ? 'figure bad' : 'figure'}>
      <b>
        {value}
        {unit !== undefined && <small>{unit}</small>}
      </b>
      <span>{name}</span>
    </div>
  );
}

export function Trouble({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  return (
    <div className="problem" role="alert">
      <strong>{plain((error as Error).message, 600)}</strong>
      {error instanceof Problem && <div className="dim">{error.mend}</div>}
    </div>
  );
}

export function Panel({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className="panel">
      <header>
        <h2>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

/** Rows of calls, as many as there are: only what is seen is in the page. j and k move, Enter opens. */
export function Calls({
  calls,
  short = false,
  onEnd,
  label = 'Calls',
}: {
  calls: readonly CallRow[];
  short?: boolean;
  onEnd?: () => void;
  label?: string;
}) {
  const holder = useRef<HTMLDivElement>(null);
  const [, go] = useLocation();
  const rows = useVirtualizer({
    count: calls.length,
    getScrollElement: () => holder.current,
    estimateSize: () => 32,
    overscan: 12,
    getItemKey: (index) => calls[index]!.event_id,
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  useEffect(() => {
    if (last >= calls.length - 20 && calls.length > 0) onEnd?.();
  }, [last, calls.length, onEnd]);
  const move = (event: React.KeyboardEvent): void => {
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || event.metaKey || event.ctrlKey || event.altKey) return;
    const links = [...(holder.current?.querySelectorAll<HTMLAnchorElement>('a.row') ?? [])].sort(
      (a, b) => Number(a.dataset.index) - Number(b.dataset.index),
    );
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    const next = links[at < 0 ? 0 : at + step];
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by the keyboard.
    <section className={short ? 'list short' : 'list'} ref={holder} aria-label={label} tabIndex={0} onKeyDown={move}>
      <div style={{ height: rows.getTotalSize(), position: 'relative' }}>
        {items.map(({ index, start, key }) => {
          const call = calls[index]!;
          return (
            <Link
              key={key}
              href={`/calls/${encodeURIComponent(call.event_id)}`}
              data-index={index}
              className={isFine(call.outcome) ? 'row' : 'row failed'}
              style={{ transform: `translateY(${start}px)` }}
              onDoubleClick={() => go(`/calls/${encodeURIComponent(call.event_id)}`)}
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
              </span>
              <Outcome outcome={call.outcome} />
              <span className="took">{took(call.duration_ms)}</span>
            </Link>
          );
        })}
      </div>
      {calls.length === 0 && <p className="note">No calls match. Choose a longer range, or take a filter away.</p>}
    </section>
  );
}
