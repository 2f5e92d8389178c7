import { AuditdError } from '../../schemas/errors.js';
import type { Store } from '../store/store.js';
import type { Health } from '../stream/progress.js';

/** An answer serves all probes of so many milliseconds: a probe from anywhere costs the store next to nothing. */
const answerAgeMs = 2_000;
/** How long the store may take to answer. Below the five seconds that a probe usually waits. */
const answerTimeMs = 3_000;

/** Whether queries can be answered: waiting while the store is away, or takes so long that it may as well be. */
export class StoreHealth {
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #answer: Promise<Health> | undefined;

  constructor(
    private readonly store: Store,
    /** Milliseconds since the epoch. */
    private readonly clock: () => number = Date.now,
  ) {}

  ask(): Promise<Health> {
    if (this.#answer === undefined || this.clock() - this.#askedAtMs >= answerAgeMs) {
      this.#askedAtMs = this.clock();
      this.#answer = this.#query();
    }
    return this.#answer;
  }

  async #query(): Promise<Health> {
    const signal = AbortSignal.timeout(answerTimeMs);
    try {
      for await (const _ of this.store.query('SELECT 1', { format: 'TSV', limits: { timeMs: answerTimeMs }, signal }));
      return { state: 'ready' };
    } catch (error) {
      const code = error instanceof AuditdError ? error.code : undefined;
      // It said so at once, so it is there.
      if (code === 'query_busy') return { state: 'ready' };
      const why = code === 'query_aborted' ? `no answer within ${answerTimeMs} ms` : (error as Error).message;
      return { state: 'waiting', reason: `a query of the store fails: ${why}` };
    }
  }
}
