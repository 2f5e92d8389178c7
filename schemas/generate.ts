import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { z } from 'zod';
import { maxTextBytes } from './check-value.js';
import { configurationDocumentation, configurationJsonSchema } from './configuration-keys.js';
import { producedEventSchema } from './contract.js';
import { errorCatalogue } from './errors.js';
import { type EventField, eventFields } from './event.js';
import { columnTypeOf } from './native.js';
import { throttleSignalSchema } from './throttle-topic.js';

/** Files that follow from the list of fields, by path from the package's root. A test fails when one differs. */
export function generatedFiles(): Map<string, string> {
  return new Map([
    ['schemas/event.schema.json', `${JSON.stringify(jsonSchema(), null, 2)}\n`],
    [
      'schemas/throttle.schema.json',
      `${JSON.stringify(z.toJSONSchema(throttleSignalSchema, { target: 'draft-2020-12' }), null, 2)}\n`,
    ],
    ['docs/events.md', eventsPage()],
    ['schemas/configuration.schema.json', `${JSON.stringify(configurationJsonSchema(), null, 2)}\n`],
    ['docs/configuration.md', configurationDocumentation()],
    ['docs/errors.md', errorsPage()],
  ]);
}

function jsonSchema(): unknown {
  return z.toJSONSchema(producedEventSchema, { io: 'input', target: 'draft-2020-12' });
}

const groupTitles: Record<EventField['group'], string> = {
  identity: 'Identity',
  time: 'Time',
  who: 'Who',
  what: 'What',
  outcome: 'Outcome',
  payload: 'Payload',
  tool: 'Tool',
  linkage: 'Linkage',
  position: 'Position',
};

function eventsPage(): string {
  const lines = [
    '# Events',
    '',
    'One event is one recorded request to an MCP server: a JSON object on one line for a producer, a row of `calls` for SQL.',
    'This page is generated from `schemas/event.ts` by `npm run generate`, as is `schemas/event.schema.json`.',
    '',
    '- A field that is left out, or null where it is not required, has the default of its kind: empty text, 0, false, null for what may be unknown.',
    '- A field that is not named here is kept in `attributes`: text as it is, anything else as its JSON text.',
    '- A field that the gateway or the stream sets is refused when a record claims another value for it.',
    '- `arguments` and `result` may be JSON text or any JSON value, which is then kept as its JSON text.',
    '- Lone surrogates are replaced by U+FFFD and noted in `attributes` under `mcp_auditd.replaced_surrogates`. NUL is kept.',
    '- Of two equal keys in one object the last one counts.',
    '',
  ];
  const fields = Object.entries(eventFields) as [string, EventField][];
  for (const [group, title] of Object.entries(groupTitles)) {
    lines.push(
      `## ${title}`,
      '',
      '| field | column | limit | OpenTelemetry | meaning | example |',
      '|---|---|---|---|---|---|',
    );
    for (const [name, field] of fields) {
      if (field.group !== group) continue;
      const limit = limitOf(field);
      const notes = [field.required ? 'Required. ' : '', field.setBy ? `Set by the ${field.setBy}. ` : ''].join('');
      lines.push(
        `| \`${name}\` | \`${columnTypeOf(field.kind)}\` | ${limit} | ${field.otel ? `\`${field.otel}\`` : ''} | ${notes}${cell(field.description)} | ${code(JSON.stringify(field.example))} |`,
      );
    }
    lines.push('');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

function errorsPage(): string {
  const lines = [
    '# Errors',
    '',
    'Every error has a stable code. A command prints `mcp-auditd: MESSAGE` and how to mend it; over HTTP it is `{"error": {"code", "message", "mend"}}`.',
    'This page is generated from `schemas/errors.ts` by `npm run generate`.',
    '',
    '| code | again? | mend |',
    '|---|---|---|',
  ];
  for (const [name, { retriable, mend }] of Object.entries(errorCatalogue).sort(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(`| \`${name}\` | ${retriable ? 'may pass' : 'no'} | ${cell(mend)} |`);
  }
  return `${lines.join('\n')}\n`;
}

function limitOf({ kind, maxBytes }: EventField): string {
  const bytes = maxBytes ?? (kind in maxTextBytes ? maxTextBytes[kind as keyof typeof maxTextBytes] : undefined);
  return bytes === undefined ? '' : `${bytes.toLocaleString('en')} bytes`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function code(text: string): string {
  return `\`${cell(text)}\``;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  for (const [path, text] of generatedFiles()) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    console.log(`wrote ${path}`);
  }
}
