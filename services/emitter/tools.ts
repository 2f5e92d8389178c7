import { createHash } from 'node:crypto';
import type { CommonFields } from './call-text.js';
import { isObject } from './messages.js';

/** What the latest tools/list said of a tool; a claim of the server. Null: not stated. */
export interface ToolDefinition {
  /** SHA-256 of the definition in RFC 8785 form, first 16 hex digits. */
  readonly hash: string;
  readonly readOnly: boolean | null;
  readonly destructive: boolean | null;
  readonly idempotent: boolean | null;
  readonly openWorld: boolean | null;
  /** What calls of the tool have in common, once it was called. */
  common?: CommonFields;
}

/** Servers list tens to hundreds of tools; 10,000 × about 200 bytes = 2 MB is far beyond any of them. */
const maxTools = 10_000;

const hashedProperties = ['name', 'title', 'description', 'inputSchema', 'outputSchema', 'annotations'] as const;

/**
 * The tools of one server as they were last listed. Every page of a tools/list adds to it; a tool that is no longer
 * listed stays known, so that a call which races with list_changed still carries the definition the client saw.
 */
export class ToolCatalogue {
  readonly #tools = new Map<string, ToolDefinition>();

  lookup(name: string): ToolDefinition | undefined {
    return this.#tools.get(name);
  }

  /** Learns from the result of a tools/list, one page of it; anything of another shape teaches nothing. */
  learn(result: unknown): void {
    if (!isObject(result) || !Array.isArray(result.tools)) return;
    for (const tool of result.tools) {
      if (!isObject(tool) || typeof tool.name !== 'string') continue;
      if (this.#tools.size >= maxTools && !this.#tools.has(tool.name)) return;
      this.#tools.set(tool.name, definitionOf(tool));
    }
  }
}

function definitionOf(tool: Record<string, unknown>): ToolDefinition {
  const hashed: Record<string, unknown> = {};
  for (const property of hashedProperties) if (tool[property] !== undefined) hashed[property] = tool[property];
  const annotations = isObject(tool.annotations) ? tool.annotations : {};
  const hint = (name: string): boolean | null => {
    const value = annotations[name];
    return typeof value === 'boolean' ? value : null;
  };
  return {
    hash: createHash('sha256').update(canonicalJson(hashed)).digest('hex').slice(0, 16),
    readOnly: hint('readOnlyHint'),
    destructive: hint('destructiveHint'),
    idempotent: hint('idempotentHint'),
    openWorld: hint('openWorldHint'),
  };
}

/**
 * JSON text in RFC 8785 form: no white space, properties sorted by UTF-16 code units, numbers and strings as
 * ECMAScript writes them (JSON.stringify does). Two texts are equal exactly when the values are.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (isObject(value)) {
    const members = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
