import { type Dirent, existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { isInside, isSystemProgram, outside, type Place, realPath } from "./reach.ts";
import type { ShellWord } from "./shell-word.ts";

/** Entries of directories that are looked at for one word. */
const MOST_ENTRIES = 100_000;

export const isPattern = (text: string): boolean => /[*?[(]/.test(text);

/** Where a pattern leads from one directory. More may match here than in the shell, never less. */
export function expandPattern(pattern: string, directory: string, roots: readonly string[]): { paths: string[]; reach?: string } {
  let places = [pattern.startsWith("/") ? "/" : directory];
  let entries = 0;
  const segments = pattern.split("/").filter((segment) => segment !== "" && segment !== ".");
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    const wantsFolder = !isLast || pattern.endsWith("/");
    const found = new Set<string>();
    for (const place of places) {
      if (segment === "..") found.add(dirname(place));
      else if (!/[*?[(]/.test(segment)) found.add(realPath(join(place, segment)) ?? join(place, segment));
      else {
        // Older shells take .* for the folder above, too.
        if (!isInside(place, roots) || (!isLast && segment.startsWith("."))) return { paths: [], reach: outside(pattern) };
        const names = readEntries(place).filter(({ name }) => mayMatch(name, segment));
        if ((entries += names.length) > MOST_ENTRIES) return { paths: [], reach: tooMany(pattern) };
        for (const entry of names) if (!wantsFolder || (!entry.isFile() && existsSync(join(place, entry.name)))) found.add(realEntry(place, entry));
      }
    }
    places = [...found];
  }
  const leak = places.find((place) => !isInside(place, roots));
  return leak === undefined ? { paths: places } : { paths: [], reach: `"${pattern}" matches a link that leads to ${leak}, which is outside the workspace` };
}

/** By what stands before the first wildcard and behind the last. */
function mayMatch(name: string, segment: string): boolean {
  const [before] = segment.split(/[*?[(@!+\\]/, 1) as [string];
  const after = /[^*?\])\\]*$/.exec(segment)?.[0] ?? "";
  return name.startsWith(before) && name.endsWith(after) && (!name.startsWith(".") || /^[.[?@!+*(]*\./.test(segment) || segment.startsWith("["));
}

const realEntry = (directory: string, entry: Dirent): string =>
  (entry.isSymbolicLink() ? realPath(join(directory, entry.name)) : undefined) ?? join(directory, entry.name);

function readEntries(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    // It is not there, no directory, or not readable: nothing matches.
    return [];
  }
}

const tooMany = (subject: string): string => `whether ${subject} leads outside the workspace cannot be judged: there are too many files`;

/** Options with which programs follow the links that they meet. */
const FOLLOWING: Record<string, RegExp> = {
  find: /^-(L|follow)$/,
  rg: /^-[a-zA-Z]*L|^--follow$/,
  fd: /^-[a-zA-Z]*L|^--follow$/,
  ag: /^-[a-zA-Z]*f|^--follow$/,
  tree: /^-[a-zA-Z]*l/,
  ...Object.fromEntries(["grep", "egrep", "fgrep", "zgrep"].map((name) => [name, /^-[a-zA-Z]*R|^--dereference-r/])),
  ...Object.fromEntries(["ls", "du", "cp", "chown", "chmod", "chgrp"].map((name) => [name, /^-[a-zA-Z]*L|^--dereference$/])),
  rsync: /^-[a-zA-Z]*L|^--copy-(links|unsafe)/,
  tar: /^-[a-zA-Z]*h|^[a-zA-Z]*h[a-zA-Z]*$|^--dereference$/,
  zip: /^-[a-zA-Z]*r|^--recurse/,
  diff: /^-[a-zA-Z]*r|^--recursive$/,
  scp: /^-[a-zA-Z]*r/,
};

/** Why a program that follows links reaches outside, or undefined. */
export function findFollowReach(program: string, words: readonly ShellWord[], { directories, roots }: Place): string | undefined {
  const follows = Object.hasOwn(FOLLOWING, program) && FOLLOWING[program];
  const option = follows && words.find(({ value }, index) => follows.test(value) && (program !== "tar" || index === 0 || value.startsWith("-")));
  if (!option) return undefined;
  const command = `"${program} ${option.value}"`;
  if (directories === undefined) return `${command} cannot be judged, because the directory is not known at that point`;
  const isPlain = words.every(({ expands, globs }) => !expands && !globs);
  const named = words.filter(({ value }) => !value.startsWith("-"));
  for (const directory of directories) {
    const below = isPlain ? named.map(({ value }) => join(directory, value)).filter((path) => existsSync(path)) : [];
    const found = findLinkOut(below.length > 0 ? below : [directory], roots);
    if (found !== undefined) return `${command} follows links, and ${found}`;
  }
  return undefined;
}

function findLinkOut(directories: string[], roots: readonly string[]): string | undefined {
  const open = directories.map((directory) => realPath(directory) ?? directory);
  const seen = new Set(open);
  let entries = 0;
  for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
    for (const entry of readEntries(directory)) {
      if (++entries > MOST_ENTRIES) return tooMany("one of them");
      const path = join(directory, entry.name);
      if (!entry.isDirectory() && !entry.isSymbolicLink()) continue;
      const real = entry.isSymbolicLink() && existsSync(path) ? realPath(path) : path;
      if (real === undefined || isSystemProgram(real) || seen.has(real)) continue;
      if (!isInside(real, roots)) return `${path} leads outside the workspace`;
      seen.add(real);
      open.push(real);
    }
  }
  return undefined;
}
