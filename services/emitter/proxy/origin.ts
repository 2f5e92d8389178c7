/**
 * Whom a request may come from, before anything of it is read: a page in a browser can reach what listens on loopback,
 * under a name of its own (DNS rebinding). The MCP specification has servers check Origin for that; a foreign Host tells
 * of it even where no Origin is sent.
 */
export interface OriginRules {
  /** Names by which clients may call us. Undefined: any. Lower case, without port. */
  readonly hosts: ReadonlySet<string> | undefined;
  /** Origins that browsers may send, as `https://app.example`. `*`: any. */
  readonly origins: ReadonlySet<string>;
  readonly allowsLoopbackOrigins: boolean;
  /** The Host that was let in last: nearly every request has the same. */
  lastHost: string | undefined;
}

/** The rules of a listening address: on loopback its own names only; elsewhere any name, and no page unless it is named. */
export function originRules(
  listenHost: string,
  allowedHosts: readonly string[],
  allowedOrigins: readonly string[],
): OriginRules {
  const isLocal = isLoopback(listenHost);
  const named = allowedHosts.map((host) => hostnameOf(host));
  return {
    hosts: isLocal || named.length > 0 ? new Set(named) : undefined,
    origins: new Set(allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/$/, ''))),
    allowsLoopbackOrigins: isLocal,
    lastHost: undefined,
  };
}

/** Why a request with these headers is refused, or undefined. */
export function originRefusal(rules: OriginRules, host: string | undefined, origin: string | undefined) {
  if (rules.hosts !== undefined && (host === undefined || host !== rules.lastHost)) {
    const name = hostnameOf(host ?? '');
    if (!isLoopback(name) && !rules.hosts.has(name))
      return `The Host "${printable(host ?? '')}" is none of this proxy's names (DNS rebinding protection; --allow-host adds one).`;
    rules.lastHost = host;
  }
  if (origin === undefined || rules.origins.has('*') || rules.origins.has(origin.toLowerCase())) return undefined;
  if (rules.allowsLoopbackOrigins && isLoopback(hostnameOf(origin.replace(/^https?:\/\//i, '')))) return undefined;
  return `Pages of the origin "${printable(origin)}" may not call this server (--allow-origin adds one).`;
}

/** Is it localhost, an address of 127.0.0.0/8, or ::1? */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** `host`, `host:port`, `[v6]`, `[v6]:port` → host in lower case. */
export function hostnameOf(authority: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d*)?$/.exec(authority);
  const name = bracketed === null ? authority.replace(/:\d*$/, '') : bracketed[1]!;
  return (bracketed === null && authority.split(':').length > 2 ? authority : name).toLowerCase();
}

function printable(text: string): string {
  return text.slice(0, 200).replace(/[^\x20-\x7e]/g, '?');
}
