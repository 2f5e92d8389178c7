/** What narrows every selection of a rule: its exceptions, and when it is on. */
import { nearestName } from '../../schemas/nearest.js';
import { type DetectionContext, selection } from './detection.js';
import type { Expression } from './expression.js';
import type { Rule } from './rule.js';
import { child, type Located, type Place, type Problem } from './yaml.js';

const dayMicros = 86_400e6;

const scalarText = (located: Located | undefined): string | undefined =>
  located?.kind === 'scalar' && located.value !== null ? String(located.value) : undefined;

const listed = (located: Located | undefined): readonly Located[] =>
  located === undefined ? [] : located.kind === 'list' ? located.items : [located];

/** Events that one of the exceptions lets pass; undefined without any. */
export function exceptionsOf(located: Located | undefined, context: DetectionContext): Expression | undefined {
  if (located?.kind !== 'list' || located.items.length === 0) return undefined;
  return { op: 'or', children: located.items.map((item) => oneException(item, context)) };
}

function oneException(located: Located, context: DetectionContext): Expression {
  const nothing: Expression = { op: 'constant', value: false };
  const values = child(located, 'values');
  const written = child(located, 'fields');
  const fields = listed(written).map((each) => ({ key: scalarText(each) ?? '', place: each.place }));
  if (values?.kind !== 'list' || fields.length === 0) return nothing;
  if (values.items.length === 0) context.problem(values.place, 'the exception has no values, so it lets nothing pass');
  const rows = values.items.map((row): Expression => {
    // One field takes a list of values; several take a list of rows.
    const single = written?.kind === 'scalar' || (fields.length === 1 && row.kind === 'scalar');
    const cells = single ? [row] : listed(row);
    if (cells.length !== fields.length) {
      context.problem(row.place, `the exception has ${fields.length} fields and a row of ${cells.length} values`);
      return nothing;
    }
    const entries = fields.map(({ key, place }, index) => ({
      key,
      keyPlace: place,
      value: cells[index] as Located,
    }));
    return selection({ kind: 'map', entries, place: row.place }, context);
  });
  const passes: Expression = { op: 'or', children: rows };
  const expires = scalarText(child(located, 'expires'));
  if (expires === undefined) return passes;
  const lastDay = Date.parse(`${expires}T00:00:00Z`) * 1000;
  if (Number.isNaN(lastDay)) {
    context.problem((child(located, 'expires') as Located).place, `"${expires}" is no date such as 2027-01-31`);
    return nothing;
  }
  return { op: 'before', endMicros: lastDay + dayMicros, child: passes };
}

/** Warnings about exceptions of a rule whose last day is over; they let nothing pass any more. */
export function expiredExceptions(rule: Rule, nowMicros: number): Problem[] {
  const ends = new Set<number>();
  const visit = (expression: Expression): void => {
    if (expression.op === 'and' || expression.op === 'or') for (const each of expression.children) visit(each);
    else if (expression.op === 'not') visit(expression.child);
    else if (expression.op === 'before' && expression.endMicros <= nowMicros) ends.add(expression.endMicros);
  };
  for (const { expression } of rule.roles) visit(expression);
  return [...ends].map((end) => ({
    file: rule.file,
    ...rule.place,
    message: `rule "${rule.id}": an exception expired on ${new Date((end - dayMicros) / 1000).toISOString().slice(0, 10)}`,
  }));
}

interface Calendars extends DetectionContext {
  readonly calendars: ReadonlyMap<string, unknown>;
}

/** When the rule is on; undefined for always. Of several entries the first whose `for` matches decides; none: it is off. */
export function whenOf(
  located: Located | undefined,
  context: Calendars,
  select: (located: Located) => Expression,
): Expression | undefined {
  if (located === undefined) return undefined;
  const earlier: Expression[] = [];
  const children = listed(located).map((entry): Expression => {
    const name = scalarText(child(entry, 'calendar')) ?? '';
    const is = scalarText(child(entry, 'is')) as 'open' | 'closed' | 'holiday';
    checkCalendar(name, child(entry, 'calendar')?.place ?? entry.place, context);
    const target = child(entry, 'for');
    const chosen = target === undefined ? [] : [select(target)];
    const expression: Expression = {
      op: 'and',
      children: [
        ...earlier.map((each): Expression => ({ op: 'not', child: each })),
        ...chosen,
        { op: 'calendar', calendar: name, is },
      ],
    };
    earlier.push(chosen[0] ?? { op: 'constant', value: true });
    return expression;
  });
  return { op: 'or', children };
}

function checkCalendar(name: string, place: Place, context: Calendars): void {
  if (name === '' || context.calendars.has(name)) return;
  const near = nearestName(name, [...context.calendars.keys()]);
  const hint =
    near === undefined ? 'Calendars stand under "calendars" at the top of a rule file.' : `Did you mean "${near}"?`;
  context.problem(place, `there is no calendar "${name}". ${hint}`);
}
