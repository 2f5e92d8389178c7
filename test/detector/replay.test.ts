import { expect, test } from 'vitest';
import { parseTimeMicros } from '../../schemas/time.js';
import { UnrecordedEvents } from '../../services/detector/replay.js';

/** When each line counts as recorded, in seconds after 09:00. */
function recorded(...lines: (object | string)[]): number[] {
  const events = new UnrecordedEvents();
  const start = parseTimeMicros('2026-01-05T09:00:00Z');
  return lines.map((line) => {
    const text = typeof line === 'string' ? line : JSON.stringify(line);
    return (events.next(Buffer.from(text)).recordedAtMicros - start) / 1e6;
  });
}
const at = (second: number): string => `2026-01-05T09:00:${String(second).padStart(2, '0')}Z`;

test("an event is recorded when it occurred, or by its own recorded_at, and the stream's time never goes back", () => {
  expect(
    recorded(
      { occurred_at: at(1) },
      { tool_name: 'x', occurred_at: at(5) },
      { occurred_at: at(3) },
      { occurred_at: at(2), recorded_at: at(9) },
      { occurred_at: at(10) },
    ),
  ).toEqual([1, 5, 5, 9, 10]);
});

test('a time inside a body, of a broken line or of no form is not taken for the time of the event', () => {
  expect(
    recorded(
      { occurred_at: at(1) },
      { arguments: { occurred_at: at(50) } },
      { arguments: { occurred_at: at(50) }, occurred_at: at(2) },
      { occurred_at: at(3), arguments: { occurred_at: at(50) } },
      { error_message: `"occurred_at":"${at(50)}"`, occurred_at: at(4) },
      `{"occurred_at":"${at(50)}","arguments":`,
      { occurred_at: 'soon' },
      { occurred_at: at(6) },
    ),
  ).toEqual([1, 1, 2, 3, 4, 4, 4, 6]);
});
