import { AuditdError } from '../../../schemas/errors.js';
import { load, ownRules, problemLine, ruleJson, type SourceOptions, sourcesOf } from './sources.js';

/** `rules check`. */
export async function check(paths: readonly string[], options: SourceOptions & { json?: boolean }): Promise<void> {
  const sources = await sourcesOf(paths, options);
  const { set, problems, warnings: found } = await load(sources);
  const { expiredExceptions } = await import('../../detector/exceptions.js');
  const warnings = [...found, ...set.rules.flatMap((rule) => expiredExceptions(rule, Date.now() * 1000))];
  if (options.json === true) {
    const told = { rules: set.rules.map(ruleJson), problems, warnings };
    process.stdout.write(`${JSON.stringify(told, null, 2)}\n`);
    if (problems.length > 0) process.exitCode = 1;
    return;
  }
  const { shown } = await import('../terminal.js');
  for (const warning of warnings) process.stderr.write(`${shown(problemLine(warning))} (warning)\n`);
  if (problems.length > 0) throw new AuditdError('rules_invalid', problems.map(problemLine).join('\n'));
  // Paths that are given are asked about; what ships is there because they may tune it.
  const count = (paths.length > 0 ? await ownRules(set) : set).rules.length;
  process.stdout.write(`${sources.named}: ${count} ${count === 1 ? 'rule' : 'rules'}, correct\n`);
}
