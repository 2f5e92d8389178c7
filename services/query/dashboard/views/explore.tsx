import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useCallback, useMemo, useState } from 'react';
import type { CallList, Groups, Series, Summary } from '../../api/contract.js';
import { type Address, linkTo, timesOf, useAddress } from '../address.js';
import { get, useAnswer } from '../ask.js';
import { Calls } from '../calls.js';
import { Chart } from '../chart.js';
import { useTick } from '../clock.js';
import { Filters, useFields } from '../filters.js';
import { Figure, Head, NoCalls, Panel, Trouble } from '../parts.js';
import { Range } from '../range.js';
import { Table, Waiting } from '../table.js';
import { compact, percent, Said, took } from '../text.js';

/** Calls by anything. */
export function Explore() {
  const address = useAddress('24h');
  const by = address.get('by') ?? 'tool_name';
  const range = useRange(address);
  const summary = useAnswer<Summary>('/summary', range);
  return (
    <>
      <Head title="Explore" sub="Every call on record. Drag over the chart to look closer.">
        <Range address={address} />
      </Head>
      <Filters address={address} />
      <Trouble error={summary.error} />
      <Numbers summary={summary.data} />
      <div className="stack">
        <Panel title="Calls over time" aside={<GroupBy by={by} address={address} />}>
          <OverTime address={address} range={range} by={by} />
        </Panel>
        <div className="columns">
          <Panel title="Calls" aside={<span className="dim">the newest first</span>}>
            <CallPages range={range} address={address} />
          </Panel>
          <Panel title={`By ${by}`}>
            <TopGroups range={range} by={by} address={address} />
          </Panel>
        </div>
      </div>
    </>
  );
}

function GroupBy({ by, address }: { by: string; address: Address }) {
  const [wanted, setWanted] = useState(false);
  const fields = useFields(wanted);
  const choose = (field: string): void => {
    if (field.trim() !== '' && field !== by) address.set({ by: field.trim() });
  };
  return (
    <form
      key={by}
      className="by"
      onSubmit={(event) => {
        event.preventDefault();
        choose(String(new FormData(event.currentTarget).get('by')));
      }}
    >
      <label className="dim">
        by{' '}
        <input
          type="text"
          name="by"
          list="group-fields"
          title="a field, or attributes.KEY"
          defaultValue={by}
          autoComplete="off"
          spellCheck={false}
          onFocus={(event) => {
            setWanted(true);
            event.target.select();
          }}
          onChange={(event) => fields.includes(event.target.value) && choose(event.target.value)}
          onBlur={(event) => choose(event.target.value)}
        />
        <datalist id="group-fields">
          {fields.map((field) => (
            <option key={field} value={field} />
          ))}
        </datalist>
      </label>
    </form>
  );
}

export interface CallsRange extends Record<string, string | readonly string[]> {
  from: string;
  to: string;
  filter: readonly string[];
}

/** The range of an address, the same object while it says the same. A range that ends now moves every half minute. */
export function useRange(address: Address, more: readonly string[] = []): CallsRange {
  const now = useTick(30_000);
  const extra = more.join('\n');
  return useMemo(
    () => ({
      ...timesOf(address.range, now),
      filter: [...address.filters, ...(extra === '' ? [] : extra.split('\n'))],
    }),
    [address.range, address.filters, now, extra],
  );
}

export function Numbers({ summary }: { summary: Summary | undefined }) {
  const show = (value: number | undefined): string => (value === undefined ? '…' : compact(value));
  return (
    <div className="figures">
      <Figure name="calls" value={show(summary?.calls)} />
      <Figure name="failed" value={summary === undefined ? '…' : percent(summary.failed, summary.calls)} />
      <Figure name="actors" value={show(summary?.actors)} />
      <Figure name="sessions" value={show(summary?.sessions)} />
      <Figure name="tools" value={show(summary?.tools)} />
      <Figure name="median" value={took(summary?.p50)} />
      <Figure name="95th percentile" value={took(summary?.p95)} />
      <Figure name="99th percentile" value={took(summary?.p99)} />
    </div>
  );
}

export function OverTime({ address, range, by }: { address: Address; range: CallsRange; by: string }) {
  const series = useAnswer<Series>('/series', { ...range, points: 240, by });
  const lines = useMemo(
    () =>
      (series.data?.lines ?? []).map(({ name, calls }, index) => ({
        name: name || '(none)',
        values: calls,
        color: name === '…' ? 8 : index,
        kind: 'bars' as const,
      })),
    [series.data],
  );
  const { set } = address;
  const choose = useCallback(
    (from: number, to: number) => set({ range: `${Math.floor(from)}..${Math.ceil(to)}` }),
    [set],
  );
  return (
    <>
      <Trouble error={series.error} />
      <Chart
        label={`Calls over time by ${by}`}
        times={series.data?.times ?? []}
        lines={lines}
        height={200}
        format={compact}
        whole
        onRange={choose}
        stacked
      />
    </>
  );
}

export function CallPages({ range, address }: { range: CallsRange; address: Address }) {
  const pages = useInfiniteQuery({
    queryKey: ['/calls', range],
    queryFn: ({ pageParam, signal }) =>
      get<CallList>('/calls', { ...range, limit: 200, ...(pageParam === '' ? {} : { cursor: pageParam }) }, signal),
    initialPageParam: '',
    getNextPageParam: ({ next }) => next,
    placeholderData: keepPreviousData,
  });
  const calls = useMemo(() => pages.data?.pages.flatMap((page) => page.calls) ?? [], [pages.data]);
  const { hasNextPage, isFetching, fetchNextPage } = pages;
  const more = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);
  if (pages.data === undefined) return pages.error === null ? <Waiting /> : <Trouble error={pages.error} />;
  return (
    <>
      <Trouble error={pages.error} />
      <Calls calls={calls} onEnd={more} empty={<NoCalls address={address} />} />
    </>
  );
}

export function TopGroups({ range, by, address }: { range: CallsRange; by: string; address: Address }) {
  const found = useAnswer<Groups>('/groups', { ...range, by, limit: 25 });
  const most = found.data?.groups[0]?.calls ?? 1;
  return (
    <>
      <Trouble error={found.error} />
      {(found.error === null || found.data !== undefined) && (
        <Table
          label={`Calls by ${by}`}
          rows={found.data?.groups}
          keyOf={({ value }) => value}
          columns={[
            {
              name: by,
              cell: ({ value, calls }) => (
                <>
                  <a
                    href={linkTo('/explore', [`${by}=${value}`])}
                    onClick={(event) => {
                      event.preventDefault();
                      address.set({ filter: [...address.filters, `${by}=${value}`] });
                    }}
                  >
                    <Said text={value} most={60} none="(none)" />
                  </a>
                  <Bar share={calls / most} />
                </>
              ),
            },
            { name: 'calls', number: true, cell: ({ calls }) => compact(calls) },
            { name: 'failed', number: true, cell: (row) => <Failed {...row} /> },
            { name: 'p95', number: true, cell: ({ p95 }) => <span className="dim">{took(p95)}</span> },
          ]}
        />
      )}
      {(found.data?.distinct ?? 0) > 25 && <p className="dim">The first 25 of {compact(found.data!.distinct)}.</p>}
    </>
  );
}

/** How much of the most something is. */
export function Bar({ share }: { share: number }) {
  return <span className="bar" style={{ width: `${Math.max(0.5, 100 * share)}%` }} />;
}

export function Failed({ failed, calls }: { failed: number; calls: number }) {
  return <span className={failed > 0 ? 'bad-text' : 'dim'}>{percent(failed, calls)}</span>;
}
