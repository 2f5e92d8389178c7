/** What several views are made of: heads, figures, panels, lists, and what is said where there is nothing or an error. */
import type { ReactNode } from 'react';
import type { Summary } from '../api/contract.js';
import { type Address, timesOf } from './address.js';
import { Problem, queries, useAnswer } from './ask.js';
import { Filters } from './filters.js';
import { Range } from './range.js';
import { type Column, Table } from './table.js';
import { plain } from './text.js';

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

/** An error with the way to mend it. */
export function Trouble({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  return (
    <div className="problem" role="alert">
      <strong>{plain((error as Error).message, 600)}</strong>
      {error instanceof Problem && <div className="dim">{plain(error.mend, 600)}</div>}
      <button type="button" className="button" onClick={() => void queries.refetchQueries({ type: 'active' })}>
        Try again
      </button>
    </div>
  );
}

export function Panel({ title, aside, children }: { title: ReactNode; aside?: ReactNode; children: ReactNode }) {
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

/** Names and values, one under the other. */
export function Facts({ facts }: { facts: readonly (readonly [name: string, value: ReactNode])[] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A view that is one list: its range, its filters, its rows. */
export function List<Row>({
  title,
  sub,
  address,
  error,
  aside,
  ...table
}: {
  title: string;
  sub: ReactNode;
  address: Address;
  error: unknown;
  /** Stands between the filters and the rows. */
  aside?: ReactNode;
  rows: readonly Row[] | undefined;
  columns: readonly Column<Row>[];
  keyOf: (row: Row, index: number) => string;
}) {
  const rows = error === null || table.rows !== undefined ? table.rows : [];
  return (
    <>
      <Head title={title} sub={sub}>
        <Range address={address} />
      </Head>
      <Filters address={address} />
      <Trouble error={error} />
      {aside}
      {(error === null || table.rows !== undefined) && (
        <Table {...table} rows={rows} label={title} address={address} empty={<NoCalls address={address} />} />
      )}
    </>
  );
}

/** What to do where no call is found: wider, or with fewer filters, or begin to record. */
export function NoCalls({ address }: { address: Address }) {
  const month = timesOf('30d', Math.ceil(Date.now() / 60_000) * 60_000);
  const all = useAnswer<Summary>('/summary', month, undefined, 60_000);
  if (all.data?.calls === 0)
    return (
      <div className="first">
        <h3>No call was recorded in the last 30 days</h3>
        <p>Put the wrapper before the command of an MCP server, where your client is configured:</p>
        <pre>mcp-auditd wrap -- npx -y @modelcontextprotocol/server-filesystem .</pre>
        <p>Or see real servers being called and audited, without changing anything:</p>
        <pre>mcp-auditd demo</pre>
        <p>This page goes on by itself when the first call comes. A key of one tenant sees the calls of that tenant.</p>
      </div>
    );
  return (
    <>
      <p>No calls match.</p>
      <div className="actions">
        {address.filters.length > 0 && (
          <button type="button" className="button" onClick={() => address.set({ filter: undefined })}>
            Without filters
          </button>
        )}
        {address.range !== '30d' && (
          <button type="button" className="button" onClick={() => address.set({ range: '30d' })}>
            In 30 days
          </button>
        )}
      </div>
    </>
  );
}
