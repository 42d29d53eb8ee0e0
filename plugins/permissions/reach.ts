import { existsSync, readdirSync, readlinkSync, realpathSync } from "node:fs";
import { dirname, isAbsolute, join, normalize, relative, resolve } from "node:path";
import { expandPattern, isPattern } from "./links.ts";
import type { Directories } from "./scope.ts";
import type { ShellWord } from "./shell-word.ts";

/** Where words are judged. */
export interface Place {
  /** Real paths that may be used. */
  roots: readonly string[];
  /** Where the shell may be at this point of the command; undefined where that is not known, as after `cd "$X"`. */
  directories: Directories;
}

/** How a word is taken: as a path, as text that is never one, as code that may hold paths, or as programs between colons. */
export type Role = "path" | "text" | "code" | "programs";

const SYSTEM_PROGRAMS = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin", dirname(process.execPath)];
const HARMLESS_DEVICE = /^\/dev\/(null|zero|full|random|urandom|stdin|stdout|stderr|fd\/\d+)$/;

export const isSystemProgram = (path: string): boolean => SYSTEM_PROGRAMS.includes(path) || SYSTEM_PROGRAMS.includes(dirname(path));

/** Why a program's name reaches outside, or undefined. Programs of the system are ordinary. */
export function findProgramReach(name: string, place: Place): string | undefined {
  if (!name.includes("/")) return undefined;
  if (isSystemProgram(normalize(name))) return undefined;
  if (isAbsolute(name) || name.startsWith("~") || place.directories === undefined) return findPathReach(name, place);
  return judgeFrom(place.directories, name, (directory) => isInside(resolve(directory, name), place.roots));
}

/** Why a path is not inside from each of the directories. */
function judgeFrom(directories: readonly string[], path: string, isFine: (directory: string) => boolean): string | undefined {
  const fine = directories.filter(isFine);
  if (fine.length === directories.length) return undefined;
  return fine.length === 0 ? outside(path) : `${outside(path)} if a cd before it fails or is not reached (join them: cd DIR && …)`;
}

/** Why a word's value reaches outside the workspace, or undefined. `value` has known variables replaced. */
export function findWordReach(value: string, { role, globs, place }: { role: Role; globs: boolean; place: Place }): string | undefined {
  if (role === "text") return undefined;
  if (role === "code") return findCodeReach(value, place);
  const tokens = role === "programs" ? value.split(":").filter((piece) => !isSystemProgram(piece)) : tokensOf(value);
  for (const token of tokens) {
    const reason = findPathReach(token, place) ?? (globs && isPattern(token) ? findPatternReach(token, place) : undefined);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** The pieces of a word that a program may take as paths: `--file=/x`, `-I/x`, `a:/x`, `@/x`, `{a,/x}`. */
export function tokensOf(value: string): string[] {
  const withoutUrls = value.replace(/[a-z][a-z0-9+.-]{1,20}:\/\/[^\s'"]*/gi, (url) => (/^file:/i.test(url) ? url.slice(7) : ""));
  const attached = /^-[A-Za-z]+((?:[/~]|\.\.(?:\/|$)).*)/.exec(withoutUrls)?.[1];
  // A lone / behind an option is a separator: cut -d/, awk -F/, sort -t/.
  if (attached !== undefined) return attached === "/" && /^-[dFst]/.test(value) ? [] : [attached];
  const pieces = withoutUrls.split(/[=:,@{}]/);
  return [...new Set(withoutUrls.startsWith("-") ? pieces.slice(1) : [withoutUrls, ...pieces])].filter((piece) => piece !== "");
}

const findPatternReach = (pattern: string, { directories, roots }: Place): string | undefined =>
  (directories ?? (isAbsolute(pattern) ? ["/"] : [])).map((directory) => expandPattern(pattern, directory, roots).reach).find((reach) => reach !== undefined);

/** Longer ones are refused by the system (PATH_MAX of Linux). */
export const LONGEST_PATH = 4096;

function findPathReach(token: string, place: Place): string | undefined {
  if (/^~([\w.+-]*)(\/|$)/.test(token)) return outside(token);
  if (isAbsolute(token)) return token.length > LONGEST_PATH || isOutsidePath(normalize(token), place.roots) ? outside(token) : undefined;
  const climbs = token.split("/").includes("..");
  if (token.length > LONGEST_PATH) return climbs ? outside(token) : undefined;
  if (place.directories === undefined) return climbs ? `"${token}" cannot be judged, because the directory is not known at that point` : undefined;
  return judgeFrom(place.directories, token, (directory) => follow(directory, token, place.roots));
}

/** An absolute path counts as one when its first folder stands in the root folder, or it exists: `/api/users` in a test is none. */
function isOutsidePath(path: string, roots: readonly string[]): boolean {
  if (HARMLESS_DEVICE.test(path) || isInside(realPathOf(path), roots)) return false;
  return isInside(path, roots) || path === "/" || rootFolders().has(path.split("/")[1] as string) || existsSync(path);
}

let folders: Set<string> | undefined;
const rootFolders = (): Set<string> => (folders ??= new Set(readdirSync("/")));

/** Goes along a path as the system does, links included; true where it ends in the roots. */
function follow(directory: string, path: string, roots: readonly string[]): boolean {
  let current = realPathOf(directory);
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    current = segment === ".." ? dirname(current) : (realPath(join(current, segment)) ?? join(current, segment));
  }
  return isInside(current, roots);
}

/** Of one text, which names the same folders again and again. */
const known = new Map<string, string | undefined>();
export const forgetPaths = (): void => known.clear();

export function realPath(path: string): string | undefined {
  if (!known.has(path)) known.set(path, readRealPath(path));
  return known.get(path);
}

function readRealPath(path: string): string | undefined {
  try {
    return realpathSync.native(path);
  } catch {
    // It does not exist yet, or is no path at all.
    return readDangling(path);
  }
}

/** Where a link leads that leads to nothing yet: writing through it makes the file there. */
function readDangling(path: string): string | undefined {
  try {
    const target = resolve(dirname(path), readlinkSync(path));
    return target.startsWith(path) ? undefined : realPathOf(target);
  } catch {
    return undefined;
  }
}

/** The real path of the nearest parent that exists, and the rest. */
export function realPathOf(path: string): string {
  for (let parent = path; parent !== "/" && parent !== "."; parent = dirname(parent)) {
    const real = realPath(parent);
    if (real !== undefined) return join(real, relative(parent, path));
  }
  return path;
}

export const isInside = (path: string, roots: readonly string[]): boolean =>
  roots.some((root) => path === root || path.startsWith(root.endsWith("/") ? root : `${root}/`));

const PATH_IN_CODE = /(?<=[\s"'`(=:<>|&;,[{])(?:~\/|\/[\w.-]+|(?:\.{1,2}\/)*\.\.(?=\/|["'`\s)]|$))[\w./-]*/g;

/** Paths in the text of a program: what begins at a quote, a space or a bracket and leads to a folder of the system. */
export function findCodeReach(code: string, place: Place): string | undefined {
  const withoutUrls = code.replace(/[a-z][a-z0-9+.-]{1,20}:\/\/[^\s'"]*/gi, "");
  for (const [path] of withoutUrls.matchAll(PATH_IN_CODE)) {
    const reason = findPathReach(path, place);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

export const outside = (path: string): string => `"${path.length > 200 ? `${path.slice(0, 200)}…` : path}" is outside the workspace`;

interface TextWords {
  /** What the first operand is, unless an option that matches `given` brings it. */
  first?: Role;
  given?: RegExp;
  /** What follows an option. */
  after?: [option: RegExp, role: Role][];
  all?: Role;
}

const SEARCH: TextWords = { first: "text", given: /^-[a-zA-Z]*[ef]|^--(reg|file)/, after: [[/^-[a-zA-Z]*e$|^--regexp$/, "text"]] };
const AWK: TextWords = { first: "code", given: /^-[fE]|^--(file|exec)/, after: [[/^-[Fv]$/, "text"]] };
const SEPARATOR: TextWords = { after: [[/^-[dst]$|^--(delimiter|separator|delimiters)$/, "text"]] };
const CODE: TextWords = { after: [[/^-[A-Za-z]*[ceEpr]$|^--(eval|print|run)$|^eval$/, "code"]] };

/** Words that programs do not take as paths. Only where one would else be mistaken: a pattern, a script, a message. */
const TEXT_WORDS: Record<string, TextWords> = {
  tr: { all: "text" },
  expr: { all: "text" },
  sed: { first: "code", given: /^-[a-zA-Z]*[ef]|^--(exp|file)/, after: [[/^-[a-zA-Z]*e$|^--expression$/, "code"]] },
  jq: { first: "text", given: /^-[a-zA-Z]*f|^--from/ },
  yq: { first: "text" },
  git: { after: [[/^-[a-zA-Z]*m$|^-[SG]$|^--(message|grep|author|date)$/, "text"]] },
  gh: { after: [[/^-[bt]$|^--(body|title)$/, "text"]] },
  curl: { after: [[/^-[HAX]$|^--header$/, "text"]] },
  find: { after: [[/^-(i?name|i?path|i?wholename|i?regex|printf)$/, "text"]] },
  ...Object.fromEntries(["grep", "egrep", "fgrep", "zgrep", "rg", "ag", "ack"].map((name) => [name, SEARCH])),
  ...Object.fromEntries(["awk", "gawk", "mawk", "nawk"].map((name) => [name, AWK])),
  ...Object.fromEntries(["cut", "paste", "sort", "column", "xargs", "join"].map((name) => [name, SEPARATOR])),
  ...Object.fromEntries(["python", "python2", "python3", "node", "bun", "deno", "perl", "ruby", "php", "lua"].map((name) => [name, CODE])),
};

/** The role of each word after the program. */
export function rolesOf(program: string, words: readonly ShellWord[]): Role[] {
  const { first, given, after = [], all } = (Object.hasOwn(TEXT_WORDS, program) && TEXT_WORDS[program]) || {};
  if (all !== undefined) return words.map(() => all);
  let awaited = first !== undefined && !words.some(({ value }) => given?.test(value)) ? first : undefined;
  return words.map((word, index): Role => {
    const option = words[index - 1]?.value;
    const role = option === undefined ? undefined : after.find(([pattern]) => pattern.test(option))?.[1];
    if (role !== undefined) return role;
    if (word.value.startsWith("-") || awaited === undefined) return "path";
    const own = awaited;
    awaited = undefined;
    return own;
  });
}
