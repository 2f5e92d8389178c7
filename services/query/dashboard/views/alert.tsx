/** One alert, for whoever is woken by it: what fires, how far, for whom, what to do and what others have done about it. */
import { type ReactNode, useMemo } from 'react';
import { Link } from 'wouter';
import type { AlertChart, AlertList, FullAlert, ThrottleRow } from '../../api/contract.js';
import { linkTo } from '../address.js';
import { useAnswer } from '../ask.js';
import { Calls } from '../calls.js';
import { Chart, type Line, type Mark } from '../chart.js';
import { Decide, type Decision, useMayDecide } from '../decide.js';
import { Facts, Head, Panel, Trouble } from '../parts.js';
import { Waiting } from '../table.js';
import { Ago, bytes, compact, lasting, number, percent, plain, Said, Time, took } from '../text.js';
import { Throttles } from './throttles.js';

const fieldNames: Readonly<Record<string, string>> = {
  actor_id: 'actor',
  server_name: 'server',
  tool_name: 'tool',
  session_id: 'session',
  client_name: 'client',
};
const beforeMs = 600_000;

export function OneAlert({ id }: { id: string }) {
  const found = useAnswer<FullAlert>(`/alerts/${id}`, {}, 5_000);
  const throttles = useAnswer<{ throttles: ThrottleRow[] }>('/throttles', {}, 5_000);
  const alert = found.data;
  // What is read first is asked first.
  const chart = useAnswer<AlertChart>(alert === undefined ? undefined : `/alerts/${id}/chart`, {}, 30_000);
  const lines = useMemo(() => linesOf(chart.data), [chart.data]);
  const marks = useMarks(alert);
  if (alert === undefined) return found.error === null ? <Waiting /> : <Trouble error={found.error} />;
  const held = throttles.data?.throttles.filter(({ alert_ids }) => alert_ids.includes(alert.alert_id));
  const { format, title } = measureOf(chart.data);
  return (
    <>
      <Head title={<bdi>{plain(alert.title || alert.rule_id, 300)}</bdi>} sub={<Standing alert={alert} />}>
        <Decisions alert={alert} />
      </Head>
      <Trouble error={found.error} />
      <div className="columns">
        <div className="stack">
          <Who alert={alert} />
          <Panel title={title} aside={<Around alert={alert} />}>
            <Trouble error={chart.error} />
            <Chart
              label={title}
              times={chart.data?.times ?? []}
              lines={lines}
              marks={marks}
              height={190}
              format={format}
              whole={chart.data?.how !== 'share'}
            />
          </Panel>
          <Panel
            title={
              alert.evidence.length < alert.count
                ? `Evidence: ${number(alert.evidence.length)} of the ${number(alert.count)} calls at which it held`
                : 'Evidence: the calls at which it held'
            }
          >
            <Calls
              calls={alert.evidence}
              short
              label="Evidence"
              empty="This rule fires because of what did not come, or the calls are no longer kept."
            />
          </Panel>
        </div>
        <div className="stack">
          <Panel title="What to do">
            <p className="said">{plain(alert.runbook.trim() || alert.description.trim(), 20_000) || 'No runbook.'}</p>
          </Panel>
          {(alert.throttles.length > 0 || (held?.length ?? 0) > 0) && (
            <Panel title="Held back by it">
              {held?.length === 0 ? <p className="dim">No longer.</p> : <Throttles throttles={held} letter="l" />}
            </Panel>
          )}
          <Panel title="So far">
            <SoFar alert={alert} />
          </Panel>
          <Panel title="About it">
            <Facts
              facts={[
                ['rule', <InRule key="rule" alert={alert} />],
                ...Object.entries(alert.values).map(
                  ([name, value]) => [plain(name, 30), <Said key={name} text={value} />] as const,
                ),
                ['tags', alert.tags.map((tag) => plain(tag, 60)).join(', ') || '—'],
                ['id', <code key="id">{alert.alert_id}</code>],
              ]}
            />
            {alert.runbook !== '' && alert.description !== '' && (
              <p className="said dim">{plain(alert.description.trim(), 4_000)}</p>
            )}
          </Panel>
        </div>
      </div>
    </>
  );
}

function Standing({ alert }: { alert: FullAlert }) {
  const { level, standing, acknowledged_by, resolved_by, dry_run, started_at, last_at } = alert;
  return (
    <>
      <span className={`level ${level}`}>{level}</span>{' '}
      <span className={`standing ${standing}`} data-standing={standing}>
        {standing}
      </span>
      {dry_run && ' · dry run: nobody is told'} · since <Time at={started_at} dated /> (<Ago at={started_at} />)
      {Date.parse(last_at) > Date.parse(started_at) && (
        <>
          , the last call <Ago at={last_at} />
        </>
      )}
      {acknowledged_by !== '' && (
        <>
          {' '}
          · taken on by <Said text={acknowledged_by} most={60} />
        </>
      )}
      {resolved_by !== '' && (
        <>
          {' '}
          · closed by <Said text={resolved_by} most={60} />
        </>
      )}
    </>
  );
}

/** An alert counts the calls at which its condition was met, and not those that the condition counts. */
function heldAt(calls: number): string {
  return `held at ${number(calls)} ${calls === 1 ? 'call' : 'calls'}`;
}

/** Whom it is about, and what crossed. */
function Who({ alert }: { alert: FullAlert }) {
  const groups = Object.entries(alert.group);
  const same = useAnswer<AlertList>(
    '/alerts',
    {
      standing: 'all',
      rule: alert.rule_id,
      ...(groups.length === 0 ? {} : { group: groups[0]![1] }),
      limit: 100,
    },
    undefined,
    60_000,
  );
  const others = (same.data?.alerts.length ?? 1) - 1;
  const search = new URLSearchParams({ standing: 'all', rule: alert.rule_id });
  if (groups.length > 0) search.set('group', groups[0]![1]);
  return (
    <div className="card who">
      <p>
        {groups.map(([field, value]) => (
          <span key={field}>
            <span className="dim">{fieldNames[field] ?? field}</span>{' '}
            <Link
              href={
                field === 'actor_id'
                  ? `/actors/${encodeURIComponent(value || ' ')}`
                  : linkTo('/explore', [`${field}=${value}`])
              }
              className="link"
            >
              <Said text={value} />
            </Link>
          </span>
        ))}
      </p>
      <p className="reason">
        <Said text={alert.reason} most={2_000} />
      </p>
      <p className="dim">
        {heldAt(alert.count)} so far ·{' '}
        {others === 0 ? (
          'for the first time'
        ) : (
          <Link className="link" href={`/alerts?${search}`}>
            {others >= 99 ? '99 or more' : number(others)} like it before and since
          </Link>
        )}
      </p>
    </div>
  );
}

/** The ways from here to the calls around it. */
function Around({ alert }: { alert: FullAlert }) {
  const filters = Object.entries(alert.group).map(([field, value]) => `${field}=${value}`);
  const around = `${Date.parse(alert.first_at) - beforeMs}..${Date.parse(alert.last_at) + 60_000}`;
  return (
    <Link href={linkTo('/explore', filters, around)} className="link" data-key="e">
      ten minutes before, and since
    </Link>
  );
}

function InRule({ alert }: { alert: FullAlert }) {
  return (
    <Link href={`/rules/${encodeURIComponent(alert.rule_id)}`} className="link">
      <Said text={alert.rule_id} />
    </Link>
  );
}

/** Everything that happened to it, in the order of time: its states, who was told, who decided. */
function SoFar({ alert }: { alert: FullAlert }) {
  const events: { at: string; key: string; text: ReactNode; note: string; bad?: boolean }[] = [
    ...alert.changes.map(({ at, revision, state, count }) => ({
      at,
      key: `r${revision}`,
      text: <span className={`standing ${state === 'resolved' ? 'resolved' : 'firing'}`}>{state}</span>,
      note: heldAt(count),
    })),
    ...alert.decisions.map(({ at, response_id, kind, author, reason }) => ({
      at,
      key: response_id,
      text: (
        <>
          <strong>{kind}</strong> by <Said text={author} most={60} none="somebody" />
        </>
      ),
      note: reason,
    })),
    ...alert.deliveries.map(({ at, delivery_id, channel, state, error }) => ({
      at,
      key: delivery_id,
      text: (
        <>
          {plain(channel, 60)} <strong>{state}</strong>
        </>
      ),
      note: error,
      bad: error !== '',
    })),
  ].sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
  return (
    <>
      <ol className="so-far">
        {events.map(({ at, key, text, note, bad }) => (
          <li key={key}>
            <Time at={at} dated />
            <span>
              {text}{' '}
              <span className={bad === true ? 'bad-text' : 'dim'}>
                <Said text={note} most={400} none="" />
              </span>
            </span>
          </li>
        ))}
      </ol>
      {alert.deliveries.length === 0 && <p className="dim">Nobody was told: no channel is routed to.</p>}
    </>
  );
}

function useMarks(alert: FullAlert | undefined): readonly Mark[] {
  const text = JSON.stringify(
    alert === undefined
      ? []
      : [
          { at: Date.parse(alert.started_at) / 1000, name: 'fires', color: 4 },
          ...alert.decisions.map(({ at, kind }) => ({ at: Date.parse(at) / 1000, name: kind, color: 6 })),
          ...alert.changes
            .filter(({ state }) => state === 'resolved')
            .map(({ at }) => ({ at: Date.parse(at) / 1000, name: 'resolved', color: 2 })),
        ],
  );
  return useMemo(() => JSON.parse(text) as Mark[], [text]);
}

/** How what the rule measures is called and written. */
function measureOf(chart: AlertChart | undefined): { title: string; format: (value: number) => string } {
  if (chart === undefined || chart.how === null || chart.window_ms === null || chart.threshold === null)
    return { title: 'Calls that the rule looks at', format: compact };
  const within = `within ${lasting(chart.window_ms)}`;
  const { threshold } = chart;
  if (chart.how === 'share')
    return {
      title: `Share ${within}, and the ${percent(threshold, 1)} of the rule`,
      format: (value) => percent(value, 1),
    };
  const what = { count: 'Calls', distinct: 'Different values', sum: 'Sum' }[chart.how];
  const format = chart.how === 'sum' && threshold >= 1e6 ? bytes : compact;
  return { title: `${what} ${within}, and the ${format(threshold)} of the rule`, format };
}

function linesOf(chart: AlertChart | undefined): Line[] {
  if (chart === undefined) return [];
  const calls: Line = { name: `calls in ${took(chart.step_ms)}`, values: chart.calls, color: 0, kind: 'bars' };
  if (chart.window === null || chart.threshold === null) return [calls];
  const { threshold } = chart;
  const measured: Line = {
    name: `within ${lasting(chart.window_ms ?? 0)}`,
    values: chart.window,
    color: 1,
    kind: 'area',
  };
  const limit: Line = { name: 'threshold', values: chart.times.map(() => threshold), color: 4, kind: 'dashed' };
  // Calls have the unit of the measure only where it counts them.
  return chart.how === 'count' || chart.how === 'distinct' ? [calls, measured, limit] : [measured, limit];
}

function Decisions({ alert }: { alert: FullAlert }) {
  const may = useMayDecide();
  if (may === undefined) return null;
  if (!may)
    return (
      <span className="dim">
        This session may look on. <code>mcp-auditd dashboard</code> prints a link that may decide.
      </span>
    );
  const decisions: Decision[] = [];
  const target = alert.alert_id;
  if (alert.standing === 'firing')
    decisions.push({
      button: 'Acknowledge',
      title: 'Take this alert on',
      note: 'No more reminders; everybody sees who has it.',
      letter: 'a',
      primary: true,
      responses: () => [{ kind: 'acknowledge', target }],
    });
  if (alert.standing !== 'resolved')
    decisions.push({
      button: 'Resolve',
      title: 'Close this alert',
      note: 'It fires again when the rule finds it again.',
      letter: 'r',
      responses: () => [{ kind: 'resolve', target }],
    });
  const matchers = silenceOf(alert);
  decisions.push({
    button: 'Silence',
    title: 'Silence alerts like this one',
    note: `They stay on record, and nobody is told: ${matchers.map((each) => plain(each, 120)).join(' ')}`,
    letter: 's',
    lasts: true,
    responses: ({ hours }) => [
      { kind: 'silence', matchers, ends_at: new Date(Date.now() + hours * 3_600_000).toISOString() },
    ],
  });
  return (
    <div className="actions">
      {decisions.map((decision) => (
        <Decide key={decision.button} decision={decision} />
      ))}
    </div>
  );
}

/** Matchers of the alerts of this rule and group. */
function silenceOf(alert: FullAlert): string[] {
  const quoted = (value: string): string => (/^[\w.@:-]+$/.test(value) ? value : JSON.stringify(value));
  const group = Object.entries(alert.group).map(([field, value]) => `${fieldNames[field] ?? field}=${quoted(value)}`);
  return [`rule=${alert.rule_id}`, ...group];
}
