import { createHash } from "node:crypto";
import * as nodeFs from "node:fs";
import { lstatSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { basename, delimiter, dirname, join, relative, resolve, sep } from "node:path";
import { findWorkspaceRoot } from "./config-files.ts";
import type { ConfineGround, ConfinePolicy } from "./confine.ts";
import { makeDirectories } from "./generation.ts";
import { isInside } from "./inside.ts";
import { isSecretName, namesIn } from "./secret-files.ts";

export interface MountPolicy extends Pick<ConfinePolicy, "secretFiles" | "readable"> {
  canWrite: boolean;
  /** Further paths that may be written, as the configuration names them. */
  write: readonly string[];
  /** Secret files below the roots; real paths. */
  named: readonly string[];
  /** Program and arguments: what of them is a path is shown. */
  needed: readonly string[];
}

/** The settings of a project are often in one that holds no password, and programs need them. */
const isWorthHiding = (path: string): boolean => basename(path) !== ".npmrc" || /_(auth|authToken|password)\s*=\s*[^\s$]/i.test(readText(path));

/** What stands at each path, as arguments of bwrap. Where paths lie below each other, the lower ones are mounted later and win. */
type Mounts = Map<string, string[]>;

/** Others' temporary files, and sockets of programs that would do more for a command than it may do itself (docker, systemd, the desktop). */
const HIDDEN = ["/tmp", "/var/tmp", "/run", "/var/run"];
/** Of what is hidden in /run, programs need this. */
const NEEDED_IN_RUN = ["/etc/resolv.conf", "/run/current-system", "/run/opengl-driver"];
/** Places that package managers write to, in the home: each workspace has its own. */
const HOME_CACHES = [
  ...[".cargo/registry", ".cargo/git", "go/pkg/mod", ".gradle", ".m2/repository", ".nuget/packages", ".bun/install/cache"],
  ...[".local/share/pnpm/store", ".yarn/berry"],
];
/** Of the user's own cache: what is large and hardly ever written. */
const SHOWN_CACHES = ["ms-playwright", "puppeteer", "Cypress", "huggingface"];
/** The workspace's configuration of the agent: it could say more than the model may. */
const OWN_NAMES = new Set([
  ...[".agent", ".opencode", "agent.json", "agent.jsonc", "opencode.json", "opencode.jsonc"],
  ...[".agentrc", ".agentrc.json", ".agentrc.yaml", ".agentrc.yml", "agent.config.json", "agent.config.js", "agent.config.ts"],
]);
/** What makes git run programs, in its directory. */
const GIT_CODE = ["hooks", "config", "config.worktree"];

/** Gives what the file system is for one process. What lies outside of the workspace is looked at anew every ten seconds, the workspace each time. */
export function createMounts(ground: ConfineGround): (policy: MountPolicy) => { args: string[]; identity: string } {
  const place = openPrivatePlace(ground);
  let outside: { of: unknown; at: number; mounts: Mounts; files: string[] } | undefined;
  const lookOutside = ({ secretFiles }: MountPolicy) => {
    if (outside?.of === secretFiles && performance.now() - outside.at < LOOK_MS) return outside;
    const { directories, files } = secretFiles.places();
    const mounts: Mounts = new Map([
      ["/", ["--ro-bind", "/", "/"]],
      ["/dev", ["--dev", "/dev"]],
      ["/proc", ["--proc", "/proc"]],
      // Root could change the system there without any right but its name.
      ["/proc/sys", ["--ro-bind", "/proc/sys", "/proc/sys"]],
    ]);
    hideSystem(mounts, ground);
    hideDirectories(mounts, ground, directories);
    for (const [path, args] of place.mounts) mounts.set(path, args);
    outside = { of: secretFiles, at: performance.now(), mounts, files: files.filter((path) => isRealKind(path, "isFile")) };
    return outside;
  };
  return (policy) => {
    const { mounts: known, files } = lookOutside(policy);
    const mounts = new Map(known);
    show(mounts, policy.needed);
    for (const root of ground.roots) mounts.set(root, [policy.canWrite ? "--bind" : "--ro-bind", root, root]);
    if (policy.canWrite) openRoots(mounts, ground, policy.write);
    const inRoots = [...policy.named, ...ground.roots.flatMap((root) => secretsIn(root, policy))];
    for (const path of [...files, ...inRoots]) {
      if (!ground.roots.some((root) => isInside(path, root))) mounts.set(path, ["--ro-bind", place.empty, path]);
      else if (isWorthHiding(path)) mounts.set(path, ["--ro-bind", place.unreadable, path]);
    }
    for (const path of policy.readable.filter((each) => isRealKind(each, "isDirectory"))) mounts.set(path, ["--ro-bind", path, path]);
    const paths = [...mounts.keys()].sort();
    const args = [...paths.flatMap((path) => mounts.get(path) as string[]), ...place.settings, ...SETTINGS];
    return { args, identity: paths.map(inodeOf).join(" ") };
  };
}

/** What takes the place of a file takes the mount upon it away. */
function inodeOf(path: string): number {
  try {
    return lstatSync(path).ino;
  } catch {
    return 0;
  }
}

const LOOK_MS = 10_000;

/** Those that were made meanwhile, directly in a root. */
function secretsIn(root: string, { secretFiles }: MountPolicy): string[] {
  const named = namesIn(root).filter(isSecretName);
  return named.map((name) => realPathOf(join(root, name))).filter((path) => isRealKind(path, "isFile") && secretFiles.isSecret(path));
}

const SETTINGS = ["--setenv", "TMPDIR", "/tmp", "--unsetenv", "TMP", "--unsetenv", "TEMP", "--unsetenv", "XDG_RUNTIME_DIR"];

function hideSystem(mounts: Mounts, { env, home }: ConfineGround): void {
  for (const path of HIDDEN.filter((each) => isRealKind(each, "isDirectory"))) mounts.set(path, ["--tmpfs", path]);
  const needed = [home, ...(env.PATH ?? "").split(delimiter), process.execPath, ...NEEDED_IN_RUN];
  show(mounts, [...needed, ...needed.map(realPathOf)]);
}

/** Programs, their folders and the home are shown where they are hidden, with all that lies in the same folder of the hidden one. */
function show(mounts: Mounts, needed: readonly string[]): void {
  for (const path of needed.filter((each) => HIDDEN.some((hidden) => each.startsWith(`${hidden}/`))).flatMap((each) => [resolve(each), realPathOf(each)])) {
    const above = HIDDEN.find((hidden) => path !== hidden && isInside(path, hidden));
    if (above === undefined || !mounts.has(above)) continue;
    const top = join(above, relative(above, path).split(sep)[0] as string);
    if (isRealKind(top, "isDirectory") || isRealKind(top, "isFile")) mounts.set(top, ["--ro-bind", top, top]);
  }
}

/** An empty folder that vanishes with the process stands in the place of each. */
function hideDirectories(mounts: Mounts, { home, dataDir, configDir }: ConfineGround, directories: readonly string[]): void {
  const opencode = [join(dirname(configDir), "opencode"), join(home, ".local", "share", "opencode")];
  for (const path of [...directories, ...opencode, configDir, dataDir].map(realPathOf))
    if (isRealKind(path, "isDirectory")) mounts.set(path, ["--tmpfs", path]);
}

/** What may be written, and what in it may not. */
function openRoots(mounts: Mounts, { cwd, roots, home }: ConfineGround, write: readonly string[]): void {
  for (const root of roots) {
    for (const name of namesIn(root).filter((each) => OWN_NAMES.has(each))) protect(mounts, realPathOf(join(root, name)), roots);
    for (const directory of findGitDirectories(root, home)) openGit(mounts, directory);
  }
  for (const path of write.map((each) => realPathOf(resolve(cwd, each.replace(/^~(?=\/|$)/, home)))))
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) mounts.set(path, ["--bind", path, path]);
}

/** Only what could be written otherwise. */
function protect(mounts: Mounts, path: string, writable: readonly string[]): void {
  if (writable.some((each) => isInside(path, each)) && (isRealKind(path, "isFile") || isRealKind(path, "isDirectory")))
    mounts.set(path, ["--ro-bind", path, path]);
}

/** Mounted by itself, so that nobody puts another in its place. A commit writes all over it, but not what runs programs. */
function openGit(mounts: Mounts, directory: string): void {
  mounts.set(directory, ["--bind", directory, directory]);
  const modules = namesIn(join(directory, "modules")).map((name) => join(directory, "modules", name));
  for (const each of [directory, ...modules.filter((path) => isRealKind(path, "isDirectory"))]) {
    if (each !== directory) mounts.set(each, ["--bind", each, each]);
    for (const name of GIT_CODE) protect(mounts, join(each, name), [each]);
  }
}

/** Where the commits of a root are written: its `.git`, that of the repository around it, or that which a worktree belongs to. */
function findGitDirectories(root: string, home: string): string[] {
  const top = findWorkspaceRoot(root);
  // A home under version control is not what somebody works at below it.
  if (top !== root && isInside(home, top)) return [];
  const path = join(top, ".git");
  if (isRealKind(path, "isDirectory")) return [path];
  const common = isRealKind(path, "isFile") ? findCommonDirectory(path) : undefined;
  return common === undefined ? [] : [common];
}

/** Of a worktree, if the directory that it names knows of it: the file alone, which comes with the repository, opens nothing. */
function findCommonDirectory(file: string): string | undefined {
  const named = /^gitdir: (.+)$/m.exec(readText(file))?.[1];
  if (named === undefined) return undefined;
  const directory = realPathOf(resolve(dirname(file), named));
  const isKnown = basename(dirname(directory)) === "worktrees" && realPathOf(readText(join(directory, "gitdir")).trim()) === file;
  const common = dirname(dirname(directory));
  return isKnown && isRealKind(join(common, "config"), "isFile") ? common : undefined;
}

/** Places of ours: what is written to caches stays in one for each workspace, so that no workspace spoils what another runs. */
function openPrivatePlace({ dataDir, cwd, home, env }: ConfineGround) {
  const base = join(dataDir, "cache", "sandbox");
  const own = join(base, createHash("sha256").update(cwd).digest("hex").slice(0, 16));
  const caches = HOME_CACHES.map((name) => ({ path: realPathOf(join(home, name)), name: name.replaceAll("/", "_") })).filter(({ path }) =>
    isRealKind(path, "isDirectory"),
  );
  const shown = SHOWN_CACHES.map((name) => ({ path: realPathOf(join(env.XDG_CACHE_HOME || join(home, ".cache"), name)), name })).filter(({ path }) =>
    isRealKind(path, "isDirectory"),
  );
  const placeAt = (folder: string, mounts: [string, string[]][]) => ({
    settings: ["--setenv", "npm_config_cache", join(folder, "npm"), "--setenv", "XDG_CACHE_HOME", join(folder, "cache")],
    mounts: [...mounts, ...shown.map(({ path, name }): [string, string[]] => [join(folder, "cache", name), ["--ro-bind", path, join(folder, "cache", name)]])],
  });
  try {
    for (const name of ["cache", ...caches.map((each) => each.name)]) makeDirectories(nodeFs, join(own, name));
    const binds = caches.map(({ path, name }): [string, string[]] => [path, ["--bind", join(own, name), path]]);
    const blank = { empty: makeBlank(join(base, "empty"), 0o400), unreadable: makeBlank(join(base, "hidden"), 0o000) };
    return { ...blank, ...placeAt(own, [[own, ["--bind", own, own]], ...binds]) };
  } catch {
    // Nothing can be written there: what is cached vanishes with the process, and what is secret is a device that cannot be opened.
    const binds = caches.map(({ path }): [string, string[]] => [path, ["--tmpfs", path]]);
    return { empty: "/dev/null", unreadable: "/dev/null", ...placeAt("/tmp/.agent-cache", binds) };
  }
}

/** A file in which nothing stands. */
function makeBlank(path: string, mode: number): string {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) nodeFs.writeFileSync(path, "", { mode, flag: "a" });
  return path;
}

/** As it is where nothing is there. */
function realPathOf(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    return path;
  }
}

/** False for a link, and for what cannot be looked at. */
function isRealKind(path: string, kind: keyof Pick<Stats, "isFile" | "isDirectory">): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.[kind]() === true && realpathSync.native(path) === path;
  } catch {
    return false;
  }
}

/** The beginning of a small file. */
function readText(path: string): string {
  try {
    return statSync(path).size > 4096 ? "" : readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
