/** What is known at a moment: the newest record of each alert, and what people decided. No clock: time is a parameter. */
import type { Alert } from '../../schemas/alert.js';
import { allMatch, type Labels, type Matcher, parseMatcher } from '../../schemas/matcher.js';
import type { Response } from '../../schemas/response.js';
import { parseTimeMicros } from '../../schemas/time.js';
import { labelsOf, labelText } from './labels.js';
import type { Settings } from './settings.js';

/** An alert as its newest record says. */
export interface CurrentAlert {
  readonly alert: Alert;
  readonly labels: Labels;
  /** The stream's time of the first record that was seen, and of the newest. Milliseconds. */
  readonly firstMs: number;
  readonly lastMs: number;
  /** It was silenced or inhibited when it ended: nobody is told of it any more, unless it was told before. */
  readonly endedHidden: boolean;
}

export interface Silence {
  readonly response: Response;
  readonly matchers: readonly Matcher[];
  readonly startsMs: number;
  readonly endsMs: number;
}

/** 100,000 alerts of about 3 kB are 300 MB; what is over and told goes first, and every eviction is counted. */
export const mostAlerts = 100_000;
/** Silences that are looked at for every alert; the oldest are forgotten beyond, and counted. */
const mostSilences = 10_000;

export class World {
  readonly alerts = new Map<string, CurrentAlert>();
  readonly silences = new Map<string, Silence>();
  /** By alert. */
  readonly acknowledgements = new Map<string, Response>();
  readonly resolutions = new Map<string, Response>();
  /** By rule of inhibition and the values of its `equal`: the alerts that hide others now. */
  private readonly inhibitors = new Map<string, Set<string>>();
  evicted = 0;

  constructor(readonly settings: Settings) {}

  /** Takes a record; undefined when a newer one of the alert, or this one, was taken before. */
  takeAlert(alert: Alert, recordedMs: number): CurrentAlert | undefined {
    const before = this.alerts.get(alert.alert_id);
    if (before !== undefined && before.alert.revision >= alert.revision) return undefined;
    const visible: CurrentAlert = {
      alert,
      labels: before?.labels ?? labelsOf(alert),
      firstMs: before?.firstMs ?? recordedMs,
      lastMs: recordedMs,
      endedHidden: false,
    };
    const hidden =
      alert.state === 'resolved' &&
      (this.silencedUntil(visible, recordedMs) !== undefined || this.isInhibited(visible));
    const current = { ...visible, endedHidden: hidden };
    this.alerts.set(alert.alert_id, current);
    return current;
  }

  /** Whether the alert is over, by its own record or because somebody closed it, or was so at an earlier time. */
  isOver({ alert, lastMs }: CurrentAlert, atMs: number = Number.POSITIVE_INFINITY): boolean {
    if (alert.state === 'resolved' && lastMs <= atMs) return true;
    const closed = this.resolutions.get(alert.alert_id);
    return closed !== undefined && concerns(closed, alert) && milliseconds(closed.at) <= atMs;
  }

  isAcknowledged({ alert }: CurrentAlert): boolean {
    const taken = this.acknowledgements.get(alert.alert_id);
    return taken !== undefined && concerns(taken, alert);
  }

  /** Brings the look-up of inhibitors up to date with an alert. Tells whether something may have become visible. */
  noteInhibitor(current: CurrentAlert): boolean {
    let cleared = false;
    for (const [at, inhibition] of this.settings.inhibitions.entries()) {
      if (!allMatch(inhibition.source, current.labels)) continue;
      const key = inhibitionKey(at, inhibition.equal, current.labels);
      const hiding = this.inhibitors.get(key) ?? new Set();
      if (this.isOver(current)) cleared = hiding.delete(current.alert.alert_id) || cleared;
      else hiding.add(current.alert.alert_id);
      if (hiding.size === 0) this.inhibitors.delete(key);
      else this.inhibitors.set(key, hiding);
    }
    return cleared;
  }

  /** Whether another alert that fires hides this one. An alert that is a source itself is not hidden by its own rule. */
  isInhibited({ alert, labels }: CurrentAlert): boolean {
    return this.settings.inhibitions.some((inhibition, at) => {
      const hiding = this.inhibitors.get(inhibitionKey(at, inhibition.equal, labels));
      if (hiding === undefined || !allMatch(inhibition.target, labels)) return false;
      if (allMatch(inhibition.source, labels)) return false;
      return hiding.size > 1 || !hiding.has(alert.alert_id);
    });
  }

  /** End of the silence that hides the alert longest now; undefined when none does. */
  silencedUntil({ labels }: CurrentAlert, now: number): number | undefined {
    let until: number | undefined;
    for (const silence of this.silences.values()) {
      if (silence.startsMs > now || silence.endsMs <= now || !allMatch(silence.matchers, labels)) continue;
      if (until === undefined || silence.endsMs > until) until = silence.endsMs;
    }
    return until;
  }

  /** Takes a decision of a person. What cannot be read is refused by whoever writes it, so here it is left out. */
  takeResponse(response: Response): void {
    if (response.kind === 'silence') this.takeSilence(response);
    else if (response.kind === 'acknowledge') this.acknowledgements.set(response.target, response);
    else if (response.kind === 'resolve') this.resolutions.set(response.target, response);
  }

  private takeSilence(response: Response): void {
    const before = this.silences.get(response.response_id);
    if (before !== undefined && before.response.revision >= response.revision) return;
    let matchers: Matcher[];
    try {
      matchers = response.matchers.map(parseMatcher);
    } catch {
      return;
    }
    // A silence without matchers would hide everything; nobody can write one.
    if (matchers.length === 0) return;
    if (!isOperator(response)) matchers.push(parseMatcher(`tenant=${response.tenant}`));
    const startsMs = milliseconds(response.starts_at ?? response.at);
    const endsMs = milliseconds(response.ends_at ?? response.at);
    this.silences.set(response.response_id, { response, matchers, startsMs, endsMs });
    if (this.silences.size > mostSilences) {
      this.silences.delete(this.silences.keys().next().value!);
      this.evicted++;
    }
  }

  forget(id: string): void {
    this.alerts.delete(id);
    this.acknowledgements.delete(id);
    this.resolutions.delete(id);
  }

  /** Forgets silences that ended before a time from which on no alert is looked at any more. */
  forgetEnded(beforeMs: number): void {
    for (const [id, silence] of this.silences) if (silence.endsMs < beforeMs) this.silences.delete(id);
  }
}

/** Whoever belongs to a tenant decides about its alerts only. */
function isOperator({ tenant }: Response): boolean {
  return tenant === '' || tenant === 'default';
}

function concerns(response: Response, alert: Alert): boolean {
  return isOperator(response) || response.tenant === alert.tenant;
}

function inhibitionKey(at: number, equal: readonly string[], labels: Labels): string {
  return JSON.stringify([at, ...equal.map((name) => labelText(labels, name))]);
}

/** Milliseconds of RFC 3339 text, 0 when it is none. */
export function milliseconds(text: string): number {
  const micros = parseTimeMicros(text);
  return Number.isNaN(micros) ? 0 : Math.floor(micros / 1_000);
}
