/** The message of `notify test`: an alert like a real one, through the real stages, that says it is a test. */
import type { Alert } from '../../schemas/alert.js';
import type { Delivery } from '../../schemas/delivery.js';
import type { NotifierSection } from '../../schemas/notification.js';
import type { Message } from './channel.js';
import { makeLane } from './lane.js';
import { timeText } from './planner.js';
import { readSettings } from './settings.js';
import { render } from './stages/render.js';
import { deliveryId, laneKey } from './stages/route.js';
import { World } from './world.js';

/** `now` in milliseconds since the epoch. */
export async function testMessage(channel: string, section: NotifierSection, now: number): Promise<Message> {
  const settings = readSettings(section);
  const world = new World(settings);
  const group = { tenant: 'default', rule: 'test' };
  const lane = makeLane({
    key: laneKey(channel, group),
    channel,
    group,
    openedAtMs: now,
    storm: false,
    timing: settings.route,
  });
  const current = world.takeAlert(testAlert(now), now)!;
  const at = timeText(now);
  const record: Delivery = {
    delivery_id: deliveryId(lane, 1),
    revision: 1,
    state: 'sending',
    reason: 'new',
    channel,
    via: channel,
    tenant: 'default',
    lane: lane.key,
    opened_at: at,
    sequence: 1,
    group,
    level: 'low',
    alert_ids: [current.alert.alert_id],
    telling: {},
    attempt: 1,
    planned_at: at,
    at,
    error_kind: '',
    error: '',
    answer: '',
    reference: '',
    root: '',
    possible_duplicate: false,
    owner: 'notify test',
  };
  const spanMs = 60_000;
  const counts = [2, 3, 2, 4, 3, 2, 5, 4, 3, 4, 6, 5, 4, 3, 5, 9, 22, 48, 71, 90];
  return render(
    { record, lane, alerts: [current], atMs: now },
    {
      world,
      alertsOf: () => [current],
      templates: section.channels[channel]?.templates ?? {},
      publicUrl: section.public_url,
      contextOf: async () => ({
        series: { counts, spanMs, endMs: now },
        actorVerified: true,
        servers: ['example-server'],
      }),
      digestOf: () => Promise.reject(new Error('a test message is no digest')),
      templateFailed: (name, error) => {
        process.stderr.write(`the template ${name} failed: ${(error as Error).message}\n`);
      },
    },
  );
}

function testAlert(now: number): Alert {
  const at = timeText(now);
  return {
    alert_id: '0'.repeat(32),
    revision: 1,
    state: 'firing',
    rule_id: 'test',
    rule_version: '1',
    title: 'Test message of mcp-auditd',
    description: '',
    level: 'low',
    tags: ['test'],
    runbook: '',
    actions: [],
    dry_run: false,
    tenant: 'default',
    group: { actor_id: 'test-actor', tool_name: 'example_tool' },
    started_at: timeText(now - 300_000),
    at,
    first_at: timeText(now - 300_000),
    last_at: at,
    caused_at: at,
    count: 301,
    values: { count: 301, threshold: 300 },
    reason: 'this is a test: nothing happened, and nothing is to be done',
    evidence: [],
    evidence_sql: '',
    flags: [],
  };
}
