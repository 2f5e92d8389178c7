import { createRequire } from 'node:module';

/** The request queue of a connection of kafkajs 2.2.4 (src/network/requestQueue/index.js). */
interface RequestQueue {
  readonly pending: readonly unknown[];
  /** Milliseconds since the epoch; -1 when the broker asked for no pause. */
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
  scheduleCheckPendingRequests(): void;
}

/** kafkajs' own pause between looks at what waits. */
const lookAgainMs = 10;

/**
 * Lets connections of kafkajs rest. Its queue asks for a timer of a negative time when nothing waits, which fires after
 * a millisecond and asks for the next one: a thousand times a second for each connection, and no process ends by itself
 * (tulios/kafkajs#1751). A queue has something to look at only while requests wait.
 */
export function restIdleConnections(): void {
  const require = createRequire(import.meta.url);
  const { prototype } = require('kafkajs/src/network/requestQueue/index.js') as { prototype: RequestQueue };
  prototype.scheduleCheckPendingRequests = function (this: RequestQueue): void {
    if (this.pending.length === 0 || this.throttleCheckTimeoutId !== null) return;
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null;
        this.checkPendingRequests();
      },
      Math.max(lookAgainMs, this.throttledUntil - Date.now()),
    );
  };
}
