/**
 * Sigma's own rules and correlations, read as they are (https://sigmahq.io/sigma-specification, version 2.1). What is not
 * supported is refused by name.
 *
 * A rule matches single events. A correlation becomes one rule of ours whose selections are those of the rules it names;
 * these then make no alerts of their own unless it says `generate: true`.
 */
import type { z } from 'zod';
import type { Level } from '../../schemas/alert.js';
import { formatDuration, parseDuration } from '../../schemas/duration.js';
import { nearestName } from '../../schemas/nearest.js';
import { sigmaCorrelationShape, sigmaRuleShape } from '../../schemas/rule.js';
import type { RuleFile } from './compile.js';
import { detection, fieldOf } from './detection.js';
import { defaultMaxKeys, longestMicros, type Surroundings } from './draft.js';
import { always, type Comparison, type Expression, normalise } from './expression.js';
import type { FieldReference } from './fields.js';
import { foreignFieldsOf, logsourceCondition } from './logsource.js';
import type { Draft, Role, Rule, RuleType, Threshold, Window } from './rule.js';
import { checkShape } from './shape.js';
import { ruleTypes } from './types.js';
import { versionOf } from './version.js';
import { child, type Located, type Place, placeOf } from './yaml.js';

/** Names of correlation types; each is the rule type of the same name. */
const correlationTypes: readonly string[] = [
  'event_count',
  'value_count',
  'value_sum',
  'value_avg',
  'value_median',
  'value_percentile',
  'temporal',
  'temporal_ordered',
];

/** Whether a document is one of Sigma's rather than a file of ours. */
export function isSigma(located: Located): boolean {
  const has = (key: string): boolean => child(located, key) !== undefined;
  return (
    (has('detection') || has('correlation') || has('filter') || has('action') || has('logsource')) && !has('rules')
  );
}

type Keys = Readonly<Record<string, unknown>>;

/** A rule that correlations may name. */
interface Base {
  readonly file: RuleFile;
  readonly located: Located;
  readonly keys: Keys;
  readonly expression: Expression;
  /** Place of a field as this rule's log source calls it. */
  field(name: string, place: Place): FieldReference | undefined;
  /** Named by a correlation that does not generate its alerts. */
  silent: boolean;
}

interface Found {
  readonly file: RuleFile;
  readonly located: Located;
  readonly rule: Rule;
}

export class SigmaFiles {
  private readonly bases: Base[] = [];
  private readonly named = new Map<string, Base | 'correlation'>();
  private readonly correlations: { file: RuleFile; located: Located; keys: Keys }[] = [];

  constructor(private readonly surroundings: (file: RuleFile) => Surroundings) {}

  /** Takes one document. */
  add(file: RuleFile, located: Located): void {
    const around = this.surroundings(file);
    for (const key of ['filter', 'action']) {
      const at = child(located, key);
      if (at === undefined) continue;
      const meant =
        key === 'filter' ? 'filters (a document with "filter")' : 'rule collections (a document with "action")';
      around.problem(at.place, `Sigma's ${meant} are not supported`);
      return;
    }
    const isCorrelation = child(located, 'correlation') !== undefined;
    const shape: z.ZodType = isCorrelation ? sigmaCorrelationShape : sigmaRuleShape;
    const keys = checkShape(located, shape, around.problem) as Keys | undefined;
    if (keys === undefined) return;
    this.ownKeys(located, isCorrelation, around);
    if (isCorrelation) {
      this.correlations.push({ file, located, keys });
      this.name(keys, 'correlation');
      return;
    }
    const base = this.base(file, located, keys, around);
    this.bases.push(base);
    this.name(keys, base);
  }

  private name(keys: Keys, what: Base | 'correlation'): void {
    for (const name of [keys.name, keys.id]) if (typeof name === 'string') this.named.set(name, what);
  }

  /** Sigma allows keys of one's own; one that is nearly a key of Sigma's is more likely a slip. */
  private ownKeys(located: Located, isCorrelation: boolean, around: Surroundings): void {
    const known = Object.keys((isCorrelation ? sigmaCorrelationShape : sigmaRuleShape).shape);
    for (const entry of located.kind === 'map' ? located.entries : []) {
      if (known.includes(entry.key)) continue;
      const near = nearestName(entry.key, known);
      const hint = near === undefined ? '' : ` Did you mean "${near}"?`;
      around.warning(entry.keyPlace, `"${entry.key}" is no key of Sigma's and says nothing here.${hint}`);
    }
  }

  private base(file: RuleFile, located: Located, keys: Keys, around: Surroundings): Base {
    const logsource = (keys.logsource ?? {}) as Keys;
    const context: Surroundings = {
      ...around,
      foreignFields: new Map([...foreignFieldsOf(logsource), ...around.foreignFields]),
    };
    const source = logsourceCondition(logsource, (key, message) =>
      around.warning(placeOf(located, ['logsource', key]), message),
    );
    const found = detection(child(located, 'detection') as Located, context);
    return {
      file,
      located,
      keys,
      expression: normalise({ op: 'and', children: [found, source] }),
      field: (name, place) => fieldOf(name, place, context),
      silent: false,
    };
  }

  /** The rules, once every document was taken. */
  rules(): Found[] {
    const correlations: Found[] = [];
    for (const each of this.correlations) {
      const around = this.surroundings(each.file);
      let sound = true;
      const rule = this.correlation(each.located, each.keys, {
        ...around,
        problem(place, message) {
          sound = false;
          around.problem(place, message);
        },
      });
      if (rule !== undefined && sound) correlations.push({ file: each.file, located: each.located, rule });
    }
    const singles = this.bases
      .filter((base) => !base.silent)
      .map(({ file, located, keys, expression }) => ({
        file,
        located,
        rule: finished(file, located, keys, this.surroundings(file), {
          type: ruleTypes.get('match') as RuleType,
          roles: [{ name: 'detection', expression, groupBy: [] }],
          groupNames: [],
          options: {},
          resolveAfterMicros: 0,
        }),
      }));
    return [...singles, ...correlations];
  }

  private correlation(located: Located, keys: Keys, around: Surroundings): Rule | undefined {
    const at = (...path: string[]): Place => placeOf(located, ['correlation', ...path]);
    const correlation = keys.correlation as {
      type: string;
      rules: string | string[];
      'group-by'?: string | string[];
      timespan: string;
      aliases?: Record<string, Record<string, string>>;
      generate?: boolean;
      condition?: Record<string, number | string>;
    };
    const type = correlationTypes.includes(correlation.type) ? ruleTypes.get(correlation.type) : undefined;
    if (type === undefined) {
      const near = nearestName(correlation.type, correlationTypes);
      const hint = near === undefined ? `There are: ${correlationTypes.join(', ')}.` : `Did you mean "${near}"?`;
      around.problem(at('type'), `the correlation type "${correlation.type}" is not supported. ${hint}`);
      return undefined;
    }
    const bases = this.referred(correlation.rules, at('rules'), around);
    if (bases === undefined) return undefined;
    const silent = correlation.generate !== true && keys.generate !== true;
    for (const { base } of bases) base.silent ||= silent;

    const groups = [correlation['group-by'] ?? []].flat();
    const groupOf = (name: string, base: Base): FieldReference[] =>
      groups.flatMap((group) => {
        const alias = correlation.aliases?.[group];
        const written = alias === undefined ? group : alias[name];
        if (written === undefined) {
          around.problem(at('aliases', group), `the alias "${group}" says nothing about the rule "${name}"`);
          return [];
        }
        return base.field(written, at('group-by')) ?? [];
      });
    for (const [alias, fields] of Object.entries(correlation.aliases ?? {})) {
      if (!groups.includes(alias)) around.problem(at('aliases', alias), `the alias "${alias}" is not in group-by`);
      for (const name of Object.keys(fields)) {
        if (!bases.some((each) => each.name === name))
          around.problem(at('aliases', alias, name), `the correlation names no rule "${name}"`);
      }
    }
    const { field: valueName, percentile, ...comparisons } = correlation.condition ?? {};
    const isTemporal = type.name.startsWith('temporal');
    const threshold = thresholdOf(comparisons, isTemporal, (message) => around.problem(at('condition'), message));
    const sizeMicros = parseDuration(correlation.timespan);
    if (sizeMicros <= 0 || sizeMicros > longestMicros)
      around.problem(at('timespan'), `a timespan is longer than nothing and at most ${formatDuration(longestMicros)}`);
    const window: Window = { kind: 'sliding', sizeMicros };

    const roles = bases.map(({ name, base }): Role => {
      const valueField = typeof valueName === 'string' ? base.field(valueName, at('condition', 'field')) : undefined;
      return { name, expression: base.expression, groupBy: groupOf(name, base), ...(valueField && { valueField }) };
    });
    if (!isTemporal && type.name !== 'event_count' && valueName === undefined)
      around.problem(at('condition'), `${type.name} needs the "field" whose values are looked at`);
    if ((isTemporal || type.name === 'event_count') && valueName !== undefined)
      around.problem(at('condition', 'field'), `${type.name} looks at no "field"`);
    if (percentile !== undefined && type.name !== 'value_percentile')
      around.problem(at('condition', 'percentile'), '"percentile" belongs to value_percentile');
    if (isTemporal && roles.length < 2) around.problem(at('rules'), `${type.name} needs at least two rules`);
    if (roles.length > 16) around.problem(at('rules'), 'at most 16 rules are taken');
    const draft: Draft = {
      keys: { field: valueName, ...(percentile !== undefined && { percentile }) },
      located,
      window,
      threshold,
      main: always,
      selection: () => always,
      // Each of the rules has the field under a name of its own: it stands in the roles already.
      field: () => undefined,
      duration: () => undefined,
      problem: (key, message) => around.problem(at(key === 'window' ? 'timespan' : key), message),
    };
    const read = isTemporal
      ? {
          options: { steps: roles.length, ...(type.unordered !== true && { forbidden: [] }) },
          resolveAfterMicros: sizeMicros,
        }
      : type.read(draft);
    const aliased = roles.some((role) =>
      role.groupBy.some((field, index) => field.name !== roles[0]?.groupBy[index]?.name),
    );
    return finished({ path: around.file }, located, keys, around, {
      type,
      roles: roles.map((role) => ({ ...role, groupBy: sorted(role.groupBy, groups) })),
      groupNames: sorted(
        groups.map((group, index) => (aliased ? group : (roles[0]?.groupBy[index]?.name ?? group))),
        groups,
      ),
      window,
      ...(threshold !== undefined && { threshold }),
      options: read.options,
      resolveAfterMicros: read.resolveAfterMicros,
    });
  }

  private referred(
    written: string | string[],
    place: Place,
    around: Surroundings,
  ): { name: string; base: Base }[] | undefined {
    const found: { name: string; base: Base }[] = [];
    let complete = true;
    for (const name of [written].flat()) {
      const base = this.named.get(name);
      if (base !== undefined && base !== 'correlation') {
        found.push({ name, base });
        continue;
      }
      complete = false;
      const near = nearestName(name, [...this.named.keys()]);
      const hint = near === undefined ? '' : ` Did you mean "${near}"?`;
      around.problem(
        place,
        base === undefined
          ? `there is no rule with the name or id "${name}".${hint}`
          : `"${name}" is a correlation: a correlation over correlations is not supported`,
      );
    }
    return complete ? found : undefined;
  }
}

/** In the order of the groups' names: the order in which they are written says nothing. */
function sorted<T>(values: readonly T[], groups: readonly string[]): T[] {
  const order = groups
    .map((group, index) => ({ group, index }))
    .sort((left, right) => (left.group < right.group ? -1 : 1));
  return order.flatMap(({ index }) => (values[index] === undefined ? [] : [values[index] as T]));
}

function thresholdOf(
  comparisons: Readonly<Record<string, number | string>>,
  isTemporal: boolean,
  problem: (message: string) => void,
): Threshold | undefined {
  const entries = Object.entries(comparisons);
  if (isTemporal) {
    if (entries.length > 0) problem('a condition on a temporal correlation is not supported: all its rules must match');
    return undefined;
  }
  if (entries.length !== 1) {
    problem('a correlation needs one comparison in its condition, for example gte: 10');
    return undefined;
  }
  const [comparison, value] = entries[0] as [string, number];
  return { comparison: comparison as Comparison, value };
}

/** The rule's id: its id, else its name, else its title in lower case with dashes. */
function idOf(keys: Keys): string {
  const written = keys.id ?? keys.name;
  if (typeof written === 'string' && written !== '') return written;
  const slug = String(keys.title ?? '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  return slug;
}

type Compiled = Pick<Rule, 'roles' | 'groupNames' | 'options' | 'resolveAfterMicros'> &
  Partial<Pick<Rule, 'window' | 'threshold'>> & { type: RuleType };

function finished(
  file: { readonly path: string },
  located: Located,
  keys: Keys,
  around: Surroundings,
  { type, ...compiled }: Compiled,
): Rule {
  const id = idOf(keys);
  if (id === '')
    around.problem(located.place, 'the rule has neither "id" nor "name" nor "title", so no alert could name it');
  const falsePositives = [keys.falsepositives ?? []].flat().map(String);
  const rule: Omit<Rule, 'version'> = {
    ...compiled,
    id,
    type: type.name,
    title: String(keys.title ?? id),
    description: String(keys.description ?? ''),
    level: (keys.level ?? 'medium') as Level,
    tags: (keys.tags ?? []) as string[],
    references: (keys.references ?? []) as string[],
    runbook: falsePositives.length === 0 ? '' : `Known false positives: ${falsePositives.join('; ')}`,
    enabled: true,
    dryRun: false,
    latenessMicros: type.defaultLatenessMicros,
    realert: { everyMicros: Number.POSITIVE_INFINITY, factor: 2, maxMicros: Number.POSITIVE_INFINITY },
    maxKeys: defaultMaxKeys,
    actions: [],
    tests: [],
    file: file.path,
    place: located.place,
  };
  for (const role of rule.roles) {
    if (role.expression.op === 'constant' && !role.expression.value)
      around.warning(located.place, `rule "${id}": ${role.name} can match no event`);
  }
  return { ...rule, version: versionOf(rule, around.calendars) };
}
