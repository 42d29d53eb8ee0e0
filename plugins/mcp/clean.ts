import { cleanText } from "agent-runtime";

/** What else a person does not see and a model reads: separators of lines, private and unassigned characters, what cleaning a call's output keeps for scripts. */
const HIDDEN = /\p{C}|\p{Zl}|\p{Zp}|\p{Default_Ignorable_Code_Point}/gu;

/** The visible text, at most `longest` characters of it. */
export function cleanShort(text: string, longest: number): string {
  // More than is kept: a text is not searched that is thrown away anyhow.
  const seen = cleanText(text.slice(0, longest * 4)).replace(HIDDEN, (character) => (character === "\n" || character === "\t" ? character : ""));
  return seen.length > longest ? `${seen.slice(0, longest - 1).replace(/[\ud800-\udbff]$/, "")}…` : seen;
}
