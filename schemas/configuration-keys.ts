/** What follows from the list of keys: each key by itself, the JSON Schema, the page, and what may be shown. */
import { z } from 'zod';
import { type Configuration, configurationSchema } from './configuration.js';

/** One value of the configuration, for documentation and for the environment. */
export interface ConfigurationKey {
  readonly path: readonly string[];
  /** MCP_AUDITD_ and the path in upper case, joined by two underscores. undefined: only the file can say it. */
  readonly variable: string | undefined;
  readonly kind: 'number' | 'boolean' | 'list' | 'text';
  readonly description: string;
  /** undefined: there is none. */
  readonly default: unknown;
  /** The values it may have, where they are a closed list. */
  readonly choices: readonly string[] | undefined;
  /** Never shown. */
  readonly secret: boolean;
  /** In the YAML file, the key with `_file` at its end may name a file that holds the value. */
  readonly fromFile: boolean;
}

interface JsonSchemaNode {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchemaNode>>;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly writeOnly?: boolean;
  readonly contentMediaType?: string;
  readonly additionalProperties?: JsonSchemaNode | boolean;
  readonly items?: JsonSchemaNode;
  readonly anyOf?: readonly JsonSchemaNode[];
  readonly oneOf?: readonly JsonSchemaNode[];
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, JsonSchemaNode>>;
  /** A tree or a map of names, which has no environment variable. */
  readonly 'x-file-only'?: boolean;
}

const bareSchema = z.toJSONSchema(configurationSchema, { io: 'input' });

function comesFromFile(node: JsonSchemaNode): boolean {
  return node.writeOnly === true || node.contentMediaType !== undefined;
}

/** Adds `NAME_file` beside each key whose value may lie in a file. */
function withFiles(node: JsonSchemaNode): JsonSchemaNode {
  if (node.properties === undefined) return node;
  const properties: Record<string, JsonSchemaNode> = {};
  for (const [name, child] of Object.entries(node.properties)) {
    properties[name] = withFiles(child);
    if (comesFromFile(child))
      properties[`${name}_file`] = { type: 'string', description: `File that holds ${name}, instead of it.` };
  }
  return { ...node, properties };
}

/** JSON Schema (draft 2020-12) of the file, for editors. */
export function configurationJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = bareSchema;
  return { $schema, title: 'Configuration of mcp-auditd', ...withFiles(rest as JsonSchemaNode) };
}

const kinds: Readonly<Record<string, ConfigurationKey['kind']>> = {
  integer: 'number',
  number: 'number',
  boolean: 'boolean',
  array: 'list',
};

function keysOf(schema: JsonSchemaNode): ConfigurationKey[] {
  const found: ConfigurationKey[] = [];
  function visit(node: JsonSchemaNode, path: readonly string[]): void {
    if (node.properties !== undefined && node['x-file-only'] !== true) {
      for (const [name, child] of Object.entries(node.properties)) visit(child, [...path, name]);
      return;
    }
    found.push({
      path,
      variable: node['x-file-only'] === true ? undefined : `MCP_AUDITD_${path.join('__').toUpperCase()}`,
      kind: kinds[node.type ?? ''] ?? 'text',
      description: node.description ?? '',
      default: node.default,
      choices: node.enum,
      secret: node.writeOnly === true,
      fromFile: comesFromFile(node),
    });
  }
  visit(schema, []);
  return found;
}

const keys = keysOf(bareSchema as JsonSchemaNode);

/** Every value, in the order of the schema. */
export function configurationKeys(): readonly ConfigurationKey[] {
  return keys;
}

/** Names that a section has, `NAME_file` included; of a section of several forms the names of all. */
export function namesIn(section: readonly string[]): string[] {
  const root = configurationJsonSchema() as JsonSchemaNode;
  const forms = (node: JsonSchemaNode): JsonSchemaNode[] => {
    const { $ref } = node;
    if ($ref !== undefined) return forms(root.$defs?.[$ref.slice('#/$defs/'.length)] ?? {});
    return [node, ...[...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap(forms)];
  };
  let nodes = forms(root);
  for (const name of section) {
    nodes = nodes.flatMap((node) => {
      const rest = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined;
      const next = node.properties?.[name] ?? node.items ?? rest;
      return next === undefined ? [] : forms(next);
    });
  }
  return [...new Set(nodes.flatMap((node) => Object.keys(node.properties ?? {})))];
}

/** The configuration as it may be shown: secrets hidden. */
export function shownConfiguration(configuration: Configuration): Record<string, unknown> {
  const shown = structuredClone(configuration) as unknown as Record<string, unknown>;
  for (const { path, secret } of keys) {
    if (!secret) continue;
    let node: Record<string, unknown> | undefined = shown;
    for (const name of path.slice(0, -1)) node = node?.[name] as Record<string, unknown> | undefined;
    if (node?.[path.at(-1)!] !== undefined) node[path.at(-1)!] = '(hidden)';
  }
  return shown;
}

/** docs/configuration.md, made from the schema. */
export function configurationDocumentation(): string {
  const lines = [
    '# Configuration',
    '',
    '<!-- Made by `npm run generate` from schemas/configuration.ts: change it there. -->',
    '',
    'Everything has a default. What you want to change goes into one YAML file: `--config FILE`, else `MCP_AUDITD_CONFIG`, else `config.yaml` in the data directory where there is one. Every key except maps and lists of sections is also an environment variable, which wins over the file, and a flag wins over both. With `_FILE` at its end a variable names a file that holds the value; so does, in the YAML file, the key of a secret or a certificate with `_file` at its end (seen from where the YAML file lies). Unknown keys are refused.',
    '',
    '```yaml',
    '# yaml-language-server: $schema=schemas/configuration.schema.json',
    'listen: 127.0.0.1:7467',
    'store:',
    '  retention_days: 180',
    '  body_retention_days: 14',
    'gateway:',
    '  events_per_second: 20000',
    '```',
    '',
    'Several machines share [Kafka and ClickHouse](cluster.md):',
    '',
    '```yaml',
    'stream:',
    '  kafka:',
    '    brokers: [kafka-1:9093, kafka-2:9093, kafka-3:9093]',
    '    ssl: {}',
    '    sasl:',
    '      mechanism: scram-sha-512',
    '      username: ingestor',
    '      password_file: secrets/kafka_password',
    'store:',
    '  clickhouse:',
    '    url: https://clickhouse:8443',
    '    username: ingestor',
    '    password_file: secrets/clickhouse_password',
    '```',
    '',
    'Secrets are never shown: `config show`, messages and the log leave them out. `mcp-auditd config check` names every mistake with file, line and column, `config show` prints what is in force, `config schema` the JSON Schema.',
    '',
    '| key | default | meaning |',
    '|---|---|---|',
  ];
  for (const key of configurationKeys()) {
    const shownDefault = typeof key.default !== 'object' && key.default !== undefined && key.default !== '';
    const value = shownDefault ? `\`${String(key.default)}\`` : '';
    const variable = key.variable === undefined ? 'in the file only' : `\`${key.variable}\``;
    const choices = key.choices === undefined ? '' : ` One of ${key.choices.map((each) => `\`${each}\``).join(', ')}.`;
    const file = key.fromFile ? ' Or its file in the key with `_file` at its end.' : '';
    lines.push(`| \`${key.path.join('.')}\`<br>${variable} | ${value} | ${key.description}${choices}${file} |`);
  }
  return `${lines.join('\n')}\n`;
}
