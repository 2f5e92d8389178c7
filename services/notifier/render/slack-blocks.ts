/**
 * Slack's Block Kit from a view. Limits are Slack's (https://docs.slack.dev/reference/block-kit/blocks): 50 blocks a
 * message, 150 characters a header, 3,000 a section's text, 10 fields of 2,000 in a section, 10 elements in a context.
 */

import { sparkline } from './picture.js';
import { cut, escapeSlack, slackCode } from './text.js';
import type { Fact, Table, Tone, View } from './view.js';

interface PlainText {
  readonly type: 'plain_text';
  readonly text: string;
  readonly emoji: boolean;
}
/** `verbatim`: Slack makes no links and mentions of what merely looks like one. */
interface Markdown {
  readonly type: 'mrkdwn';
  readonly text: string;
  readonly verbatim: true;
}
export type Block =
  | { readonly type: 'header'; readonly text: PlainText }
  | {
      readonly type: 'section';
      readonly text?: PlainText | Markdown;
      readonly fields?: readonly (PlainText | Markdown)[];
    }
  | { readonly type: 'context'; readonly elements: readonly (PlainText | Markdown)[] }
  | { readonly type: 'divider' };

export const slackLimits = { blocks: 50, header: 150, text: 3_000, field: 2_000, fields: 10, elements: 10 } as const;

const icons: Readonly<Record<Tone, string>> = {
  critical: '🔴',
  high: '🟠',
  medium: '🟡',
  low: '🔵',
  calm: '✅',
  taken: '👀',
};

const plainText = (text: string, most: number): PlainText => ({
  type: 'plain_text',
  text: cut(text, most),
  emoji: true,
});
/** Cut between entities, so that no half of one is left. */
const markdown = (text: string, most: number): Markdown => ({
  type: 'mrkdwn',
  text:
    text.length <= most
      ? text
      : `${text
          .slice(0, most - 1)
          .replace(/&[a-z]*$/, '')
          .replace(/<[^>]*$/, '')}…`,
  verbatim: true,
});

/** Slack shows the time in each reader's own zone; the fallback is UTC. */
export function slackTime(ms: number): string {
  const utc = `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
  return `<!date^${Math.floor(ms / 1_000)}^{date_short_pretty} {time_secs}|${utc}>`;
}

function factText(fact: Fact): string {
  const name = `*${escapeSlack(fact.name)}*`;
  if ('fromMs' in fact)
    return `${name}\n${slackTime(fact.fromMs)}${fact.toMs === undefined ? '' : ` – ${slackTime(fact.toMs)}`}`;
  if ('code' in fact) return `${name}\n${slackCode(fact.code)}${fact.note === undefined ? '' : ` (${fact.note})`}`;
  return `${name}\n${escapeSlack(fact.text)}`;
}

function tableText({ heading, columns, rows, empty }: Table): string {
  const title = `*${escapeSlack(heading)}*\n`;
  if (rows.length === 0) return `${title}${escapeSlack(empty)}`;
  const all = [columns, ...rows];
  const widths = columns.map((_, column) => Math.min(40, Math.max(...all.map((row) => (row[column] ?? '').length))));
  const lines = all.map((row) =>
    row
      .map((cell, column) => cut(cell, 40).padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  // Whole rows: a text that is cut at its limit would lose the fence at its end, and what follows would be markup.
  let shown = '';
  for (const line of lines) {
    const next = `${shown === '' ? '' : '\n'}${escapeSlack(line).replaceAll('`', 'ˋ')}`;
    if (title.length + shown.length + next.length + 6 > slackLimits.text) break;
    shown += next;
  }
  return `${title}\`\`\`${shown}\`\`\``;
}

/** The whole view as blocks. */
export function slackBlocks(view: View): Block[] {
  const blocks: Block[] = [
    { type: 'header', text: plainText(`${icons[view.tone]} ${view.state} · ${view.title}`, slackLimits.header) },
    // Plain text: nothing in a sentence that quotes an event can be markup.
    { type: 'section', text: plainText(view.sentence, slackLimits.text) },
  ];
  if (view.lines.length > 0) {
    const lines = view.lines.map(({ tone, text }) => `${icons[tone]} ${text}`);
    if (view.more > 0) lines.push(`and ${view.more} more`);
    blocks.push({ type: 'section', text: plainText(lines.join('\n'), slackLimits.text) });
  }
  if (view.facts.length > 0)
    blocks.push({
      type: 'section',
      fields: view.facts.slice(0, slackLimits.fields).map((fact) => markdown(factText(fact), slackLimits.field)),
    });
  if (view.picture !== undefined)
    blocks.push({
      type: 'section',
      text: markdown(`\`${sparkline(view.picture.counts)}\`\n${escapeSlack(view.picture.caption)}`, slackLimits.text),
    });
  if (view.details !== '')
    blocks.push({ type: 'section', text: markdown(escapeSlack(view.details), slackLimits.text) });
  for (const table of view.tables.slice(0, 20))
    blocks.push({ type: 'section', text: markdown(tableText(table), slackLimits.text) });
  if (view.runbook !== undefined) {
    const { text, url } = view.runbook;
    blocks.push(
      url === undefined
        ? { type: 'section', text: plainText(`Runbook: ${text}`, slackLimits.text) }
        : { type: 'section', text: markdown(`<${escapeSlack(url)}|Runbook>`, slackLimits.text) },
    );
  }
  if (view.sql !== '')
    blocks.push({
      type: 'section',
      text: markdown(`\`\`\`${escapeSlack(view.sql).replaceAll('`', 'ˋ')}\`\`\``, slackLimits.text),
    });
  if (view.links.length > 0)
    blocks.push({
      type: 'section',
      text: markdown(
        view.links.map(({ text, url }) => `<${escapeSlack(url)}|${escapeSlack(text)}>`).join('  '),
        slackLimits.text,
      ),
    });
  if (view.footer.length > 0)
    blocks.push({
      type: 'context',
      elements: view.footer.slice(0, slackLimits.elements).map((text) => plainText(text, slackLimits.text)),
    });
  return blocks.slice(0, slackLimits.blocks);
}

/** A reply in the thread: what changed, without what the first message shows. */
export function slackReply(view: View): Block[] {
  const lines = view.lines.map(({ tone, text }) => `${icons[tone]} ${text}`);
  if (view.more > 0) lines.push(`and ${view.more} more`);
  const text = [`${icons[view.tone]} ${view.state}: ${view.sentence}`, ...lines].join('\n');
  return [{ type: 'section', text: plainText(text, slackLimits.text) }];
}

/** The text of notifications and of programs that show no blocks. */
export function slackFallback(view: View): string {
  return escapeSlack(cut(`${view.state} · ${view.title}: ${view.sentence}`, 1_500));
}
