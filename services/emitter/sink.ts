/**
 * The port to whatever takes events: `http-sink.ts` is the gateway. An adapter says as data what became of a batch.
 */
/** One event: a JSON object as text, without a line end. Delivery takes it from memory, or from the disk as bytes. */
export type EventText = string | Buffer;

export interface RejectedLine {
  /** Index in the batch, from 0. */
  readonly index: number;
  readonly code: string;
  readonly message: string;
}

export type SinkAnswer =
  /** Every line that is not rejected is durable there. */
  | { readonly kind: 'accepted'; readonly rejected: readonly RejectedLine[] }
  /** Nothing was accepted, or it isn't known: send the same lines again. */
  | { readonly kind: 'retry'; readonly reason: string; readonly afterMs?: number }
  /** The batch as a whole was refused and will be again: halve it, a single line is rejected. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

export interface Sink {
  /** Sends events. Never rejects. */
  send(lines: readonly EventText[], signal: AbortSignal): Promise<SinkAnswer>;
  close(): void;
}
