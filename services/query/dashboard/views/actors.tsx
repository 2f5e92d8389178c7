import { Link } from 'wouter';
import type { Groups, Summary } from '../../api/contract.js';
import { linkTo, useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Head, List, Panel, Trouble } from '../parts.js';
import { Range } from '../range.js';
import { Ago, compact, Said, took } from '../text.js';
import { Bar, CallPages, Failed, Numbers, OverTime, TopGroups, useRange } from './explore.js';

/** Actors, or one of them. */
export function Actors({ id }: { id?: string }) {
  return id === undefined ? <ActorList /> : <OneActor id={id} />;
}

const listed = 500;

function ActorList() {
  const address = useAddress('24h');
  const found = useAnswer<Groups>('/groups', { ...useRange(address), by: 'actor_id', limit: listed });
  const most = found.data?.groups[0]?.calls ?? 1;
  const distinct = found.data?.distinct ?? 0;
  return (
    <List
      title="Actors"
      sub={
        distinct > listed
          ? `The ${listed} busiest of the ${compact(distinct)} that called in this time`
          : `${compact(distinct)} called in this time`
      }
      address={address}
      error={found.error}
      rows={found.data?.groups}
      keyOf={({ value }) => value}
      columns={[
        {
          name: 'actor',
          by: ({ value }) => value,
          cell: ({ value, calls }) => (
            <>
              <Link href={linkTo(`/actors/${encodeURIComponent(value || ' ')}`, [], address.range)}>
                <Said text={value} none="nobody" />
              </Link>
              <Bar share={calls / most} />
            </>
          ),
        },
        { name: 'calls', number: true, by: ({ calls }) => calls, cell: ({ calls }) => compact(calls) },
        {
          name: 'failed',
          number: true,
          by: ({ failed, calls }) => failed / Math.max(1, calls),
          cell: (row) => <Failed {...row} />,
        },
        { name: 'tools', number: true, wide: true, by: ({ tools }) => tools, cell: ({ tools }) => compact(tools) },
        {
          name: 'sessions',
          number: true,
          wide: true,
          by: ({ sessions }) => sessions,
          cell: ({ sessions }) => compact(sessions),
        },
        { name: 'p95', number: true, wide: true, by: ({ p95 }) => p95, cell: ({ p95 }) => took(p95) },
        {
          name: 'first',
          wide: true,
          by: ({ first_at }) => first_at,
          cell: ({ first_at }) => <Ago at={first_at} />,
        },
        { name: 'last', by: ({ last_at }) => last_at, cell: ({ last_at }) => <Ago at={last_at} /> },
      ]}
    />
  );
}

function OneActor({ id }: { id: string }) {
  const actor = id === ' ' ? '' : id;
  const address = useAddress('24h');
  const range = useRange(address, [`actor_id=${actor}`]);
  const summary = useAnswer<Summary>('/summary', range);
  const own = [`actor_id=${actor}`];
  return (
    <>
      <Head
        title={<Said text={actor} none="nobody" />}
        sub={
          <>
            What this actor did ·{' '}
            <Link className="link" href={linkTo('/explore', own, address.range)}>
              explore
            </Link>{' '}
            ·{' '}
            <Link className="link" href={linkTo('/sessions', own, address.range)}>
              sessions
            </Link>{' '}
            ·{' '}
            <Link className="link" href={`/alerts?standing=all&group=${encodeURIComponent(actor)}`}>
              alerts
            </Link>
          </>
        }
      >
        <Range address={address} />
      </Head>
      <Trouble error={summary.error} />
      <Numbers summary={summary.data} />
      <div className="stack">
        <Panel title="Calls over time, by tool">
          <OverTime address={address} range={range} by="tool_name" />
        </Panel>
        <div className="columns">
          <Panel title="Calls">
            <CallPages range={range} address={address} />
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
