/** Escapes of JSON texts in their bytes. */

const hexadecimal = new Int8Array(256).fill(-1);
for (const digit of '0123456789abcdefABCDEF') hexadecimal[digit.charCodeAt(0)] = Number.parseInt(digit, 16);

/** What stands for what after a backslash, `u` apart; 0 for what may not stand there. */
const simple = new Uint8Array(256);
for (const [letter, character] of Object.entries({
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}))
  simple[letter.charCodeAt(0)] = character.charCodeAt(0);

/** The code of `\u` and four digits, which stand at a place; negative when they do not, or may be half a surrogate. */
function codeAt(bytes: Uint8Array, at: number): number {
  const code =
    ((hexadecimal[bytes[at] as number] as number) << 12) |
    ((hexadecimal[bytes[at + 1] as number] as number) << 8) |
    ((hexadecimal[bytes[at + 2] as number] as number) << 4) |
    (hexadecimal[bytes[at + 3] as number] as number);
  return code >= 0xd800 && code <= 0xdfff ? -1 : code;
}

/**
 * Bytes of the escape whose backslash stands at a place; 0 when it is none, or may be half a surrogate. It may reach
 * beyond the end of the bytes: there is no quote then.
 */
export function escapeSize(bytes: Uint8Array, at: number): number {
  const next = bytes[at + 1] as number;
  if (next === 117) return codeAt(bytes, at + 2) < 0 ? 0 : 6;
  return simple[next] === 0 ? 0 : 2;
}

/**
 * Writes what stands between two quotes, escapes of which are whole, as UTF-8. Returns the number of bytes written, at
 * most as many as were read.
 */
export function unescapeInto(source: Uint8Array, start: number, end: number, target: Uint8Array, from: number): number {
  let to = from;
  let at = start;
  while (at < end) {
    const byte = source[at++] as number;
    if (byte !== 92) {
      target[to++] = byte;
      continue;
    }
    const next = source[at++] as number;
    if (next !== 117) {
      target[to++] = simple[next] as number;
      continue;
    }
    const code = codeAt(source, at);
    at += 4;
    if (code < 0x80) target[to++] = code;
    else if (code < 0x800) {
      target[to++] = 0xc0 | (code >> 6);
      target[to++] = 0x80 | (code & 63);
    } else {
      target[to++] = 0xe0 | (code >> 12);
      target[to++] = 0x80 | ((code >> 6) & 63);
      target[to++] = 0x80 | (code & 63);
    }
  }
  return to - from;
}

/** The text between two quotes. */
export function textOfEscaped(bytes: Buffer, start: number, end: number): string {
  return JSON.parse(bytes.toString('utf8', start - 1, end + 1)) as string;
}
