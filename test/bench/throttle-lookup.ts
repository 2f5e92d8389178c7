import Table from 'cli-table3';
import { Throttles } from '../../services/emitter/throttles.js';
import { makeSignal, makeSigner } from '../throttler/signals.js';
import { median, round2 } from './figures.js';
import type { BenchmarkOptions, BenchmarkResult } from './main.js';

export const description = 'What the decision about a call costs with 0 to 10,000 active signals.';

const targetNanoseconds = 1_000;

/** CPU time, which other work on the machine does not inflate as it does the clock. */
function nanosecondsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1000;
}

/**
 * Nanoseconds of one decision. Beside it the least that any limit by caller costs: one look-up of the caller in a map
 * with as many entries, and the arithmetic of one bucket.
 */
export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const calls = Number(options.calls ?? 1_000_000);
  const now = Date.now() * 1000;
  const signer = makeSigner();
  const table = new Table({ head: ['active signals', 'decision ns', 'one map look-up ns', 'ratio'] });
  const figures: Record<string, number> = {};
  let worst = 0;
  let ratio = 0;
  for (const count of [0, 1, 100, 10_000]) {
    const throttles = new Throttles();
    throttles.trust(new Map([[signer.keyId, signer.publicKey]]));
    const buckets = new Map<string, number>();
    for (let at = 0; at < count; at++) {
      // Four shapes of scopes, as a busy operator has them; every call is in one of them and passes.
      const scope = [
        { actor_id: `actor-${at}` },
        { actor_id: `actor-${at}`, tool_name: 'echo' },
        { session_id: `session-${at}` },
        { server_name: 'server', tool_name: `tool-${at}` },
      ][at % 4]!;
      throttles.take(signer.sign(makeSignal(now, { scope, interval_micros: 1, burst: 1_000_000 })), now);
      buckets.set(`actor-${at}`, 0);
    }
    const actors = Array.from({ length: 1024 }, (_, at) => ({
      actor_id: `actor-${(at * 4) % Math.max(1, count)}`,
      session_id: `session-${at}`,
      server_name: 'server',
      tool_name: 'echo',
      client_id: '',
    }));
    const ours: number[] = [];
    const floor: number[] = [];
    let clock = now;
    for (let round = 0; round < 7; round++) {
      let begun = process.cpuUsage();
      let passed = 0;
      for (let call = 0; call < calls; call++) {
        clock += 2;
        if (throttles.decide(actors[call & 1023]!, clock).kind === 'pass') passed++;
      }
      ours.push(nanosecondsSince(begun) / calls);
      if (passed !== calls) throw new Error(`${calls - passed} calls were held back that no signal is about`);
      begun = process.cpuUsage();
      for (let call = 0; call < calls; call++) {
        clock += 2;
        const key = actors[call & 1023]!.actor_id;
        const fullAt = buckets.get(key);
        if (fullAt !== undefined && fullAt - 1_000_000 <= clock) buckets.set(key, Math.max(clock, fullAt) + 1);
      }
      floor.push(nanosecondsSince(begun) / calls);
    }
    const [mine, least] = [round2(median(ours)), round2(median(floor))];
    table.push([count.toLocaleString('en'), mine, least, round2(mine / least)]);
    figures[`ns_${count}`] = mine;
    worst = Math.max(worst, mine);
    ratio = round2(mine / least);
  }
  console.log(table.toString());
  return {
    name: 'throttle-lookup',
    ratio,
    target: `a decision below ${targetNanoseconds} ns with 10,000 signals`,
    ok: worst < targetNanoseconds,
    ...figures,
  };
}
