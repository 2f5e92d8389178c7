import { AuditdError } from '../../schemas/errors.js';

/** So many queries run at once; so many more wait, each at the cost of a closure; the others are answered busy. */
export class Admission {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly maxRunning: number,
    private readonly maxWaiting: number,
  ) {}

  /** Resolves when the caller may run; it must then call `leave`. @throws AuditdError `query_busy`, `query_aborted`. */
  async enter(signal: AbortSignal | undefined): Promise<void> {
    if (this.running < this.maxRunning) {
      this.running++;
      return;
    }
    if (this.waiting.length >= this.maxWaiting) {
      throw new AuditdError('query_busy', `${this.maxRunning} queries run and ${this.maxWaiting} wait`);
    }
    await new Promise<void>((resolve, reject) => {
      const abort = () => {
        this.waiting.splice(this.waiting.indexOf(admit), 1);
        reject(abortedError());
      };
      const admit = () => {
        signal?.removeEventListener('abort', abort);
        // The place is handed on, so `running` stays as it is.
        resolve();
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.waiting.push(admit);
    });
  }

  leave(): void {
    const next = this.waiting.shift();
    if (next) next();
    else this.running--;
  }
}

export function abortedError(): AuditdError {
  return new AuditdError('query_aborted', 'the query was ended by its caller');
}
