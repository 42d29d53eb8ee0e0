/*
 * What is never seen, or steers a terminal. Three ways to deal with it: `cleanText` for a model, whose input holds what a
 * person would see; `withoutControls` for a screen, which loses the characters and hides nothing that stands between them;
 * `showHidden` for what somebody decides about. Each is linear on any input and costs clean text one search.
 */

/** Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties, 15.1) as UTF-16, controls, annotations, and a return without its newline. */
const SUSPECT = new RegExp(
  [
    "[\\0-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f",
    "\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\ud82f\\ud834\\udb40-\\udb43]|\\r(?!\\n)",
  ].join(""),
);

/** Scripts in which a joiner between two letters changes what is read. */
const JOINING = [
  ...["Arabic", "Syriac", "Mandaic", "Nko", "Mongolian", "Phags_Pa", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu"],
  ...["Kannada", "Malayalam", "Sinhala", "Khmer", "Myanmar", "Thai", "Lao", "Tibetan"],
].map((name) => `\\p{Script=${name}}`);

/** One of them at a time, and only where it does something: a row of them carries a text that nobody sees. */
const NEEDED = [
  "(?<=[\\p{Extended_Pictographic}\\ufe0f\\u{1f3fb}-\\u{1f3ff}])\\u200d(?=\\p{Extended_Pictographic})",
  `(?<=[${JOINING.join("")}])[\\u200c\\u200d]`,
  "(?<=[\\p{Emoji}\\p{S}\\p{Lo}])[\\ufe00-\\ufe0f]",
  "(?<=\\p{Script=Han})[\\u{e0100}-\\u{e01ef}]",
  "(?<=\\p{Script=Mongolian})[\\u180b-\\u180f]",
  "(?<=[\\u1100-\\u115e\\ua960-\\ua97c])\\u1160|\\u115f(?=[\\u1161-\\u11a7])",
].join("|");

const UNSEEN = `(?!${NEEDED})[\\p{Default_Ignorable_Code_Point}\\ufff9-\\ufffb]`;
const CONTROL = "[\\0-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]";
/** What a string sequence carries ends at the next control character, whether it is complete or not: so no start is looked at twice. */
const CARRIED = "[^\\0-\\x08\\x0a-\\x1f\\x7f-\\x9f]*";
/** Whole sequences (ECMA-48): CSI; OSC, DCS, SOS, PM and APC with their ends; the short ones. Of one that is cut off the beginning. */
const SEQUENCE = [
  "(?:\\x1b\\[|\\x9b)[\\x30-\\x3f]*[\\x20-\\x2f]*[\\x40-\\x7e]",
  `(?:\\x1b[\\]PX^_]|[\\x90\\x98\\x9d-\\x9f])${CARRIED}(?:\\x07|\\x1b\\\\|\\x9c)`,
  "\\x1b[\\x20-\\x2f]*[\\x30-\\x7e]",
].join("|");

// Made with the first text that is not clean: to read their classes of Unicode takes 3 ms, which no start should wait for.
let hidden: RegExp | undefined;
const hiddenPattern = (): RegExp => (hidden ??= new RegExp(`${SEQUENCE}|(?:${UNSEEN})+|${CONTROL}+`, "gu"));
let character: RegExp | undefined;
const characterPattern = (): RegExp => (character ??= new RegExp(`\\r|${UNSEEN}|${CONTROL}`, "gu"));
const RETURNS = /\r+\n?/g;

export interface CleanText {
  text: string;
  /** Characters that were left out, in UTF-16 units. */
  removed: number;
}

/** As `cleanText`. A return that overwrites its line, as of a progress bar, begins a new one. */
export function cleanCounted(text: string): CleanText {
  if (!SUSPECT.test(text)) return { text, removed: 0 };
  const shown = text.replace(hiddenPattern(), "");
  const clean = shown.includes("\r") ? shown.replace(RETURNS, (found) => (found.endsWith("\n") ? "\r\n" : "\n")) : shown;
  return { text: clean, removed: text.length - shown.length };
}

/**
 * The text as a model should get it: without terminal sequences, control characters but tab and newline, marks that reorder
 * or hide text, tags and other characters that nobody sees. Joiners and selectors stay where a script or an emoji needs them.
 */
export const cleanText = (text: string): string => cleanCounted(text).text;

/** Text that cannot move the cursor, colour the screen, reorder itself or speak to the terminal. What stands between such characters is shown. */
export const withoutControls = (text: string): string => (SUSPECT.test(text) || text.includes("\r") ? text.replace(characterPattern(), "") : text);

/** The same with the code of each in its place: whoever decides sees all that there is. */
export const showHidden = (text: string): string => (SUSPECT.test(text) ? text.replace(characterPattern(), codeOf) : text);

const codeOf = (character: string): string => (character === "\r" ? "\\r" : `\\u{${character.codePointAt(0)?.toString(16)}}`);
