/** What the commands that stand between a client and a server take alike. They load nothing but the emitter. */
import type { Command } from 'commander';
import { AuditdError } from '../../schemas/errors.js';
import type { ThrottleOptions } from '../emitter/enforcement.js';
import type { RecorderOptions } from '../emitter/options.js';

export interface EmitterOptions {
  readonly name?: string;
  readonly actor?: string;
  readonly failClosed?: boolean;
  readonly data?: string;
  readonly throttleAnswer?: string;
  readonly throttleClosedAfter?: string;
  /** False with --no-throttle. */
  readonly throttle: boolean;
}

/** Adds the options of `wrap` and `proxy`. */
export function addEmitterOptions(command: Command): Command {
  return command
    .option('--name <name>', 'name of the producer (default: mcp-server)')
    .option('--actor <id>', 'who calls, as a claim (default: MCP_AUDITD_ACTOR, else on stdio the user of the system)')
    .option('--fail-closed', 'refuse calls that cannot be recorded')
    .option('--throttle-answer <kind>', 'how a throttled call is answered: error (429) or result, which a model reads')
    .option('--throttle-closed-after <seconds>', 'refuse every call when signals were out of reach for so long')
    .option('--no-throttle', 'do not follow throttle signals');
}

export function recorderOptionsOf({ name, data, failClosed }: EmitterOptions): RecorderOptions {
  return {
    ...(name === undefined ? {} : { name }),
    ...(data === undefined ? {} : { data }),
    ...(failClosed === undefined ? {} : { failClosed }),
  };
}

/** Throws `argument_invalid`. */
export function throttleOptionsOf(options: EmitterOptions): ThrottleOptions | false | undefined {
  const { throttle, throttleAnswer: answer, throttleClosedAfter: closedAfter } = options;
  if (!throttle) return false;
  if (answer === undefined && closedAfter === undefined) return undefined;
  if (answer !== undefined && answer !== 'error' && answer !== 'result')
    throw new AuditdError('argument_invalid', `--throttle-answer ${answer}: expected error or result.`);
  if (closedAfter !== undefined && !/^\d{1,9}$/.test(closedAfter))
    throw new AuditdError('argument_invalid', `--throttle-closed-after ${closedAfter}: expected whole seconds.`);
  return {
    ...(answer === undefined ? {} : { answer }),
    ...(closedAfter === undefined ? {} : { closedAfterMs: Number(closedAfter) * 1000 }),
  };
}
