/**
 * Sigma's conditions: `and`, `or`, `not`, parentheses, `1 of sel*`, `all of them`. A recursive descent over at most a
 * few thousand characters; nesting is bounded.
 */
import { nearestName } from '../../schemas/nearest.js';
import { type Expression, sizeOf } from './expression.js';

const longestCondition = 4_096;
const deepest = 64;
/** Tests of one condition once every name is followed: ten lists of the largest size. */
export const mostTests = 100_000;

/** Thrown with a message that names the word at fault. */
export class ConditionError extends Error {}

/** Whether `*` in a pattern can stand for the rest of a name. One pass with one way back: never slow. */
export function matchesGlob(pattern: string, name: string): boolean {
  let at = 0;
  let star = -1;
  let mark = 0;
  for (let index = 0; index < name.length; ) {
    if (pattern[at] === '*') {
      star = at++;
      mark = index;
    } else if (pattern[at] === name[index]) {
      at++;
      index++;
    } else if (star >= 0) {
      at = star + 1;
      index = ++mark;
    } else return false;
  }
  while (pattern[at] === '*') at++;
  return at === pattern.length;
}

/**
 * The expression of a condition over named selections. Names that begin with `_` are not part of `them`, as in Sigma;
 * `macros` are names that every rule may use and that no pattern chooses.
 */
export function parseCondition(
  text: string,
  selections: ReadonlyMap<string, Expression>,
  macros: ReadonlyMap<string, Expression> = new Map(),
): Expression {
  if (text.length > longestCondition)
    throw new ConditionError(`the condition is longer than ${longestCondition} characters`);
  const words = text.match(/[()|]|[^\s()|]+/g) ?? [];
  let at = 0;
  const names = [...selections.keys()];

  const quantified = (quantity: string): Expression => {
    const pattern = words[at++];
    if (pattern === undefined) throw new ConditionError(`"${quantity} of" needs a name, a pattern or "them"`);
    const chosen = names.filter((name) => (pattern === 'them' ? !name.startsWith('_') : matchesGlob(pattern, name)));
    if (chosen.length === 0) throw new ConditionError(`"${quantity} of ${pattern}": no selection has such a name`);
    const children = chosen.map((name) => selections.get(name) as Expression);
    if (quantity === 'all') return { op: 'and', children };
    if (quantity === '1' || quantity === 'any') return { op: 'or', children };
    throw new ConditionError(`"${quantity} of" is not supported; use "1 of", "any of" or "all of"`);
  };

  const primary = (depth: number): Expression => {
    if (depth > deepest) throw new ConditionError(`the condition nests deeper than ${deepest} levels`);
    const word = words[at++];
    if (word === undefined) throw new ConditionError('the condition ends too early');
    const lower = word.toLowerCase();
    if (word === '(') {
      const inner = either(depth + 1);
      if (words[at++] !== ')') throw new ConditionError('a "(" has no ")"');
      return inner;
    }
    if (lower === 'not') return { op: 'not', child: primary(depth + 1) };
    if (words[at]?.toLowerCase() === 'of' && !selections.has(word)) {
      at++;
      return quantified(lower);
    }
    const selection = selections.get(word) ?? macros.get(word);
    if (selection !== undefined) return selection;
    if (word === '|')
      throw new ConditionError('aggregations after "|" are not supported; write a Sigma correlation instead');
    const near = nearestName(word, [...names, ...macros.keys()]);
    throw new ConditionError(`there is no selection "${word}".${near === undefined ? '' : ` Did you mean "${near}"?`}`);
  };
  const both = (depth: number): Expression => {
    const children = [primary(depth)];
    while (words[at]?.toLowerCase() === 'and') {
      at++;
      children.push(primary(depth));
    }
    return children.length === 1 ? (children[0] as Expression) : { op: 'and', children };
  };
  const either = (depth: number): Expression => {
    const children = [both(depth)];
    while (words[at]?.toLowerCase() === 'or') {
      at++;
      children.push(both(depth));
    }
    return children.length === 1 ? (children[0] as Expression) : { op: 'or', children };
  };
  const result = either(0);
  if (at < words.length) {
    throw new ConditionError(
      words[at] === '|'
        ? 'aggregations after "|" are not supported; write a Sigma correlation instead'
        : `"${words[at]}" was not expected here; "and", "or" or the end was`,
    );
  }
  const size = sizeOf(result);
  if (size > mostTests)
    throw new ConditionError(`the condition unfolds into ${size} tests; at most ${mostTests} are taken`);
  return result;
}
