/**
 * CSV that a spreadsheet may open. It runs a cell that begins with one of some characters as a formula, and values of calls
 * are written by whoever calls; such a cell gets a `'` in front (OWASP, CSV Injection).
 */

const quote = 0x22;
const apostrophe = Uint8Array.of(0x27);
/** `=`, `+`, `-`, `@`, tabulator and carriage return, and the full-width forms of the first four. */
const beginnings = [...'=+-@\t\r＝＋－＠'].map((each) => Buffer.from(each));
const longestBeginning = 3;

/**
 * Texts are quoted by the engine and numbers are not, so a quoted cell is looked at and `-5` stays a number. Chunks may end
 * anywhere.
 */
export async function* withoutFormulas(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let isQuoted = false;
  // Whether a cell begins here, for a quote within a cell is doubled.
  let isStart = true;
  let held: Uint8Array = new Uint8Array();
  const guard = (bytes: Buffer, isLast: boolean): Uint8Array[] => {
    const pieces: Uint8Array[] = [];
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      if (bytes[at] === quote) {
        if (!isQuoted && isStart) {
          const begins = bytes.subarray(at + 1, at + 1 + longestBeginning);
          if (begins.length < longestBeginning && !isLast) {
            held = bytes.subarray(at);
            return [...pieces, bytes.subarray(from, at)];
          }
          if (beginnings.some((each) => begins.subarray(0, each.length).equals(each))) {
            pieces.push(bytes.subarray(from, at + 1), apostrophe);
            from = at + 1;
          }
        }
        isQuoted = !isQuoted;
      }
      isStart = !isQuoted && (bytes[at] === 0x2c || bytes[at] === 0x0a);
    }
    held = new Uint8Array();
    return [...pieces, bytes.subarray(from)];
  };
  for await (const chunk of chunks) yield* guard(Buffer.concat([held, chunk]), false);
  yield* guard(Buffer.from(held), true);
}
