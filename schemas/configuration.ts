/**
 * The configuration: one list of keys with their defaults and meanings. The type, the check, the JSON Schema, the
 * names of the environment variables and docs/configuration.md follow from it.
 *
 * A value comes from a flag, else an environment variable, else the file, else the default. An unknown key is refused,
 * because a limit that is spelled wrong is a limit that does not hold.
 */
import { isMap, isPair, isScalar, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { AuditdError } from './errors.js';
import { nearestName } from './nearest.js';

/** Sizes and counts: at least one, and what a JSON number holds exactly. */
const count = () => z.int().min(1);

export const configurationSchema = z.strictObject({
  data: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Data directory. --data and MCP_AUDITD_DATA come first; default $XDG_STATE_HOME/mcp-auditd, else ~/.local/state/mcp-auditd. A file that lies in the data directory must not name another.',
    ),
  listen: z
    .string()
    .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s[\]]+):\d{1,5}$/, 'expected HOST:PORT, for example 127.0.0.1:7467 or [::1]:0')
    .default('127.0.0.1:7467')
    .describe(
      'Address of the HTTP server. Port 0 takes a free one; so does the default when its port is taken. Commands and emitters find the address in daemon.json.',
    ),
  log: z
    .strictObject({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
        .default('info')
        .describe("Lowest level of the daemon's own log on standard error."),
      format: z
        .enum(['auto', 'json', 'text'])
        .default('auto')
        .describe('text is one short line an entry; auto is text on a terminal and json elsewhere.'),
    })
    .prefault({})
    .describe("The daemon's own log."),
  stream: z
    .strictObject({
      local: z
        .strictObject({
          partitions: z
            .int()
            .min(1)
            .max(256)
            .optional()
            .describe('Partitions of each topic, fixed when the data directory is made. Then 1, unless said.'),
          durability: z
            .enum(['fsync', 'kernel'])
            .default('fsync')
            .describe(
              'What an acknowledged event survives. fsync: also the loss of power. kernel: SIGKILL of every process only.',
            ),
          retention_days: count()
            .default(7)
            .describe('Records older than this are dropped from the stream, whole segment files at a time.'),
          retention_bytes: count()
            .default(4 * 1024 ** 3)
            .describe('Bytes that a partition may keep; the oldest segment files are dropped first.'),
        })
        .prefault({})
        .describe('Segment files in the data directory, for one machine.'),
    })
    .prefault({})
    .describe('Where events wait between the gateway and the store.'),
  store: z
    .strictObject({
      embedded: z
        .strictObject({
          retention_days: count().default(90).describe('Days that a row is kept, counted from recorded_at.'),
          body_retention_days: count()
            .default(30)
            .describe('Days that arguments and result of a row are kept. At most retention_days is of use.'),
        })
        .prefault({})
        .describe("ClickHouse's engine in this process, for one machine."),
    })
    .prefault({})
    .describe('Where rows are kept.'),
  gateway: z
    .strictObject({
      max_body_bytes: count()
        .default(16 * 1024 ** 2)
        .describe('Largest body of one request, after gzip was undone.'),
      max_line_bytes: count()
        .default(4 * 1024 ** 2)
        .describe('Longest line, which is one event.'),
      events_per_second: count()
        .default(100_000)
        .describe('Events a second that one key may send; more are answered with 429 and Retry-After.'),
    })
    .prefault({})
    .describe('POST /v1/events.'),
  ingestor: z
    .strictObject({
      max_rows: count().default(20_000).describe('Rows of one insert at most.'),
      max_delay_ms: count().default(500).describe('Milliseconds that a row waits for others at most.'),
    })
    .prefault({})
    .describe('From the stream to the store.'),
  query: z
    .strictObject({
      time_ms: count().default(60_000).describe('Milliseconds until a query is stopped.'),
      memory_bytes: count()
        .default(2 * 1024 ** 3)
        .describe('Bytes of memory that a query may use.'),
      result_rows: count().default(1_000_000).describe('Rows that a query may answer.'),
      result_bytes: count()
        .default(1024 ** 3)
        .describe('Bytes that a query may answer.'),
    })
    .prefault({})
    .describe('Limits of POST /v1/query and of the query command; a request may ask for less, never for more.'),
});

export type Configuration = z.infer<typeof configurationSchema>;

/** One value of the configuration, for documentation and for the environment. */
export interface ConfigurationKey {
  readonly path: readonly string[];
  /** MCP_AUDITD_ and the path in upper case, joined by two underscores. */
  readonly variable: string;
  readonly kind: 'number' | 'text';
  readonly description: string;
  /** undefined: there is none. */
  readonly default: unknown;
  /** The values it may have, where they are a closed list. */
  readonly choices: readonly string[] | undefined;
}

interface JsonSchemaNode {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchemaNode>>;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
}

/** JSON Schema (draft 2020-12) of the file, for editors. */
export function configurationJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(configurationSchema, { io: 'input' });
  return { $schema, title: 'Configuration of mcp-auditd', ...rest };
}

/** Every value, in the order of the schema. */
export function configurationKeys(): ConfigurationKey[] {
  const found: ConfigurationKey[] = [];
  function visit(node: JsonSchemaNode, path: readonly string[]): void {
    if (node.properties !== undefined) {
      for (const [name, child] of Object.entries(node.properties)) visit(child, [...path, name]);
      return;
    }
    found.push({
      path,
      variable: variableOf(path),
      kind: node.type === 'integer' || node.type === 'number' ? 'number' : 'text',
      description: node.description ?? '',
      default: node.default,
      choices: node.enum,
    });
  }
  visit(configurationJsonSchema() as JsonSchemaNode, []);
  return found;
}

function variableOf(path: readonly string[]): string {
  return `MCP_AUDITD_${path.join('__').toUpperCase()}`;
}

/** Where values come from, besides the defaults. */
export interface ConfigurationSources {
  /** The YAML file; `path` is how messages call it. */
  readonly file?: { readonly path: string; readonly text: string };
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** By dotted path, for example `{listen: '127.0.0.1:0'}`. A message calls one `--listen`. */
  readonly flags?: Readonly<Record<string, string | number | undefined>>;
  /** Reads the file that a variable with `_FILE` at its end names. */
  readonly readFile?: (path: string) => string;
}

type Tree = { [name: string]: unknown };

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
  const { tree, placeOf } = readTree(sources.file, problems);
  applyEnvironment(tree, sources, problems, places);
  for (const [path, value] of Object.entries(sources.flags ?? {})) {
    if (value === undefined) continue;
    setAt(tree, path.split('.'), value);
    places.set(path, `--${path.replaceAll('.', '-')}`);
  }
  const result = configurationSchema.safeParse(tree);
  if (result.success && problems.length === 0) return result.data;
  for (const issue of result.error?.issues ?? []) describeIssue(issue, problems, places, placeOf);
  throw new AuditdError('configuration_invalid', problems.join('\n'));
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

function applyEnvironment(
  tree: Tree,
  sources: ConfigurationSources,
  problems: string[],
  places: Map<string, string>,
): void {
  const environment = sources.environment ?? {};
  const keys = new Map(configurationKeys().map((key) => [key.variable, key]));
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
      if (environment[key.variable] !== undefined) {
        problems.push(`${name}: ${key.variable} is set as well, expected one of them`);
        continue;
      }
      try {
        text = (sources.readFile ?? refuseFile)(raw).replace(/\r?\n$/, '');
      } catch (error) {
        problems.push(`${name}: cannot read ${raw}: ${(error as Error).message}`);
        continue;
      }
    }
    setAt(tree, key.path, key.kind === 'number' ? numberOrText(text) : text);
    places.set(key.path.join('.'), name);
  }
}

/** What is no number stays text, so that the check can say what it found. */
function numberOrText(text: string): number | string {
  return text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text);
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
    const known = childrenOf(path);
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

function childrenOf(path: readonly string[]): string[] {
  let node = configurationJsonSchema() as JsonSchemaNode;
  for (const name of path) node = node.properties?.[name] ?? {};
  return Object.keys(node.properties ?? {});
}

/** docs/configuration.md, made from the schema. */
export function configurationDocumentation(): string {
  const lines = [
    '# Configuration',
    '',
    '<!-- Made by `npm run generate` from schemas/configuration.ts: change it there. -->',
    '',
    'Everything has a default. What you want to change goes into one YAML file: `--config FILE`, else `MCP_AUDITD_CONFIG`, else `config.yaml` in the data directory where there is one. Every key is also an environment variable, which wins over the file, and a flag wins over both. With `_FILE` at its end a variable names a file that holds the value. Unknown keys are refused.',
    '',
    '```yaml',
    '# yaml-language-server: $schema=schemas/configuration.schema.json',
    'listen: 127.0.0.1:7467',
    'store:',
    '  embedded:',
    '    retention_days: 180',
    '    body_retention_days: 14',
    'gateway:',
    '  events_per_second: 20000',
    '```',
    '',
    '`mcp-auditd config check` names every mistake with file, line and column, `config show` prints what is in force, `config schema` the JSON Schema.',
    '',
    '| key | default | meaning |',
    '|---|---|---|',
  ];
  for (const key of configurationKeys()) {
    const value = key.default === undefined ? '' : `\`${String(key.default)}\``;
    const choices = key.choices === undefined ? '' : ` One of ${key.choices.map((each) => `\`${each}\``).join(', ')}.`;
    lines.push(`| \`${key.path.join('.')}\`<br>\`${key.variable}\` | ${value} | ${key.description}${choices} |`);
  }
  return `${lines.join('\n')}\n`;
}
