/** What Tab completes: names that the engine itself lists, so a newer engine's are there too. */
import { askObjects } from '../ask.js';
import type { Loaded } from '../context.js';
import { Statements } from './statements.js';

export interface Names {
  /** Tables and views with their columns. */
  readonly tables: ReadonlyMap<string, readonly string[]>;
  readonly functions: readonly string[];
  readonly keywords: readonly string[];
  readonly formats: readonly string[];
}

const selectNames = `
SELECT 'column' AS kind, name, table AS of FROM system.columns
WHERE database = currentDatabase() AND NOT startsWith(table, '.') AND table NOT IN ('schema_migrations', 'ingest_owners')
UNION ALL SELECT 'function', name, '' FROM system.functions
UNION ALL SELECT 'keyword', keyword, '' FROM system.keywords
UNION ALL SELECT 'format', name, '' FROM system.formats WHERE is_output`;

/** Nothing else is ever put on the terminal by a completion. */
const plain = /^[\w$]+( \w+)*$/;
const mostShown = 200;

export async function readNames(loaded: Loaded, signal: AbortSignal): Promise<Names> {
  const tables = new Map<string, string[]>();
  const names = { function: [] as string[], keyword: [] as string[], format: [] as string[] };
  for (const { kind, name, of } of await askObjects<{ kind: string; name: string; of: string }>(loaded, {
    sql: selectNames,
    signal,
  })) {
    if (!plain.test(name)) continue;
    if (kind !== 'column') names[kind as keyof typeof names].push(name);
    else if (plain.test(of)) tables.set(of, [...(tables.get(of) ?? []), name]);
  }
  return { tables, functions: names.function, keywords: names.keyword, formats: names.format };
}

/** What may stand at the end of `text`, which is the statement up to the cursor, and the word that it replaces. */
export function complete(text: string, names: Names): [string[], string] {
  const statements = new Statements();
  statements.add(text);
  if (statements.token !== undefined && statements.token !== '`') return [[], ''];
  const word = /[\w$.]*$/.exec(text)![0];
  const before = text.slice(0, text.length - word.length);
  const tables = [...names.tables.keys()];
  if (/\b(FROM|JOIN|DESCRIBE|DESC|TABLE|VIEW|EXISTS)\s+$/i.test(before)) return matching(word, tables);
  if (/\bFORMAT\s+$/i.test(before)) return matching(word, names.formats);
  const named = tablesOf(text, names);
  const dot = word.lastIndexOf('.');
  if (dot >= 0) {
    const owner = word.slice(0, dot);
    const table = names.tables.has(owner) ? owner : named.get(owner);
    const columns = table === undefined ? [] : names.tables.get(table)!;
    return matching(word.slice(dot + 1), columns);
  }
  const columns = columnsOf(named.size > 0 ? new Set(named.values()) : tables, names);
  if (word === '') return matching(word, columns);
  const upper = word === word.toUpperCase();
  return matching(word, [
    ...columns,
    ...tables,
    ...names.functions.map((name) => `${name}(`),
    ...names.keywords.map((keyword) => (upper ? keyword : keyword.toLowerCase())),
  ]);
}

export function matching(word: string, candidates: readonly string[]): [string[], string] {
  const exact = candidates.filter((each) => each.startsWith(word));
  const lower = word.toLowerCase();
  const found = exact.length > 0 ? exact : candidates.filter((each) => each.toLowerCase().startsWith(lower));
  return [[...new Set(found)].sort().slice(0, mostShown), word];
}

function columnsOf(tables: Iterable<string>, names: Names): string[] {
  return [...tables].flatMap((table) => names.tables.get(table) ?? []);
}

/** The tables that the statement names after FROM and JOIN, by their aliases. */
function tablesOf(text: string, names: Names): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, table, alias] of text.matchAll(/\b(?:FROM|JOIN)\s+(\w+)(?:\s+(?:AS\s+)?(\w+))?/gi))
    if (names.tables.has(table!)) found.set(alias ?? table!, table!);
  return found;
}
