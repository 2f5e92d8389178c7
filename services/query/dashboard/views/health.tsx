import type { Health as HealthAnswer } from '../../api/contract.js';
import { useAnswer } from '../ask.js';
import { Figure, Head, Panel, Trouble } from '../parts.js';
import { Ago, bytes, compact, number, plain, Said, took } from '../text.js';

interface Told extends HealthAnswer {
  readonly pid: number;
  readonly memory_bytes: number;
  readonly tail_clients: number;
  readonly stream: readonly { topic: string; partition: number; earliest_offset: number; end_offset: number }[];
  readonly tables: readonly { table: string; rows: number; bytes: number }[];
  readonly losses: { lost_calls: number; damaged_records: number } | null;
  readonly disk: {
    spool_bytes: number;
    stream_bytes: number;
    store_bytes: number;
    free_bytes: number;
    spools: readonly { producer_id: string; bytes: number; pid: number | null }[];
  };
  readonly ingestor?: { lag: number };
  readonly detector?: { lag?: number; late?: number; evicted_groups?: number; problems?: readonly unknown[] };
  readonly gateway?: { rejected_lines: number; refused_requests: number };
}

/** How recording goes. */
export function Health() {
  const found = useAnswer<Told>('/health', {}, 5_000);
  const told = found.data;
  if (told === undefined)
    return found.error === null ? <p className="note">Asking the daemon.</p> : <Trouble error={found.error} />;
  const lag = told.ingestor?.lag ?? 0;
  const lost = told.losses === null ? undefined : told.losses.lost_calls + told.losses.damaged_records;
  const missing = told.gaps.reduce((sum, gap) => sum + gap.missing, 0);
  const full = told.disk.free_bytes < 2e9;
  return (
    <>
      <Head
        title="Health"
        sub={
          <>
            Version {told.version}, process {told.pid}, started <Ago at={told.started_at} />
          </>
        }
      />
      <Trouble error={found.error} />
      <div className="figures">
        <Figure name="calls a second" value={compact(told.calls_per_second)} />
        <Figure name="on their way to the store" value={compact(lag)} bad={lag > 50_000} />
        <Figure name="recorded within (99 %)" value={took(told.ingest_delay_ms.p99)} />
        <Figure name="lost or damaged" value={lost === undefined ? '?' : compact(lost)} bad={(lost ?? 1) > 0} />
        <Figure name="missing in sequences" value={compact(missing)} bad={missing > 0} />
        <Figure name="dead letters" value={compact(told.dead_letters)} bad={told.dead_letters > 0} />
        <Figure name="disk free" value={bytes(told.disk.free_bytes)} bad={full} />
      </div>
      <div className="columns">
        <div className="stack">
          <Panel title="Gaps: calls that a producer counted and that never came, in the last day">
            {told.gaps.length === 0 ? (
              <p className="good-text">None.</p>
            ) : (
              <div className="scroll">
                <table className="table">
                  <thead>
                    <tr>
                      <th>producer</th>
                      <th className="n">missing</th>
                      <th className="n">seen</th>
                      <th>last</th>
                    </tr>
                  </thead>
                  <tbody>
                    {told.gaps.map((gap) => (
                      <tr key={gap.producer_id}>
                        <td>
                          <Said text={gap.producer_id} />
                        </td>
                        <td className="n bad-text">{number(gap.missing)}</td>
                        <td className="n">{number(gap.seen)}</td>
                        <td className="dim">
                          <Ago at={gap.last_at} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )}
          </Panel>
          <Panel title="Dead letters, in the last 30 days">
            {told.dead.length === 0 ? (
              <p className="good-text">None.</p>
            ) : (
              <div className="scroll">
                <table className="table">
                  <thead>
                    <tr>
                      <th>reason</th>
                      <th className="n">records</th>
                      <th>the last one</th>
                      <th>when</th>
                    </tr>
                  </thead>
                  <tbody>
                    {told.dead.map((each) => (
                      <tr key={each.reason}>
                        <td>{plain(each.reason, 60)}</td>
                        <td className="n bad-text">{number(each.records)}</td>
                        <td className="dim">
                          <Said text={each.message} most={200} />
                        </td>
                        <td className="dim">
                          <Ago at={each.last_at} />
                        </td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )}
          </Panel>
          <Panel title="Tables">
            <div className="scroll">
              <table className="table">
                <thead>
                  <tr>
                    <th>table</th>
                    <th className="n">rows</th>
                    <th className="n">on disk</th>
                    <th className="n">a row</th>
                  </tr>
                </thead>
                <tbody>
                  {told.tables
                    .filter(({ rows }) => Number(rows) > 0)
                    .map(({ table, rows, bytes: size }) => (
                      <tr key={table}>
                        <td className="mono">{table}</td>
                        <td className="n">{number(Number(rows))}</td>
                        <td className="n">{bytes(Number(size))}</td>
                        <td className="n dim">{bytes(Number(size) / Math.max(1, Number(rows)))}</td>
                      </tr>
                    ))}
                </tbody>
              </table>
            </div>
          </Panel>
        </div>
        <div className="stack">
          <Panel title="Roles">
            <dl className="facts">
              <dt>gateway</dt>
              <dd>
                {told.gateway === undefined
                  ? 'elsewhere'
                  : `${number(told.gateway.rejected_lines)} lines refused, ${number(told.gateway.refused_requests)} requests refused`}
              </dd>
              <dt>ingestor</dt>
              <dd>{number(lag)} behind</dd>
              <dt>detector</dt>
              <dd>
                {told.detector === undefined
                  ? 'elsewhere'
                  : `${number(told.detector.lag ?? 0)} behind, ${number(told.detector.late ?? 0)} came late, ${number(told.detector.evicted_groups ?? 0)} groups evicted`}
              </dd>
              <dt>watching live</dt>
              <dd>{told.tail_clients}</dd>
              <dt>memory</dt>
              <dd>{bytes(told.memory_bytes)}</dd>
            </dl>
          </Panel>
          <Panel title="Disk">
            <dl className="facts">
              <dt>store</dt>
              <dd>{bytes(told.disk.store_bytes)}</dd>
              <dt>stream</dt>
              <dd>{bytes(told.disk.stream_bytes)}</dd>
              <dt>spools</dt>
              <dd>
                {bytes(told.disk.spool_bytes)} in {told.disk.spools.length}
              </dd>
              <dt>free</dt>
              <dd>{bytes(told.disk.free_bytes)}</dd>
            </dl>
          </Panel>
          <Panel title="Stream">
            <dl className="facts">
              {told.stream.map(({ topic, partition, earliest_offset, end_offset }) => (
                <div key={`${topic} ${partition}`} style={{ display: 'contents' }}>
                  <dt>
                    {topic} {partition}
                  </dt>
                  <dd>{number(end_offset - earliest_offset)} records</dd>
                </div>
              ))}
            </dl>
          </Panel>
        </div>
      </div>
    </>
  );
}
