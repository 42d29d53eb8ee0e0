/** Outputs up to this many characters are left alone: about 2,000 tokens. */
export const LONG_OUTPUT = 8_000;
/** A line that is longer than this share of the kept text loses its middle. */
const LINE_SHARE = 0.8;
/** Characters of the note that stands where lines are missing. */
const NOTE_LENGTH = 26;
/** Shares of the kept text that head and tail have; the rest goes to the lines between them that say most. */
const HEAD_SHARE = 0.25;
const TAIL_SHARE = 0.25;

export interface Compressed {
  text: string;
  /** Lines of the original that are not in the text. */
  leftOut: number;
}

/**
 * A text of about 1/`ratio` of the characters, made of whole lines of the original: trailing blanks and repeated lines
 * go first (neighbours that differ in their numbers alone count as repeated, unless they tell of errors; the first and the
 * last stay), then the middle. Of the middle those lines stay that say most: errors before negations and conditions, before
 * paths, numbers and code. No word is ever taken out of a line that is kept, so nothing comes to mean its opposite: only a
 * line that alone would fill the text loses its middle. The same text always gives the same result.
 */
export function compress(text: string, ratio: number): Compressed {
  const most = Math.ceil(text.length / Math.max(1, ratio));
  const original = text.split("\n");
  if (text.length <= most) return { text, leftOut: 0 };
  const lines = original.map((line, at): Line => ({ at, text: shortenLine(line.trimEnd(), Math.floor(most * LINE_SHARE)) }));
  const kept = keepMost(dropRepeated(lines), most);
  return { text: joinLines(kept, original.length), leftOut: original.length - kept.length };
}

interface Line {
  /** Its place in the original. */
  at: number;
  text: string;
}

function shortenLine(line: string, most: number): string {
  if (line.length <= most) return line;
  const head = line.slice(0, Math.ceil(most / 2)).replace(/[\uD800-\uDBFF]$/, "");
  const tail = line.slice(line.length - Math.floor(most / 2)).replace(/^[\uDC00-\uDFFF]/, "");
  return `${head} [… ${line.length - head.length - tail.length} characters …] ${tail}`;
}

/** What a line has in common with one that differs in its numbers, hashes and times alone. */
const shapeOf = (line: string): string =>
  line
    .replace(/\b[0-9a-f]{7,}\b/gi, "#")
    .replace(/\d+/g, "#")
    .replace(/\s+/g, " ")
    .trim();

/** Of neighbours of one shape the first and the last, of equal lines further apart the first. */
function dropRepeated(lines: Line[]): Line[] {
  const shapes = lines.map(({ text }) => shapeOf(text));
  const seen = new Set<string>();
  return lines.filter(({ text }, at) => {
    if (shapes[at] === shapes[at - 1] && shapes[at] === shapes[at + 1] && (text === lines[at - 1]?.text || !ERROR.test(text))) return false;
    if (text === "") return shapes[at - 1] !== "";
    // Short lines are brackets and the like: they belong to what stands around them.
    if (text.trim().length < 12) return true;
    if (seen.has(text)) return false;
    seen.add(text);
    return true;
  });
}

const NOTE = /^(\.\.\. )?\(.*\)( \.\.\.)?$/;
const ERROR =
  /\b(error|errors|fail|failed|fails|failure|failures|fatal|panic|exception|traceback|segfault|denied|refused|invalid|undefined)\b|✗|✘|✖|×|^\s*E\s/i;
const NEGATION =
  /\b(not|no|never|none|cannot|can't|won't|don't|doesn't|isn't|without|unless|except|only|if|until|before|must|warning|warn|deprecated|missing|expected|but)\b/i;
const FACT = /[\w.-]\/[\w.-]|\b\w+\.\w{1,4}:\d+|\d|[{};]\s*$|=>|^\s*(import|export|function|class|def|return|const|let)\b/;

/** How much a line says: 4 for what the tool says of its own output, 3 for an error, 2 for a negation or a condition, 1 for a fact. */
function weigh({ text }: Line): number {
  if (NOTE.test(text.trim())) return 4;
  if (ERROR.test(text)) return 3;
  if (NEGATION.test(text)) return 2;
  return FACT.test(text) ? 1 : 0;
}

/** The sort is stable: of lines that say as much the earlier ones stay. */
function keepMost(lines: Line[], most: number): Line[] {
  if (lengthOf(lines) <= most) return lines;
  const head = takeWhile(lines, most * HEAD_SHARE);
  const tail = takeWhile(lines.slice(head.length).reverse(), most * TAIL_SHARE).reverse();
  const middle = lines.slice(head.length, lines.length - tail.length);
  let room = most - lengthOf(head) - lengthOf(tail);
  const chosen = new Set<Line>();
  const byWeight = middle.map((line) => ({ line, weight: weigh(line) })).sort((a, b) => b.weight - a.weight);
  for (const { line } of byWeight) {
    const length = line.text.length + 1 + NOTE_LENGTH;
    if (length > room) continue;
    room -= length;
    chosen.add(line);
  }
  return [...head, ...middle.filter((line) => chosen.has(line)), ...tail];
}

const lengthOf = (lines: Line[]): number => lines.reduce((sum, { text }) => sum + text.length + 1, 0);

function takeWhile(lines: Line[], most: number): Line[] {
  let room = most;
  const end = lines.findIndex(({ text }) => {
    room -= text.length + 1;
    return room < 0;
  });
  return end < 0 ? lines : lines.slice(0, end);
}

/** The lines in their order, with a note wherever some are missing. */
function joinLines(lines: Line[], total: number): string {
  const parts: string[] = [];
  let next = 0;
  for (const { at, text } of [...lines, { at: total, text: undefined }]) {
    if (at > next) parts.push(`… (${at - next} ${at - next === 1 ? "line" : "lines"} left out)`);
    if (text !== undefined) parts.push(text);
    next = at + 1;
  }
  return parts.join("\n");
}

/** The compressed output with a note where the whole is; the output as it is where it is short, gains nothing or cannot be kept. */
export async function compressOutput(text: string, ratio: number, spill: (text: string) => Promise<string | undefined>): Promise<string> {
  if (text.length <= LONG_OUTPUT) return text;
  const { text: short, leftOut } = compress(text, ratio);
  if (short.length > 0.8 * text.length) return text;
  const path = await spill(text);
  if (path === undefined) return text;
  const lines = text.split("\n").length;
  return `${short}\n\n(Shortened: ${leftOut} of ${lines} lines are left out, most of them repeated or from the middle. The whole is in ${path}: use grep, or read with offset.)`;
}
