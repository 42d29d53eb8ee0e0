import type { Dirent } from "node:fs";
import { readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { isSecretName } from "./secret-files.ts";

/** Folders that are looked into, the upper ones first. */
const MOST_FOLDERS = 2_000;
const AT_ONCE = 16;
/** They hold what others have written, and much of it. */
const SKIPPED = new Set(["node_modules", ".git"]);

/** Real paths of the files below the roots that have a secret name, such as `.env`. Links to folders are not followed. */
export async function findSecretNames(roots: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  let folders = [...roots];
  for (let count = 0; folders.length > 0 && count < MOST_FOLDERS; ) {
    const batch = folders.splice(0, Math.min(AT_ONCE, MOST_FOLDERS - count));
    count += batch.length;
    const listings = await Promise.all(batch.map((folder) => listFolder(folder)));
    for (const [index, entries] of listings.entries()) {
      const folder = batch[index] as string;
      const below = entries.filter((entry) => entry.isDirectory() && !SKIPPED.has(entry.name));
      folders = [...folders, ...below.map(({ name }) => join(folder, name))];
      for (const entry of entries.filter(({ name }) => isSecretName(name)))
        if (entry.isFile() || entry.isSymbolicLink()) found.add(await realpath(join(folder, entry.name)).catch(() => ""));
    }
  }
  found.delete("");
  return [...found];
}

const listFolder = (folder: string): Promise<Dirent[]> => readdir(folder, { withFileTypes: true }).catch(() => []);
