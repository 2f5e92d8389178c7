import { type ReactNode, useMemo } from 'react';
import { Link } from 'wouter';
import type { AlertList, Series, Summary, ThrottleRow } from '../../api/contract.js';
import { linkTo, timesOf, useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Calls } from '../calls.js';
import { Chart } from '../chart.js';
import { useTick } from '../clock.js';
import { Filters } from '../filters.js';
import { type Live, useLive, useLivePart } from '../live.js';
import { Figure, Head, NoCalls, Panel, Trouble } from '../parts.js';
import { compact, isFine, percent, took } from '../text.js';
import { AlertLine } from './alerts.js';
import { Throttles } from './throttles.js';

/** What happens now. */
export function Now() {
  const address = useAddress();
  const now = useTick(5_000);
  const range = { ...timesOf('15m', now), filter: address.filters };
  const summary = useAnswer<Summary>('/summary', range, 5_000);
  const series = useAnswer<Series>('/series', { ...range, points: 180, latency: true }, 5_000);
  const alerts = useAnswer<AlertList>('/alerts', { limit: 6 }, 5_000);
  const throttles = useAnswer<{ throttles: ThrottleRow[] }>('/throttles', {}, 5_000);
  const live = useLive(address.filters);
  const found = summary.data;
  const lines = useMemo(
    () =>
      series.data === undefined
        ? []
        : [
            { name: 'calls', values: series.data.lines[0]!.calls, color: 0, kind: 'bars' as const },
            { name: 'failed', values: series.data.lines[0]!.failed ?? [], color: 4, kind: 'bars' as const },
          ],
    [series.data],
  );
  const latency = useMemo(
    () =>
      series.data?.latency === undefined
        ? []
        : [
            { name: 'p50', values: series.data.latency.p50, color: 2 },
            { name: 'p95', values: series.data.latency.p95, color: 1 },
            { name: 'p99', values: series.data.latency.p99, color: 3 },
          ],
    [series.data],
  );
  return (
    <>
      <Head title="Now" sub="The last fifteen minutes, and every call as it is recorded" />
      <Filters address={address} />
      <Trouble error={summary.error ?? series.error} />
      <div className="figures">
        <LiveRate live={live} usual={found === undefined ? 0 : found.calls / 900} />
        <Figure name="calls" value={found === undefined ? '…' : compact(found.calls)} />
        <Figure
          name="failed"
          value={found === undefined ? '…' : percent(found.failed, found.calls)}
          bad={found !== undefined && found.failed > found.calls / 10}
        />
        <Figure name="median" value={took(found?.p50)} />
        <Figure name="95th percentile" value={took(found?.p95)} />
        <Figure name="99th percentile" value={took(found?.p99)} />
        <Figure name="actors" value={found === undefined ? '…' : compact(found.actors)} />
        <Figure
          name="alerts open"
          value={alerts.data === undefined ? '…' : compact(alerts.data.counts.firing + alerts.data.counts.acknowledged)}
          bad={(alerts.data?.counts.firing ?? 0) > 0}
        />
      </div>
      <div className="columns">
        <div className="stack">
          <Panel title="Calls">
            <Chart
              label="Calls over the last fifteen minutes, failed ones apart"
              times={series.data?.times ?? []}
              lines={lines}
              height={170}
              format={compact}
              whole
            />
          </Panel>
          <Panel title="Live" aside={<LiveState live={live} filters={address.filters} />}>
            <LiveCalls
              live={live}
              empty={
                found?.calls === 0 ? (
                  <NoCalls address={address} />
                ) : (
                  'The next call stands here as soon as it is recorded.'
                )
              }
            />
          </Panel>
        </div>
        <div className="stack">
          <Panel title="How long calls take">
            <Chart
              label="Percentiles of the duration of calls"
              times={series.data?.times ?? []}
              lines={latency}
              height={140}
              format={took}
            />
          </Panel>
          <Panel title="How calls end">
            <Outcomes outcomes={found?.outcomes ?? {}} />
          </Panel>
          <Panel title="Held back">
            <Trouble error={throttles.error} />
            <Throttles throttles={throttles.data?.throttles} />
          </Panel>
          <Panel
            title="Open alerts"
            aside={
              <Link href="/alerts" className="link">
                all
              </Link>
            }
          >
            <Trouble error={alerts.error} />
            {alerts.data?.alerts.length === 0 && <p className="dim">Nothing fires.</p>}
            <div data-rows>
              {alerts.data?.alerts.map((alert) => (
                <AlertLine key={alert.alert_id} alert={alert} />
              ))}
            </div>
          </Panel>
        </div>
      </div>
    </>
  );
}

function Outcomes({ outcomes }: { outcomes: Readonly<Record<string, number>> }) {
  const rows = Object.entries(outcomes);
  const all = rows.reduce((sum, [, calls]) => sum + calls, 0);
  if (all === 0) return <p className="dim">No calls in this time.</p>;
  return (
    <table className="table">
      <tbody>
        {rows.map(([outcome, calls]) => (
          <tr key={outcome}>
            <td>
              <Link
                href={linkTo('/explore', [`outcome=${outcome}`])}
                className={`outcome ${isFine(outcome) ? 'success' : outcome}`}
              >
                {outcome.replaceAll('_', ' ')}
              </Link>
            </td>
            <td className="n">{compact(calls)}</td>
            <td className="n dim">{percent(calls, all)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Draws itself; the figures beside it stay as they are. */
function LiveRate({ live, usual }: { live: Live; usual: number }) {
  const rate = useLivePart(live, 'rate');
  return (
    <Figure
      name={rate === undefined ? 'calls a second, 15 min' : 'calls a second, 5 s'}
      value={perSecond(rate?.matched ?? usual)}
    />
  );
}

function perSecond(rate: number): string {
  return compact(rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate));
}

function LiveCalls({ live, empty }: { live: Live; empty: ReactNode }) {
  return <Calls calls={useLivePart(live, 'calls')} label="Calls as they are recorded" empty={empty} />;
}

function LiveState({ live, filters }: { live: Live; filters: readonly string[] }) {
  const state = useLivePart(live, 'state');
  const rate = useLivePart(live, 'rate');
  const missed = useLivePart(live, 'missed');
  const words = { connecting: 'connecting', live: 'live', paused: 'paused', broken: 'the stream broke; trying again' };
  return (
    <span className={state === 'live' ? 'live' : 'live off'}>
      <span data-live={state}>{words[state]}</span>
      {rate !== undefined && rate.matched > rate.shown && (
        <span data-sampled>
          · {perSecond(rate.shown)} of {perSecond(rate.matched)} a second shown
        </span>
      )}
      {missed !== undefined && (
        <Link data-missed href={linkTo('/explore', filters, `${missed.fromMs}..${missed.toMs}`)}>
          · {compact(missed.calls)} more while you were away
        </Link>
      )}
      <button type="button" className="button quiet" data-key="p" onClick={() => live.pause(state !== 'paused')}>
        {state === 'paused' ? 'go on' : 'pause'} <kbd>p</kbd>
      </button>
    </span>
  );
}
