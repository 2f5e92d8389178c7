/**
 * A channel's own worker: its pace, its pauses, its attempts under way. Each channel has one, so that one that is slow
 * or dead holds up no other.
 */
import type { Channel } from './channel.js';
import type { Ready } from './planner.js';

export interface SenderHome {
  /** What may leave through the channel now and is not under way. */
  ready(channel: string): readonly Ready[];
  /** One attempt, from looking for an earlier one to the durable record. Milliseconds that the channel asked to pause. */
  attempt(channel: Channel, ready: Ready): Promise<number | undefined>;
  now(): number;
}

export class Sender {
  private readonly underWay = new Set<Promise<void>>();
  private tokens: number;
  private refilledMs: number;
  private pausedUntilMs = 0;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    readonly channel: Channel,
    private readonly home: SenderHome,
  ) {
    this.tokens = channel.pace.burst;
    this.refilledMs = home.now();
  }

  /** Begins as many attempts as the channel's pace allows. */
  kick(): void {
    const { concurrency } = this.channel.pace;
    while (!this.stopped && this.underWay.size < concurrency) {
      const waitMs = this.waitMs();
      if (waitMs > 0) {
        this.wakeIn(waitMs);
        return;
      }
      const [next] = this.home.ready(this.channel.name);
      if (next === undefined) return;
      this.tokens--;
      const attempt = this.home.attempt(this.channel, next).then((pauseMs) => {
        if (pauseMs !== undefined) this.pausedUntilMs = Math.max(this.pausedUntilMs, this.home.now() + pauseMs);
        this.underWay.delete(attempt);
        this.kick();
      });
      this.underWay.add(attempt);
    }
  }

  /** Begins nothing new and waits for what is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await Promise.all(this.underWay);
    await this.channel.close();
  }

  private waitMs(): number {
    const now = this.home.now();
    const { intervalMs, burst } = this.channel.pace;
    const refill = Math.floor((now - this.refilledMs) / intervalMs);
    if (refill > 0) {
      this.tokens = Math.min(burst, this.tokens + refill);
      this.refilledMs = this.tokens === burst ? now : this.refilledMs + refill * intervalMs;
    }
    if (this.pausedUntilMs > now) return this.pausedUntilMs - now;
    return this.tokens > 0 ? 0 : this.refilledMs + intervalMs - now;
  }

  private wakeIn(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.kick(), Math.max(1, ms));
  }
}
