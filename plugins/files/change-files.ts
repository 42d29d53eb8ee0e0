import { randomBytes } from "node:crypto";
import { type BigIntStats, constants, linkSync, lstatSync, renameSync, rmSync } from "node:fs";
import { access, type FileHandle, mkdir, open, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AgentError, type ToolContext } from "agent-runtime";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY, W_OK } = constants;
/** For a new file; the system takes off its umask. */
const NEW_FILE_MODE = 0o666;
const PERMISSION_BITS = 0o7777n;

type Paths = ToolContext["paths"];

export interface FileChange {
  /** Real, absolute; no two changes have the same. */
  path: string;
  /** What was there when it was looked at; nothing else is overwritten or deleted. */
  existing: BigIntStats | undefined;
  /** Undefined deletes the file. */
  content: Buffer | undefined;
  /** Whose owner and mode the file gets; those of `existing` by default. */
  like?: BigIntStats | undefined;
}

/** A change whose new content stands beside its place, in a directory that is held. */
interface Staged {
  change: FileChange;
  target: string;
  /** Where the new content is. */
  draft: string;
  /** Where the old file waits until all is done. */
  aside: string;
  /** Of the new file. */
  stats: BigIntStats | undefined;
  close(): Promise<void>;
}

/** The error of a change that failed. */
export type Refusal = (error: unknown, change: FileChange) => unknown;

/**
 * Makes all of the changes or none. New contents are written beside their places first, parents are created, mode and
 * owner are kept; then all files take their places at once, without anything else running in between: readers see the old
 * file or the new one. Returns what is there afterwards. Throws what `refuse` makes of a failure, EDIT_REFUSED by
 * default, also when something else is there by now.
 */
export async function changeFiles(
  context: ToolContext,
  changes: FileChange[],
  refuse: Refusal = (error, change) => refusalOf(context.paths, error, change),
): Promise<(BigIntStats | undefined)[]> {
  const staged: Staged[] = [];
  const directories: string[] = [];
  try {
    await checkNothingLost(context, changes);
    // Before parents are created, so that an undo takes them away again.
    for (const { path } of changes) await context.snapshot(path);
    for (const change of changes) {
      context.signal.throwIfAborted();
      staged.push(
        await stage(context.paths, change, directories).catch((error: unknown) => {
          throw refuse(error, change);
        }),
      );
    }
    context.signal.throwIfAborted();
    putInPlace(staged, context.paths, refuse);
    return staged.map(({ stats }) => stats);
  } catch (error) {
    for (const { draft } of staged) await rm(draft, { force: true });
    await removeEmpty(context.paths, directories);
    throw error;
  } finally {
    for (const { close } of staged) await close();
  }
}

const MARK = "[redacted]";
const countMarks = (text: string): number => text.split(MARK).length - 1;

/**
 * A model that was shown `[redacted]` in a file may give it back in the place of the secret. Throws EDIT_REFUSED where there
 * are more of them than before, and what was there held what the mark stands for.
 */
async function checkNothingLost(context: ToolContext, changes: FileChange[]): Promise<void> {
  const marks = changes.reduce((sum, { content }) => sum + (content?.includes(MARK) ? countMarks(content.toString()) : 0), 0);
  if (marks === 0) return;
  const existing = changes.filter((change) => change.existing?.isFile());
  const texts = await Promise.all(existing.map(({ path }) => readText(context.paths, path)));
  if (marks <= texts.reduce((sum, text) => sum + countMarks(text), 0)) return;
  const held = existing.find((_, index) => countMarks(context.redact(texts[index]!)) > countMarks(texts[index]!));
  if (held === undefined) return;
  throw new AgentError("EDIT_REFUSED", {
    path: context.paths.show(held.path),
    reason: `a secret in it, of which only ${MARK} is shown, would be lost.`,
    advice: "Edit only the lines around it, with an oldString and a newString that hold neither.",
  });
}

async function readText(paths: Paths, path: string): Promise<string> {
  const handle = await paths.open(path, "read");
  try {
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

/** Adds to `directories` those that it creates. */
async function stage(paths: Paths, change: FileChange, directories: string[]): Promise<Staged> {
  const directory = await openDirectory(paths, dirname(change.path), directories);
  const target = join(directory.path, basename(change.path));
  const temporary = () => join(directory.path, `.${randomBytes(8).toString("hex")}.tmp`);
  const draft = temporary();
  try {
    // Renaming asks only for the directory; a file that is read-only is meant to stay as it is.
    if (change.existing !== undefined && change.content !== undefined) await access(target, W_OK);
    const stats = change.content && (await writeNewFile(draft, change.content, change.like ?? change.existing));
    return { change, target, draft, aside: temporary(), stats, close: () => directory.close() };
  } catch (error) {
    await rm(draft, { force: true });
    await directory.close();
    throw error;
  }
}

async function writeNewFile(path: string, content: Buffer, like: BigIntStats | undefined): Promise<BigIntStats> {
  const handle = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, NEW_FILE_MODE);
  try {
    await handle.writeFile(content);
    if (like !== undefined) await keepOwnerAndMode(handle, like);
    return await handle.stat({ bigint: true });
  } finally {
    await handle.close();
  }
}

async function keepOwnerAndMode(handle: FileHandle, { uid, gid, mode }: BigIntStats): Promise<void> {
  // Only root may give a file away; for everybody else it is theirs already, or becomes theirs.
  await handle.chown(Number(uid), Number(gid)).catch(() => undefined);
  await handle.chmod(Number(mode & PERMISSION_BITS));
}

/** Synchronous: neither an abort nor an exit of the process comes between two files. */
function putInPlace(staged: Staged[], paths: Paths, refuse: Refusal): void {
  const done: Staged[] = [];
  for (const [index, each] of staged.entries()) {
    try {
      place(each, paths, index === staged.length - 1);
      done.push(each);
    } catch (error) {
      putBack(done.reverse(), paths);
      throw refuse(error, each.change);
    }
  }
  for (const { aside } of staged) rmSync(aside, { force: true });
}

function place({ change, target, aside, draft }: Staged, paths: Paths, isLast: boolean): void {
  const { existing, content } = change;
  checkUnchanged(target, change, paths);
  // After the last one nothing can fail, so it never has to be put back.
  const isKept = existing !== undefined && !(isLast && content !== undefined);
  if (isKept) (content === undefined ? renameSync : keepAside)(target, aside);
  try {
    if (content !== undefined) renameSync(draft, target);
    // What is deleted is exactly what was looked at.
    else checkUnchanged(aside, change, paths);
  } catch (error) {
    if (isKept) renameSync(aside, target);
    rmSync(aside, { force: true });
    throw error;
  }
}

/** As a second name where the file stays, so that it is never missing; not every file system has those. */
function keepAside(target: string, aside: string): void {
  try {
    linkSync(target, aside);
  } catch {
    renameSync(target, aside);
  }
}

function checkUnchanged(at: string, { existing, path }: FileChange, paths: Paths): void {
  const now = lstatSync(at, { bigint: true, throwIfNoEntry: false });
  if (now?.mtimeNs === existing?.mtimeNs && now?.size === existing?.size && now?.isFile() === existing?.isFile()) return;
  throw new AgentError("EDIT_REFUSED", { path: paths.show(path), reason: "it changed in this very moment.", advice: "Read it again, then try again." });
}

/** The very files that were there return, so that they count as unchanged. */
function putBack(done: Staged[], paths: Paths): void {
  const failures = done.flatMap(({ target, aside, change: { existing, path } }) => {
    try {
      if (existing === undefined) rmSync(target);
      else renameSync(aside, target);
      return [];
    } catch (error) {
      return [`${paths.show(path)} (${(error as Error).message})`];
    }
  });
  if (failures.length > 0) throw new Error(`The change failed in the middle, and these files could not be put back: ${failures.join(", ")}`);
}

async function removeEmpty(paths: Paths, directories: string[]): Promise<void> {
  for (const path of directories.reverse()) {
    const parent = await paths.openDirectory(dirname(path)).catch(() => undefined);
    if (parent === undefined) continue;
    // Something else may be in it by now.
    await rmdir(join(parent.path, basename(path))).catch(() => undefined);
    await parent.close();
  }
}

/** Holds a directory, created one by one below the nearest that exists: each step starts from a directory that is held. */
async function openDirectory(paths: Paths, path: string, created: string[]): Promise<Awaited<ReturnType<Paths["openDirectory"]>>> {
  const missing: string[] = [];
  let start = path;
  while (!(await exists(start))) {
    missing.unshift(basename(start));
    start = dirname(start);
  }
  let directory = await paths.openDirectory(start);
  for (const name of missing) {
    const child = join(directory.path, name);
    start = join(start, name);
    try {
      if (await makeDirectory(child)) created.push(start);
      const next = await paths.openDirectory(child);
      await directory.close();
      directory = next;
    } catch (error) {
      await directory.close();
      throw error;
    }
  }
  return directory;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** False where it exists: another call may create the same parent at the same time. */
const makeDirectory = (path: string): Promise<boolean> =>
  mkdir(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      return false;
    },
  );

const REASONS: Record<string, string> = {
  EACCES: "permission denied.",
  EPERM: "permission denied.",
  EROFS: "the file system is read-only.",
  ENOSPC: "the disk is full.",
  ENOTDIR: "a parent of it is a file.",
  ENAMETOOLONG: "the name is too long.",
};

/** A refusal of the system as EDIT_REFUSED. */
export function refusalOf(paths: Paths, error: unknown, { path }: FileChange): unknown {
  if (error instanceof AgentError || !(error instanceof Error) || !("code" in error)) return error;
  const code = String(error.code);
  return new AgentError("EDIT_REFUSED", { path: paths.show(path), reason: REASONS[code] ?? `${code}.` }, { cause: error });
}
