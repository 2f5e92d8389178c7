import { totalmem } from 'node:os';
import { AuditdError } from '../../schemas/errors.js';

/**
 * A bound over all questions together. Each has its limit (`query.memory_bytes`), few run at once, and one whose reader
 * rests keeps what it has: 64 open ones could hold 128 GiB. So none begins while the open ones hold a quarter of the memory
 * that this process may use. With those that run (two, and one beyond) that is at most a quarter and three limits.
 */
const share = 0.25;

/** Bytes: of the machine, or of the container where it has less. */
export function mostHeldBytes(): number {
  const constrained = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return share * Math.min(totalmem(), constrained);
}

/** What the questions hold that are open in the engine; each is marked by its log_comment. */
export const selectHeld =
  "SELECT sum(greatest(memory_usage, 0)) AS held FROM system.processes WHERE startsWith(Settings['log_comment'], 'question-')";

/** @throws AuditdError `query_busy`. */
export function refuseWhenHeld(held: number, most: number): void {
  if (held <= most) return;
  const mebibytes = (bytes: number): string => Math.round(bytes / 1024 ** 2).toLocaleString('en');
  throw new AuditdError(
    'query_busy',
    `open questions hold ${mebibytes(held)} MiB of memory and ${mebibytes(most)} are given to them: their readers have not taken the answers yet`,
  );
}
