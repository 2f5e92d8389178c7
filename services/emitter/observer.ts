import type { Enforcement } from './enforcement.js';
import type { CommonFields, Recorder } from './recorder.js';
import { Rounds } from './rounds.js';
import { ToolCatalogue } from './tools.js';

export interface ObserverCounters {
  /** Errors of our own, or of the operator's actor function, that were kept away from the call. */
  errors: number;
  /** Calls given up as no_response because too many were unanswered at once. */
  abandoned: number;
}

/** Everything connections to one server have in common: its tools, its rounds, its recorder. */
export class Observer {
  readonly tools = new ToolCatalogue();
  readonly rounds = new Rounds();
  readonly counters: ObserverCounters = { errors: 0, abandoned: 0 };

  constructor(
    readonly recorder: Recorder,
    readonly failClosed: boolean,
    readonly enforcement?: Enforcement,
  ) {}

  /** What calls of a tool that was listed have in common. */
  commonOfTool(name: string): CommonFields | undefined {
    const tool = this.tools.lookup(name);
    if (tool === undefined) return undefined;
    tool.common ??= this.recorder.common({
      tool_name: name,
      tool_definition_hash: tool.hash,
      tool_read_only: tool.readOnly,
      tool_destructive: tool.destructive,
      tool_idempotent: tool.idempotent,
      tool_open_world: tool.openWorld,
    });
    return tool.common;
  }
}
