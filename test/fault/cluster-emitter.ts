/**
 * An emitter of the cluster's fault rounds. `N` on standard input makes it record N calls; the id of each call that was
 * recorded goes to standard output with a synchronous write, so that the parent knows it even when this process is
 * killed right after. A call that the full spool refuses is not acknowledged; it is tried again after a pause.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { Recorder } from '../../services/emitter/recorder.js';

const [data, spoolBytes] = process.argv.slice(2) as [string, string];
const recorder = Recorder.open({
  name: 'cluster',
  data,
  failClosed: true,
  spool: { maxBytes: Number(spoolBytes), segmentBytes: 32 * 1024 },
  delivery: { lingerMs: 20 },
});
/** Several actors, so that calls go to every partition. */
const actors = Array.from({ length: 13 }, (_, at) => recorder.common({ actor_id: `actor-${at}` }));
let number = 0;

function record(): string {
  number++;
  const call = recorder.begin({
    method: 'tools/call',
    toolName: `tool-${number % 5}`,
    common: [actors[number % actors.length]!],
    arguments: { number, text: 'x'.repeat(number % 200) },
  });
  recorder.end(call, { outcome: 'success', result: { content: [{ type: 'text', text: String(number) }] } });
  return call.eventId;
}

writeSync(1, 'ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  for (let left = Number(line); left > 0; ) {
    let refused = false;
    for (let burst = 0; burst < 20 && left > 0 && !refused; burst++) {
      try {
        writeSync(1, `id ${record()}\n`);
        left--;
      } catch {
        refused = true;
        writeSync(1, 'refused\n');
      }
    }
    await setTimeout(refused ? 50 : 5);
  }
  writeSync(1, 'emitted\n');
}
