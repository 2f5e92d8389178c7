/** The texts of rule files to one set of rules. Every file is read to its end, so that all mistakes are told at once. */

import { Calendar, type CalendarDefinition, CalendarError } from '../../schemas/calendar.js';
import { nearestName } from '../../schemas/nearest.js';
import { ruleFileShape } from '../../schemas/rule.js';
import { ConditionError, parseCondition } from './condition.js';
import { detection, selection } from './detection.js';
import { compileRule, type Surroundings, tuneSigma } from './draft.js';
import { type Expression, sizeOf } from './expression.js';
import { fieldNames, resolveField } from './fields.js';
import type { Scalar } from './modifiers.js';
import type { Rule, RuleSet } from './rule.js';
import { checkShape } from './shape.js';
import { isSigma, SigmaFiles } from './sigma.js';
import { atOnce } from './turns.js';
import { child, type Entry, type Located, type Place, type Problem, placeOf, plain, readYaml } from './yaml.js';

/** Rules of all files: at 20 KiB each with its tests and its place in the matcher, 200 MiB. */
export const mostRules = 10_000;
/** Tests of all rules together, lists and macros followed: at 200 bytes each, 200 MB. */
const mostTestsInAll = 1_000_000;
/** Problems that are told. */
const mostProblems = 1_000;
const deepestMacros = 16;

/** A text to compile; what a later layer defines replaces what an earlier one did. */
export interface RuleFile {
  readonly path: string;
  readonly text: string;
  /** 0: shipped with the program, 1: the user's own. */
  readonly layer: number;
}

export interface Compiled {
  /** The rules that are right; complete only when there are no problems. */
  readonly set: RuleSet;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** A definition with a name, where it stands. */
interface Definition {
  readonly file: RuleFile;
  readonly entry: Entry;
}

class Compilation {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  private untold = 0;
  private readonly shared = new Map<string, Expression>();
  private readonly lists = new Map<string, readonly Scalar[]>();
  private readonly calendars = new Map<string, CalendarDefinition>();
  private readonly foreignFields = new Map<string, string>();
  private readonly macros = new Macros(
    (definition) => this.macro(definition),
    (name, { file, entry }, open) => {
      const message = open.includes(name)
        ? `the macro "${name}" uses itself: ${[...open.slice(open.indexOf(name)), name].join(' → ')}`
        : `macros nest deeper than ${deepestMacros} levels`;
      if (!this.problems.some((each) => each.message === message)) this.problem(file, entry.keyPlace, message);
    },
  );
  private readonly rules = new Map<string, { file: RuleFile; located: Located }>();
  private readonly tuned = new Map<string, Definition[]>();
  private readonly seen = new Map<string, Definition>();
  private readonly sigma: { file: RuleFile; located: Located }[] = [];

  private problem(file: RuleFile, place: Place, message: string): void {
    if (this.problems.length < mostProblems) this.problems.push({ file: file.path, ...place, message });
    else this.untold++;
  }

  /** Keeps a name's definition; says so when its layer defined it already. */
  private define(kind: string, file: RuleFile, entry: Entry): boolean {
    const earlier = this.seen.get(`${kind} ${entry.key}`);
    if (earlier?.file.layer === file.layer) {
      const { line } = earlier.entry.keyPlace;
      this.problem(
        file,
        entry.keyPlace,
        `the ${kind} "${entry.key}" is defined already, in ${earlier.file.path}:${line}`,
      );
      return false;
    }
    this.seen.set(`${kind} ${entry.key}`, { file, entry });
    return true;
  }

  read(file: RuleFile): void {
    const { documents, problems } = readYaml(file.path, file.text);
    for (const { line, column, message } of problems) this.problem(file, { line, column }, message);
    for (const located of documents) {
      if (isSigma(located)) {
        this.sigma.push({ file, located });
        continue;
      }
      if (located.kind !== 'map') {
        const message = 'a rule file is a map with "rules", and "lists", "macros" or "calendars" where they are needed';
        this.problem(file, located.place, message);
        continue;
      }
      if (checkShape(located, ruleFileShape, (place, message) => this.problem(file, place, message)) === undefined)
        continue;
      for (const entry of entriesOf(child(located, 'lists'))) {
        if (this.define('list', file, entry)) this.lists.set(entry.key, plain(entry.value) as Scalar[]);
      }
      for (const entry of entriesOf(child(located, 'calendars'))) this.calendar(file, entry);
      for (const entry of entriesOf(child(located, 'macros'))) {
        if (this.define('macro', file, entry)) this.macros.define({ file, entry });
      }
      for (const entry of entriesOf(child(located, 'fields'))) this.foreignField(file, entry);
      for (const entry of entriesOf(child(located, 'tune'))) {
        const changes = this.tuned.get(entry.key) ?? [];
        changes.push({ file, entry });
        this.tuned.set(entry.key, changes);
      }
      const rules = child(located, 'rules');
      for (const rule of rules?.kind === 'list' ? rules.items : []) this.keep(file, rule);
    }
  }

  private keep(file: RuleFile, located: Located): void {
    const id = child(located, 'id');
    if (id?.kind !== 'scalar' || typeof id.value !== 'string') {
      const report = (place: Place, message: string): void => this.problem(file, place, message);
      if (located.kind !== 'map') report(located.place, 'a rule is a map of keys, beginning with "id"');
      else if (id === undefined) report(located.place, 'the rule has no "id"');
      else report(id.place, 'id: expected text');
      return;
    }
    if (this.define('rule', file, { key: id.value, keyPlace: id.place, value: located }))
      this.rules.set(id.value, { file, located });
  }

  private calendar(file: RuleFile, entry: Entry): void {
    if (!this.define('calendar', file, entry)) return;
    const written = plain(entry.value) as {
      tz: string;
      open: string | string[];
      holidays?: string | string[];
      closed?: string[];
    };
    const definition: CalendarDefinition = {
      zone: written.tz,
      open: [written.open].flat(),
      holidays: [written.holidays ?? []].flat(),
      closed: written.closed ?? [],
    };
    // A calendar that is wrong still has its name, so that its rules are not said to be wrong too.
    this.calendars.set(entry.key, definition);
    try {
      new Calendar(definition);
    } catch (error) {
      if (!(error instanceof CalendarError)) throw error;
      const key = error.key === undefined ? [] : [error.key];
      this.problem(file, placeOf(entry.value, key), `calendar "${entry.key}": ${error.message}`);
    }
  }

  private foreignField(file: RuleFile, entry: Entry): void {
    if (!this.define('field', file, entry)) return;
    const written = String(plain(entry.value));
    if (resolveField(written) !== undefined) {
      this.foreignFields.set(entry.key, written);
      return;
    }
    const near = nearestName(written, fieldNames);
    const hint = near === undefined ? '' : ` Did you mean "${near}"?`;
    this.problem(file, entry.value.place, `events have no field "${written}".${hint}`);
  }

  private around(file: RuleFile, sigma: boolean): Surroundings {
    return {
      file: file.path,
      lists: this.lists,
      shared: this.shared,
      macros: this.macros,
      calendars: this.calendars,
      foreignFields: this.foreignFields,
      sigma,
      problem: (place, message) => this.problem(file, place, message),
      warning: (place, message) => {
        if (this.warnings.length < mostProblems) this.warnings.push({ file: file.path, ...place, message });
      },
    };
  }

  private macro({ file, entry }: Definition): Expression {
    const around = this.around(file, false);
    const nothing: Expression = { op: 'constant', value: false };
    const { value } = entry;
    if (value.kind === 'map' && child(value, 'condition') !== undefined) return detection(value, around);
    if (value.kind !== 'scalar') return selection(value, around);
    try {
      return parseCondition(String(value.value), new Map(), this.macros);
    } catch (error) {
      if (!(error instanceof ConditionError)) throw error;
      this.problem(file, value.place, error.message.replace('there is no selection', 'there is no macro'));
      return nothing;
    }
  }

  /** The rule with the keys that `tune` replaces; exceptions are added. Its tests are of what was shipped. */
  private withTuning(id: string, rule: { file: RuleFile; located: Located }): { file: RuleFile; located: Located } {
    let { file, located } = rule;
    for (const { file: from, entry } of this.tuned.get(id) ?? []) {
      if (located.kind !== 'map' || entry.value.kind !== 'map') continue;
      const changes = new Map(entry.value.entries.map((each) => [each.key, each]));
      for (const key of ['id', 'type']) {
        const forbidden = changes.get(key);
        if (forbidden !== undefined)
          this.problem(from, forbidden.keyPlace, `"${key}" cannot be tuned; write a rule of your own`);
      }
      const kept = located.entries.filter((each) => !changes.has(each.key) || each.key === 'exceptions');
      const before = child(located, 'exceptions');
      const merged = [...kept.filter((each) => each.key !== 'tests' && each.key !== 'exceptions')];
      for (const each of entry.value.entries) {
        if (each.key !== 'exceptions' || before?.kind !== 'list' || each.value.kind !== 'list') merged.push(each);
        else merged.push({ ...each, value: { ...each.value, items: [...before.items, ...each.value.items] } });
      }
      if (before !== undefined && !changes.has('exceptions'))
        merged.push(...kept.filter((each) => each.key === 'exceptions'));
      located = { ...located, entries: merged };
      // Mistakes are most likely in what was changed, and it is what the reader can change.
      file = from;
    }
    return { file, located };
  }

  /** So many rules that reading more files changes nothing. */
  get full(): boolean {
    return this.rules.size > mostRules;
  }

  *finish(): Generator<void, Compiled> {
    this.macros.compileAll();
    const rules: Rule[] = [];
    let tests = 0;
    const take = (file: RuleFile, located: Located, rule: Rule | undefined): boolean => {
      if (rule === undefined) return true;
      for (const role of rule.roles) tests += sizeOf(role.expression);
      if (rules.length >= mostRules) {
        this.problem(file, located.place, `at most ${mostRules} rules are taken, and there are more`);
        return false;
      }
      if (tests > mostTestsInAll) {
        this.problem(file, located.place, `the rules up to here unfold into more than ${mostTestsInAll} tests`);
        return false;
      }
      rules.push(rule);
      return true;
    };
    const everything = function* (this: Compilation): Generator<void> {
      for (const [id, rule] of this.rules) {
        yield;
        const { file, located } = this.withTuning(id, rule);
        if (!take(file, located, compileRule(located, this.around(file, false)))) return;
      }
      const sigma = new SigmaFiles((file) => this.around(file, true));
      for (const { file, located } of this.sigma) sigma.add(file, located);
      for (const { file, located, rule } of sigma.rules()) {
        yield;
        const earlier = this.seen.get(`rule ${rule.id}`);
        if (earlier !== undefined) {
          const { line } = earlier.entry.keyPlace;
          this.problem(
            file,
            located.place,
            `the rule "${rule.id}" is defined already, in ${earlier.file.path}:${line}`,
          );
          continue;
        }
        this.seen.set(`rule ${rule.id}`, { file, entry: { key: rule.id, keyPlace: located.place, value: located } });
        let tuned: Rule | undefined = rule;
        for (const { file: from, entry } of this.tuned.get(rule.id) ?? [])
          tuned = tuned === undefined ? undefined : tuneSigma(tuned, entry.value, this.around(from, false));
        if (!take(file, located, tuned)) return;
      }
    };
    yield* everything.call(this);
    const ids = new Set([...this.seen.keys()].filter((name) => name.startsWith('rule ')).map((name) => name.slice(5)));
    for (const [id, changes] of this.tuned) {
      if (ids.has(id)) continue;
      const near = nearestName(id, [...ids]);
      const hint = near === undefined ? '' : ` Did you mean "${near}"?`;
      for (const { file, entry } of changes)
        this.problem(file, entry.keyPlace, `there is no rule "${id}" to tune.${hint}`);
    }
    if (this.untold > 0) {
      const { file } = this.problems[0] as Problem;
      this.problems.push({ file, line: 1, column: 1, message: `${this.untold} further problems are not told` });
    }
    // What is doubtful about a file with mistakes mostly follows from them.
    const broken = new Set(this.problems.map(({ file }) => file));
    const warnings = this.warnings.filter(({ file }) => !broken.has(file));
    return { set: { rules, calendars: this.calendars }, problems: this.problems, warnings };
  }
}

/** Macros are compiled when a condition first names them, so their order does not matter. */
class Macros extends Map<string, Expression> {
  private readonly definitions = new Map<string, Definition>();
  /** Those that are being compiled, outermost first. */
  private readonly open: string[] = [];

  constructor(
    private readonly compile: (definition: Definition) => Expression,
    private readonly refuse: (name: string, definition: Definition, open: readonly string[]) => void,
  ) {
    super();
  }

  define(definition: Definition): void {
    this.definitions.set(definition.entry.key, definition);
    super.delete(definition.entry.key);
  }

  override get(name: string): Expression | undefined {
    const known = super.get(name);
    const definition = this.definitions.get(name);
    if (known !== undefined || definition === undefined) return known;
    if (this.open.includes(name) || this.open.length >= deepestMacros) {
      this.refuse(name, definition, this.open);
      return { op: 'constant', value: false };
    }
    this.open.push(name);
    const expression = this.compile(definition);
    this.open.pop();
    this.set(name, expression);
    return expression;
  }

  override keys(): MapIterator<string> {
    return this.definitions.keys();
  }

  /** Every macro once, so that the mistakes of one that no rule uses are told too. */
  compileAll(): void {
    for (const name of this.definitions.keys()) this.get(name);
  }
}

const entriesOf = (located: Located | undefined): readonly Entry[] => (located?.kind === 'map' ? located.entries : []);

/** Compiles files, later layers over earlier ones. Never throws for what stands in them. */
export function compileRules(files: readonly RuleFile[]): Compiled {
  return atOnce(compilingRules(files));
}

/** The same in steps: a file that is read, a rule that is compiled. */
export function* compilingRules(files: readonly RuleFile[]): Generator<void, Compiled> {
  const compilation = new Compilation();
  for (const file of [...files].sort((left, right) => left.layer - right.layer)) {
    // With more rules than are taken the rest is not even parsed; `finish` says where the limit is.
    if (compilation.full) break;
    compilation.read(file);
    yield;
  }
  return yield* compilation.finish();
}
