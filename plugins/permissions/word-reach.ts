import { findWordReach, type Place, type Role } from "./reach.ts";
import type { Scope } from "./scope.ts";
import { contextOf, placeOf, type Reader } from "./shell-reading.ts";
import { isLiteral, type ShellWord } from "./shell-word.ts";
import { type Context, INPUT, UNKNOWNS, valuesOfWord } from "./values.ts";

/** Whether a word holds what a command takes from its input. */
export const comesFromInput = (word: ShellWord, context: Context): boolean =>
  word.expands && (valuesOfWord(word, context) ?? []).some((value) => value.includes(INPUT));

/** Why one of the values that a word may have reaches outside, or undefined. */
export function judgeWord(word: ShellWord, role: Role, scope: Scope, reader: Reader, isGlobbed = true): string | undefined {
  const place = placeOf(scope, reader);
  if (isLiteral(word) || role === "text") return findWordReach(word.value, { role, globs: false, place });
  const values = valuesOfWord(word, contextOf(scope, reader));
  if (values === undefined) return `"${word.text}" may lead outside the workspace`;
  // Without quotes, the shell makes words of what stands between spaces.
  const pieces = word.expands && role !== "code" ? values.flatMap((value) => value.split(/[ \t\n]+/)) : values;
  for (const piece of new Set(pieces)) {
    const reason = judgeValue(piece, word, { role, globs: isGlobbed && (word.globs || word.expands), place });
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function judgeValue(value: string, word: ShellWord, judged: { role: Role; globs: boolean; place: Place }): string | undefined {
  // What is not known ends a path: only what stands before it can be judged.
  const [known, ...unknown] = value.split(UNKNOWNS);
  if (unknown.length === 0 || judged.role === "code") return findWordReach(value.replaceAll(new RegExp(UNKNOWNS, "g"), ""), judged);
  if (unknown.some((text) => /(^|\/)\.\.(\/|$)/.test(text))) {
    return known === "" ? `"${word.text}" may lead outside the workspace` : findWordReach([known, ...unknown].join("x"), judged);
  }
  return findWordReach(known as string, judged);
}
