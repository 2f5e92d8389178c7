import type { Command } from 'commander';
import type { TestOutcome } from '../../detector/verify.js';
import { colors } from '../colors.js';
import { addSourceOptions } from './rules.js';
import { loadSound, ownRules, ruleOf, type SourceOptions, shortPath, sourcesOf } from './sources.js';

interface Options extends SourceOptions {
  readonly format: string;
  readonly rule?: string[];
}

/** `rules test`. */
export function addTest(rules: Command): void {
  addSourceOptions(rules.command('test'))
    .description('run the tests that stand inside rules, in the engine that runs live')
    .argument('[paths...]', 'files and directories (default: what the configuration has in force)')
    .option('--rule <id...>', 'only these rules')
    .option('--format <format>', 'text, tap or junit', 'text')
    .addHelpText(
      'after',
      `
With paths only the rules in them are tested; they may use lists and macros of
the shipped ones. The exit code is 1 when a test fails.

Examples:
  mcp-auditd rules test
  mcp-auditd rules test rules/ --format junit > report.xml`,
    )
    .action(run);
}

async function run(paths: string[], options: Options): Promise<void> {
  if (!['text', 'tap', 'junit'].includes(options.format)) {
    const { AuditdError } = await import('../../../schemas/errors.js');
    throw new AuditdError('argument_invalid', `--format ${options.format}: expected text, tap or junit.`);
  }
  const all = await loadSound(await sourcesOf(paths, options));
  const set = paths.length > 0 ? await ownRules(all) : all;
  const chosen = options.rule === undefined ? set.rules : await Promise.all(options.rule.map((id) => ruleOf(all, id)));
  const { verifyRule } = await import('../../detector/verify.js');
  const outcomes: Timed[] = [];
  for (const rule of chosen) {
    const start = performance.now();
    const found = verifyRule(rule, all);
    const seconds = (performance.now() - start) / 1000 / Math.max(1, found.length);
    for (const outcome of found) outcomes.push({ ...outcome, seconds });
  }
  const untested = chosen.filter((rule) => rule.tests.length === 0).map(({ id }) => id);
  if (options.format === 'tap') process.stdout.write(tap(outcomes));
  else if (options.format === 'junit') process.stdout.write(junit(outcomes));
  else await text(outcomes, untested);
  if (outcomes.some(({ failures }) => failures.length > 0)) process.exitCode = 1;
}

type Timed = TestOutcome & { readonly seconds: number };

async function text(outcomes: readonly Timed[], untested: readonly string[]): Promise<void> {
  const { shown } = await import('../terminal.js');
  for (const { rule, test, failures } of outcomes) {
    const mark = failures.length === 0 ? colors.green('ok  ') : colors.red('FAIL');
    process.stdout.write(`${mark} ${shown(rule.id)}: ${shown(test.name)}\n`);
    for (const { place, message } of failures)
      process.stdout.write(`     ${shortPath(rule.file)}:${place.line}: ${shown(message)}\n`);
  }
  const failed = outcomes.filter(({ failures }) => failures.length > 0).length;
  if (untested.length > 0) process.stdout.write(`without tests: ${untested.map((id) => shown(id)).join(', ')}\n`);
  process.stdout.write(`${outcomes.length - failed} passed, ${failed} failed\n`);
}

/** Test Anything Protocol, version 14. */
function tap(outcomes: readonly Timed[]): string {
  const lines = ['TAP version 14', `1..${outcomes.length}`];
  for (const [index, { rule, test, failures }] of outcomes.entries()) {
    const name = `${rule.id}: ${test.name}`.replaceAll(/[\r\n]+/g, ' ').replaceAll(/[\\#]/g, '\\$&');
    lines.push(`${failures.length === 0 ? 'ok' : 'not ok'} ${index + 1} - ${name}`);
    if (failures.length === 0) continue;
    lines.push(
      '  ---',
      `  file: ${JSON.stringify(shortPath(rule.file))}`,
      `  line: ${failures[0]?.place.line}`,
      '  messages:',
    );
    for (const { message } of failures) lines.push(`    - ${JSON.stringify(message)}`);
    lines.push('  ...');
  }
  return `${lines.join('\n')}\n`;
}

/** JUnit's XML, a suite for each rule, as CI systems read it. */
function junit(outcomes: readonly Timed[]): string {
  const suites = new Map<string, Timed[]>();
  for (const outcome of outcomes) suites.set(outcome.rule.id, [...(suites.get(outcome.rule.id) ?? []), outcome]);
  const failed = (some: readonly Timed[]): number => some.filter(({ failures }) => failures.length > 0).length;
  const time = (some: readonly Timed[]): string => some.reduce((sum, { seconds }) => sum + seconds, 0).toFixed(3);
  const counts = (some: readonly Timed[]): string =>
    `tests="${some.length}" failures="${failed(some)}" time="${time(some)}"`;
  const lines = ['<?xml version="1.0" encoding="UTF-8"?>', `<testsuites ${counts(outcomes)}>`];
  for (const [id, some] of suites) {
    lines.push(`  <testsuite name="${xml(id)}" ${counts(some)}>`);
    for (const { rule, test, failures, seconds } of some) {
      const place = `file="${xml(shortPath(rule.file))}" line="${test.place.line}"`;
      const open = `    <testcase classname="${xml(id)}" name="${xml(test.name)}" ${place} time="${seconds.toFixed(3)}"`;
      if (failures.length === 0) {
        lines.push(`${open}/>`);
        continue;
      }
      const first = failures[0]?.message ?? '';
      const all = failures.map(({ place: { line }, message }) => `line ${line}: ${message}`).join('\n');
      lines.push(`${open}>`, `      <failure message="${xml(first)}">${xml(all)}</failure>`, '    </testcase>');
    }
    lines.push('  </testsuite>');
  }
  lines.push('</testsuites>');
  return `${lines.join('\n')}\n`;
}

/** Text for XML 1.0, which has no place for control characters. */
function xml(value: string): string {
  return value
    .replaceAll(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
