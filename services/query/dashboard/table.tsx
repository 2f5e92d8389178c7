/** One table for every list: sorted by its heads, walked with j and k, and only what is seen is in the page where it is long. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { type ReactNode, useLayoutEffect, useMemo, useRef, useState } from 'react';
import type { Address } from './address.js';

export interface Column<Row> {
  readonly name: string;
  readonly cell: (row: Row) => ReactNode;
  /** Stands right, in figures of one width. */
  readonly number?: boolean;
  /** Left out where the window is narrow. */
  readonly wide?: boolean;
  /** What the head sorts by; null comes last. */
  readonly by?: (row: Row) => string | number | null;
  readonly note?: string;
}

/** Rows that stand in the page as they are: the browser's own search finds them. */
const mostWhole = 120;

/**
 * A list as a table. `rows` undefined: they are on their way. The order is kept in the address where there is one, as
 * `sort=-calls`; each cell may hold a link, and j and k go from the first link of a row to that of the next.
 */
export function Table<Row>({
  label,
  rows,
  columns,
  keyOf,
  empty = 'None.',
  address,
  mono = false,
}: {
  label: string;
  rows: readonly Row[] | undefined;
  columns: readonly Column<Row>[];
  keyOf: (row: Row, index: number) => string;
  empty?: ReactNode;
  address?: Address;
  mono?: boolean;
}) {
  const holder = useRef<HTMLDivElement>(null);
  const head = useRef<HTMLTableRowElement>(null);
  const [widths, setWidths] = useState<readonly number[]>();
  const order = address?.get('sort');
  const sorted = useMemo(() => sortedBy(rows ?? [], columns, order), [rows, columns, order]);
  const long = sorted.length > mostWhole;
  const seen = useVirtualizer({
    count: sorted.length,
    enabled: long,
    getScrollElement: () => holder.current,
    estimateSize: () => 38,
    overscan: 12,
  });
  const names = columns.map(({ name }) => name).join('\n');
  // What is scrolled in must not move the columns.
  // biome-ignore lint/correctness/useExhaustiveDependencies: measured anew for other columns.
  useLayoutEffect(() => {
    setWidths(long ? [...(head.current?.cells ?? [])].map((each) => each.offsetWidth) : undefined);
  }, [long, names]);
  if (rows === undefined) return <Waiting />;
  if (rows.length === 0) return <div className="note">{empty}</div>;
  const items = long ? seen.getVirtualItems() : sorted.map((_, index) => ({ index, start: 0, end: 0 }));
  const before = long ? (items[0]?.start ?? 0) : 0;
  const after = long ? seen.getTotalSize() - (items.at(-1)?.end ?? 0) : 0;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reached by the keyboard.
    <section ref={holder} className={long ? 'scroll long' : 'scroll'} aria-label={label} tabIndex={0} data-rows>
      <table
        className={mono ? 'table mono' : 'table'}
        aria-rowcount={sorted.length + 1}
        style={widths === undefined ? {} : { tableLayout: 'fixed' }}
      >
        <thead>
          <tr ref={head}>
            {columns.map((column, index) => (
              <Head
                // biome-ignore lint/suspicious/noArrayIndexKey: two columns of an answer may have one name.
                key={`${index} ${column.name}`}
                column={column}
                order={order}
                sort={address === undefined || column.by === undefined ? undefined : address.set}
                width={widths?.[index]}
              />
            ))}
          </tr>
        </thead>
        <tbody>
          {before > 0 && <Gap height={before} columns={columns.length} />}
          {items.map(({ index }) => (
            <tr
              key={keyOf(sorted[index]!, index)}
              aria-rowindex={index + 2}
              data-index={index}
              {...(long ? { ref: seen.measureElement } : {})}
            >
              {columns.map((column, at) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: as above.
                <td key={at} className={classOf(column)}>
                  {column.cell(sorted[index]!)}
                </td>
              ))}
            </tr>
          ))}
          {after > 0 && <Gap height={after} columns={columns.length} />}
        </tbody>
      </table>
    </section>
  );
}

function Head<Row>({
  column,
  order,
  sort,
  width,
}: {
  column: Column<Row>;
  order: string | undefined;
  sort: Address['set'] | undefined;
  width: number | undefined;
}) {
  const { name, note } = column;
  const down = order === `-${name}`;
  const sorting = down ? 'descending' : order === name ? 'ascending' : undefined;
  return (
    <th
      className={classOf(column)}
      title={note}
      aria-sort={sorting}
      scope="col"
      style={width === undefined ? {} : { width }}
    >
      {sort === undefined ? (
        name
      ) : (
        <button type="button" onClick={() => sort({ sort: down ? name : `-${name}` }, true)}>
          {name}
          <span aria-hidden="true">{sorting === undefined ? '' : down ? ' ↓' : ' ↑'}</span>
        </button>
      )}
    </th>
  );
}

function Gap({ height, columns }: { height: number; columns: number }) {
  return (
    <tr className="gap">
      <td colSpan={columns} style={{ height, padding: 0 }} />
    </tr>
  );
}

function classOf<Row>({ number, wide }: Column<Row>): string {
  return `${number === true ? 'n' : ''}${wide === true ? ' wide' : ''}`;
}

function sortedBy<Row>(rows: readonly Row[], columns: readonly Column<Row>[], order: string | undefined) {
  const down = order?.startsWith('-') === true;
  const by = columns.find(({ name }) => name === (down ? order!.slice(1) : order))?.by;
  if (by === undefined) return rows;
  const sign = down ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [by(one), by(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return sign * (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b)));
  });
}

/** Something is on its way. */
export function Waiting() {
  return (
    <div className="waiting" role="status">
      <span className="skip">Loading</span>
      <i />
      <i />
      <i />
    </div>
  );
}
