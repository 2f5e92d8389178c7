/** Calls as they reach the stream, as server-sent events. */

import { tenantSeen } from '../../access/keys.js';
import type { Tail } from '../tail.js';
import { briefArguments, type CallRow, tailQuery } from './contract.js';
import { matcherOf } from './filters.js';
import { type Route, route } from './routes.js';

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const size = (value: unknown): number => (typeof value === 'number' ? value : 0);

/** The row of a list for an event that is not stored yet. */
function rowOf(event: Readonly<Record<string, unknown>>): CallRow {
  return {
    event_id: text(event.event_id),
    occurred_at: text(event.occurred_at),
    tenant: text(event.tenant),
    actor_id: text(event.actor_id),
    actor_verified: event.actor_verified === true,
    client_name: text(event.client_name),
    session_id: text(event.session_id),
    server_name: text(event.server_name),
    method: text(event.method),
    target: text(event.tool_name) || text(event.resource_uri) || text(event.prompt_name),
    tool_name: text(event.tool_name),
    outcome: text(event.outcome) as CallRow['outcome'],
    error_message: text(event.error_message).slice(0, 400),
    arguments: text(event.arguments).slice(0, briefArguments),
    duration_ms: typeof event.duration_ms === 'number' ? event.duration_ms : null,
    arguments_bytes: size(event.arguments_bytes),
    result_bytes: size(event.result_bytes),
    redactions: Array.isArray(event.redactions) ? event.redactions.length : 0,
  };
}

export function tailRoutes(tail: Tail): Route[] {
  return [
    route('GET', '/tail', 'Calls as they are recorded, as server-sent events', {
      query: tailQuery,
      media: 'text/event-stream',
      handle: async ({ query, who, reply }) => {
        await tail.add(reply.raw, {
          wants: matcherOf(query.filter),
          tenant: tenantSeen(who.reader),
          mostPerSecond: query.most,
          brief: rowOf,
        });
        reply.hijack();
        return undefined;
      },
    }),
  ];
}
