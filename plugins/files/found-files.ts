import { lstatSync, type Stats } from "node:fs";
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

/** Those that may be told of, and how many are hidden. */
interface Present {
  files: string[];
  hidden: number;
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

  let hidden = 0;
  const look = async (): Promise<Found[]> => {
    const found: (Found & { stats: Stats })[] = [];
    for (const [folder, files] of batchesOf(folders)) {
      await setImmediate(undefined, { signal });
      paths.look(join(cwd, folder), (held) => found.push(...files.flatMap((file) => lookAt(file, held))));
    }
    const shown = found.filter(({ file, stats }) => !paths.isHidden(join(cwd, file), stats));
    hidden = found.length - shown.length;
    return shown;
  };
  return {
    add,
    /** Those that are there, in no order. */
    present: async (): Promise<Present> => ({ files: (await look()).map(({ file }) => file), hidden }),
    /**
     * In the order of their last change, equally new ones by path. ripgrep can sort too, but works on one thread then, and
     * leaves equally new ones in the order of the disk.
     */
    newest: async (): Promise<Present> => ({
      files: (await look()).sort((a, b) => b.modified - a.modified || (a.file < b.file ? -1 : 1)).map(({ file }) => file),
      hidden,
    }),
  };
}

function* batchesOf(folders: Map<string, string[]>): Generator<[string, string[]]> {
  for (const [folder, files] of folders) for (let start = 0; start < files.length; start += BATCH) yield [folder, files.slice(start, start + BATCH)];
}

/** At once: to wait for each takes four times as long. */
function lookAt(file: string, held: string): (Found & { stats: Stats })[] {
  const stats = lstatSync(join(held, basename(file)), { throwIfNoEntry: false });
  return stats?.isFile() ? [{ file, modified: stats.mtimeMs, stats }] : [];
}
