/**
 * From alerts to people: reads the topics, drives the planner, and makes each record durable before the next step.
 *
 * Start: `responses` and `alerts` are read from their beginning in the order of time, then the records of each channel
 * that the group gives to this process. Nothing else is kept anywhere.
 */
import { randomBytes } from 'node:crypto';
import type { Registry } from 'prom-client';
import type { Delivery } from '../../schemas/delivery.js';
import type { NotifierSection } from '../../schemas/notification.js';
import { partitionOfKey } from '../stream/partitioner.js';
import { ConsumerProgress, type Health, worstHealth } from '../stream/progress.js';
import type { RecordBatch, Stream, StreamRecord } from '../stream/stream.js';
import type { Channel } from './channel.js';
import { makeChannel } from './channels.js';
import { contextOf } from './context.js';
import { Decisions } from './decisions.js';
import { type DigestSchedule, scheduleDigests } from './digest.js';
import { digestView } from './digest-view.js';
import { type Following, follow, readAll } from './follow.js';
import { type NotifierMetrics, notifierMetrics } from './metrics.js';
import { Planner, type Ready } from './planner.js';
import { parseAlert, parseDelivery, parseResponse } from './records.js';
import type { SecretSources } from './secrets.js';
import { Sender } from './sender.js';
import { type OpenStore, readSettings } from './settings.js';
import { deliver } from './stages/deliver.js';
import { record } from './stages/record.js';
import { render } from './stages/render.js';
import { milliseconds } from './world.js';

export interface NotifierOptions {
  readonly stream: Stream;
  /** For pictures and digests; without one messages have no picture. */
  readonly store?: OpenStore;
  readonly section: NotifierSection;
  readonly secrets: SecretSources;
  readonly metrics: Registry;
  /** Whether other processes may own channels of the same stream, so that their last attempts are waited out. */
  readonly shared: boolean;
  /** A failure that the notifier deals with by itself and that somebody should know of. `what` names the step. */
  readonly onFault?: (error: unknown, what: string) => void;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** Channels instead of those that the section describes. */
  readonly makeChannel?: (name: string) => Channel;
}

export interface NotifierStatus {
  readonly channels: readonly { readonly channel: string; readonly lanes: number; readonly inHand: number }[];
  readonly alerts: number;
  readonly silences: number;
}

export interface Notifier {
  health(): Health;
  status(): NotifierStatus;
  /** Finishes the attempts under way and stops. Idempotent. */
  close(): Promise<void>;
}

const group = 'notifier';
const keepIntervalMs = 3_600_000;
/** The longest a timer of Node can wait. */
const longestTimerMs = 2 ** 31 - 1;

/** Starts the notifier. Throws `configuration_invalid` when a channel's secret is not there. Idle without channels. */
export async function startNotifier(options: NotifierOptions): Promise<Notifier> {
  const running = new RunningNotifier(options);
  try {
    await running.start();
  } catch (error) {
    await running.close();
    throw error;
  }
  return running;
}

class RunningNotifier implements Notifier {
  private readonly planner: Planner;
  private readonly decisions: Decisions;
  private readonly metrics: NotifierMetrics;
  private readonly now: () => number;
  private readonly owner = `notifier-${process.pid}-${randomBytes(4).toString('hex')}`;
  private readonly senders = new Map<string, Sender>();
  private readonly followings: Following[] = [];
  private readonly stopping = new AbortController();
  /** Deliveries that must not leave: their newest record is not durable yet, or an attempt is under way. */
  private readonly busy = new Set<string>();
  /** Records of partitions that are read back. */
  private readonly readingBack = new Map<number, { readonly endOffset: number; readonly records: Delivery[] }>();
  private readonly ours = new Set<number>();
  private readonly takeoverMs: number;
  private readonly longestAttemptMs: number;
  private readonly startedMs: number;
  private partitions = 1;
  private live = false;
  private timer: NodeJS.Timeout | undefined;
  private keepTimer: NodeJS.Timeout | undefined;
  private digests: DigestSchedule | undefined;
  private closing: Promise<void> | undefined;
  private readonly progress: readonly ConsumerProgress[];

  constructor(private readonly options: NotifierOptions) {
    const { section, secrets, metrics, shared, clock = Date.now } = options;
    const make = options.makeChannel ?? ((name: string) => makeChannel(name, section, secrets));
    this.now = clock;
    this.startedMs = clock();
    this.metrics = notifierMetrics(metrics);
    const home = {
      ready: (channel: string) => this.ready(channel),
      attempt: (channel: Channel, ready: Ready) => this.attempt(channel, ready),
      now: clock,
    };
    for (const name of Object.keys(section.channels)) this.senders.set(name, new Sender(make(name), home));
    const longest = Math.max(0, ...[...this.senders.values()].map(({ channel }) => channel.attemptMs));
    this.longestAttemptMs = longest;
    this.takeoverMs = shared ? 2 * longest : 0;
    this.planner = new Planner(readSettings(section), this.owner, this.takeoverMs);
    this.decisions = new Decisions(this.planner.world);
    this.progress = (['alerts', 'deliveries'] as const).map(
      (topic) => new ConsumerProgress({ stream: options.stream, topic, clock }),
    );
  }

  async start(): Promise<void> {
    if (this.senders.size === 0) return;
    const { stream } = this.options;
    const [alertsProgress, deliveriesProgress] = this.progress as [ConsumerProgress, ConsumerProgress];
    for (const each of this.progress) each.start();
    const failed = (error: unknown, what: string): void => {
      for (const each of this.progress) each.failed(what);
      this.fault(error, what);
    };
    const responses: { readonly record: StreamRecord; readonly ms: number }[] = [];
    let next = 0;
    const respondUntil = (until: number): void => {
      for (let each = responses[next]; each !== undefined && each.ms <= until; each = responses[++next])
        this.takeResponse(each.record, each.ms);
    };
    this.followings.push(
      await readAll(
        stream,
        'responses',
        (records) => {
          if (!this.live) {
            for (const record of records) responses.push({ record, ms: decidedMs(record) });
            return;
          }
          for (const each of records) this.takeResponse(each, this.now());
          this.tick();
        },
        failed,
      ),
    );
    responses.sort((left, right) => left.ms - right.ms);
    this.followings.push(
      await readAll(
        stream,
        'alerts',
        (records) => {
          for (const each of records) {
            if (!this.live) respondUntil(each.timestamp);
            this.takeAlert(each);
          }
          this.tick();
        },
        failed,
        alertsProgress,
      ),
    );
    respondUntil(Number.POSITIVE_INFINITY);
    this.live = true;
    this.digests = scheduleDigests(this.options.section, (name, channel, scheduledMs) =>
      this.planDigest(name, channel, scheduledMs),
    );
    this.partitions = (await stream.partitions('deliveries')).length;
    this.followings.push(
      follow(
        stream,
        {
          topic: 'deliveries',
          group,
          assigned: async (partitions) => {
            for (const partition of partitions) deliveriesProgress.assigned(partition, 0);
            return this.assigned(partitions);
          },
          revoked: async (partitions) => {
            for (const partition of partitions) deliveriesProgress.revoked(partition);
            this.revoked(partitions);
          },
          batch: async (batch) => {
            this.taken(batch);
            deliveriesProgress.reached(batch.partition, batch.nextOffset);
          },
        },
        failed,
      ),
    );
    this.keepTimer = setInterval(
      () => void this.keep().catch((error) => this.fault(error, 'keep')),
      keepIntervalMs,
    ).unref();
  }

  status(): NotifierStatus {
    const channels = this.planner.lanes.counts();
    for (const { channel, inHand } of channels) this.metrics.inHand.set({ channel }, inHand);
    return { channels, alerts: this.planner.world.alerts.size, silences: this.planner.world.silences.size };
  }

  health(): Health {
    // Without a channel nothing is read, and nothing is missing.
    if (this.senders.size === 0) return { state: 'ready' };
    return worstHealth(this.progress.map((each) => each.health()));
  }

  close(): Promise<void> {
    this.closing ??= this.stop();
    return this.closing;
  }

  private async stop(): Promise<void> {
    clearTimeout(this.timer);
    clearInterval(this.keepTimer);
    for (const each of this.progress) each.stop();
    await this.digests?.stop();
    await Promise.all([...this.senders.values()].map((sender) => sender.stop()));
    this.stopping.abort();
    await Promise.all(this.followings.map((following) => following.close()));
  }

  private takeAlert(each: StreamRecord): void {
    const alert = parseAlert(each.value);
    if (alert === undefined) {
      this.metrics.unreadable.inc({ topic: 'alerts' });
      this.fault(new Error(`the record at offset ${each.offset} of alerts is no alert`), 'reading alerts');
      return;
    }
    this.metrics.alerts.inc();
    this.planner.takeAlert(alert, each.timestamp);
  }

  private takeResponse(each: StreamRecord, now: number): void {
    const response = parseResponse(each.value);
    if (response === undefined) this.metrics.unreadable.inc({ topic: 'responses' });
    else {
      this.decisions.take(each, response);
      this.planner.takeResponse(response, now);
    }
  }

  /** Ours from here on, once their records were read back. */
  private async assigned(partitions: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const states = new Map((await this.options.stream.partitions('deliveries')).map((each) => [each.partition, each]));
    for (const partition of partitions) {
      const { earliestOffset = 0, endOffset = 0 } = states.get(partition) ?? {};
      if (endOffset <= earliestOffset) this.own(partition, []);
      else this.readingBack.set(partition, { endOffset, records: [] });
    }
    return new Map(partitions.map((partition) => [partition, 0]));
  }

  private revoked(partitions: readonly number[]): void {
    for (const partition of partitions) {
      this.readingBack.delete(partition);
      if (this.ours.delete(partition)) this.planner.disown(this.channelsOf(partition));
    }
  }

  private taken(batch: RecordBatch): void {
    const reading = this.readingBack.get(batch.partition);
    for (const each of batch.records) {
      const delivery = parseDelivery(each.value);
      if (delivery === undefined) this.metrics.unreadable.inc({ topic: 'deliveries' });
      else if (reading !== undefined) reading.records.push(delivery);
      else this.planner.observe(delivery);
    }
    if (reading === undefined || batch.nextOffset < reading.endOffset) return;
    this.readingBack.delete(batch.partition);
    this.own(batch.partition, reading.records);
  }

  private channelsOf(partition: number): string[] {
    return [...this.senders.keys()].filter((name) => partitionOfKey(name, this.partitions) === partition);
  }

  private own(partition: number, records: readonly Delivery[]): void {
    this.ours.add(partition);
    const now = this.now();
    const notes = this.planner.own(this.channelsOf(partition), records, now, this.startedMs);
    const { lanes, troubles } = this.planner;
    if (lanes.beyondHorizon > 0) {
      troubles.beyondHorizon(lanes.beyondHorizon, this.options.section.horizon, now);
      lanes.beyondHorizon = 0;
    }
    this.inBackground(this.write(notes), 'opening channels');
    // At once and not only every hour: a process may never live that long.
    this.inBackground(this.keep(), 'keep');
    this.digests?.catchUp(this.channelsOf(partition), now);
    this.tick();
  }

  /** Plans what is due, makes the plans durable, lets the channels go on, and sleeps until the next thing is due. */
  private tick(): void {
    if (this.closing !== undefined || !this.live) return;
    const pending = this.planner.plan(this.now());
    if (pending.length > 0) {
      for (const { delivery_id } of pending) this.busy.add(delivery_id);
      this.inBackground(
        this.write(pending).then(() => {
          for (const { delivery_id } of pending) this.busy.delete(delivery_id);
          this.kick();
        }),
        'planning',
      );
    } else this.kick();
    this.raiseTroubles();
    const wakeMs = this.planner.nextWakeMs(this.now());
    clearTimeout(this.timer);
    if (wakeMs !== undefined)
      this.timer = setTimeout(() => this.tick(), Math.min(longestTimerMs, Math.max(1, wakeMs - this.now())));
  }

  private kick(): void {
    for (const sender of this.senders.values()) sender.kick();
  }

  private ready(channel: string): Ready[] {
    return this.planner.ready(channel, this.now()).filter(({ delivery }) => !this.busy.has(delivery.delivery_id));
  }

  /** One attempt. Returns the milliseconds that the channel asked to pause. */
  private async attempt(channel: Channel, ready: Ready): Promise<number | undefined> {
    const { delivery_id } = ready.delivery;
    this.busy.add(delivery_id);
    let pauseMs: number | undefined;
    try {
      pauseMs = await this.attemptOnce(channel, ready);
    } catch (error) {
      if (!this.stopping.signal.aborted) this.fault(error, 'sending');
    } finally {
      this.busy.delete(delivery_id);
      this.tick();
    }
    return pauseMs;
  }

  private async attemptOnce(channel: Channel, { delivery, ask }: Ready): Promise<number | undefined> {
    const { planner } = this;
    let possibleDuplicate = false;
    if (ask) {
      const found = await this.lookFor(channel, delivery);
      if (found === 'ended') return undefined;
      possibleDuplicate = found === 'unknown';
    }
    const leaving = planner.begin(delivery, this.now(), possibleDuplicate);
    if (leaving === undefined) return undefined;
    if (leaving.record.state === 'withdrawn') {
      await this.write([leaving.record]);
      return undefined;
    }
    const message = await render(leaving, {
      world: planner.world,
      alertsOf: (lane) => planner.lanes.alertsOf(lane),
      templates: this.options.section.channels[channel.name]?.templates ?? {},
      publicUrl: this.options.section.public_url,
      contextOf: ({ alert }) =>
        contextOf(alert, this.options.store, this.options.section.picture_wait_ms, (error) =>
          this.fault(error, 'drawing'),
        ),
      digestOf: (record) =>
        digestView(record, this.options.section, this.options.store, (error) => this.fault(error, 'digest')),
      templateFailed: (template, error) => {
        this.metrics.templateFailures.inc({ channel: channel.name, template });
        this.fault(error, `template ${template} of ${channel.name}`);
      },
    });
    await this.write([leaving.record]);
    const startMs = this.now();
    const stale = this.takeoverMs > 0 && startMs - leaving.atMs > this.longestAttemptMs;
    // Whoever took the channel over counts on it that nothing of ours leaves after the takeover's wait.
    const outcome = stale
      ? ({ kind: 'interrupted', message: 'this process stood still before the message left' } as const)
      : await deliver(message, channel);
    const tookMs = this.now() - startMs;
    this.metrics.sendSeconds.observe({ channel: channel.name }, tookMs / 1_000);
    if (outcome.kind !== 'sent') this.metrics.failures.inc({ channel: channel.name, kind: outcome.kind });
    else if (leaving.record.possible_duplicate) this.metrics.repeated.inc({ channel: channel.name });
    const ended = planner.finish(leaving.record, outcome, this.now(), tookMs, Math.random());
    await this.write(ended === undefined ? [] : [ended]);
    return outcome.kind === 'rate_limited' ? (outcome.retryAfterMs ?? 1_000) : undefined;
  }

  /** Looks for an earlier attempt's message; `ended`: it was found, or looking failed and is tried again later. */
  private async lookFor(channel: Channel, delivery: Delivery): Promise<'absent' | 'unknown' | 'ended'> {
    if (channel.find === undefined) return 'unknown';
    const found = await channel.find({ delivery, root: delivery.root });
    if (found.kind === 'absent' || found.kind === 'unknown') return found.kind;
    const outcome =
      found.kind === 'found'
        ? ({ ...found, kind: 'sent', answer: 'found there, after its answer was lost' } as const)
        : // The attempt before may still have arrived, whatever keeps us from looking now.
          { ...found, kind: 'ambiguous' as const };
    const ended = this.planner.finish(delivery, outcome, this.now(), 0, Math.random());
    await this.write(ended === undefined ? [] : [ended]);
    return 'ended';
  }

  private async write(records: readonly Delivery[]): Promise<void> {
    for (const { channel, state } of records) this.metrics.deliveries.inc({ channel, state });
    await record(this.options.stream, records, (error) => this.fault(error, 'recording'), this.stopping.signal);
  }

  private raiseTroubles(): void {
    const alerts = this.planner.troubles.drain();
    if (alerts.length === 0) return;
    const records = alerts.map((alert) => ({
      key: alert.alert_id,
      value: Buffer.from(JSON.stringify(alert)),
      headers: {},
    }));
    this.inBackground(this.options.stream.append('alerts', records), 'raising an alert');
  }

  private async keep(): Promise<void> {
    const now = this.now();
    await this.write(this.planner.keep(now));
    await this.keepDecisions(now);
  }

  /** Every notifier knows all decisions; one of them, the owner of partition 0, writes them again. */
  private async keepDecisions(now: number): Promise<void> {
    if (!this.ours.has(0)) return;
    const records = this.decisions.due(now);
    if (records.length > 0) await this.options.stream.append('responses', records);
  }

  private planDigest(name: string, channel: string, scheduledMs: number): void {
    const delivery = this.planner.planDigest(name, channel, scheduledMs, this.now());
    if (delivery === undefined) return;
    this.busy.add(delivery.delivery_id);
    this.inBackground(
      this.write([delivery]).then(() => {
        this.busy.delete(delivery.delivery_id);
        this.kick();
      }),
      'planning a digest',
    );
  }

  private inBackground(work: Promise<unknown>, what: string): void {
    work.catch((error) => {
      if (!this.stopping.signal.aborted) this.fault(error, what);
    });
  }

  private fault(error: unknown, what: string): void {
    this.options.onFault?.(error, what);
  }
}

/** When a response was given: what is written again has a later time of the stream. */
function decidedMs({ value, timestamp }: StreamRecord): number {
  const at = milliseconds(parseResponse(value)?.at ?? '');
  return at === 0 ? timestamp : Math.min(at, timestamp);
}
