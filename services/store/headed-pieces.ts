/**
 * The engine writes each piece of a streamed result as a document of its own, with its names and types again. Where these
 * stand before the rows, and how long they are can be told from them, later pieces go on without.
 */

/** Bytes before the first row of a document, by format. */
const headers: Readonly<Record<string, (document: Uint8Array) => number>> = {
  CSVWithNames: (document) => csvLines(document, 1),
  CSVWithNamesAndTypes: (document) => csvLines(document, 2),
  // A line break in a name is escaped in these.
  TSVWithNames: (document) => lines(document, 1),
  TSVWithNamesAndTypes: (document) => lines(document, 2),
  TabSeparatedWithNames: (document) => lines(document, 1),
  TabSeparatedWithNamesAndTypes: (document) => lines(document, 2),
  JSONCompactEachRowWithNames: (document) => lines(document, 1),
  JSONCompactEachRowWithNamesAndTypes: (document) => lines(document, 2),
  JSONCompactStringsEachRowWithNames: (document) => lines(document, 1),
  JSONCompactStringsEachRowWithNamesAndTypes: (document) => lines(document, 2),
  RowBinaryWithNames: (document) => binaryTexts(document, 1),
  RowBinaryWithNamesAndTypes: (document) => binaryTexts(document, 2),
};

export function hasKnownHeader(format: string): boolean {
  return Object.hasOwn(headers, format);
}

/** Takes the pieces of one result in order and returns them as parts of one document. */
export class HeadedPieces {
  private header: Uint8Array | undefined;

  constructor(private readonly format: string) {}

  /** @throws Error when a piece does not begin as the first one did. */
  next(piece: Uint8Array): Uint8Array {
    if (!hasKnownHeader(this.format)) return piece;
    const { header } = this;
    if (piece.length === 0) return piece;
    if (header === undefined) {
      this.header = piece.slice(0, headers[this.format]!(piece));
      return piece;
    }
    if (Buffer.compare(piece.subarray(0, header.length), header) !== 0)
      throw new Error(`a piece of ${this.format} has another header than the first one`);
    return piece.subarray(header.length);
  }
}

const newline = 0x0a;
const quote = 0x22;

function lines(document: Uint8Array, count: number): number {
  let end = 0;
  for (let line = 0; line < count; line++) end = document.indexOf(newline, end) + 1;
  return end;
}

/** Names are quoted, quotes in them doubled, and line breaks in them stand as they are. */
function csvLines(document: Uint8Array, count: number): number {
  let found = 0;
  let isQuoted = false;
  let at = 0;
  for (; found < count && at < document.length; at++) {
    if (document[at] === quote) isQuoted = !isQuoted;
    else if (document[at] === newline && !isQuoted) found++;
  }
  return at;
}

/** The number of columns, and for each its name, then for each its type: numbers as LEB128, texts with their length. */
function binaryTexts(document: Uint8Array, perColumn: number): number {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 1; at < document.length; shift *= 128) {
      const byte = document[at++]!;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  const texts = number() * perColumn;
  for (let text = 0; text < texts && at < document.length; text++) {
    const length = number();
    at += length;
  }
  return at;
}
