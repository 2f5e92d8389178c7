import { Link } from 'wouter';
import type { Health as HealthAnswer } from '../../api/contract.js';
import { linkTo } from '../address.js';
import { useAnswer } from '../ask.js';
import { Facts, Figure, Head, Panel, Trouble } from '../parts.js';
import { Table, Waiting } from '../table.js';
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
  if (told === undefined) return found.error === null ? <Waiting /> : <Trouble error={found.error} />;
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
            <Table
              label="Gaps"
              rows={told.gaps}
              keyOf={(gap) => gap.producer_id}
              empty={<span className="good-text">None.</span>}
              columns={[
                {
                  name: 'producer',
                  cell: (gap) => (
                    <Link href={linkTo('/explore', [`producer_id=${gap.producer_id}`], '24h')}>
                      <Said text={gap.producer_id} />
                    </Link>
                  ),
                },
                {
                  name: 'missing',
                  number: true,
                  cell: (gap) => <span className="bad-text">{number(gap.missing)}</span>,
                },
                { name: 'seen', number: true, cell: (gap) => number(gap.seen) },
                { name: 'last', cell: (gap) => <Ago at={gap.last_at} /> },
              ]}
            />
          </Panel>
          <Panel title="Dead letters, in the last 30 days">
            <Table
              label="Dead letters"
              rows={told.dead}
              keyOf={(each) => each.reason}
              empty={<span className="good-text">None.</span>}
              columns={[
                {
                  name: 'reason',
                  cell: (each) => (
                    <Link href={`/sql?q=${encodeURIComponent(deadSql(each.reason))}`}>{plain(each.reason, 60)}</Link>
                  ),
                },
                {
                  name: 'records',
                  number: true,
                  cell: (each) => <span className="bad-text">{number(each.records)}</span>,
                },
                { name: 'the last one', wide: true, cell: (each) => <Said text={each.message} most={200} /> },
                { name: 'when', cell: (each) => <Ago at={each.last_at} /> },
              ]}
            />
          </Panel>
          <Panel title="Tables">
            <Table
              label="Tables"
              rows={told.tables.filter(({ rows }) => Number(rows) > 0)}
              keyOf={({ table }) => table}
              columns={[
                { name: 'table', cell: ({ table }) => <code>{table}</code> },
                { name: 'rows', number: true, cell: ({ rows }) => number(Number(rows)) },
                { name: 'on disk', number: true, cell: (row) => bytes(Number(row.bytes)) },
                {
                  name: 'a row',
                  number: true,
                  wide: true,
                  cell: (row) => bytes(Number(row.bytes) / Math.max(1, Number(row.rows))),
                },
              ]}
            />
          </Panel>
        </div>
        <div className="stack">
          <Panel title="Roles">
            <Facts
              facts={[
                [
                  'gateway',
                  told.gateway === undefined
                    ? 'elsewhere'
                    : `${number(told.gateway.rejected_lines)} lines refused, ${number(told.gateway.refused_requests)} requests refused`,
                ],
                ['ingestor', told.ingestor === undefined ? 'elsewhere' : `${number(lag)} behind`],
                [
                  'detector',
                  told.detector === undefined
                    ? 'elsewhere'
                    : `${number(told.detector.lag ?? 0)} behind, ${number(told.detector.late ?? 0)} came late, ${number(told.detector.evicted_groups ?? 0)} groups evicted`,
                ],
                ['watching live', told.tail_clients],
                ['memory', bytes(told.memory_bytes)],
              ]}
            />
          </Panel>
          <Panel title="Disk">
            <Facts
              facts={[
                ['store', bytes(told.disk.store_bytes)],
                ['stream', bytes(told.disk.stream_bytes)],
                ['spools', `${bytes(told.disk.spool_bytes)} in ${told.disk.spools.length}`],
                ['free', bytes(told.disk.free_bytes)],
              ]}
            />
          </Panel>
          <Panel title="Stream">
            <Facts
              facts={told.stream.map(({ topic, partition, earliest_offset, end_offset }) => [
                `${topic} ${partition}`,
                `${number(end_offset - earliest_offset)} records`,
              ])}
            />
          </Panel>
        </div>
      </div>
    </>
  );
}

function deadSql(reason: string): string {
  return `SELECT recorded_at, message, source, payload\nFROM dead\nWHERE reason = '${reason.replaceAll(/[^\w-]/g, '')}'\nORDER BY recorded_at DESC\nLIMIT 100`;
}
