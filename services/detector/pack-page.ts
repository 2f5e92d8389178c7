/** docs/rules-shipped.md, from the rules themselves. */
import { basename } from 'node:path';
import { formatDuration } from '../../schemas/duration.js';
import { loadRules } from './load.js';
import type { Rule } from './rule.js';

const signs = {
  gt: 'more than',
  gte: 'at least',
  lt: 'less than',
  lte: 'at most',
  eq: 'exactly',
  neq: 'other than',
} as const;

function firesAt({ type, threshold, window, groupNames, options }: Rule): string {
  const limit = threshold === undefined ? '' : ` ${signs[threshold.comparison]} ${threshold.value}`;
  const steps = type.startsWith('temporal') ? ` of ${String(options.steps)} steps` : '';
  const span = window === undefined ? '' : ` in ${formatDuration(window.sizeMicros)}`;
  const group = groupNames.length === 0 ? '' : `, for each ${groupNames.map((name) => `\`${name}\``).join(' and ')}`;
  return `\`${type}\`${limit}${steps}${span}${group}`;
}

function link(tag: string): string {
  const technique = /^attack\.(t\d{4})(?:\.(\d{3}))?$/.exec(tag);
  if (technique !== null) {
    const [, main = '', sub] = technique;
    const name = `${main.toUpperCase()}${sub === undefined ? '' : `.${sub}`}`;
    return `[ATT&CK ${name}](https://attack.mitre.org/techniques/${name.replace('.', '/')}/)`;
  }
  const atlas = /^atlas\.aml\.(.+)$/.exec(tag);
  if (atlas !== null) {
    const name = `AML.${(atlas[1] as string).toUpperCase()}`;
    return `[ATLAS ${name}](https://atlas.mitre.org/techniques/${name})`;
  }
  return `OWASP ${tag.replace('owasp.', '').toUpperCase()}`;
}

export function packPage(): string {
  const { set } = loadRules({ pack: true, paths: [] });
  const section = (rule: Rule): string[] => [
    `## ${rule.id}`,
    '',
    `**${rule.title}.** ${rule.description.trim()}`,
    '',
    `- level: ${rule.level}`,
    `- fires at: ${firesAt(rule)}`,
    `- written of in: ${rule.tags.map(link).join(', ')}`,
    `- defined in: \`rules/${basename(rule.file)}\`, with ${rule.tests.length} tests`,
    '',
    '```text',
    rule.runbook.trim(),
    '```',
    '',
  ];
  return `${[
    '# The shipped rules',
    '',
    '<!-- Made by `npm run generate` from rules/*.yaml: change it there. -->',
    '',
    'OWASP numbers are those of the Top 10 for LLM applications (LLM01 to LLM10, 2025) and of the Top 10 for MCP (MCP01 to MCP10, 2025). [rules.md](rules.md) tells how to adjust them.',
    '',
    '| rule | level | what |',
    '|---|---|---|',
    ...set.rules.map(({ id, level, title }) => `| [\`${id}\`](#${id}) | ${level} | ${title} |`),
    '',
    ...set.rules.flatMap(section),
  ]
    .join('\n')
    .trimEnd()}\n`;
}
