import type { Observation } from "./observation.ts";
import { foldText, stemWord } from "./words.ts";

/** A word as it counts when two texts are compared; `hard`: a number, a name of code, a path or what turns a sentence round, where one letter is another thing. */
export interface Token {
  term: string;
  hard: boolean;
}

/** Words that carry nothing. What binds, limits or turns round (not, only, if, before, on, off, without) is none of them. */
const FILLER = new Set(
  `a an the and of to in for from with as by at is are was were be been being this that these those it its which who also just very so then there here
  we i you they he she has have had do does did will would shall should can could may might must our your their my`.split(/\s+/),
);
const TURNING = new Set(
  `not no never nothing none neither nor cannot without only except unless until before after if else instead on off up down over under above below
  more less least most all any some first last old new true false yes left right both either always sometimes fail pass enable disable allow deny`.split(/\s+/),
);
const CHUNK = /\$?[\p{L}\p{N}_]+(?:(?:::|[.\-/\\:@'’])[\p{L}\p{N}_]+)*/gu;
const NAME = /[\d_./\\:@$]|\p{Ll}\p{Lu}|^\p{Lu}{2,}$/u;
const NEGATED = /^(\p{L}+?)n['’]t$/iu;

/** The words of a text in their order, as they are compared: stemmed, without filler. */
export function readTokens(text: string): Token[] {
  const tokens: Token[] = [];
  for (const chunk of text.match(CHUNK) ?? []) tokens.push(...(known.get(chunk) ?? learn(chunk)));
  return tokens;
}

/** The same words come again and again. */
const known = new Map<string, readonly Token[]>();
const KNOWN = 50_000;

function learn(chunk: string): readonly Token[] {
  const tokens = toTokens(chunk);
  if (known.size >= KNOWN) known.clear();
  known.set(chunk, tokens);
  return tokens;
}

function toTokens(chunk: string): Token[] {
  if (NEGATED.test(chunk) || /^cannot$/i.test(chunk)) return [{ term: "not", hard: true }];
  const word = chunk.replace(/['’]s$/i, "");
  const folded = foldText(word);
  if (NAME.test(word)) return [{ term: folded, hard: true }];
  if (folded.includes("-")) return folded.split("-").flatMap(toTokens);
  if (FILLER.has(folded)) return [];
  const stem = stemWord(folded);
  return [{ term: stem, hard: TURNING.has(folded) || TURNING.has(stem) }];
}

export const termsOf = (text: string): string[] => readTokens(text).map(({ term }) => term);

/** One sentence of an observation. */
export interface Statement {
  text: string;
  /** It is what the observation is about: its title, or one of two at most. */
  isMain: boolean;
}

const LONGEST = 300;

/** What an observation says, sentence by sentence, its title first. */
export function readStatements({ title, subtitle, facts, narrative }: Pick<Observation, "title" | "subtitle" | "facts" | "narrative">): Statement[] {
  const heads = [title].flatMap(toSentences);
  const others = [subtitle, ...facts, narrative].flatMap(toSentences);
  const isShort = others.length <= 2;
  const titled = new Set(termsOf(title));
  return [...heads.map((text) => ({ text, isMain: true })), ...others.map((text) => ({ text, isMain: isShort || isCovered(titled, termsOf(text)) }))];
}

/** The title says most of it, too. */
const isCovered = (titled: ReadonlySet<string>, terms: string[]): boolean =>
  titled.size >= 2 && terms.length > 0 && terms.filter((term) => titled.has(term)).length >= 0.7 * Math.min(titled.size, terms.length);

const toSentences = (text: string): string[] =>
  text
    .split(/(?<=[.!?;])\s+|\n+/)
    .map((sentence) =>
      sentence
        .replace(/[`*"“”]/g, "")
        .replace(/[.!;,:\s]+$/, "")
        .trim(),
    )
    .filter((sentence) => sentence !== "" && sentence.length <= LONGEST);

/** The files that an observation names; none means that nobody knows. */
export const filesOf = ({ filesModified, filesRead }: Pick<Observation, "filesModified" | "filesRead">): string[] =>
  filesModified.length > 0 ? filesModified : filesRead;

/** They may speak of the same thing: no files of theirs say otherwise. */
export function mayBeSameThing(a: Observation, b: Observation): boolean {
  const [left, right] = [filesOf(a), new Set(filesOf(b))];
  return left.length === 0 || right.size === 0 || left.some((file) => right.has(file));
}
