/** From what leaves to a message. */
import type { Delivery } from '../../../schemas/delivery.js';
import type { Message } from '../channel.js';
import type { Lane } from '../lane.js';
import type { Leaving } from '../planner.js';
import { applyTemplates, type Templates, type TemplateValues } from '../render/templates.js';
import { plain } from '../render/text.js';
import { alertView, type Context, type View } from '../render/view.js';
import type { CurrentAlert, World } from '../world.js';

export interface RenderSources {
  readonly world: World;
  /** The alerts of a lane. */
  readonly alertsOf: (lane: Lane) => readonly CurrentAlert[];
  readonly templates: Templates;
  readonly publicUrl: string | undefined;
  /** What the store knows of the most important alert. */
  readonly contextOf: (current: CurrentAlert) => Promise<Context>;
  /** The view of a digest. */
  readonly digestOf: (delivery: Delivery) => Promise<View>;
  readonly templateFailed: (name: string, error: unknown) => void;
}

/** Alerts in the data of a webhook; ten of about 3 kB are a body that receivers take. */
const mostAlertsInData = 10;

export async function render({ record, lane, alerts }: Leaving, sources: RenderSources): Promise<Message> {
  const own = record.via === record.channel;
  const common = { delivery: record, root: own ? record.root : '', simple: record.error_kind === 'content' };
  if (record.reason === 'digest') {
    const view = await sources.digestOf(record);
    return { ...common, news: view, state: view, data: { digest: { title: view.title, tables: view.tables } } };
  }
  const { world, publicUrl } = sources;
  const most = [...alerts].sort((left, right) => right.lastMs - left.lastMs)[0];
  const context = most === undefined || alerts.length > 1 ? {} : await sources.contextOf(most);
  const viewSources = { lane, world, delivery: record, context, publicUrl };
  const words = (view: View, about: readonly CurrentAlert[]): View =>
    applyTemplates(view, sources.templates, valuesOf(view, record, about), sources.templateFailed);
  const all = sources.alertsOf(lane);
  return {
    ...common,
    news: words(alertView(alerts, viewSources), alerts),
    state: words(alertView(all, viewSources), all),
    data: {
      alerts: alerts.slice(0, mostAlertsInData).map((current) => ({
        ...current.alert,
        state: world.isOver(current) ? 'resolved' : current.alert.state,
        acknowledged_by: world.acknowledgements.get(current.alert.alert_id)?.author ?? '',
      })),
      more_alerts: Math.max(0, alerts.length - mostAlertsInData),
    },
  };
}

function valuesOf(view: View, delivery: Delivery, alerts: readonly CurrentAlert[]): TemplateValues {
  return {
    state: view.state,
    title: view.title,
    sentence: view.sentence,
    channel: delivery.channel,
    level: delivery.level,
    count: alerts.length,
    group: plainRecord(delivery.group),
    alerts: alerts.slice(0, mostAlertsInData).map(({ alert }) => ({
      ...plainRecord(alert.group),
      alert_id: alert.alert_id,
      rule: plain(alert.rule_id, 128),
      level: alert.level,
      state: alert.state,
      tenant: plain(alert.tenant, 128),
      title: plain(alert.title, 256),
      reason: plain(alert.reason, 600),
      runbook: plain(alert.runbook, 600),
      started_at: alert.started_at,
      at: alert.at,
      count: String(alert.count),
    })),
  };
}

function plainRecord(record: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, plain(value, 200)]));
}
