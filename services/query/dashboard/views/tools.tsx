import { diffLines } from 'diff';
import { useMemo } from 'react';
import { Link } from 'wouter';
import type { Summary, ToolDefinitions, ToolRow } from '../../api/contract.js';
import { linkTo, useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Head, List, Panel, Trouble } from '../parts.js';
import { Range } from '../range.js';
import { Ago, compact, plain, Said, Time, took } from '../text.js';
import { Bar, CallPages, Failed, Numbers, OverTime, TopGroups, useRange } from './explore.js';

/** Tools, or one of them. */
export function Tools({ server, tool }: { server?: string; tool?: string }) {
  return server === undefined || tool === undefined ? <ToolList /> : <OneTool server={server} tool={tool} />;
}

function ToolList() {
  const address = useAddress('24h');
  const found = useAnswer<{ tools: ToolRow[] }>('/tools', useRange(address));
  const tools = found.data?.tools;
  const most = tools?.[0]?.calls ?? 1;
  const never = tools?.filter(({ calls }) => calls === 0).length ?? 0;
  const changed = tools?.filter(({ definitions }) => definitions > 1).length ?? 0;
  return (
    <List
      title="Tools"
      sub={
        tools === undefined
          ? 'What was called, and what was offered'
          : `${compact(tools.length)} tools: ${compact(never)} offered and never called, ${compact(changed)} whose definition changed`
      }
      address={address}
      error={found.error}
      rows={tools}
      keyOf={(row) => `${row.server_name}\n${row.tool_name}`}
      columns={[
        {
          name: 'tool',
          by: (row) => row.tool_name,
          cell: (row) => (
            <>
              <Link
                href={linkTo(
                  `/tools/${encodeURIComponent(row.server_name || ' ')}/${encodeURIComponent(row.tool_name || ' ')}`,
                  [],
                  address.range,
                )}
              >
                <Said text={row.tool_name} none="(none)" />
              </Link>
              <Bar share={row.calls / Math.max(1, most)} />
            </>
          ),
        },
        {
          name: 'server',
          wide: true,
          by: (row) => row.server_name,
          cell: (row) => <Said text={row.server_name} most={60} />,
        },
        {
          name: 'calls',
          number: true,
          by: (row) => row.calls,
          cell: (row) => (row.calls === 0 ? <span className="dim">never</span> : compact(row.calls)),
        },
        {
          name: 'failed',
          number: true,
          by: (row) => row.failed / Math.max(1, row.calls),
          cell: (row) => <Failed {...row} />,
        },
        { name: 'actors', number: true, wide: true, by: (row) => row.actors, cell: (row) => compact(row.actors) },
        { name: 'median', number: true, wide: true, by: (row) => row.p50, cell: (row) => took(row.p50) },
        { name: 'p95', number: true, wide: true, by: (row) => row.p95, cell: (row) => took(row.p95) },
        {
          name: 'definition',
          wide: true,
          by: (row) => row.definitions,
          cell: (row) =>
            row.definitions > 1 ? (
              <span className="warn-text">{row.definitions} versions</span>
            ) : (
              (row.destructive === true && 'destructive') || (row.read_only === true && 'read only') || '—'
            ),
        },
        { name: 'last', by: (row) => row.last_at, cell: (row) => <Ago at={row.last_at} /> },
      ]}
    />
  );
}

function OneTool({ server, tool }: { server: string; tool: string }) {
  const names = [server === ' ' ? '' : server, tool === ' ' ? '' : tool] as const;
  const address = useAddress('24h');
  const range = useRange(address, [`server_name=${names[0]}`, `tool_name=${names[1]}`]);
  const summary = useAnswer<Summary>('/summary', range);
  const found = useAnswer<ToolDefinitions>('/tools/definitions', { server: names[0], tool: names[1] });
  const definitions = found.data?.definitions ?? [];
  return (
    <>
      <Head
        title={<Said text={names[1]} />}
        sub={
          <>
            of <Said text={names[0]} />
          </>
        }
      >
        <Range address={address} />
      </Head>
      <Numbers summary={summary.data} />
      <div className="stack">
        <Panel title="Calls over time">
          <OverTime address={address} range={range} by="outcome" />
        </Panel>
        <Panel title="Definition">
          <Trouble error={found.error} />
          {definitions.length === 0 && <p className="dim">No server has listed it while its lists were recorded.</p>}
          {definitions.map((each, index) => (
            <details key={`${each.first_at}${each.definition.length}`} open={index === 0}>
              <summary>
                {index === 0 ? 'As it is now' : 'Before'}{' '}
                <span className="dim">
                  listed {compact(each.listed)} times, from <Time at={each.first_at} dated /> to{' '}
                  <Time at={each.last_at} dated />
                </span>
              </summary>
              <div className="card">
                <Difference before={definitions[index + 1]?.definition} after={each.definition} />
              </div>
            </details>
          ))}
        </Panel>
        <div className="columns">
          <Panel title="Calls">
            <CallPages range={range} address={address} />
          </Panel>
          <Panel title="By actor">
            <TopGroups range={range} by="actor_id" address={address} />
          </Panel>
        </div>
      </div>
    </>
  );
}

const longest = 60_000;

function written(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2).slice(0, longest);
  } catch {
    return text.slice(0, longest);
  }
}

function Difference({ before, after }: { before: string | undefined; after: string }) {
  const parts = useMemo(
    () => (before === undefined ? undefined : diffLines(written(before), written(after))),
    [before, after],
  );
  if (parts === undefined) return <pre>{plain(written(after), longest)}</pre>;
  return (
    <pre className="diff">
      {parts.flatMap(({ value, added, removed }, part) =>
        value
          .replace(/\n$/, '')
          .split('\n')
          .map((line, index) => {
            const Tag = added ? 'ins' : removed ? 'del' : 'span';
            // biome-ignore lint/suspicious/noArrayIndexKey: lines have no other name.
            return <Tag key={`${part} ${index}`}>{plain(line, 2_000)}</Tag>;
          }),
      )}
    </pre>
  );
}
