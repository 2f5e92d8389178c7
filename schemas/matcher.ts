/**
 * Matchers choose alerts by their labels, in Prometheus Alertmanager's words: `level=critical`, `tool!=search`,
 * `actor=~svc-.*`, `rule!~test/.*`, and for the ordered label `level` also `level>=high` and `level<=low`.
 *
 * A label that an alert does not have is the empty text. A label with several values (`tag`) is equal, or matches, when
 * one of them is. Expressions match the whole value, in linear time (RE2).
 */
import { RE2JS } from 're2js';
import { levels } from './alert.js';

/** An alert's labels; most have one value. */
export type Labels = ReadonlyMap<string, readonly string[]>;

const operators = ['=', '!=', '=~', '!~', '>=', '<='] as const;
type Operator = (typeof operators)[number];

export interface Matcher {
  readonly label: string;
  readonly operator: Operator;
  readonly value: string;
  /** As it was written. */
  readonly text: string;
  test(labels: Labels): boolean;
}

/** Longest matcher: a name and a value of 256 bytes each, or an expression of a few hundred characters. */
export const longestMatcher = 1024;

const pattern = /^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(=~|!~|!=|>=|<=|=)\s*(.*?)\s*$/s;
const nothing: readonly string[] = [''];

/** Throws an Error that says what was expected. */
export function parseMatcher(text: string): Matcher {
  const match = text.length > longestMatcher ? null : pattern.exec(text);
  if (match === null)
    throw new Error(`"${text.slice(0, 80)}" is no matcher, expected LABEL${operators.join(' LABEL')} with a value`);
  const [, label = '', written, quoted = ''] = match;
  const operator = written as Operator;
  const value = /^"(.*)"$/s.exec(quoted)?.[1] ?? quoted;
  return { label, operator, value, text: text.trim(), test: testOf(label, operator, value) };
}

function testOf(label: string, operator: Operator, value: string): Matcher['test'] {
  const some = (test: (value: string) => boolean) => (labels: Labels) => (labels.get(label) ?? nothing).some(test);
  if (operator === '=') return some((each) => each === value);
  if (operator === '!=') return (labels) => !(labels.get(label) ?? nothing).includes(value);
  if (operator === '=~' || operator === '!~') {
    let compiled: RE2JS;
    try {
      compiled = RE2JS.compile(value, RE2JS.DOTALL);
    } catch (error) {
      throw new Error(`"${value}" is no expression that RE2 takes: ${(error as Error).message}`);
    }
    // Most expressions are plain words with | between them: an automaton would only find out the same.
    const words = value.split('|');
    const isPlain = words.every((word) => /^[\w@/: -]*$/.test(word));
    const matches = some(isPlain ? (each) => words.includes(each) : (each) => compiled.matches(each));
    return operator === '=~' ? matches : (labels) => !matches(labels);
  }
  if (label !== 'level') throw new Error(`${operator} orders levels only, and "${label}" is none`);
  const rank = (levels as readonly string[]).indexOf(value);
  if (rank < 0) throw new Error(`"${value}" is no level, expected one of ${levels.join(', ')}`);
  return some((each) => {
    const own = (levels as readonly string[]).indexOf(each);
    return own >= 0 && (operator === '>=' ? own >= rank : own <= rank);
  });
}

/** Whether all of them match. None at all match everything. */
export function allMatch(matchers: readonly Matcher[], labels: Labels): boolean {
  return matchers.every((matcher) => matcher.test(labels));
}
