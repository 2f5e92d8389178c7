/**
 * Literals of which at least one is in every text that a pattern matches: the cheap question before the dear one.
 *
 * A conservative reader of RE2's syntax. What it does not know for sure ends a literal, or leaves the pattern without.
 * Literals are in lower case, to be looked for in text in lower case; with the flag `i` characters that fold to others
 * than their lower case are left out.
 */

/** Shorter ones are in nearly every text. */
const shortest = 3;
/** Alternatives of one pattern; with more of them nothing is gained. */
const mostAlternatives = 32;

/** The literals, or undefined when nothing is known. */
export function requiredLiterals(pattern: string, flags: string): readonly string[] | undefined {
  try {
    const reader = new Reader(pattern, flags.includes('i') || /\(\?[a-zA-Z]*i/.test(pattern));
    const found = reader.alternatives();
    return reader.atEnd && found !== undefined && found.length <= mostAlternatives ? found : undefined;
  } catch (error) {
    if (error instanceof Unknown) return undefined;
    throw error;
  }
}

class Unknown extends Error {}

class Reader {
  private at = 0;

  constructor(
    private readonly pattern: string,
    private readonly folded: boolean,
  ) {}

  get atEnd(): boolean {
    return this.at >= this.pattern.length;
  }

  /** Each alternative needs a literal, or nothing is known of the whole. */
  alternatives(): readonly string[] | undefined {
    let all: string[] | undefined = [];
    for (;;) {
      const one = this.sequence();
      all = one === undefined || all === undefined ? undefined : [...all, ...one];
      if (this.pattern[this.at] !== '|') return all;
      this.at++;
    }
  }

  private sequence(): readonly string[] | undefined {
    let best: readonly string[] | undefined;
    let run = '';
    const consider = (candidates: readonly string[] | undefined): void => {
      if (candidates === undefined || candidates.length === 0) return;
      const least = (each: readonly string[]): number => Math.min(...each.map(({ length }) => length));
      if (least(candidates) < shortest) return;
      if (best === undefined || least(candidates) > least(best)) best = candidates;
    };
    const endRun = (): void => {
      consider(run === '' ? undefined : [run]);
      run = '';
    };
    while (!this.atEnd) {
      const character = this.pattern[this.at] as string;
      if (character === '|' || character === ')') break;
      if (character === '(') {
        endRun();
        const inner = this.group();
        if (this.quantifier() !== 'optional') consider(inner);
        continue;
      }
      const literal = this.one();
      const repeated = this.quantifier();
      if (literal === undefined) endRun();
      else if (repeated === undefined) run += literal;
      else {
        if (repeated === 'repeated') run += literal;
        endRun();
      }
    }
    endRun();
    return best;
  }

  private group(): readonly string[] | undefined {
    this.at++;
    if (this.pattern[this.at] === '?') {
      const head = /^\?(?:P?<\w+>|[a-zA-Z-]*(:|\)))/.exec(this.pattern.slice(this.at));
      if (head === null) throw new Unknown();
      this.at += head[0].length;
      if (head[1] === ')') return undefined;
    }
    const inner = this.alternatives();
    if (this.pattern[this.at] !== ')') throw new Unknown();
    this.at++;
    return inner;
  }

  /** One character, or undefined for what is no certain character. */
  private one(): string | undefined {
    const character = String.fromCodePoint(this.pattern.codePointAt(this.at) as number);
    this.at += character.length;
    if (character === '[') {
      this.characterClass();
      return undefined;
    }
    if (character === '.' || character === '^' || character === '$') return undefined;
    if (character !== '\\') return this.certain(character);
    const escaped = this.pattern[this.at];
    if (escaped === undefined) throw new Unknown();
    this.at++;
    if (/[^\w\s]/.test(escaped) && escaped.charCodeAt(0) < 128) return this.certain(escaped);
    if (/[dDsSwWbBAz]/.test(escaped)) return undefined;
    // Octal, hexadecimal, classes by name, \Q…\E: rare enough to do without.
    throw new Unknown();
  }

  private certain(character: string): string | undefined {
    // Lower case beyond ASCII depends on neighbours. U+017F, the long s, is an s without regard to case.
    if (character.charCodeAt(0) > 127 || (this.folded && /s/i.test(character))) return undefined;
    return character.toLowerCase();
  }

  private characterClass(): void {
    if (this.pattern[this.at] === '^') this.at++;
    // A bracket right at the start is one of the characters.
    if (this.pattern[this.at] === ']') this.at++;
    while (this.pattern[this.at] !== ']') {
      if (this.atEnd) throw new Unknown();
      if (this.pattern.startsWith('[:', this.at)) this.at = this.pattern.indexOf(':]', this.at) + 1;
      else if (this.pattern[this.at] === '\\') this.at++;
      this.at++;
    }
    this.at++;
  }

  private quantifier(): 'optional' | 'repeated' | undefined {
    const found = /^(?:[*+?]|\{(\d+)(?:,\d*)?\})\??/.exec(this.pattern.slice(this.at, this.at + 32));
    if (found === null) return undefined;
    this.at += found[0].length;
    const character = found[0][0];
    if (character === '*' || character === '?' || found[1] === '0') return 'optional';
    return 'repeated';
  }
}
