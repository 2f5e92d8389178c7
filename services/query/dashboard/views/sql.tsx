import type { EditorView } from '@codemirror/view';
import { useCallback, useMemo, useRef, useState } from 'react';
import type { SavedQueryList, SqlAnswer, SqlSchema } from '../../api/contract.js';
import { type Address, useAddress } from '../address.js';
import { Problem, post, send, useAnswer } from '../ask.js';
import { Chart } from '../chart.js';
import cookbook from '../cookbook.json' with { type: 'json' };
import { Editor } from '../editor.js';
import { Head, Panel, Trouble } from '../parts.js';
import { type Column, Table } from '../table.js';
import { compact, number, plain } from '../text.js';

const questions: readonly (readonly [string, string])[] = [
  [
    'What did each actor do in the last day',
    "SELECT actor_id, tool_name, count() AS calls, countIf(outcome != 'success') AS failed\nFROM calls\nWHERE occurred_at > now() - INTERVAL 1 DAY AND method = 'tools/call'\nGROUP BY actor_id, tool_name\nORDER BY calls DESC\nLIMIT 100",
  ],
  [
    'Calls a minute',
    'SELECT minute, sum(calls) AS calls\nFROM calls_per_minute\nWHERE minute > now() - INTERVAL 6 HOUR\nGROUP BY minute\nORDER BY minute',
  ],
  [
    'Which errors, and how often',
    "SELECT server_name, tool_name, error_message, count() AS calls\nFROM calls\nWHERE outcome = 'tool_error' AND occurred_at > now() - INTERVAL 7 DAY\nGROUP BY ALL\nORDER BY calls DESC\nLIMIT 50",
  ],
  [
    'Who saw secrets',
    'SELECT occurred_at, actor_id, tool_name, redactions\nFROM calls\nWHERE notEmpty(redactions)\nORDER BY occurred_at DESC\nLIMIT 100',
  ],
];
/** Points that a chart still draws, and rows that the table holds. */
const mostRows = 100_000;

/** SQL over everything that is on record. */
export function Sql() {
  const address = useAddress();
  const schema = useAnswer<SqlSchema>('/sql/schema');
  const text = useRef(address.get('q') ?? questions[0]![1]);
  const [answer, setAnswer] = useState<SqlAnswer>();
  const [error, setError] = useState<unknown>(null);
  const [running, setRunning] = useState<AbortController>();
  const kept = useAnswer<SavedQueryList>('/saved');
  const [name, setName] = useState('');
  const editor = useRef<EditorView>(null);
  const { set } = address;
  const run = useCallback(() => {
    const stop = new AbortController();
    setRunning(stop);
    setError(null);
    set({ q: text.current }, true);
    post<SqlAnswer>('/sql', { sql: text.current, limit: mostRows }, stop.signal)
      .then(setAnswer, (told) => (stop.signal.aborted ? undefined : setError(told)))
      .finally(() => setRunning(undefined));
  }, [set]);
  const open = (query: string): void => {
    editor.current?.dispatch({ changes: { from: 0, to: editor.current.state.doc.length, insert: query } });
    editor.current?.focus();
  };
  /** Keeps a statement, or forgets the name; false when the server refuses. */
  const keep = async (as: string, statement: string | undefined): Promise<boolean> => {
    const path = `/saved/${encodeURIComponent(as)}`;
    try {
      await (statement === undefined ? send('DELETE', path) : send('PUT', path, { statement }));
      setError(null);
      await kept.refetch();
      return true;
    } catch (told) {
      setError(told);
      return false;
    }
  };
  const download = async (): Promise<void> => {
    try {
      const blob = await wholeBody(await send('POST', '/sql/csv', { sql: text.current }));
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = 'answer.csv';
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (told) {
      setError(told);
    }
  };
  return (
    <>
      <Head title="SQL" sub="Read-only, in ClickHouse's dialect. Each question is itself put on record." />
      <div className="columns">
        <div className="stack">
          <Editor text={text} run={run} schema={schema.data} editor={editor} />
          <div className="actions">
            <button type="button" className="button primary" disabled={running !== undefined} onClick={run}>
              Run <kbd>Ctrl ⏎</kbd>
            </button>
            {running !== undefined && (
              <button type="button" className="button" onClick={() => running.abort()}>
                Stop
              </button>
            )}
            <button type="button" className="button" onClick={() => void download()}>
              CSV of all rows
            </button>
            <form
              className="actions"
              onSubmit={(event) => {
                event.preventDefault();
                const saved = name.trim();
                if (saved !== '') void keep(saved, text.current).then((done) => done && setName(''));
              }}
            >
              <input
                type="text"
                aria-label="Name to save the query under"
                placeholder="save as"
                value={name}
                maxLength={80}
                onChange={(event) => setName(event.target.value)}
              />
              <button type="submit" className="button">
                Save
              </button>
            </form>
          </div>
          <Trouble error={error} />
          {answer !== undefined && <Answer answer={answer} address={address} />}
        </div>
        <div className="stack">
          {kept.data !== undefined && kept.data.queries.length > 0 && (
            <Panel title="Saved">
              {kept.data.queries.map((each) => (
                <p key={`${each.tenant} ${each.name}`}>
                  <button type="button" className="button quiet" onClick={() => open(each.statement)}>
                    {plain(each.name, 80)}
                  </button>
                  <button
                    type="button"
                    className="button quiet"
                    aria-label={`Forget ${plain(each.name, 80)}`}
                    onClick={() => void keep(each.name, undefined)}
                  >
                    ×
                  </button>
                </p>
              ))}
            </Panel>
          )}
          <Panel title="Questions">
            {questions.map(([title, query]) => (
              <p key={title}>
                <button type="button" className="button quiet" onClick={() => open(query)}>
                  {title}
                </button>
              </p>
            ))}
          </Panel>
          <Panel title="Cookbook">
            {cookbook.map(({ title, sql }) => (
              <p key={title}>
                <button type="button" className="button quiet" onClick={() => open(sql)}>
                  {title}
                </button>
              </p>
            ))}
          </Panel>
          <Panel title="Tables">
            {schema.data?.tables.map((table) => (
              <details key={table.name}>
                <summary className="mono">{table.name}</summary>
                <p className="dim mono">{table.columns.join(', ')}</p>
              </details>
            ))}
          </Panel>
        </div>
      </div>
    </>
  );
}

/** A body that broke off says why at its end. @throws Problem */
async function wholeBody(response: Response): Promise<Blob> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const reader = response.body!.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value);
  } catch {
    const end = await new Blob(chunks).slice(-20_000).text();
    const [, why = 'The connection ended.'] =
      /__exception__\r\n\w+\r\n(.*)\n\d+ \w+\r\n__exception__\r\n$/s.exec(end) ?? [];
    throw new Problem(200, 'query_failed', why, 'The rows before it are not the whole answer, so no file was made.');
  }
  return new Blob(chunks, { type: 'text/csv' });
}

const numeric = /^(Nullable\()?(U?Int|Float|Decimal)/;
const temporal = /^(Nullable\()?Date/;

function Answer({ answer, address }: { answer: SqlAnswer; address: Address }) {
  const { columns, rows, more, elapsed_ms } = answer;
  const chart = useMemo(() => {
    const time = columns.findIndex(({ type }) => temporal.test(type));
    const values = columns.flatMap(({ type }, index) => (numeric.test(type) ? [index] : []));
    if (time < 0 || values.length === 0 || rows.length < 2) return undefined;
    const sorted = [...rows].sort((a, b) => Date.parse(String(a[time])) - Date.parse(String(b[time])));
    const times = sorted.map((row) => Date.parse(String(row[time])) / 1000);
    if (times.some((at, index) => Number.isNaN(at) || at === times[index - 1])) return undefined;
    return {
      times,
      lines: values.slice(0, 8).map((index, color) => ({
        name: columns[index]!.name,
        values: sorted.map((row) => Number(row[index])),
        color,
      })),
    };
  }, [columns, rows]);
  return (
    <Panel
      title={`${number(rows.length)}${more ? ' rows, and there are more' : rows.length === 1 ? ' row' : ' rows'} in ${elapsed_ms} ms`}
    >
      {chart !== undefined && (
        <Chart label="The answer over time" times={chart.times} lines={chart.lines} height={200} format={compact} />
      )}
      <Table
        label="Rows"
        mono
        rows={rows}
        keyOf={(_, index) => String(index)}
        empty="No row answers."
        address={address}
        columns={columns.map(
          ({ name, type }, index): Column<readonly unknown[]> => ({
            name: plain(name, 60),
            note: plain(type),
            number: numeric.test(type),
            by: (row) => sortable(row[index], type),
            cell: (row) => <bdi>{textOf(row[index])}</bdi>,
          }),
        )}
      />
    </Panel>
  );
}

function textOf(value: unknown): string {
  if (value === null) return '∅';
  return plain(typeof value === 'string' ? value : JSON.stringify(value), 300);
}

function sortable(value: unknown, type: string): string | number | null {
  if (value === null || typeof value === 'number') return value;
  return numeric.test(type) ? Number(value) : textOf(value);
}
