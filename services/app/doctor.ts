/** Looks whether everything is there that the roles need, and says how to mend what is not. */
import type { Logger } from 'pino';
import type { Configuration } from '../../schemas/configuration.js';
import { AuditdError } from '../../schemas/errors.js';
import type { Role } from './roles.js';

/** `failed` keeps a role from working, `warned` works and should be mended. */
export interface Finding {
  readonly name: string;
  readonly status: 'ok' | 'warned' | 'failed';
  readonly message: string;
  readonly mend?: string;
}

export interface Patient {
  readonly configuration: Configuration;
  readonly data: string;
  /** The configuration file, where there is one. */
  readonly file: string | undefined;
  readonly roles: readonly Role[];
  readonly log: Logger;
}

export const ok = (name: string, message: string): Finding => ({ name, status: 'ok', message });
export const warned = (name: string, message: string, mend: string): Finding => ({
  name,
  status: 'warned',
  message,
  mend,
});
export const failed = (name: string, message: string, mend: string): Finding => ({
  name,
  status: 'failed',
  message,
  mend,
});

/** The finding of an error: the catalogue says how to mend it. */
export function failedBy(name: string, error: unknown): Finding {
  if (error instanceof AuditdError) return failed(name, error.message, error.mend);
  return failed(name, (error as Error).message, 'Run it again with --verbose, which shows where it comes from.');
}

/** Examines everything that the configuration and the roles use; each finding as soon as it is there. */
export async function* examine(patient: Patient): AsyncGenerator<Finding> {
  const { configuration, roles } = patient;
  const { machine } = await import('./doctor/machine.js');
  yield* machine(patient);
  if (configuration.stream.kafka !== undefined) {
    const { kafka } = await import('./doctor/kafka.js');
    yield* kafka(patient);
  }
  if (configuration.store.clickhouse !== undefined && roles.some(({ usesStore }) => usesStore)) {
    const { clickhouse } = await import('./doctor/clickhouse.js');
    yield* clickhouse(patient);
  }
}
