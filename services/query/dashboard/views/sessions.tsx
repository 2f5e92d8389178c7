import { Link } from 'wouter';
import type { CallList, SessionRow } from '../../api/contract.js';
import { linkTo, useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Filters, Head, Panel, Range, Trouble } from '../parts.js';
import { Ago, compact, isFine, number, Said, Time, took } from '../text.js';
import { useRange } from './explore.js';

/** Sessions, or one of them. */
export function Sessions({ id }: { id?: string }) {
  return id === undefined ? <SessionList /> : <OneSession id={id} />;
}

function SessionList() {
  const address = useAddress('24h');
  const found = useAnswer<{ sessions: SessionRow[] }>('/sessions', { ...useRange(address), limit: 200 });
  return (
    <>
      <Head title="Sessions" sub="Each connection of a client, and what came of it">
        <Range address={address} />
      </Head>
      <Filters address={address} />
      <Trouble error={found.error} />
      <div className="scroll">
        <table className="table">
          <thead>
            <tr>
              <th>session</th>
              <th>actor</th>
              <th>client</th>
              <th>servers</th>
              <th className="n">calls</th>
              <th className="n">failed</th>
              <th className="n">tools</th>
              <th className="n">lasted</th>
              <th>last</th>
            </tr>
          </thead>
          <tbody>
            {found.data?.sessions.map((row) => (
              <tr key={row.session_id}>
                <td>
                  <Link
                    className="mono"
                    href={linkTo(`/sessions/${encodeURIComponent(row.session_id)}`, [], address.range)}
                  >
                    <Said text={row.session_id} most={13} />
                  </Link>
                </td>
                <td>
                  <Said text={row.actor_id} most={60} none="nobody" />
                </td>
                <td className="dim">
                  <Said text={row.client_name} most={40} />
                </td>
                <td className="dim">
                  {row.servers.map((name) => (
                    <span key={name}>
                      <Said text={name} most={40} />{' '}
                    </span>
                  ))}
                </td>
                <td className="n">{compact(row.calls)}</td>
                <td className={row.failed > 0 ? 'n bad-text' : 'n dim'}>{compact(row.failed)}</td>
                <td className="n">{compact(row.tools)}</td>
                <td className="n dim">{took(Date.parse(row.last_at) - Date.parse(row.first_at))}</td>
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
        <div className="timeline">
          {calls.map((call) => {
            const from = (100 * (Date.parse(call.occurred_at) - start)) / (end - start);
            const width = Math.max(0.35, (100 * (call.duration_ms ?? 0)) / (end - start));
            return (
              <Link key={call.event_id} className="span" href={`/calls/${encodeURIComponent(call.event_id)}`}>
                <span className="what">
                  <Said text={call.target || call.method} most={60} />
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
