/** The rule language for editors (JSON Schema) and for readers (docs/rules-reference.md), from what the loader checks. */
import { z } from 'zod';
import { eventFields } from '../../schemas/event.js';
import { calendarShape, ruleFileShape, ruleShape } from '../../schemas/rule.js';
import { shapeOf } from './draft.js';
import { derivedFields, fieldAliases } from './fields.js';
import { modifierMeanings } from './modifiers.js';
import type { RuleType } from './rule.js';
import { ruleTypes } from './types.js';

interface Node {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
  readonly $ref?: string;
}

/** JSON Schema, draft 2020-12, of a rule file. What a rule may hold follows from its type. */
export function ruleJsonSchema(): Record<string, unknown> {
  const types = [...ruleTypes.values()];
  const all = z.strictObject({
    file: ruleFileShape,
    ...Object.fromEntries(types.map((type) => [type.name, shapeOf(type)])),
  });
  const { $schema, $defs, properties } = z.toJSONSchema(all, { io: 'input', reused: 'ref' }) as unknown as {
    $schema: string;
    $defs: Record<string, unknown>;
    properties: Record<string, { properties: Record<string, unknown> }>;
  };
  const choose = types.map(({ name, summary }) => {
    const named = { properties: { type: { const: name } }, ...(name !== 'match' && { required: ['type'] }) };
    // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema.
    return { if: named, then: { $ref: `#/$defs/${name}` }, $comment: summary };
  });
  const rule = {
    type: 'object',
    properties: {
      type: {
        enum: types.map(({ name }) => name),
        description: `Default match. ${types.map(({ name, summary }) => `${name}: ${summary}`).join(' ')}`,
      },
    },
    required: ['id'],
    allOf: choose,
  };
  const file = properties.file as { properties: Record<string, unknown> };
  return {
    $schema,
    title: 'Rules of mcp-auditd',
    ...file,
    properties: { ...file.properties, rules: { type: 'array', items: { $ref: '#/$defs/rule' } } },
    $defs: { ...$defs, ...Object.fromEntries(types.map(({ name }) => [name, properties[name]])), rule },
  };
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** The rows of a table of keys. */
function keyRows(shape: z.ZodType, left: readonly string[] = []): string[] {
  const node = z.toJSONSchema(shape, { io: 'input', unrepresentable: 'any' }) as Node;
  const rows: string[] = [];
  for (const [name, child] of Object.entries(node.properties ?? {})) {
    if (left.includes(name)) continue;
    const choices =
      child.enum === undefined ? '' : ` One of ${child.enum.map((each) => `\`${String(each)}\``).join(', ')}.`;
    const needed = node.required?.includes(name) === true ? 'Required. ' : '';
    rows.push(`| \`${name}\` | ${cell(`${needed}${child.description ?? ''}${choices}`)} |`);
    const inner = child.properties ?? child.items?.properties ?? {};
    for (const [key, { description = '', enum: values }] of Object.entries(inner)) {
      const of = values === undefined ? '' : ` One of ${values.map((each) => `\`${String(each)}\``).join(', ')}.`;
      rows.push(`| \`${name}${child.items === undefined ? '' : '[]'}.${key}\` | ${cell(`${description}${of}`)} |`);
    }
  }
  return rows;
}

/** docs/rules-reference.md. */
export function rulesReference(): string {
  const table = (title: string): string[] => [`| ${title} | meaning |`, '|---|---|'];
  const typeSection = ({ name, summary, windows, shape }: RuleType): string[] => {
    const own = keyRows(z.strictObject(shape));
    return [
      `### ${name}`,
      '',
      summary,
      ...(windows.length > 0 ? ['', `Windows: ${windows.join(', ')}.`] : []),
      ...(own.length > 0 ? ['', ...table('key'), ...own] : []),
      '',
    ];
  };
  return `${[
    '# Rules: reference',
    '',
    '<!-- Made by `npm run generate` from what the loader checks: change it there. -->',
    '',
    'Every key of a rule file, every rule type, field and modifier. [rules.md](rules.md) tells how to write a rule. Unknown keys are errors.',
    '',
    '## A file',
    '',
    ...table('key'),
    ...keyRows(ruleFileShape),
    '',
    'A calendar:',
    '',
    ...table('key'),
    ...keyRows(calendarShape),
    '',
    '## Every rule',
    '',
    ...table('key'),
    '| `type` | What is looked for; see below. Default `match`. |',
    ...keyRows(z.strictObject(ruleShape)),
    '',
    '## Rule types',
    '',
    ...[...ruleTypes.values()].flatMap(typeSection),
    '## Fields',
    '',
    `The fields of [events.md](events.md), and paths into \`arguments\` and \`result\` (\`arguments.user.name\`; of a list of plain values each is looked at) and keys of \`attributes\` (\`attributes.deployment.environment\`).`,
    '',
    ...table('short name'),
    ...Object.entries(fieldAliases).map(
      ([name, field]) => `| \`${name}\` | \`${field}\`: ${cell(eventFields[field].description)} |`,
    ),
    ...Object.entries(derivedFields).map(([name, { description }]) => `| \`${name}\` | ${description} |`),
    '',
    '## Modifiers',
    '',
    'Written after the field: `tool|startswith: delete_`. Text is compared without case; `*` stands for any characters and `?` for one, and a backslash takes them literally.',
    '',
    ...table('modifier'),
    ...Object.entries(modifierMeanings).map(([name, meaning]) => `| \`${name}\` | ${cell(meaning)} |`),
    '',
  ]
    .join('\n')
    .trimEnd()}\n`;
}
