/** Sessions that were recorded, laid out over the working weeks of an office: whose, when, and how fast. */
import { formatTimeMicros } from '../../../schemas/time.js';
import type { EngineRecord } from '../../../services/detector/event-reader.js';

type Random = () => number;
export type Recorded = Readonly<Record<string, unknown>>;

const dayMicros = 86_400e6;
const hourMicros = 3_600e6;
const second = 1e6;

interface Actor {
  readonly id: string;
  readonly type: 'user' | 'service';
  readonly client: string;
  readonly addresses: readonly string[];
  /** Hour of the day, UTC, at which work begins. */
  readonly begins: number;
  /** Works on weekends now and then. */
  readonly weekends: number;
  readonly kinds: readonly string[];
  /** Day on which a holiday begins, and its length. */
  readonly away: readonly [number, number];
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Time between two calls of an agent: the model thinks for some seconds, or asks for several things at once. */
function pause(random: Random, service: boolean): number {
  if (service) return 0.4 * second;
  return random() < 0.2 ? 0.05 * second : Math.exp(Math.log(4) + 0.8 * normal(random)) * second;
}

export interface Weeks {
  readonly records: readonly EngineRecord[];
  readonly sessions: number;
  readonly actors: number;
  readonly days: number;
}

/**
 * `sessions` are recorded ones by kind. Every day each actor has some of those kinds that it has a habit of, with ids,
 * addresses and times of its own; arguments, results, sizes, hashes and errors stay as the servers gave them.
 */
export function layOut(
  sessions: ReadonlyMap<string, readonly (readonly Recorded[])[]>,
  random: Random,
  { actors: people, days, startMicros }: { actors: number; days: number; startMicros: number },
): Weeks {
  const kinds = [...sessions.keys()];
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const actors: Actor[] = Array.from({ length: people }, (_, index) => {
    const service = index % 12 === 11;
    return {
      id: service ? `indexer-${index}` : `person${index}@example.com`,
      type: service ? 'service' : 'user',
      client: service ? 'nightly-index' : pick(['claude-code', 'cursor', 'vscode']),
      addresses: [`10.1.${index}.7`, `192.0.2.${index + 1}`].slice(0, service ? 1 : 2),
      begins: service ? 2 : 6 + Math.floor(random() * 5),
      weekends: service ? 1 : random() < 0.2 ? 0.3 : 0,
      kinds: kinds.filter(() => random() < 0.6),
      away: [Math.floor(random() * days), random() < 0.3 ? 5 + Math.floor(random() * 6) : 0],
    };
  });
  const laid: { at: number; recorded: number; event: Record<string, unknown> }[] = [];
  let count = 0;
  for (const actor of actors) {
    for (let day = 0; day < days; day++) {
      const weekend = day % 7 >= 5;
      if (weekend && random() >= actor.weekends) continue;
      if (day >= actor.away[0] && day < actor.away[0] + actor.away[1]) continue;
      const today = actor.type === 'service' ? 1 : 1 + Math.floor(random() * 7);
      for (let number = 0; number < today; number++) {
        const kind = pick(actor.kinds.length > 0 ? actor.kinds : kinds);
        const events = pick(sessions.get(kind) as (readonly Recorded[])[]);
        count++;
        const address = actor.addresses[random() < 0.8 ? 0 : actor.addresses.length - 1];
        let at = startMicros + day * dayMicros + actor.begins * hourMicros + Math.floor(random() * 9 * hourMicros);
        for (const [index, event] of events.entries()) {
          at += Math.round(pause(random, actor.type === 'service'));
          laid.push({
            at,
            recorded: at + Math.round((0.05 + random() * 0.5) * second),
            event: {
              ...event,
              occurred_at: formatTimeMicros(at),
              actor_id: actor.id,
              actor_type: actor.type,
              client_name: actor.client,
              client_address: address,
              session_id: `session-${count}`,
              producer_id: `producer-${count}`,
              producer_sequence: index + 1,
            },
          });
        }
      }
    }
  }
  laid.sort((left, right) => left.recorded - right.recorded);
  const records = laid.map(({ recorded, event }, offset): EngineRecord => {
    const id = `00000000-0000-7000-8000-${offset.toString(16).padStart(12, '0')}`;
    return {
      value: Buffer.from(JSON.stringify({ ...event, event_id: id })),
      partition: 0,
      offset,
      recordedAtMicros: recorded,
    };
  });
  return { records, sessions: count, actors: people, days };
}
