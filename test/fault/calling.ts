/** Calls `echo` as fast as it can and says of each answer that it came. */
import { writeSync } from 'node:fs';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';

export interface CallingOptions {
  readonly first: number;
  readonly most: number;
  readonly inFlight: number;
}

/** The options from the command line: first call number, most calls, calls in flight. */
export function callingOptions(): CallingOptions {
  const [first, most, inFlight] = process.argv.slice(2).map(Number) as [number, number, number];
  return { first, most, inFlight };
}

/** Writes a line to standard output before it returns; where the parent is slow to read, it waits. */
export function tell(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/**
 * The number of every call that was answered goes to standard output with a synchronous write, so that the parent
 * knows it even when this process is killed right after.
 */
export async function callAll(client: Client, { first, most, inFlight }: CallingOptions): Promise<void> {
  let next = first;
  async function worker(): Promise<void> {
    while (next < first + most) {
      const n = next++;
      const result = await client.callTool({ name: 'echo', arguments: { n } });
      if (result.isError === true) throw new Error(`call ${n} failed: ${JSON.stringify(result)}`);
      tell(String(n));
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker));
}
