/**
 * Text that others wrote, made harmless. An event's fields are the attacker's: every text of a message passes through
 * `plain` first, then through the escape of its channel.
 */

/** Control, format and invisible characters, directional overrides, line separators, lone surrogates, private use. */
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu;

/** Longest text that is looked at: what is cut off later need not be cleaned. */
const lookedAt = 8;

/**
 * One line of at most `characters`, with everything that steers a reader's program written out as \\u{…}; runs of marks
 * that stack on one letter are cut.
 */
export function plain(text: string, characters: number): string {
  const shown = text
    .slice(0, characters * lookedAt)
    .replace(/[\t\n\v\f\r\u0085\u2028\u2029]+/gu, ' ')
    .replace(unsafe, (each) => `\\u{${each.codePointAt(0)!.toString(16)}}`)
    .replace(/(\p{M}{3})\p{M}+/gu, '$1');
  return cut(shown, characters);
}

/** At most so many UTF-16 units, never half a character. */
export function cut(text: string, characters: number): string {
  if (text.length <= characters) return text;
  const end = characters - 1;
  const splits = /[\ud800-\udbff]/.test(text[end - 1] ?? '');
  return `${text.slice(0, splits ? end - 1 : end)}…`;
}

/** As `plain` for each line of a text that an operator wrote. */
export function plainLines(text: string, characters: number): string {
  return cut(
    text
      .slice(0, characters * lookedAt)
      .split(/\r?\n/)
      .map((line) => plain(line, characters))
      .join('\n'),
    characters,
  );
}

const htmlEntities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (each) => htmlEntities[each]!);
}

/** Slack's three (https://docs.slack.dev/messaging/formatting-message-text#escaping): without `<` there is no mention or link. */
export function escapeSlack(text: string): string {
  return text.replace(/[&<>]/g, (each) => htmlEntities[each]!);
}

/** Slack text in which no character formats: inline code keeps stars, underscores and bare addresses as they are. */
export function slackCode(text: string): string {
  return text === '' ? '' : `\`${escapeSlack(text).replaceAll('`', 'ˋ')}\``;
}

/** An address that a message may link to. */
export function webAddress(text: string): string | undefined {
  if (!/^https?:\/\/[^\s<>|"'`\\]+$/i.test(text) || text.length > 2_000) return undefined;
  return URL.canParse(text) ? text : undefined;
}
