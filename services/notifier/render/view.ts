/** What a message says, before any channel's markup: short texts that are plain already. */
import type { Alert } from '../../../schemas/alert.js';
import type { Delivery } from '../../../schemas/delivery.js';
import type { Lane } from '../lane.js';
import { type CurrentAlert, milliseconds, type World } from '../world.js';
import { caption, type Series } from './picture.js';
import { plain, plainLines, webAddress } from './text.js';

export type Tone = 'critical' | 'high' | 'medium' | 'low' | 'calm' | 'taken';

/** A fact of a message: text in the program's words, a name from an event, or times. */
export type Fact =
  | { readonly name: string; readonly text: string }
  | { readonly name: string; readonly code: string; readonly note?: string }
  | { readonly name: string; readonly fromMs: number; readonly toMs?: number | undefined };

export interface Table {
  readonly heading: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What to say where there are no rows. */
  readonly empty: string;
}

export interface View {
  readonly tone: Tone;
  /** `High`, `Resolved`, `Acknowledged`, `Digest`. */
  readonly state: string;
  /** What the conversation is about; the same in all its messages. */
  readonly title: string;
  readonly sentence: string;
  /** From a template of the operator. */
  readonly details: string;
  readonly facts: readonly Fact[];
  /** One line for each alert where there are several. */
  readonly lines: readonly { readonly tone: Tone; readonly text: string }[];
  readonly more: number;
  readonly picture: (Series & { readonly caption: string }) | undefined;
  /** SQL that shows the evidence. */
  readonly sql: string;
  readonly runbook: { readonly text: string; readonly url: string | undefined } | undefined;
  readonly tables: readonly Table[];
  readonly links: readonly { readonly text: string; readonly url: string }[];
  /** Commands and ids, small. */
  readonly footer: readonly string[];
}

/** What the store knows beyond the alert. */
export interface Context {
  readonly series?: Series | undefined;
  readonly actorVerified?: boolean | undefined;
  readonly servers?: readonly string[] | undefined;
  readonly tools?: readonly string[] | undefined;
}

/** Lines of a message; what is beyond is counted. Ten lines are read, a hundred are not. */
const mostLines = 10;
const mostEvidence = 3;
const nameLength = 120;

const states: Readonly<Record<string, string>> = {
  critical: 'Critical',
  high: 'High',
  medium: 'Medium',
  low: 'Low',
  informational: 'Information',
};

function toneOf(level: string): Tone {
  return level === 'critical' || level === 'high' || level === 'medium' ? level : 'low';
}

export interface ViewSources {
  readonly lane: Lane;
  readonly world: World;
  readonly delivery: Delivery;
  readonly context: Context;
  readonly publicUrl: string | undefined;
}

/** A view of alerts: those that a delivery tells, or all of a conversation. */
export function alertView(alerts: readonly CurrentAlert[], sources: ViewSources): View {
  const { world, delivery, context, publicUrl } = sources;
  const worst = [...alerts].sort((left, right) => rank(world, right) - rank(world, left) || right.lastMs - left.lastMs);
  const first = worst[0];
  const firing = alerts.filter((current) => !world.isOver(current)).length;
  const taken = alerts.filter((current) => !world.isOver(current) && world.isAcknowledged(current)).length;
  const over = firing === 0;
  const level = delivery.level || first?.alert.level || '';
  const one = alerts.length === 1 ? first : undefined;
  return {
    tone: over ? 'calm' : taken === firing ? 'taken' : toneOf(level),
    state: over ? 'Resolved' : taken === firing ? 'Acknowledged' : (states[level] ?? 'Alert'),
    title: titleOf(first, sources),
    sentence: one === undefined ? severalSentence(alerts, firing) : oneSentence(one, sources),
    details: '',
    facts: one === undefined ? severalFacts(alerts, sources) : oneFacts(one, sources),
    lines: one === undefined ? worst.slice(0, mostLines).map((current) => lineOf(current, world)) : [],
    more: one === undefined ? Math.max(0, alerts.length - mostLines) : 0,
    picture: context.series === undefined ? undefined : { ...context.series, caption: caption(context.series) },
    sql: one === undefined ? '' : plainLines(one.alert.evidence_sql, 2_000),
    runbook: runbookOf(first?.alert),
    tables: [],
    links: publicUrl === undefined || one === undefined ? [] : [linkOf(one.alert, publicUrl)],
    footer: footerOf(alerts, one, over, sources),
  };
}

function rank(world: World, current: CurrentAlert): number {
  if (world.isOver(current)) return -1;
  return ['informational', 'low', 'medium', 'high', 'critical'].indexOf(current.alert.level);
}

/** The same for every message of a conversation: the rule's title, and what else the group says. */
function titleOf(first: CurrentAlert | undefined, { lane }: ViewSources): string {
  if (lane.storm) return plain('Many different alerts at once', 150);
  const { tenant, rule, ...rest } = lane.group;
  const about = Object.values(rest).filter((value) => value !== '');
  const title = first === undefined ? (rule ?? 'Alert') : first.alert.title || first.alert.rule_id || 'Alert';
  const whose = tenant === undefined || tenant === '' || tenant === 'default' ? [] : [tenant];
  return plain([title, ...about, ...whose].join(' · '), 150);
}

function who(alert: Alert): string {
  return alert.group.actor_id ?? alert.group.session_id ?? alert.group.client_id ?? alert.group.server_name ?? '';
}

function oneSentence({ alert }: CurrentAlert, { world }: ViewSources): string {
  const subject = plain(who(alert), nameLength);
  const reason = plain(alert.reason || alert.title || alert.rule_id || 'an alert without words', 600);
  const closed = world.resolutions.get(alert.alert_id);
  const taken = world.acknowledgements.get(alert.alert_id);
  const begin = subject === '' || reason.includes(subject) ? reason : `${subject}: ${reason}`;
  if (closed !== undefined) return `${begin}. Closed by ${plain(closed.author, nameLength)}${because(closed.reason)}.`;
  if (alert.state === 'resolved') return `Over: ${begin}`;
  if (taken !== undefined)
    return `${begin}. ${plain(taken.author, nameLength)} has taken it on${because(taken.reason)}.`;
  return begin;
}

function because(reason: string): string {
  return reason === '' ? '' : ` (${plain(reason, 300)})`;
}

function severalSentence(alerts: readonly CurrentAlert[], firing: number): string {
  const over = alerts.length - firing;
  const counts = [...(firing > 0 ? [`${firing} firing`] : []), ...(over > 0 ? [`${over} over`] : [])].join(', ');
  const names = countsBy(alerts, ({ alert }) => who(alert));
  const subjects = [...names.keys()].filter((name) => name !== '');
  const shown = subjects.slice(0, 3).map((name) => plain(name, 60));
  const rest = subjects.length - shown.length;
  const about = shown.length === 0 ? '' : `: ${shown.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
  return `${alerts.length} alerts, ${counts}${about}`;
}

function countsBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return new Map([...counts].sort(([, left], [, right]) => right - left));
}

function oneFacts(current: CurrentAlert, { context, world }: ViewSources): Fact[] {
  const { alert } = current;
  const facts: Fact[] = [];
  const { actor_id, server_name, tool_name, ...others } = alert.group;
  if (actor_id !== undefined && actor_id !== '') {
    const { actorVerified } = context;
    const note = actorVerified === undefined ? undefined : actorVerified ? 'verified' : 'claimed, not verified';
    facts.push({ name: 'Who', code: plain(actor_id, nameLength), ...(note === undefined ? {} : { note }) });
  }
  const servers = server_name === undefined ? (context.servers ?? []) : [server_name];
  if (servers.length > 0) facts.push({ name: 'Server', code: plain(servers.join(', '), nameLength) });
  const tools = tool_name === undefined ? (context.tools ?? []) : [tool_name];
  if (tools.length > 0)
    facts.push({ name: tools.length === 1 ? 'Tool' : 'Tools', code: plain(tools.join(', '), nameLength) });
  for (const [field, value] of Object.entries(others).slice(0, 3))
    facts.push({ name: plain(field, 40), code: plain(value, nameLength) });
  facts.push(...limitFacts(alert));
  facts.push({
    name: world.isOver(current) ? 'From, to' : 'Since',
    fromMs: milliseconds(alert.started_at),
    toMs: world.isOver(current) ? milliseconds(alert.last_at) : undefined,
  });
  if (alert.count > 0) facts.push({ name: 'Calls', text: String(alert.count) });
  if (alert.flags.length > 0) facts.push({ name: 'Note', text: plain(alert.flags.join(', '), nameLength) });
  return facts;
}

/** `301, limit 300 (1.0 times)` from the values that crossed. */
function limitFacts({ values }: Alert): Fact[] {
  const { threshold, ...rest } = values;
  const [name, value] = Object.entries(rest)[0] ?? [];
  if (name === undefined || value === undefined) return [];
  const limit = Number(threshold);
  const reached = Number(value);
  const shown = plain(String(value), 80);
  if (threshold === undefined || !Number.isFinite(limit)) return [{ name: plain(name, 40), text: shown }];
  const times = limit > 0 && Number.isFinite(reached) ? `, ${(reached / limit).toFixed(1)} times as much` : '';
  return [{ name: 'Over the limit', text: `${shown}, limit ${plain(String(threshold), 40)}${times}` }];
}

function severalFacts(alerts: readonly CurrentAlert[], { lane }: ViewSources): Fact[] {
  const facts: Fact[] = [];
  const rules = countsBy(alerts, ({ alert }) => alert.rule_id);
  if (lane.storm || rules.size > 1)
    facts.push({
      name: 'Rules',
      text: [...rules]
        .slice(0, 8)
        .map(([rule, count]) => `${plain(rule, 60)} ${count}`)
        .join(', '),
    });
  if (alerts.length > 0)
    facts.push({ name: 'Since', fromMs: Math.min(...alerts.map(({ alert }) => milliseconds(alert.started_at))) });
  return facts;
}

function lineOf(current: CurrentAlert, world: World): View['lines'][number] {
  const { alert } = current;
  const over = world.isOver(current);
  const subject = plain(who(alert), 60);
  const reason = plain(alert.reason || alert.title || alert.rule_id, 160);
  const begin = subject === '' || reason.includes(subject) ? reason : `${subject}: ${reason}`;
  return {
    tone: over ? 'calm' : world.isAcknowledged(current) ? 'taken' : toneOf(alert.level),
    text: `${begin}${over ? ' (over)' : ''}`,
  };
}

function runbookOf(alert: Alert | undefined): View['runbook'] {
  if (alert === undefined || alert.runbook.trim() === '') return undefined;
  const url = webAddress(alert.runbook.trim());
  return { text: url === undefined ? plainLines(alert.runbook.trim(), 1_500) : 'Runbook', url };
}

function linkOf(alert: Alert, publicUrl: string): { text: string; url: string } {
  return { text: 'Open the alert', url: new URL(`/alerts/${encodeURIComponent(alert.alert_id)}`, publicUrl).href };
}

function footerOf(
  alerts: readonly CurrentAlert[],
  one: CurrentAlert | undefined,
  over: boolean,
  { delivery }: ViewSources,
): string[] {
  const footer: string[] = [];
  if (one === undefined) footer.push(`${alerts.length} alerts, delivery ${delivery.delivery_id}`);
  else {
    const { alert } = one;
    footer.push(
      `rule ${plain(alert.rule_id, 80)} ${plain(alert.rule_version, 16)}, tenant ${plain(alert.tenant || 'none', 60)}`,
    );
    if (alert.evidence.length > 0) {
      const rest = alert.evidence.length - mostEvidence;
      const shown = alert.evidence.slice(0, mostEvidence).map((id) => plain(id, 40));
      footer.push(`evidence ${shown.join(' ')}${rest > 0 ? ` and ${rest} more` : ''}`);
    }
    footer.push(over ? `mcp-auditd alerts show ${alert.alert_id}` : `mcp-auditd alerts ack ${alert.alert_id}`);
  }
  if (delivery.possible_duplicate)
    footer.push('this may be the second copy of a message: the answer to the first was lost');
  return footer;
}
