/** What people are shown of a rule besides what the engine takes: its text, and how its tests came out. */
import { readFileSync } from 'node:fs';
import type { Rule, RuleSet } from './rule.js';
import { verifyRule } from './verify.js';

export interface Excerpt {
  /** The item of the YAML list, as it is written. */
  readonly source: string;
  /** A test without failures holds. */
  readonly tests: readonly { readonly name: string; readonly failures: readonly string[] }[];
}

/** In the order of the rules, in steps: the tests of thousands of rules take a while. */
export function* excerptsOf(set: RuleSet): Generator<void, Excerpt[]> {
  const texts = new Map<string, readonly string[]>();
  const excerpts: Excerpt[] = [];
  for (const rule of set.rules) {
    const lines = texts.get(rule.file) ?? linesOf(rule.file);
    texts.set(rule.file, lines);
    excerpts.push({ source: sourceOf(lines, rule), tests: testsOf(rule, set) });
    yield;
  }
  return excerpts;
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    // It went since the rules were read.
    return [];
  }
}

function testsOf(rule: Rule, set: RuleSet): Excerpt['tests'] {
  return verifyRule(rule, set).map(({ test, failures }) => ({
    name: test.name,
    failures: failures.map(({ place, message }) => `line ${place.line}: ${message}`),
  }));
}

/** The item that begins on the rule's line. */
function sourceOf(lines: readonly string[], { place: { line } }: Rule): string {
  const indent = indentOf(lines[line - 1] ?? '');
  let end = line;
  while (end < lines.length && (lines[end]!.trim() === '' || indentOf(lines[end]!) > indent)) end++;
  return lines
    .slice(line - 1, end)
    .map((each) => each.slice(indent))
    .join('\n')
    .trimEnd();
}

const indentOf = (line: string): number => /^ */.exec(line)![0].length;
