/** What a zod schema finds wrong with YAML, told with the place in the file and the name that was probably meant. */
import { z } from 'zod';
import { nearestName } from '../../schemas/nearest.js';
import { type Located, type Place, placeOf, placeOfKey, plain } from './yaml.js';

type Report = (place: Place, message: string) => void;

/** Checks a located value. Returns its plain value, or undefined after reporting everything that is wrong with it. */
export function checkShape(located: Located, shape: z.ZodType, report: Report): unknown {
  const value = plain(located);
  const result = shape.safeParse(value);
  if (result.success) return value;
  tellAll(result.error.issues, [], { located, shape, value, report });
  return undefined;
}

interface Told {
  readonly located: Located;
  readonly shape: z.ZodType;
  readonly value: unknown;
  readonly report: Report;
}

/** A key that is missing because it was written wrong is one mistake. */
function tellAll(issues: readonly z.core.$ZodIssue[], base: readonly PropertyKey[], told: Told): void {
  const meant = new Set(
    issues.flatMap((issue) => {
      if (issue.code !== 'unrecognized_keys') return [];
      const path = [...base, ...issue.path];
      return issue.keys.map((key) => [...path, nearestName(key, keysAt(told.shape, path))].join('\n'));
    }),
  );
  for (const issue of issues) {
    const path = [...base, ...issue.path];
    const missing = issue.code === 'invalid_type' && path.reduce<unknown>(into, told.value) === undefined;
    if (!missing || !meant.has(path.join('\n'))) tell(issue, base, told);
  }
}

function tell(issue: z.core.$ZodIssue, base: readonly PropertyKey[], told: Told): void {
  const { located, shape, value, report } = told;
  const path = [...base, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(shape, path);
    for (const key of issue.keys) {
      const near = nearestName(key, known);
      const hint = near === undefined ? `There are: ${known.join(', ')}.` : `Did you mean "${near}"?`;
      report(placeOfKey(located, path, key), `there is no key "${key}"${within(path)}. ${hint}`);
    }
    return;
  }
  if (issue.code === 'invalid_union') {
    // Of the alternatives the one that got furthest is the one that was meant.
    const branches = issue.errors.filter((branch) => branch.length > 0);
    const best = branches.sort((left, right) => depth(right) - depth(left))[0];
    if (best !== undefined && depth(best) > 0) {
      tellAll(best, path, told);
      return;
    }
    const found = kindOf(path.reduce<unknown>(into, value));
    const expected = [...new Set(branches.flatMap((branch) => branch.map(expectation)))].join(' or ');
    report(placeOf(located, path), `${name(path)}expected ${expected}, not ${found}`);
    return;
  }
  const found = path.reduce<unknown>(into, value);
  if (found === undefined && issue.code === 'invalid_type') {
    report(
      placeOf(located, path.slice(0, -1)),
      `the key "${String(path.at(-1))}" is missing${within(path.slice(0, -1))}`,
    );
    return;
  }
  const standard = issue.code === 'invalid_type' || issue.code === 'invalid_value';
  const message = standard && issue.message.startsWith('Invalid ') ? wrong(issue, found) : issue.message;
  report(placeOf(located, path), `${name(path)}${message}`);
}

function wrong(issue: z.core.$ZodIssue, found: unknown): string {
  if (issue.code === 'invalid_value') {
    const values = issue.values.map(String);
    const near = typeof found === 'string' ? nearestName(found, values) : undefined;
    return `expected ${values.join(', ')}, not ${JSON.stringify(found)}${near === undefined ? '' : `. Did you mean "${near}"?`}`;
  }
  return `expected ${expectation(issue)}, not ${kindOf(found)}`;
}

const kindNames: Readonly<Record<string, string>> = {
  string: 'text',
  record: 'a map',
  object: 'a map',
  array: 'a list',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  null: 'nothing',
};

function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return kindNames[issue.expected] ?? issue.expected;
  return issue.code === 'unrecognized_keys' ? 'a map' : issue.message;
}

function kindOf(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function into(value: unknown, step: PropertyKey): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[step] : undefined;
}

/** How deep in the value the first mistake of an alternative lies; an unknown key lies one deeper than its map. */
function depth(branch: readonly z.core.$ZodIssue[]): number {
  return Math.max(...branch.map((issue) => issue.path.length + (issue.code === 'unrecognized_keys' ? 1 : 0)));
}

const name = (path: readonly PropertyKey[]): string => (path.length === 0 ? '' : `${dotted(path)}: `);
const within = (path: readonly PropertyKey[]): string => (path.length === 0 ? '' : ` in ${dotted(path)}`);

function dotted(path: readonly PropertyKey[]): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step + 1}]` : `${index ? '.' : ''}${String(step)}`))
    .join('');
}

/** The keys that the map at a path may have. */
function keysAt(shape: z.ZodType, path: readonly PropertyKey[]): string[] {
  if (shape instanceof z.ZodOptional) return keysAt(shape.unwrap() as z.ZodType, path);
  if (shape instanceof z.ZodUnion) return (shape.options as z.ZodType[]).flatMap((each) => keysAt(each, path));
  const [step, ...rest] = path;
  if (shape instanceof z.ZodArray) return step === undefined ? [] : keysAt(shape.element as z.ZodType, rest);
  if (shape instanceof z.ZodRecord) return step === undefined ? [] : keysAt(shape.valueType as z.ZodType, rest);
  if (!(shape instanceof z.ZodObject)) return [];
  const fields = shape.shape as Record<string, z.ZodType>;
  if (step === undefined) return Object.keys(fields);
  const field = fields[String(step)];
  return field === undefined ? [] : keysAt(field, rest);
}
