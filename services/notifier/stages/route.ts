/** Which channels an alert goes to, and in which conversation there. */
import { createHash } from 'node:crypto';
import type { Alert } from '../../../schemas/alert.js';
import { allMatch, type Labels } from '../../../schemas/matcher.js';
import { labelText } from '../labels.js';
import type { Route, Settings } from '../settings.js';

/** An alert's way to one channel. */
export interface Way {
  readonly channel: string;
  readonly route: Route;
}

/** Alerts of the notifier about itself carry the failing channel under this name; they never go there. */
export const failingChannelLabel = 'channel';
export const troubleRule = 'mcp-auditd.channel_failing';

/**
 * Routes that take the alert, by the tree: among neighbours the first that matches, and those after it where it says
 * `continue`; below a route that matches, its own routes, and the route itself when none of those does.
 */
export function routesOf(route: Route, labels: Labels): Route[] {
  if (!allMatch(route.match, labels)) return [];
  const found: Route[] = [];
  for (const child of route.routes) {
    const taken = routesOf(child, labels);
    found.push(...taken);
    if (taken.length > 0 && !child.continues) break;
  }
  return found.length > 0 ? found : [route];
}

/**
 * The channels of an alert, each once. Channels that the rule names come first and count as a route that matched; the
 * root's own channels get what nobody else takes. A trial alert (`dry_run`) goes nowhere.
 */
export function waysOf(alert: Alert, labels: Labels, settings: Settings): Way[] {
  if (alert.dry_run) return [];
  if (alert.rule_id === troubleRule) return troubleWays(alert, settings);
  const ways = new Map<string, Way>();
  const add = (channel: string, route: Route): void => {
    if (settings.channels.has(channel) && !ways.has(channel)) ways.set(channel, { channel, route });
  };
  const routes = routesOf(settings.route, labels).filter((route) => route !== settings.route);
  for (const action of alert.actions) {
    // The route that sends it to this channel as well, if there is one, says how.
    if ('notify' in action)
      add(action.notify, routes.find((route) => route.channels.includes(action.notify)) ?? settings.route);
  }
  for (const route of routes) for (const channel of route.channels) add(channel, route);
  if (ways.size === 0) for (const channel of settings.route.channels) add(channel, settings.route);
  return [...ways.values()];
}

function troubleWays(alert: Alert, settings: Settings): Way[] {
  const failing = alert.group[failingChannelLabel];
  const named = settings.trouble.length > 0 ? settings.trouble : [...settings.channels.keys()];
  return named
    .filter((channel) => channel !== failing && settings.channels.has(channel))
    .map((channel) => ({ channel, route: settings.route }));
}

/** The labels that make an alert's conversation. Tenants are never mixed, whatever `group_by` says. */
export function groupOf(labels: Labels, route: Route): Record<string, string> {
  const group: Record<string, string> = { tenant: labelText(labels, 'tenant') };
  for (const name of route.groupBy) group[name] = labelText(labels, name);
  return group;
}

function hash(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** Name of a conversation: channel and group, whatever the order of its labels. */
export function laneKey(channel: string, group: Readonly<Record<string, string>>): string {
  const entries = Object.entries(group).sort(([left], [right]) => (left < right ? -1 : 1));
  return hash('lane', channel, JSON.stringify(entries));
}

/** Name of a delivery, equal whoever plans it: see `Delivery.delivery_id`. */
export function deliveryId(lane: { key: string; openedAtMs: number }, sequence: number): string {
  return hash('delivery', lane.key, String(lane.openedAtMs), String(sequence));
}
