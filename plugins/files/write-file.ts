import { randomBytes } from "node:crypto";
import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AgentError, type ToolContext } from "agent-runtime";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
/** For a new file; the system takes off its umask. */
const NEW_FILE_MODE = 0o666;
const PERMISSION_BITS = 0o7777n;

export interface WriteRequest {
  paths: ToolContext["paths"];
  /** Real, absolute. */
  path: string;
  content: Buffer;
  /** What was there when it was looked at; nothing else is overwritten. */
  existing: BigIntStats | undefined;
}

/**
 * Puts `content` at `path` in one step: readers see the old file or the new one. Parents are created, mode and owner of
 * an existing file are kept. Returns what is there afterwards. Throws EDIT_REFUSED when something else is there by now,
 * and the system's errors.
 */
export async function writeFileAtomically(request: WriteRequest): Promise<BigIntStats> {
  const directory = await openDirectory(request.paths, dirname(request.path));
  const temporary = join(directory.path, `.${randomBytes(8).toString("hex")}.tmp`);
  try {
    const stats = await writeNewFile(temporary, request);
    const target = join(directory.path, basename(request.path));
    await checkUnchanged(target, request);
    await rename(temporary, target);
    return stats;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await directory.close();
  }
}

async function writeNewFile(path: string, { content, existing }: WriteRequest): Promise<BigIntStats> {
  const handle = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, NEW_FILE_MODE);
  try {
    await handle.writeFile(content);
    if (existing !== undefined) await keepOwnerAndMode(handle, existing);
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

async function checkUnchanged(target: string, { paths, path, existing }: WriteRequest): Promise<void> {
  const now = await lstat(target, { bigint: true }).catch(() => undefined);
  if (now?.mtimeNs === existing?.mtimeNs && now?.size === existing?.size) return;
  throw new AgentError("EDIT_REFUSED", { path: paths.show(path), reason: "it changed in this very moment.", advice: "Read it again, then try again." });
}

/** Holds a directory, created one by one below the nearest that exists: each step starts from a directory that is held. */
async function openDirectory(paths: ToolContext["paths"], path: string): Promise<Awaited<ReturnType<typeof paths.openDirectory>>> {
  const missing: string[] = [];
  let start = path;
  while (!(await exists(start))) {
    missing.unshift(basename(start));
    start = dirname(start);
  }
  let directory = await paths.openDirectory(start);
  for (const name of missing) {
    const child = join(directory.path, name);
    try {
      await mkdir(child).catch(ignoreExisting);
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

/** Another call may create the same parent at the same time. */
function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== "EEXIST") throw error;
}
