/** When digests are due: node-cron's schedules, in each digest's own zone. */
import { createTask, type ScheduledTask } from 'node-cron';
import type { NotifierSection } from '../../schemas/notification.js';

export interface DigestSchedule {
  /** Plans what was due while nobody was there to plan it, for at most a few hours. */
  catchUp(channels: readonly string[], now: number): void;
  stop(): Promise<void>;
}

const minuteMs = 60_000;
/** A digest of this morning is worth reading at noon; one of yesterday is not. */
const catchUpMs = 6 * 3_600_000;

/** Calls `due` for each channel of a digest at its time; `scheduledMs` is that time, whole minutes since the epoch. */
export function scheduleDigests(
  section: NotifierSection,
  due: (name: string, channel: string, scheduledMs: number) => void,
): DigestSchedule {
  const tasks: { readonly name: string; readonly channels: readonly string[]; readonly task: ScheduledTask }[] = [];
  for (const [name, { cron, zone, channels }] of Object.entries(section.digests)) {
    const task = createTask(
      cron,
      ({ date }) => {
        const scheduledMs = Math.floor(date.getTime() / minuteMs) * minuteMs;
        for (const channel of channels) due(name, channel, scheduledMs);
      },
      { timezone: zone, unref: true, suppressMissedWarning: true },
    );
    void task.start();
    tasks.push({ name, channels, task });
  }
  return {
    catchUp(channels, now) {
      for (const { name, channels: wanted, task } of tasks) {
        const ours = wanted.filter((channel) => channels.includes(channel));
        if (ours.length === 0) continue;
        const last = lastMatch(task, now);
        if (last !== undefined) for (const channel of ours) due(name, channel, last);
      }
    },
    async stop() {
      await Promise.all(tasks.map(({ task }) => task.destroy()));
    },
  };
}

/** The newest minute before `now` at which the schedule was due. */
function lastMatch(task: ScheduledTask, now: number): number | undefined {
  const begin = Math.floor(now / minuteMs) * minuteMs;
  for (let ms = begin; ms > begin - catchUpMs; ms -= minuteMs) if (task.match(new Date(ms))) return ms;
  return undefined;
}
