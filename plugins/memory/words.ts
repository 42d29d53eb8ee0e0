import { stemmer } from "stemmer";
import { SAME_WORDS, STOP_WORDS } from "./word-lists.ts";

/** `word`: plain and stemmed; `whole`: an identifier, a path or a number as it stands; `part`: a piece of one. */
export interface Word {
  term: string;
  kind: "word" | "whole" | "part";
}

/** Letters, digits and what holds an identifier, a path or a word with an apostrophe together. */
const CHUNK = /[\p{L}\p{N}\p{M}_$]+(?:(?:::|->|['’.\-/\\])[\p{L}\p{N}\p{M}_$]+)*/gu;
/** Languages written without spaces. */
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}ー]+/gu;
const PIECES = /\p{Lu}+(?=\p{Lu}\p{Ll})|\p{Lu}?[\p{Ll}\p{Lo}\p{M}]+|\p{Lu}+|\p{N}+|[\p{L}\p{M}]+/gu;
const PLAIN = /^(?:\p{Lu}?[\p{Ll}\p{Lo}]+|\p{Lu}+s?)$/u;
const LONGEST_WORD = 64;
const STEMS_KEPT = 50_000;

/** Case, accents and width do not matter. */
export function foldText(text: string): string {
  return isAscii(text) ? text.toLowerCase() : text.normalize("NFKD").replace(/[̀-ͯ]/g, "").normalize("NFC").toLowerCase();
}

const isAscii = (text: string) => /^[\x00-\x7f]*$/.test(text);

const stems = new Map<string, string>();

/** The form under which a folded word is counted: Porter's stem, where the word is English letters; see also `SAME_WORDS`. */
export function stemWord(word: string): string {
  const known = stems.get(word);
  if (known !== undefined) return known;
  const same = SAME_WORDS.get(word) ?? word;
  const stem = same.length > 2 && /^[a-z]+$/.test(same) ? stemmer(same) : same;
  if (stems.size < STEMS_KEPT) stems.set(word, stem);
  return stem;
}

/** What a text is found by. Identifiers are kept whole besides their parts, so that the exact one comes before its relatives. */
export function readWords(text: string): Word[] {
  const words: Word[] = [];
  for (const chunk of chunksOf(text)) addChunk(words, chunk);
  return words.filter(({ term, kind }) => kind === "whole" || !STOP_WORDS.has(term));
}

/** Every word of a text in its order, stop words too, identifiers as their parts: what phrases are compared by. */
export function readSequence(text: string): string[] {
  return chunksOf(text).flatMap((chunk) => {
    const runs = chunk.match(CJK);
    if (runs !== null) return [...foldText(chunk)];
    return piecesOf(chunk.replace(/['’]s$/i, "")).map((piece) => stemWord(foldText(piece)));
  });
}

function chunksOf(text: string): string[] {
  return text.replace(/(\d),(?=\d{3}(?!\d))/g, "$1").match(CHUNK) ?? [];
}

function piecesOf(chunk: string): string[] {
  return PLAIN.test(chunk) ? [chunk] : (chunk.match(PIECES) ?? []);
}

function addChunk(words: Word[], chunk: string): void {
  if (chunk.length > 8 * LONGEST_WORD) return;
  const runs = chunk.match(CJK);
  if (runs !== null) {
    for (const run of runs) addBigrams(words, foldText(run));
    for (const rest of chunk.replace(CJK, " ").match(CHUNK) ?? []) addChunk(words, rest);
  } else if (PLAIN.test(chunk)) addPlain(words, chunk, "word");
  else if (/['’]/.test(chunk)) addApostrophe(words, chunk);
  else if (/[/\\]/.test(chunk)) addPath(words, chunk);
  else addIdentifier(words, chunk);
}

function addPlain(words: Word[], word: string, kind: Word["kind"]): void {
  const folded = foldText(word);
  if (folded.length > LONGEST_WORD) return;
  // A stop word is one as it is written: "does" would be "doe" as a stem.
  if (STOP_WORDS.has(folded)) return;
  words.push({ term: stemWord(folded), kind });
}

/** "don't" says not; "Ada's" is Ada. */
function addApostrophe(words: Word[], chunk: string): void {
  const negated = /^(\p{L}+)n['’]t$/iu.exec(chunk);
  if (negated !== null) {
    addPlain(words, { ca: "can", wo: "will", sha: "shall" }[negated[1]!.toLowerCase()] ?? negated[1]!, "word");
    words.push({ term: "not", kind: "word" });
    return;
  }
  const base = chunk.replace(/['’](?:s|d|m|ll|re|ve)$/i, "");
  if (/['’]/.test(base)) for (const part of base.split(/['’]/)) addChunk(words, part);
  else addChunk(words, base);
}

/** Two neighbouring signs are one word, as a dictionary is not at hand. */
function addBigrams(words: Word[], run: string): void {
  const signs = [...run];
  if (signs.length === 1) words.push({ term: run, kind: "word" });
  for (let i = 0; i + 1 < signs.length; i++) words.push({ term: `${signs[i]}${signs[i + 1]}`, kind: "word" });
}

/** A path is found whole, by its last parts and by each part. */
function addPath(words: Word[], chunk: string): void {
  const segments = foldText(chunk)
    .split(/[/\\]+/)
    .filter((segment) => segment !== "");
  for (let from = Math.max(0, segments.length - 3); from < segments.length - 1; from++) addWhole(words, segments.slice(from).join("/"));
  if (segments.length > 3) addWhole(words, segments.join("/"));
  for (const segment of chunk.split(/[/\\]+/)) if (segment !== "") addIdentifier(words, segment);
}

/** `openStore`, `open_store` and `open-store` are one identifier; a dot is kept, as in `store.ts`. */
function addIdentifier(words: Word[], chunk: string): void {
  const pieces = piecesOf(chunk);
  if (pieces.length < 2) {
    for (const piece of pieces) addPlain(words, piece, "word");
    return;
  }
  const dotted = chunk
    .split(/\.|::|->/)
    .map(joinPieces)
    .filter((part) => part !== "");
  addWhole(words, dotted.join("."));
  if (dotted.length > 1) for (const part of chunk.split(/\.|::|->/)) if (piecesOf(part).length > 1) addWhole(words, joinPieces(part));
  for (const piece of pieces) if (piece.length > 1) addPlain(words, piece, "part");
}

const joinPieces = (part: string) => foldText(part.replace(/[_$-]/g, ""));

function addWhole(words: Word[], term: string): void {
  if (term.length <= 4 * LONGEST_WORD) words.push({ term, kind: "whole" });
}
