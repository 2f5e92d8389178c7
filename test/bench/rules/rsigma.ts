/** RSigma (https://github.com/timescale/rsigma) on the same lines and equivalent rules: `RSIGMA`, or `rsigma` on the path. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventLines, type NeutralRule, sigmaYaml } from './corpus.js';

const program = process.env.RSIGMA ?? 'rsigma';

/** Its version; undefined when it is not there. */
export function rsigmaVersion(): string | undefined {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? (stdout.split('\n')[0] as string) : undefined;
}

/** CPU seconds of one run of RSigma over the events of a file. */
function cpuSeconds(rules: string, events: string): number {
  // `times` prints the shell's own times and then those of its children.
  const script =
    '"$0" engine eval --rules "$1" --event "@$2" --timestamp-field occurred_at --input-format json --no-detections >/dev/null && times';
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script, program, rules, events], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`rsigma ended with ${status}: ${stderr.slice(0, 500)}`);
  const seconds = [...(stdout.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
  return seconds.reduce((sum, [, minutes, rest]) => sum + Number(minutes) * 60 + Number(rest), 0);
}

/** Events a second of CPU, with all rules and without the distinct count of all events, which costs it most. */
export function measureRsigma(rules: readonly NeutralRule[], count: number): { all: number; withoutDistinct: number } {
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-rsigma-'));
  try {
    const events = join(directory, 'events.jsonl');
    const one = join(directory, 'one.jsonl');
    writeFileSync(events, `${[...eventLines(count)].join('\n')}\n`);
    writeFileSync(one, `${[...eventLines(1)].join('\n')}\n`);
    const rate = (some: readonly NeutralRule[]): number => {
      const file = join(directory, 'rules.yml');
      writeFileSync(file, sigmaYaml(some));
      // What loading costs is no cost of an event.
      return count / Math.max(1e-3, cpuSeconds(file, events) - cpuSeconds(file, one));
    };
    return { all: rate(rules), withoutDistinct: rate(rules.filter(({ id }) => id !== 'distinct')) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
