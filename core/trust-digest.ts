import { createHash } from "node:crypto";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isCode, isTree, listDirectories, listProjectFiles, listProjectFolders, parseConfig, readText, statPath, type Tree } from "./config-files.ts";
import { listFolderFiles } from "./config-folders.ts";
import { replaceFiles } from "./config-references.ts";
import { isInside } from "./inside.ts";

export interface WorkspaceDigest {
  /** SHA-256 over names and content of `files`. */
  digest: string;
  /** Paths relative to the workspace's root. */
  files: string[];
  /** Text of each configuration and Markdown file as it was hashed, by absolute path: what is read once is what counts. */
  texts: Map<string, string>;
}

type Note = (path: string, content: string | Buffer) => void;

/** What is noted, as one hash and as a list of paths. */
function createNotes(root: string): { note: Note; result(): { digest: string; files: string[] } } {
  const lines = new Set<string>();
  const files = new Set<string>();
  const note: Note = (path, content) => {
    files.add(relative(root, path));
    lines.add(`${relative(root, path)}\0${createHash("sha256").update(content).digest("hex")}\n`);
  };
  const digest = () =>
    createHash("sha256")
      .update([...lines].sort().join(""))
      .digest("hex");
  return { note, result: () => ({ digest: digest(), files: [...files].sort() }) };
}

/**
 * One hash over everything that could make this workspace run something: see `docs/configuration.md`, Trust.
 * Throws CONFIG_INVALID for a file that no configuration can be.
 */
export async function digestWorkspace(root: string, cwd: string): Promise<WorkspaceDigest> {
  const { note, result } = createNotes(root);
  const texts = new Map<string, string>();
  const survey: Survey = { root, note, packages: new Set(), installed: new Map(), programs: new Set(), texts };
  const directories = listDirectories(root, cwd);
  for (const file of listProjectFiles(directories)) await noteConfigFile(file, survey);
  for (const folder of listProjectFolders(directories)) {
    const { profiles, commands, plugins, tools } = listFolderFiles(folder);
    for (const file of [...profiles, ...commands]) {
      const text = await keepText(file, texts);
      note(file, text);
      noteReferences(text, file, survey);
    }
    for (const file of [...plugins, ...tools]) await noteProgram(file, survey);
  }
  return { ...result(), texts };
}

/** One look at a workspace, and what was seen already. */
interface Survey {
  root: string;
  note: Note;
  packages: Set<string>;
  /** Names of the packages in a `node_modules`. */
  installed: Map<string, string[]>;
  programs: Set<string>;
  texts: Map<string, string>;
}

async function keepText(file: string, texts: Map<string, string>): Promise<string> {
  const text = await readText(file);
  texts.set(file, text);
  return text;
}

async function noteConfigFile(file: string, survey: Survey): Promise<void> {
  const { text, named } = await readNamed(file, survey.texts);
  if (text === undefined) return;
  survey.note(file, text);
  if (isCode(file)) await noteProgram(file, survey);
  for (const { name, ...kind } of named) await noteNamed({ name: noteReferences(name, file, survey), ...kind }, file, survey);
}

interface Named {
  name: string;
  /** It may be a part of a package, as in `name/part`: elsewhere that is a model. */
  isPlugin: boolean;
  /** It may be a line for a shell, in which every word could name a program. */
  isCommand?: boolean;
}

const COMMAND_KEYS = new Set(["mcp", "formatter", "lsp", "shell", "command"]);

/** The text that counts of a configuration file, and every string in it: any of them could name a program. */
async function readNamed(file: string, texts: Map<string, string>): Promise<{ text: string | undefined; named: Named[] }> {
  const text = await keepText(file, texts);
  if (isCode(file)) return { text, named: [...text.matchAll(TEXT)].map((match) => ({ name: match[2]!, isPlugin: true })) };
  const { value } = await parseConfig(text, file);
  if (value === undefined) return { text: file.endsWith("package.json") ? undefined : text, named: [] };
  const named = Object.entries(value).flatMap(([key, item]) =>
    collectStrings(item).map((name) => ({ name, isPlugin: key === "plugin", isCommand: COMMAND_KEYS.has(key) })),
  );
  return { text: file.endsWith("package.json") ? JSON.stringify(value) : text, named };
}

function collectStrings(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(collectStrings);
  return isTree(value) ? Object.values(value as Tree).flatMap(collectStrings) : [];
}

/** What stands between two quotes on one line of a program. Matches may overlap, so that an apostrophe in a comment hides nothing. */
const TEXT = /(?=(["'`])((?:\\.|(?!\1)[^\\\n]){1,500})\1)/g;

/** Notes the files of `{file:…}` in the workspace; returns the text that they make. */
function noteReferences(text: string, file: string, { root, note }: Pick<Survey, "root" | "note">): string {
  return replaceFiles(text, { file, env: {} }, (path) => {
    const content = isFile(path) && statPath(path)!.size <= MOST_BYTES ? readFileSync(path) : undefined;
    if (isInside(path, root)) note(path, content ?? MISSING);
    return content?.toString("utf8").trim() ?? "";
  });
}

const PROSE = new Set([".md", ".mdc", ".txt"]);
const PACKAGE = /^(?:@[\w.-]+\/)?[\w-][\w.-]*/;

/** Notes what a string in a configuration file may name: a path, an address of a file, an installed package. */
async function noteNamed({ name, isPlugin, isCommand = false }: Named, file: string, survey: Survey): Promise<void> {
  if (isCommand && /[\s"'`;&|()<>=]/.test(name))
    for (const word of new Set(name.slice(0, LONGEST_LINE).split(/[\s"'`;&|()<>=]+/))) await noteNamed({ name: word, isPlugin }, file, survey);
  if (name === "" || name.length > 1_000 || name.includes("\0") || PROSE.has(extname(name))) return;
  const places = listPlaces(dirname(file), survey.root);
  const paths = name.startsWith("file:") ? [pathOfUrl(name)] : places.map((place) => resolve(place, name));
  for (const program of paths.flatMap(listCandidates)) await noteProgram(program, survey);
  const packageName = PACKAGE.exec(name)?.[0];
  if (packageName !== undefined && (isPlugin || packageName === name)) await notePackages(packageName, dirname(file), survey);
}

const LONGEST_LINE = 65_536;

/** From the file's own directory up to the end. */
function listPlaces(directory: string, end: string): string[] {
  return directory === end || directory === dirname(directory) ? [directory] : [directory, ...listPlaces(dirname(directory), end)];
}

function pathOfUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    return url;
  }
}

/**
 * Every installed package of this name that a program in the directory could get, above the workspace's root too: who puts one
 * nearer changes what is imported. It counts as a whole (its manifest may give any of its files to those who import it, and these
 * each other by its name), and so do those that it says it needs.
 */
async function notePackages(name: string, directory: string, survey: Survey): Promise<void> {
  for (const place of listPlaces(directory, "/")) {
    const folder = join(place, "node_modules", name);
    if (survey.packages.has(folder)) continue;
    survey.packages.add(folder);
    if (!statPath(folder)?.isDirectory()) continue;
    survey.note(folder, digestFolder(folder));
    const needed = readManifest(join(folder, "package.json"));
    for (const list of [needed.dependencies, needed.optionalDependencies, needed.peerDependencies])
      for (const other of isTree(list) ? Object.keys(list).filter((other) => isForeign(other)) : []) await notePackages(other, realpathSync(folder), survey);
  }
}

function digestFolder(folder: string): string {
  const own = createNotes(folder);
  for (const file of listPackageFiles(folder, realpathSync(folder))) own.note(file, readProgram(file));
  return own.result().digest;
}

/** {} where it is none. */
function readManifest(path: string): Tree {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return isTree(value) ? value : {};
  } catch {
    return {};
  }
}

/** Without the packages that it brings along, and without what links lead out to. */
function listPackageFiles(folder: string, top: string, seen = new Set<string>()): string[] {
  const real = realpathSync(folder);
  if (seen.has(real)) return [];
  seen.add(real);
  return listNames(folder).flatMap((name) => {
    const path = join(folder, name);
    if (isFile(path)) return [path];
    const isPart = name !== "node_modules" && name !== ".git" && statPath(path)?.isDirectory() && isInside(realpathSync(path), top);
    return isPart ? listPackageFiles(path, top, seen) : [];
  });
}

const MISSING = "missing";
const MOST_BYTES = 1 << 22;

/** The content; of what is larger than a program is, or cannot be read, that nobody has touched it. */
function readProgram(path: string): Buffer {
  const { size = 0, ctimeMs = 0 } = statPath(path) ?? {};
  const stamp = Buffer.from(`${size} bytes, changed ${ctimeMs}`);
  try {
    return size > MOST_BYTES ? stamp : readFileSync(path);
  } catch {
    return stamp;
  }
}

/** Notes a program, and what it imports by paths and by names, all the way. What is missing is noted too: it may appear. */
async function noteProgram(file: string, survey: Survey): Promise<void> {
  const waiting = [file];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (survey.programs.has(path)) continue;
    survey.programs.add(path);
    const content = readProgram(path);
    survey.note(path, content);
    const source = content.toString("utf8");
    for (const name of findImports(source, path)) {
      const targets = [...new Set([path, realpathSync(path)].map((from) => resolve(dirname(from), name)))];
      const candidates = targets.flatMap(listCandidates);
      if (candidates.length === 0 && isPlainPath(name)) survey.note(targets[0]!, MISSING);
      waiting.push(...candidates);
    }
    if (basename(path) !== "package.json") waiting.push(...(await noteNames(source, path, survey)));
  }
}

/** What a program may import by a name: an installed package, or what the manifest above it means by `#name` and by its own name. */
async function noteNames(source: string, path: string, survey: Survey): Promise<string[]> {
  const names = new Set([...source.matchAll(NAME)].map((match) => match[2]!));
  const directories = [...new Set([path, realpathSync(path)].map(dirname))];
  for (const directory of directories)
    for (const name of listInstalled(directory, survey)) if (names.has(name) && isForeign(name, source)) await notePackages(name, directory, survey);
  const programs: string[] = [];
  for (const manifest of directories.flatMap(findManifest)) {
    const { name, type, imports, exports } = readManifest(manifest);
    if (!(source.includes("#") && imports !== undefined) && !names.has(name as string)) continue;
    survey.note(manifest, JSON.stringify({ name, type, imports, exports }));
    for (const target of collectStrings([imports, exports])) programs.push(...(await findTargets(target, dirname(manifest), survey)));
  }
  return programs;
}

/** What a program gets as `agent-runtime` is always this very one, but for its parts. */
const isForeign = (name: string, source = ""): boolean => name !== "agent-runtime" || source.includes("agent-runtime/");

/**
 * The name of a package, or of one of its parts, behind a word that imports. Not any text: a plugin that runs `vitest` would
 * have all that vitest needs read at every start.
 */
const NAME =
  /(?:from|import|require|resolve)[\w$]*\s*(?:\([^()\n]{0,100}\)\s*)?\(?\s*(?:\/\*[^*]{0,200}\*\/\s*)?(["'`])((?:@[\w.-]+\/)?[\w-][\w.-]{0,213})(?:\/[^"'`\n]{0,300})?\1/gi;

/** The packages that a program in this directory could get by their names. */
function listInstalled(directory: string, { installed }: Survey): Set<string> {
  const listIn = (folder: string): string[] => {
    const names = listNames(folder).flatMap((name) => (name.startsWith("@") ? listNames(join(folder, name)).map((part) => `${name}/${part}`) : [name]));
    return names.filter((name) => !isBuiltin(name));
  };
  const folders = listPlaces(directory, "/").map((place) => join(place, "node_modules"));
  for (const folder of folders) if (!installed.has(folder)) installed.set(folder, listIn(folder));
  return new Set(folders.flatMap((folder) => installed.get(folder)!));
}

/** None where there is no folder that can be read. */
function listNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The nearest manifest, which is the one that counts. */
function findManifest(directory: string): string[] {
  const found = listPlaces(directory, "/")
    .map((place) => join(place, "package.json"))
    .find(isFile);
  return found === undefined ? [] : [found];
}

/** The programs that an entry of `imports` or `exports` leads to; with a pattern, all that lies below its fixed part. */
async function findTargets(target: string, directory: string, survey: Survey): Promise<string[]> {
  if (!target.startsWith(".")) {
    const name = PACKAGE.exec(target)?.[0];
    if (name !== undefined) await notePackages(name, directory, survey);
    return [];
  }
  if (!target.includes("*")) return listCandidates(resolve(directory, target));
  const folder = resolve(directory, target.slice(0, target.indexOf("*")).replace(/[^/]*$/, ""));
  if (statPath(folder)?.isDirectory()) survey.note(folder, digestFolder(folder));
  return [];
}

/**
 * Every text that may be a relative import, whatever stands before it: a comment, or another name for `require`. Only of a
 * bare `..` the word before it must say so.
 */
const IMPORT = /(?=(["'`])(\.\.?\/(?:(?!\1)[^\n]){1,500})\1)/g;
const FOLDER_IMPORT = /\b(?:from|import|require)\s*\(?\s*(["'`])(\.\.?\/?)\1/g;

/** As they are written, and as addresses are read. */
function findImports(source: string, file: string): string[] {
  const written = () => [IMPORT, FOLDER_IMPORT].flatMap((pattern) => [...source.matchAll(pattern)].map((match) => match[2]!));
  const names = basename(file) === "package.json" ? stringsOf(source) : written();
  return [...new Set(names.flatMap((name) => [name, decodePath(name)]))].filter((name) => name !== "" && name.length <= 1_000 && !name.includes("\0"));
}

function stringsOf(manifest: string): string[] {
  try {
    return collectStrings(JSON.parse(manifest));
  } catch {
    return [];
  }
}

const decodePath = (name: string): string =>
  name.replace(/[?#].*$/, "").replace(/(%[0-9a-f]{2})+/gi, (codes) => Buffer.from(codes.replaceAll("%", ""), "hex").toString("utf8"));

/** A path that a file could get: no pattern, no template, no version. */
const isPlainPath = (name: string): boolean => /^[^\s*?#%<>${}|\\]*[^\s*?#%<>${}|\\./]$/.test(name) && (name.startsWith(".") || /\.[cm]?[jt]s$/.test(name));

const ENDINGS = [".ts", ".js", ".mts", ".mjs", ".cts", ".cjs", ".tsx", ".jsx", ".json"];

/** Every file that an import could mean, whichever the loader prefers: so a file that shadows another one is seen. */
function listCandidates(path: string): string[] {
  const stem = path.replace(/\.[cm]?jsx?$/, "");
  const paths = [path, ...ENDINGS.flatMap((ending) => [path + ending, join(path, `index${ending}`), ...(stem === path ? [] : [stem + ending])])];
  return [...new Set([...paths, join(path, "package.json")])].filter(isFile);
}

const isFile = (path: string): boolean => statPath(path)?.isFile() ?? false;
