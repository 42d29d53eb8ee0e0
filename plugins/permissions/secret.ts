import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { relative, resolve } from "node:path";
import { expandPattern, isPattern } from "./links.ts";
import { isInside, LONGEST_PATH, type Role, realPathOf, tokensOf } from "./reach.ts";
import type { Scope } from "./scope.ts";
import { contextOf, type Reader } from "./shell-reading.ts";
import { isLiteral, type ShellWord } from "./shell-word.ts";
import { UNKNOWNS, valuesOfWord } from "./values.ts";

/** Programs that are told the name of a file and do not open it. */
const NAMING = /^(echo|printf|test|\[|ls|stat|touch|chmod|basename|dirname|realpath|readlink|which|command|type|cd|mkdir)$/;

export const opensFiles = (program: string): boolean => !NAMING.test(program);

/** The secret file that a word provably names, also by a pattern, or undefined. What a program finds by itself is not seen here. */
export function findSecret(word: ShellWord, role: Role, { scope, reader }: { scope: Scope; reader: Reader }): string | undefined {
  if (reader.isSecret === undefined || role === "text" || role === "programs") return undefined;
  const home = word.text.replace(/^"?(\$HOME|\$\{HOME\})(?=\/)/, homedir());
  const values = isLiteral(word) ? [word.value] : home === word.text ? valuesOfWord(word, contextOf(scope, reader)) : [home.replaceAll('"', "")];
  const pieces = (values ?? []).flatMap((value) => (word.expands ? value.split(/[ \t\n]+/) : [value]));
  const tokens = pieces.flatMap((piece) => (UNKNOWNS.test(piece) ? [] : role === "code" ? quotedIn(piece) : tokensOf(piece)));
  for (const token of tokens.filter(({ length }) => length <= LONGEST_PATH)) {
    const found = secretOf(token, { isPattern: !isLiteral(word) && isPattern(token), scope, reader });
    if (found !== undefined) return found;
  }
  return undefined;
}

const quotedIn = (code: string): string[] => [...code.matchAll(/["'`]([\w./~-]{1,200})["'`]/g)].map(([, text]) => text as string);

interface Naming {
  isPattern: boolean;
  scope: Scope;
  reader: Reader;
}

/** As it was named, or the name of what a pattern finds. */
function secretOf(token: string, { isPattern, scope, reader }: Naming): string | undefined {
  const path = token.replace(/^~(?=\/)/, homedir());
  // Where the directory is not known, the name is.
  const starts = scope.directories ?? reader.roots.slice(0, 1);
  for (const start of starts) {
    const paths = isPattern ? expandPattern(path, isInside(start, reader.roots) ? start : reader.roots[0]!, reader.roots).paths : [resolve(start, path)];
    const found = paths.find((each) => existsSync(each) && (reader.isSecret!(each) || reader.isSecret!(realPathOf(each))));
    if (found !== undefined) return isPattern ? nameIn(reader.roots, found) : token;
  }
  return undefined;
}

function nameIn(roots: readonly string[], path: string): string {
  const root = roots.find((each) => path.startsWith(`${each}/`));
  return root === undefined ? path : relative(root, path);
}
