import { stripVTControlCharacters } from "node:util";

/**
 * Characters that a person does not see and a model reads: control characters, those that join or reorder text, tags,
 * variation selectors, fillers, private and unassigned ones.
 */
const HIDDEN = /\p{C}|\p{Zl}|\p{Zp}|\p{Default_Ignorable_Code_Point}/gu;

/** The visible text, at most `longest` characters of it. */
export function cleanText(text: string, longest: number): string {
  // Twice what is kept: a text is not searched that is thrown away anyhow.
  const seen = stripVTControlCharacters(text.slice(0, longest * 4)).replace(HIDDEN, (character) => (character === "\n" || character === "\t" ? character : ""));
  return seen.length > longest ? `${seen.slice(0, longest - 1).replace(/[\ud800-\udbff]$/, "")}…` : seen;
}
