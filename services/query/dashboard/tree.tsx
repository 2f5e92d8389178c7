/** JSON as a tree. What was hidden before it left the server is marked; nothing here is ever markup. */
import { useState } from 'react';
import { number, plain } from './text.js';

/** Entries of one list or object that are shown at first. */
const firstEntries = 50;
const longestText = 4_000;

export function Json({ text, hidden, root }: { text: string; hidden: readonly string[]; root: string }) {
  if (text === '') return <p className="dim">Nothing, or its time of keeping is over.</p>;
  const paths = new Map(
    hidden
      .filter((each) => each.startsWith(root))
      .map((each) => [each.slice(0, each.lastIndexOf(':')), each.slice(each.lastIndexOf(':') + 1)]),
  );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return <pre>{plain(text, 100_000)}</pre>;
  }
  return (
    <div className="tree">
      <Value value={value} path={root} hidden={paths} depth={0} />
    </div>
  );
}

function Value({
  value,
  path,
  hidden,
  depth,
}: {
  value: unknown;
  path: string;
  hidden: ReadonlyMap<string, string>;
  depth: number;
}) {
  const [shown, setShown] = useState(firstEntries);
  const [open, setOpen] = useState(depth < 6);
  const kind = hidden.get(path);
  if (kind !== undefined && (typeof value !== 'object' || value === null))
    return (
      <>
        <span className="hidden" title={`hidden before it left the server: ${kind}`}>
          {plain(String(value), 200)}
        </span>{' '}
        <span className="dim">{plain(kind, 40)}</span>
      </>
    );
  if (typeof value === 'string')
    return (
      <span className="text">
        “<bdi>{plain(value, longestText)}</bdi>”
      </span>
    );
  if (typeof value !== 'object' || value === null) return <span className="other">{String(value)}</span>;
  const list = Array.isArray(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return <span className="dim">{list ? '[]' : '{}'}</span>;
  return (
    <>
      {depth > 0 && (
        <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? '▾' : '▸'} {list ? `${number(entries.length)} items` : `${number(entries.length)} keys`}
        </button>
      )}
      {open && (
        <ul>
          {entries.slice(0, shown).map(([key, each]) => (
            <li key={key}>
              <span className="key">
                <bdi>{plain(key, 120)}</bdi>
              </span>
              : <Value value={each} path={`${path}.${key}`} hidden={hidden} depth={depth + 1} />
            </li>
          ))}
          {entries.length > shown && (
            <li>
              <button type="button" onClick={() => setShown(shown * 4)}>
                {number(entries.length - shown)} more
              </button>
            </li>
          )}
        </ul>
      )}
    </>
  );
}
