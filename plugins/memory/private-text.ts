/*
 * The one place where text that is not meant to be remembered is taken out, before anything is queued, stored or sent.
 * When in doubt it goes: a tag that is never closed takes everything behind it, and a closing one without its beginning
 * everything before it. Each function is linear in its input.
 */

export interface PublicText {
  /** Without a tag exactly what came in. */
  text: string;
  /** Characters that were taken out, tags included. */
  removed: number;
  /** Something was taken out, and nothing is left. */
  isWhole: boolean;
  /** What stood between private tags; see `createPrivateWords`. */
  fragments: string[];
}

export interface PublicValue {
  value: unknown;
  removed: number;
  isWhole: boolean;
  fragments: string[];
}

/** The memory's own block in a system prompt, with "untrusted-" before it in what its tools recall: never remembered again. */
export const MEMORY_TAG = "memory";
/** The fence in which the runtime gives a tool's output to a model: one around what a tool of the memory has recalled goes. */
const FENCE = "tool-output";
/** Between the texts of one value: it is overlooked in a tag, and no text begins or ends a word there. */
const JOINT = "\0";

/** `private` is what a person wants kept out; the others hold what a host or another memory has put in. */
const TAGS = ["private", "claude-mem-context", "system-instruction", "system-reminder", "persisted-output"] as const;

const UNSEEN = "\\p{Default_Ignorable_Code_Point}\\p{Cf}\\0-\\x08\\x0e-\\x1f\\x7f";
const IGNORABLE = `[${UNSEEN}]`;
/** One class: two that overlap would be tried in every mixture. Bounded, as the stack is on which an expression goes back. */
const SPACE = `[\\s${UNSEEN}]{0,2000}`;
/** An angle bracket, and what stands for one in HTML, JSON and URLs or looks like it. */
const BEGIN = "(?:[<\\uff1c\\ufe64\\u2039\\u3008\\u27e8\\u276e]|&(?:amp;)*(?:lt;?|#0*60;?|#x0*3c;?)|\\\\(?:u003c|u\\{3c\\}|x3c)|%(?:25)*3c)";
const END = "(?:[>\\uff1e\\ufe65\\u203a\\u3009\\u27e9\\u276f]|&(?:amp;)*(?:gt;?|#0*62;?|#x0*3e;?)|\\\\(?:u003e|u\\{3e\\}|x3e)|%(?:25)*3e)";
const SLASH = "(?:\\\\{0,4}[/\\uff0f\\u2044\\u2215]|&(?:amp;)*(?:sol;|#0*47;?|#x0*2f;?)|\\\\(?:u002f|x2f)|%(?:25)*2f)";
/** Cyrillic and Greek letters that look like the Latin one. */
const LIKE: Record<string, string> = { a: "аα", c: "с", e: "еε", i: "іιı", o: "оο", p: "рρ", r: "г", s: "ѕ", t: "тτ", u: "υ", v: "ѵν", x: "х", y: "у" };

function letterPattern(letter: string): string {
  if (letter === "-") return "[-_\\u2010-\\u2015\\u2212\\ufe58\\ufe63\\uff0d\\uff3f]";
  const codes = [letter, letter.toUpperCase()].map((each) => each.charCodeAt(0));
  const [decimal, hex] = [codes.join("|"), codes.map((code) => code.toString(16)).join("|")];
  const wide = String.fromCharCode((codes[0] as number) + 0xfee0);
  return `(?:[${letter}${wide}${LIKE[letter] ?? ""}]|&#0*(?:${decimal});?|&#x0*(?:${hex});?|\\\\(?:u00|x)(?:${hex})|%(?:25)*(?:${hex}))`;
}

const namePattern = (name: string): string => [...name].map(letterPattern).join(`${IGNORABLE}{0,200}`);

/** Cheap, and true for every text in which a tag may stand. */
const TRACE = new RegExp(BEGIN, "i");

interface Patterns {
  /** A tag from its bracket to the end of its name. Groups: the slash of a closing one, then one for each of TAGS; the last two are our own blocks. */
  tag: RegExp;
  /** From there to its other bracket. Group: what stands between. */
  rest: RegExp;
  /** The end of what stands between, where the tag closes itself. */
  slash: RegExp;
  space: RegExp;
}

// Made with the first text that may have a tag: to read their classes of Unicode takes milliseconds.
let made: Patterns | undefined;
function patterns(): Patterns {
  if (made !== undefined) return made;
  const names = TAGS.map((name) => `(${namePattern(name)})`).join("|");
  // `a < private/x` and `<private@host>` are none. The spaces stand where they can be read in one way only.
  const foreign = `${BEGIN}(${SPACE}${SLASH})?${SPACE}(?:${names})(?![\\w@.-]|/(?!${SPACE}${END}))`;
  // Ours are written in one way. A header of C++ is called <memory>, so its block begins a line.
  const own = `(?:untrusted-)?${MEMORY_TAG}`;
  const block = `(?:(?:^|\\0)[ \\t]*<(?=${own}(?: [^<>\\n]{0,300})?>)|<(/)(?=${own}>))(${own})`;
  const fence = `<(?:(/)(?=${FENCE} [0-9A-Za-z]{1,64}>)|(?=${FENCE} [^<>\\n]{0,300}tool="memory_))(${FENCE})`;
  made = {
    tag: new RegExp(`${foreign}|${block}|${fence}`, "gimu"),
    rest: new RegExp(`([^<>\\uff1c\\uff1e]{0,500}?)${END}`, "iuy"),
    slash: new RegExp(`${SLASH}$`, "iu"),
    space: new RegExp(`[\\s${UNSEEN}]`, "u"),
  };
  return made;
}

interface Tag {
  name: string;
  /** `cut`: one that closes, without its other bracket. */
  kind: "open" | "close" | "cut" | "empty";
  from: number;
  to: number;
}

function* findTags(text: string): Generator<Tag> {
  const { tag, rest } = patterns();
  tag.lastIndex = 0;
  for (let found = tag.exec(text); found !== null; found = tag.exec(text)) {
    const next = tag.lastIndex;
    rest.lastIndex = next;
    const ending = rest.exec(text);
    yield toTag(text, found, { next, to: ending === null ? next : rest.lastIndex, isEmpty: closesItself(ending?.[1] ?? ""), isEnded: ending !== null });
    tag.lastIndex = next;
  }
}

function closesItself(between: string): boolean {
  const { slash, space } = patterns();
  let end = between.length;
  while (end > 0 && space.test(between[end - 1] as string)) end--;
  return slash.test(between.slice(Math.max(0, end - 12), end));
}

interface TagEnd {
  next: number;
  to: number;
  isEmpty: boolean;
  isEnded: boolean;
}

function toTag(text: string, found: RegExpExecArray, { next, to, isEmpty, isEnded }: TagEnd): Tag {
  const groups = found.slice(1);
  const index = TAGS.findIndex((_, at) => groups[at + 1] !== undefined);
  const isFence = groups.at(-1) !== undefined;
  const isClosing = [groups[0], groups.at(-4), groups.at(-2)].some((slash) => slash !== undefined);
  // A fence ends at its own id only.
  const id = isFence ? (isClosing ? text.slice(next, to - 1) : (/ id="([0-9A-Za-z]+)"/.exec(text.slice(next, to))?.[1] ?? "")).trim() : "";
  const name = TAGS[index] ?? (isFence ? `${FENCE} ${id}` : (groups.at(-3) ?? MEMORY_TAG));
  const from = found.index;
  if (isClosing) return { name, kind: isEnded ? "close" : "cut", from, to };
  return { name, kind: isEmpty ? "empty" : "open", from, to };
}

interface Span {
  from: number;
  to: number;
}

/** Of a tag that is not closed this much is kept from the rest of the session: what follows is rather a page that speaks of tags. */
const OPEN_CHARACTERS = 1_000;

/** What has to go, in order and apart; `starts` are those of the pieces that the text was joined from, the first is 0. */
function findPrivate(text: string, starts: readonly number[]): { spans: Span[]; fragments: Span[] } {
  const spans: Span[] = [];
  const fragments: Span[] = [];
  const depths = new Map<string, number>();
  let [begin, secret, piece] = [-1, -1, 0];
  for (const { name, kind: found, from, to } of findTags(text)) {
    while (piece + 1 < starts.length && (starts[piece + 1] as number) <= from) piece++;
    const depth = depths.get(name) ?? 0;
    const kind = found === "cut" && depth === 0 ? "close" : found;
    if (kind === "open") {
      if (depths.size === 0) begin = from;
      if (name === "private" && depth === 0) secret = to;
      depths.set(name, depth + 1);
    } else if (kind === "close" && depth > 1) depths.set(name, depth - 1);
    else if (kind === "close" && depth === 1) {
      depths.delete(name);
      if (name === "private") fragments.push({ from: secret, to: from });
      if (depths.size === 0) addSpan(spans, { from: begin, to });
    } else if (kind === "close" && name === "private") {
      // Where it began was cut away: it may be all of what stands before it in its piece.
      const lost = Math.min(starts[piece] as number, depths.size > 0 ? begin : from);
      if (depths.size > 0) begin = lost;
      else addSpan(spans, { from: lost, to });
    } else if (depths.size === 0 && !name.startsWith(FENCE)) addSpan(spans, { from, to });
  }
  if (depths.size > 0) addSpan(spans, { from: begin, to: text.length });
  if (depths.has("private")) fragments.push({ from: secret, to: Math.min(secret + OPEN_CHARACTERS, text.length) });
  return { spans, fragments };
}

/** Adds one that ends behind all the others, and takes in those that it covers. */
function addSpan(spans: Span[], { from, to }: Span): void {
  let start = from;
  for (let last = spans.at(-1); last !== undefined && last.to >= start; last = spans.at(-1)) {
    start = Math.min(start, last.from);
    spans.pop();
  }
  spans.push({ from: start, to });
}

function cutOut(text: string, spans: readonly Span[]): string {
  const kept: string[] = [];
  let at = 0;
  for (const { from, to } of spans) {
    kept.push(text.slice(at, from));
    at = to;
  }
  kept.push(text.slice(at));
  return kept.join("");
}

const textsOf = (text: string, spans: readonly Span[]): string[] =>
  spans.flatMap(({ from, to }) => {
    const texts = text.slice(from, to).split(JOINT);
    // A short one between two others is hardly what was meant: the value of a "type".
    return texts.filter((each) => each.trim() !== "" && (texts.length === 1 || each.length >= 8));
  });

/** The text without what is private, and without what was put in by a host or by a memory. JSON stays JSON. */
export function withoutPrivate(text: string): PublicText {
  if (!TRACE.test(text)) return { text, removed: 0, isWhole: false, fragments: [] };
  const { spans, fragments } = findPrivate(text, [0]);
  const json = readJson(text);
  if (json !== undefined) {
    const { value, ...rest } = withoutPrivateIn(json);
    // An escape in JSON may hide a tag from the one who looks at the text alone.
    if (rest.removed === 0 && spans.length === 0) return { text, removed: 0, isWhole: false, fragments: [] };
    if (rest.removed > 0) return { text: JSON.stringify(value, undefined, /^[[{]\r?\n( +)/.exec(text)?.[1]) ?? "", ...rest };
  }
  if (spans.length === 0) return { text, removed: 0, isWhole: false, fragments: [] };
  const left = cutOut(text, spans);
  return { text: left, removed: text.length - left.length, isWhole: left.trim() === "", fragments: textsOf(text, fragments) };
}

function readJson(text: string): unknown {
  if (!/^\s*[[{"]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Deeper values are left out: nothing that a tool takes is so deep. */
const DEPTH = 100;

interface Piece {
  text: string;
  isKey: boolean;
}

/** All strings and numbers of the value, those that are keys too, in the order in which they stand. */
function collect(value: unknown, pieces: Piece[], depth = 0): void {
  if (typeof value === "string" || typeof value === "number") pieces.push({ text: String(value), isKey: false });
  if (typeof value !== "object" || value === null || depth >= DEPTH) return;
  if (Array.isArray(value)) for (const item of value) collect(item, pieces, depth + 1);
  else
    for (const [key, item] of Object.entries(value)) {
      pieces.push({ text: key, isKey: true });
      collect(item, pieces, depth + 1);
    }
}

/** For each piece what has to go of it. A tag may stand in one and end in a later one, or lie across two. */
function findInPieces(pieces: readonly Piece[]): { spans: Map<Piece, Span[]>; fragments: string[] } {
  const text = pieces.map((piece) => piece.text).join(JOINT);
  const starts: number[] = [];
  let length = 0;
  for (const piece of pieces) {
    starts.push(length);
    length += piece.text.length + JOINT.length;
  }
  const found = findPrivate(text, starts);
  const spans = new Map<Piece, Span[]>();
  let next = 0;
  for (const [index, piece] of pieces.entries()) {
    const [start, end] = [starts[index] as number, (starts[index] as number) + piece.text.length];
    while (next < found.spans.length && (found.spans[next] as Span).to <= start) next++;
    const own: Span[] = [];
    for (let at = next; at < found.spans.length && (found.spans[at] as Span).from <= end; at++) {
      const { from, to } = found.spans[at] as Span;
      if (to > start && (from < end || (from <= start && to >= end))) own.push({ from: Math.max(from, start) - start, to: Math.min(to, end) - start });
    }
    if (own.length > 0) spans.set(piece, own);
  }
  return { spans, fragments: textsOf(text, found.fragments) };
}

/** The same for a value as JSON has them: a property whose key is taken out goes whole. */
export function withoutPrivateIn(value: unknown): PublicValue {
  const pieces: Piece[] = [];
  collect(value, pieces);
  if (!TRACE.test(pieces.map(({ text }) => text).join(JOINT))) return { value, removed: 0, isWhole: false, fragments: [] };
  // A tag may lie across two values, with the key of the second between them.
  const values = findInPieces(pieces.filter(({ isKey }) => !isKey));
  const all = findInPieces(pieces);
  const { fragments } = values;
  const state: Rebuilding = {
    pieces,
    at: 0,
    removed: 0,
    left: false,
    spansOf: (piece: Piece) => [...(values.spans.get(piece) ?? []), ...(all.spans.get(piece) ?? [])],
  };
  const cleaned = rebuild(value, state);
  if (state.removed === 0) return { value, removed: 0, isWhole: false, fragments: [] };
  return { value: cleaned, removed: state.removed, isWhole: !state.left, fragments };
}

interface Rebuilding {
  pieces: readonly Piece[];
  at: number;
  removed: number;
  /** A text is left that is not blank, besides keys. */
  left: boolean;
  spansOf(piece: Piece): Span[];
}

function takeText(state: Rebuilding): { text: string; isGone: boolean } {
  const piece = state.pieces[state.at++] as Piece;
  const spans: Span[] = [];
  for (const span of state.spansOf(piece).sort((a, b) => a.to - b.to || b.from - a.from)) addSpan(spans, span);
  const text = cutOut(piece.text, spans);
  state.removed += piece.text.length - text.length;
  if (!piece.isKey && text.trim() !== "") state.left = true;
  return { text, isGone: spans.length > 0 && text === "" };
}

function rebuild(value: unknown, state: Rebuilding, depth = 0): unknown {
  if (typeof value === "string") return takeText(state).text;
  if (typeof value === "number") return takeText(state).text === String(value) ? value : null;
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => rebuild(item, state, depth + 1));
  const left = new Map<string, unknown>();
  for (const item of Object.values(value)) {
    const { text, isGone } = takeText(state);
    const before = state.left;
    state.left = false;
    const cleaned = rebuild(item, state, depth + 1);
    const isEmpty = !state.left;
    state.left ||= before;
    // What stands behind the end of the tag was not meant; its name was.
    if (!isGone) left.set(text, cleaned);
    else if (!isEmpty) left.set(`[private ${state.at}]`, cleaned);
  }
  return Object.fromEntries(left);
}

export { createPrivateWords, type PrivateWords } from "./private-words.ts";
