import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useCallback, useMemo } from 'react';
import { Link } from 'wouter';
import type { CallList, Groups, Series, Summary } from '../../api/contract.js';
import { type Address, linkTo, timesOf, useAddress } from '../address.js';
import { get, useAnswer } from '../ask.js';
import { Chart } from '../chart.js';
import { useTick } from '../clock.js';
import { Calls, Figure, Filters, Head, Panel, Range, Trouble } from '../parts.js';
import { Ago, compact, percent, Said, took } from '../text.js';

const fields = [
  'tool_name',
  'actor_id',
  'server_name',
  'outcome',
  'method',
  'client_name',
  'session_id',
  'error_message',
  'tenant',
  'client_address',
  'transport',
  'protocol_version',
];

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
        <Panel
          title="Calls over time"
          aside={
            <label className="dim">
              by{' '}
              <select value={by} onChange={(event) => address.set({ by: event.target.value })}>
                {fields.map((field) => (
                  <option key={field}>{field}</option>
                ))}
              </select>
            </label>
          }
        >
          <OverTime address={address} range={range} by={by} />
        </Panel>
        <div className="columns">
          <Panel title="Calls" aside={<span className="dim">the newest first</span>}>
            <CallPages range={range} />
          </Panel>
          <Panel title={`By ${by}`}>
            <TopGroups range={range} by={by} address={address} />
          </Panel>
        </div>
      </div>
    </>
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
    </div>
  );
}

export function OverTime({ address, range, by }: { address: Address; range: CallsRange; by?: string }) {
  const series = useAnswer<Series>('/series', { ...range, points: 240, ...(by === undefined ? {} : { by }) });
  const lines = useMemo(() => {
    const found = series.data?.lines ?? [];
    if (by !== undefined)
      return found.map(({ name, calls }, index) => ({
        name: name || '(none)',
        values: calls,
        color: name === '…' ? 8 : index,
        kind: 'bars' as const,
      }));
    return [
      { name: 'calls', values: found[0]?.calls ?? [], color: 0, kind: 'bars' as const },
      { name: 'failed', values: found[0]?.failed ?? [], color: 4, kind: 'bars' as const },
    ];
  }, [series.data, by]);
  const { set } = address;
  const choose = useCallback(
    (from: number, to: number) => set({ range: `${Math.floor(from)}..${Math.ceil(to)}` }),
    [set],
  );
  return (
    <>
      <Trouble error={series.error} />
      <Chart
        label={by === undefined ? 'Calls over time, failed ones apart' : `Calls over time by ${by}`}
        times={series.data?.times ?? []}
        lines={lines}
        height={200}
        format={compact}
        whole
        onRange={choose}
        stacked={by !== undefined}
      />
    </>
  );
}

export function CallPages({ range, order = 'newest' }: { range: CallsRange; order?: 'newest' | 'oldest' }) {
  const pages = useInfiniteQuery({
    queryKey: ['/calls', range, order],
    queryFn: ({ pageParam, signal }) =>
      get<CallList>(
        '/calls',
        { ...range, order, limit: 200, ...(pageParam === '' ? {} : { cursor: pageParam }) },
        signal,
      ),
    initialPageParam: '',
    getNextPageParam: ({ next }) => next,
    placeholderData: keepPreviousData,
  });
  const calls = useMemo(() => pages.data?.pages.flatMap((page) => page.calls) ?? [], [pages.data]);
  const { hasNextPage, isFetching, fetchNextPage } = pages;
  const more = useCallback(() => {
    if (hasNextPage && !isFetching) void fetchNextPage();
  }, [hasNextPage, isFetching, fetchNextPage]);
  if (pages.data === undefined && pages.error === null) return <p className="note">Looking for the calls.</p>;
  return (
    <>
      <Trouble error={pages.error} />
      <Calls calls={calls} onEnd={more} />
    </>
  );
}

export function TopGroups({ range, by, address }: { range: CallsRange; by: string; address: Address }) {
  const found = useAnswer<Groups>('/groups', { ...range, by, limit: 25 });
  const most = found.data?.groups[0]?.calls ?? 1;
  return (
    <>
      <Trouble error={found.error} />
      <div className="scroll">
        <table className="table">
          <thead>
            <tr>
              <th>{by}</th>
              <th className="n">calls</th>
              <th className="n">failed</th>
              <th className="n">p95</th>
            </tr>
          </thead>
          <tbody>
            {found.data?.groups.map((row) => (
              <tr key={row.value}>
                <td>
                  <a
                    href={linkTo('/explore', [`${by}=${row.value}`])}
                    onClick={(event) => {
                      event.preventDefault();
                      address.set({ filter: [...address.filters, `${by}=${row.value}`] });
                    }}
                  >
                    <Said text={row.value} most={60} none="(none)" />
                  </a>
                  <span className="bar" style={{ width: `${Math.max(0.5, (100 * row.calls) / most)}%` }} />
                </td>
                <td className="n">{compact(row.calls)}</td>
                <td className={row.failed > 0 ? 'n bad-text' : 'n dim'}>{percent(row.failed, row.calls)}</td>
                <td className="n dim">{took(row.p95)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {(found.data?.distinct ?? 0) > 25 && <p className="dim">The first 25 of {compact(found.data!.distinct)}.</p>}
    </>
  );
}

/** Actors, or one of them. */
export function Actors({ id }: { id?: string }) {
  return id === undefined ? <ActorList /> : <OneActor id={id} />;
}

function ActorList() {
  const address = useAddress('24h');
  const range = useRange(address);
  const found = useAnswer<Groups>('/groups', { ...range, by: 'actor_id', limit: 500 });
  return (
    <>
      <Head
        title="Actors"
        sub={found.data === undefined ? 'Who calls' : `${compact(found.data.distinct)} have called in this time`}
      >
        <Range address={address} />
      </Head>
      <Filters address={address} />
      <Trouble error={found.error} />
      <div className="scroll">
        <table className="table">
          <thead>
            <tr>
              <th>actor</th>
              <th className="n">calls</th>
              <th className="n">failed</th>
              <th className="n">tools</th>
              <th className="n">sessions</th>
              <th className="n">p95</th>
              <th>first</th>
              <th>last</th>
            </tr>
          </thead>
          <tbody>
            {found.data?.groups.map((row) => (
              <tr key={row.value}>
                <td>
                  <Link href={linkTo(`/actors/${encodeURIComponent(row.value || ' ')}`, [], address.range)}>
                    <Said text={row.value} none="nobody" />
                  </Link>
                </td>
                <td className="n">{compact(row.calls)}</td>
                <td className={row.failed > 0 ? 'n bad-text' : 'n dim'}>{percent(row.failed, row.calls)}</td>
                <td className="n">{compact(row.tools)}</td>
                <td className="n">{compact(row.sessions)}</td>
                <td className="n dim">{took(row.p95)}</td>
                <td className="dim">
                  <Ago at={row.first_at} />
                </td>
                <td className="dim">
                  <Ago at={row.last_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function OneActor({ id }: { id: string }) {
  const actor = id === ' ' ? '' : id;
  const address = useAddress('24h');
  const range = useRange(address, [`actor_id=${actor}`]);
  const summary = useAnswer<Summary>('/summary', range);
  return (
    <>
      <Head
        title={<Said text={actor} none="nobody" />}
        sub={
          <>
            What this actor did ·{' '}
            <Link className="link" href={linkTo('/explore', [`actor_id=${actor}`], address.range)}>
              explore
            </Link>{' '}
            ·{' '}
            <Link className="link" href={linkTo('/sessions', [`actor_id=${actor}`], address.range)}>
              sessions
            </Link>
          </>
        }
      >
        <Range address={address} />
      </Head>
      <Numbers summary={summary.data} />
      <div className="stack">
        <Panel title="Calls over time">
          <OverTime address={address} range={range} by="tool_name" />
        </Panel>
        <div className="columns">
          <Panel title="Calls">
            <CallPages range={range} />
          </Panel>
          <div className="stack">
            <Panel title="Tools">
              <TopGroups range={range} by="tool_name" address={address} />
            </Panel>
            <Panel title="Servers">
              <TopGroups range={range} by="server_name" address={address} />
            </Panel>
          </div>
        </div>
      </div>
    </>
  );
}
