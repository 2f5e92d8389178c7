import type { ActorSource } from '../actor.js';
import type { Observer } from '../observer.js';
import type { ConnectionOptions, Implementation } from '../parties.js';
import type { Authenticator } from './auth.js';
import type { WaitingBytes } from './body.js';
import type { OriginRules } from './origin.js';
import type { Sessions } from './sessions.js';
import type { Upstream } from './upstream.js';

/** What all exchanges of one proxy have in common. */
export interface ProxyContext {
  readonly observer: Observer;
  readonly sessions: Sessions;
  readonly waiting: WaitingBytes;
  readonly upstream: Upstream;
  readonly actor: ActorSource | undefined;
  /** What requests without a session have in common. */
  readonly sessionless: ConnectionOptions['sessionless'];
  readonly authenticator: Authenticator | undefined;
  readonly rules: OriginRules;
  /** Lower-case names of headers that stay behind. */
  readonly withoutHeaders: ReadonlySet<string>;
  readonly maxBodyBytes: number;
  /** Ends each stream that is open for as long as the client likes. */
  readonly streams: Set<() => void>;
  /** What the server called itself last. */
  server: Implementation;
}
