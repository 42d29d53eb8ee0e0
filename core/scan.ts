import { lstatSync, readdirSync, type Stats } from "node:fs";
import { dirname, sep } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Ignore } from "ignore";
import { lookInto, readRegular } from "./held.ts";

/** More than these are not looked through. */
const MAX_FILES = 10_000;
const MAX_ENTRIES = 20_000;
/** How long other work waits at a time. */
const TURN_MS = 10;

const LEFT_OUT = new Set([".git", "node_modules"]);
export const IGNORE_FILES = [".gitignore", ".ignore"];

export interface ScanOptions {
  roots: readonly string[];
  /** Directories that are left out, whatever they are called. */
  skip: ReadonlySet<string>;
  rules: IgnoreRules;
  /** Reads the ignore files anew. Otherwise those that are known decide, so that a change of them hides nothing and uncovers nothing. */
  fresh: boolean;
  pace: Pace;
  visit(path: string, stats: Stats): void;
}

/** Thrown where a folder cannot be looked through; the message says why. */
export class ScanLimit extends Error {}

/** Lets others work now and then, and ends what takes too long. */
export function createPace(limitMs: number): Pace {
  const end = performance.now() + limitMs;
  let turn = performance.now() + TURN_MS;
  return async () => {
    const now = performance.now();
    if (now > end) throw new ScanLimit("it takes too long to look through");
    if (now < turn) return;
    await nextTurn();
    turn = performance.now() + TURN_MS;
  };
}

export type Pace = () => Promise<void>;

/** Visits files, links and directories below the roots, links not followed. Throws ScanLimit. */
export async function scanFolders(options: ScanOptions): Promise<void> {
  const waiting = outermost(options.roots);
  let [files, entries] = [0, 0];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    const folder = readFolder(directory, options.fresh, MAX_ENTRIES - entries);
    entries += folder.count;
    if (options.fresh) await options.rules.set(directory, folder.ignore);
    for (const { name, stats } of folder.entries) {
      const path = directory + sep + name;
      const isDirectory = stats.isDirectory();
      if ((isDirectory && options.skip.has(path)) || options.rules.covers(path, isDirectory)) continue;
      options.visit(path, stats);
      if (isDirectory) waiting.push(path);
      else if (++files > MAX_FILES) throw new ScanLimit(`it has more than ${MAX_FILES.toLocaleString("en")} files`);
    }
    await options.pace();
  }
}

interface Folder {
  /** Of its names. */
  count: number;
  /** What is looked at of them. */
  entries: { name: string; stats: Stats }[];
  /** What its ignore files say together. */
  ignore: string | undefined;
}

/** A directory that cannot be read, or that is another one by now, has nothing that could be kept. Throws ScanLimit for more entries than `most`. */
function readFolder(directory: string, fresh: boolean, most: number): Folder {
  const folder = lookInto(directory, (held): Folder => {
    const names = readNames(held);
    if (names.length > most) throw new ScanLimit(`it has more than ${MAX_ENTRIES.toLocaleString("en")} entries`);
    const entries = names.flatMap((name) => {
      const stats = LEFT_OUT.has(name) ? undefined : statOf(held + sep + name);
      return stats === undefined ? [] : { name, stats };
    });
    const rules = fresh ? IGNORE_FILES.filter((name) => names.includes(name)) : [];
    return { count: names.length, entries, ignore: rules.length === 0 ? undefined : rules.map((name) => readText(held + sep + name)).join("\n") };
  });
  return folder ?? { count: 0, entries: [], ignore: undefined };
}

const outermost = (roots: readonly string[]): string[] => roots.filter((root) => !roots.some((other) => root !== other && root.startsWith(other + sep)));

function readNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

export function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** What `.gitignore` and `.ignore` of the folders say; the nearest folder that says something decides. */
export class IgnoreRules {
  readonly #folders = new Map<string, { text: string; rules: Ignore }>();

  /** What the ignore files of a folder say together; undefined where it has none. */
  async set(directory: string, text: string | undefined): Promise<void> {
    if (this.#folders.get(directory)?.text === text) return;
    if (text === undefined) return void this.#folders.delete(directory);
    const { default: ignore } = await import("ignore");
    this.#folders.set(directory, { text, rules: ignore().add(text) });
  }

  covers(path: string, isDirectory: boolean): boolean {
    if (this.#folders.size === 0) return false;
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      const verdict = this.#folders.get(folder)?.rules.test(path.slice(folder.length + 1) + (isDirectory ? "/" : ""));
      if (verdict?.ignored || verdict?.unignored) return verdict.ignored;
      if (folder === dirname(folder)) return false;
    }
  }
}

function readText(path: string): string {
  try {
    return readRegular(path).bytes.toString();
  } catch {
    return "";
  }
}
