import { type Dirent, readdirSync } from "node:fs";
import { basename, join, relative, sep } from "node:path";
import { checkTree, type ParsedFile, parseYaml, readText, statPath } from "./config-files.ts";

/** What an `.agent` or `.opencode` folder holds beside its configuration file. Absolute paths, sorted. */
export interface FolderFiles {
  profiles: string[];
  commands: string[];
  plugins: string[];
  tools: string[];
}

export function listFolderFiles(folder: string): FolderFiles {
  const listFrom = (names: string[], ending: RegExp, deep: boolean) => names.flatMap((name) => listFiles(join(folder, name), ending, deep));
  return {
    profiles: listFrom(["agent", "agents"], /\.md$/, true),
    commands: listFrom(["command", "commands"], /\.md$/, true),
    plugins: listFrom(["plugin", "plugins"], /(?<!\.d)\.[cm]?[jt]s$/, false),
    tools: listFrom(["tool", "tools"], /(?<!\.d)\.[cm]?[jt]s$/, false),
  };
}

/** One Markdown file as a piece of configuration: front matter as keys, the text as prompt or template. */
export async function readMarkdown(file: string, folder: string, kind: "agent" | "command"): Promise<ParsedFile> {
  const source = (await readText(file)).replace(/^\uFEFF/, "");
  const [, head = "", body = source] = /^---\r?\n([\s\S]*?)\r?\n?---\r?\n?([\s\S]*)$/.exec(source) ?? [];
  // An empty line in the place of the `---` above, so that lines are those of the file.
  const { value, positions }: ParsedFile = head.trim() === "" ? { value: {}, positions: new Map() } : await parseYaml(`\n${head}`, file);
  const text = body.trim();
  const name = relative(folder, file).split(sep).slice(1).join("/").replace(/\.md$/, "") || basename(file, ".md");
  const own = kind === "command" ? { ...value, template: text } : text === "" ? value : { ...value, prompt: text };
  return {
    value: checkTree({ [kind]: { [name]: own } }, file),
    positions: new Map([...positions].map(([key, at]) => [`${kind}.${name}.${key}`, at])),
  };
}

function listFiles(folder: string, ending: RegExp, deep: boolean): string[] {
  return readFolder(folder).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return deep ? listFiles(path, ending, deep) : [];
    return ending.test(entry.name) && statPath(path)?.isFile() ? [path] : [];
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
