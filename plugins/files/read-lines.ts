import { isUtf8 } from "node:buffer";

/** What lines are read from: an open file, or bytes in memory. */
export interface ByteSource {
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
}

export const bytesInMemory = (bytes: Buffer): ByteSource => ({
  read: async (buffer, offset, length, position) => ({ bytesRead: bytes.copy(buffer, offset, position, position + length) }),
});

/** Characters of a line that are shown at once. */
export const LINE_CHARACTERS = 2_000;
/** How far a line is followed to learn its length once its window is full. */
const LOOK_AHEAD_BYTES = 16 * 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;

/** UTF-16 units of a line that are wanted; without both, a long line is shown by its beginning and its end. */
export interface Columns {
  /** Units before the window. */
  offset: number;
  limit: number;
}

export interface Wanted {
  /** 1-based. */
  firstLine: number;
  lineLimit: number;
  /** UTF-8 bytes of the shown lines. */
  byteLimit: number;
  columns?: Columns | undefined;
  /** Goes on to the end of the file to count its lines. */
  countAll: boolean;
  signal: AbortSignal;
}

export interface LinesRead {
  /** Ready to show, "00001| text"; the first is `firstLine`. */
  lines: string[];
  /** Known when the end was reached. */
  totalLines: number | undefined;
  /** As far as the file was read. */
  isValidUtf8: boolean;
}

/** Reads lines `firstLine` and on without ever holding more than one piece of the file. */
export async function readLines(source: ByteSource, wanted: Wanted): Promise<LinesRead> {
  const collector = createCollector(wanted);
  const state = { isValidUtf8: true };
  const result = (totalLines?: number): LinesRead => ({ lines: collector.lines, totalLines, ...state });
  for await (const text of decodeText(source, wanted.signal, state)) {
    let start = 0;
    while (start < text.length) {
      if (collector.isFull() && !wanted.countAll) return result();
      const end = text.indexOf("\n", start);
      if (end < 0) break;
      collector.add(text, start, end > start && text[end - 1] === "\r" ? end - 1 : end);
      collector.endLine(true);
      start = end + 1;
    }
    collector.add(text, start, text.length);
    if (!collector.isLineEndless()) continue;
    collector.endLine(false);
    return result();
  }
  return result(collector.finish());
}

/** Takes the lines one by one and renders those that are wanted, until there is no room for more. */
function createCollector({ firstLine, lineLimit, byteLimit, columns }: Wanted) {
  const lines: string[] = [];
  let number = 1;
  let bytes = 0;
  let isFull = false;
  let line = createLine(columns);

  const keep = (isWhole: boolean): void => {
    const rendered = Buffer.from(`${String(number).padStart(5, "0")}| ${line.render(number, isWhole)}`);
    bytes += rendered.length + 1;
    const fits = lines.length === 0 || bytes <= byteLimit;
    // Made from bytes: a piece of a string would keep the whole chunk in memory.
    if (fits) lines.push(rendered.toString());
    isFull = !fits || lines.length >= lineLimit;
  };
  const endLine = (isWhole: boolean): void => {
    if (number >= firstLine && !isFull) keep(isWhole);
    number += 1;
    line = createLine(columns);
  };
  return {
    lines,
    isFull: () => isFull,
    add: (text: string, start: number, end: number) => line.add(text, start, end),
    endLine,
    isLineEndless: () => !isFull && number >= firstLine && line.unitsBeyondWindow() > LOOK_AHEAD_BYTES,
    /** Returns the number of lines. */
    finish(): number {
      if (line.length() > 0) endLine(true);
      return number - 1;
    },
  };
}

/** Follows one line, of any length, and keeps of it what will be shown. */
function createLine(columns: Columns | undefined) {
  const half = LINE_CHARACTERS / 2;
  let length = 0;
  let head = "";
  let tail = "";
  const headEnd = columns === undefined ? LINE_CHARACTERS : columns.offset + columns.limit;

  return {
    length: () => length,
    unitsBeyondWindow: () => length - headEnd,
    add(text: string, start: number, end: number) {
      const from = Math.max(start, start + (columns?.offset ?? 0) - 1 - length);
      const to = Math.min(end, start + headEnd + 1 - length);
      if (from < to) head += text.slice(from, to);
      if (columns === undefined && end > start) tail = (tail + text.slice(Math.max(start, end - half - 2), end)).slice(-half - 2);
      length += end - start;
    },
    render(number: number, isWhole: boolean): string {
      if (columns !== undefined) return renderWindow({ kept: head, length, columns, number, isWhole });
      if (length <= LINE_CHARACTERS) return head;
      const shown = head.slice(0, alignUp(head, half));
      if (!isWhole) return `${shown} ... ${omitted(shown.length + 1, undefined, number)}`;
      const end = tail.slice(alignDown(tail, tail.length - half));
      return `${shown} ... ${omitted(shown.length + 1, length - end.length, number)} ... ${end}`;
    },
  };
}

interface Kept {
  /** The window and one unit on each side, so that no surrogate pair is cut. */
  kept: string;
  length: number;
  columns: Columns;
  number: number;
  isWhole: boolean;
}

function renderWindow({ kept, length, columns, number, isWhole }: Kept): string {
  if (isWhole && length <= columns.offset) return length === 0 ? "" : omitted(1, length, number);
  const skipped = Math.max(0, columns.offset - 1);
  const start = alignDown(kept, columns.offset - skipped);
  const end = alignUp(kept, Math.min(columns.offset + columns.limit - skipped, kept.length));
  const before = skipped + start > 0 ? `${omitted(1, skipped + start, number)} ... ` : "";
  const isEnd = isWhole && skipped + end >= length;
  return before + kept.slice(start, end) + (isEnd ? "" : ` ... ${omitted(skipped + end + 1, isWhole ? length : undefined, number)}`);
}

const omitted = (from: number, to: number | undefined, number: number): string =>
  to === undefined ? `[omitted columns from ${from} of line ${number}, which is very long]` : `[omitted columns ${from}..${to} of line ${number}]`;

const isCutPair = (text: string, index: number): boolean =>
  index > 0 && index < text.length && /[\uD800-\uDBFF]/.test(text[index - 1]!) && /[\uDC00-\uDFFF]/.test(text[index]!);
const alignDown = (text: string, index: number): number => (isCutPair(text, index) ? index - 1 : index);
const alignUp = (text: string, index: number): number => (isCutPair(text, index) ? index + 1 : index);

/** The text of a file piece by piece. Pieces end between characters, so that none is torn; a byte order mark is left out. */
async function* decodeText(source: ByteSource, signal: AbortSignal, state: { isValidUtf8: boolean }): AsyncGenerator<string> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES + 4);
  let carried = 0;
  let position = 0;
  for (;;) {
    signal.throwIfAborted();
    const { bytesRead } = await source.read(buffer, carried, CHUNK_BYTES, position);
    const end = carried + bytesRead;
    const cut = bytesRead === 0 ? end : endOfCharacters(buffer, end);
    const piece = buffer.subarray(0, cut);
    if (state.isValidUtf8 && !isUtf8(piece)) state.isValidUtf8 = false;
    const text = piece.toString("utf8");
    yield position === 0 && text.startsWith("\uFEFF") ? text.slice(1) : text;
    buffer.copyWithin(0, cut, end);
    carried = end - cut;
    position += bytesRead;
    if (bytesRead === 0) return;
  }
}

/** Where a piece may end: not within a character, and not between a return and its newline. At most 3 bytes wait for the next piece. */
function endOfCharacters(buffer: Buffer, end: number): number {
  if (buffer[end - 1] === 13) return end - 1;
  for (let back = 1; back <= Math.min(3, end); back += 1) {
    const byte = buffer[end - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const bytes = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return bytes > back ? end - back : end;
  }
  return end;
}
