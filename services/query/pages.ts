/**
 * The dashboard's files, as the build has left them, and the page that every address of it answers.
 *
 * Content-Security-Policy: scripts come from here only and text never becomes markup (Trusted Types without a policy), so
 * what an event says cannot run. Styles come from here, or carry the page's nonce, which the editor needs.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance, FastifyReply } from 'fastify';

/** Views of the dashboard, each with addresses below it. */
const views = ['now', 'explore', 'calls', 'actors', 'tools', 'sessions', 'alerts', 'rules', 'sql', 'health'];

const mediaTypes: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.woff2': 'font/woff2',
  '.svg': 'image/svg+xml',
};

/** What the build has packed, the smallest first, for who says that it can unpack it. */
const packings = [
  ['br', '.br', /\bbr\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/],
  ['gzip', '.gz', /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/],
] as const;

/** Where the build has put them: beside this file in dist/, or in dist/ of the package whose sources run. */
function builtDirectory(): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url));
  const places = [join(here, 'web'), join(here, '../../dist/services/web')];
  return places.find((place) => existsSync(join(place, 'index.html')));
}

function policy(nonce: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "font-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}

function secured(reply: FastifyReply): FastifyReply {
  return reply
    .header('x-content-type-options', 'nosniff')
    .header('referrer-policy', 'no-referrer')
    .header('cross-origin-opener-policy', 'same-origin')
    .header('cross-origin-resource-policy', 'same-origin');
}

/** Adds `/`, the views' addresses and /assets. They hold nothing that is secret, so they ask for no key. */
export function addPages(server: FastifyInstance): void {
  const directory = builtDirectory();
  if (directory === undefined) {
    server.get('/', (_request, reply) =>
      secured(reply)
        .code(503)
        .type('text/plain; charset=utf-8')
        .send('The dashboard is not built. Run npm run build in the package, and start again.\n'),
    );
    return;
  }
  const page = readFileSync(join(directory, 'index.html'), 'utf8');
  const assets = new Map(
    readdirSync(join(directory, 'assets')).map((name) => [name, readFileSync(join(directory, 'assets', name))]),
  );
  const answerPage = (reply: FastifyReply): FastifyReply => {
    const nonce = randomBytes(16).toString('base64');
    return secured(reply)
      .header('content-security-policy', policy(nonce))
      .header('cache-control', 'no-store')
      .type('text/html; charset=utf-8')
      .send(page.replaceAll('NONCE', nonce));
  };
  server.get('/', (_request, reply) => answerPage(reply));
  for (const view of views) {
    server.get(`/${view}`, (_request, reply) => answerPage(reply));
    server.get(`/${view}/*`, (_request, reply) => answerPage(reply));
  }
  server.get<{ Params: { name: string } }>('/assets/:name', async (request, reply) => {
    const { name } = request.params;
    const media = mediaTypes[extname(name)];
    const bytes = assets.get(name);
    if (bytes === undefined || media === undefined)
      return secured(reply).code(404).type('text/plain; charset=utf-8').send('There is no such file.\n');
    // Their names change with their content.
    secured(reply)
      .header('cache-control', 'public, max-age=31536000, immutable')
      .header('vary', 'accept-encoding')
      .type(media);
    const taken = request.headers['accept-encoding'] ?? '';
    for (const [encoding, ending, pattern] of packings) {
      const packed = pattern.test(taken) ? assets.get(`${name}${ending}`) : undefined;
      if (packed !== undefined) return reply.header('content-encoding', encoding).send(packed);
    }
    return reply.send(bytes);
  });
}
