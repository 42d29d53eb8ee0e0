import { existsSync, statSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { expandPattern, isPattern } from "./links.ts";
import { isInside, outside, realPathOf } from "./reach.ts";
import { type Directories, joinDirectories } from "./scope.ts";
import { isLiteral, type ShellWord } from "./shell-word.ts";
import { programOf } from "./unwrap.ts";
import { ANYTHING, type Context, UNKNOWNS, valuesOfWord } from "./values.ts";

/** What the whole text has done to directories so far. */
export interface Trail {
  roots: readonly string[];
  visited: Set<string>;
  /** What may no longer be there. */
  removed: Set<string>;
}

/** After more, nobody can say where the shell is. */
const MOST_VISITED = 100;

/** `cd` and its kin. Says why what it does cannot be judged, or nothing. */
export function changeDirectory(words: readonly ShellWord[], context: Context, trail: Trail): string | undefined {
  const program = programOf(words);
  if (program !== "cd" && program !== "pushd" && program !== "popd") return undefined;
  const { scope } = context;
  const before = scope.directories;
  const target = words.slice(1).find(({ value }) => !/^-[LPe@]+$|^--$/.test(value));
  if (program === "cd" && target === undefined) return outside("cd");
  for (const directory of before ?? []) trail.visited.add(directory);
  if (program === "popd" || target === undefined || /^-$|^[-+][\dn]/.test(target.value)) {
    scope.directories = joinDirectories(before, [...trail.visited]);
    return undefined;
  }
  const values = valuesOfWord(target, context) ?? [];
  if (values.some((value) => value.includes(ANYTHING)))
    return `where "${program} ${target.text}" leads is known only when it runs, so what follows cannot be judged`;
  if (values.includes("") && !/["']/.test(target.text)) return outside("cd");
  const isKnown = values.length > 0 && trail.visited.size <= MOST_VISITED && !scope.variables.has("CDPATH") && !values.some((value) => UNKNOWNS.test(value));
  const targets = isKnown ? joinDirectories(...values.map((value) => targetsOf(value, before, { trail, isLiteral: isLiteral(target) }))) : undefined;
  scope.directories = targets;
  scope.ifFailed = { directories: targets !== undefined && targets.length > 0 && targets.every((path) => isThere(path, context, trail)) ? [] : before };
  for (const directory of targets ?? []) trail.visited.add(directory);
  return undefined;
}

/** As the path is written, which is where the shell goes back from, and as it is. */
function targetsOf(value: string, from: Directories, { trail, isLiteral }: { trail: Trail; isLiteral: boolean }): Directories {
  if (from === undefined && !isAbsolute(value)) return undefined;
  const starts = from ?? ["/"];
  const paths = starts.flatMap((start) => (!isLiteral && isPattern(value) ? expandPattern(value, start, trail.roots).paths : [resolve(start, value)]));
  return joinDirectories(
    paths,
    paths.map((path) => realPathOf(path)),
  );
}

/** Whether it is a directory now that nothing before has removed, or one that the text has made. */
const isThere = (path: string, { scope }: Context, { removed }: Trail): boolean => scope.made.has(path) || (isDirectory(path) && !isInside(path, [...removed]));

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

const REMOVING = new Set(["rm", "rmdir", "mv", "unlink"]);

/** Directories that a command makes, and what it removes. */
export function noteFiles(words: readonly ShellWord[], context: Context, trail: Trail): void {
  const program = programOf(words);
  if (program === "mkdir") noteMade(words.slice(1), context, trail);
  if (!REMOVING.has(program)) return;
  const paths = words.slice(1).flatMap((word) => (word.value.startsWith("-") ? [] : pathsOf(word, context)));
  for (const path of paths) trail.removed.add(trail.removed.size > MOST_VISITED ? "/" : path);
  context.scope.made = new Set([...context.scope.made].filter((made) => !isInside(made, paths)));
}

/** Where an operand may lie; the root folder where nobody knows. */
function pathsOf(word: ShellWord, context: Context): string[] {
  const values = valuesOfWord(word, context);
  const { directories } = context.scope;
  if (values === undefined || directories === undefined || values.some((value) => UNKNOWNS.test(value) || isPattern(value))) return ["/"];
  return values.flatMap((value) => directories.map((directory) => resolve(directory, value)));
}

/** What of a path is there now. */
const nearestOf = (path: string): string => (existsSync(path) ? path : nearestOf(dirname(path)));

function noteMade(words: readonly ShellWord[], context: Context, trail: Trail): void {
  const { scope } = context;
  const withParents = words.some(({ value }) => /^-[a-z]*p|^--parents$/.test(value));
  const paths = words.filter(({ value }) => !value.startsWith("-")).flatMap((word) => pathsOf(word, context));
  const sure = paths.filter(
    (path) => path !== "/" && (withParents ? isDirectory(nearestOf(path)) : isThere(dirname(path), context, trail) && !existsSync(path)),
  );
  const made = new Set(scope.made);
  for (const path of sure) for (let at = path; !made.has(at) && at !== dirname(at) && !isDirectory(at); at = dirname(at)) made.add(at);
  for (const path of sure) made.add(path);
  scope.made = made;
  if (withParents && sure.length === paths.length) scope.ifFailed = { directories: [] };
}
