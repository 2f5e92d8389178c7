import { Link } from 'wouter';
import type { CallRow, FullCall, Neighbours, SessionAnswer } from '../../api/contract.js';
import { linkTo } from '../address.js';
import { useAnswer } from '../ask.js';
import { Result } from '../content.js';
import { Facts, Head, Panel, Trouble } from '../parts.js';
import { Waiting } from '../table.js';
import { bytes, Outcome, plain, Said, Time, took } from '../text.js';
import { Json } from '../tree.js';

const facts: readonly (readonly [string, readonly string[]])[] = [
  [
    'Who',
    [
      'actor_id',
      'actor_type',
      'actor_verified',
      'client_name',
      'client_version',
      'client_id',
      'client_address',
      'session_id',
      'tenant',
    ],
  ],
  [
    'What',
    [
      'server_name',
      'server_version',
      'method',
      'tool_name',
      'resource_uri',
      'prompt_name',
      'request_id',
      'protocol_version',
      'transport',
    ],
  ],
  [
    'How it went',
    [
      'outcome',
      'error_type',
      'error_code',
      'error_message',
      'duration_ms',
      'arguments_bytes',
      'result_bytes',
      'truncated',
    ],
  ],
  ['Tool', ['tool_definition_hash', 'tool_read_only', 'tool_destructive', 'tool_idempotent', 'tool_open_world']],
  [
    'Linkage',
    [
      'trace_id',
      'span_id',
      'parent_event_id',
      'task_id',
      'event_id',
      'arguments_hash',
      'recorded_at',
      'producer_id',
      'producer_sequence',
      'producer_key',
      'stream_partition',
      'stream_offset',
    ],
  ],
];
/** Fields whose value leads to the calls that share it. */
const linked = new Set([
  'actor_id',
  'client_name',
  'client_id',
  'client_address',
  'session_id',
  'server_name',
  'method',
  'tool_name',
  'outcome',
  'error_type',
  'tool_definition_hash',
  'trace_id',
  'arguments_hash',
  'task_id',
  'tenant',
]);

export function Call({ id }: { id: string }) {
  const found = useAnswer<FullCall>(`/calls/${encodeURIComponent(id)}`);
  const near = useAnswer<Neighbours>(`/calls/${encodeURIComponent(id)}/neighbours`);
  const traceUrl = useAnswer<SessionAnswer>('/session', {}, undefined, 60_000).data?.trace_url ?? null;
  const call = found.data;
  if (call === undefined || call.event_id !== id)
    return found.error === null ? <Waiting /> : <Trouble error={found.error} />;
  const redactions = call.redactions as unknown as string[];
  return (
    <>
      <Head
        title={<Said text={call.target || call.method} most={160} />}
        sub={
          <>
            <Outcome outcome={call.outcome} /> · <Said text={call.actor_id} most={80} none="nobody" /> on{' '}
            <Said text={call.server_name} most={80} /> · <Time at={call.occurred_at} dated /> · {took(call.duration_ms)}
          </>
        }
      >
        <div className="actions">
          {call.session_id !== '' && (
            <Link className="button" data-key="s" href={`/sessions/${encodeURIComponent(call.session_id)}`}>
              Its session <kbd>s</kbd>
            </Link>
          )}
          {typeof call.trace_id === 'string' && call.trace_id !== '' && (
            <Link className="button" data-key="r" href={linkTo('/explore', [`trace_id=${call.trace_id}`], '7d')}>
              Its trace <kbd>r</kbd>
            </Link>
          )}
          {typeof call.trace_id === 'string' && call.trace_id !== '' && traceUrl !== null && (
            <a
              className="button"
              data-key="x"
              target="_blank"
              rel="noreferrer"
              href={traceUrl.replaceAll('{trace_id}', encodeURIComponent(call.trace_id))}
            >
              In {new URL(traceUrl).host} <kbd>x</kbd>
            </a>
          )}
        </div>
      </Head>
      {call.error_message !== '' && (
        <div className="problem">
          <Said text={call.error_message} most={4_000} />
        </div>
      )}
      <div className="columns">
        <div className="stack">
          <Panel
            title="Arguments"
            aside={
              <span className="dim">
                {bytes(call.arguments_bytes)}
                {call.truncated && ', cut'}
              </span>
            }
          >
            <div className="card">
              <Json text={String(call.arguments)} hidden={redactions} root="arguments" />
            </div>
          </Panel>
          <Panel title="Result" aside={<span className="dim">{bytes(call.result_bytes)}</span>}>
            <div className="card">
              <Result text={String(call.result)} hidden={redactions} />
            </div>
          </Panel>
          {redactions.length > 0 && (
            <Panel title="Hidden before it left the server">
              <ul className="said">
                {redactions.slice(0, 100).map((each) => (
                  <li key={each}>
                    <code>{plain(each, 200)}</code>
                  </li>
                ))}
              </ul>
            </Panel>
          )}
        </div>
        <div className="stack">
          <Panel title="In its session">
            <Near rows={near.data?.before ?? []} />
            <p className="mono">
              <strong>
                ▸ <Said text={call.target || call.method} most={60} />
              </strong>
            </p>
            <Near rows={near.data?.after ?? []} />
          </Panel>
          {facts.map(([title, names]) => (
            <Panel title={title} key={title}>
              <Facts
                facts={names
                  .filter((name) => call[name] !== '' && call[name] !== null && call[name] !== undefined)
                  .map((name) => {
                    const text = String(call[name]);
                    return [
                      name,
                      linked.has(name) ? (
                        <Link key={name} className="link" href={linkTo('/explore', [`${name}=${text}`], '7d')}>
                          <Said text={text} />
                        </Link>
                      ) : (
                        <Said key={name} text={text} most={400} />
                      ),
                    ];
                  })}
              />
            </Panel>
          ))}
          {Object.keys(call.attributes as object).length > 0 && (
            <Panel title="Attributes">
              <Json text={JSON.stringify(call.attributes)} hidden={[]} root="attributes" />
            </Panel>
          )}
        </div>
      </div>
    </>
  );
}

function Near({ rows }: { rows: readonly CallRow[] }) {
  return rows.map((row) => (
    <p key={row.event_id}>
      <Link href={`/calls/${encodeURIComponent(row.event_id)}`}>
        <span className="dim mono">
          <Time at={row.occurred_at} />
        </span>{' '}
        <Said text={row.target || row.method} most={50} /> <Outcome outcome={row.outcome} />
      </Link>
    </p>
  ));
}
