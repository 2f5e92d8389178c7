import type { Outcome } from '../../schemas/event.js';
import { ArgumentsHash, sortedJson } from './arguments-hash.js';
import { type BodyLimits, boundBody, serialise } from './body.js';
import { attributesText, fieldsText, jsonText, type PlainFields, type TextField, textFieldText } from './event-text.js';
import { defaultPayloads, type PayloadPolicy, type RecorderOptions } from './options.js';
import { Notes, Redactor } from './redaction.js';

/** Fields that many calls have in common (a connection's, a tool's), redacted and as they are written. */
export interface CommonFields {
  readonly text: string;
  readonly notes: readonly string[];
  /** Whether the server's name is among them. */
  readonly namesServer: boolean;
}

/** What is known when a request arrives. Empty text is the same as nothing. */
export interface CallBeginning {
  readonly method: string;
  readonly common?: readonly CommonFields[];
  readonly toolName?: string;
  readonly resourceUri?: string;
  readonly promptName?: string;
  readonly requestId?: string;
  readonly traceId?: string;
  readonly spanId?: string;
  readonly parentEventId?: string;
  readonly taskId?: string;
  /** The params that matter, as a JSON value; serialised here, once. */
  readonly arguments?: unknown;
  readonly attributes?: Readonly<Record<string, string>>;
}

/** What is known when the answer leaves. What the beginning told stays. */
export interface CallEnd {
  readonly outcome: Outcome;
  readonly errorType?: string;
  readonly errorCode?: number;
  readonly errorMessage?: string;
  readonly taskId?: string;
  /** What a server called itself in this very answer. */
  readonly serverName?: string;
  readonly serverVersion?: string;
  readonly result?: unknown;
  readonly attributes?: Readonly<Record<string, string>>;
}

/** The text of a beginning, and what the end must know of it. */
export interface BegunText {
  /** The event's text up to a point. */
  readonly text: string;
  /** What must stand in an event without an end; the end writes it anew. */
  readonly alone: string;
  readonly method: string;
  readonly hasTask: boolean;
  readonly namesServer: boolean;
  readonly attributes: Readonly<Record<string, string>> | undefined;
  readonly redactions: readonly string[];
  readonly truncated: boolean;
}

const defaultBodyBytes = 64 * 1024;
/** The contract's longest body. */
const maxBodyBytes = 1024 * 1024;
/** Characters of a field that are searched for secrets and kept; the contract takes fewer bytes. */
const maxFieldLength = 4096;

/** Writes calls as text of events: redacted, bounded, and in two parts that are joined to one. Never throws. */
export class CallText {
  readonly #redactor: Redactor;
  readonly #payloads: RecorderOptions['payloads'];
  readonly #argumentLimits: BodyLimits;
  readonly #resultLimits: BodyLimits;
  readonly #policies = new Map<string, PayloadPolicy>();
  readonly #hashKey: () => Buffer;
  #hash: ArgumentsHash | undefined;

  /**
   * `hashKey` is asked for once, when the first arguments come.
   * @throws TypeError for an operator's pattern that is no pattern.
   */
  constructor(options: RecorderOptions, hashKey: () => Buffer) {
    this.#redactor = new Redactor(options.redaction);
    this.#payloads = options.payloads;
    this.#hashKey = hashKey;
    const { limits = {} } = options;
    const shared = {
      maxStringLength: Math.max(64, limits.stringBytes ?? 32 * 1024),
      maxDepth: Math.min(512, Math.max(1, limits.depth ?? 64)),
    };
    this.#argumentLimits = { ...shared, maxBytes: bodyBytes(limits.argumentsBytes) };
    this.#resultLimits = { ...shared, maxBytes: bodyBytes(limits.resultBytes) };
  }

  common(fields: Partial<PlainFields>): CommonFields {
    const notes = new Notes();
    const redacted: Partial<Record<keyof PlainFields, unknown>> = { ...fields };
    for (const [name, value] of Object.entries(fields)) {
      if (typeof value === 'string') redacted[name as TextField] = this.#redactedField(value, name, notes);
    }
    return {
      text: fieldsText(redacted as Partial<PlainFields>),
      notes: notes.list,
      namesServer: Boolean(fields.server_name),
    };
  }

  /** Throws the file system's error when the key of the hash can be neither read nor made; never otherwise. */
  beginning(call: CallBeginning): BegunText {
    const notes = new Notes();
    let text = this.#field('method', call.method, notes);
    let namesServer = false;
    for (const common of call.common ?? []) {
      text += common.text;
      namesServer ||= common.namesServer;
      if (common.notes.length > 0) notes.list.push(...common.notes);
    }
    text += this.#field('tool_name', call.toolName, notes);
    text += this.#field('resource_uri', call.resourceUri, notes);
    text += this.#field('prompt_name', call.promptName, notes);
    text += this.#field('request_id', call.requestId, notes);
    text += this.#field('trace_id', call.traceId, notes);
    text += this.#field('span_id', call.spanId, notes);
    text += this.#field('parent_event_id', call.parentEventId, notes);
    text += this.#field('task_id', call.taskId, notes);
    let truncated = false;
    if (call.arguments !== undefined) {
      const json = serialise(call.arguments);
      this.#hash ??= new ArgumentsHash(this.#hashKey());
      text += `,"arguments_bytes":${sizeOf(json)},"arguments_hash":"${this.#hash.of(sortedJson(json))}"`;
      if (this.#keeps(call.method, 'arguments')) {
        const body = boundBody(json, 'arguments', this.#redactor, this.#argumentLimits, notes);
        truncated = body.truncated;
        text += `,"arguments":${JSON.stringify(body.text)}`;
      }
    }
    const { method, attributes } = call;
    const hasTask = call.taskId !== undefined && call.taskId !== '';
    // The end writes the attributes anew, and notes what it replaces in them.
    const redactions = attributes === undefined ? notes.list : [...notes.list];
    const alone = this.#attributes(attributes, notes) + notesText(notes.list, truncated);
    return { text, alone, method, hasTask, namesServer, attributes, redactions, truncated };
  }

  /** The rest of the event's text, behind what every end tells. */
  end(begun: BegunText, end: CallEnd): string {
    const notes = new Notes();
    if (begun.redactions.length > 0) notes.list.push(...begun.redactions);
    let text = this.#field('error_type', end.errorType, notes);
    if (end.errorCode) text += `,"error_code":${end.errorCode}`;
    text += this.#field('error_message', end.errorMessage, notes);
    if (!begun.hasTask) text += this.#field('task_id', end.taskId, notes);
    if (!begun.namesServer && end.serverName) {
      text +=
        this.#field('server_name', end.serverName, notes) + this.#field('server_version', end.serverVersion, notes);
    }
    let { truncated } = begun;
    if (end.result !== undefined) {
      const json = serialise(end.result);
      text += `,"result_bytes":${sizeOf(json)}`;
      if (this.#keeps(begun.method, 'result')) {
        const body = boundBody(json, 'result', this.#redactor, this.#resultLimits, notes);
        truncated ||= body.truncated;
        text += `,"result":${JSON.stringify(body.text)}`;
      }
    }
    const all =
      end.attributes === undefined || begun.attributes === undefined
        ? (end.attributes ?? begun.attributes)
        : { ...end.attributes, ...begun.attributes };
    return close(text, this.#attributes(all, notes) + notesText(notes.list, truncated));
  }

  /** As `end`, without anything of the answer: for when there is no room for more. */
  shortestEnd(begun: BegunText): string {
    return begun.redactions.length === 0 ? shortestRest : close('', notesText(begun.redactions, true));
  }

  #attributes(attributes: Readonly<Record<string, string>> | undefined, notes: Notes): string {
    if (attributes === undefined) return '';
    return attributesText(attributes, (value, path, name) => {
      if (value === '' || !this.#redactor.names.has(name)) return this.#redactedField(value, path, notes);
      notes.add(path, 'key');
      return '[redacted]';
    });
  }

  #field(name: TextField, value: string | undefined, notes: Notes): string {
    if (value === undefined || value === '') return '';
    return textFieldText(name, this.#redactedField(value, name, notes));
  }

  /** Clients can put text of their own into every field. */
  #redactedField(value: string, path: string, notes: Notes): string {
    return this.#redactor.suspects(value) ? this.#redactor.text(value, path, notes, maxFieldLength).text : value;
  }

  #keeps(method: string, part: 'arguments' | 'result'): boolean {
    let policy = this.#policies.get(method);
    if (policy === undefined) {
      policy = own(this.#payloads, method) ?? own(defaultPayloads, method) ?? own(this.#payloads, '*') ?? 'both';
      // Methods are few, unless a client makes them up.
      if (this.#policies.size < 1000) this.#policies.set(method, policy);
    }
    return policy === 'both' || policy === part;
  }
}

const shortestRest = close('', notesText([], true));

/** Closes an event's text; `rest` is '' or ends with a comma. */
function close(text: string, rest: string): string {
  return rest === '' ? `${text}}` : `${text},${rest.slice(0, -1)}}`;
}

function notesText(redactions: readonly string[], truncated: boolean): string {
  let text = truncated ? '"truncated":true,' : '';
  if (redactions.length > 0) text += `"redactions":[${redactions.map((note) => jsonText(note, 1024)).join(',')}],`;
  return text;
}

function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

function bodyBytes(given: number | undefined): number {
  return Math.min(maxBodyBytes, Math.max(1024, given ?? defaultBodyBytes));
}

/** Bytes of UTF-8, as far as the field counts. */
function sizeOf(json: string): number {
  return Math.min(Buffer.byteLength(json), 2 ** 32 - 1);
}
