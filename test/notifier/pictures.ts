/**
 * `npm run pictures` makes docs/alert-mail.png and docs/alert-slack.png from the real templates, with Chromium
 * (/usr/bin/chromium, or CHROMIUM). Slack draws its blocks itself; here they are drawn as plainly as HTML can.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { mailBody } from '../../services/notifier/render/mail.js';
import { type Block, slackBlocks } from '../../services/notifier/render/slack-blocks.js';
import { escapeHtml } from '../../services/notifier/render/text.js';
import { startMs } from './alerts.js';
import { message } from './messages.js';

const docs = resolve(import.meta.dirname, '../../docs');
const { news } = await message(
  [
    {
      title: 'Many calls of one actor',
      group: { actor_id: 'agent-7@example.com', tool_name: 'read_file' },
      reason: '301 calls of agent-7@example.com in 5 minutes, more than 300',
      runbook: 'https://runbooks.example.com/volume',
      evidence: ['019ab3f0-8c1b-7001-9f3e-5d2c8a417be6'],
      evidence_sql: "SELECT * FROM calls\nWHERE actor_id = 'agent-7@example.com'\nORDER BY occurred_at DESC LIMIT 100",
    },
  ],
  {},
  {
    context: {
      series: {
        counts: [4, 6, 3, 5, 7, 4, 5, 6, 4, 8, 5, 6, 12, 31, 58, 73, 66, 81, 77, 90],
        spanMs: 60_000,
        endMs: startMs,
      },
      actorVerified: true,
      servers: ['filesystem'],
    },
    publicUrl: 'https://audit.example.com/',
  },
);
draw('alert-mail.png', mailBody(news, 'Europe/Amsterdam').html, '640,660');
draw('alert-slack.png', slackPage(slackBlocks(news)), '640,490');

function draw(name: string, html: string, size: string): void {
  const directory = mkdtempSync(join(tmpdir(), 'mcp-auditd-pictures-'));
  try {
    const page = join(directory, 'page.html');
    writeFileSync(page, html);
    const quiet = ['--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
    execFileSync(
      process.env.CHROMIUM ?? '/usr/bin/chromium',
      [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        ...quiet,
        `--user-data-dir=${directory}/profile`,
        '--hide-scrollbars',
        `--window-size=${size}`,
        `--screenshot=${join(docs, name)}`,
        `file://${page}`,
      ],
      { stdio: 'ignore' },
    );
    console.log(`wrote docs/${name}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function slackPage(blocks: readonly Block[]): string {
  const parts = blocks.map((block) => {
    if (block.type === 'header')
      return `<h3>${escapeHtml(block.text.text).replace('🟠', '<span style="color:#e8912d">●</span>')}</h3>`;
    if (block.type === 'context')
      return `<small>${block.elements.map(({ text }) => escapeHtml(text)).join(' · ')}</small>`;
    if (block.type !== 'section') return '<hr>';
    const fields = (block.fields ?? []).map((field) => `<div>${drawn(field)}</div>`).join('');
    return `${block.text === undefined ? '' : `<p>${drawn(block.text)}</p>`}${fields === '' ? '' : `<div class=fields>${fields}</div>`}`;
  });
  return `<!doctype html><meta charset=utf-8><style>body{margin:16px;font:15px/22px Lato,Arial,sans-serif;color:#1d1c1d}h3{margin:4px 0;font-size:18px}p{margin:6px 0}.fields{display:grid;grid-template-columns:1fr 1fr;gap:8px}code{background:#f4f4f4;border:1px solid #ddd;border-radius:3px;padding:1px 3px;color:#c01343}pre{background:#f8f8f8;border:1px solid #ddd;border-radius:4px;padding:8px;margin:6px 0;white-space:pre-wrap}a{color:#1264a3}small{color:#616061}</style>${parts.join('')}`;
}

function drawn({ type, text }: { readonly type: string; readonly text: string }): string {
  if (type === 'plain_text') return escapeHtml(text).replaceAll('\n', '<br>');
  return text
    .replace(/```([\s\S]*?)```/g, '<pre>$1</pre>')
    .replace(/`([^`]+)`/g, '<code>$1</code>')
    .replace(/\*([^*\n]+)\*/g, '<b>$1</b>')
    .replace(/<!date\^\d+\^[^|]*\|([^>]*)>/g, '$1')
    .replace(/<(https?:[^|>]*)\|([^>]*)>/g, '<a href="$1">$2</a>')
    .replaceAll('\n', '<br>');
}
