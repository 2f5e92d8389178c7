/** Sigma's `detection`: named selections and a condition, to one expression. Problems carry line and column. */
import { nearestName } from '../../schemas/nearest.js';
import { ConditionError, parseCondition } from './condition.js';
import { type Expression, normalise } from './expression.js';
import { attributeField, type FieldReference, resolveField, unknownField } from './fields.js';
import { checkModifiers, fieldCondition, ModifierError, type Scalar } from './modifiers.js';
import type { Located, Place } from './yaml.js';

export interface DetectionContext {
  /** Values of the `lists` that `$name` stands for. */
  readonly lists: ReadonlyMap<string, readonly Scalar[]>;
  /** Conditions over whole lists, which many rules share, by their spelling. */
  readonly shared: Map<string, Expression>;
  /** Conditions with a name that every rule may use. */
  readonly macros: ReadonlyMap<string, Expression>;
  /** Fields of other log sources, by the event's place that has their meaning. */
  readonly foreignFields: ReadonlyMap<string, string>;
  /** In Sigma's own rules a field that the contract lacks is a producer's own, kept in `attributes`. */
  readonly sigma: boolean;
  problem(place: Place, message: string): void;
  warning(place: Place, message: string): void;
}

/** Where Sigma's keywords (values without a field) are looked for. */
const keywordFields = ['tool_name', 'resource_uri', 'prompt_name', 'error_message', 'arguments', 'result'];
/** Values of one field condition; longer lists belong in `lists`, which may hold as many. */
const mostValues = 10_000;

function resolve(written: string, context: DetectionContext): FieldReference | undefined {
  return resolveField((context.sigma ? context.foreignFields.get(written) : undefined) ?? written);
}

/** The field of a name; reports unknown ones. */
export function fieldOf(written: string, place: Place, context: DetectionContext): FieldReference | undefined {
  const field = resolve(written, context);
  if (field !== undefined) return field;
  if (!context.sigma) {
    context.problem(place, unknownField(written));
    return undefined;
  }
  context.warning(place, `events have no field "${written}"; it is looked for in their attributes`);
  return attributeField(written);
}

function isListName(value: Scalar): value is string {
  return typeof value === 'string' && /^\$[A-Za-z_][\w-]*$/.test(value);
}

/** A list's values where a value is `$name`, else the value itself. */
function expand(value: Located, context: DetectionContext): Scalar[] | undefined {
  const items = value.kind === 'list' ? value.items : [value];
  const values: Scalar[] = [];
  for (const item of items) {
    if (item.kind !== 'scalar') {
      context.problem(item.place, 'expected a value or a list of values');
      return undefined;
    }
    if (!context.sigma && isListName(item.value)) {
      const list = context.lists.get(item.value.slice(1));
      if (list === undefined) {
        const near = nearestName(item.value.slice(1), [...context.lists.keys()]);
        const hint = near === undefined ? '' : ` Did you mean "$${near}"?`;
        context.problem(item.place, `there is no list "${item.value.slice(1)}".${hint}`);
        return undefined;
      }
      values.push(...list);
    } else values.push(item.value);
  }
  if (values.length > mostValues) {
    context.problem(value.place, `${values.length} values; at most ${mostValues} are taken`);
    return undefined;
  }
  return values;
}

/** Sigma's `expand`: every `%name%` of a value as each value of the list of that name. */
function expandPlaceholders(located: Located, context: DetectionContext): Scalar[] | undefined {
  const values = expand(located, context);
  if (values === undefined) return undefined;
  let filled: string[] = [];
  for (const value of values) {
    let texts = [''];
    // Text and names in turn.
    for (const [index, part] of String(value ?? '')
      .split(/%([A-Za-z_][\w-]*)%/)
      .entries()) {
      const list = index % 2 === 1 ? context.lists.get(part) : [part];
      if (list === undefined) {
        const near = nearestName(part, [...context.lists.keys()]);
        const hint = near === undefined ? `Define it under "lists" in a file of rules.` : `Did you mean "%${near}%"?`;
        context.problem(located.place, `there is no list "${part}" for the placeholder "%${part}%". ${hint}`);
        return undefined;
      }
      if (texts.length * list.length > mostValues) {
        context.problem(located.place, `the placeholders stand for more than ${mostValues} values`);
        return undefined;
      }
      texts = texts.flatMap((text) => list.map((each) => `${text}${each ?? ''}`));
    }
    filled = filled.concat(texts);
  }
  return filled;
}

/** Each keyword somewhere in the text of an event: one of them, or all. */
function keywordCondition(keywords: readonly Scalar[], all: boolean): Expression {
  const somewhere = (keyword: Scalar): Expression => ({
    op: 'or',
    children: keywordFields.map((name) =>
      fieldCondition(resolveField(name) as FieldReference, ['contains'], [keyword], () => {
        throw new ModifierError('a keyword refers to no field');
      }),
    ),
  });
  return { op: all ? 'and' : 'or', children: keywords.map(somewhere) };
}

/** A map of field conditions (all must hold), a list of such maps (one must), or a list of keywords. */
export function selection(located: Located, context: DetectionContext): Expression {
  if (located.kind === 'list') {
    const keywords: Scalar[] = [];
    const children: Expression[] = [];
    for (const item of located.items) {
      if (item.kind === 'scalar') keywords.push(item.value);
      else children.push(selection(item, context));
    }
    if (keywords.length > 0) children.push(keywordCondition(keywords, false));
    if (children.length === 0) context.problem(located.place, 'the selection is empty');
    return { op: 'or', children };
  }
  if (located.kind === 'scalar') {
    context.problem(located.place, 'a selection is a map of fields and values, or a list of such maps');
    return { op: 'constant', value: false };
  }
  if (located.entries.length === 0) context.problem(located.place, 'the selection is empty');
  const children: Expression[] = [];
  for (const entry of located.entries) {
    const [name = '', ...written] = entry.key.split('|');
    if (name === '') {
      const keywords = expand(entry.value, context);
      if (keywords === undefined) continue;
      if (written.length === 1 && written[0] === 'all') children.push(keywordCondition(keywords, true));
      else context.problem(entry.keyPlace, `"${entry.key}" names no field; of keywords only "|all" is supported`);
      continue;
    }
    const list =
      entry.value.kind === 'scalar' && isListName(entry.value.value) ? `${entry.key}: ${entry.value.value}` : '';
    const known = context.shared.get(list);
    if (known !== undefined && !context.sigma) {
      children.push(known);
      continue;
    }
    const field = fieldOf(name, entry.keyPlace, context);
    const values = written.includes('expand') ? expandPlaceholders(entry.value, context) : expand(entry.value, context);
    if (field === undefined || values === undefined) continue;
    try {
      const reference = (other: string): FieldReference => {
        const found = resolve(other, context) ?? (context.sigma ? attributeField(other) : undefined);
        if (found === undefined) throw new ModifierError(unknownField(other));
        return found;
      };
      const condition = normalise(fieldCondition(field, checkModifiers(written), values, reference));
      if (list !== '' && !context.sigma) context.shared.set(list, condition);
      children.push(condition);
    } catch (error) {
      if (!(error instanceof ModifierError)) throw error;
      context.problem(entry.keyPlace, error.message);
    }
  }
  return { op: 'and', children };
}

/** The whole `detection` with its `condition`; without one all selections must hold. */
export function detection(located: Located, context: DetectionContext): Expression {
  const nothing: Expression = { op: 'constant', value: false };
  if (located.kind !== 'map') {
    context.problem(located.place, 'detection is a map of selections and a condition');
    return nothing;
  }
  const selections = new Map<string, Expression>();
  const conditions: { text: string; place: Place }[] = [];
  for (const entry of located.entries) {
    if (entry.key === 'condition') {
      const items = entry.value.kind === 'list' ? entry.value.items : [entry.value];
      for (const item of items) {
        if (item.kind === 'scalar' && typeof item.value === 'string')
          conditions.push({ text: item.value, place: item.place });
        else context.problem(item.place, 'condition is a text such as "selection and not filter"');
      }
    } else if (entry.key === 'timeframe') {
      context.problem(entry.keyPlace, 'timeframe is not supported; write a Sigma correlation instead');
    } else selections.set(entry.key, selection(entry.value, context));
  }
  if (conditions.length === 0) {
    if (selections.size !== 1) {
      context.problem(located.place, 'detection needs a condition that says how its selections combine');
      return nothing;
    }
    return normalise([...selections.values()][0] as Expression);
  }
  const children: Expression[] = [];
  for (const { text, place } of conditions) {
    try {
      children.push(parseCondition(text, selections, context.macros));
    } catch (error) {
      if (!(error instanceof ConditionError)) throw error;
      context.problem(place, error.message);
    }
  }
  return normalise({ op: 'or', children });
}

/** Fields that an expression looks at. */
export function fieldsOf(
  expression: Expression,
  into: Map<string, FieldReference> = new Map(),
): Map<string, FieldReference> {
  if (expression.op === 'and' || expression.op === 'or') for (const each of expression.children) fieldsOf(each, into);
  else if (expression.op === 'not' || expression.op === 'before') fieldsOf(expression.child, into);
  else if (expression.op === 'test') {
    into.set(expression.field.name, expression.field);
    if (expression.test.kind === 'field') into.set(expression.test.other.name, expression.test.other);
  }
  return into;
}
