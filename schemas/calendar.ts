/**
 * Calendars: when a place of work is open, in its own zone. An event's own time is looked at, never a clock. Zones and
 * daylight saving come from Node's ICU data, public holidays from date-holidays.
 */
import { createRequire } from 'node:module';
import type Holidays from 'date-holidays';

export interface CalendarDefinition {
  readonly zone: string;
  readonly open: readonly string[];
  /** `NL`, `US-CA` or `DE-BY`: country and state as date-holidays names them. */
  readonly holidays: readonly string[];
  /** Local dates, `2026-12-24`, on which it is closed as on a holiday. */
  readonly closed: readonly string[];
}

const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

export class CalendarError extends Error {
  constructor(
    message: string,
    /** Key of the calendar in a rule file that is at fault. */
    readonly key?: 'tz' | 'open' | 'holidays' | 'closed',
  ) {
    super(message);
  }
}

/** Loaded by the first calendar with holidays: its tables take 0.3 s, which no other command should wait for. */
let holidaysClass: typeof Holidays | undefined;
function makeHolidays(): Holidays {
  holidaysClass ??= createRequire(import.meta.url)('date-holidays') as typeof Holidays;
  return new holidaysClass();
}

interface Opening {
  readonly days: ReadonlySet<number>;
  readonly fromMinute: number;
  readonly toMinute: number;
}

/** `mon-fri 08:00-18:00`, `sat,sun 10:00-14:00`, `daily 00:00-24:00`. An end at or before the start is past midnight. */
export function parseOpening(text: string): Opening {
  const match = /^([a-z,-]+)\s+(\d\d):(\d\d)-(\d\d):(\d\d)$/i.exec(text.trim());
  if (match === null) throw new CalendarError(`"${text}" is not of the form "mon-fri 08:00-18:00"`, 'open');
  const chosen = new Set<number>();
  for (const part of (match[1] as string).toLowerCase().split(',')) {
    const [from = '', to = from] = part === 'daily' ? ['mon', 'sun'] : part.split('-');
    const first = days.indexOf(from);
    const last = days.indexOf(to);
    if (first < 0 || last < 0)
      throw new CalendarError(`"${part}" names no days; use ${days.join(', ')} or daily`, 'open');
    for (let day = first; ; day = (day + 1) % 7) {
      chosen.add(day);
      if (day === last) break;
    }
  }
  const [fromHour, fromMinute, toHour, toMinute] = match.slice(2).map(Number) as [number, number, number, number];
  const from = fromHour * 60 + fromMinute;
  const to = toHour * 60 + toMinute;
  if (fromHour > 23 || fromMinute > 59 || toMinute > 59 || to > 1440)
    throw new CalendarError(`"${text}" has no such time of day`, 'open');
  return { days: chosen, fromMinute: from, toMinute: to };
}

const quarterMillis = 15 * 60_000;

/** Slots of 15 minutes whose offset is remembered: 5 MiB at most. Every zone changes its offset on such a boundary. */
const mostSlots = 50_000;

export class Calendar {
  private readonly openings: readonly Opening[];
  private readonly format: Intl.DateTimeFormat;
  private readonly offsets = new Map<number, number>();
  private readonly closedDays = new Set<string>();
  private readonly years = new Map<number, ReadonlySet<string>>();
  private readonly sources: Holidays[];

  /** Throws CalendarError for an unknown zone, country or opening time. */
  constructor(definition: CalendarDefinition) {
    try {
      this.format = new Intl.DateTimeFormat('en-US', {
        timeZone: definition.zone,
        hourCycle: 'h23',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
      });
    } catch {
      throw new CalendarError(`"${definition.zone}" is no time zone; expected a name such as Europe/Amsterdam`, 'tz');
    }
    this.openings = definition.open.map(parseOpening);
    for (const date of definition.closed) {
      if (!/^\d{4}-\d\d-\d\d$/.test(date)) throw new CalendarError(`"${date}" is no date such as 2026-12-24`, 'closed');
      this.closedDays.add(date);
    }
    this.sources = definition.holidays.map((code) => {
      const [country = '', state, region] = code.split('-');
      const source = makeHolidays();
      const known = source.getCountries();
      if (!Object.hasOwn(known, country))
        throw new CalendarError(
          `holidays of "${code}" are not known; expected a country such as NL, US or US-CA`,
          'holidays',
        );
      if (state !== undefined && !Object.hasOwn(source.getStates(country) ?? {}, state)) {
        throw new CalendarError(
          `holidays of "${code}" are not known; ${country} has ${Object.keys(source.getStates(country) ?? {}).join(', ')}`,
          'holidays',
        );
      }
      if (region !== undefined && !Object.hasOwn(source.getRegions(country, state as string) ?? {}, region))
        throw new CalendarError(
          `holidays of "${code}" are not known; ${country}-${state} has no region ${region}`,
          'holidays',
        );
      if (region !== undefined) source.init(country, state as string, region);
      else if (state !== undefined) source.init(country, state);
      else source.init(country);
      return source;
    });
  }

  /** Milliseconds to add to UTC for the zone's wall clock. */
  private offsetMillis(millis: number): number {
    const slot = Math.floor(millis / quarterMillis);
    let offset = this.offsets.get(slot);
    if (offset === undefined) {
      const start = slot * quarterMillis;
      const parts: Record<string, number> = {};
      for (const { type, value } of this.format.formatToParts(start)) parts[type] = Number(value);
      const local = Date.UTC(parts.year!, parts.month! - 1, parts.day!, parts.hour!, parts.minute!);
      offset = local - start;
      if (this.offsets.size >= mostSlots) this.offsets.clear();
      this.offsets.set(slot, offset);
    }
    return offset;
  }

  private holidaysOf(year: number): ReadonlySet<string> {
    let dates = this.years.get(year);
    if (dates === undefined) {
      const found = new Set<string>();
      for (const source of this.sources) {
        for (const holiday of source.getHolidays(year)) {
          if (holiday.type !== 'public') continue;
          // `date` is local text; a holiday of several days has its length in start and end.
          const first = Date.parse(`${holiday.date.slice(0, 10)}T00:00:00Z`);
          const length = Math.max(1, Math.ceil((holiday.end.getTime() - holiday.start.getTime()) / 86_400_000 - 0.1));
          for (let day = 0; day < length; day++)
            found.add(new Date(first + day * 86_400_000).toISOString().slice(0, 10));
        }
      }
      dates = found;
      this.years.set(year, dates);
    }
    return dates;
  }

  private closedOn(localMidnight: number): boolean {
    const date = new Date(localMidnight).toISOString().slice(0, 10);
    return (
      this.closedDays.has(date) || (this.sources.length > 0 && this.holidaysOf(Number(date.slice(0, 4))).has(date))
    );
  }

  /** Whether the local day of a time is a public holiday or one of `closed`. */
  isHoliday(micros: number): boolean {
    const local = micros / 1000 + this.offsetMillis(micros / 1000);
    return this.closedOn(Math.floor(local / 86_400_000) * 86_400_000);
  }

  /** Whether a time lies within the opening times, holidays taken out. A shift past midnight belongs to the day it began. */
  isOpen(micros: number): boolean {
    const millis = Math.floor(micros / 1000);
    const local = millis + this.offsetMillis(millis);
    const midnight = Math.floor(local / 86_400_000) * 86_400_000;
    const minute = Math.floor((local - midnight) / 60_000);
    const weekday = new Date(local).getUTCDay();
    for (const { days, fromMinute, toMinute } of this.openings) {
      if (fromMinute < toMinute) {
        if (days.has(weekday) && minute >= fromMinute && minute < toMinute && !this.closedOn(midnight)) return true;
        continue;
      }
      if (days.has(weekday) && minute >= fromMinute && !this.closedOn(midnight)) return true;
      if (days.has((weekday + 6) % 7) && minute < toMinute && !this.closedOn(midnight - 86_400_000)) return true;
    }
    return false;
  }
}
