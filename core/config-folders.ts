import { type Dirent, readdirSync, realpathSync } from "node:fs";
import { basename, join, relative, sep } from "node:path";
import { checkTree, invalid, type ParsedFile, parseYaml, readText, statPath } from "./config-files.ts";
import { isInside } from "./inside.ts";

/** What an `.agent` or `.opencode` folder holds beside its configuration file. Absolute paths, sorted. */
export interface FolderFiles {
  profiles: string[];
  commands: string[];
  plugins: string[];
  tools: string[];
  /** Folders that are links out of `within`, and were not looked into. */
  outside: string[];
}

/** More entries than any such folder has: it may be a link to the whole disk. */
const MOST_ENTRIES = 2_000;

/** `within`: a real path that no folder may lead out of, where there is one. Throws CONFIG_INVALID for a folder that holds more than any of its kind. */
export function listFolderFiles(folder: string, within?: string): FolderFiles {
  let entries = 0;
  const count = (more: number) => {
    entries += more;
    if (entries > MOST_ENTRIES) throw invalid(folder, `it holds more than ${MOST_ENTRIES} entries.`);
  };
  const outside: string[] = [];
  const listFrom = (names: string[], ending: RegExp, deep: boolean) =>
    names.flatMap((name) => {
      const path = join(folder, name);
      if (within === undefined || statPath(path) === undefined || isInside(realpathSync(path), within)) return listFiles(path, { ending, deep, count });
      outside.push(path);
      return [];
    });
  return {
    profiles: listFrom(["agent", "agents"], /\.md$/, true),
    commands: listFrom(["command", "commands"], /\.md$/, true),
    plugins: listFrom(["plugin", "plugins"], /(?<!\.d)\.[cm]?[jt]s$/, false),
    tools: listFrom(["tool", "tools"], /(?<!\.d)\.[cm]?[jt]s$/, false),
    outside,
  };
}

interface MarkdownPlace {
  folder: string;
  kind: "agent" | "command";
  /** Of the file, where it is known. */
  text?: string | undefined;
}

/** One Markdown file as a piece of configuration: front matter as keys, the text as prompt or template. */
export async function readMarkdown(file: string, { folder, kind, text = "" }: MarkdownPlace): Promise<ParsedFile> {
  const source = (text || (await readText(file))).replace(/^\uFEFF/, "");
  const [, head = "", body = source] = /^---\r?\n([\s\S]*?)\r?\n?---\r?\n?([\s\S]*)$/.exec(source) ?? [];
  // An empty line in the place of the `---` above, so that lines are those of the file.
  const { value, positions }: ParsedFile = head.trim() === "" ? { value: {}, positions: new Map() } : await parseYaml(`\n${head}`, file);
  const prompt = body.trim();
  const name = relative(folder, file).split(sep).slice(1).join("/").replace(/\.md$/, "") || basename(file, ".md");
  const own = kind === "command" ? { ...value, template: prompt } : prompt === "" ? value : { ...value, prompt };
  return {
    value: checkTree({ [kind]: { [name]: own } }, file),
    positions: new Map([...positions].map(([key, at]) => [`${kind}.${name}.${key}`, at])),
  };
}

function listFiles(folder: string, search: { ending: RegExp; deep: boolean; count(more: number): void }): string[] {
  const entries = readFolder(folder);
  search.count(entries.length);
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return search.deep ? listFiles(path, search) : [];
    return search.ending.test(entry.name) && statPath(path)?.isFile() ? [path] : [];
  });
}

function readFolder(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}
