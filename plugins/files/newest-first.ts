import { lstatSync } from "node:fs";
import { join } from "node:path";

/**
 * Puts the files of a directory in the order of their last change, equally new ones by path; what is gone is left out.
 * ripgrep can sort too, but works on one thread then, and leaves equally new ones in the order of the disk.
 */
export function createNewestFirst(cwd: string): { add(file: string): void; files(): string[] } {
  const found: { file: string; modified: number }[] = [];
  return {
    // One at a time and at once: to wait for each takes four times as long.
    add(file) {
      const stats = lstatSync(join(cwd, file), { throwIfNoEntry: false });
      if (stats !== undefined) found.push({ file, modified: stats.mtimeMs });
    },
    files: () => found.sort((a, b) => b.modified - a.modified || (a.file < b.file ? -1 : 1)).map(({ file }) => file),
  };
}
