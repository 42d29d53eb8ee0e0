import { lstatSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { ToolContext } from "agent-runtime";

/** Files that are looked at before others have their turn. */
const BATCH = 250;

interface Found {
  file: string;
  /** ms since 1970 */
  modified: number;
}

/**
 * Files that ripgrep has found below a real directory. It goes by names, and a link may have taken the place of a
 * directory meanwhile: only what is there without a link is told of.
 */
export function createFoundFiles({ paths, signal }: ToolContext, cwd: string, files: readonly string[] = []) {
  const folders = new Map<string, string[]>();
  const add = (file: string): void => {
    const folder = dirname(file);
    const names = folders.get(folder);
    if (names === undefined) folders.set(folder, [file]);
    else names.push(file);
  };
  for (const file of files) add(file);

  const look = async (): Promise<Found[]> => {
    const found: Found[] = [];
    for (const [folder, files] of batchesOf(folders)) {
      await setImmediate(undefined, { signal });
      paths.look(join(cwd, folder), (held) => found.push(...files.flatMap((file) => lookAt(file, held))));
    }
    return found;
  };
  return {
    add,
    /** Those that are there, in no order. */
    present: async (): Promise<string[]> => (await look()).map(({ file }) => file),
    /**
     * In the order of their last change, equally new ones by path. ripgrep can sort too, but works on one thread then, and
     * leaves equally new ones in the order of the disk.
     */
    newest: async (): Promise<string[]> => (await look()).sort((a, b) => b.modified - a.modified || (a.file < b.file ? -1 : 1)).map(({ file }) => file),
  };
}

function* batchesOf(folders: Map<string, string[]>): Generator<[string, string[]]> {
  for (const [folder, files] of folders) for (let start = 0; start < files.length; start += BATCH) yield [folder, files.slice(start, start + BATCH)];
}

/** At once: to wait for each takes four times as long. */
function lookAt(file: string, held: string): Found[] {
  const stats = lstatSync(join(held, basename(file)), { throwIfNoEntry: false });
  return stats?.isFile() ? [{ file, modified: stats.mtimeMs }] : [];
}
