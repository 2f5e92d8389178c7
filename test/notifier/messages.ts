/** Messages for tests of channels. */

import type { Alert } from '../../schemas/alert.js';
import type { Delivery } from '../../schemas/delivery.js';
import { notifierSection } from '../../schemas/notification.js';
import type { Message } from '../../services/notifier/channel.js';
import { makeLane } from '../../services/notifier/lane.js';
import type { Leaving } from '../../services/notifier/planner.js';
import type { Templates } from '../../services/notifier/render/templates.js';
import type { Context } from '../../services/notifier/render/view.js';
import { readSettings, type Settings } from '../../services/notifier/settings.js';
import { render } from '../../services/notifier/stages/render.js';
import { World } from '../../services/notifier/world.js';
import { alert, startMs, timeText } from './alerts.js';

const settings: Settings = readSettings(notifierSection.parse({}));

let count = 0;

/** A delivery of its own with what a test cares about. */
export function delivery(over: Partial<Delivery> = {}): Delivery {
  return {
    delivery_id: (++count).toString(16).padStart(32, '0'),
    revision: 2,
    state: 'sending',
    reason: 'new',
    channel: 'team',
    via: 'team',
    tenant: 'default',
    lane: 'f'.repeat(32),
    opened_at: timeText(startMs),
    sequence: 1,
    group: { tenant: 'default', rule: 'volume' },
    level: 'high',
    alert_ids: [],
    telling: {},
    attempt: 1,
    planned_at: timeText(Date.now() - 1_000),
    at: timeText(Date.now()),
    error_kind: '',
    error: '',
    answer: '',
    reference: '',
    root: '',
    possible_duplicate: false,
    owner: 'test',
    ...over,
  };
}

/** The message of alerts, made by the real stage. */
export async function message(
  alerts: readonly Partial<Alert>[] = [{}],
  over: Partial<Delivery> = {},
  options: {
    context?: Context;
    templates?: Templates;
    publicUrl?: string;
    failed?: (name: string) => void;
    prepare?: (world: World) => void;
  } = {},
): Promise<Message> {
  const world = new World(settings);
  options.prepare?.(world);
  const current = alerts.map((each, at) => world.takeAlert(alert({ alert_id: `alert${at}`, ...each }), startMs + at)!);
  const record = delivery(over);
  const lane = makeLane({
    key: record.lane,
    channel: record.channel,
    group: record.group,
    openedAtMs: startMs,
    storm: record.group.storm !== undefined,
    timing: settings.route,
  });
  const leaving: Leaving = { record, lane, alerts: current, atMs: startMs };
  return render(leaving, {
    world,
    alertsOf: () => current,
    templates: options.templates ?? {},
    publicUrl: options.publicUrl,
    contextOf: async () => options.context ?? {},
    digestOf: async () => {
      throw new Error('no digest here');
    },
    templateFailed: (name) => options.failed?.(name),
  });
}
