import type { AgentError } from "agent-runtime";
import { BYTE_ORDER_MARK, lineEndingOf } from "./apply-edit.ts";
import { linesOf } from "./edit-strategies.ts";
import { indentLike } from "./indent-like.ts";
import { type Hunk, refusedAt, shorten } from "./patch-text.ts";

/** How lines are compared, in the order in which it is tried. */
const LEVELS = [
  { overlooks: undefined, of: (line: string) => line },
  { overlooks: "white space at the ends of lines", of: (line: string) => line.trimEnd() },
  { overlooks: "white space around lines", of: (line: string) => line.trim() },
  { overlooks: "white space around lines and which quotes and dashes they have", of: (line: string) => plainPunctuation(line).trim() },
];
const LAST_LEVEL = LEVELS.length - 1;

/** Of lines, for all hunks of a file: about a second. */
const COMPARISONS = 50_000_000;
const PLAIN: [RegExp, string][] = [
  [/[\u2010-\u2015\u2212]/g, "-"],
  [/[\u2018-\u201B]/g, "'"],
  [/[\u201C-\u201F]/g, '"'],
  [/[\u00A0\u2002-\u200A\u202F\u205F\u3000]/g, " "],
];

/** Models write ASCII where a file has the quotes, dashes and spaces of a typesetter. */
const plainPunctuation = (line: string): string => PLAIN.reduce((text, [typeset, plain]) => text.replace(typeset, plain), line);

export interface PatchedText {
  text: string;
  additions: number;
  deletions: number;
  /** Of each hunk that was not there exactly: its line in the patch and what was overlooked. */
  notes: { line: number; overlooks: string }[];
}

interface Place {
  hunk: Hunk;
  /** Index of a line of the file, from 0. */
  start: number;
  /** Lines of the file that the hunk covers. */
  count: number;
  overlooks: string | undefined;
}

/** What searching for the hunks of a file has cost. */
interface Effort {
  comparisons: number;
}

/** Puts the hunks into a text. Throws PATCH_REFUSED; `shown` names the file in it. */
export function applyHunks(shown: string, text: string, hunks: Hunk[]): PatchedText {
  const effort: Effort = { comparisons: 0 };
  const starts = hunks.flatMap(({ startsOver }, index) => (index === 0 || startsOver ? [index] : []));
  let patched: PatchedText = { text, additions: 0, deletions: 0, notes: [] };
  for (const [index, start] of starts.entries()) {
    const next = applySection(shown, patched.text, hunks.slice(start, starts[index + 1]), effort);
    patched = {
      text: next.text,
      additions: patched.additions + next.additions,
      deletions: patched.deletions + next.deletions,
      notes: [...patched.notes, ...next.notes],
    };
  }
  return patched;
}

/** Each hunk stands behind the one before. */
function applySection(shown: string, text: string, hunks: Hunk[], effort: Effort): PatchedText {
  const mark = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : "";
  const body = text.slice(mark.length);
  const lines = linesOf(body).map(({ text, end, next }): FileLine => ({ text, ending: body.slice(end, next) }));
  const search = createSearch(
    shown,
    lines.map((line) => line.text),
    effort,
  );
  const places: Place[] = [];
  for (const hunk of hunks) places.push(search(hunk, endOf(places.at(-1))));
  const ending = lineEndingOf(body) ?? "\n";
  const patched = places.flatMap((place, index) => [...lines.slice(endOf(places[index - 1]), place.start), ...replacementAt(place, lines, ending)]);
  const whole = [...patched, ...lines.slice(endOf(places.at(-1)))];
  const count = (mark: string) => hunks.reduce((sum, hunk) => sum + hunk.lines.filter((line) => line.mark === mark).length, 0);
  return {
    text: mark + joinLines(whole, ending, lines.at(-1)?.ending !== ""),
    additions: count("+"),
    deletions: count("-"),
    notes: places.flatMap(({ hunk, overlooks }) => (overlooks === undefined ? [] : [{ line: hunk.line, overlooks }])),
  };
}

/** The line behind a place, from 0. */
const endOf = (place: Place | undefined): number => (place === undefined ? 0 : place.start + place.count);

interface FileLine {
  text: string;
  /** "" for a last line without newline. */
  ending: string;
}

/** What stands there afterwards. Lines that stay are those of the file, not those of the patch. */
function replacementAt({ hunk, start, count }: Place, lines: FileLine[], ending: string): FileLine[] {
  const found = lines.slice(start, start + count);
  const old = hunk.lines.filter(({ mark }) => mark !== "+").map(({ text }) => text);
  const added = hunk.lines.filter(({ mark }) => mark === "+").map(({ text }) => text);
  const shifted = indentLike(added.join("\n"), old.join("\n"), found.map(({ text }) => text).join("\n")).split("\n");
  const near = (found[0] ?? lines[start - 1])?.ending || ending;
  const kept = found.values();
  const fresh = shifted.values();
  return hunk.lines.flatMap(({ mark }) => {
    if (mark === "+") return [{ text: fresh.next().value ?? "", ending: near }];
    const line = kept.next().value;
    return mark === " " && line !== undefined ? [line] : [];
  });
}

/** A file without a newline at its end stays one. */
function joinLines(lines: FileLine[], ending: string, isTerminated: boolean): string {
  const last = lines.length - 1;
  return lines.map((line, index) => line.text + (index === last && !isTerminated ? "" : line.ending || ending)).join("");
}

/** Finds lines among those of a file, as far as the effort allows. */
function createFinder(shown: string, lines: string[], effort: Effort) {
  const compared: string[][] = [];
  /** The lines of the file as they are compared. */
  const linesAt = (level: number): string[] => {
    compared[level] ??= lines.map(LEVELS[level]!.of);
    return compared[level];
  };
  const count = (hunk: Hunk, more: number): void => {
    effort.comparisons += more;
    if (effort.comparisons <= COMPARISONS) return;
    throw refusedAt(hunk.line, `finding this hunk in ${shown} takes too long.`, "Send fewer hunks at a time, each beginning with a line that is rare.");
  };
  /** Where the wanted lines are, one below the other, at or behind `from`. */
  const findAll = (hunk: Hunk, wanted: string[], level: number, from: number): number[] => {
    const file = linesAt(level);
    const wantedLines = wanted.map(LEVELS[level]!.of);
    const starts: number[] = [];
    count(hunk, Math.max(0, file.length - from));
    for (let start = file.indexOf(wantedLines[0]!, from); start >= 0; start = file.indexOf(wantedLines[0]!, start + 1)) {
      const different = wantedLines.findIndex((line, index) => file[start + index] !== line);
      if (different < 0) starts.push(start);
      count(hunk, different < 0 ? wantedLines.length : different);
    }
    return starts;
  };
  return { linesAt, count, findAll };
}

type Search = (hunk: Hunk, from: number) => Place;

function createSearch(shown: string, lines: string[], effort: Effort): Search {
  const { linesAt, count, findAll } = createFinder(shown, lines, effort);
  const search: Search = (hunk, from) => {
    const old = hunk.lines.filter(({ mark }) => mark !== "+").map(({ text }) => text);
    count(hunk, hunk.anchors.length * lines.length);
    const anchors = hunk.anchors.length === 0 ? undefined : findAnchors(shown, linesAt(LAST_LEVEL), hunk);
    if (old.length === 0) return { hunk, start: insertionPlace(shown, { hunk, anchors, from, end: lines.length }), count: 0, overlooks: undefined };
    for (const [level, { overlooks }] of LEVELS.entries()) {
      const all = findAll(hunk, old, level, from).filter((start) => !hunk.isAtEnd || start + old.length === lines.length);
      const starts = anchors === undefined ? all : firstBehind(anchors, all);
      if (starts.length > 1) throw ambiguous(shown, hunk, starts.length);
      if (starts.length === 1) return { hunk, start: starts[0]!, count: old.length, overlooks };
    }
    const shorter = withoutBlankEnd(hunk);
    if (shorter !== undefined) return { ...search(shorter, from), overlooks: "the blank lines at its end" };
    throw findAll(hunk, old, LAST_LEVEL, 0).length > 0 ? misplaced(shown, hunk) : missing(shown, hunk, linesAt(LAST_LEVEL));
  };
  return search;
}

/** Models take the newline at the end of a file for a blank line. */
function withoutBlankEnd(hunk: Hunk): Hunk | undefined {
  const end = hunk.lines.findLastIndex(({ mark, text }) => mark !== " " || text.trim() !== "") + 1;
  return end === hunk.lines.length ? undefined : { ...hunk, lines: hunk.lines.slice(0, end) };
}

/** For each place the first of the others at or behind it. Both are in order. */
function firstBehind(places: number[], others: number[]): number[] {
  const found = new Set<number>();
  let next = 0;
  for (const place of places) {
    while (next < others.length && others[next]! < place) next += 1;
    if (next < others.length) found.add(others[next]!);
  }
  return [...found];
}

/** Where the last anchor is, behind those before it. It may be only the beginning of its line. */
function findAnchors(shown: string, trimmed: string[], { anchors, line }: Hunk): number[] {
  let places: number[] | undefined;
  for (const anchor of anchors.map(LEVELS[LAST_LEVEL]!.of)) {
    const equal = trimmed.flatMap((text, index) => (text === anchor ? [index] : []));
    const all = equal.length > 0 ? equal : trimmed.flatMap((text, index) => (text.startsWith(anchor) ? [index] : []));
    const behind = places?.map((place) => place + 1);
    places = behind === undefined ? all : firstBehind(behind, all);
    if (places.length === 0)
      throw refusedAt(line, `${shown} has no line "${shorten(anchor)}", which "@@" names.`, "Read the file and write a line of it behind @@, or none.");
  }
  return places ?? [];
}

interface Insertion {
  hunk: Hunk;
  anchors: number[] | undefined;
  from: number;
  end: number;
}

/** Where lines come that have none around them: behind the line that `@@` points at, else at the end of the file. */
function insertionPlace(shown: string, { hunk, anchors, from, end }: Insertion): number {
  if (hunk.isAtEnd || anchors === undefined) return end;
  const places = anchors.map((anchor) => anchor + 1).filter((place) => place >= from);
  if (places.length > 1) throw ambiguous(shown, hunk, places.length);
  if (places[0] === undefined) throw misplaced(shown, hunk);
  return places[0];
}

const ambiguous = (shown: string, { line }: Hunk, count: number): AgentError =>
  refusedAt(line, `this hunk fits ${shown} at ${count} places.`, 'Give it more lines around the change, or name a line above it behind "@@".');

function missing(shown: string, { line, lines }: Hunk, trimmed: string[]): AgentError {
  const known = new Set(trimmed);
  const unknown = lines.find(({ mark, text }) => mark !== "+" && !known.has(LEVELS[LAST_LEVEL]!.of(text)));
  const reason =
    unknown === undefined
      ? `the lines of this hunk do not stand together in ${shown}.`
      : `${shown} has no line "${shorten(unknown.text.trim())}", which this hunk names.`;
  return refusedAt(line, reason, "Read the file again and copy the lines that stay or go as they are, each behind its space or -.");
}

function misplaced(shown: string, { line, isAtEnd, anchors }: Hunk): AgentError {
  const where = isAtEnd ? "at its end" : anchors.length > 0 ? 'behind the line that "@@" names and the hunk before' : "behind the hunk before";
  return refusedAt(
    line,
    `the lines of this hunk are in ${shown}, but not ${where}.`,
    "Give the hunks in the order of the file, without what does not hold there.",
  );
}
