import { lstatSync, readdirSync, type Stats } from "node:fs";
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
    const names = folders.get(dirname(file));
    if (names === undefined) folders.set(dirname(file), [file]);
    else names.push(file);
  };
  for (const file of files) add(file);

  const look = async (): Promise<{ shown: Found[]; hidden: number }> => {
    const found: (Found & { stats: Stats })[] = [];
    for (const [folder, files] of batchesOf(folders)) {
      await setImmediate(undefined, { signal });
      paths.look(join(cwd, folder), (held) => found.push(...files.flatMap((file) => lookAt(file, held))));
    }
    const shown = found.filter(({ file, stats }) => !paths.isHidden(join(cwd, file), stats));
    return { shown, hidden: found.length - shown.length };
  };
  return {
    add,
    /** Those that are there, in no order. The names of a folder are asked for at once: to look at each takes ten times as long. */
    present: async (): Promise<Present> => {
      const found: string[] = [];
      for (const [folder, files] of folders) {
        await setImmediate(undefined, { signal });
        paths.look(join(cwd, folder), (held) => keepPresent(files, held, found));
      }
      const shown = found.filter((file) => !paths.isHidden(join(cwd, file)));
      return { files: shown, hidden: found.length - shown.length };
    },
    /**
     * In the order of their last change, equally new ones by path. ripgrep can sort too, but works on one thread then, and
     * leaves equally new ones in the order of the disk.
     */
    newest: async (): Promise<Present> => {
      const { shown, hidden } = await look();
      return { files: shown.sort((a, b) => b.modified - a.modified || (a.file < b.file ? -1 : 1)).map(({ file }) => file), hidden };
    },
  };
}

function* batchesOf(folders: Map<string, string[]>): Generator<[string, string[]]> {
  for (const [folder, files] of folders) for (let start = 0; start < files.length; start += BATCH) yield [folder, files.slice(start, start + BATCH)];
}

function keepPresent(files: readonly string[], directory: string, found: string[]): void {
  const there = new Set(readdirSync(directory, { withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [entry.name] : [])));
  for (const file of files) if (there.has(basename(file))) found.push(file);
}

/** At once: to wait for each takes four times as long. */
function lookAt(file: string, held: string): (Found & { stats: Stats })[] {
  const stats = lstatSync(join(held, basename(file)), { throwIfNoEntry: false });
  return stats?.isFile() ? [{ file, modified: stats.mtimeMs, stats }] : [];
}
