import { Link } from 'wouter';
import type { CallList, SessionRow } from '../../api/contract.js';
import { linkTo, useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Head, List, Panel, Trouble } from '../parts.js';
import { Range } from '../range.js';
import { Ago, compact, isFine, number, Said, Time, took } from '../text.js';
import { useRange } from './explore.js';

/** Sessions, or one of them. */
export function Sessions({ id }: { id?: string }) {
  return id === undefined ? <SessionList /> : <OneSession id={id} />;
}

function SessionList() {
  const address = useAddress('24h');
  const found = useAnswer<{ sessions: SessionRow[] }>('/sessions', { ...useRange(address), limit: listed });
  const sessions = found.data?.sessions;
  return (
    <List
      title="Sessions"
      sub={
        sessions?.length === listed
          ? `The last ${listed}: filters and a shorter range show others`
          : 'Each connection of a client, and what came of it'
      }
      address={address}
      error={found.error}
      rows={sessions}
      keyOf={(row) => row.session_id}
      columns={[
        {
          name: 'session',
          cell: (row) => (
            <Link className="mono" href={linkTo(`/sessions/${encodeURIComponent(row.session_id)}`, [], address.range)}>
              <Said text={row.session_id} most={13} />
            </Link>
          ),
        },
        {
          name: 'actor',
          by: (row) => row.actor_id,
          cell: (row) => <Said text={row.actor_id} most={60} none="nobody" />,
        },
        {
          name: 'client',
          wide: true,
          by: (row) => row.client_name,
          cell: (row) => <Said text={row.client_name} most={40} />,
        },
        {
          name: 'servers',
          wide: true,
          cell: (row) =>
            row.servers.map((name) => (
              <span key={name}>
                <Said text={name} most={40} />{' '}
              </span>
            )),
        },
        { name: 'calls', number: true, by: (row) => row.calls, cell: (row) => compact(row.calls) },
        {
          name: 'failed',
          number: true,
          by: (row) => row.failed,
          cell: (row) => <span className={row.failed > 0 ? 'bad-text' : 'dim'}>{compact(row.failed)}</span>,
        },
        { name: 'tools', number: true, wide: true, by: (row) => row.tools, cell: (row) => compact(row.tools) },
        { name: 'lasted', number: true, wide: true, by: lastedMs, cell: (row) => took(lastedMs(row)) },
        { name: 'last', by: (row) => row.last_at, cell: (row) => <Ago at={row.last_at} /> },
      ]}
    />
  );
}

function lastedMs({ first_at, last_at }: SessionRow): number {
  return Date.parse(last_at) - Date.parse(first_at);
}

const listed = 500;
const mostSpans = 500;

function OneSession({ id }: { id: string }) {
  const address = useAddress('30d');
  const range = useRange(address, [`session_id=${id}`]);
  const found = useAnswer<CallList>('/calls', { ...range, order: 'oldest', limit: mostSpans });
  const calls = found.data?.calls ?? [];
  const first = calls[0];
  const start = first === undefined ? 0 : Date.parse(first.occurred_at);
  const end = calls.reduce(
    (latest, call) => Math.max(latest, Date.parse(call.occurred_at) + (call.duration_ms ?? 0)),
    start + 1,
  );
  return (
    <>
      <Head
        title={
          <>
            Session <Said text={id} most={40} />
          </>
        }
        sub={
          first === undefined ? undefined : (
            <>
              <Said text={first.actor_id} most={80} none="nobody" /> with <Said text={first.client_name} most={60} /> ·{' '}
              <Time at={first.occurred_at} dated /> · {number(calls.length)} calls in {took(end - start)}
            </>
          )
        }
      >
        <Range address={address} />
      </Head>
      <Trouble error={found.error} />
      {found.data !== undefined && calls.length === 0 && (
        <p className="note">No calls of this session in this time. Choose a longer range.</p>
      )}
      <Panel title="In the order of time">
        <div className="timeline" data-rows>
          <div className="span dim mono" aria-hidden="true">
            <span>begins at</span>
            <span />
            <span className="scale">
              <span>0</span>
              <span>{took((end - start) / 2)}</span>
              <span>{took(end - start)}</span>
            </span>
            <span>took</span>
          </div>
          {calls.map((call) => {
            const from = (100 * (Date.parse(call.occurred_at) - start)) / (end - start);
            const width = Math.max(0.35, (100 * (call.duration_ms ?? 0)) / (end - start));
            return (
              <Link key={call.event_id} className="span" href={`/calls/${encodeURIComponent(call.event_id)}`}>
                <span className="dim mono">+{took(Date.parse(call.occurred_at) - start)}</span>
                <span className={isFine(call.outcome) ? 'what' : 'what bad-text'}>
                  <Said text={call.target || call.method} most={60} />
                  {!isFine(call.outcome) && ` · ${call.outcome.replaceAll('_', ' ')}`}
                </span>
                <span className="track">
                  <svg aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 100 12">
                    <rect
                      x={Math.min(from, 99.6)}
                      width={Math.min(width, 100 - from)}
                      y="0"
                      height="12"
                      rx="0.4"
                      fill={isFine(call.outcome) ? 'var(--accent)' : 'var(--bad)'}
                    />
                  </svg>
                </span>
                <span className="dim mono">{took(call.duration_ms)}</span>
              </Link>
            );
          })}
        </div>
        {found.data?.next !== null && found.data !== undefined && (
          <p className="dim">
            The first {mostSpans};{' '}
            <Link className="link" href={linkTo('/explore', [`session_id=${id}`], address.range)}>
              explore
            </Link>{' '}
            has all.
          </p>
        )}
      </Panel>
    </>
  );
}
