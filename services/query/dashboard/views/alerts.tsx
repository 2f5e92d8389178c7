import { ToggleGroup } from 'radix-ui';
import { Link } from 'wouter';
import type { AlertList, AlertRow, SilenceRow } from '../../api/contract.js';
import { useAddress } from '../address.js';
import { useAnswer } from '../ask.js';
import { Decide, useMayDecide } from '../decide.js';
import { Head, Panel, Trouble } from '../parts.js';
import { Waiting } from '../table.js';
import { Ago, groupText, number, plain, Said, Time } from '../text.js';
import { OneAlert } from './alert.js';

const standings = ['open', 'resolved', 'all'];
const levels = ['informational', 'low', 'medium', 'high', 'critical'];
const listed = 200;

/** Alerts, or one of them. */
export function Alerts({ id }: { id?: string }) {
  return id === undefined ? <AlertsList /> : <OneAlert id={id} key={id} />;
}

function AlertsList() {
  const address = useAddress();
  const standing = address.get('standing') ?? 'open';
  const level = address.get('level');
  const narrowed = ['rule', 'group'].flatMap((name) => {
    const value = address.get(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  const found = useAnswer<AlertList>(
    '/alerts',
    { standing, level, ...Object.fromEntries(narrowed), limit: listed },
    5_000,
  );
  const silences = useAnswer<{ silences: SilenceRow[] }>('/silences', {}, 15_000);
  const counts = found.data?.counts;
  const alerts = found.data?.alerts;
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
        {narrowed.map(([name, value]) => (
          <span className="chip" key={name}>
            <bdi>
              {name}={plain(value, 60)}
            </bdi>
            <button
              type="button"
              aria-label={`Alerts of every ${name}`}
              onClick={() => address.set({ [name]: undefined })}
            >
              ×
            </button>
          </span>
        ))}
        <label className="dim">
          from{' '}
          <select
            value={level ?? levels[0]}
            aria-label="Least level"
            onChange={({ target }) => address.set({ level: target.value === levels[0] ? undefined : target.value })}
          >
            {levels.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
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
      {alerts === undefined && found.error === null && <Waiting />}
      {alerts?.length === 0 && (
        <div className="note">
          <p>
            {standing === 'open'
              ? 'Nothing fires.'
              : 'There are none. Alerts come from rules, once calls are recorded that they watch for.'}
          </p>
          <Link className="button" href="/rules">
            What is watched
          </Link>
        </div>
      )}
      <div data-rows>
        {alerts?.map((alert) => (
          <AlertLine key={alert.alert_id} alert={alert} full />
        ))}
      </div>
      {found.data?.next != null && <p className="dim">The newest {listed}; a level or a rule shows others.</p>}
      <Panel title="Silences: alerts that nobody is told of">
        <Trouble error={silences.error} />
        {silences.data?.silences.length === 0 && (
          <p className="dim">None. An alert's page has a button that silences alerts like it for a while.</p>
        )}
        {silences.data?.silences.map((silence) => (
          <Silence key={silence.response_id} silence={silence} />
        ))}
      </Panel>
    </>
  );
}

/** An alert in two lines, with the way to all of it. */
export function AlertLine({ alert, full = false }: { alert: AlertRow; full?: boolean }) {
  return (
    <Link href={`/alerts/${alert.alert_id}`} className="alert-row">
      <span className={`level ${alert.level}`}>{alert.level}</span>
      <span>
        <bdi className="title">{plain(alert.title || alert.rule_id)}</bdi>
        <br />
        <span className="dim">
          <bdi>{groupText(alert.group)}</bdi>
          {full && (
            <>
              {' · '}
              <bdi>{plain(alert.reason, 160)}</bdi>
            </>
          )}
        </span>
      </span>
      <span className="dim">
        {full && (
          <>
            <span className={`standing ${alert.standing}`}>{alert.standing}</span>
            {alert.acknowledged_by !== '' && alert.standing === 'acknowledged' && (
              <>
                {' '}
                by <Said text={alert.acknowledged_by} most={40} />
              </>
            )}
            {' · '}
          </>
        )}
        <Ago at={alert.at} />
      </span>
    </Link>
  );
}

function Silence({ silence }: { silence: SilenceRow }) {
  const { response_id, revision, matchers, starts_at, ends_at, author, reason } = silence;
  const may = useMayDecide();
  return (
    <div className="held">
      <span>
        <code>{matchers.map((each) => plain(each, 120)).join(' ')}</code>
        <br />
        <span className="dim">
          until <Time at={ends_at} dated /> · by <Said text={author} most={60} none="somebody" /> ·{' '}
          <Said text={reason} most={200} none="no reason given" />
        </span>
      </span>
      {may === true && (
        <Decide
          decision={{
            button: 'End',
            title: 'End this silence',
            note: 'People are told of these alerts again.',
            responses: () => [
              {
                kind: 'silence',
                response_id,
                revision: revision + 1,
                matchers,
                // Older ones have none: the beginning of time, which no response may name.
                ...(starts_at < '2000' ? {} : { starts_at }),
                ends_at: new Date().toISOString(),
              },
            ],
          }}
        />
      )}
    </div>
  );
}
