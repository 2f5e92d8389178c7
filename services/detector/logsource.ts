/**
 * What Sigma's `logsource` and the fields of its log sources mean over calls of MCP servers.
 *
 * `product: mcp` is the stream itself, and `service` then names the server. Rules for web servers, proxies, databases and
 * applications look at requests, as calls are, so their fields have places here. Anything else is evaluated over the
 * calls as well, with a warning: its fields are looked for in `attributes`, where producers keep what is their own.
 */
import type { Expression } from './expression.js';
import { type FieldReference, resolveField } from './fields.js';

type Logsource = Readonly<Record<string, unknown>>;

/** Fields by which Sigma's rules for requests name them. */
const requestFields: Readonly<Record<string, string>> = {
  'c-ip': 'client_address',
  src_ip: 'client_address',
  'cs-username': 'actor_id',
  username: 'actor_id',
  'cs-method': 'method',
  'cs-uri': 'resource_uri',
  'cs-uri-stem': 'resource_uri',
  'c-uri': 'resource_uri',
  'c-uri-path': 'resource_uri',
  'cs-uri-query': 'arguments',
  'c-uri-query': 'arguments',
  'cs-user-agent': 'client_name',
  'c-useragent': 'client_name',
  'cs-host': 'server_name',
  'cs-bytes': 'arguments_bytes',
  'sc-bytes': 'result_bytes',
  'sc-status': 'error_code',
};
const requestCategories = ['webserver', 'proxy', 'application', 'database'];

/** Places of the fields of a log source. */
export function foreignFieldsOf(logsource: Logsource): ReadonlyMap<string, string> {
  return new Map(requestCategories.includes(String(logsource.category)) ? Object.entries(requestFields) : []);
}

/** What the log source asks of an event; warns about what means nothing over calls. */
export function logsourceCondition(logsource: Logsource, warn: (key: string, message: string) => void): Expression {
  const always: Expression = { op: 'constant', value: true };
  const { product, category, service } = logsource;
  if (product === 'mcp') {
    if (typeof service !== 'string') return always;
    const field = resolveField('server_name') as FieldReference;
    return { op: 'test', field, test: { kind: 'equals', text: service.toLowerCase(), cased: false } };
  }
  for (const [key, value] of Object.entries({ product, category, service })) {
    if (value === undefined || (key === 'category' && requestCategories.includes(String(value)))) continue;
    warn(
      key,
      `logsource ${key} "${String(value)}" names no calls of MCP servers; the rule is evaluated over all calls. "product: mcp" says that this is meant`,
    );
  }
  return always;
}
