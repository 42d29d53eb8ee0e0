import type { Word, WordPart } from "unbash";

/** A word of a command, with its quotes removed. */
export interface ShellWord {
  /** As written. */
  text: string;
  /** Quotes and backslashes removed; expansions stand in it as written. */
  value: string;
  /** It holds a variable, a substitution or arithmetic: its value is known only when it runs. */
  expands: boolean;
  /** It holds a wildcard or braces that the shell expands. */
  globs: boolean;
  parts: readonly WordPart[];
}

export function readWord(word: Word): ShellWord {
  const parts = word.parts ?? [];
  return { text: word.text, value: word.value, parts, expands: parts.some(isExpansion), globs: parts.some(isGlob) };
}

/** Means exactly what it says. */
export const isLiteral = (word: ShellWord): boolean => !word.expands && !word.globs;

const isGlob = ({ type }: WordPart): boolean => type === "Glob" || type === "ExtendedGlob" || type === "BraceExpansion";

function isExpansion(part: WordPart): boolean {
  switch (part.type) {
    case "Literal":
    case "SingleQuoted":
    case "AnsiCQuoted":
      return false;
    case "DoubleQuoted":
    case "LocaleString":
      return part.parts.some(isExpansion);
    case "Glob":
    case "ExtendedGlob":
    case "BraceExpansion":
      // What is hidden in braces or brackets: {$X,b}.
      return (part.parts ?? []).some(isExpansion) || /[$`]/.test(part.text);
    default:
      return true;
  }
}
