import { splitGit } from "./reading-git.ts";
import { findProgramFault } from "./reading-programs.ts";
import type { ShellReading } from "./shell-reading.ts";
import { isLiteral, type ShellWord } from "./shell-word.ts";

/**
 * Verbs that do one thing, within the workspace, whatever follows them: so often asked about that `always` covers them
 * with other words, too. Not those that delete, fetch code or reach another machine.
 */
const VERBS: Record<string, RegExp> = {
  git: /^(add|commit|checkout|switch|stash|merge|tag|mv)$/,
  ...Object.fromEntries(["npm", "pnpm", "yarn", "bun"].map((name) => [name, /^(test|run \S+|run-script \S+)$/])),
  cargo: /^(build|test|check|clippy|fmt|doc)$/,
  go: /^(build|test|vet|fmt)$/,
  make: /^[\w-]+$/,
};
const WHOLE = /^(tsc|eslint|prettier|biome|vitest|jest|pytest|ruff|mypy|mkdir|touch)$/;

/**
 * What an answer `always` covers: a pattern for each command of the line, as `git log *`. Undefined where it is the text
 * as it stands: something in it is not understood, reaches outside, writes by a redirect, or is none of the usual verbs.
 * A later call is covered when all its patterns are, so nothing can be added to a line.
 */
export function patternsForAlways({ commands, redirects, problem, reach, secret }: ShellReading): string[] | undefined {
  if (problem !== undefined || reach !== undefined || secret !== undefined || redirects.some(({ access }) => access === "write")) return undefined;
  const patterns = commands.map(({ words, opaque }) => (opaque === undefined ? patternOf(words) : undefined));
  return patterns.length > 0 && patterns.every((pattern) => pattern !== undefined) ? [...new Set(patterns)] : undefined;
}

/** The same verb of a command that only reads and of one that does not are two: `git branch --list`, `git branch x`. */
function patternOf(words: readonly ShellWord[]): string | undefined {
  const [program, ...rest] = words as [ShellWord, ...ShellWord[]];
  if (!isLiteral(program)) return undefined;
  const name = program.value;
  if (findProgramFault(words) === undefined) {
    const verb = name === "git" ? splitGit(rest.map(({ value }) => value))?.command : undefined;
    // `git stash list`: that verb with other words writes.
    if (verb !== undefined && VERBS.git!.test(verb)) return undefined;
    return `${verb === undefined ? name : `${name} ${verb}`} *`;
  }
  if (WHOLE.test(name)) return `${name} *`;
  if (!Object.hasOwn(VERBS, name)) return undefined;
  const [first, second] = rest.map((word) => (isLiteral(word) ? word.value : ""));
  const verb = [first ?? "", `${first} ${second}`].find((text) => VERBS[name]!.test(text));
  return verb === undefined ? undefined : `${name} ${verb} *`;
}
