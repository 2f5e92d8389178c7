/** A mail from a view: HTML of tables and inline styles, which every mail program shows, and the same as plain text. */
import { heights, sparkline } from './picture.js';
import { escapeHtml } from './text.js';
import type { Fact, Tone, View } from './view.js';

const colours: Readonly<Record<Tone, string>> = {
  critical: '#b42318',
  high: '#c4500a',
  medium: '#946200',
  low: '#175cd3',
  calm: '#067647',
  taken: '#5925dc',
};

/** `24 Nov 2026, 10:00:00 CET (09:00:00 UTC)` */
export function mailTime(ms: number, zone: string): string {
  const local = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  }).format(ms);
  return zone === 'UTC' ? local : `${local} (${new Date(ms).toISOString().slice(11, 19)} UTC)`;
}

function factText(fact: Fact, zone: string): string {
  if ('fromMs' in fact)
    return `${mailTime(fact.fromMs, zone)}${fact.toMs === undefined ? '' : ` – ${mailTime(fact.toMs, zone)}`}`;
  if ('code' in fact) return `${fact.code}${fact.note === undefined ? '' : ` (${fact.note})`}`;
  return fact.text;
}

const cell = 'padding:4px 12px 4px 0;vertical-align:top;font-size:14px;line-height:20px';

function factRow(fact: Fact, zone: string): string {
  const value = escapeHtml(factText(fact, zone));
  const shown = 'code' in fact ? `<code style="font-family:Consolas,Menlo,monospace">${value}</code>` : value;
  return `<tr><td style="${cell};color:#667085;white-space:nowrap">${escapeHtml(fact.name)}</td><td style="${cell};word-break:break-word">${shown}</td></tr>`;
}

/** Bars as cells with a height: a picture that needs no image, which many programs would not load. */
function bars(view: NonNullable<View['picture']>, colour: string): string {
  const cells = heights(view.counts)
    .map(
      (height) =>
        `<td valign="bottom" style="padding:0 1px 0 0;height:48px;vertical-align:bottom"><div style="width:8px;height:${Math.max(1, Math.round(height * 0.48))}px;background:${height === 0 ? '#d0d5dd' : colour};font-size:0;line-height:0">&nbsp;</div></td>`,
    )
    .join('');
  return `<table role="img" aria-label="${escapeHtml(view.caption)}" cellpadding="0" cellspacing="0" style="border-collapse:collapse;margin:12px 0 4px"><tr>${cells}</tr></table><div style="font-size:12px;color:#667085">${escapeHtml(view.caption)}</div>`;
}

function html(view: View, zone: string): string {
  const colour = colours[view.tone];
  const parts: string[] = [];
  const paragraph = (text: string, style = ''): void => {
    parts.push(
      `<p style="margin:0 0 12px;font-size:15px;line-height:22px;${style}">${escapeHtml(text).replaceAll('\n', '<br>')}</p>`,
    );
  };
  paragraph(view.sentence, 'font-size:16px;');
  if (view.lines.length > 0) {
    const items = view.lines.map(
      ({ tone, text }) =>
        `<li style="margin:0 0 6px"><span style="color:${colours[tone]}">&#9679;</span> ${escapeHtml(text)}</li>`,
    );
    if (view.more > 0) items.push(`<li style="margin:0 0 6px">and ${view.more} more</li>`);
    parts.push(
      `<ul style="margin:0 0 12px;padding:0;list-style:none;font-size:14px;line-height:20px">${items.join('')}</ul>`,
    );
  }
  if (view.facts.length > 0)
    parts.push(
      `<table role="presentation" cellpadding="0" cellspacing="0" style="border-collapse:collapse;margin:0 0 8px">${view.facts.map((fact) => factRow(fact, zone)).join('')}</table>`,
    );
  if (view.picture !== undefined) parts.push(bars(view.picture, colour));
  if (view.details !== '') paragraph(view.details, 'margin-top:12px;');
  for (const table of view.tables) parts.push(tableHtml(table));
  if (view.runbook !== undefined) {
    const { text, url } = view.runbook;
    if (url !== undefined) parts.push(`<p style="margin:12px 0">${link(url, text)}</p>`);
    else paragraph(`Runbook: ${text}`, 'margin-top:12px;');
  }
  if (view.sql !== '')
    parts.push(
      `<pre style="margin:12px 0;padding:10px;background:#f2f4f7;border-radius:6px;font:12px/18px Consolas,Menlo,monospace;white-space:pre-wrap;word-break:break-word">${escapeHtml(view.sql)}</pre>`,
    );
  if (view.links.length > 0)
    parts.push(`<p style="margin:12px 0">${view.links.map(({ text, url }) => link(url, text)).join(' &nbsp; ')}</p>`);
  const footer = view.footer.map(escapeHtml).join('<br>');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><title>${escapeHtml(view.title)}</title></head>
<body style="margin:0;padding:0;background:#f2f4f7;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color:#101828">
<div style="display:none;max-height:0;overflow:hidden">${escapeHtml(`${view.state}: ${view.sentence}`)}</div>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center" style="padding:16px 8px">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:600px;background:#ffffff;border-radius:8px;border-top:4px solid ${colour}">
<tr><td style="padding:20px 20px 8px"><div style="font-size:13px;font-weight:600;color:${colour};letter-spacing:.02em">${escapeHtml(view.state.toUpperCase())}</div>
<h1 style="margin:4px 0 12px;font-size:20px;line-height:28px;font-weight:600;word-break:break-word">${escapeHtml(view.title)}</h1>
${parts.join('\n')}</td></tr>
<tr><td style="padding:12px 20px 20px;border-top:1px solid #eaecf0;font:12px/18px Consolas,Menlo,monospace;color:#667085;word-break:break-word">${footer}</td></tr>
</table></td></tr></table></body></html>
`;
}

function link(url: string, text: string): string {
  return `<a href="${escapeHtml(url)}" style="color:#175cd3;font-size:15px">${escapeHtml(text)}</a>`;
}

function tableHtml({ heading, columns, rows, empty }: View['tables'][number]): string {
  const title = `<h2 style="margin:18px 0 6px;font-size:15px;font-weight:600">${escapeHtml(heading)}</h2>`;
  if (rows.length === 0) return `${title}<p style="margin:0;font-size:14px;color:#667085">${escapeHtml(empty)}</p>`;
  const head = columns
    .map(
      (name) =>
        `<th align="left" style="${cell};font-size:12px;color:#667085;font-weight:600">${escapeHtml(name)}</th>`,
    )
    .join('');
  const body = rows
    .map(
      (row) =>
        `<tr>${row.map((text) => `<td style="${cell};border-top:1px solid #eaecf0;word-break:break-word">${escapeHtml(text)}</td>`).join('')}</tr>`,
    )
    .join('');
  return `${title}<table cellpadding="0" cellspacing="0" width="100%" style="border-collapse:collapse"><tr>${head}</tr>${body}</table>`;
}

function text(view: View, zone: string): string {
  const lines: string[] = [`${view.state.toUpperCase()}: ${view.title}`, '', view.sentence, ''];
  for (const line of view.lines) lines.push(`- ${line.text}`);
  if (view.more > 0) lines.push(`- and ${view.more} more`);
  if (view.lines.length > 0) lines.push('');
  const width = Math.max(0, ...view.facts.map(({ name }) => name.length));
  for (const fact of view.facts) lines.push(`${`${fact.name}:`.padEnd(width + 2)}${factText(fact, zone)}`);
  if (view.picture !== undefined) lines.push('', sparkline(view.picture.counts), view.picture.caption);
  if (view.details !== '') lines.push('', view.details);
  for (const { heading, columns, rows, empty } of view.tables) {
    lines.push('', heading, '-'.repeat(heading.length));
    if (rows.length === 0) lines.push(empty);
    else lines.push(...rows.map((row) => row.map((cell, at) => `${columns[at]}: ${cell}`).join(', ')));
  }
  if (view.runbook !== undefined)
    lines.push('', view.runbook.url === undefined ? `Runbook: ${view.runbook.text}` : `Runbook: ${view.runbook.url}`);
  if (view.sql !== '') lines.push('', view.sql);
  for (const { text: name, url } of view.links) lines.push('', `${name}: ${url}`);
  lines.push('', '-- ', ...view.footer);
  return `${lines.join('\n')}\n`;
}

export interface MailBody {
  readonly subject: string;
  readonly html: string;
  readonly text: string;
}

/** `zone`: of the times in it, since a mail program converts none. */
export function mailBody(view: View, zone: string): MailBody {
  return { subject: view.title, html: html(view, zone), text: text(view, zone) };
}
