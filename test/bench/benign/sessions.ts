/**
 * Ordinary sessions with real servers, through `mcp-auditd wrap`: what somebody's agent does over a day. Nothing in
 * them is an attack; some calls fail, as calls do. The same seed makes the same calls.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { root } from '../../commands/run.js';

type Random = () => number;
type Call = (tool: string, args?: Record<string, unknown>) => Promise<string>;

export interface Kind {
  readonly name: string;
  readonly server: 'everything' | 'filesystem' | 'memory';
  run(call: Call, client: Client, random: Random, folder: string): Promise<void>;
}

const topics = [
  'invoices',
  'roadmap',
  'login',
  'onboarding',
  'search',
  'exports',
  'payments',
  'reports',
  'calendar',
  'mail',
];
const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
const between = (random: Random, low: number, high: number): number => low + Math.floor(random() * (high - low + 1));

/** A project of about sixty files, as an agent finds one. */
export function makeProject(folder: string, random: Random): void {
  for (const topic of topics) {
    for (const [name, text] of [
      [
        `src/${topic}/${topic}.ts`,
        `import { log } from '../../log.js';\n\nexport function ${topic}(): void {\n  log('${topic}');\n}\n`,
      ],
      [
        `src/${topic}/${topic}.test.ts`,
        `import { ${topic} } from './${topic}.js';\n\ntest('${topic}', () => ${topic}());\n`,
      ],
      [
        `docs/${topic}.md`,
        `# ${topic}\n\nHow ${topic} works, and whom to ask. ${'More of it. '.repeat(between(random, 5, 200))}\n`,
      ],
      [
        `data/${topic}.csv`,
        `id,name,amount\n${Array.from({ length: between(random, 20, 2_000) }, (_, row) => `${row},customer ${row},${row * 7}`).join('\n')}\n`,
      ],
      [
        `src/${topic}/query.sql`,
        `SELECT id, name FROM ${topic} WHERE id = 1 OR id = 2;\n-- the union of both selects\n`,
      ],
    ] as const) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
  }
  writeFileSync(
    join(folder, 'README.md'),
    '# Project\n\nRead docs/ first. Ignore the build directory. Previous instructions for deployment moved to docs/exports.md.\n',
  );
}

export const kinds: readonly Kind[] = [
  {
    name: 'read a project',
    server: 'filesystem',
    async run(call, _client, random, folder) {
      await call('list_allowed_directories');
      await call('directory_tree', { path: folder });
      for (let count = between(random, 5, 30); count > 0; count--) {
        const topic = pick(random, topics);
        await call('read_text_file', {
          path: join(
            folder,
            pick(random, [`src/${topic}/${topic}.ts`, `docs/${topic}.md`, `src/${topic}/${topic}.test.ts`]),
          ),
        });
        if (random() < 0.1) await call('read_text_file', { path: join(folder, `src/${topic}/missing.ts`) });
        if (random() < 0.2) await call('search_files', { path: folder, pattern: `**/*${topic}*` });
      }
    },
  },
  {
    name: 'change a file',
    server: 'filesystem',
    async run(call, _client, random, folder) {
      const topic = pick(random, topics);
      const path = join(folder, `src/${topic}/${topic}.ts`);
      await call('list_directory', { path: join(folder, 'src', topic) });
      for (let count = between(random, 1, 6); count > 0; count--) {
        const text = await call('read_text_file', { path });
        const line = text.split('\n').find((each) => each.includes('log(')) ?? 'x';
        await call('edit_file', {
          path,
          edits: [{ oldText: line, newText: `${line} // ${between(random, 1, 999)}` }],
          dryRun: random() < 0.2,
        });
        if (random() < 0.15) await call('edit_file', { path, edits: [{ oldText: 'no such line', newText: 'x' }] });
        await call('get_file_info', { path });
      }
      await call('write_file', {
        path: join(folder, `docs/notes-${between(random, 1, 50)}.md`),
        content: `We import from '../../log.js' and may DROP TABLE ${topic}_old later; see also ~/.ssh/config for the host.`,
      });
    },
  },
  {
    name: 'read many files at once',
    server: 'filesystem',
    async run(call, _client, random, folder) {
      for (let count = between(random, 2, 5); count > 0; count--) {
        const paths = Array.from({ length: between(random, 3, 8) }, () =>
          join(folder, `docs/${pick(random, topics)}.md`),
        );
        await call('read_multiple_files', { paths });
      }
      await Promise.all(
        topics.map((topic) => call('read_text_file', { path: join(folder, `data/${topic}.csv`), head: 20 })),
      );
      await call('read_text_file', { path: 7 as unknown as string });
      await call('list_directory_with_sizes', { path: join(folder, 'data') });
    },
  },
  {
    name: 'tidy up',
    server: 'filesystem',
    async run(call, _client, random, folder) {
      const made = join(folder, `tmp-${between(random, 1, 9_999)}`);
      await call('create_directory', { path: made });
      await call('write_file', { path: join(made, 'a.txt'), content: 'a' });
      await call('move_file', { source: join(made, 'a.txt'), destination: join(made, 'b.txt') });
      await call('list_directory', { path: made });
      await call('read_file', { path: join(made, '../README.md') });
    },
  },
  {
    name: 'remember people',
    server: 'memory',
    async run(call, _client, random) {
      const people = Array.from(
        { length: between(random, 2, 6) },
        (_, index) => `Person ${between(random, 1, 500)}-${index}`,
      );
      await call('create_entities', {
        entities: people.map((name) => ({
          name,
          entityType: 'person',
          observations: [`works on ${pick(random, topics)}`],
        })),
      });
      await call('create_relations', {
        relations: people.slice(1).map((to) => ({ from: people[0], to, relationType: 'knows' })),
      });
      for (const entityName of people)
        await call('add_observations', {
          observations: [{ entityName, contents: [`prefers ${pick(random, topics)}`] }],
        });
      await call('search_nodes', { query: pick(random, topics) });
      await call('open_nodes', { names: people });
      if (random() < 0.3) await call('read_graph');
      if (random() < 0.2)
        await call('delete_observations', { deletions: [{ entityName: people[0], observations: ['prefers mail'] }] });
      if (random() < 0.1) await call('delete_entities', { entityNames: [people.at(-1)] });
    },
  },
  {
    name: 'look something up',
    server: 'memory',
    async run(call, _client, random) {
      for (let count = between(random, 1, 8); count > 0; count--) {
        await call('search_nodes', { query: pick(random, [...topics, "O'Brien and sons", 'union or selected']) });
        if (random() < 0.3) await call('open_nodes', { names: ['nobody'] });
      }
    },
  },
  {
    name: 'try a server out',
    server: 'everything',
    async run(call, client, random) {
      await call('echo', { message: `hello ${pick(random, topics)}` });
      for (let count = between(random, 1, 5); count > 0; count--)
        await call('get-sum', { a: between(random, 1, 99), b: between(random, 1, 99) });
      if (random() < 0.4) await call('get-sum', { a: 'one', b: 2 });
      await call('get-tiny-image');
      await call('get-structured-content', { location: pick(random, ['New York', 'Chicago', 'Los Angeles']) });
      await call('get-annotated-message', { messageType: pick(random, ['success', 'debug']), includeImage: false });
      const { resources } = await client.listResources();
      for (const { uri } of resources.slice(0, between(random, 1, 5)))
        await client.readResource({ uri }).catch(() => undefined);
      const { prompts } = await client.listPrompts();
      for (const { name } of prompts.slice(0, 2)) await client.getPrompt({ name }).catch(() => undefined);
      if (random() < 0.1) await call('no-such-tool');
    },
  },
  {
    name: 'wait for something',
    server: 'everything',
    async run(call, _client, random) {
      for (let count = between(random, 3, 20); count > 0; count--) await call('get-resource-links', { count: 3 });
      await call('trigger-long-running-operation', { duration: 0.2, steps: 2 });
    },
  },
];

/** Runs one session of a kind; its calls go through the emitter's spool to the daemon. */
export async function runSession(
  kind: Kind,
  random: Random,
  around: { folder: string; memory: string; actor: string; environment: Readonly<Record<string, string>> },
): Promise<void> {
  const require = createRequire(import.meta.url);
  const server = join(
    dirname(require.resolve(`@modelcontextprotocol/server-${kind.server}/package.json`)),
    'dist',
    'index.js',
  );
  const tsx = join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs');
  const wrap = [
    '--import',
    tsx,
    join(root, 'services', 'cli.ts'),
    'wrap',
    '--name',
    kind.server,
    '--actor',
    around.actor,
    '--',
  ];
  const args = kind.server === 'filesystem' ? [around.folder] : [];
  const client = new Client({ name: pick(random, ['claude-code', 'cursor', 'inspector']), version: '1.2.0' });
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...wrap, process.execPath, server, ...args],
    env: { ...around.environment, MEMORY_FILE_PATH: around.memory },
    stderr: 'ignore',
  });
  await client.connect(transport);
  await client.listTools();
  const call: Call = async (name, args_ = {}) => {
    try {
      const { content } = (await client.callTool({ name, arguments: args_ })) as { content: { text?: string }[] };
      return content.map(({ text }) => text ?? '').join('\n');
    } catch {
      // An error of the protocol is an answer too.
      return '';
    }
  };
  await kind.run(call, client, random, around.folder);
  await client.close();
}
