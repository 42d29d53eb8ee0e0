import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { findWorkspaceRoot, isCode, isTree, listDirectories, listProjectFiles, listProjectFolders, parseConfig, statPath, type Tree } from "./config-files.ts";
import { listFolderFiles } from "./config-folders.ts";
import { replaceFiles } from "./config-references.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { isBelow } from "./untrusted.ts";
import { whileLocked, writeWhole } from "./whole-file.ts";

/** `changed`: it was trusted, and a file that the trust was given for has changed since. */
export type TrustState = "trusted" | "changed" | "untrusted";

export interface TrustEntry {
  /** Canonical path that the trust was given for. */
  path: string;
  /** SHA-256 over names and content of `files`. */
  digest: string;
  /** Paths relative to the workspace's root. */
  files: string[];
  /** ISO 8601. */
  at: string;
}

interface TrustFile {
  version: 1;
  workspaces: Record<string, Omit<TrustEntry, "path">>;
}

/**
 * Whether a person has trusted what configures this workspace, as it is now. The answer is in `<dataDir>/trust.json`,
 * which counts only when it is ours and closed to others (0600): no repository can bring such a file along.
 */
export async function trustState({ dataDir, cwd }: { dataDir: string; cwd: string }): Promise<TrustState> {
  const root = findWorkspaceRoot(cwd);
  const { workspaces } = await readTrust(dataDir);
  const given = listDirectories(root, cwd).flatMap((directory) => (Object.hasOwn(workspaces, directory) ? [workspaces[directory]!] : []));
  if (given.length === 0) return "untrusted";
  const { digest } = await digestWorkspace(root, cwd);
  return given.some((entry) => entry.digest === digest) ? "trusted" : "changed";
}

/** Trusts the workspace as it is now. Returns what was trusted. */
export async function grantTrust({ dataDir, cwd }: { dataDir: string; cwd: string }): Promise<TrustEntry> {
  const path = realpathSync(cwd);
  const { digest, files } = await digestWorkspace(findWorkspaceRoot(path), path);
  const entry = { digest, files, at: new Date().toISOString() };
  await changeTrust(dataDir, (workspaces) => ({ ...workspaces, [path]: entry }));
  return { path, ...entry };
}

export async function listTrust(dataDir: string): Promise<TrustEntry[]> {
  const { workspaces } = await readTrust(dataDir);
  return Object.entries(workspaces).map(([path, entry]) => ({ path, ...entry }));
}

/** Takes trust back; false where there was none for this very directory. It need not exist any more. */
export async function revokeTrust({ dataDir, cwd }: { dataDir: string; cwd: string }): Promise<boolean> {
  const path = existsSync(cwd) ? realpathSync(cwd) : resolve(cwd);
  return changeTrust(dataDir, ({ [path]: removed, ...others }) => (removed === undefined ? undefined : others));
}

const trustPath = (dataDir: string): string => join(dataDir, "trust.json");

async function readTrust(dataDir: string): Promise<TrustFile> {
  const path = trustPath(dataDir);
  const found = statPath(path);
  const isOurs = found !== undefined && (found.mode & 0o077) === 0 && (process.getuid === undefined || found.uid === process.getuid());
  if (!isOurs) return { version: 1, workspaces: {} };
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new AgentError("STORE_DAMAGED", { path, reason: errorMessage(error) });
  }
  if (!isTree(value) || !isTree(value.workspaces)) throw new AgentError("STORE_DAMAGED", { path, reason: "it is not a list of workspaces." });
  if (value.version !== 1) throw new AgentError("STORE_NEWER", { path, version: String(value.version) });
  return value as unknown as TrustFile;
}

/** `change` gives undefined where nothing is to be written. */
const changeTrust = (dataDir: string, change: (workspaces: TrustFile["workspaces"]) => TrustFile["workspaces"] | undefined): Promise<boolean> =>
  whileLocked(dataDir, trustPath(dataDir), async () => {
    const workspaces = change((await readTrust(dataDir)).workspaces);
    if (workspaces !== undefined) await writeWhole(trustPath(dataDir), `${JSON.stringify({ version: 1, workspaces }, null, 2)}\n`);
    return workspaces !== undefined;
  });

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

/** One hash over everything that could make this workspace run something: see `docs/configuration.md`, Trust. */
async function digestWorkspace(root: string, cwd: string): Promise<{ digest: string; files: string[] }> {
  const { note, result } = createNotes(root);
  const directories = listDirectories(root, cwd);
  for (const file of listProjectFiles(directories)) await noteConfigFile(file, root, note);
  for (const folder of listProjectFolders(directories)) {
    const { profiles, commands, plugins, tools } = listFolderFiles(folder);
    for (const file of [...profiles, ...commands]) {
      const content = await readFile(file);
      note(file, content);
      noteReferences(content.toString("utf8"), file, { root, note });
    }
    for (const file of [...plugins, ...tools]) await noteProgram(file, note);
  }
  return result();
}

async function noteConfigFile(file: string, root: string, note: Note): Promise<void> {
  const { text, named } = await readNamed(file);
  if (text === undefined) return;
  note(file, text);
  if (isCode(file)) await noteProgram(file, note);
  for (const { name, isPlugin } of named) await noteNamed({ name: noteReferences(name, file, { root, note }), isPlugin }, file, { root, note });
}

interface Named {
  name: string;
  /** It may be a part of a package, as in `name/part`: elsewhere that is a model. */
  isPlugin: boolean;
}

/** The text that counts of a configuration file, and every string in it: any of them could name a program. */
async function readNamed(file: string): Promise<{ text: string | undefined; named: Named[] }> {
  const text = await readFile(file, "utf8");
  if (isCode(file)) return { text, named: [...text.matchAll(TEXT)].map((match) => ({ name: match[2]!, isPlugin: true })) };
  const { value } = await parseConfig(text, file);
  if (value === undefined) return { text: file.endsWith("package.json") ? undefined : text, named: [] };
  const named = Object.entries(value).flatMap(([key, item]) => collectStrings(item).map((name) => ({ name, isPlugin: key === "plugin" })));
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
function noteReferences(text: string, file: string, { root, note }: { root: string; note: Note }): string {
  return replaceFiles(text, { file, env: {} }, (path) => {
    const content = isFile(path) ? readFileSync(path) : undefined;
    if (isBelow(root, path)) note(path, content ?? MISSING);
    return content?.toString("utf8").trim() ?? "";
  });
}

const PROSE = new Set([".md", ".mdc", ".txt"]);
const PACKAGE = /^(?:@[\w.-]+\/)?[\w-][\w.-]*/;

/** Notes what a string in a configuration file may name: a path, an address of a file, an installed package in the workspace. */
async function noteNamed({ name, isPlugin }: Named, file: string, { root, note }: { root: string; note: Note }): Promise<void> {
  if (name === "" || name.length > 1_000 || name.includes("\0") || PROSE.has(extname(name))) return;
  const places = listPlaces(dirname(file), root);
  const paths = name.startsWith("file:") ? [pathOfUrl(name)] : places.map((place) => resolve(place, name));
  for (const program of paths.flatMap(listCandidates)) await noteProgram(program, note);
  const packageName = PACKAGE.exec(name)?.[0];
  if (packageName === undefined || !(isPlugin || packageName === name)) return;
  for (const folder of places.map((place) => join(place, "node_modules", packageName))) if (statPath(folder)?.isDirectory()) await notePackage(folder, note);
}

/** From the file's own directory up to the workspace's root: packages are looked for in each. */
function listPlaces(directory: string, root: string): string[] {
  return directory === root || directory === dirname(directory) ? [directory] : [directory, ...listPlaces(dirname(directory), root)];
}

function pathOfUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    return url;
  }
}

/** A package counts as a whole: its manifest may give any of its files to those who import it, and these each other by its name. */
async function notePackage(folder: string, note: Note): Promise<void> {
  const own = createNotes(folder);
  for (const file of listPackageFiles(folder, realpathSync(folder))) own.note(file, await readProgram(file));
  note(folder, own.result().digest);
}

/** Without the packages that it brings along, and without what links lead out to. */
function listPackageFiles(folder: string, top: string, seen = new Set<string>()): string[] {
  const real = realpathSync(folder);
  if (seen.has(real)) return [];
  seen.add(real);
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (isFile(path)) return [path];
    const isPart = name !== "node_modules" && statPath(path)?.isDirectory() && isBelow(top, realpathSync(path));
    return isPart ? listPackageFiles(path, top, seen) : [];
  });
}

const MISSING = "missing";
const MOST_BYTES = 1 << 22;

/** The content; of what is larger than a program is, that nobody has touched it. */
async function readProgram(path: string): Promise<Buffer> {
  const { size, ctimeMs } = await stat(path);
  return size > MOST_BYTES ? Buffer.from(`${size} bytes, changed ${ctimeMs}`) : readFile(path);
}

/** Notes a program, and what it imports by relative paths, all the way. What is missing is noted too: it may appear. */
async function noteProgram(file: string, note: Note): Promise<void> {
  const waiting = [file];
  const done = new Set<string>();
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (done.has(path)) continue;
    done.add(path);
    const content = await readProgram(path);
    note(path, content);
    for (const name of findImports(content.toString("utf8"), path)) {
      const targets = [...new Set([path, realpathSync(path)].map((from) => resolve(dirname(from), name)))];
      const candidates = targets.flatMap(listCandidates);
      if (candidates.length === 0 && isPlainPath(name)) note(targets[0]!, MISSING);
      waiting.push(...candidates);
    }
  }
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
