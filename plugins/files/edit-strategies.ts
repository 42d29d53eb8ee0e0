import { cleanText } from "agent-runtime";

/** Where a text was found: UTF-16 offsets, `end` exclusive. */
export interface Match {
  start: number;
  end: number;
}

export interface Strategy {
  name: string;
  /** What was overlooked, for the model. */
  overlooks: string;
  /** Every place, also overlapping ones, up to `MATCH_LIMIT`. */
  find(content: string, wanted: string): Match[] | Promise<Match[]>;
  /** Finds only something alike, so it never stands for several places at once. */
  isApproximate?: boolean;
}

export const MATCH_LIMIT = 100_000;
/** Share of equal characters from which the middle of a block counts as the same (from opencode's edit). */
const BLOCK_SIMILARITY = 0.65;
/** Share of equal lines from which the middle of a block of the same length counts as the same (from opencode's edit). */
const EQUAL_LINES = 0.5;
/** How much longer or shorter a block may be than the wanted one (from opencode's edit). */
const BLOCK_SIZE_TOLERANCE = 0.25;
const BLOCK_CANDIDATES = 100;
/** Lines of all places that are compared; with more of them nothing is found, because it would hold up everything else. */
const COMPARED_LINES = 1_000_000;
/** The same for lines that are compared character by character. */
const ALIKE_LINES = 20_000;
/** Longer lines are only compared for equality. */
const COMPARED_CHARACTERS = 1_000;

/** In the order in which they are tried. */
export const FALLBACK_STRATEGIES: Strategy[] = [
  { name: "unseen-characters", overlooks: "characters that read does not show", find: findUnseen },
  { name: "line-trimmed", overlooks: "white space around lines", find: findTrimmedLines },
  { name: "block-anchor", overlooks: "differences between the first and the last line", find: findAnchoredBlock, isApproximate: true },
  { name: "whitespace-normalized", overlooks: "the amount of white space", find: findNormalizedWhitespace },
  { name: "indentation-flexible", overlooks: "the depth of the indentation", find: findIndented },
  {
    name: "escape-normalized",
    overlooks: "escaping with backslashes",
    find: (content, wanted) => findOther(content, removeBackslashes(wanted), wanted),
  },
  {
    name: "trimmed-boundary",
    overlooks: "white space before and after the text",
    find: (content, wanted) => findOther(content, wanted.trim(), wanted),
  },
  { name: "context-aware", overlooks: "up to half of the lines between the first and the last", find: findInContext, isApproximate: true },
];

export interface ExactMatches {
  matches: Match[];
  /** What was looked for, with the line endings with which it was found. */
  wanted: string;
}

/** An exact search in which the line endings of the content and of the wanted text may differ. */
export function findExact(content: string, wanted: string): ExactMatches {
  const variants = new Set([wanted, wanted.replace(/\r?\n/g, "\r\n"), wanted.replaceAll("\r\n", "\n")]);
  for (const variant of variants) {
    const matches = findAll(content, variant);
    if (matches.length > 0) return { matches, wanted: variant };
  }
  return { matches: [], wanted };
}

const findOther = (content: string, other: string, wanted: string): Match[] => (other === wanted ? [] : findExact(content, other).matches);

function findAll(content: string, wanted: string): Match[] {
  const matches: Match[] = [];
  if (wanted === "") return matches;
  for (let start = content.indexOf(wanted); start >= 0 && matches.length <= MATCH_LIMIT; start = content.indexOf(wanted, start + 1)) {
    matches.push({ start, end: start + wanted.length });
  }
  return matches;
}

export interface Line extends Match {
  /** Without its ending. */
  text: string;
  /** Behind the line's ending. */
  next: number;
}

export function linesOf(content: string): Line[] {
  const lines: Line[] = [];
  let start = 0;
  while (start < content.length) {
    const newline = content.indexOf("\n", start);
    const next = newline < 0 ? content.length : newline + 1;
    const last = newline < 0 ? content.length : newline;
    const end = newline > start && content[newline - 1] === "\r" ? last - 1 : last;
    lines.push({ start, end, next, text: content.slice(start, end) });
    start = next;
  }
  return lines;
}

/** A run of lines as a match: with its last line ending when the wanted text ends with one too. */
const blockOf = (lines: Line[], first: number, count: number, wanted: string): Match => {
  const last = lines[first + count - 1]!;
  return { start: lines[first]!.start, end: wanted.endsWith("\n") ? last.next : last.end };
};

function findBlocks(content: string, wanted: string, isSame: (lines: string[], wantedLines: string[]) => boolean): Match[] {
  const lines = linesOf(content);
  const wantedLines = linesOf(wanted).map((line) => line.text);
  const count = wantedLines.length;
  const firsts = findCandidates(lines, wantedLines).filter((first) => first >= 0 && first + count <= lines.length);
  if (firsts.length * count > COMPARED_LINES) return [];
  const matches = firsts.filter((first) =>
    isSame(
      lines.slice(first, first + count).map(({ text }) => text),
      wantedLines,
    ),
  );
  return matches.slice(0, MATCH_LIMIT + 1).map((first) => blockOf(lines, first, count, wanted));
}

/** Where the block may begin, judged by the rarest of its lines that are not blank. */
function findCandidates(lines: Line[], wantedLines: string[]): number[] {
  const places = new Map<string, number[]>(wantedLines.map((line) => [squeeze(line), []]));
  for (const [index, { text }] of lines.entries()) places.get(squeeze(text))?.push(index);
  const candidates = wantedLines.flatMap((line, index) => (line.trim() === "" ? [] : [{ index, at: places.get(squeeze(line)) ?? [] }]));
  const [first, ...others] = candidates;
  if (first === undefined) return [];
  const rarest = others.reduce((best, other) => (other.at.length < best.at.length ? other : best), first);
  return rarest.at.map((place) => place - rarest.index);
}

const squeeze = (text: string): string => text.trim().replace(/\s+/g, " ");

function findTrimmedLines(content: string, wanted: string): Match[] {
  return findBlocks(content, wanted, (lines, wantedLines) => lines.every((line, index) => line.trim() === wantedLines[index]!.trim()));
}

/** Whole lines that a model was shown like this, without their control and invisible characters. */
function findUnseen(content: string, wanted: string): Match[] {
  if (cleanText(content) === content) return [];
  const lines = linesOf(content);
  const shown = lines.map(({ text }) => cleanText(text));
  const wantedLines = linesOf(cleanText(wanted)).map(({ text }) => text);
  const isHere = (first: number): boolean => wantedLines.every((line, index) => shown[first + index] === line);
  const firsts = shown.flatMap((line, first) => (line === wantedLines[0] ? [first] : []));
  if (firsts.length * wantedLines.length > COMPARED_LINES) return [];
  return firsts
    .filter(isHere)
    .slice(0, MATCH_LIMIT + 1)
    .map((first) => blockOf(lines, first, wantedLines.length, wanted));
}

function findIndented(content: string, wanted: string): Match[] {
  return findBlocks(content, wanted, (lines, wantedLines) => dedent(lines).join("\n") === dedent(wantedLines).join("\n"));
}

/** The white space that all lines with text begin with. */
export function commonIndent(lines: string[]): string {
  const indents = lines.filter((line) => line.trim() !== "").map((line) => /^[ \t]*/.exec(line)![0]);
  const [first = "", ...others] = indents;
  let length = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, length))) length -= 1;
  return first.slice(0, length);
}

function dedent(lines: string[]): string[] {
  const { length } = commonIndent(lines);
  return lines.map((line) => (line.trim() === "" ? "" : line.slice(length)));
}

function findNormalizedWhitespace(content: string, wanted: string): Match[] {
  const blocks = findBlocks(content, wanted, (lines, wantedLines) => lines.every((line, index) => squeeze(line) === squeeze(wantedLines[index]!)));
  return blocks.length > 0 || wanted.trim().includes("\n") ? blocks : findWithinLines(content, wanted);
}

/** A part of a line, with any white space where the wanted text has some. Linear: no pattern of the model is run. */
function findWithinLines(content: string, wanted: string): Match[] {
  const needle = squeeze(wanted);
  const matches: Match[] = [];
  if (!needle.includes(" ")) return matches;
  for (const line of linesOf(content)) {
    if (!squeeze(line.text).includes(needle)) continue;
    const { text, origins } = squeezeWithOrigins(line.text);
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) {
      const last = at + needle.length - 1;
      matches.push(withOuterSpace(content, { start: line.start + origins[at]!, end: line.start + origins[last]! + 1 }, wanted, line));
    }
    if (matches.length > MATCH_LIMIT) break;
  }
  return matches;
}

function squeezeWithOrigins(line: string): { text: string; origins: number[] } {
  const origins: number[] = [];
  const characters: string[] = [];
  for (let index = 0; index < line.length; index += 1) {
    const character = /\s/.test(line[index]!) ? " " : line[index]!;
    if (character === " " && characters.at(-1) === " ") continue;
    characters.push(character);
    origins.push(index);
  }
  return { text: characters.join(""), origins };
}

/** Takes in the white space around a match on the sides where the wanted text has some. */
function withOuterSpace(content: string, { start, end }: Match, wanted: string, line: Line): Match {
  const isSpaceAt = (index: number): boolean => content[index] === " " || content[index] === "\t";
  if (/^[ \t]/.test(wanted)) while (start > line.start && isSpaceAt(start - 1)) start -= 1;
  if (/[ \t]$/.test(wanted)) while (end < line.end && isSpaceAt(end)) end += 1;
  return { start, end };
}

/** Blocks of three and more lines whose first and last line are the same and whose middle is alike. */
async function findAnchoredBlock(content: string, wanted: string): Promise<Match[]> {
  const wantedLines = linesOf(wanted).map((line) => line.text.trim());
  if (wantedLines.length < 3 || wantedLines[0] === "" || wantedLines.at(-1) === "") return [];
  const lines = linesOf(content);
  const candidates = anchoredRuns(
    lines.map(({ text }) => text.trim()),
    wantedLines,
  );
  if (candidates.length === 0 || candidates.length > BLOCK_CANDIDATES || candidates.length * wantedLines.length > ALIKE_LINES) return [];
  const { distance } = await import("fastest-levenshtein");
  const best = new Map<number, { count: number; similarity: number }>();
  for (const { first, count } of candidates) {
    const similarity = middleSimilarity(lines.slice(first + 1, first + count - 1), wantedLines.slice(1, -1), distance);
    if (similarity >= Math.max(BLOCK_SIMILARITY, best.get(first)?.similarity ?? 0)) best.set(first, { count, similarity });
  }
  return [...best].map(([first, { count }]) => blockOf(lines, first, count, wanted));
}

function anchoredRuns(lines: string[], wantedLines: string[]): { first: number; count: number }[] {
  const slack = Math.floor(wantedLines.length * BLOCK_SIZE_TOLERANCE);
  const least = Math.max(3, wantedLines.length - slack);
  const lasts = lines.flatMap((line, index) => (line === wantedLines.at(-1) ? [index] : []));
  const runs: { first: number; count: number }[] = [];
  let nearest = 0;
  for (let first = 0; first < lines.length && runs.length <= BLOCK_CANDIDATES; first += 1) {
    if (lines[first] !== wantedLines[0]) continue;
    while (nearest < lasts.length && lasts[nearest]! < first + least - 1) nearest += 1;
    for (let at = nearest; at < lasts.length && lasts[at]! < first + wantedLines.length + slack; at += 1) runs.push({ first, count: lasts[at]! - first + 1 });
  }
  return runs;
}

/** 0 to 1: how alike the lines are, one by one, by edit distance. */
function middleSimilarity(lines: Line[], wantedLines: string[], distance: (a: string, b: string) => number): number {
  const count = Math.max(lines.length, wantedLines.length);
  let sum = 0;
  for (let index = 0; index < count; index += 1) {
    const line = lines[index]?.text.trim();
    const wanted = wantedLines[index];
    if (line === undefined || wanted === undefined) continue;
    const longest = Math.max(line.length, wanted.length);
    if (line === wanted) sum += 1;
    else if (longest <= COMPARED_CHARACTERS) sum += 1 - distance(line, wanted) / longest;
  }
  return sum / count;
}

/** Blocks of as many lines whose first and last line are the same, and half of the others that are not blank. */
function findInContext(content: string, wanted: string): Match[] {
  const wantedLines = linesOf(wanted).map((line) => line.text.trim());
  const count = wantedLines.length;
  if (count < 3 || wantedLines[0] === "" || wantedLines.at(-1) === "") return [];
  const lines = linesOf(content);
  const trimmed = lines.map(({ text }) => text.trim());
  const candidates = trimmed.flatMap((line, first) => (line === wantedLines[0] && trimmed[first + count - 1] === wantedLines.at(-1) ? [first] : []));
  if (candidates.length > BLOCK_CANDIDATES) return [];
  return candidates
    .filter((first) => isHalfEqual(trimmed.slice(first + 1, first + count - 1), wantedLines.slice(1, -1)))
    .map((first) => blockOf(lines, first, count, wanted));
}

function isHalfEqual(lines: string[], wantedLines: string[]): boolean {
  const pairs = lines.map((line, index) => [line, wantedLines[index]!] as const).filter(([line, wanted]) => line !== "" || wanted !== "");
  const equal = pairs.filter(([line, wanted]) => line === wanted).length;
  return equal >= pairs.length * EQUAL_LINES;
}

const ESCAPES: Record<string, string> = { n: "\n", t: "\t", r: "\r" };

/** Undoes one layer of backslashes. */
export const removeBackslashes = (text: string): string => text.replace(/\\([ntr"'`\\$\n])/g, (_, character: string) => ESCAPES[character] ?? character);

/** Whether a match is so much larger than what was asked for that replacing it would destroy something (limits of opencode's edit). */
export function isMuchLarger(found: string, wanted: string): boolean {
  const foundLines = found.split("\n").length;
  const wantedLines = wanted.split("\n").length;
  return foundLines >= Math.max(wantedLines + 3, wantedLines * 2) || found.trim().length > Math.max(wanted.trim().length + 500, wanted.trim().length * 4);
}
