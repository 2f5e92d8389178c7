import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptOrphans } from '../../services/emitter/adopt.js';
import { Journal } from '../../services/emitter/journal.js';
import { ownIdentity } from '../../services/emitter/process-identity.js';
import type { Sink } from '../../services/emitter/sink.js';

let data: string;
let spools: string;
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'adopt-'));
  spools = join(data, 'spool');
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

const limits = { maxBytes: 1 << 20, segmentBytes: 1 << 16, memoryLength: 1000 };
const dead = {
  pid: 1,
  process_start: 'never',
  boot_id: ownIdentity().boot_id,
  pid_namespace: ownIdentity().pid_namespace,
};
const elsewhere = { pid: 1, process_start: '1', boot_id: 'another machine', pid_namespace: '1' };

/** A spool with one event in it, as its process left it; `owner` is what owner.json says of that process. */
function spool(name: string, owner: object | undefined): string {
  const journal = new Journal({ spools, name, version: '0', limits });
  const call = journal.newCall();
  journal.begin(call, '', `{"event_id":"${name}"`);
  journal.end(call, { durationMs: 1, outcome: 'success', rest: '}', shortestRest: '}' });
  journal.close();
  const directory = join(spools, journal.producerId);
  if (owner === undefined) return `${directory}@released`;
  renameSync(`${directory}@released`, directory);
  writeFileSync(
    join(directory, 'owner.json'),
    JSON.stringify({ ...owner, producer_id: journal.producerId, started_at_ms: 0 }),
  );
  return directory;
}

/** A sink that keeps the ids it was sent. */
function collecting(ids: string[], answer: 'accepted' | 'retry' = 'accepted'): Sink {
  return {
    async send(lines) {
      if (answer === 'retry') return { kind: 'retry', reason: 'away' };
      for (const line of lines) ids.push((JSON.parse(String(line)) as { event_id: string }).event_id);
      return { kind: 'accepted', rejected: [] };
    },
    close() {},
  };
}

const silent = new Date(Date.now() - 6 * 60_000);

describe('adoption', () => {
  it('takes spools of dead processes and released ones, and leaves those of living ones', async () => {
    spool('dead', dead);
    spool('released', undefined);
    const alive = spool('alive', ownIdentity());
    const far = spool('far', elsewhere);
    const silentFar = spool('silent', elsewhere);
    utimesSync(join(silentFar, 'owner.json'), silent, silent);
    const ids: string[] = [];
    const report = await adoptOrphans({ data, sink: collecting(ids) });
    expect(ids.sort()).toEqual(['dead', 'released', 'silent']);
    expect(report).toEqual({ adopted: 3, delivered: 3 });
    expect(
      readdirSync(spools)
        .map((name) => join(spools, name))
        .sort(),
    ).toEqual([alive, far].sort());
  });

  it('takes a claim over from an adopter that died, and not from one that lives', async () => {
    const { pid, process_start, pid_namespace } = ownIdentity();
    const claimedByDead = spool('claimed', dead);
    renameSync(claimedByDead, `${claimedByDead}@1.never.${pid_namespace}.${'0'.repeat(12)}`);
    const ids: string[] = [];
    await adoptOrphans({ data, sink: collecting(ids) });
    // The boot is another one, so only silence tells that it died.
    expect(ids).toEqual([]);
    const [name] = readdirSync(spools);
    utimesSync(join(spools, name!, 'owner.json'), silent, silent);
    await adoptOrphans({ data, sink: collecting(ids) });
    expect(ids).toEqual(['claimed']);
    const other = spool('other', dead);
    renameSync(other, `${other}@${pid}.${process_start}.${pid_namespace}.x`);
    await adoptOrphans({ data, sink: collecting(ids) });
    expect(ids).toEqual(['claimed']);
  });

  it('gives a spool to one of many adopters', async () => {
    for (let n = 0; n < 20; n++) spool(`dead-${n}`, dead);
    const ids: string[] = [];
    await Promise.all(Array.from({ length: 8 }, () => adoptOrphans({ data, sink: collecting(ids) })));
    expect(ids.sort()).toEqual(Array.from({ length: 20 }, (_, n) => `dead-${n}`).sort());
    expect(readdirSync(spools)).toEqual([]);
  });

  it('gives back what cannot be delivered now', async () => {
    spool('dead', dead);
    expect(await adoptOrphans({ data, sink: collecting([], 'retry') })).toEqual({ adopted: 0, delivered: 0 });
    expect(readdirSync(spools)).toEqual([expect.stringMatching(/^dead-\w+@released$/)]);
    const ids: string[] = [];
    await adoptOrphans({ data, sink: collecting(ids) });
    expect(ids).toEqual(['dead']);
  });

  it('goes on past a spool that cannot be read', async () => {
    const broken = spool('broken', dead);
    for (const name of readdirSync(broken)) if (name !== 'owner.json') rmSync(join(broken, name));
    mkdirSync(join(broken, 'cursor'));
    spool('whole', dead);
    const ids: string[] = [];
    await adoptOrphans({ data, sink: collecting(ids) });
    expect(ids).toEqual(['whole']);
    expect(readdirSync(spools)).toEqual([expect.stringMatching(/^broken-\w+@released$/)]);
  });

  it('delivers a spool whose owner.json and cursor are gone', async () => {
    const directory = spool('bare', undefined);
    rmSync(join(directory, 'owner.json'));
    rmSync(join(directory, 'cursor'));
    const ids: string[] = [];
    await adoptOrphans({ data, sink: collecting(ids) });
    expect(ids).toEqual(['bare']);
  });

  it('removes what was half made long ago', async () => {
    const draft = join(spools, '.new-0123');
    mkdirSync(draft, { recursive: true });
    await adoptOrphans({ data, sink: collecting([]) });
    expect(existsSync(draft)).toBe(true);
    const longAgo = new Date(Date.now() - 3_600_000);
    utimesSync(draft, longAgo, longAgo);
    await adoptOrphans({ data, sink: collecting([]) });
    expect(existsSync(draft)).toBe(false);
  });

  it('does nothing where no emitter has been', async () => {
    expect(await adoptOrphans({ data, sink: collecting([]) })).toEqual({ adopted: 0, delivered: 0 });
  });
});
