/**
 * The event contract: one list of fields. The TypeScript type, the check, the JSON Schema, the ClickHouse columns,
 * the encoder of the Native format and the documentation page all follow from it; nothing else names a field's type.
 *
 * Names are OpenTelemetry's MCP and GenAI attributes, flattened to snake_case, wherever the convention has one
 * (`otel`); the rest is ours and stays out of the `mcp.*` namespace.
 */
import { type Field, type FieldKind, type FieldKinds, positionFields, type RecordOf } from './field.js';

/** How a call ended. `no_response`: the process ended, or the connection closed, before an answer. */
export const outcomes = [
  'success',
  'tool_error',
  'protocol_error',
  'denied',
  'throttled',
  'cancelled',
  'timeout',
  'input_required',
  'task_created',
  'no_response',
] as const;
export type Outcome = (typeof outcomes)[number];

/** A field of the event, with what its documentation says. */
export interface EventField<K extends FieldKind = FieldKind> extends Field<K> {
  readonly group: 'identity' | 'time' | 'who' | 'what' | 'outcome' | 'payload' | 'tool' | 'linkage' | 'position';
  /** The OpenTelemetry attribute with this meaning. */
  readonly otel?: string;
  readonly example: FieldKinds[K];
}

function field<K extends FieldKind, R extends { readonly required?: true }>(
  kind: K,
  group: EventField['group'],
  rest: Omit<EventField<K>, 'kind' | 'group' | 'required'> & R,
): EventField<K> & R {
  return { kind, group, ...rest };
}

export const eventFields = {
  event_id: field('uuid', 'identity', {
    required: true,
    description:
      'UUIDv7 of the call, drawn when the request arrived: time, a 12-bit counter, and 62 bits drawn once a process (RFC 9562 §6.2). A second record with the same id is a repeated delivery and is not stored.',
    example: '019ab3f0-8c1b-7001-9f3e-5d2c8a417be6',
  }),
  schema_version: field('size', 'identity', { description: 'Version of this contract, now 1.', example: 1 }),
  tenant: field('name', 'identity', {
    setBy: 'gateway',
    description: "Whose data this is; set from the producer's key, a differing value in the record is refused.",
    example: 'default',
  }),
  producer_id: field('name', 'identity', {
    description: 'One emitter process: name and a random part that changes at every start.',
    example: 'everything-4f1d9c20',
  }),
  producer_sequence: field('counter', 'identity', {
    description: 'Counts the events of one producer_id from 1 without gaps; a gap in the table is a lost event.',
    example: 1042,
  }),
  producer_key: field('name', 'identity', {
    setBy: 'gateway',
    description: 'Name of the gateway key that vouched for the record; empty when it came straight from Kafka.',
    example: 'emitter',
  }),

  occurred_at: field('time_micros', 'time', {
    required: true,
    description: "When the request arrived, by the producer's clock.",
    example: '2026-11-24T03:52:00.123456Z',
  }),
  recorded_at: { ...positionFields.recorded_at, group: 'time', example: '2026-11-24T03:52:00.310Z' },
  duration_ms: field('duration', 'time', {
    description: 'From the arrival of the request to its answer; null when there was none.',
    example: 12.345,
  }),

  actor_id: field('name', 'who', {
    otel: 'user.id',
    description: 'Who called; empty when unknown.',
    example: 'alice@example.com',
  }),
  actor_type: field('name', 'who', { description: 'user, agent, service or unknown.', example: 'user' }),
  actor_verified: field('flag', 'who', {
    description: 'True when the actor was authenticated (for example from authInfo); false when only claimed.',
    example: true,
  }),
  client_id: field('name', 'who', { description: 'OAuth client id, where there is one.', example: 'agent-prod' }),
  client_name: field('name', 'who', { description: 'Name the client gave itself; a claim.', example: 'claude-code' }),
  client_version: field('name', 'who', { description: 'Version the client gave itself; a claim.', example: '2.1.0' }),
  session_id: field('name', 'who', {
    otel: 'mcp.session.id',
    description: 'MCP session, or one connection of a transport without sessions.',
    example: '6f0c2f4e',
  }),
  client_address: field('name', 'who', {
    otel: 'client.address',
    description: 'Address of the peer, without port.',
    example: '10.1.2.3',
  }),

  server_name: field('name', 'what', { description: 'Name of the MCP server.', example: 'filesystem' }),
  server_version: field('name', 'what', { description: 'Version of the MCP server.', example: '1.4.0' }),
  method: field('name', 'what', {
    required: true,
    otel: 'mcp.method.name',
    description: 'JSON-RPC method.',
    example: 'tools/call',
  }),
  tool_name: field('name', 'what', {
    otel: 'gen_ai.tool.name',
    description: 'Tool of a tools/call.',
    example: 'read_file',
  }),
  resource_uri: field('text', 'what', {
    otel: 'mcp.resource.uri',
    description: 'Resource of a resources/* request.',
    example: 'file:///tmp/report.txt',
  }),
  prompt_name: field('name', 'what', {
    otel: 'gen_ai.prompt.name',
    description: 'Prompt of a prompts/get.',
    example: 'summarise',
  }),
  request_id: field('text', 'what', {
    otel: 'jsonrpc.request.id',
    description: 'JSON-RPC id as text.',
    example: '17',
    maxBytes: 256,
  }),
  protocol_version: field('name', 'what', {
    otel: 'mcp.protocol.version',
    description: 'MCP revision in use.',
    example: '2026-07-28',
  }),
  transport: field('name', 'what', {
    otel: 'network.transport',
    description: 'stdio, http, sse, memory or other.',
    example: 'stdio',
  }),

  outcome: {
    kind: 'choice',
    group: 'outcome',
    required: true,
    values: outcomes,
    description: 'How the call ended.',
    example: 'success',
  },
  error_type: field('name', 'outcome', {
    otel: 'error.type',
    description: 'tool_error, a JSON-RPC error name, or the class of the failure.',
    example: 'tool_error',
  }),
  error_code: field('integer', 'outcome', {
    otel: 'rpc.response.status_code',
    description: 'JSON-RPC error code; 0 when there is none.',
    example: -32602,
  }),
  error_message: field('text', 'outcome', { description: 'Error text, redacted.', example: 'Invalid params' }),

  arguments: field('body', 'payload', {
    otel: 'gen_ai.tool.call.arguments',
    description: 'JSON text of the params that matter (of a tools/call: its arguments), redacted.',
    example: '{"path":"/tmp/report.txt"}',
  }),
  result: field('body', 'payload', {
    otel: 'gen_ai.tool.call.result',
    description: 'JSON text of the result, redacted.',
    example: '{"content":[{"type":"text","text":"42"}]}',
  }),
  arguments_bytes: field('size', 'payload', {
    description: 'Size of the arguments before redaction and truncation.',
    example: 26,
  }),
  result_bytes: field('size', 'payload', {
    description: 'Size of the result before redaction and truncation.',
    example: 43,
  }),
  arguments_hash: field('text', 'payload', {
    maxBytes: 64,
    description:
      'HMAC-SHA-256 of the unredacted arguments, first 16 hex digits: equal arguments are found without being kept.',
    example: '9c1185a5c5e9fc54',
  }),
  truncated: field('flag', 'payload', { description: 'Arguments or result were cut at a limit.', example: false }),
  redactions: field('list', 'payload', {
    description: 'What was replaced: path and kind.',
    example: ['arguments.password:key', 'result.content.0.text:jwt'],
  }),

  tool_definition_hash: field('name', 'tool', {
    description: "SHA-256 of the tool's definition as last listed (RFC 8785 form), first 16 hex digits.",
    example: '5d41402abc4b2a76',
  }),
  tool_read_only: field('hint', 'tool', {
    description: 'readOnlyHint of the tool: a claim of the server.',
    example: true,
  }),
  tool_destructive: field('hint', 'tool', { description: 'destructiveHint of the tool.', example: false }),
  tool_idempotent: field('hint', 'tool', { description: 'idempotentHint of the tool.', example: true }),
  tool_open_world: field('hint', 'tool', { description: 'openWorldHint of the tool.', example: false }),

  trace_id: field('text', 'linkage', {
    maxBytes: 64,
    description: 'W3C trace id from _meta.traceparent or the HTTP header.',
    example: '4bf92f3577b34da6a3ce929d0e0e4736',
  }),
  span_id: field('text', 'linkage', { maxBytes: 32, description: 'W3C parent span id.', example: '00f067aa0ba902b7' }),
  parent_event_id: field('text', 'linkage', {
    maxBytes: 36,
    description: 'First event of a multi-round-trip call.',
    example: '',
  }),
  task_id: field('text', 'linkage', {
    maxBytes: 256,
    description: 'MCP task the call created or asked about.',
    example: '',
  }),
  attributes: field('map', 'linkage', {
    description: 'Everything else; unknown fields of a record are kept here.',
    example: { 'deployment.environment': 'prod' },
  }),

  stream_partition: { ...positionFields.stream_partition, group: 'position', example: 0 },
  stream_offset: { ...positionFields.stream_offset, group: 'position', example: 123456 },
} as const satisfies Record<string, EventField>;

export type FieldName = keyof typeof eventFields;

/** One recorded request to an MCP server, complete: every field has a value. */
export type CallEvent = RecordOf<typeof eventFields>;

/** What a producer sends: the required fields and whatever else it knows. One JSON object on one line. */
export type ProducedEvent = Pick<CallEvent, RequiredField> & Partial<Omit<CallEvent, RequiredField>>;
type RequiredField = { [N in FieldName]: (typeof eventFields)[N] extends { required: true } ? N : never }[FieldName];
