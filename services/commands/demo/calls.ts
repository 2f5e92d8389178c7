/** The calls of the demo: what people and agents do with these servers, and what somebody tries who should not. */
import { join, resolve } from 'node:path';
import { startOrders } from './orders.js';
import { type Client, importSdk, type Transport } from './sdk.js';

/** A stdio server that `wrap` audits. */
export interface DemoServer {
  readonly name: 'everything' | 'filesystem' | 'memory' | 'time';
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

type Call = readonly [method: string, params?: object];
type Connection = readonly [actor: string, calls: readonly Call[]];

function tool(name: string, values: object = {}): Call {
  return ['tools/call', { name, arguments: values }];
}

/** Somebody else's key, of the shape that a scanner looks for; it opens nothing. */
const madeUpToken = `ghp_${'a1B2c3D4e5'.repeat(4).slice(0, 36)}`;

/** What each actor asks of each server; `files` is the directory that the filesystem server may touch. */
function connectionsOf(name: DemoServer['name'], files: string): readonly Connection[] {
  switch (name) {
    case 'everything':
      return [
        [
          'alice@example.com',
          [
            ['tools/list'],
            tool('echo', { message: 'good morning' }),
            tool('get-sum', { a: 19, b: 23 }),
            tool('echo', { message: 'please store this', password: 'correct horse battery staple' }),
            tool('echo', { message: `deploy with ${madeUpToken}` }),
            ['prompts/get', { name: 'simple-prompt' }],
          ],
        ],
        [
          'agent-7',
          [
            ['tools/list'],
            tool('run_shell', { command: 'id' }),
            tool('admin_export'),
            tool('get-sum', { a: 'seven', b: 2 }),
            ['admin/dump'],
          ],
        ],
      ];
    case 'filesystem':
      return [
        [
          'bob@example.com',
          [
            ['tools/list'],
            tool('list_directory', { path: files }),
            tool('read_text_file', { path: join(files, 'report.txt') }),
            tool('write_file', { path: join(files, 'summary.txt'), content: 'Revenue rose.' }),
            tool('search_files', { path: files, pattern: '*.txt' }),
          ],
        ],
        [
          'agent-7',
          [
            tool('read_text_file', { path: '/etc/passwd' }),
            tool('read_text_file', { path: '/root/.ssh/id_ed25519' }),
            tool('list_directory', { path: '/' }),
          ],
        ],
      ];
    case 'memory':
      return [
        [
          'alice@example.com',
          [
            ['tools/list'],
            tool('create_entities', {
              entities: [{ name: 'Ada', entityType: 'person', observations: ['wrote programs'] }],
            }),
            tool('search_nodes', { query: 'programs' }),
            tool('read_graph'),
            tool('delete_entities', { entityNames: ['Ada'] }),
          ],
        ],
      ];
    case 'time':
      return [
        [
          'bob@example.com',
          [
            ['tools/list'],
            tool('get_current_time', { timezone: 'Europe/Amsterdam' }),
            tool('convert_time', { source_timezone: 'UTC', time: '12:00', target_timezone: 'Asia/Tokyo' }),
            tool('get_current_time', { timezone: 'Mars/Olympus' }),
          ],
        ],
      ];
  }
}

const orderCalls: readonly Call[] = [
  ['tools/list'],
  tool('find_order', { number: 1001 }),
  tool('find_order', { number: 1004 }),
  tool('refund', { number: 1002, card: '4111 1111 1111 1111' }),
];

/** Makes the demo's calls with the SDK's client and counts them; each connection's `initialize` counts. */
export class Caller {
  made = 0;

  constructor(
    private readonly root: string,
    private readonly data: string,
    private readonly files: string,
    private readonly signal: AbortSignal,
  ) {}

  /** A stdio server through `wrap`, one connection for each actor. */
  async throughWrap(server: DemoServer): Promise<void> {
    const { StdioClientTransport } = await importSdk<{ StdioClientTransport: new (options: object) => Transport }>(
      this.root,
      'client/stdio.js',
    );
    for (const [actor, calls] of connectionsOf(server.name, this.files)) {
      const transport = new StdioClientTransport({
        command: process.execPath,
        args: [
          ...process.execArgv,
          resolve(process.argv[1]!),
          'wrap',
          '--data',
          this.data,
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
      await this.call(actor === 'agent-7' ? 'night-agent' : 'demo-client', transport, calls);
    }
  }

  /** The server in this process, audited by one line of code. */
  async inProcess(): Promise<void> {
    const orders = await startOrders(this.root, this.data);
    try {
      await this.call('billing', orders.transport, orderCalls);
    } finally {
      await orders.close();
    }
  }

  /** Refusals are part of it; a connection that breaks is an error. */
  private async call(clientName: string, transport: Transport, calls: readonly Call[]): Promise<void> {
    this.signal.throwIfAborted();
    const [{ Client }, { McpError, ResultSchema }] = await Promise.all([
      importSdk<{ Client: new (info: object) => Client }>(this.root, 'client/index.js'),
      importSdk<{ McpError: new (...values: never[]) => Error; ResultSchema: unknown }>(this.root, 'types.js'),
    ]);
    const client = new Client({ name: clientName, version: '1.0.0' });
    await client.connect(transport);
    this.made++;
    try {
      for (const [method, params] of calls) {
        this.signal.throwIfAborted();
        this.made++;
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
