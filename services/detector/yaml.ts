/**
 * YAML text to plain values that remember where they stood, within limits: a rule file is somebody's input. Aliases are
 * followed by us and counted, so that a few lines of anchors cannot unfold into billions of values.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type ParsedNode,
  parseAllDocuments,
} from 'yaml';

/** A rule with its tests is about 2 KiB: 500 of them fit in one file. */
export const longestFileBytes = 1024 * 1024;
/** Values in one file after aliases are followed: a file of the largest size written densely has about 250,000. */
const mostValues = 300_000;
/** Detections nest about six deep. */
const deepest = 40;
const mostAliases = 1_000;
const deepestBrackets = deepest * 4;
/** Errors of one file that are told: a binary file has one in every line. */
const mostErrors = 20;

export interface Problem {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface Entry {
  readonly key: string;
  readonly keyPlace: Place;
  readonly value: Located;
}

export type Located = { readonly place: Place } & (
  | { readonly kind: 'map'; readonly entries: readonly Entry[] }
  | { readonly kind: 'list'; readonly items: readonly Located[] }
  | { readonly kind: 'scalar'; readonly value: string | number | boolean | null }
);

class TooMuch extends Error {}

/** The documents of one file. Problems name line and column; a file with a syntax error yields its readable documents. */
export function readYaml(file: string, text: string): { documents: Located[]; problems: Problem[] } {
  const problems: Problem[] = [];
  const bytes = Buffer.byteLength(text);
  if (bytes > longestFileBytes) {
    problems.push({
      file,
      line: 1,
      column: 1,
      message: `the file has ${bytes} bytes; at most ${longestFileBytes} are read. Split it into several files.`,
    });
    return { documents: [], problems };
  }
  const nesting = deepestNesting(text);
  if (nesting !== undefined) {
    problems.push({ file, ...nesting, message: `brackets nest deeper than ${deepestBrackets} levels` });
    return { documents: [], problems };
  }
  const counter = new LineCounter();
  const place = (node: Node | null | undefined): Place => {
    const { line, col } = counter.linePos((node as ParsedNode | null | undefined)?.range?.[0] ?? 0);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  let parsed: ReturnType<typeof parseAllDocuments>;
  try {
    parsed = parseAllDocuments(text, { lineCounter: counter, prettyErrors: false, schema: 'core', strict: true });
  } catch (error) {
    // The parser recurses: deep nesting by indentation ends in a RangeError.
    problems.push({ file, line: 1, column: 1, message: `the YAML nests too deeply to be read (${String(error)})` });
    return { documents: [], problems };
  }
  const documents: Located[] = [];
  if (!Array.isArray(parsed)) return { documents, problems };
  let values = 0;
  let aliases = 0;
  for (const document of parsed) {
    // The parser recurses over indentation and reports its stack's end as a mistake in every level.
    const tooDeep = document.errors.find((error) => error.message.includes('call stack'));
    if (tooDeep !== undefined) {
      const { line } = counter.linePos(tooDeep.pos[0]);
      problems.push({ file, line: Math.max(line, 1), column: 1, message: 'the YAML nests too deeply to be read' });
      continue;
    }
    for (const error of document.errors.slice(0, mostErrors)) {
      const { line, col } = counter.linePos(error.pos[0]);
      problems.push({ file, line: Math.max(line, 1), column: Math.max(col, 1), message: error.message });
    }
    if (document.errors.length > 0 || document.contents === null) continue;
    const locate = (node: Node | null, depth: number): Located => {
      if (++values > mostValues) throw new TooMuch(`holds more than ${mostValues} values once aliases are followed`);
      if (depth > deepest) throw new TooMuch(`nests deeper than ${deepest} levels at line ${place(node).line}`);
      if (isAlias(node)) {
        if (++aliases > mostAliases) throw new TooMuch(`uses more than ${mostAliases} aliases`);
        const target = node.resolve(document);
        if (target === undefined) throw new TooMuch(`has an alias *${node.source} without its anchor`);
        return locate(target, depth + 1);
      }
      if (isMap(node)) {
        const entries = node.items.map((item): Entry => {
          const key = item.key as Node;
          return {
            key: isScalar(key) ? String(key.value) : String(key),
            keyPlace: place(key),
            value: locate(item.value as Node | null, depth + 1),
          };
        });
        return { kind: 'map', entries, place: place(node) };
      }
      if (isSeq(node)) {
        return { kind: 'list', items: node.items.map((item) => locate(item as Node, depth + 1)), place: place(node) };
      }
      const value = isScalar(node) ? node.value : null;
      const plain = typeof value === 'bigint' ? Number(value) : value;
      return { kind: 'scalar', value: plain as string | number | boolean | null, place: place(node) };
    };
    try {
      documents.push(locate(document.contents, 0));
    } catch (error) {
      if (!(error instanceof TooMuch)) throw error;
      problems.push({ file, line: 1, column: 1, message: `the file ${error.message}` });
    }
  }
  return { documents, problems };
}

/** Where brackets nest too deeply for a parser that recurses; undefined when they do not. */
function deepestNesting(text: string): Place | undefined {
  // Text that holds many brackets may be patterns in quotes: only then the lexer is asked, which knows.
  let open = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 91 || code === 123) open++;
  }
  if (open <= deepestBrackets) return undefined;
  let depth = 0;
  let line = 1;
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') {
      if (++depth > deepestBrackets) return { line, column: 1 };
    } else if ((token === ']' || token === '}') && depth > 0) depth--;
    else for (let at = token.indexOf('\n'); at >= 0; at = token.indexOf('\n', at + 1)) line++;
  }
  return undefined;
}

/** The plain value of a located one. `__proto__` is a key like any other. */
export function plain(located: Located): unknown {
  if (located.kind === 'scalar') return located.value;
  if (located.kind === 'list') return located.items.map(plain);
  const result: Record<string, unknown> = {};
  for (const entry of located.entries) {
    Object.defineProperty(result, entry.key, {
      value: plain(entry.value),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return result;
}

export function child(located: Located | undefined, key: string): Located | undefined {
  return located?.kind === 'map' ? located.entries.find((entry) => entry.key === key)?.value : undefined;
}

/** Where a path of keys and indexes stands; the deepest part of it that is there. */
export function placeOf(located: Located, path: readonly PropertyKey[]): Place {
  let here = located;
  for (const step of path) {
    const next: Located | undefined =
      here.kind === 'map' ? child(here, String(step)) : here.kind === 'list' ? here.items[Number(step)] : undefined;
    if (next === undefined) return here.place;
    here = next;
  }
  return here.place;
}

/** Where the key itself stands that ends a path. */
export function placeOfKey(located: Located, path: readonly PropertyKey[], key: string): Place {
  let here: Located | undefined = located;
  for (const step of path) {
    here =
      here?.kind === 'map' ? child(here, String(step)) : here?.kind === 'list' ? here.items[Number(step)] : undefined;
  }
  const entry = here?.kind === 'map' ? here.entries.find((each) => each.key === key) : undefined;
  return entry?.keyPlace ?? placeOf(located, path);
}
