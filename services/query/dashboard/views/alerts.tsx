import { useQueryClient } from '@tanstack/react-query';
import { ToggleGroup } from 'radix-ui';
import { useMemo, useRef, useState } from 'react';
import { Link } from 'wouter';
import type { AlertChart, AlertList, FullAlert, SessionAnswer } from '../../api/contract.js';
import { linkTo, useAddress } from '../address.js';
import { post, useAnswer } from '../ask.js';
import { Chart, type Line } from '../chart.js';
import { Calls, Head, Panel, Trouble } from '../parts.js';
import { Ago, compact, groupText, number, plain, Said, Time, took } from '../text.js';

const standings = ['open', 'resolved', 'all'];

/** Alerts, or one of them. */
export function Alerts({ id }: { id?: string }) {
  return id === undefined ? <AlertsList /> : <OneAlert id={id} />;
}

function AlertsList() {
  const address = useAddress();
  const standing = address.get('standing') ?? 'open';
  const rule = address.get('rule');
  const found = useAnswer<AlertList>(
    '/alerts',
    { standing, ...(rule === undefined ? {} : { rule }), limit: 200 },
    5_000,
  );
  const counts = found.data?.counts;
  return (
    <>
      <Head
        title="Alerts"
        sub={
          counts === undefined
            ? 'What the rules have found'
            : `${number(counts.firing)} firing, ${number(counts.acknowledged)} acknowledged, ${number(counts.resolved)} resolved`
        }
      >
        {rule !== undefined && (
          <span className="chip">
            <bdi>rule={plain(rule, 60)}</bdi>
            <button
              type="button"
              aria-label="Show the alerts of every rule"
              onClick={() => address.set({ rule: undefined })}
            >
              ×
            </button>
          </span>
        )}
        <ToggleGroup.Root
          type="single"
          className="group"
          aria-label="Standing"
          value={standing}
          onValueChange={(each) => each !== '' && address.set({ standing: each })}
        >
          {standings.map((each) => (
            <ToggleGroup.Item key={each} value={each}>
              {each}
            </ToggleGroup.Item>
          ))}
        </ToggleGroup.Root>
      </Head>
      <Trouble error={found.error} />
      {found.data?.alerts.length === 0 && (
        <p className="note">
          {standing === 'open' ? 'Nothing fires. Rules shows what is watched.' : 'There are none.'}
        </p>
      )}
      <div>
        {found.data?.alerts.map((alert) => (
          <Link key={alert.alert_id} href={`/alerts/${alert.alert_id}`} className="alert-row">
            <span className={`level ${alert.level}`}>{alert.level}</span>
            <span>
              <bdi className="title">{plain(alert.title || alert.rule_id)}</bdi>
              <br />
              <span className="dim">
                <bdi>{groupText(alert.group)}</bdi> · <bdi>{plain(alert.reason, 160)}</bdi>
              </span>
            </span>
            <span className="dim">
              <span className={`standing ${alert.standing}`}>{alert.standing}</span>
              {alert.acknowledged_by !== '' && alert.standing === 'acknowledged' && (
                <>
                  {' '}
                  by <Said text={alert.acknowledged_by} most={40} />
                </>
              )}
              {' · '}
              <Ago at={alert.at} />
            </span>
          </Link>
        ))}
      </div>
    </>
  );
}

const fieldNames: Readonly<Record<string, string>> = {
  actor_id: 'actor',
  server_name: 'server',
  tool_name: 'tool',
  session_id: 'session',
  client_name: 'client',
};

function OneAlert({ id }: { id: string }) {
  const found = useAnswer<FullAlert>(`/alerts/${id}`, {}, 5_000);
  const chart = useAnswer<AlertChart>(`/alerts/${id}/chart`, {});
  const alert = found.data;
  const lines = useMemo(() => linesOf(chart.data), [chart.data]);
  if (alert === undefined)
    return found.error === null ? <p className="note">Loading the alert.</p> : <Trouble error={found.error} />;
  const filters = Object.entries(alert.group).map(([field, value]) => `${field}=${value}`);
  const around = `${Date.parse(alert.first_at) - 600_000}..${Date.parse(alert.last_at) + 60_000}`;
  return (
    <>
      <Head
        title={<bdi>{plain(alert.title || alert.rule_id, 300)}</bdi>}
        sub={
          <>
            <span className={`level ${alert.level}`}>{alert.level}</span>{' '}
            <span className={`standing ${alert.standing}`} data-standing={alert.standing}>
              {alert.standing}
            </span>
            {alert.acknowledged_by !== '' && (
              <>
                {' '}
                · taken on by <Said text={alert.acknowledged_by} most={60} />
              </>
            )}
            {alert.resolved_by !== '' && (
              <>
                {' '}
                · closed by <Said text={alert.resolved_by} most={60} />
              </>
            )}
          </>
        }
      >
        <Decide alert={alert} />
      </Head>
      <div className="columns">
        <div className="stack">
          <p className="said">
            <Said text={alert.reason} most={2_000} />
          </p>
          <Panel title={chartTitle(chart.data)}>
            <Trouble error={chart.error} />
            <Chart
              label={`${chartTitle(chart.data)}, for this alert`}
              times={chart.data?.times ?? []}
              lines={lines}
              height={210}
              format={compact}
              whole
            />
          </Panel>
          <Panel
            title="Evidence"
            aside={
              <Link href={linkTo('/explore', filters, around)} className="link">
                the ten minutes before
              </Link>
            }
          >
            <Calls calls={alert.evidence} short label="Evidence" />
          </Panel>
          {alert.runbook !== '' && (
            <Panel title="What to do">
              <p className="said">{plain(alert.runbook.trim(), 20_000)}</p>
            </Panel>
          )}
        </div>
        <div className="stack">
          <Panel title="About it">
            <dl className="facts">
              {Object.entries(alert.group).map(([field, value]) => (
                <Fact key={field} name={fieldNames[field] ?? field}>
                  <Link
                    href={linkTo(
                      field === 'actor_id' ? `/actors/${encodeURIComponent(value)}` : '/explore',
                      field === 'actor_id' ? [] : [`${field}=${value}`],
                    )}
                    className="link"
                  >
                    <Said text={value} />
                  </Link>
                </Fact>
              ))}
              <Fact name="rule">
                <Link href={`/rules/${encodeURIComponent(alert.rule_id)}`} className="link">
                  <Said text={alert.rule_id} />
                </Link>
              </Fact>
              <Fact name="since">
                <Time at={alert.started_at} dated />
              </Fact>
              <Fact name="last">
                <Time at={alert.last_at} dated />
              </Fact>
              <Fact name="calls">{number(alert.count)}</Fact>
              {Object.entries(alert.values).map(([name, value]) => (
                <Fact key={name} name={plain(name, 30)}>
                  <Said text={value} />
                </Fact>
              ))}
              {alert.tags.length > 0 && <Fact name="tags">{alert.tags.map((tag) => plain(tag, 60)).join(', ')}</Fact>}
              <Fact name="id">
                <code>{alert.alert_id}</code>
              </Fact>
            </dl>
          </Panel>
          <Panel title="What was decided">
            {alert.decisions.length === 0 && <p className="dim">Nothing yet.</p>}
            {alert.decisions.map((each) => (
              <p key={each.response_id}>
                <strong>{each.kind}</strong> by <Said text={each.author} most={60} none="somebody" />{' '}
                <span className="dim">
                  <Ago at={each.at} />
                </span>
                <br />
                <span className="dim">
                  <Said text={each.reason} most={400} none="" />
                </span>
              </p>
            ))}
          </Panel>
          <Panel title="Who was told">
            {alert.deliveries.length === 0 && <p className="dim">Nobody: no channel is routed to.</p>}
            {alert.deliveries.map((each) => (
              <p key={each.delivery_id}>
                <strong>{plain(each.channel, 60)}</strong> {each.state}{' '}
                <span className="dim">
                  <Ago at={each.at} />
                </span>
                {each.error !== '' && (
                  <>
                    <br />
                    <span className="bad-text">{plain(each.error, 200)}</span>
                  </>
                )}
              </p>
            ))}
          </Panel>
          <Panel title="How it went">
            {alert.changes.map((each) => (
              <p key={each.revision}>
                <span className={`standing ${each.state === 'resolved' ? 'resolved' : 'firing'}`}>{each.state}</span>{' '}
                <span className="dim">
                  <Time at={each.at} dated /> · {number(each.count)} calls
                </span>
              </p>
            ))}
          </Panel>
        </div>
      </div>
    </>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function chartTitle(chart: AlertChart | undefined): string {
  if (chart?.window === null || chart === undefined || chart.window_ms === null)
    return 'Calls of this group that the rule looks at';
  return `Calls within ${took(chart.window_ms)}, and the ${number(chart.threshold ?? 0)} of the rule`;
}

function linesOf(chart: AlertChart | undefined): Line[] {
  if (chart === undefined) return [];
  const calls: Line = { name: `calls in ${took(chart.step_ms)}`, values: chart.calls, color: 0, kind: 'bars' };
  if (chart.window === null || chart.threshold === null) return [calls];
  const { threshold } = chart;
  return [
    calls,
    { name: `within ${took(chart.window_ms)}`, values: chart.window, color: 1, kind: 'area' },
    { name: 'threshold', values: chart.times.map(() => threshold), color: 4, kind: 'dashed' },
  ];
}

type Kind = 'acknowledge' | 'resolve' | 'silence' | 'lift';
const kinds: Readonly<Record<Kind, { button: string; title: string; note: string }>> = {
  acknowledge: {
    button: 'Acknowledge',
    title: 'Take this alert on',
    note: 'No more reminders; everybody sees who has it.',
  },
  resolve: { button: 'Resolve', title: 'Close this alert', note: 'It fires again when the rule finds it again.' },
  silence: {
    button: 'Silence',
    title: 'Silence alerts like this one',
    note: 'They stay on record, and nobody is told.',
  },
  lift: {
    button: 'Lift the throttle',
    title: 'Let the caller through again',
    note: 'The throttles that this alert has set are lifted.',
  },
};
const hours = { '1 hour': 1, '8 hours': 8, '1 day': 24, '7 days': 168 };

function Decide({ alert }: { alert: FullAlert }) {
  const me = useAnswer<SessionAnswer>('/session');
  const client = useQueryClient();
  const dialog = useRef<HTMLDialogElement>(null);
  const [kind, setKind] = useState<Kind>('acknowledge');
  const [reason, setReason] = useState('');
  const [lasts, setLasts] = useState('1');
  const [author, setAuthor] = useState(() => localStorage.getItem('author') ?? '');
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  if (me.data?.role !== 'responder') return <span className="dim">This session may look on, and not decide.</span>;
  const choices: Kind[] = [
    ...(alert.standing === 'firing' ? (['acknowledge'] as const) : []),
    ...(alert.standing !== 'resolved' ? (['resolve'] as const) : []),
    'silence',
    ...(alert.throttles.length > 0 ? (['lift'] as const) : []),
  ];
  const decide = async (): Promise<void> => {
    setBusy(true);
    setError(null);
    localStorage.setItem('author', author);
    const said = { reason, author };
    try {
      if (kind === 'silence') {
        const quoted = (value: string): string => (/^[\w.@:-]+$/.test(value) ? value : JSON.stringify(value));
        const group = Object.entries(alert.group).map(
          ([field, value]) => `${fieldNames[field] ?? field}=${quoted(value)}`,
        );
        await post('/responses', {
          ...said,
          kind,
          matchers: [`rule=${alert.rule_id}`, ...group],
          ends_at: new Date(Date.now() + Number(lasts) * 3_600_000).toISOString(),
        });
      } else if (kind === 'lift')
        for (const target of alert.throttles) await post('/responses', { ...said, kind, target });
      else await post('/responses', { ...said, kind, target: alert.alert_id });
      dialog.current?.close();
      setReason('');
      // The decision reaches the table a moment after the stream.
      for (const ms of [300, 1_000, 2_500]) setTimeout(() => void client.invalidateQueries(), ms);
    } catch (told) {
      setError(told);
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="actions">
      {choices.map((each, index) => (
        <button
          type="button"
          key={each}
          className={index === 0 && each !== 'silence' ? 'button primary' : 'button'}
          data-key={{ acknowledge: 'a', resolve: 'r', silence: 's', lift: 'l' }[each]}
          onClick={() => {
            setKind(each);
            dialog.current?.showModal();
          }}
        >
          {kinds[each].button}
        </button>
      ))}
      <dialog ref={dialog} aria-labelledby="decide-title">
        <h3 id="decide-title">{kinds[kind].title}</h3>
        <p className="dim">{kinds[kind].note}</p>
        <Trouble error={error} />
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void decide();
          }}
        >
          {kind === 'silence' && (
            <label>
              For how long
              <select value={lasts} onChange={(event) => setLasts(event.target.value)}>
                {Object.entries(hours).map(([name, value]) => (
                  <option key={name} value={value}>
                    {name}
                  </option>
                ))}
              </select>
            </label>
          )}
          <label>
            Why, for the record
            <textarea rows={3} value={reason} maxLength={2000} onChange={(event) => setReason(event.target.value)} />
          </label>
          <label>
            Your name
            <input type="text" value={author} maxLength={256} onChange={(event) => setAuthor(event.target.value)} />
          </label>
          <div className="actions">
            <button type="submit" className="button primary" disabled={busy}>
              {kinds[kind].button}
            </button>
            <button type="button" className="button" onClick={() => dialog.current?.close()}>
              Cancel
            </button>
          </div>
        </form>
      </dialog>
    </div>
  );
}
