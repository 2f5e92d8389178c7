/**
 * The catalogue of errors that a user can meet: a stable code, what it means and how to mend it. A test holds it
 * against docs/errors.md in both directions.
 */
export const errorCatalogue = {
  data_directory_held: {
    retriable: false,
    mend: 'Stop the process that is named, or give another directory with --data.',
  },
  data_directory_newer: {
    retriable: false,
    mend: 'The data directory was written by a newer mcp-auditd: run that version or a later one.',
  },
  record_too_large: {
    retriable: false,
    mend: 'Send smaller records; arguments and results can be cut with the limits of the emitter.',
  },
  segments_full: {
    retriable: true,
    mend: 'Wait until records were delivered, free disk space, or raise the limit that is named.',
  },
} as const satisfies Record<string, { retriable: boolean; mend: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** An error with a stable code. `retriable` says as data whether the same action may succeed later. */
export class AuditdError extends Error {
  readonly code: ErrorCode;
  readonly retriable: boolean;
  readonly mend: string;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'AuditdError';
    this.code = code;
    this.retriable = errorCatalogue[code].retriable;
    this.mend = errorCatalogue[code].mend;
  }
}
