/** From lines to statements: each ends at a `;` that stands outside of texts, quoted names and comments. */

/** What the last statement is still in the middle of. */
export type Open = 'statement' | "'" | '"' | '`' | '/*' | '$' | undefined;

/** Where something begins that may hold a `;`. Words go as one, as a `$` in them begins nothing. */
const beginning = /['"`‘“;]|--|#[ !]|\/\*|\$\w*\$|[A-Za-z_0-9][\w$]*|\S/g;
const closers: Readonly<Record<string, RegExp>> = {
  "'": /\\[\s\S]|'/g,
  '"': /\\[\s\S]|"/g,
  '`': /\\[\s\S]|`/g,
  '‘': /’/g,
  '“': /”/g,
  '/*': /\*\//g,
  '--': /\n/g,
  '# ': /\n/g,
  '#!': /\n/g,
};

export class Statements {
  private pending = '';
  private at = 0;
  /** The token that the text is inside of, and what ends it. */
  private inside: { readonly token: string; readonly end: RegExp } | undefined;
  private meaningful = false;

  /** The statements that this text completes, without their `;`. */
  add(text: string): string[] {
    this.pending += this.pending === '' ? text : `\n${text}`;
    const done: string[] = [];
    for (;;) {
      if (this.inside !== undefined) {
        const { end } = this.inside;
        end.lastIndex = this.at;
        const match = end.exec(this.pending);
        if (match === null) break;
        this.at = end.lastIndex;
        if (!match[0].startsWith('\\')) this.inside = undefined;
        continue;
      }
      beginning.lastIndex = this.at;
      const match = beginning.exec(this.pending);
      if (match === null) break;
      this.at = beginning.lastIndex;
      const token = match[0];
      if (token === ';') {
        if (this.meaningful) done.push(this.pending.slice(0, this.at - 1).trim());
        this.pending = this.pending.slice(this.at);
        this.at = 0;
        this.meaningful = false;
        continue;
      }
      const end = token.startsWith('$') && token.length > 1 ? heredocEnd(token) : closers[token];
      if (end !== undefined) this.inside = { token, end };
      if (!['--', '# ', '#!', '/*'].includes(token)) this.meaningful = true;
    }
    // What is open goes on where the next text begins; a token that a line's end cut was none.
    this.at = this.pending.length;
    if (this.pending.trim() === '') this.clear();
    return done;
  }

  /** The text that no `;` has ended. */
  get rest(): string {
    return this.pending;
  }

  /** What begins the text, quoted name or comment that is open. */
  get token(): string | undefined {
    return this.inside?.token;
  }

  get open(): Open {
    const { token } = this;
    if (token === undefined || ['--', '# ', '#!'].includes(token)) return this.meaningful ? 'statement' : undefined;
    if (token === '‘') return "'";
    if (token === '“') return '"';
    return token.startsWith('$') ? '$' : (token as Open);
  }

  clear(): void {
    this.pending = '';
    this.at = 0;
    this.inside = undefined;
    this.meaningful = false;
  }
}

function heredocEnd(token: string): RegExp {
  return new RegExp(token.replaceAll('$', '\\$'), 'g');
}

/** A statement without the FORMAT that it ends with, and that. */
export function withoutFormat(sql: string): { sql: string; format?: string } {
  const match = /^([\s\S]*\S)\s+FORMAT\s+([A-Za-z0-9]{1,64})$/i.exec(sql);
  return match === null ? { sql } : { sql: match[1]!, format: match[2]! };
}
