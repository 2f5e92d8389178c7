import { useMemo, useState } from 'react';
import { Link } from 'wouter';
import type { Backtest, FullRule, RuleList } from '../../api/contract.js';
import { useAddress } from '../address.js';
import { get, useAnswer } from '../ask.js';
import { Chart } from '../chart.js';
import { Figure, Head, Panel, Trouble } from '../parts.js';
import { Table, Waiting } from '../table.js';
import { Ago, compact, groupText, number, plain, Said } from '../text.js';

const levels = ['informational', 'low', 'medium', 'high', 'critical'];

/** Rules, or one of them. */
export function Rules({ id }: { id?: string }) {
  return id === undefined ? <Rulebook /> : <OneRule id={id} />;
}

function Rulebook() {
  const address = useAddress();
  const found = useAnswer<RuleList>('/rules', {}, 15_000);
  return (
    <>
      <Head
        title="Rules"
        sub={found.data === undefined ? 'What is watched' : `${number(found.data.rules.length)} in force`}
      />
      <Trouble error={found.error} />
      {found.data?.problems.map((each) => (
        <div className="problem" key={each}>
          {plain(each, 600)}
        </div>
      ))}
      {(found.error === null || found.data !== undefined) && (
        <Table
          label="Rules"
          rows={found.data?.rules}
          keyOf={({ id }) => id}
          address={address}
          empty="No rule is in force: rules.pack turns the shipped ones on, and your own lie in the directory rules."
          columns={[
            {
              name: 'rule',
              by: ({ title, id }) => title || id,
              cell: ({ id, title }) => (
                <Link href={`/rules/${encodeURIComponent(id)}`}>
                  <strong>
                    <Said text={title || id} />
                  </strong>
                  <br />
                  <span className="dim mono">{plain(id, 80)}</span>
                </Link>
              ),
            },
            {
              name: 'level',
              by: ({ level }) => levels.indexOf(level),
              cell: ({ level }) => <span className={`level ${level}`}>{level}</span>,
            },
            {
              name: 'watches',
              wide: true,
              cell: ({ watches, enabled, dry_run }) =>
                `${plain(watches, 120)}${enabled ? '' : ', disabled'}${dry_run ? ', dry run' : ''}`,
            },
            {
              name: 'firing',
              number: true,
              by: ({ firing }) => firing,
              cell: ({ firing, id }) => <Found id={id} alerts={firing} standing="open" />,
            },
            {
              name: '30 days',
              number: true,
              by: ({ alerts_30d }) => alerts_30d,
              cell: ({ alerts_30d, id }) => <Found id={id} alerts={alerts_30d} standing="all" />,
            },
            {
              name: 'last fired',
              wide: true,
              by: ({ last_fired_at }) => last_fired_at,
              cell: ({ last_fired_at }) => <Ago at={last_fired_at} />,
            },
            {
              name: 'tests',
              by: ({ failing_tests, tests }) => failing_tests * 1_000 + tests,
              cell: ({ tests, failing_tests }) =>
                tests === 0 ? (
                  <span className="dim">none</span>
                ) : failing_tests > 0 ? (
                  <span className="bad-text">
                    {failing_tests} of {tests} fail
                  </span>
                ) : (
                  <span className="good-text">{tests} pass</span>
                ),
            },
          ]}
        />
      )}
    </>
  );
}

/** A count that leads to the alerts it counts. */
function Found({ id, alerts, standing }: { id: string; alerts: number; standing: string }) {
  if (alerts === 0) return <span className="dim">0</span>;
  return (
    <Link className="link" href={`/alerts?standing=${standing}&rule=${encodeURIComponent(id)}`}>
      {compact(alerts)}
    </Link>
  );
}

function OneRule({ id }: { id: string }) {
  const found = useAnswer<FullRule>(`/rules/${encodeURIComponent(id)}`);
  const rule = found.data;
  if (rule === undefined) return found.error === null ? <Waiting /> : <Trouble error={found.error} />;
  return (
    <>
      <Head
        title={<Said text={rule.title || rule.id} />}
        sub={
          <>
            <span className={`level ${rule.level}`}>{rule.level}</span> {plain(rule.watches)}
          </>
        }
      >
        <Link className="button" href={`/alerts?standing=all&rule=${encodeURIComponent(rule.id)}`}>
          Its alerts
        </Link>
      </Head>
      <div className="figures">
        <Figure name="firing" value={compact(rule.firing)} bad={rule.firing > 0} />
        <Figure name="alerts in 30 days" value={compact(rule.alerts_30d)} />
        <Figure name="last fired" value={<Ago at={rule.last_fired_at} />} />
        <Figure
          name="tests"
          value={rule.tests - rule.failing_tests}
          unit={`of ${rule.tests} pass`}
          bad={rule.failing_tests > 0}
        />
      </div>
      <div className="columns">
        <div className="stack">
          {rule.description !== '' && <p className="said">{plain(rule.description.trim(), 10_000)}</p>}
          <BacktestPanel id={rule.id} />
          <Panel title={`${plain(rule.file, 120)}:${rule.line}`}>
            <div className="card">
              <pre>{plain(rule.source, 60_000)}</pre>
            </div>
          </Panel>
        </div>
        <div className="stack">
          {rule.runbook !== '' && (
            <Panel title="What to do">
              <p className="said">{plain(rule.runbook.trim(), 20_000)}</p>
            </Panel>
          )}
          <Panel title="Tests">
            {rule.test_results.length === 0 && <p className="dim">None.</p>}
            {rule.test_results.map(({ name, failures }) => (
              <p key={name}>
                <span className={failures.length === 0 ? 'good-text' : 'bad-text'}>
                  {failures.length === 0 ? '✓' : '✗'}
                </span>{' '}
                {plain(name)}
                {failures.map((each) => (
                  <span key={each}>
                    <br />
                    <span className="bad-text">{plain(each, 400)}</span>
                  </span>
                ))}
              </p>
            ))}
          </Panel>
          {rule.tags.length > 0 && (
            <Panel title="Tags">
              <p className="dim">{rule.tags.map((tag) => plain(tag, 60)).join(', ')}</p>
            </Panel>
          )}
        </div>
      </div>
    </>
  );
}

function BacktestPanel({ id }: { id: string }) {
  const [result, setResult] = useState<Backtest>();
  const [days, setDays] = useState(7);
  const [running, setRunning] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const run = (): void => {
    setRunning(true);
    setError(null);
    get<Backtest>(`/rules/${encodeURIComponent(id)}/backtest`, { days })
      .then(setResult, setError)
      .finally(() => setRunning(false));
  };
  const chart = useMemo(() => {
    if (result === undefined) return undefined;
    const from = Date.parse(result.from) / 1000;
    const step = (Date.parse(result.to) / 1000 - from) / Math.max(1, result.histogram.length);
    return {
      times: result.histogram.map((_, index) => from + index * step),
      lines: [{ name: 'alerts', values: result.histogram, color: 4, kind: 'bars' as const }],
    };
  }, [result]);
  return (
    <Panel
      title="What it would have found"
      aside={
        <span className="actions">
          <select aria-label="Days to look back" value={days} onChange={(event) => setDays(Number(event.target.value))}>
            {[1, 7, 30].map((each) => (
              <option key={each} value={each}>
                {each === 1 ? 'a day' : `${each} days`}
              </option>
            ))}
          </select>
          <button type="button" className="button" data-key="b" disabled={running} onClick={run}>
            {running ? 'running…' : 'Backtest'}
          </button>
        </span>
      }
    >
      <Trouble error={error} />
      {result === undefined && error === null && (
        <p className="dim">A backtest runs this rule over the calls that are stored, in the engine that runs live.</p>
      )}
      {result !== undefined && chart !== undefined && (
        <>
          <p data-backtest>
            <strong>{number(result.alerts)}</strong> alerts of <strong>{number(result.keys)}</strong> groups, from{' '}
            {number(result.events)} calls in {result.seconds.toFixed(1)} s.
          </p>
          <Chart
            label="Alerts that would have begun, over time"
            times={chart.times}
            lines={chart.lines}
            height={140}
            format={compact}
            whole
          />
          {result.noisiest.map((each) => (
            <p key={JSON.stringify(each.group)} className="dim">
              {number(each.alerts)} · <bdi>{groupText(each.group)}</bdi>
            </p>
          ))}
        </>
      )}
    </Panel>
  );
}
