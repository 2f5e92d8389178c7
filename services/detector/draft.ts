/** One rule of ours, from checked YAML to the rule that the engine takes. */
import { z } from 'zod';
import type { AlertAction, Level } from '../../schemas/alert.js';
import type { CalendarDefinition } from '../../schemas/calendar.js';
import { formatDuration, parseDuration } from '../../schemas/duration.js';
import { nearestName } from '../../schemas/nearest.js';
import { ruleShape } from '../../schemas/rule.js';
import { ConditionError, parseCondition } from './condition.js';
import { type DetectionContext, detection, fieldOf, fieldsOf, selection } from './detection.js';
import { exceptionsOf, whenOf } from './exceptions.js';
import { always, type Comparison, type Expression, normalise } from './expression.js';
import { type FieldReference, resolveField } from './fields.js';
import type { Draft, Realert, Role, Rule, RuleType, Threshold, Window } from './rule.js';
import { checkShape } from './shape.js';
import { readTests } from './tests.js';
import { ruleTypes } from './types.js';
import { versionOf } from './version.js';
import { child, type Located, placeOf } from './yaml.js';

/** What a rule may refer to outside itself. */
export interface Surroundings extends DetectionContext {
  readonly file: string;
  readonly calendars: ReadonlyMap<string, CalendarDefinition>;
}

/** Longest window and lateness: state is kept for so long. */
export const longestMicros = parseDuration('366d');
/** Groups of one rule and tenant: at the about 200 bytes of a quiet group, 200 MB; all rules together have `max_state_bytes`. */
export const defaultMaxKeys = 1_000_000;
const refused: Expression = {
  op: 'or',
  children: ['denied', 'throttled'].map((text) => ({
    op: 'test' as const,
    field: resolveField('outcome') as FieldReference,
    test: { kind: 'equals' as const, text, cased: false },
  })),
};

/** All keys of a rule type; made once a type. */
const shapes = new Map<string, z.ZodType>();

export function shapeOf(type: RuleType): z.ZodType {
  let shape = shapes.get(type.name);
  if (shape === undefined) {
    const { detection: optional, ...common } = ruleShape;
    shape = z.strictObject({
      ...common,
      type: z.literal(type.name).optional(),
      detection: type.needsDetection ? optional.unwrap() : optional,
      ...type.shape,
    });
    shapes.set(type.name, shape);
  }
  return shape;
}

/** The rule, or undefined after everything that is wrong with it was reported. */
export function compileRule(located: Located, around: Surroundings): Rule | undefined {
  let sound = true;
  const context: Surroundings = {
    ...around,
    problem(place, message) {
      sound = false;
      around.problem(place, message);
    },
  };
  if (located.kind !== 'map') {
    context.problem(located.place, 'a rule is a map of keys, beginning with "id"');
    return undefined;
  }
  const typeAt = child(located, 'type');
  const typeName = typeAt === undefined ? 'match' : typeAt.kind === 'scalar' ? String(typeAt.value) : '';
  const type = ruleTypes.get(typeName);
  if (type === undefined) {
    const near = nearestName(typeName, [...ruleTypes.keys()]);
    const hint = near === undefined ? `There are: ${[...ruleTypes.keys()].join(', ')}.` : `Did you mean "${near}"?`;
    context.problem((typeAt ?? located).place, `there is no rule type "${typeName}". ${hint}`);
    // What is looked for is the same for all types: its mistakes are told as well.
    const looked = child(located, 'detection');
    if (looked?.kind === 'map') detection(looked, context);
    return undefined;
  }
  const keys = checkShape(located, shapeOf(type), context.problem) as Readonly<Record<string, unknown>> | undefined;
  const reader = new Reader(located, type, context, keys ?? {});
  const main = reader.main();
  // What the type reads relies on the shape of its keys.
  if (keys === undefined) return undefined;
  const rule = reader.rule(keys, main);
  return sound ? { ...rule, version: versionOf(rule, context.calendars) } : undefined;
}

/** What of a rule of Sigma's own can be changed: everything around what it looks for. */
const sigmaTuning = z.strictObject({
  level: ruleShape.level,
  severity: ruleShape.severity,
  title: ruleShape.title,
  runbook: ruleShape.runbook,
  enabled: ruleShape.enabled,
  dry_run: ruleShape.dry_run,
  when: ruleShape.when,
  exceptions: ruleShape.exceptions,
  realert: ruleShape.realert,
  resolve_after: ruleShape.resolve_after,
  max_keys: ruleShape.max_keys,
  actions: ruleShape.actions,
});

/** A rule of Sigma's with changes from `tune`, or undefined after what is wrong with them was reported. */
export function tuneSigma(rule: Rule, changes: Located, around: Surroundings): Rule | undefined {
  const keys = checkShape(changes, sigmaTuning, around.problem) as Readonly<Record<string, unknown>> | undefined;
  const type = ruleTypes.get(rule.type);
  if (keys === undefined || type === undefined) return undefined;
  const tuned = new Reader(changes, type, around, keys).tuned(rule);
  return { ...tuned, version: versionOf(tuned, around.calendars) };
}

class Reader {
  private readonly limits: readonly ((expression: Expression) => Expression)[];

  constructor(
    private readonly located: Located,
    private readonly type: RuleType,
    private readonly context: Surroundings,
    private readonly keys: Readonly<Record<string, unknown>>,
  ) {
    const exceptions = exceptionsOf(child(located, 'exceptions'), context);
    const when = whenOf(child(located, 'when'), context, (each) => this.bare(each));
    this.limits = [
      (expression) => (when === undefined ? expression : { op: 'and', children: [expression, when] }),
      (expression) =>
        exceptions === undefined ? expression : { op: 'and', children: [expression, { op: 'not', child: exceptions }] },
    ];
  }

  /** A selection, a detection with its condition, or a condition over macros. */
  private bare(located: Located): Expression {
    if (located.kind === 'map' && child(located, 'condition') !== undefined) return detection(located, this.context);
    if (located.kind !== 'scalar' || typeof located.value !== 'string') return selection(located, this.context);
    try {
      return parseCondition(located.value, new Map(), this.context.macros);
    } catch (error) {
      if (!(error instanceof ConditionError)) throw error;
      this.context.problem(located.place, error.message.replace('there is no selection', 'there is no macro'));
      return { op: 'constant', value: false };
    }
  }

  private limited(expression: Expression): Expression {
    return normalise(this.limits.reduce((before, limit) => limit(before), expression));
  }

  main(): Expression {
    const located = child(this.located, 'detection');
    const expression = located?.kind === 'map' ? detection(located, this.context) : always;
    const counted = this.keys.count_refused;
    const leaveOut =
      this.type.volume === true && (counted === undefined ? !fieldsOf(expression).has('outcome') : counted === false);
    return this.limited(leaveOut ? { op: 'and', children: [expression, { op: 'not', child: refused }] } : expression);
  }

  private problem(path: readonly string[], message: string): void {
    this.context.problem(placeOf(this.located, path), message);
  }

  private duration(path: readonly string[]): number | undefined {
    const value = path.reduce<unknown>(
      (inside, step) => (inside as Record<string, unknown> | undefined)?.[step],
      this.keys,
    );
    if (value === undefined) return undefined;
    const micros = parseDuration(String(value));
    if (micros <= longestMicros) return micros;
    this.problem(path, `${path.join('.')}: at most ${formatDuration(longestMicros)} are taken`);
    return longestMicros;
  }

  private window(): Window | undefined {
    const written = this.keys.window as { kind?: Window['kind']; size?: string; gap?: string } | undefined;
    const timespan = this.duration(['timespan']);
    if (written === undefined)
      return timespan === undefined ? undefined : this.sized('sliding', timespan, ['timespan']);
    if (timespan !== undefined) this.problem(['timespan'], 'a rule has a window or a timespan, not both');
    const kind = written.kind ?? 'sliding';
    if (!this.type.windows.includes(kind))
      this.problem(
        ['window', 'kind'],
        `${this.type.name} has no ${kind} windows; it has ${this.type.windows.join(', ')}`,
      );
    const [wanted, other] = kind === 'session' ? (['gap', 'size'] as const) : (['size', 'gap'] as const);
    if (written[other] !== undefined)
      this.problem(['window', other], `a ${kind} window has a "${wanted}", not a "${other}"`);
    if (written[wanted] === undefined) {
      if (written[other] === undefined)
        this.problem(['window'], `a ${kind} window needs a "${wanted}", for example 5m`);
      return undefined;
    }
    return this.sized(kind, this.duration(['window', wanted]) as number, ['window', wanted]);
  }

  private sized(kind: Window['kind'], sizeMicros: number, path: readonly string[]): Window {
    if (sizeMicros <= 0) this.problem(path, `${path.join('.')}: a window lasts longer than nothing`);
    return { kind, sizeMicros };
  }

  private threshold(): Threshold | undefined {
    const entries = Object.entries((this.keys.condition ?? {}) as Record<string, number>);
    if (this.keys.condition !== undefined && entries.length !== 1)
      this.problem(['condition'], 'a condition is one comparison, for example {gte: 100}');
    const [comparison, value] = entries[0] ?? [];
    return comparison === undefined ? undefined : { comparison: comparison as Comparison, value: value as number };
  }

  private groupBy(): FieldReference[] {
    const located = child(this.located, 'group-by');
    const items = located?.kind === 'list' ? located.items : located === undefined ? [] : [located];
    const fields = new Map<string, FieldReference>();
    for (const item of items) {
      if (item.kind !== 'scalar') continue;
      const field = fieldOf(String(item.value), item.place, this.context);
      if (field !== undefined) fields.set(field.name, field);
    }
    // The order says nothing, and two orders are one group.
    return [...fields.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  private realert(): Realert {
    const { factor = 2, ...rest } = (this.keys.realert ?? {}) as { factor?: number };
    if (!('every' in rest))
      return { everyMicros: Number.POSITIVE_INFINITY, factor, maxMicros: Number.POSITIVE_INFINITY };
    const everyMicros = this.duration(['realert', 'every']) as number;
    if (everyMicros <= 0)
      this.problem(['realert', 'every'], 'realert.every: a reminder comes after longer than nothing');
    const maxMicros = this.duration(['realert', 'max']) ?? longestMicros;
    if (maxMicros < everyMicros) this.problem(['realert', 'max'], 'realert.max is shorter than realert.every');
    return { everyMicros, factor, maxMicros };
  }

  /** The rule with what the keys change. */
  tuned(rule: Rule): Rule {
    const { keys } = this;
    return {
      ...rule,
      title: String(keys.title ?? rule.title),
      level: (keys.level ?? keys.severity ?? rule.level) as Level,
      runbook: String(keys.runbook ?? rule.runbook),
      enabled: keys.enabled !== undefined ? keys.enabled !== false : rule.enabled,
      dryRun: keys.dry_run !== undefined ? keys.dry_run === true : rule.dryRun,
      roles: rule.roles.map((role) => ({ ...role, expression: this.limited(role.expression) })),
      ...(keys.realert !== undefined && { realert: this.realert() }),
      resolveAfterMicros: this.duration(['resolve_after']) ?? rule.resolveAfterMicros,
      maxKeys: (keys.max_keys as number | undefined) ?? rule.maxKeys,
      actions: (keys.actions as AlertAction[] | undefined) ?? rule.actions,
    };
  }

  rule(keys: Readonly<Record<string, unknown>>, main: Expression): Omit<Rule, 'version'> {
    const { type, located, context } = this;
    const window = this.window();
    const draft: Draft = {
      keys,
      located,
      window,
      threshold: this.threshold(),
      main,
      selection: (each) => this.limited(this.bare(each)),
      field: (written, key) => fieldOf(written, placeOf(located, [key]), context),
      duration: (key) => this.duration(key.split('.')),
      problem: (key, message) => this.problem([key], message),
    };
    const read = type.read(draft);
    const groupBy = this.groupBy();
    const roles: Role[] = read.roles.map((role) => ({ ...role, expression: normalise(role.expression), groupBy }));
    if (keys.level !== undefined && keys.severity !== undefined)
      this.problem(['severity'], '"severity" is another word for "level"; a rule has one of them');
    const lateness = this.duration(['window', 'lateness']);
    if (lateness !== undefined && keys.lateness !== undefined)
      this.problem(['lateness'], 'a rule has a lateness or a window.lateness, not both');
    const id = String(keys.id);
    const rule: Omit<Rule, 'version'> = {
      id,
      type: type.name,
      title: String(keys.title ?? id),
      description: String(keys.description ?? ''),
      level: (keys.level ?? keys.severity ?? 'medium') as Level,
      tags: (keys.tags ?? []) as string[],
      references: (keys.references ?? []) as string[],
      runbook: String(keys.runbook ?? ''),
      enabled: keys.enabled !== false,
      dryRun: keys.dry_run === true,
      roles,
      groupNames: groupBy.map((field) => field.name),
      ...(window && { window }),
      latenessMicros: lateness ?? this.duration(['lateness']) ?? type.defaultLatenessMicros,
      ...(draft.threshold && { threshold: draft.threshold }),
      options: read.options,
      realert: this.realert(),
      resolveAfterMicros: this.duration(['resolve_after']) ?? read.resolveAfterMicros,
      maxKeys: (keys.max_keys as number | undefined) ?? defaultMaxKeys,
      actions: (keys.actions ?? []) as AlertAction[],
      tests: readTests(child(located, 'tests'), context),
      file: context.file,
      place: located.place,
    };
    for (const role of roles) {
      if (role.expression.op === 'constant' && !role.expression.value)
        context.warning(located.place, `rule "${id}": the ${role.name} can match no event`);
    }
    return rule;
  }
}
