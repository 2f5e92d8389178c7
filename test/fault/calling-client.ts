/** A real client of a stdio server that `wrap` audits; the emitter's process is that of `wrap`. */
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { program } from '../build.js';
import { callAll, callingOptions, tell } from './calling.js';

const script = (path: string): string[] => ['--import', 'tsx', join(import.meta.dirname, path)];
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [program, 'wrap', '--', process.execPath, ...script('stdio-server.ts')],
  env: { ...process.env } as Record<string, string>,
});
const client = new Client({ name: 'fault-client', version: '1.0.0' });
await client.connect(transport);
tell(`emitter ${transport.pid}`);
let isCut = false;
client.onclose = () => {
  isCut = true;
};
try {
  await callAll(client, callingOptions());
} catch (error) {
  // The kill of the emitter's process cuts the connection; anything else is a fault of ours.
  if (!isCut) throw error;
}
await client.close();
