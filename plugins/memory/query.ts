import { findTimes, findWeekdays, type NamedTime, timeWords } from "./dates.ts";
import { readMoment } from "./moment.ts";
import { QUESTION_WORDS } from "./word-lists.ts";
import { foldText, readSequence, readWords, stemWord, type Word } from "./words.ts";

/** Texts of an observation that a query may look at alone. */
const TEXT_FIELDS = ["title", "subtitle", "narrative", "facts"] as const;
export type TextField = (typeof TEXT_FIELDS)[number];

/** What an observation must satisfy; everything else of a query only says what comes first. */
export type Condition =
  | { kind: "all" | "any"; of: Condition[] }
  | { kind: "not"; of: Condition }
  /** Terms that are all there; `within`: in one text of that field. */
  | { kind: "words"; terms: string[]; sequence: string[]; within?: TextField }
  /** Words that follow each other, as `readSequence` gives them. */
  | { kind: "phrase"; terms: string[]; sequence: string[]; within?: TextField }
  /** When it was: ms since 1970, both included. */
  | { kind: "time"; since: number; until: number }
  | { kind: "field"; field: "type" | "file" | "concept" | "session" | "id"; value: string };

/** One thing to look up. `time` looks at dates only and does not count as a word that was found. */
export interface QueryTerm {
  term: string;
  weight: number;
  kind: Word["kind"] | "time";
}

export interface ParsedQuery {
  text: string;
  terms: QueryTerm[];
  condition?: Condition;
  /** What "in May 2023" or "last week" mean. */
  times: NamedTime[];
  /** `latest`: what holds now is asked for; `when`: a time; `count`: a number. */
  asks: { latest: boolean; when: boolean; count: boolean };
}

const PART_WEIGHT = 0.5;
const LATEST_WEIGHT = 0.25;
const TIME_WEIGHT = 1;
const MOST_TERMS = 64;
const TIMES = ["date", "since", "until"] as const;
const FIELDS = ["type", "file", "concept", "session", "id"] as const;
/** Other names of the same. */
const SPELLED: Record<string, string> = { fact: "facts", files: "file", concepts: "concept" };
const NAMES = [...TEXT_FIELDS, ...TIMES, ...FIELDS, ...Object.keys(SPELLED)].join("|");
const LATEST =
  /\b(?:latest|newest|current|currently|now|nowadays|most recent|most recently|recent|recently|at the moment|these days|up[- ]to[- ]date|any ?more|at present)\b/gi;
const WHEN = /\b(?:when|what (?:date|day|month|year|time)|which (?:date|day|month|year)|how long ago|since when)\b/i;
const COUNT = /\bhow (?:many|much|old|long|often|far|tall|big|large)\b/i;

/**
 * Reads a query: words; "a phrase"; AND, OR, NOT (in capitals), -word, brackets; title: narrative: type: file: date: and so on.
 * What is not well formed is plain words: there are no errors. Words beside each other are looked for without being required,
 * unless the query has an AND, OR or NOT.
 */
export function parseQuery(text: string, now: number): ParsedQuery {
  const tree = parseTree(text, now);
  if (tree === undefined) return { text, ...readPlain(text, now) };
  const strict = hasOperator(tree);
  const condition = toCondition(tree, strict);
  const words = wordsOf(tree).join(" ");
  const plain = strict
    ? { terms: mergeTerms(readWords(words).map(weigh)), times: [], asks: { latest: false, when: false, count: false } }
    : readPlain(words, now);
  return { text, ...plain, ...(condition && { condition }) };
}

type Node =
  | { kind: "all" | "any" | "sequence"; of: Node[] }
  /** `strict`: written as NOT, which makes the words beside it required as AND does; `-word` only takes away. */
  | { kind: "not"; of: Node; strict: boolean }
  | { kind: "word"; text: string; within?: TextField | undefined }
  | { kind: "phrase"; text: string; within?: TextField | undefined }
  | { kind: "time"; since: number; until: number }
  | { kind: "field"; field: (typeof FIELDS)[number]; value: string };

type Token = { kind: "(" | ")" | "AND" | "OR" | "NOT" | "-" } | { kind: "item"; node: Node };

/** A field with its value, a phrase, a sign, or whatever else stands between spaces. */
const TOKEN = new RegExp(
  `\\s+|(?<sign>[()])|(?<minus>-(?=[\\p{L}"(]\\S))|(?:(?<field>${NAMES}):)?"(?<phrase>[^"]*)"|(?<name>${NAMES}):(?<value>[^\\s()"]+)|(?<word>[^\\s()"]+(?:\\(\\))?[^\\s()"]*)|(?<odd>.)`,
  "giuy",
);

function readTokens(text: string, now: number): Token[] | undefined {
  const tokens: Token[] = [];
  let spaced = true;
  for (const { groups = {}, 0: all } of text.matchAll(TOKEN)) {
    if (groups.odd !== undefined) return undefined;
    if (groups.minus !== undefined && !spaced) return undefined;
    const token = readToken(groups, now);
    if (token !== undefined) tokens.push(token);
    spaced = /^\s|^\($/.test(all);
  }
  return tokens;
}

function readToken(groups: Record<string, string | undefined>, now: number): Token | undefined {
  if (groups.sign !== undefined) return { kind: groups.sign as "(" | ")" };
  if (groups.minus !== undefined) return { kind: "-" };
  if (groups.phrase !== undefined) return { kind: "item", node: fieldNode(groups.field, groups.phrase, { kind: "phrase", now }) };
  if (groups.name !== undefined) return { kind: "item", node: fieldNode(groups.name, groups.value ?? "", { kind: "word", now }) };
  if (groups.word === undefined) return undefined;
  if (groups.word === "AND" || groups.word === "OR" || groups.word === "NOT") return { kind: groups.word };
  return { kind: "item", node: { kind: "word", text: groups.word } };
}

function fieldNode(given: string | undefined, text: string, { kind, now }: { kind: "word" | "phrase"; now: number }): Node {
  const name = SPELLED[given?.toLowerCase() ?? ""] ?? given?.toLowerCase();
  const field = FIELDS.find((known) => known === name);
  if (field !== undefined) return { kind: "field", field, value: text };
  const time = TIMES.find((known) => known === name);
  if (time === undefined) return { kind, text, within: TEXT_FIELDS.find((known) => known === name) };
  const [since, until] = [time === "until" ? 0 : readMoment(text, "since", now), time === "since" ? Number.POSITIVE_INFINITY : readMoment(text, "until", now)];
  return since === undefined || until === undefined ? { kind, text } : { kind: "time", since, until };
}

/** The tree of a query, or nothing where it is none. */
function parseTree(text: string, now: number): Node | undefined {
  const tokens = readTokens(text, now);
  if (tokens === undefined) return undefined;
  const rest = [...tokens];
  const tree = parseAny(rest);
  return rest.length === 0 ? tree : undefined;
}

function parseAny(rest: Token[]): Node | undefined {
  return parseChain(rest, { operator: "OR", kind: "any", next: () => parseChain(rest, { operator: "AND", kind: "all", next: () => parseSequence(rest) }) });
}

function parseChain(rest: Token[], { operator, kind, next }: { operator: "AND" | "OR"; kind: "all" | "any"; next(): Node | undefined }): Node | undefined {
  const of: Node[] = [];
  do {
    const node = next();
    if (node === undefined) return undefined;
    of.push(node);
  } while (rest[0]?.kind === operator && rest.shift() !== undefined);
  return of.length === 1 ? of[0] : { kind, of };
}

function parseSequence(rest: Token[]): Node | undefined {
  const of: Node[] = [];
  while (rest[0] !== undefined && rest[0].kind !== ")" && rest[0].kind !== "AND" && rest[0].kind !== "OR") {
    const node = parseOne(rest);
    if (node === undefined) return undefined;
    of.push(node);
  }
  return of.length === 0 ? undefined : { kind: "sequence", of };
}

function parseOne(rest: Token[]): Node | undefined {
  const token = rest.shift();
  if (token === undefined) return undefined;
  if (token.kind === "item") return token.node;
  if (token.kind === "NOT" || token.kind === "-") {
    // "a AND NOT b" and "a NOT b" are the same.
    const of = parseOne(rest);
    return of && { kind: "not", of, strict: token.kind === "NOT" };
  }
  if (token.kind !== "(") return undefined;
  const inner = parseAny(rest);
  return rest.shift()?.kind === ")" ? inner : undefined;
}

function hasOperator(node: Node): boolean {
  if (node.kind === "any" || node.kind === "all") return true;
  if (node.kind === "sequence") return node.of.some(hasOperator);
  return node.kind === "not" && (node.strict || hasOperator(node.of));
}

/** The words that say what comes first: those that are asked for, not those that are excluded. */
function wordsOf(node: Node): string[] {
  if (node.kind === "word" || node.kind === "phrase") return [node.text];
  if (node.kind === "not" || node.kind === "field" || node.kind === "time") return [];
  return node.of.flatMap(wordsOf);
}

function toCondition(node: Node, strict: boolean): Condition | undefined {
  switch (node.kind) {
    case "field":
    case "time":
      return node;
    case "phrase":
      return toWords(node.text, { kind: "phrase", within: node.within });
    case "word":
      return strict || node.within !== undefined ? toWords(node.text, { kind: "words", within: node.within }) : undefined;
    case "not": {
      const of = toCondition(node.of, true);
      return of && { kind: "not", of };
    }
    default:
      return joinConditions(
        node.kind === "any" ? "any" : "all",
        node.of.map((inner) => toCondition(inner, strict)),
      );
  }
}

/** Nothing where only stop words are asked for. */
function toWords(text: string, { kind, within }: { kind: "words" | "phrase"; within: TextField | undefined }): Condition | undefined {
  const sequence = readSequence(text);
  if (sequence.length === 0) return undefined;
  const words = readWords(text);
  // Of an identifier the whole says all; in a phrase, and in one field, parts will do.
  const terms = words.filter((word) => (kind === "phrase" || within !== undefined ? word.kind !== "whole" : word.kind !== "part")).map(({ term }) => term);
  if (terms.length === 0 && kind === "words") return undefined;
  return { kind, terms, sequence, ...(within && { within }) };
}

function joinConditions(kind: "all" | "any", of: (Condition | undefined)[]): Condition | undefined {
  const conditions = of.filter((condition) => condition !== undefined);
  // What asks for nothing lets everything through.
  if (conditions.length === 0 || (kind === "any" && conditions.length < of.length)) return undefined;
  return conditions.length === 1 ? conditions[0] : { kind, of: conditions };
}

function weigh({ term, kind }: Word): QueryTerm {
  return { term, kind, weight: kind === "part" ? PART_WEIGHT : 1 };
}

/** Questions in plain words: what is asked, of which time, and by which words. */
function readPlain(text: string, now: number): Pick<ParsedQuery, "terms" | "times" | "asks"> {
  const times = findTimes(text, now);
  const asks = { latest: new RegExp(LATEST, "i").test(text), when: WHEN.test(text), count: COUNT.test(text) };
  const latest = new Set(readWords((text.match(LATEST) ?? []).join(" ")).map(({ term }) => term));
  let rest = text;
  for (const { start, end } of times) rest = `${rest.slice(0, start)}${" ".repeat(end - start)}${rest.slice(end)}`;
  const all = readWords(rest).map(weigh);
  const words = all.filter(({ term }) => !isQuestionWord(term));
  const dates = [...times.flatMap(timeTerms), ...findWeekdays(text).map((term) => timeTerm(term))];
  const terms = (words.length + dates.length === 0 ? all : words).map((term) => (latest.has(term.term) ? { ...term, weight: LATEST_WEIGHT } : term));
  return { terms: mergeTerms([...terms, ...dates]), times, asks };
}

const questionStems = new Set([...QUESTION_WORDS].map((word) => stemWord(foldText(word))));
const isQuestionWord = (term: string) => questionStems.has(term);

const timeTerm = (term: string, weight = TIME_WEIGHT): QueryTerm => ({ term, weight, kind: "time" });

/** A day counts more than its month, a month more than its year. */
function timeTerms(time: NamedTime): QueryTerm[] {
  const words = timeWords(time);
  const finest = Math.max(...words.map(({ length }) => length));
  return words.map((word) => timeTerm(word, word.length === finest ? TIME_WEIGHT : TIME_WEIGHT / 2));
}

/** Each term once, by its greatest weight. */
function mergeTerms(terms: QueryTerm[]): QueryTerm[] {
  const merged = new Map<string, QueryTerm>();
  for (const term of terms) {
    const key = `${term.kind === "time" ? "@" : ""}${term.term}`;
    if ((merged.get(key)?.weight ?? 0) < term.weight) merged.set(key, term);
  }
  return [...merged.values()].slice(0, MOST_TERMS);
}
