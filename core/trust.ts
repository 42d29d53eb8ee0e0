import { createHash, randomBytes } from "node:crypto";
import { existsSync, realpathSync } from "node:fs";
import { chmod, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { findWorkspaceRoot, isCode, isTree, listDirectories, listProjectFiles, listProjectFolders, parseConfig, statPath, type Tree } from "./config-files.ts";
import { listFolderFiles } from "./config-folders.ts";
import { AgentError, errorMessage } from "./errors.ts";

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
  const before = await readTrust(dataDir);
  await writeTrust(dataDir, { version: 1, workspaces: { ...before.workspaces, [path]: entry } });
  return { path, ...entry };
}

export async function listTrust(dataDir: string): Promise<TrustEntry[]> {
  const { workspaces } = await readTrust(dataDir);
  return Object.entries(workspaces).map(([path, entry]) => ({ path, ...entry }));
}

/** Takes trust back; false where there was none for this very directory. It need not exist any more. */
export async function revokeTrust({ dataDir, cwd }: { dataDir: string; cwd: string }): Promise<boolean> {
  const before = await readTrust(dataDir);
  const path = existsSync(cwd) ? realpathSync(cwd) : resolve(cwd);
  if (!Object.hasOwn(before.workspaces, path)) return false;
  const { [path]: _removed, ...workspaces } = before.workspaces;
  await writeTrust(dataDir, { version: 1, workspaces });
  return true;
}

const trustPath = (dataDir: string): string => join(dataDir, "trust.json");

async function readTrust(dataDir: string): Promise<TrustFile> {
  const path = trustPath(dataDir);
  const stat = statPath(path);
  const isOurs = stat !== undefined && (stat.mode & 0o077) === 0 && (process.getuid === undefined || stat.uid === process.getuid());
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

async function writeTrust(dataDir: string, value: TrustFile): Promise<void> {
  const path = trustPath(dataDir);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(draft, 0o600);
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

type Note = (path: string, content: string | Buffer) => void;

/** One hash over everything that could make this workspace run something: see `docs/configuration.md`, Trust. */
async function digestWorkspace(root: string, cwd: string): Promise<{ digest: string; files: string[] }> {
  const hashes = new Map<string, string>();
  const note: Note = (path, content) => hashes.set(relative(root, path), createHash("sha256").update(content).digest("hex"));
  const directories = listDirectories(root, cwd);
  for (const file of listProjectFiles(directories)) await noteConfigFile(file, root, note);
  for (const folder of listProjectFolders(directories)) {
    const { profiles, commands, plugins, tools } = listFolderFiles(folder);
    for (const file of [...profiles, ...commands]) note(file, await readFile(file));
    for (const file of [...plugins, ...tools]) await noteProgram(file, note);
  }
  const files = [...hashes.keys()].sort();
  const lines = files.map((path) => `${path}\0${hashes.get(path)}\n`);
  return { digest: createHash("sha256").update(lines.join("")).digest("hex"), files };
}

async function noteConfigFile(file: string, root: string, note: Note): Promise<void> {
  const { text, named } = await readNamed(file);
  if (text === undefined) return;
  note(file, text);
  if (isCode(file)) await noteProgram(file, note);
  for (const name of named) for (const program of findPrograms(name, file, root)) await noteProgram(program, note);
}

/** The text that counts of a configuration file, and every string in it: any of them could name a program. */
async function readNamed(file: string): Promise<{ text: string | undefined; named: string[] }> {
  const text = await readFile(file, "utf8");
  if (isCode(file)) return { text, named: [...text.matchAll(/(["'`])((?:\\.|(?!\1)[^\\\n])*)\1/g)].map((match) => match[2]!) };
  const { value } = await parseConfig(text, file);
  if (value === undefined) return { text: file.endsWith("package.json") ? undefined : text, named: [] };
  return { text: file.endsWith("package.json") ? JSON.stringify(value) : text, named: collectStrings(value) };
}

function collectStrings(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(collectStrings);
  return isTree(value) ? Object.values(value as Tree).flatMap(collectStrings) : [];
}

const PROSE = new Set([".md", ".mdc", ".txt"]);

/** Files that a string in a configuration file may name: a path, an address of a file, an installed package in the workspace. */
function findPrograms(name: string, file: string, root: string): string[] {
  if (name === "" || name.length > 1_000 || name.includes("\0") || PROSE.has(extname(name))) return [];
  const places = [...new Set([dirname(file), dirname(dirname(file)), root])];
  const paths = name.startsWith("file:") ? [pathOfUrl(name)] : places.map((place) => resolve(place, name));
  return [...paths.flatMap(listCandidates), ...places.map((place) => join(place, "node_modules", name, "package.json")).filter(isFile)];
}

function pathOfUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    return url;
  }
}

/** Notes a program, and what it imports by relative paths, all the way. What is missing is noted too: it may appear. */
async function noteProgram(file: string, note: Note): Promise<void> {
  const waiting = [file];
  const done = new Set<string>();
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (done.has(path)) continue;
    done.add(path);
    const content = await readFile(path);
    note(path, content);
    for (const name of findImports(content.toString("utf8"), path)) {
      const target = resolve(dirname(path), name);
      const candidates = listCandidates(target);
      if (candidates.length === 0) note(target, "missing");
      waiting.push(...candidates);
    }
  }
}

function findImports(source: string, file: string): string[] {
  if (file.endsWith("package.json")) return [...source.matchAll(/"((?:\.{1,2}\/)?[\w./-]+\.[cm]?[jt]s)"/g)].map((match) => match[1]!);
  return [...source.matchAll(/(?:\bfrom|\bimport|\brequire)\s*\(?\s*(["'`])(\.{1,2}(?:\/[^"'`\n]*)?)\1/g)].map((match) => match[2]!);
}

const ENDINGS = [".ts", ".js", ".mts", ".mjs", ".cts", ".cjs", ".tsx", ".jsx", ".json"];

/** Every file that an import could mean, whichever the loader prefers: so a file that shadows another one is seen. */
function listCandidates(path: string): string[] {
  const stem = path.replace(/\.[cm]?jsx?$/, "");
  const paths = [path, ...ENDINGS.flatMap((ending) => [path + ending, join(path, `index${ending}`), ...(stem === path ? [] : [stem + ending])])];
  return [...new Set(paths)].filter(isFile);
}

const isFile = (path: string): boolean => statPath(path)?.isFile() ?? false;
