import { lstatSync, type Stats } from "node:fs";
import { join } from "node:path";

/**
 * Puts the files of a directory in the order of their last change, equally new ones by path; what is gone and what is
 * hidden is left out.
 * ripgrep can sort too, but works on one thread then, and leaves equally new ones in the order of the disk.
 */
export function createNewestFirst(cwd: string, isHidden: (path: string, stats: Stats) => boolean) {
  const found: { file: string; modified: number }[] = [];
  let hidden = 0;
  return {
    /** How many were hidden. */
    get hidden() {
      return hidden;
    },
    // One at a time and at once: to wait for each takes four times as long.
    add(file: string): void {
      const path = join(cwd, file);
      const stats = lstatSync(path, { throwIfNoEntry: false });
      if (stats === undefined) return;
      if (isHidden(path, stats)) hidden += 1;
      else found.push({ file, modified: stats.mtimeMs });
    },
    files: (): string[] => found.sort((a, b) => b.modified - a.modified || (a.file < b.file ? -1 : 1)).map(({ file }) => file),
  };
}
