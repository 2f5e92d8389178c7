/** The called server as a program of its own, without any audit: `wrap` stands before it. */
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { makeEchoServer } from './echo-server.js';

await makeEchoServer().connect(new StdioServerTransport());
