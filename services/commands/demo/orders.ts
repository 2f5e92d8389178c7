/** The demo's own server: one line of code makes it an audited one. It runs in this process, on a pair of streams. */
import { audit } from '../../emitter/audit.js';
import { importSdk, type Transport } from './sdk.js';

interface Server {
  registerTool(name: string, description: object, handle: (values: never) => Promise<object>): void;
  connect(transport: Transport): Promise<void>;
}

const orders: Readonly<Record<number, string>> = { 1001: 'on its way', 1002: 'delivered', 1003: 'being packed' };

/** Starts the server and returns the transport for its client. `close` delivers what was recorded. */
export async function startOrders(
  root: string,
  data: string,
): Promise<{ transport: Transport; close(): Promise<void> }> {
  const [{ McpServer }, { InMemoryTransport }, { z }] = await Promise.all([
    importSdk<{ McpServer: new (info: object) => Server }>(root, 'server/mcp.js'),
    importSdk<{ InMemoryTransport: { createLinkedPair(): [Transport, Transport] } }>(root, 'inMemory.js'),
    import('zod'),
  ]);
  const server = new McpServer({ name: 'orders', version: '1.0.0' });
  // This is the line. The server has authenticated its caller itself, so the actor is a verified one.
  const handle = audit(server, { data, actor: () => ({ id: 'billing-agent', type: 'agent', verified: true }) });
  server.registerTool(
    'find_order',
    { inputSchema: { number: z.int() }, annotations: { readOnlyHint: true } },
    async ({ number }: { number: number }) => {
      if (orders[number] === undefined) throw new Error(`there is no order ${number}`);
      return { content: [{ type: 'text', text: `order ${number} is ${orders[number]}` }] };
    },
  );
  server.registerTool(
    'refund',
    { inputSchema: { number: z.int(), card: z.string() }, annotations: { destructiveHint: true } },
    async ({ number }: { number: number }) => ({ content: [{ type: 'text', text: `refunded ${number}` }] }),
  );
  const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
  await server.connect(serverSide);
  return { transport: clientSide, close: () => handle.close() };
}
