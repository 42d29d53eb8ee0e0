import { type Dirent, readdirSync } from "node:fs";
import { basename, join, relative, sep } from "node:path";
import { checkTree, parseConfig, readText, statPath, type Tree } from "./config-files.ts";

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
export async function readMarkdown(file: string, folder: string, kind: "agent" | "command"): Promise<Tree> {
  const source = (await readText(file)).replace(/^\uFEFF/, "");
  const [, head = "", body = source] = /^---\r?\n([\s\S]*?)\r?\n?---\r?\n?([\s\S]*)$/.exec(source) ?? [];
  const { value = {} } = head.trim() === "" ? {} : await parseFront(head, file);
  const text = body.trim();
  const name = relative(folder, file).split(sep).slice(1).join("/").replace(/\.md$/, "") || basename(file, ".md");
  const own = kind === "command" ? { ...value, template: text } : text === "" ? value : { ...value, prompt: text };
  return checkTree({ [kind]: { [name]: own } }, file);
}

async function parseFront(head: string, file: string): Promise<{ value?: Tree | undefined }> {
  const { value } = await parseConfig(head, `${file}.yaml`);
  return { value };
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
