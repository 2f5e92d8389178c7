import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Calendar, type CalendarDefinition } from '../../schemas/calendar.js';

const calendar = (zone: string, open: string | string[], more: Partial<CalendarDefinition> = {}): Calendar =>
  new Calendar({ zone, open: [open].flat(), holidays: [], closed: [], ...more });
const micros = (time: string): number => Date.parse(time) * 1000;

/** Minutes of a span of UTC in which the calendar is open. */
function openMinutes(of: Calendar, from: string, until: string): number {
  let count = 0;
  for (let at = micros(from); at < micros(until); at += 60e6) if (of.isOpen(at)) count++;
  return count;
}

describe('daylight saving', () => {
  test.each([
    ['Amsterdam, an hour that does not exist', 'Europe/Amsterdam', 'daily 01:00-04:00', '2026-03-28T22:00:00Z', 120],
    ['Amsterdam, an hour that comes twice', 'Europe/Amsterdam', 'daily 01:00-04:00', '2026-10-24T21:00:00Z', 240],
    ['New York, an hour that does not exist', 'America/New_York', 'daily 01:00-04:00', '2026-03-08T05:00:00Z', 120],
    ['New York, an hour that comes twice', 'America/New_York', 'daily 01:00-04:00', '2026-11-01T04:00:00Z', 240],
    ['Sydney, where autumn is in April', 'Australia/Sydney', 'daily 01:00-04:00', '2026-04-04T13:00:00Z', 240],
    ['Lord Howe Island, half an hour forward', 'Australia/Lord_Howe', 'daily 01:00-04:00', '2026-10-03T13:30:00Z', 150],
    ['Lord Howe Island, half an hour back', 'Australia/Lord_Howe', 'daily 01:00-04:00', '2026-04-04T13:00:00Z', 210],
  ])('%s', (_, zone, open, from, minutes) => {
    const until = new Date(Date.parse(from) + 12 * 3_600_000).toISOString();
    expect(openMinutes(calendar(zone, open), from, until)).toBe(minutes);
  });

  test('to the second at the change', () => {
    const office = calendar('Europe/Amsterdam', 'daily 03:00-18:00');
    expect(office.isOpen(micros('2026-03-29T00:59:59.999Z'))).toBe(false);
    expect(office.isOpen(micros('2026-03-29T01:00:00Z'))).toBe(true);
  });

  test('a shift past midnight over the change belongs to the day it began', () => {
    const night = calendar('Europe/Amsterdam', 'sat 22:00-06:00');
    expect(openMinutes(night, '2026-03-28T12:00:00Z', '2026-03-29T12:00:00Z')).toBe(7 * 60);
    expect(openMinutes(night, '2026-10-24T12:00:00Z', '2026-10-25T12:00:00Z')).toBe(9 * 60);
  });
});

describe('zones', () => {
  test.each([
    ['Asia/Kolkata', '2026-01-05T03:29:00Z', '2026-01-05T03:30:00Z'],
    ['Asia/Kathmandu', '2026-01-05T03:14:00Z', '2026-01-05T03:15:00Z'],
    ['America/St_Johns', '2026-01-05T12:29:00Z', '2026-01-05T12:30:00Z'],
    ['Pacific/Kiritimati', '2026-01-04T18:59:00Z', '2026-01-04T19:00:00Z'],
    ['Pacific/Marquesas', '2026-01-05T18:29:00Z', '2026-01-05T18:30:00Z'],
    ['UTC', '2026-01-05T08:59:00Z', '2026-01-05T09:00:00Z'],
  ])('Monday 09:00 in %s', (zone, before, at) => {
    const office = calendar(zone, 'mon 09:00-17:00');
    expect([office.isOpen(micros(before)), office.isOpen(micros(at))]).toEqual([false, true]);
  });

  test('any time in any zone, against Intl asked anew for each time', () => {
    const zones = [
      'Europe/Amsterdam',
      'America/New_York',
      'Asia/Kathmandu',
      'Australia/Lord_Howe',
      'Pacific/Apia',
      'Africa/Casablanca',
    ];
    const names = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
    const minute = fc.integer({ min: 0, max: 1439 });
    const clock = (value: number): string =>
      `${String(Math.floor(value / 60)).padStart(2, '0')}:${String(value % 60).padStart(2, '0')}`;
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.integer({ min: Date.UTC(2000, 0), max: Date.UTC(2040, 0) }),
        fc.subarray([0, 1, 2, 3, 4, 5, 6], { minLength: 1 }),
        minute,
        minute,
        (zone, millis, days, from, to) => {
          const open = `${days.map((day) => names[day]!.toLowerCase()).join()} ${clock(from)}-${clock(to)}`;
          const parts = new Intl.DateTimeFormat('en-GB', {
            timeZone: zone,
            weekday: 'short',
            hour: '2-digit',
            minute: '2-digit',
            hourCycle: 'h23',
          }).formatToParts(millis);
          const part = (type: string): string => parts.find((each) => each.type === type)!.value;
          const weekday = names.indexOf(part('weekday'));
          const now = Number(part('hour')) * 60 + Number(part('minute'));
          const expected =
            from < to
              ? days.includes(weekday) && now >= from && now < to
              : (days.includes(weekday) && now >= from) || (days.includes((weekday + 6) % 7) && now < to);
          expect(calendar(zone, open).isOpen(millis * 1000)).toBe(expected);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('days', () => {
  test('year ends: the night shift of 31 December is one shift, and a leap day is a day', () => {
    const nights = calendar('Europe/Amsterdam', 'wed 22:00-06:00');
    expect(openMinutes(nights, '2025-12-31T12:00:00Z', '2026-01-01T12:00:00Z')).toBe(8 * 60);
    const tuesdays = calendar('America/New_York', 'tue 09:00-10:00');
    expect(tuesdays.isOpen(micros('2028-02-29T14:30:00Z'))).toBe(true);
  });

  test('the year of a holiday is the local one', () => {
    const kiritimati = calendar('Pacific/Kiritimati', 'daily 00:00-24:00', { closed: ['2027-01-01'] });
    expect(kiritimati.isHoliday(micros('2026-12-31T09:59:00Z'))).toBe(false);
    expect(kiritimati.isHoliday(micros('2026-12-31T10:00:00Z'))).toBe(true);
    const hawaii = calendar('Pacific/Honolulu', 'daily 00:00-24:00', { closed: ['2026-12-31'] });
    expect(hawaii.isHoliday(micros('2027-01-01T09:59:00Z'))).toBe(true);
  });

  test('a range of days may run over the week end; 24:00 is the end of the day', () => {
    const weekend = calendar('UTC', 'fri-mon 00:00-24:00');
    const open = ['2026-01-01', '2026-01-02', '2026-01-03', '2026-01-04', '2026-01-05', '2026-01-06'].map((day) =>
      weekend.isOpen(micros(`${day}T23:59:59Z`)),
    );
    expect(open).toEqual([false, true, true, true, true, false]);
  });

  test('on a holiday it is closed, but for a shift that began the day before', () => {
    const shifts = calendar('Europe/Amsterdam', 'daily 22:00-06:00', { closed: ['2026-05-05'] });
    expect(shifts.isOpen(micros('2026-05-05T02:00:00Z'))).toBe(true);
    expect(shifts.isOpen(micros('2026-05-05T21:00:00Z'))).toBe(false);
    expect(shifts.isOpen(micros('2026-05-06T01:00:00Z'))).toBe(false);
  });
});

describe('public holidays', () => {
  test.each([
    ['NL', "King's Day", '2026-04-27', true],
    ['NL', 'Easter Monday', '2026-04-06', true],
    ['NL', 'an ordinary Monday', '2026-04-20', false],
    ['DE-BY', 'Epiphany in Bavaria', '2026-01-06', true],
    ['DE', 'Epiphany in the rest of Germany', '2026-01-06', false],
    ['US', 'Thanksgiving', '2026-11-26', true],
    ['US', 'Independence Day on a Saturday is kept on Friday', '2026-07-03', true],
    ['GB', 'Boxing Day on a Saturday is kept on Monday', '2026-12-28', true],
    ['JP', "Children's Day", '2026-05-05', true],
    ['BR', 'Tiradentes', '2026-04-21', true],
    ['CH-ZH', 'National Day', '2026-08-01', true],
    ['ES-MD', 'the day of the Community of Madrid', '2026-05-02', true],
  ])('%s: %s', (country, _, day, expected) => {
    const office = calendar('UTC', 'daily 00:00-24:00', { holidays: [country] });
    expect(office.isHoliday(micros(`${day}T12:00:00Z`))).toBe(expected);
    expect(office.isOpen(micros(`${day}T12:00:00Z`))).toBe(!expected);
  });

  test("of several countries, and days of one's own", () => {
    const office = calendar('Europe/Brussels', 'daily 00:00-24:00', { holidays: ['NL', 'BE'], closed: ['2026-12-24'] });
    const days = ['2026-04-27', '2026-07-21', '2026-12-24', '2026-12-23'];
    expect(days.map((day) => office.isHoliday(micros(`${day}T10:00:00Z`)))).toEqual([true, true, true, false]);
  });
});
