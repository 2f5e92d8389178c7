import { diffLines } from 'diff';
import { useMemo } from 'react';
import { Link } from 'wouter';
import type { Summary, ToolDefinitions, ToolRow } from '../../api/contract.js';
import { linkTo, useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Filters, Head, Panel, Range, Trouble } from '../parts.js';
import { Ago, compact, percent, plain, Said, Time, took } from '../text.js';
import { CallPages, Numbers, OverTime, TopGroups, useRange } from './explore.js';

/** Tools, or one of them. */
export function Tools({ server, tool }: { server?: string; tool?: string }) {
  return server === undefined || tool === undefined ? <ToolList /> : <OneTool server={server} tool={tool} />;
}

function ToolList() {
  const address = useAddress('7d');
  const range = useRange(address);
  const found = useAnswer<{ tools: ToolRow[] }>('/tools', range);
  const most = found.data?.tools[0]?.calls ?? 1;
  return (
    <>
      <Head title="Tools" sub="What was called, what was offered and never used, and whose definition changed">
        <Range address={address} />
      </Head>
      <Filters address={address} />
      <Trouble error={found.error} />
      <div className="scroll">
        <table className="table">
          <thead>
            <tr>
              <th>tool</th>
              <th>server</th>
              <th className="n">calls</th>
              <th className="n">failed</th>
              <th className="n">actors</th>
              <th className="n">median</th>
              <th className="n">p95</th>
              <th>definition</th>
              <th>last</th>
            </tr>
          </thead>
          <tbody>
            {found.data?.tools.map((row) => (
              <tr key={`${row.server_name}\n${row.tool_name}`}>
                <td>
                  <Link
                    href={linkTo(
                      `/tools/${encodeURIComponent(row.server_name || ' ')}/${encodeURIComponent(row.tool_name || ' ')}`,
                      [],
                      address.range,
                    )}
                  >
                    <Said text={row.tool_name} none="(none)" />
                  </Link>
                  <span className="bar" style={{ width: `${(100 * row.calls) / Math.max(1, most)}%` }} />
                </td>
                <td className="dim">
                  <Said text={row.server_name} most={60} />
                </td>
                <td className="n">{row.calls === 0 ? <span className="dim">never</span> : compact(row.calls)}</td>
                <td className={row.failed > 0 ? 'n bad-text' : 'n dim'}>{percent(row.failed, row.calls)}</td>
                <td className="n">{compact(row.actors)}</td>
                <td className="n dim">{took(row.p50)}</td>
                <td className="n dim">{took(row.p95)}</td>
                <td>
                  {row.definitions > 1 ? (
                    <span className="warn-text">{row.definitions} versions</span>
                  ) : (
                    <span className="dim">
                      {row.destructive === true ? 'destructive' : row.read_only === true ? 'read only' : '—'}
                    </span>
                  )}
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

function OneTool({ server, tool }: { server: string; tool: string }) {
  const names = [server === ' ' ? '' : server, tool === ' ' ? '' : tool] as const;
  const address = useAddress('7d');
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
            <CallPages range={range} />
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
