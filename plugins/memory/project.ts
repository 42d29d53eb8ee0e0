import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** Where the projects' stores are, below the plugin's directory. */
export const PROJECTS = "projects";

/**
 * Id of the project that a directory belongs to: the name of its folder, for people, and 8 hex digits of the SHA-256 of its real
 * path. A project is the nearest directory upwards with `.git`, or else the directory itself; a git worktree counts as the
 * repository it was made from.
 */
export function projectOf(cwd: string): string {
  const root = rootOf(realPath(cwd));
  const slug = basename(root)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 40);
  return `${slug || "root"}-${createHash("sha256").update(root).digest("hex").slice(0, 8)}`;
}

/** Ids of all projects that there is a memory of. */
export function listProjects(dataDir: string): string[] {
  try {
    return readdirSync(join(dataDir, PROJECTS)).sort();
  } catch {
    return [];
  }
}

/** The directory of a project. */
export function rootOf(cwd: string): string {
  for (let path = cwd; ; path = dirname(path)) {
    const git = join(path, ".git");
    if (existsSync(git)) return mainRepository(git) ?? path;
    if (path === dirname(path)) return cwd;
  }
}

/** Of a worktree, whose `.git` is a file that leads to `<repository>/.git/worktrees/NAME`: the repository. A submodule is its own project. */
function mainRepository(git: string): string | undefined {
  try {
    const [, gitDir] = /^gitdir: (.+)/.exec(readFileSync(git, "utf8")) ?? [];
    if (gitDir === undefined) return undefined;
    const own = resolve(dirname(git), gitDir.trim());
    const common = resolve(own, readFileSync(join(own, "commondir"), "utf8").trim());
    return realPath(basename(common) === ".git" ? dirname(common) : common);
  } catch {
    return undefined;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
