/**
 * `npm run faults -- --seed S --rounds N`: random SIGKILLs of a calling server, of the daemon, of both. The last line
 * is `N rounds: L lost, D duplicated, G gaps`; the exit code is 0 only when all three are 0.
 *
 * With `--cluster`: the same on the form that runs on several machines, with kills, freezes and failures of every part;
 * with `--away SECONDS` besides, the store is away for so long while calls go on; with `--minutes M` no further round
 * begins after that time.
 *
 * With `--detector`: SIGKILLs of a detecting process, whose alerts must be those of one that was never killed. The last
 * line is `N kills: M missing, U unexpected, D different`.
 *
 * With `--notifier`: SIGKILLs of a notifying process between every two steps of a delivery, on each channel. The last
 * line is `N kills: L lost, D told twice`; being told twice is what mail and webhooks cannot exclude.
 *
 * With `--throttle`: SIGKILLs of the daemon and of a server while throttles are added and lifted. With `--throttle
 * --cluster`: of throttler, gateway, detector and servers, each by itself, on Kafka, while rules fire as well.
 */
import { parseArgs } from 'node:util';
import build from '../build.js';
import { killDetectors } from '../detector/kills.js';
import { startBroker } from '../kafka/broker.js';
import { killNotifiers } from '../notifier/kills.js';
import { runClusterFaults } from './cluster.js';
import { runStoreAway } from './cluster-away.js';
import { runFaults } from './rounds.js';
import { killThrottle } from './throttle.js';
import { killThrottleCluster } from './throttle-cluster.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    rounds: { type: 'string', default: '100' },
    cluster: { type: 'boolean', default: false },
    away: { type: 'string' },
    minutes: { type: 'string' },
    detector: { type: 'boolean', default: false },
    notifier: { type: 'boolean', default: false },
    throttle: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
if (values.help) {
  console.log(
    'npm run faults -- [--cluster [--away SECONDS] [--minutes M] | --detector | --notifier | --throttle [--cluster]] [--seed S] [--rounds N]',
  );
  process.exit(0);
}
build();
const seed = Number(values.seed);
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(rounds) || rounds < 1) {
  console.error('--seed and --rounds take whole numbers, --rounds at least 1.');
  process.exit(2);
}
// What a run has started ends with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
if (values.cluster && !values.throttle && values.away !== undefined) {
  const away = await runStoreAway({ awayMs: Number(values.away) * 1000, callsPerSecond: 500, progress: console.log });
  console.log(JSON.stringify(away));
  process.exit(away.lost + away.duplicated + away.gaps === 0 ? 0 : 1);
}
console.log(`seed ${seed}`);
if (values.throttle && values.cluster) {
  const broker = await startBroker();
  const {
    faults,
    kills,
    rounds: done,
    ...report
  } = await killThrottleCluster({
    seed,
    rounds,
    brokers: broker.brokers,
    progress: console.log,
  });
  for (const fault of faults) console.log(fault);
  const told = Object.entries(kills).map(([name, count]) => `${name} ${count}`);
  console.log(`kills: ${told.join(', ')}; ${report.crossed} callers crossed a rule's line`);
  console.log(
    `${report.throttles} throttles, ${report.lifts} lifts, ${report.signals} signals in ${report.records} records, ${report.refused} of ${report.asked} calls refused`,
  );
  const { lost, outlived, twice, gaps } = report;
  console.log(`${done} rounds: ${lost} lost, ${outlived} outlived their end, ${twice} twice, ${gaps} gaps`);
  process.exit(lost + outlived + twice + gaps === 0 ? 0 : 1);
}
if (values.cluster) {
  const { faults, ...report } = await runClusterFaults({
    seed,
    rounds,
    progress: console.log,
    ...(values.minutes === undefined ? {} : { timeMs: Number(values.minutes) * 60_000 }),
  });
  console.log(
    `faults: ${Object.entries(faults)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ')}`,
  );
  console.log(
    `${report.acknowledged} calls acknowledged, ${report.stored} stored, ${report.repeated} repeated deliveries stored once`,
  );
  console.log(`${report.rounds} rounds: ${report.lost} lost, ${report.duplicated} duplicated, ${report.gaps} gaps`);
  process.exit(report.lost + report.duplicated + report.gaps === 0 ? 0 : 1);
}
if (values.detector) {
  const { kills, alerts, repeated, missing, unexpected, different, faults } = await killDetectors({
    seed,
    kills: rounds,
    records: 60_000,
    progress: console.log,
  });
  for (const line of faults) console.log(line);
  console.log(`${alerts} alert records expected, ${repeated} appended again after a kill, with equal content`);
  console.log(
    `${kills} kills: ${missing.length} missing, ${unexpected.length} unexpected, ${different.length} different`,
  );
  process.exit(missing.length + unexpected.length + different.length + faults.length === 0 ? 0 : 1);
}
if (values.notifier) {
  const { kills, lost, duplicates, killsByPoint } = await killNotifiers({ seed, kills: rounds, progress: console.log });
  console.log(
    Object.entries(killsByPoint)
      .map(([point, count]) => `${point} ${count}`)
      .join(', '),
  );
  console.log(
    Object.entries(duplicates)
      .map(([channel, count]) => `${channel}: ${count} told twice`)
      .join(', '),
  );
  for (const id of lost) console.log(`lost ${id}`);
  const twice = Object.values(duplicates).reduce((sum, count) => sum + count, 0);
  console.log(`${kills} kills: ${lost.length} lost, ${twice} told twice`);
  process.exit(lost.length + duplicates.bot === 0 ? 0 : 1);
}
if (values.throttle) {
  const { kills, faults, ...report } = await killThrottle({ seed, rounds, progress: console.log });
  for (const line of faults) console.log(line);
  console.log(
    `SIGKILL of the daemon ${kills.daemon}, of the emitter ${kills.emitter}, of both ${kills.both}, of none ${kills.none}; ${report.throttles} throttles, ${report.lifts} lifts, ${report.asked} calls`,
  );
  console.log(`${report.rounds} rounds: ${report.lost} lost, ${report.duplicated} duplicated, ${report.gaps} gaps`);
  process.exit(report.lost + report.duplicated + report.gaps === 0 ? 0 : 1);
}
const report = await runFaults({ seed, rounds, progress: console.log });
const { kills } = report;
console.log(`${report.answered} calls answered, ${report.stored} stored, ${report.noResponse} of them no_response`);
console.log(
  `SIGKILL of the emitter's process ${kills.emitter}, of the daemon ${kills.daemon}, of both ${kills.both}, of none ${kills.none}; of a starting daemon ${report.killedStarts}; wrap was the emitter in ${report.wrapped}`,
);
console.log(`${report.rounds} rounds: ${report.lost} lost, ${report.duplicated} duplicated, ${report.gaps} gaps`);
process.exit(report.lost + report.duplicated + report.gaps === 0 ? 0 : 1);
