/**
 * The lines of ARCHITECTURE.md as a test: which room may import which, and which file may import a vendor's package.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

/** Rooms below which a room stands: what it may import besides itself. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  schemas: [],
  segments: ['schemas'],
  stream: ['schemas', 'segments'],
  store: ['schemas', 'segments'],
  access: ['schemas', 'segments'],
  emitter: ['schemas', 'segments'],
  detector: ['schemas', 'segments', 'stream', 'store', 'access'],
  gateway: ['schemas', 'segments', 'stream', 'store', 'access'],
  ingestor: ['schemas', 'segments', 'stream', 'store', 'access'],
  notifier: ['schemas', 'segments', 'stream', 'store', 'access'],
  throttler: ['schemas', 'segments', 'stream', 'store', 'access'],
  query: ['schemas', 'segments', 'stream', 'store', 'access'],
};
const everyRoom = Object.keys(mayImport);

/** Only these files know the package: to change a vendor is to change one file. */
const vendorFiles: Readonly<Record<string, RegExp>> = {
  chdb: /^services\/store\/chdb(-[a-z]+)?\.ts$/,
  kafkajs: /^services\/(stream|emitter)\/kafka(-[a-z]+)?\.ts$/,
  '@clickhouse/client': /^services\/store\/clickhouse(-[a-z]+)?\.ts$/,
  nodemailer: /^services\/notifier\/email\.ts$/,
  '@slack/web-api': /^services\/notifier\/slack\.ts$/,
};

function sources(directory: string): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return ['dist', 'node_modules'].includes(entry.name) ? [] : sources(path);
    return /\.tsx?$/.test(entry.name) ? [path] : [];
  });
}

function imports(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  return [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s*'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|(?:^|\n)import\s*'([^']+)'/g,
    ),
  ].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

/** `schemas`, the folder below services/, or the file's own name for services/app.ts and services/cli.ts. */
function roomOf(path: string): string {
  const parts = path.split(sep);
  if (parts[0] === 'schemas') return 'schemas';
  return parts[1]!.replace(/\.[jt]s$/, '');
}

const files = [...sources('schemas'), ...sources('services')];
const webApp = join('services', 'query', 'dashboard');

test('the reader of imports sees the ones that are there', () => {
  expect(imports('services/stream/local.ts').length).toBeGreaterThan(2);
  expect(files.length).toBeGreaterThan(20);
});

test('imports between rooms run one way', () => {
  const wrong: string[] = [];
  for (const file of files) {
    const room = roomOf(file);
    for (const specifier of imports(file)) {
      if (!specifier.startsWith('.')) continue;
      const target = roomOf(relative(root, resolve(root, dirname(file), specifier)));
      if (target === room) continue;
      const allowed =
        room === 'app'
          ? everyRoom
          : room === 'commands'
            ? [...everyRoom, 'app']
            : room === 'cli'
              ? ['commands', 'schemas']
              : mayImport[room];
      if (allowed === undefined) wrong.push(`${file}: the room ${room} is not in ARCHITECTURE.md`);
      else if (!allowed.includes(target)) wrong.push(`${file} imports ${specifier}: ${room} may not know ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('only its adapter imports a vendor', () => {
  const wrong: string[] = [];
  for (const file of files) {
    for (const specifier of imports(file)) {
      for (const [vendor, allowed] of Object.entries(vendorFiles)) {
        if ((specifier === vendor || specifier.startsWith(`${vendor}/`)) && !allowed.test(file.split(sep).join('/')))
          wrong.push(`${file} imports ${specifier}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});

test('the dashboard knows nothing of the server but the contract of the API', () => {
  const wrong: string[] = [];
  for (const file of files.filter((each) => each.startsWith(`${webApp}${sep}`))) {
    for (const specifier of imports(file).filter((each) => each.startsWith('.'))) {
      const target = relative(root, resolve(root, dirname(file), specifier));
      const inside = target.startsWith(`${webApp}${sep}`);
      if (!inside && target !== join('services', 'query', 'api', 'contract.js'))
        wrong.push(`${file} imports ${specifier}`);
    }
    if (/import (?!type )[^;]*api\/contract/.test(readFileSync(join(root, file), 'utf8')))
      wrong.push(`${file} imports more than types of the contract`);
  }
  expect(wrong).toEqual([]);
});
