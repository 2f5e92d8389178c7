/**
 * Reading JSON-RPC messages of MCP, every revision from 2024-11-05 to 2026-07-28, without assuming that they are
 * well formed: what is not of the expected type counts as absent.
 */

export type JsonObject = Record<string, unknown>;
export type RequestId = string | number | null;
/** Which way a message goes. JSON-RPC ids of the two directions are unrelated. */
export type Direction = 'client_to_server' | 'server_to_client';

/** What a transport knows about the request that carried a message; both majors of the SDK, by shape. */
export interface MessageContext {
  readonly authInfo?: unknown;
  readonly sessionId?: string | undefined;
  header(name: string): string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Fires when the HTTP request was abandoned by the client; only where the transport hands it on. */
  readonly signal?: { readonly aborted: boolean } | undefined;
  readonly http: boolean;
}

/** Is this a JSON object (not null, not an array)? */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value if it is text, else ''. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** The object if it is one, else an empty one. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : emptyObject;
}

const emptyObject: JsonObject = Object.freeze({});

/** What a message is to its exchange; `invalid` is no JSON-RPC message at all. */
export function messageKind(message: unknown): 'request' | 'response' | 'notification' | 'invalid' {
  if (!isObject(message)) return 'invalid';
  if (typeof message.method === 'string') return message.id === undefined ? 'notification' : 'request';
  if ('result' in message || 'error' in message) return 'response';
  return 'invalid';
}

/** What the params of a request say that deserves a column of its own. */
export interface RequestParts {
  readonly toolName: string;
  readonly resourceUri: string;
  readonly promptName: string;
  readonly taskId: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Of a tools/call its arguments, of any other request its params without `_meta`; undefined when there are none. */
  readonly arguments: unknown;
  readonly meta: JsonObject;
}

/** Takes a request's params apart. */
export function requestParts(method: string, rawParams: unknown, traceparentHeader: string | undefined): RequestParts {
  const params = objectOf(rawParams);
  const meta = objectOf(params._meta);
  const trace = traceOf(textOf(meta.traceparent) || traceparentHeader);
  const relatedTask = objectOf(meta['io.modelcontextprotocol/related-task']);
  return {
    toolName: method === 'tools/call' ? textOf(params.name) : '',
    resourceUri: method.startsWith('resources/') ? textOf(params.uri) : '',
    promptName: method === 'prompts/get' ? textOf(params.name) : '',
    taskId: textOf(params.taskId) || textOf(relatedTask.taskId),
    traceId: trace?.[1] ?? '',
    spanId: trace?.[2] ?? '',
    arguments: method === 'tools/call' ? params.arguments : withoutMeta(rawParams),
    meta,
  };
}

function withoutMeta(params: unknown): unknown {
  if (!isObject(params)) return params;
  if (!('_meta' in params)) return Object.keys(params).length === 0 ? undefined : params;
  const { _meta, ...rest } = params;
  return Object.keys(rest).length === 0 ? undefined : rest;
}

/** Version, trace id, parent id and flags of W3C Trace Context; ids of zeros only are invalid there. */
const traceparentPattern = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}/;

function traceOf(traceparent: string | undefined): RegExpExecArray | null {
  return traceparent ? traceparentPattern.exec(traceparent) : null;
}

export interface ResponseParts {
  readonly outcome:
    | 'success'
    | 'tool_error'
    | 'protocol_error'
    | 'timeout'
    | 'throttled'
    | 'cancelled'
    | 'input_required'
    | 'task_created';
  readonly errorType: string;
  readonly errorCode: number;
  readonly errorMessage: string;
  readonly taskId: string;
  /** The result, or undefined when the answer is an error. */
  readonly result: unknown;
}

/** JSON-RPC 2.0 §5.1, the SDKs' own codes, and ToolHive's 429, by the names that go into error_type. */
const errorTypes: Readonly<Record<number, string>> = {
  [-32700]: 'parse_error',
  [-32600]: 'invalid_request',
  [-32601]: 'method_not_found',
  [-32602]: 'invalid_params',
  [-32603]: 'internal_error',
  [-32000]: 'server_error',
  [-32001]: 'request_timeout',
  [-32002]: 'resource_not_found',
  [-32020]: 'header_mismatch',
  [-32042]: 'url_elicitation_required',
  429: 'rate_limited',
};

/** Takes a response apart: how the call ended and with what. */
export function responseParts(message: JsonObject): ResponseParts {
  if (isObject(message.error)) return errorParts(message.error);
  const result = message.result;
  if (!isObject(result)) return succeeded(result);
  if (result.isError === true) {
    return {
      ...succeeded(undefined),
      outcome: 'tool_error',
      errorType: 'tool_error',
      errorMessage: firstText(result),
      result,
    };
  }
  if (result.resultType === 'input_required') return { ...succeeded(undefined), outcome: 'input_required', result };
  // 2025-11-25 answers with {task: {taskId}}, 2026-07-28 marks the result and puts the task's fields beside the mark.
  const task = isObject(result.task) ? result.task : result.resultType === 'task' ? result : undefined;
  if (task !== undefined && typeof task.taskId === 'string') {
    return { ...succeeded(undefined), outcome: 'task_created', taskId: task.taskId, result };
  }
  return succeeded(result);
}

/** Written out, because nearly every answer is one. */
function succeeded(result: unknown): ResponseParts {
  return { outcome: 'success', errorType: '', errorCode: 0, errorMessage: '', taskId: '', result };
}

function errorParts(error: JsonObject): ResponseParts {
  const code = Number.isSafeInteger(error.code) ? (error.code as number) : 0;
  return {
    outcome: code === -32001 ? 'timeout' : code === 429 ? 'throttled' : 'protocol_error',
    errorType: errorTypes[code] ?? 'jsonrpc_error',
    errorCode: code,
    errorMessage: textOf(error.message),
    taskId: '',
    result: undefined,
  };
}

function firstText(result: JsonObject): string {
  if (!Array.isArray(result.content)) return '';
  for (const block of result.content) if (isObject(block) && typeof block.text === 'string') return block.text;
  return '';
}
