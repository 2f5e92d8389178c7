import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkCall } from '../../schemas/check.js';
import type { RecorderOptions } from '../../services/emitter/options.js';

/** Where the records of a fuzz run go: each is checked as the gateway does, and counted. */
export class Recorded {
  readonly #data = mkdtempSync(join(tmpdir(), 'mcp-auditd-fuzz-'));
  readonly #ids = new Set<string>();
  count = 0;

  get options(): RecorderOptions {
    return {
      data: this.#data,
      delivery: { lingerMs: 0, closeTimeoutMs: 120_000 },
      sink: {
        send: async (lines) => {
          for (const line of lines) this.#take(Buffer.from(line as Buffer));
          return { kind: 'accepted', rejected: [] };
        },
        close() {},
      },
    };
  }

  #take(line: Buffer): void {
    const checked = checkCall(line, { tenant: 'default', producer_key: 'k' });
    if (!checked.ok) throw new Error(`the gateway would refuse a record: ${checked.message}: ${line}`);
    if (this.#ids.has(checked.event.event_id)) throw new Error(`recorded twice: ${line}`);
    this.#ids.add(checked.event.event_id);
    this.count += 1;
  }

  dispose(): void {
    rmSync(this.#data, { recursive: true, force: true });
  }
}
