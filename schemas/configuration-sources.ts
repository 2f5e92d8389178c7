/**
 * From flags, environment and file to a checked configuration. A value comes from a flag, else an environment variable,
 * else the file, else the default.
 */
import { dirname, resolve } from 'node:path';
import { isMap, isPair, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { type Configuration, configurationSchema } from './configuration.js';
import { type ConfigurationKey, configurationKeys, namesIn } from './configuration-keys.js';
import { AuditdError } from './errors.js';
import { nearestName } from './nearest.js';

/** Where values come from, besides the defaults. */
export interface ConfigurationSources {
  /** The YAML file; `path` is how messages call it. */
  readonly file?: { readonly path: string; readonly text: string };
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** By dotted path, for example `{listen: '127.0.0.1:0'}`. A message calls one `--listen`. */
  readonly flags?: Readonly<Record<string, string | number | undefined>>;
  /** Reads a file that holds a value: named by a variable with `_FILE`, or a key with `_file`, at its end. */
  readonly readFile?: (path: string) => string;
}

type Tree = { [name: string]: unknown };

/** Of each configuration the files that values came from, by dotted path: for what follows a file while it runs. */
const filesOf = new WeakMap<Configuration, ReadonlyMap<string, string>>();

/** The file that a value came from (`_FILE`, `_file`); undefined where it was given itself, or not at all. */
export function fileOfValue(configuration: Configuration, path: string): string | undefined {
  return filesOf.get(configuration)?.get(path);
}

function setAt(tree: Tree, path: readonly string[], value: unknown): void {
  let node = tree;
  for (const name of path.slice(0, -1)) {
    const next = node[name];
    if (typeof next === 'object' && next !== null && !Array.isArray(next)) node = next as Tree;
    else {
      const made: Tree = {};
      node[name] = made;
      node = made;
    }
  }
  node[path.at(-1)!] = value;
}

/**
 * Checks all sources together and returns the configuration with its defaults.
 *
 * @throws AuditdError `configuration_invalid`, whose message has a line for each mistake: `file:line:column: …`, or the
 * variable's or flag's name, what was expected, and the known name that is nearest to an unknown one.
 */
export function parseConfiguration(sources: ConfigurationSources): Configuration {
  const problems: string[] = [];
  const places = new Map<string, string>();
  const files = new Map<string, string>();
  const { tree, placeOf } = readTree(sources.file, problems);
  const named = takeFileNames(tree);
  applyEnvironment(tree, sources, { problems, places, files });
  const unread = readNamedFiles(tree, named, sources, { problems, places, placeOf, files });
  for (const [path, value] of Object.entries(sources.flags ?? {})) {
    if (value === undefined) continue;
    setAt(tree, path.split('.'), value);
    places.set(path, `--${path.replaceAll('.', '-')}`);
  }
  nameChannelFiles(tree, dirname(sources.file?.path ?? '.'));
  const result = configurationSchema.safeParse(tree);
  if (result.success && problems.length === 0) {
    filesOf.set(result.data, files);
    return result.data;
  }
  for (const issue of result.error?.issues ?? []) {
    // That a value is missing is no news where its file could not be read.
    if (!unread.has(issue.path.join('.'))) describeIssue(issue, problems, places, placeOf);
  }
  throw new AuditdError('configuration_invalid', problems.join('\n'));
}

/** File names in the sections of channels are seen from where the YAML file lies. */
function nameChannelFiles(tree: Tree, directory: string): void {
  const channels = valueAt(tree, ['notifier', 'channels']);
  if (typeof channels !== 'object' || channels === null) return;
  for (const channel of Object.values(channels)) {
    if (typeof channel !== 'object' || channel === null) continue;
    for (const [name, value] of Object.entries(channel as Tree))
      if (name.endsWith('_file') && typeof value === 'string') (channel as Tree)[name] = resolve(directory, value);
  }
}

type PlaceOf = (path: readonly string[], what: 'key' | 'value') => string;

function readTree(file: ConfigurationSources['file'], problems: string[]): { tree: Tree; placeOf: PlaceOf } {
  if (file === undefined) return { tree: {}, placeOf: () => 'configuration' };
  const lines = new LineCounter();
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false, maxAliasCount: 100 } as never);
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file.path}:${line}:${col}`;
  };
  for (const error of document.errors) problems.push(`${at(error.pos[0])}: ${error.message}`);
  const value: unknown = problems.length === 0 ? document.toJS({ maxAliasCount: 100 }) : {};
  if (value !== null && (typeof value !== 'object' || Array.isArray(value)))
    problems.push(`${at(0)}: expected keys with values, as in "listen: 127.0.0.1:7467"`);
  const placeOf: PlaceOf = (path, what) => {
    let node: unknown = document.contents;
    let offset = 0;
    for (const [index, name] of path.entries()) {
      const item: unknown = isSeq(node) ? node.items[Number(name)] : undefined;
      if (item !== undefined) {
        offset = (item as { range?: [number, number, number] }).range?.[0] ?? offset;
        node = item;
        continue;
      }
      const pair: unknown = isMap(node)
        ? node.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === name)
        : undefined;
      if (!isPair(pair)) break;
      const wanted = what === 'key' && index === path.length - 1 ? pair.key : (pair.value ?? pair.key);
      offset = (wanted as { range?: [number, number, number] }).range?.[0] ?? offset;
      node = pair.value;
    }
    return at(offset);
  };
  return { tree: typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Tree) : {}, placeOf };
}

/** A key of the YAML file with `_file` at its end, and the key whose value its file holds. */
interface NamedFile {
  readonly key: ConfigurationKey;
  readonly path: readonly string[];
  readonly name: unknown;
}

/** Takes the keys with `_file` out of the tree, which are no keys of the schema. */
function takeFileNames(tree: Tree): NamedFile[] {
  const found: NamedFile[] = [];
  for (const key of configurationKeys()) {
    if (!key.fromFile) continue;
    let node: unknown = tree;
    for (const name of key.path.slice(0, -1)) node = (node as Tree | undefined)?.[name];
    const path = [...key.path.slice(0, -1), `${key.path.at(-1)}_file`];
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, path.at(-1)!)) continue;
    const name = (node as Tree)[path.at(-1)!];
    delete (node as Tree)[path.at(-1)!];
    found.push({ key, path, name });
  }
  return found;
}

/** What reading the sources tells: mistakes, and for each value where it stands and in which file. */
interface Report {
  readonly problems: string[];
  readonly places: Map<string, string>;
  readonly files: Map<string, string>;
}

function readNamedFiles(
  tree: Tree,
  files: readonly NamedFile[],
  sources: ConfigurationSources,
  report: Report & { readonly placeOf: PlaceOf },
): Set<string> {
  const { problems, places, files: read, placeOf } = report;
  const unread = new Set<string>();
  for (const { key, path, name } of files) {
    const dotted = key.path.join('.');
    const place = placeOf(path, 'value');
    // A variable wins over the file, so what the file names need not be there.
    if (places.has(dotted)) continue;
    if (typeof name !== 'string' || name === '')
      problems.push(`${place}: ${path.join('.')}: expected the name of a file`);
    else if (valueAt(tree, key.path) !== undefined)
      problems.push(`${place}: ${path.join('.')}: ${key.path.at(-1)} is set as well, expected one of them`);
    else {
      const file = resolve(dirname(sources.file?.path ?? '.'), name);
      const value = readValue(file, place, sources, problems);
      read.set(dotted, file);
      if (value === undefined) unread.add(dotted);
      else setAt(tree, key.path, value);
      places.set(dotted, place);
    }
  }
  return unread;
}

function valueAt(tree: Tree, path: readonly string[]): unknown {
  let node: unknown = tree;
  for (const name of path) node = typeof node === 'object' && node !== null ? (node as Tree)[name] : undefined;
  return node;
}

/** The text of a file without the line end that an editor may have left; a failure is a problem and no value. */
function readValue(path: string, place: string, sources: ConfigurationSources, problems: string[]): string | undefined {
  try {
    return (sources.readFile ?? refuseFile)(path).replace(/\r?\n$/, '');
  } catch (error) {
    problems.push(`${place}: cannot read ${path}: ${(error as Error).message}`);
    return undefined;
  }
}

function applyEnvironment(tree: Tree, sources: ConfigurationSources, { problems, places, files }: Report): void {
  const environment = sources.environment ?? {};
  const keys = new Map(
    configurationKeys().flatMap((key) => (key.variable === undefined ? [] : [[key.variable, key] as const])),
  );
  for (const [name, raw] of Object.entries(environment).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (raw === undefined || !name.startsWith('MCP_AUDITD_')) continue;
    const direct = keys.get(name);
    const key = direct ?? (name.endsWith('_FILE') ? keys.get(name.slice(0, -'_FILE'.length)) : undefined);
    if (key === undefined) {
      // Names without a section belong to emitters and commands (MCP_AUDITD_URL, MCP_AUDITD_ACTOR, …).
      if (name.includes('__')) problems.push(`${name}: there is no such key${meant(name, [...keys.keys()])}`);
      continue;
    }
    let text = raw;
    if (direct === undefined) {
      if (environment[key.variable!] !== undefined) {
        problems.push(`${name}: ${key.variable} is set as well, expected one of them`);
        continue;
      }
      const read = readValue(raw, name, sources, problems);
      if (read === undefined) continue;
      text = read;
      files.set(key.path.join('.'), resolve(raw));
    }
    setAt(tree, key.path, ofKind(text, key.kind));
    places.set(key.path.join('.'), name);
  }
}

/** What is not of the kind stays text, so that the check can say what it found. */
function ofKind(text: string, kind: ConfigurationKey['kind']): unknown {
  if (kind === 'number') return text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text);
  if (kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  if (kind === 'list') return text.split(',').map((each) => each.trim());
  return text;
}

function refuseFile(): never {
  throw new Error('files are not read here');
}

function meant(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? '' : `, did you mean ${nearest}?`;
}

function describeIssue(
  issue: z.core.$ZodIssue,
  problems: string[],
  places: ReadonlyMap<string, string>,
  placeOf: PlaceOf,
): void {
  const path = issue.path.map(String);
  const dotted = path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = namesIn(path);
    for (const name of issue.keys) {
      const where = path.length === 0 ? '' : ` in ${dotted}`;
      const near = nearestName(name, known) === undefined ? `, known are ${known.join(', ')}` : meant(name, known);
      problems.push(`${placeOf([...path, name], 'key')}: there is no key ${name}${where}${near}`);
    }
    return;
  }
  const place = places.get(dotted) ?? placeOf(path, 'value');
  problems.push(`${place}: ${dotted || 'configuration'}: ${issue.message}`);
}
