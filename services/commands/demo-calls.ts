/** The calls of the demo: what people and agents do with these servers, and what somebody tries who should not. */
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export interface DemoServer {
  readonly name: string;
  readonly command: readonly string[];
  /** The directory that the filesystem server may touch. */
  readonly files: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** What the demo uses of the SDK's client, which is there in a clone only. */
interface Client {
  connect(transport: unknown): Promise<void>;
  request(message: { method: string; params?: object }, schema: unknown): Promise<unknown>;
  close(): Promise<void>;
}
type Call = readonly [method: string, params?: object];

function tool(name: string, values: object = {}): Call {
  return ['tools/call', { name, arguments: values }];
}

function repeated(times: number, make: (index: number) => Call): Call[] {
  return Array.from({ length: times }, (_, index) => make(index));
}

/** Somebody else's key, of the shape that a scanner looks for; it opens nothing. */
const madeUpToken = `ghp_${'a1B2c3D4e5'.repeat(4).slice(0, 36)}`;

function callsOf({ name, files }: DemoServer): readonly { readonly actor: string; readonly calls: readonly Call[] }[] {
  if (name === 'everything')
    return [
      {
        actor: 'alice@example.com',
        calls: [
          ['tools/list'],
          ['prompts/list'],
          ['resources/list'],
          ...repeated(4, (index) => tool('echo', { message: `order ${1000 + index} is on its way` })),
          ...repeated(3, (index) => tool('get-sum', { a: index, b: index * 7 })),
          tool('echo', { message: 'please store this', password: 'correct horse battery staple' }),
          tool('echo', { message: `deploy with ${madeUpToken}` }),
          ['prompts/get', { name: 'simple-prompt' }],
          ['ping'],
        ],
      },
      {
        actor: 'agent-7',
        calls: [
          ['tools/list'],
          tool('run_shell', { command: 'id' }),
          tool('admin_export', {}),
          tool('get-sum', { a: 'seven', b: 2 }),
          ['admin/dump'],
          ['resources/read', { uri: 'demo://resource/does-not-exist' }],
        ],
      },
    ];
  if (name === 'filesystem')
    return [
      {
        actor: 'bob@example.com',
        calls: [
          ['tools/list'],
          tool('list_directory', { path: files }),
          tool('read_text_file', { path: join(files, 'report.txt') }),
          tool('read_text_file', { path: join(files, 'todo.md') }),
          tool('write_file', { path: join(files, 'summary.txt'), content: 'Revenue rose.' }),
          tool('get_file_info', { path: join(files, 'summary.txt') }),
          tool('search_files', { path: files, pattern: '*.txt' }),
        ],
      },
      {
        actor: 'agent-7',
        calls: [
          tool('read_text_file', { path: '/etc/passwd' }),
          tool('read_text_file', { path: join(files, '..', '..', '..', 'etc', 'shadow') }),
          tool('read_text_file', { path: `${files}/../../../../root/.ssh/id_ed25519` }),
          tool('list_directory', { path: '/' }),
        ],
      },
    ];
  if (name === 'memory')
    return [
      {
        actor: 'alice@example.com',
        calls: [
          ['tools/list'],
          ...['Ada', 'Grace', 'Edsger'].map((person) =>
            tool('create_entities', {
              entities: [{ name: person, entityType: 'person', observations: ['wrote programs'] }],
            }),
          ),
          tool('create_relations', { relations: [{ from: 'Ada', to: 'Grace', relationType: 'inspired' }] }),
          tool('search_nodes', { query: 'programs' }),
          tool('open_nodes', { names: ['Ada'] }),
          tool('read_graph'),
          tool('delete_entities', { entityNames: ['Edsger'] }),
        ],
      },
    ];
  return [
    {
      actor: 'bob@example.com',
      calls: [
        ['tools/list'],
        tool('get_current_time', { timezone: 'Europe/Amsterdam' }),
        tool('convert_time', { source_timezone: 'UTC', time: '12:00', target_timezone: 'Asia/Tokyo' }),
        tool('get_current_time', { timezone: 'Mars/Olympus' }),
      ],
    },
  ];
}

/**
 * Calls every server through `wrap`, one connection for each actor, and returns how many requests were made (each
 * connection's `initialize` counts). Refusals are part of it; a connection that breaks is an error.
 */
export async function callServers(
  servers: readonly DemoServer[],
  options: { readonly root: string; readonly data: string },
): Promise<number> {
  const sdk = (file: string) =>
    import(pathToFileURL(join(options.root, 'node_modules', '@modelcontextprotocol', 'sdk', 'dist', 'esm', file)).href);
  const [{ Client }, { StdioClientTransport }, { McpError, ResultSchema }] = await Promise.all([
    sdk('client/index.js') as Promise<{ Client: new (info: object) => Client }>,
    sdk('client/stdio.js') as Promise<{ StdioClientTransport: new (options: object) => unknown }>,
    sdk('types.js') as Promise<{ McpError: new (...values: never[]) => Error; ResultSchema: unknown }>,
  ]);
  let made = 0;
  for (const server of servers) {
    for (const { actor, calls } of callsOf(server)) {
      const client = new Client({ name: actor === 'agent-7' ? 'night-agent' : 'demo-client', version: '1.0.0' });
      const cli = [...process.execArgv, resolve(process.argv[1]!)];
      const transport = new StdioClientTransport({
        command: process.execPath,
        args: [
          ...cli,
          'wrap',
          '--data',
          options.data,
          '--name',
          server.name,
          '--actor',
          actor,
          '--',
          ...server.command,
        ],
        env: { ...process.env, ...server.environment },
        // Servers greet on standard error; that is not what the demo is about.
        stderr: 'ignore',
      });
      await client.connect(transport);
      made++;
      try {
        for (const [method, params] of calls) {
          made++;
          try {
            await client.request({ method, ...(params === undefined ? {} : { params }) }, ResultSchema);
          } catch (error) {
            if (!(error instanceof McpError)) throw error;
          }
        }
      } finally {
        await client.close();
      }
    }
  }
  return made;
}
