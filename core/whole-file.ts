import { randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import { chmod, open, realpath, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { AgentError, errorMessage } from "./errors.ts";
import { makeDirectories } from "./generation.ts";

/**
 * Puts the whole text in its place or none of it: for its owner alone (0600), directories that are missing 0700. A link
 * stays one, and what it leads to is replaced. Throws STORE_UNWRITABLE.
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  const target = await realpath(path).catch(() => path);
  const draft = `${target}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    makeDirectories(nodeFs, dirname(target));
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(draft, 0o600);
    await rename(draft, target);
  } catch (error) {
    throw new AgentError("STORE_UNWRITABLE", { path, reason: errorMessage(error) }, { cause: error });
  } finally {
    await rm(draft, { force: true }).catch(() => {});
  }
}
