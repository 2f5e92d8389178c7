/** What docs/cluster.md tells to type and cannot be run here: the commands and options are there, the names are ours. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { roles } from '../../services/app/roles.js';
import { makeProgram } from '../../services/commands/program.js';
import { readCompose, root } from './compose.js';

const page = readFileSync(join(root, 'docs', 'cluster.md'), 'utf8');
const lines = [...page.matchAll(/^```text\n([\s\S]*?)^```$/gm)].flatMap((match) => match[1]!.split('\n'));

test('every command of the program is one, with the options that are given', async () => {
  const commands = lines.flatMap((line) => /(?:^|\bingestor )mcp-auditd (.+)$/.exec(line)?.[1] ?? []);
  expect(commands.length).toBeGreaterThan(5);
  const program = await makeProgram();
  for (const words of commands.map((line) => line.split(' -- ')[0]!.split(' '))) {
    let command: Command = program;
    for (;;) {
      const next = command.commands.find((each) => each.name() === words[0]);
      if (next === undefined) break;
      command = next;
      words.shift();
    }
    expect(command.name(), words.join(' ')).not.toBe('mcp-auditd');
    for (const word of words.filter((each) => each.startsWith('--')))
      expect(
        command.options.map(({ long }) => long),
        `${command.name()} ${word}`,
      ).toContain(word.split('=')[0]);
  }
});

test('every role is told of, with its command', () => {
  for (const { name, command } of roles)
    expect(page).toContain(`| ${name} | \`mcp-auditd ${command ?? `up --roles ${name}`}\` |`);
});

test('every secret and ConfigMap of the manifests is made', () => {
  const folder = join(root, 'deploy', 'kubernetes');
  const manifests = readdirSync(folder)
    .map((file) => readFileSync(join(folder, file), 'utf8'))
    .join('\n');
  const wanted = new Set(
    [...manifests.matchAll(/(?:secretName|configMap: \{ name): ([\w-]+)/g)].map((match) => match[1]),
  );
  const made = new Set([...page.matchAll(/create (?:secret generic|configmap) ([\w-]+)/g)].map((match) => match[1]));
  // The manifests bring it themselves.
  made.add('mcp-auditd');
  expect([...made].sort()).toEqual([...wanted].sort());
});

test('every service and every metric that is named is there', () => {
  const services = lines.flatMap((line) => /docker compose exec ([\w-]+)|--scale ([\w-]+)=/.exec(line)?.slice(1) ?? []);
  for (const name of services.filter(Boolean)) expect(Object.keys(readCompose().services)).toContain(name);
  const sources = ['ingestor', 'gateway']
    .map((room) => readFileSync(join(root, 'services', room, 'metrics.ts'), 'utf8'))
    .join();
  const known = `${sources}${readFileSync(join(root, 'services', 'app.ts'), 'utf8')}${readFileSync(join(root, 'services', 'app', 'spool-metrics.ts'), 'utf8')}`;
  const metrics = new Set([...page.matchAll(/mcp_auditd_(?:ingestor_)?(\w+)/g)].map((match) => match[1]!));
  expect(metrics.size).toBeGreaterThan(8);
  for (const metric of metrics) expect(known, metric).toContain(metric);
});
