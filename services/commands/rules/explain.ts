import { existsSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { formatDuration } from '../../../schemas/duration.js';
import { AuditdError } from '../../../schemas/errors.js';
import { formatTimeMicros } from '../../../schemas/time.js';
import type { EngineRecord } from '../../detector/event-reader.js';
import type { ExplainedPart, Explanation } from '../../detector/explain.js';
import type { Rule, RuleSet } from '../../detector/rule.js';
import { colors } from '../colors.js';
import { loadConfiguration } from '../context.js';
import { addSourceOptions } from './rules.js';
import { testText } from './show.js';
import { loadSound, ruleOf, type SourceOptions, sourcesOf } from './sources.js';

interface Options extends SourceOptions {
  readonly rules?: string[];
  readonly json?: boolean;
}

/** `rules explain`. */
export function addExplain(rules: Command): void {
  addSourceOptions(rules.command('explain'))
    .description('show why a rule holds for an event, or does not, and what was in its window')
    .argument('<rule>', 'id of the rule')
    .argument(
      '<event>',
      'id of a stored event; or a file of JSON lines, or - for standard input, whose last line it is',
    )
    .option('--rules <paths...>', 'files and directories of rules (default: what the configuration has in force)')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
For a stored event the events of its group are fetched from the store, as far back
as the rule's window reaches. In a file the lines before the last one are what
happened before.

Examples:
  mcp-auditd rules explain volume-actor 019ab3f0-8c1b-7001-9f3e-5d2c8a417be6
  mcp-auditd rules explain sql-injection-arguments call.json
  mcp-auditd rules explain my-rule - --rules my-rules/ < calls.jsonl`,
    )
    .action(run);
}

async function run(id: string, event: string, options: Options): Promise<void> {
  const set = await loadSound(await sourcesOf(options.rules ?? [], options));
  const rule = await ruleOf(set, id);
  const isId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(event) && !existsSync(event);
  const records = isId ? await stored(set, rule, event.toLowerCase(), options) : await written(event);
  const { explain } = await import('../../detector/explain.js');
  const explanation = explain(set, rule, records);
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(explanationJson(explanation), null, 2)}\n`);
    return;
  }
  await print(explanation);
}

async function written(file: string): Promise<EngineRecord[]> {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new AuditdError(
      'argument_invalid',
      `${file}: cannot be read, and is no event id: ${(error as Error).message}`,
    );
  }
  const { UnrecordedEvents } = await import('../../detector/replay.js');
  // One event may be written over several lines.
  const whole = parsed(text) !== undefined ? [text] : text.split('\n').filter((line) => line.trim() !== '');
  if (whole.length === 0) throw new AuditdError('argument_invalid', `${file}: holds no event.`);
  const unrecorded = new UnrecordedEvents();
  return whole.map((line, index) => {
    if (parsed(line) === undefined) throw new AuditdError('argument_invalid', `${file}:${index + 1}: no JSON object.`);
    return unrecorded.next(Buffer.from(line));
  });
}

function parsed(text: string): object | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Events that are fetched to show a window: more than anybody reads, and enough for any threshold of the pack. */
const mostFetched = 20_000;

interface Found {
  readonly tenant: string;
  /** Microseconds since the epoch, as text. */
  readonly occurred: string;
  readonly recorded: string;
}

/** The event and those of its group before it, as far back as the rule looks. */
async function stored(set: RuleSet, rule: Rule, id: string, options: SourceOptions): Promise<EngineRecord[]> {
  const loaded = await loadConfiguration(options);
  const [{ ask, askObjects }, { readHistory }, { sqlOf, sqlString }, { Engine }] = await Promise.all([
    import('../ask.js'),
    import('../../detector/history.js'),
    import('../../detector/fields.js'),
    import('../../detector/engine.js'),
  ]);
  const [event] = await askObjects<Found>(loaded, {
    sql: `SELECT tenant, toString(toUnixTimestamp64Micro(occurred_at)) AS occurred, toString(toUnixTimestamp64Micro(toDateTime64(recorded_at, 6))) AS recorded
      FROM calls WHERE event_id = {id:UUID} LIMIT 1`,
    parameters: { id },
  });
  if (event === undefined) throw new AuditdError('argument_invalid', `There is no stored event ${id}.`);
  const recorded = Number(event.recorded);
  const windowMicros = rule.window?.sizeMicros ?? 0;
  const lateness = Number.isFinite(rule.latenessMicros) ? rule.latenessMicros : 0;
  const fromMicros =
    windowMicros === 0 ? recorded : Math.min(recorded, Number(event.occurred)) - windowMicros - lateness;
  const fields = (rule.roles[0]?.groupBy ?? []).map((field) => sqlOf(field)).filter((each) => each !== undefined);
  const own = `event_id = ${sqlString(id)}`;
  const group = fields.map((sql) => `${sql} = (SELECT ${sql} FROM calls WHERE ${own} LIMIT 1)`);
  const same = [`tenant = ${sqlString(event.tenant)}`, ...group].join(' AND ');
  const where = windowMicros === 0 ? own : `(${same}) OR ${own}`;
  const { columns } = new Engine({ ...set, rules: [{ ...rule, enabled: true }] }, () => undefined);
  const before: EngineRecord[] = [];
  let found: EngineRecord | undefined;
  const range = { fromMicros, untilMicros: recorded + 1_000, where };
  for await (const records of readHistory((sql, format) => ask(loaded, { sql, format }), range, columns)) {
    for (const record of records) {
      if (record.value.includes(id)) found = record;
      else before.push(record);
    }
    before.splice(0, before.length - mostFetched);
  }
  if (found === undefined) throw new AuditdError('argument_invalid', `There is no stored event ${id}.`);
  const { recordedAtMicros, partition, offset } = found;
  const isBefore = (each: EngineRecord): boolean =>
    each.recordedAtMicros < recordedAtMicros || each.partition !== partition || each.offset < offset;
  return [...before.filter(isBefore), found];
}

function explanationJson({ rule, roles, window, timeMicros, eventId, group, alerts, open }: Explanation): unknown {
  return {
    rule_id: rule.id,
    rule_version: rule.version,
    event_id: eventId,
    occurred_at: formatTimeMicros(timeMicros),
    group: group ?? null,
    selections: roles.map(({ name, part }) => ({ name, holds: part.holds, part: partJson(part) })),
    window: window.map((each) => ({
      event_id: each.eventId,
      occurred_at: formatTimeMicros(each.timeMicros),
      selections: each.roles,
      value: each.value,
    })),
    alerts,
    open_alert: open?.alert_id ?? null,
  };
}

function partJson({ expression, holds, found, parts }: ExplainedPart): unknown {
  return {
    test: testText(expression),
    holds,
    ...(found !== undefined && { found }),
    ...(parts.length > 0 && { parts: parts.map(partJson) }),
  };
}

/** Lines of a window and values of a list that are shown. */
const mostLines = 20;

async function print({ rule, roles, window, timeMicros, eventId, group, alerts, open }: Explanation): Promise<void> {
  const { cut, renderTable, shown } = await import('../terminal.js');
  const out: string[] = [
    `${colors.bold(shown(rule.id))} over event ${shown(eventId) || '(without an id)'} at ${formatTimeMicros(timeMicros)}`,
  ];
  const mark = (holds: boolean): string => (holds ? colors.green('✓') : colors.red('✗'));
  const lines = (part: ExplainedPart, depth: number): void => {
    const found = part.found === undefined ? '' : typeof part.found === 'string' ? part.found : part.found.join(', ');
    const value = part.found === undefined || found === '' ? '' : colors.dim(`  (is ${cut(shown(found), 60)})`);
    out.push(`${'  '.repeat(depth)}${mark(part.holds)} ${shown(testText(part.expression))}${value}`);
    const { op } = part.expression;
    if (op !== 'and' && op !== 'or') return;
    // Of a long list of alternatives only those that hold are of interest.
    const chosen =
      part.parts.length > mostLines ? part.parts.filter(({ holds }) => holds === (op === 'or')) : part.parts;
    for (const each of chosen.slice(0, mostLines)) lines(each, depth + 1);
    if (chosen.length < part.parts.length)
      out.push(`${'  '.repeat(depth + 1)}… and ${part.parts.length - chosen.length} more`);
  };
  for (const { name, part } of roles) {
    out.push('', `${colors.bold(shown(name))} ${part.holds ? 'holds' : 'does not hold'}`);
    lines(part, 1);
  }
  if (group !== undefined && Object.keys(group).length > 0)
    out.push(
      '',
      `group  ${shown(
        Object.entries(group)
          .map(([name, value]) => `${name}=${value}`)
          .join(' '),
      )}`,
    );
  if (rule.window !== undefined && window.length > 0) {
    out.push(
      '',
      `${window.length} matching ${window.length === 1 ? 'event' : 'events'} of the group in the ${formatDuration(rule.window.sizeMicros)} up to this one`,
    );
    const rows = window
      .slice(-mostLines)
      .map((each) => [formatTimeMicros(each.timeMicros), each.eventId, each.roles.join(', '), String(each.value)]);
    out.push(renderTable(['occurred_at', 'event_id', 'selections', 'value'], rows));
    if (window.length > mostLines) out.push(`the last ${mostLines} are shown; --json gives all`);
  }
  out.push('');
  if (alerts.length === 0 && open === undefined) out.push('no alert came of this event');
  if (alerts.length === 0 && open !== undefined)
    out.push(`part of alert ${open.alert_id}, open since ${open.started_at}`);
  for (const alert of alerts)
    out.push(`${colors.bold(alert.state)}  ${shown(alert.reason)}  (alert ${alert.alert_id})`);
  process.stdout.write(`${out.join('\n')}\n`);
}
