import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Changes with what the files of a directory hold: their names, sizes and times. "" where there is none. */
export function stampOf(dir: string): string {
  return namesIn(dir)
    .filter((name) => /^(journal|snapshot)\.\d+$/.test(name))
    .sort()
    .map((name) => {
      const stat = statSync(join(dir, name), { throwIfNoEntry: false });
      return `${name}:${stat?.size}:${stat?.mtimeMs}`;
    })
    .join(" ");
}

/** Bytes of all files in it and below. */
export function bytesIn(dir: string): number {
  return namesIn(dir).reduce((sum, name) => {
    const stat = statSync(join(dir, name), { throwIfNoEntry: false });
    return sum + (stat?.isDirectory() ? bytesIn(join(dir, name)) : (stat?.size ?? 0));
  }, 0);
}

export function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}
