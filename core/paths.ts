import { type BigIntStats, constants, existsSync } from "node:fs";
import { type FileHandle, open, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { AgentError, errorMessage } from "./errors.ts";
import { heldPath, lookInto, statEntry } from "./held.ts";
import { isInside } from "./inside.ts";
import { isSecretName, type SecretFiles } from "./secret-files.ts";

/** Throws OPTION_INVALID where it has been deleted. */
export function currentDirectory(): string {
  try {
    return process.cwd();
  } catch (error) {
    throw new AgentError("OPTION_INVALID", { option: "--cwd", reason: "it is not given, and the current directory no longer exists." }, { cause: error });
  }
}

export type Access = "read" | "write";

/**
 * The one path resolver. A path is inside when its real path (that of its nearest existing parent for a new file) is
 * below one of the roots. Throws PATH_OUTSIDE, PATH_INVALID (NUL, `file:`, `~`, over 4,096 characters) or SECRET_FILE:
 * for writing only where something is there already, or the place is secret and not the name alone.
 */
export interface Paths {
  /** The workspace and the extra roots: real, absolute. */
  readonly roots: readonly string[];
  /** A path as the model wrote it, relative to the workspace, as a real absolute path. `read` may also be in the spill folder. */
  resolve(path: string, access: Access): Promise<string>;
  /**
   * What is at a path that `resolve` gave; undefined where nothing is. Nothing is opened for reading. Throws PATH_OUTSIDE
   * where a link leads out by now, and the system's errors.
   */
  stat(path: string, access: Access): Promise<BigIntStats | undefined>;
  /**
   * Calls `work` with a name of a directory that `resolve` gave, or one below it, under which on Linux it stays the same
   * while `work` runs: what is looked at below that name is in this directory. Undefined where a link is on its way by
   * now, or the directory is gone. What `work` throws is thrown.
   */
  look<T>(directory: string, work: (held: string) => T): T | undefined;
  /**
   * Resolves and opens an existing regular file, `write` for reading and writing without truncating it. What is opened is
   * checked once more, so that a link put there meanwhile leads nowhere. Never blocks on a FIFO or device. The caller
   * closes it. Throws also FILE_MISSING and FILE_UNSUITABLE.
   */
  open(path: string, access: Access): Promise<FileHandle>;
  /**
   * Resolves and holds an existing directory for writing into it: on Linux `path` goes on meaning that very directory
   * even when another takes its place, so make a temporary file below it and rename it below it. The caller closes it.
   */
  openDirectory(path: string): Promise<{ path: string; close(): Promise<void> }>;
  /** How a real path is shown: relative to the workspace where it is below it. */
  show(path: string): string;
  /** Whether a search leaves a real path out: a secret file, or one that a rule denies to `read`. `stats` also tell a hard link. */
  isHidden(path: string, stats?: Parameters<SecretFiles["isHidden"]>[1]): boolean;
  /** Globs for ripgrep that find all that is hidden below a directory, and others; none: anything may be hidden. */
  hiddenGlobs(directory: string): string[];
}

const MAX_CHARACTERS = 4096;
/** Links that one path may follow, as in Linux. */
const MAX_LINKS = 40;

export interface PathsSetup {
  /** The workspace. */
  cwd: string;
  /** Extra ones. */
  roots?: readonly string[];
  /** Need not exist yet. */
  spillDir?: string;
  /** Directories of the agent itself, which no tool writes even where a root holds them: trust, keys and configuration are there. */
  own?: readonly string[];
  /** Without it no file is one. */
  secrets?: SecretFiles;
}

/** Throws FILE_NOT_FOUND for a root that cannot be read. */
export async function createPaths(setup: PathsSetup): Promise<Paths> {
  const workspace = await findRoot(setup.cwd, "--cwd");
  const extra = await Promise.all((setup.roots ?? []).map((root) => findRoot(resolve(workspace, root), "--add-dir")));
  const roots = Object.freeze([...new Set([workspace, ...extra])]);
  const bounds: Bounds = { workspace, roots, own: findOwn(setup.own, roots), spillDir: setup.spillDir, secrets: setup.secrets };
  return {
    roots,
    show: (path) => show(path, workspace),
    resolve: (path, access) => resolveInside(bounds, path, access),
    stat: (path, access) => statInside(bounds, path, access),
    look: lookInto,
    open: (path, access) => openRegularFile(bounds, path, access),
    openDirectory: (path) => holdDirectory(bounds, path),
    isHidden: (path, stats) => setup.secrets?.isHidden(path, stats) ?? false,
    hiddenGlobs: (directory) => setup.secrets?.globsIn(directory) ?? [],
  };
}

/** Where paths may lead. */
interface Bounds {
  workspace: string;
  roots: readonly string[];
  own(): Promise<readonly string[]>;
  spillDir: string | undefined;
  secrets: SecretFiles | undefined;
}

/** As they are at the first look; a directory that a root is in would close the whole root. */
function findOwn(own: readonly string[] = [], roots: readonly string[]): Bounds["own"] {
  let found: Promise<string[]> | undefined;
  return () => (found ??= Promise.all(own.map((path) => findRealPath(path))).then((all) => all.filter((path) => !roots.some((root) => isInside(root, path)))));
}

const show = (path: string, workspace: string): string => (isInside(path, workspace) ? relative(workspace, path) || "." : path);

async function resolveInside(bounds: Bounds, path: string, access: Access): Promise<string> {
  checkSpelling(path);
  const wanted = resolve(bounds.workspace, path);
  const real = await findRealPath(wanted).catch(async (error) => {
    await checkInside(bounds, wanted, { path, access }); // What lies outside is outside, whatever else is wrong with it.
    throw new AgentError("PATH_INVALID", { path, reason: describePathError(error) }, { cause: error });
  });
  await checkInside(bounds, real, { path, access });
  if (isRefused(bounds.secrets, { wanted, real, access })) throw secretFile(bounds, real);
  return real;
}

/** A link with the name of a secret file leads to one. */
function isRefused(secrets: SecretFiles | undefined, { wanted, real, access }: { wanted: string; real: string; access: Access }): boolean {
  if (secrets === undefined) return false;
  const isSecret = secrets.isSecret(real) || (isSecretName(basename(wanted)) && secrets.isSecret(wanted));
  return isSecret && (access === "read" || secrets.isSecretPlace(real) || existsSync(real));
}

const secretFile = ({ workspace }: Bounds, real: string): AgentError => new AgentError("SECRET_FILE", { path: show(real, workspace) });

/** `path` is what the model wrote for `real`. */
async function checkInside({ workspace, roots, own, spillDir }: Bounds, real: string, { path, access }: { path: string; access: Access }): Promise<void> {
  if (access === "write" && (await own()).some((directory) => isInside(real, directory)))
    throw new AgentError("PERMISSION_DENIED", { reason: `${path} belongs to the agent itself, and only a person changes that.` });
  if (roots.some((root) => isInside(real, root))) return;
  if (access === "read" && spillDir !== undefined && isInside(real, await findRealPath(spillDir))) return;
  throw new AgentError("PATH_OUTSIDE", { path, root: workspace });
}

async function openRegularFile(bounds: Bounds, path: string, access: Access): Promise<FileHandle> {
  const handle = await openInside(bounds, path, { access, flags: access === "read" ? constants.O_RDONLY : constants.O_RDWR });
  const kind = describeKind(await handle.stat());
  if (kind === undefined) return handle;
  await handle.close();
  throw new AgentError("FILE_UNSUITABLE", { path: show(resolve(bounds.workspace, path), bounds.workspace), reason: `is ${kind}, not a regular file.` });
}

async function statInside(bounds: Bounds, path: string, access: Access): Promise<BigIntStats | undefined> {
  try {
    const { stats, name } = statEntry(path);
    await checkInside(bounds, name, { path, access });
    if (stats.isSymbolicLink()) throw new AgentError("PATH_OUTSIDE", { path, root: bounds.workspace });
    return stats;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

async function holdDirectory(bounds: Bounds, path: string): Promise<{ path: string; close(): Promise<void> }> {
  const handle = await openInside(bounds, path, { access: "write", flags: constants.O_RDONLY | constants.O_DIRECTORY });
  const held = heldPath(handle.fd);
  const isHeld = await readlink(held).then(
    () => true,
    () => false,
  );
  return { path: isHeld ? held : await resolveInside(bounds, path, "write"), close: () => handle.close() };
}

async function openInside(bounds: Bounds, path: string, { access, flags }: { access: Access; flags: number }): Promise<FileHandle> {
  const real = await resolveInside(bounds, path, access);
  const handle = await open(real, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error) => {
    throw describeOpenFailure(error, { path, shown: show(real, bounds.workspace), root: bounds.workspace });
  });
  try {
    const opened = await readlink(heldPath(handle.fd)).catch(() => realpath(real));
    await checkInside(bounds, opened, { path, access });
    if (bounds.secrets?.isSecret(opened, await handle.stat())) throw secretFile(bounds, opened);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function findRoot(path: string, option: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    throw new AgentError("FILE_NOT_FOUND", { path, option, reason: describePathError(error) }, { cause: error });
  }
}

function checkSpelling(path: string): void {
  const reason =
    path === ""
      ? "it is empty."
      : path.length > MAX_CHARACTERS
        ? `it has more than ${MAX_CHARACTERS} characters.`
        : path.includes("\0")
          ? "it contains a NUL character."
          : /^file:/i.test(path)
            ? "write a plain path instead of a URL."
            : path.startsWith("~")
              ? 'nothing stands for "~"; write the path relative to the workspace (./~name for a name that begins so).'
              : undefined;
  if (reason !== undefined)
    throw new AgentError("PATH_INVALID", { path: path === "" ? '""' : path.length > 200 ? `${path.slice(0, 200)}…` : path.replaceAll("\0", "\\0"), reason });
}

/**
 * The real path of `path`, or where the system would create it: the real path of the nearest existing parent and the
 * rest, dangling links followed. Throws the system's errors (ELOOP, EACCES, ENAMETOOLONG).
 */
async function findRealPath(path: string, budget = { links: MAX_LINKS }): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  const parent = await findRealPath(dirname(path), budget);
  const place = join(parent, basename(path));
  const target = await readlink(place).catch(() => undefined);
  if (target === undefined) return place;
  if (budget.links-- === 0) throw Object.assign(new Error("too many links"), { code: "ELOOP" });
  return findRealPath(resolve(parent, target), budget);
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? "";
const isAbsent = (error: unknown) => ["ENOENT", "ENOTDIR"].includes(codeOf(error));

export function describePathError(error: unknown): string {
  const reasons: Record<string, string> = {
    ENOENT: "it does not exist.",
    ELOOP: "its symbolic links lead in a circle.",
    EACCES: "permission denied.",
    ENAMETOOLONG: "a name in it is too long for the system.",
  };
  return reasons[codeOf(error)] ?? errorMessage(error);
}

function describeOpenFailure(error: unknown, { path, shown, root }: { path: string; shown: string; root: string }): AgentError {
  const cause = { cause: error };
  switch (codeOf(error)) {
    case "ENOENT":
      return new AgentError("FILE_MISSING", { path: shown }, cause);
    case "ELOOP": // A link took its place after it was resolved.
      return new AgentError("PATH_OUTSIDE", { path, root }, cause);
    case "EISDIR":
      return new AgentError("FILE_UNSUITABLE", { path: shown, reason: "is a directory, not a regular file." }, cause);
    case "ENOTDIR":
      return new AgentError("FILE_UNSUITABLE", { path: shown, reason: "is not a directory, or a parent of it is not." }, cause);
    case "ENXIO":
      return new AgentError("FILE_UNSUITABLE", { path: shown, reason: "is a socket or device, not a regular file." }, cause);
    default:
      return new AgentError("FILE_UNSUITABLE", { path: shown, reason: `cannot be opened: ${describePathError(error)}` }, cause);
  }
}

/** What a file is when it is not a regular one. */
function describeKind(stats: { isFile(): boolean; isDirectory(): boolean; isFIFO(): boolean; isSocket(): boolean }): string | undefined {
  if (stats.isFile()) return undefined;
  return stats.isDirectory() ? "a directory" : stats.isFIFO() ? "a FIFO" : stats.isSocket() ? "a socket" : "a device";
}
