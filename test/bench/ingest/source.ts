import type { Stream } from '../../../services/stream/stream.js';

/** `timestamp` is milliseconds since the epoch. What it returns is waited for. */
export type Take = (
  value: Buffer,
  tenant: string,
  producerKey: string,
  partition: number,
  timestamp: number,
  offset: number,
) => Promise<void> | undefined;

/** Where the events come from: the stream as the ingestor has it, and what one writes first to read it. */
export interface Source {
  open(): Promise<Stream>;
  /**
   * Gives the records of the topic to `take`, until so many were given; `done` after each batch with their number so
   * far. Single values, so that nothing is made for the plain path that it does not need.
   */
  readAll(events: number, take: Take, done: (read: number) => Promise<void>): Promise<void>;
}
