/**
 * An emitter of the cluster's fault rounds. `N` on standard input makes it record N calls, `N R` about R a second; the id of each call that was
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
  // Several files in a small spool, so that a fault meets them; the usual size in a large one.
  spool: { maxBytes: Number(spoolBytes), segmentBytes: Math.min(8 * 1024 ** 2, Number(spoolBytes) / 8) },
  delivery: { lingerMs: 20 },
});
/** Several actors, so that calls go to every partition. */
const actors = Array.from({ length: 13 }, (_, at) => recorder.common({ actor_id: `actor-${at}` }));
let number = 0;

/** Undefined when the call could not be kept: with failClosed its caller would have been refused. */
function record(): string | undefined {
  number++;
  const call = recorder.begin({
    method: 'tools/call',
    toolName: `tool-${number % 5}`,
    common: [actors[number % actors.length]!],
    arguments: { number, text: 'x'.repeat(number % 200) },
  });
  recorder.end(call, { outcome: 'success', result: { content: [{ type: 'text', text: String(number) }] } });
  return recorder.commit() ? call.eventId : undefined;
}

writeSync(1, 'ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [count = 0, perSecond = 4_000] = line.split(' ').map(Number);
  const startedAt = performance.now();
  let done = 0;
  while (done < count) {
    const due = Math.min(count, 1 + Math.floor(((performance.now() - startedAt) / 1000) * perSecond));
    let refused = false;
    let ids = '';
    while (done < due && !refused) {
      const id = record();
      if (id === undefined) refused = true;
      else {
        ids += `id ${id}\n`;
        done++;
      }
    }
    if (ids !== '') writeSync(1, ids);
    await setTimeout(refused ? 50 : 2);
  }
  writeSync(1, 'emitted\n');
}
