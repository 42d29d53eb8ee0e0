import { randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import { open, realpath, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { AgentError, errorMessage } from "./errors.ts";
import { makeDirectories } from "./generation.ts";
import { acquireLock, type Busy, type Lock } from "./lock.ts";

const LOCK_WAIT_MS = 5_000;

/** Reads and writes `path` while nobody else does, so that no change is lost; `dir` holds the lock. Throws STORE_UNWRITABLE after 5 s. */
export async function whileLocked<T>(dir: string, path: string, work: () => Promise<T>): Promise<T> {
  const lock = await lockDirectory(dir).catch((error: unknown) => {
    throw new AgentError("STORE_UNWRITABLE", { path, reason: errorMessage(error) }, { cause: error });
  });
  if ("busy" in lock) throw new AgentError("STORE_UNWRITABLE", { path, reason: `process ${lock.busy} is changing it.` });
  try {
    return await work();
  } finally {
    lock.release();
  }
}

async function lockDirectory(dir: string): Promise<Lock | Busy> {
  makeDirectories(nodeFs, dir);
  return acquireLock({ dir, waitMs: LOCK_WAIT_MS });
}

/**
 * Puts the whole text in its place or none of it: with `mode`, directories that are missing 0700. A link
 * stays one, and what it leads to is replaced. Throws STORE_UNWRITABLE.
 */
export async function writeWhole(path: string, text: string, mode = 0o600): Promise<void> {
  const target = await realpath(path).catch(() => path);
  const draft = `${target}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    makeDirectories(nodeFs, dirname(target));
    const file = await open(draft, "wx", mode);
    try {
      await file.writeFile(text);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, target);
  } catch (error) {
    throw new AgentError("STORE_UNWRITABLE", { path, reason: errorMessage(error) }, { cause: error });
  } finally {
    await rm(draft, { force: true }).catch(() => {});
  }
}
