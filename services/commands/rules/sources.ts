/** Which rules a command is about, and how it tells their mistakes. */
import { isAbsolute, join, relative } from 'node:path';
import { AuditdError } from '../../../schemas/errors.js';
import type { Compiled } from '../../detector/compile.js';
import type { Rule, RuleSet } from '../../detector/rule.js';
import type { Problem } from '../../detector/yaml.js';
import { colors } from '../colors.js';
import { type CommonOptions, loadConfiguration } from '../context.js';

export interface SourceOptions extends CommonOptions {
  /** commander's `--no-pack`. */
  readonly pack?: boolean;
}

export interface Sources {
  readonly pack: boolean;
  readonly paths: readonly string[];
  /** What the rules are called in messages. */
  readonly named: string;
}

/** The paths that were given, else what the configuration has in force. */
export async function sourcesOf(paths: readonly string[], options: SourceOptions): Promise<Sources> {
  if (paths.length > 0) return { pack: options.pack !== false, paths, named: paths.join(', ') };
  const { configuration, data } = await loadConfiguration(options);
  const { existsSync } = await import('node:fs');
  const { pack, directory } = configuration.rules;
  const own = isAbsolute(directory) ? directory : join(data, directory);
  const used = pack && options.pack !== false;
  const named = existsSync(own) ? own : undefined;
  return {
    pack: used,
    paths: named === undefined ? [] : [named],
    named: [used ? 'the shipped rules' : '', named ?? ''].filter((each) => each !== '').join(' and ') || 'no rules',
  };
}

/** Reads the rules. */
export async function load(sources: Sources): Promise<Compiled> {
  const { loadRules } = await import('../../detector/load.js');
  return loadRules(sources);
}

/** Reads the rules and refuses them with everything that is wrong. Warnings go to standard error. */
export async function loadSound(sources: Sources): Promise<RuleSet> {
  const { set, problems, warnings } = await load(sources);
  if (problems.length > 0) throw new AuditdError('rules_invalid', problems.map(problemLine).join('\n'));
  if (warnings.length > 0) {
    const { shown } = await import('../terminal.js');
    for (const warning of warnings)
      process.stderr.write(`${colors.yellow('warning')} ${shown(problemLine(warning))}\n`);
  }
  return set;
}

/** Without the rules that ship with the program, unless a file of one's own tunes them. */
export async function ownRules(set: RuleSet): Promise<RuleSet> {
  const { packDirectory } = await import('../../detector/load.js');
  const shipped = join(packDirectory(), '/');
  return { ...set, rules: set.rules.filter((rule) => !rule.file.startsWith(shipped)) };
}

/** `file:line:column: message`, as compilers write it: editors jump there. */
export function problemLine({ file, line, column, message }: Problem): string {
  return `${shortPath(file)}:${line}:${column}: ${message}`;
}

export function shortPath(file: string): string {
  const short = relative(process.cwd(), file);
  return short === '' || short.startsWith('..') ? file : short;
}

/** The rule with an id. Throws with the id that was probably meant. */
export async function ruleOf(set: RuleSet, id: string): Promise<Rule> {
  const rule = set.rules.find((each) => each.id === id);
  if (rule !== undefined) return rule;
  const { nearestName } = await import('../../../schemas/nearest.js');
  const ids = set.rules.map((each) => each.id);
  const near = nearestName(id, ids);
  throw new AuditdError(
    'argument_invalid',
    `There is no rule "${id}".${near === undefined ? ' mcp-auditd rules list shows them.' : ` Did you mean "${near}"?`}`,
  );
}

/** One rule as JSON, for scripts. */
export function ruleJson(rule: Rule): Record<string, unknown> {
  const { tests, place, file, options, ...rest } = rule;
  return { ...rest, options, file: shortPath(file), line: place.line, tests: tests.map(({ name }) => name) };
}
