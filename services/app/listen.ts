import type { FastifyInstance } from 'fastify';
import { AuditdError } from '../../schemas/errors.js';

/**
 * Requests in hand have so long to end when the server closes. Afterwards their connections are cut, because a client
 * that does not read its answer, or has opened a connection and asked nothing, would keep the process from ending.
 */
const closeGraceMs = 2_000;
const defaultListen = '127.0.0.1:7467';

function readAddress(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(':');
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(listen.slice(at + 1)) };
}

/** Listens on HOST:PORT. Throws `address_taken`, except for the default address: then it takes a free port. */
export async function listen(
  server: { listen(options: { host: string; port: number }): Promise<string> },
  address: string,
): Promise<{ url: string; movedFrom: string | undefined }> {
  const { host, port } = readAddress(address);
  try {
    return { url: await server.listen({ host, port }), movedFrom: undefined };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    if (address !== defaultListen)
      throw new AuditdError('address_taken', `Something else listens on ${address} already.`, { cause: error });
    // Nobody asked for the default port, so nobody is let down by another one.
    return { url: await server.listen({ host, port: 0 }), movedFrom: address };
  }
}

/** Takes no more requests and resolves when those in hand have ended, or had their time. */
export async function closeServer(server: FastifyInstance): Promise<void> {
  const late = setTimeout(() => server.server.closeAllConnections(), closeGraceMs);
  try {
    await server.close();
  } finally {
    clearTimeout(late);
  }
}
