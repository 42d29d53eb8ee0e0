import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { splitGit } from "./reading-git.ts";
import type { Directories } from "./scope.ts";

/**
 * What git is told in its environment where it may only read: what a repository's configuration could set to run a
 * program, and has one name, is set here, which counts more. Of what has no fixed name see `findRepositoryFault`.
 */
export const READ_ONLY_GIT: Readonly<Record<string, string>> = {
  GIT_OPTIONAL_LOCKS: "0",
  GIT_NO_LAZY_FETCH: "1",
  GIT_PAGER: "cat",
  ...settings({
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "log.showSignature": "false",
    "diff.autoRefreshIndex": "false",
    "safe.bareRepository": "explicit",
  }),
};

function settings(values: Record<string, string>): Record<string, string> {
  const entries = Object.entries(values);
  return Object.fromEntries([
    ["GIT_CONFIG_COUNT", String(entries.length)],
    ...entries.flatMap(([key, value], index) => [
      [`GIT_CONFIG_KEY_${index}`, key],
      [`GIT_CONFIG_VALUE_${index}`, value],
    ]),
  ]);
}

/** Keys of a repository's configuration that run nothing when git reads, or that READ_ONLY_GIT takes the place of. A list of what may be: git gets new ones. */
const HARMLESS_KEY = new RegExp(
  `^(${[
    "core\\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf|eol|safecrlf|quotepath|untrackedcache|preloadindex|longpaths|sparsecheckout|sparsecheckoutcone|commentchar|abbrev|whitespace|checkstat|trustctime|compression|protect(hfs|ntfs)|fsmonitor|hookspath|editor|sharedrepository|fscache)",
    "remote\\..*\\.(url|pushurl|fetch|push|tagopt|prune|prunetags|mirror|skipdefaultupdate|skipfetchall|followremotehead|gh-resolved)",
    "submodule\\..*\\.(url|active|branch)",
    "submodule\\.active",
    "branch\\.[\\s\\S]*",
    "extensions\\.(objectformat|worktreeconfig|preciousobjects|refstorage|compatobjectformat|noop)",
    "diff\\.(renames|renamelimit|algorithm|colormoved|mnemonicprefix|noprefix|context|tool|wordregex|indentheuristic)",
    "log\\.(date|decorate|follow|abbrevcommit|showsignature)",
    "merge\\.(conflictstyle|ff|log|tool|renames|renamelimit)",
    "(user|author|committer|init|color|advice|gc|maintenance|rerere|push|pull|fetch|rebase|commit|tag|i18n|credential|http|gui|gitflow|lfs|hub|github|alias|feature|branch|stash|status|versionsort)\\.[\\s\\S]*",
  ].join("|")})$`,
);

/** Commands that look at the files of the workspace, and so into repositories in it. */
const COMPARES_FILES = /^(status|diff|diff-files|diff-index|describe)$/;

/** Why git, in one of these directories, might run what the repository says; undefined where it provably does not. */
export function findRepositoryFault(values: readonly string[], directories: Directories): string | undefined {
  const asked = splitGit(values);
  if (asked === undefined || /^(--version|version)$/.test(asked.command)) return undefined;
  if (directories === undefined) return "git where the directory is not known";
  for (const directory of directories) {
    const repository = findRepository(asked.folders.reduce((at, folder) => resolve(at, folder), directory));
    const fault = repository && judgeRepository(repository, asked);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function judgeRepository(folder: string, { command, rest }: { command: string; rest: string[] }): string | undefined {
  const common = readText(join(folder, "commondir"));
  const shared = common === undefined ? folder : resolve(folder, common.trim());
  for (const file of [join(shared, "config"), join(folder, "config.worktree"), join(shared, "config.worktree")]) {
    const key = findRisk(readText(file) ?? "");
    if (key !== undefined) return `git in a repository whose own configuration may run a program (${key} in ${file})`;
  }
  if (!COMPARES_FILES.test(command) || rest.some((value) => /^--ignore-submodules(=all)?$/.test(value))) return undefined;
  const inner = findSubmodule(folder);
  return inner && `git ${command} in a repository with the submodule ${inner}, whose own configuration counts there (say --ignore-submodules=all)`;
}

/** The folder of the repository that git finds from here, as git looks for it. */
function findRepository(from: string): string | undefined {
  for (let at = from; ; at = dirname(at)) {
    const found = repositoryAt(join(at, ".git")) ?? repositoryAt(at);
    if (found !== undefined) return found;
    if (at === dirname(at)) return undefined;
  }
}

function repositoryAt(path: string): string | undefined {
  const link = readText(path);
  if (link?.startsWith("gitdir: ")) return resolve(dirname(path), link.slice(8).trim());
  const isRepository = existsSync(join(path, "HEAD")) && (existsSync(join(path, "objects")) || existsSync(join(path, "commondir")));
  return isRepository || (basename(path) === ".git" && existsSync(join(path, "config"))) ? path : undefined;
}

function readText(path: string): string | undefined {
  try {
    return statSync(path).isFile() ? readFileSync(path, "utf8") : undefined;
  } catch {
    return undefined;
  }
}

/** The first key of a configuration that is not known to be harmless, or what cannot be read as one. */
function findRisk(text: string): string | undefined {
  let section = "";
  for (const line of text.split(/\r?\n/)) {
    // What goes on in the next line could look like anything there.
    if (line.endsWith("\\")) return JSON.stringify(line.slice(0, 60));
    let rest = line.trim();
    const [head, name, subsection] = /^\[([\w.-]+)(?:[ \t]+"((?:[^"\\]|\\.)*)")?[ \t]*\]/.exec(rest) ?? [];
    if (head !== undefined) {
      section = `${name!.toLowerCase()}${subsection === undefined ? "" : `.${subsection}`}`;
      rest = rest.slice(head.length).trim();
    }
    if (rest === "" || /^[#;]/.test(rest)) continue;
    const [, key] = /^([A-Za-z][\w-]*)[ \t]*(?:=|$|[#;])/.exec(rest) ?? [];
    const full = `${section}.${key?.toLowerCase()}`;
    if (key === undefined || !HARMLESS_KEY.test(full)) return key === undefined ? JSON.stringify(rest.slice(0, 60)) : full;
  }
  return undefined;
}

const SUBMODULE_MODE = 0o160000;

/** A repository in the index that is there with an own configuration. An index that is not understood counts as one that has some. */
function findSubmodule(folder: string): string | undefined {
  const work = basename(folder) === ".git" ? dirname(folder) : undefined;
  try {
    const path = join(folder, "index");
    if (!existsSync(path)) return undefined;
    return findSubmodules(readFileSync(path), path).find((name) => work === undefined || existsSync(join(work, name, ".git")));
  } catch {
    return "(its index cannot be read)";
  }
}

/** Paths of the repositories in an index, as gitformat-index(5) has it: versions 2 to 4, hashes of 20 or 32 bytes. */
function findSubmodules(index: Buffer, path: string): string[] {
  const version = index.readUInt32BE(4);
  if (index.toString("latin1", 0, 4) !== "DIRC" || version < 2 || version > 4) throw new Error("not an index");
  const isWide = /objectformat\s*=\s*sha256/i.test(readText(join(dirname(path), "config")) ?? "");
  const found: string[] = [];
  let at = 12;
  let previous = "";
  for (let count = index.readUInt32BE(8); count > 0; count--) {
    const start = at;
    const mode = index.readUInt32BE(at + 24);
    at += 40 + (isWide ? 32 : 20);
    const flags = index.readUInt16BE(at);
    at += flags & 0x4000 ? 4 : 2;
    let kept = 0;
    if (version === 4) [kept, at] = readOffset(index, at);
    const end = index.indexOf(0, at);
    if (end < 0) throw new Error("cut short");
    if (version === 4 || mode === SUBMODULE_MODE) previous = previous.slice(0, previous.length - kept) + index.toString("latin1", at, end);
    if (mode === SUBMODULE_MODE) found.push(version === 4 ? previous : index.toString("utf8", at, end));
    at = version === 4 ? end + 1 : start + ((end - start + 8) & ~7);
  }
  for (const width = isWide ? 32 : 20; at + 8 < index.length - width; at += 8 + index.readUInt32BE(at + 4))
    if (index.toString("latin1", at, at + 4) === "link") throw new Error("its entries stand in another file");
  return found;
}

/** A number of variable length, as in packs. */
function readOffset(bytes: Buffer, from: number): [value: number, next: number] {
  let at = from;
  let byte = bytes.readUInt8(at++);
  let value = byte & 0x7f;
  while (byte & 0x80) {
    byte = bytes.readUInt8(at++);
    value = ((value + 1) << 7) | (byte & 0x7f);
  }
  return [value, at];
}
