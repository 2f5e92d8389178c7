/** Names of fields as rules write them: the event contract's, short aliases, and paths into the bodies. */
import { eventFields, type FieldName } from '../../schemas/event.js';
import type { FieldKind } from '../../schemas/field.js';
import { nearestName } from '../../schemas/nearest.js';

/** Fields that follow from the record and are in no event. */
export const derivedFields = {
  ahead_ms: {
    kind: 'duration',
    description: "Milliseconds that the producer's clock is ahead of the stream's; 0 when it is not.",
  },
  late_ms: { kind: 'duration', description: 'Milliseconds between the event and its record; 0 when it is not late.' },
} as const satisfies Record<string, { kind: FieldKind; description: string }>;
type DerivedField = keyof typeof derivedFields;

/** A place in an event: a field, and for `attributes`, `arguments` and `result` what is inside. */
export interface FieldReference {
  /** Canonical name, equal for every spelling of the same place. */
  readonly name: string;
  readonly root: FieldName | DerivedField;
  readonly kind: FieldKind;
  /** Key of the map for `attributes`; steps into the JSON for `arguments` and `result`. */
  readonly path?: readonly string[];
}

/** Short names, as rules write them. */
export const fieldAliases: Readonly<Record<string, FieldName>> = {
  actor: 'actor_id',
  user: 'actor_id',
  client: 'client_id',
  session: 'session_id',
  server: 'server_name',
  tool: 'tool_name',
  resource: 'resource_uri',
  prompt: 'prompt_name',
  tenant_id: 'tenant',
  producer: 'producer_id',
  sequence: 'producer_sequence',
  address: 'client_address',
  error: 'error_message',
  duration: 'duration_ms',
};

/** Steps of one path; MCP bodies nest fewer. */
const longestPath = 16;

export const fieldNames: readonly string[] = [
  ...Object.keys(eventFields),
  ...Object.keys(fieldAliases),
  ...Object.keys(derivedFields),
];

/** The place a name means, or undefined when no field has it. */
export function resolveField(written: string): FieldReference | undefined {
  const name = Object.hasOwn(fieldAliases, written) ? (fieldAliases[written] as FieldName) : written;
  if (Object.hasOwn(derivedFields, name)) return { name, root: name as DerivedField, kind: 'duration' };
  if (Object.hasOwn(eventFields, name)) {
    return { name, root: name as FieldName, kind: eventFields[name as FieldName].kind };
  }
  const dot = written.indexOf('.');
  const root = written.slice(0, dot);
  const rest = written.slice(dot + 1);
  if (dot < 0 || rest === '') return undefined;
  if (root === 'attributes') return { name: written, root, kind: 'text', path: [rest] };
  if (root === 'arguments' || root === 'result') {
    const path = rest.split('.');
    return path.length > longestPath ? undefined : { name: written, root, kind: 'text', path };
  }
  return undefined;
}

/** A field that the contract does not have: a producer's unknown fields are kept in `attributes`. */
export function attributeField(written: string): FieldReference {
  return { name: `attributes.${written}`, root: 'attributes', kind: 'text', path: [written] };
}

export function unknownField(written: string): string {
  const near = nearestName(written, fieldNames);
  const hint =
    near === undefined ? 'Own fields are attributes.NAME, arguments.PATH and result.PATH' : `Did you mean "${near}"?`;
  return `events have no field "${written}". ${hint}`;
}

/** The column or expression of a field in SQL. */
export function sqlOf(field: FieldReference): string | undefined {
  if (field.root === 'ahead_ms' || field.root === 'late_ms') return undefined;
  if (field.path === undefined) return field.root;
  const quoted = field.path.map((step) => sqlString(step));
  if (field.root === 'attributes') return `attributes[${quoted[0]}]`;
  // ClickHouse counts array elements from 1.
  const steps = field.path.map((step) => (/^\d+$/.test(step) ? String(Number(step) + 1) : sqlString(step)));
  return `JSONExtractString(${field.root}, ${steps.join(', ')})`;
}

export function sqlString(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
