import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Pinned, so that a figure of today and one of next year speak of the same code. */
const packages: Readonly<Record<string, string>> = {
  mcpcat: '0.1.17',
  '@posthog/mcp': '0.16.3',
  'posthog-node': '5.70.0',
  '@modelcontextprotocol/sdk': '1.32.2',
};

/** mcpcat is agentcat under its earlier name: the same code. */
export const peerNames = ['mcpcat', '@posthog/mcp'] as const;
export type PeerName = (typeof peerNames)[number];

const directory = fileURLToPath(new URL('../../../node_modules/.cache/bench-peers', import.meta.url));

/** Resolves modules from where the peers are, so that peer and server share one copy of the SDK; else our own. */
export const peerRequire = createRequire(isInstalled() ? join(directory, 'package.json') : import.meta.url);

function isInstalled(): boolean {
  return Object.keys(packages).every((name) => existsSync(join(directory, 'node_modules', name, 'package.json')));
}

/**
 * The peers that can be measured. They are installed once, outside the tree and without running their scripts; where
 * they cannot be had, each is named as skipped, with the reason.
 */
export function availablePeers(): readonly PeerName[] {
  if (isInstalled()) return peerNames;
  console.log('installing the peers, once …');
  try {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), '{"private":true,"name":"bench-peers"}');
    const wanted = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...wanted], {
      cwd: directory,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return peerNames;
  } catch (error) {
    const reason = String((error as { stderr?: Buffer }).stderr ?? error)
      .trim()
      .split('\n')
      .at(-1);
    for (const name of peerNames) console.log(`${name}: skipped, cannot be installed (${reason})`);
    return [];
  }
}

/** Attaches a peer to a server, its network led to `url`. Returns what waits for its delivery. */
export function attachPeer(name: PeerName, server: unknown, url: string): () => Promise<void> {
  if (name === '@posthog/mcp') {
    const { PostHog } = peerRequire('posthog-node');
    const client = new PostHog('phc_bench', { host: url, disableGeoip: true });
    peerRequire('@posthog/mcp').instrument(server, client);
    return () => client.shutdown(10_000);
  }
  peerRequire(name).track(server, 'proj_bench', { apiBaseUrl: url, enableToolCallContext: false });
  // Neither has a public way to wait: their delivery is over when nothing reaches the collector any more.
  return async () => {};
}
