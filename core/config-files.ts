import { existsSync, realpathSync, type Stats, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import type { Node } from "jsonc-parser";
import { AgentError, errorMessage } from "./errors.ts";
import { readRegular } from "./held.ts";

/** Names of configuration files in one directory, weakest first. */
const PROJECT_FILES = [
  "opencode.json",
  "opencode.jsonc",
  ".opencode/opencode.json",
  ".opencode/opencode.jsonc",
  "package.json",
  ".agentrc",
  ".agentrc.json",
  ".agentrc.yaml",
  ".agentrc.yml",
  "agent.config.json",
  "agent.config.js",
  "agent.config.ts",
  "agent.json",
  "agent.jsonc",
  ".agent/agent.json",
  ".agent/agent.jsonc",
];
const PROJECT_FOLDERS = [".opencode", ".agent"];
const CODE = new Set([".ts", ".js"]);

/** A configuration is small. What is larger, deeper or has more values than this is a mistake or an attack. */
const MOST_BYTES = 1 << 20;
const MOST_VALUES = 100_000;
const DEEPEST = 64;
const DANGEROUS_KEYS = new Set(["__proto__", "constructor", "prototype"]);

export type Tree = Record<string, unknown>;

export interface ParsedFile {
  /** Undefined where the file says nothing: it is empty, or a package.json without our key. */
  value: Tree | undefined;
  /** 1-based line and column of a dotted key; of YAML where its name comes once, of code none. */
  positions: Map<string, Position>;
}

export interface Position {
  line: number;
  column: number;
}

/**
 * The nearest directory from `cwd` upwards that has a `.git`; `cwd` itself where there is none. Real path. Above `cwd` one
 * that is somebody else's does not count: anyone may put a `.git` into a directory that all may write.
 */
export function findWorkspaceRoot(cwd: string): string {
  const start = realpathSync(cwd);
  for (let directory = start; ; directory = dirname(directory)) {
    const git = join(directory, ".git");
    if (existsSync(git) && (directory === start || !(isForeign(directory, start) || isForeign(git, start)))) return directory;
    if (directory === dirname(directory)) return start;
  }
}

/** Belongs neither to the user, nor to root, nor to whom `place` belongs. */
export function isForeign(path: string, place: string): boolean {
  const user = process.getuid?.();
  if (user === undefined) return false;
  const owner = statPath(path)?.uid;
  return owner !== undefined && owner !== user && owner !== 0 && owner !== statPath(place)?.uid;
}

/** Directories from the workspace's root down to `cwd`. */
export function listDirectories(root: string, cwd: string): string[] {
  const end = realpathSync(cwd);
  const list = [end];
  while (list[0] !== root && list[0] !== dirname(list[0]!)) list.unshift(dirname(list[0]!));
  return list;
}

/** Configuration files in these directories, weakest first. Regular files only: a pipe would never end. */
export const listProjectFiles = (directories: string[]): string[] => listExisting(directories, PROJECT_FILES, "isFile");

/** `.opencode` and `.agent` folders in these directories, weakest first. */
export const listProjectFolders = (directories: string[]): string[] => listExisting(directories, PROJECT_FOLDERS, "isDirectory");

export const listUserFiles = (directory: string, name: "agent" | "opencode"): string[] =>
  listExisting([directory], [`${name}.json`, `${name}.jsonc`], "isFile");

const listExisting = (directories: string[], names: string[], kind: "isFile" | "isDirectory"): string[] =>
  directories.flatMap((directory) => names.map((name) => join(directory, name))).filter((path) => statPath(path)?.[kind]());

/** What is at a path; undefined where nothing can be there: no entry, a file as directory, links in a circle, a name too long. */
export function statPath(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** True for configuration that is a program and so runs when it is read. */
export const isCode = (file: string): boolean => CODE.has(extname(file));

/**
 * Reads one configuration file, of which `text` may be known. Runs it when it is a program, so the caller asks for trust before.
 * Throws CONFIG_NOT_FOUND, and CONFIG_INVALID with file, position and reason.
 */
export async function readConfigFile(file: string, text?: string): Promise<ParsedFile> {
  if (isCode(file)) return { value: checkTree(await runCode(file), file), positions: new Map() };
  return parseConfig(text ?? (await readText(file)), file);
}

/** Parses the text of a file by its name: YAML for `.yaml`, `.yml` and a name without ending that holds no `{`, else JSON with comments. */
export async function parseConfig(text: string, file: string): Promise<ParsedFile> {
  const source = text.replace(/^\uFEFF/, "");
  if (source.trim() === "") return { value: undefined, positions: new Map() };
  if (basename(file) === "package.json") return parsePackage(source, file);
  const isYaml = /\.ya?ml$/.test(file) || (basename(file) === ".agentrc" && !source.trimStart().startsWith("{") && !source.trimStart().startsWith("/"));
  return isYaml ? parseYaml(source, file) : parseJsonc(source, file);
}

/** The text of a configuration file. Throws CONFIG_NOT_FOUND; CONFIG_INVALID where it is larger than any configuration or cannot be read. */
export async function readText(file: string): Promise<string> {
  const stat = statPath(file);
  if (!stat?.isFile()) throw new AgentError("CONFIG_NOT_FOUND", { file });
  if (stat.size > MOST_BYTES) throw invalid(file, `it has ${stat.size} bytes; a configuration has at most ${MOST_BYTES}.`);
  try {
    return readRegular(file, { follows: true }).bytes.toString();
  } catch (error) {
    throw invalid(file, `it cannot be read: ${errorMessage(error)}`);
  }
}

async function parsePackage(source: string, file: string): Promise<ParsedFile> {
  if (!source.includes('"agent"')) return { value: undefined, positions: new Map() };
  const parsed = await parseJsonc(source, file);
  const own = parsed.value?.agent;
  if (own === undefined) return { value: undefined, positions: new Map() };
  const positions = [...parsed.positions].filter(([key]) => key.startsWith("agent.")).map(([key, at]) => [key.slice("agent.".length), at] as const);
  return { value: checkTree(own, file), positions: new Map(positions) };
}

/** The YAML of cosmiconfig, without its search: that would run `.config/config.js` of the current directory (docs/adr). */
export async function parseYaml(source: string, file: string): Promise<ParsedFile> {
  const { defaultLoaders } = await import("cosmiconfig");
  let value: unknown;
  try {
    value = defaultLoaders[".yaml"](file, source);
  } catch (error) {
    const mark = (error as { mark?: { line: number; column: number } }).mark;
    const reason = (error as { reason?: string }).reason ?? errorMessage(error).split("\n")[0]!.replace(`YAML Error in ${file}:`, "").trim();
    throw invalid(file, `it is not valid YAML: ${reason}`, mark && { line: mark.line + 1, column: mark.column + 1 });
  }
  const tree = checkTree(value, file);
  return { value: tree, positions: findKeys(tree, source) };
}

/** The parser of YAML gives no places: a name that comes once before a colon has that one. */
function findKeys(tree: Tree, source: string): Map<string, Position> {
  const offsets = new Map<string, number | undefined>();
  for (const { 1: before, 3: name, index } of source.matchAll(/(^|[\s{,])(["']?)([\w$*./@-]+)\2\s*:(?=\s|$)/g))
    offsets.set(name!, offsets.has(name!) ? undefined : index + before!.length);
  const place = createPlaces(source);
  const positions = new Map<string, Position>();
  const walk = (node: unknown, path: string[]): void => {
    const offset = offsets.get(path.at(-1) ?? "");
    if (offset !== undefined) positions.set(path.join("."), place(offset));
    if (Array.isArray(node)) for (const [index, item] of node.entries()) walk(item, [...path, String(index)]);
    if (isTree(node)) for (const [key, item] of Object.entries(node)) walk(item, [...path, key]);
  };
  walk(tree, []);
  return positions;
}

async function runCode(file: string): Promise<unknown> {
  const { createJiti } = await import("jiti");
  const jiti = createJiti(import.meta.url, { fsCache: false, moduleCache: false, tryNative: false });
  try {
    return await jiti.import(file, { default: true });
  } catch (error) {
    throw invalid(file, `it cannot be run: ${errorMessage(error).split("\n")[0]}`);
  }
}

async function parseJsonc(source: string, file: string): Promise<ParsedFile> {
  const { parseTree, printParseErrorCode } = await import("jsonc-parser");
  const errors: { error: number; offset: number }[] = [];
  const place = createPlaces(source);
  let root: Node | undefined;
  try {
    root = parseTree(source, errors as never, { allowTrailingComma: true });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw invalid(file, "it is nested too deeply.");
  }
  const first = errors[0];
  if (first !== undefined) throw invalid(file, `it is not valid JSON: ${sayWords(printParseErrorCode(first.error))}`, place(first.offset));
  if (root?.type !== "object")
    throw invalid(file, `expected an object, got ${root?.type === "array" ? "a list" : `a ${root?.type}`}`, place(root?.offset ?? 0));
  const positions = new Map<string, Position>();
  const value = readNode(root, [], (path, node, key) => {
    if (key !== undefined && DANGEROUS_KEYS.has(key)) throw invalid(file, `the key ${key} is refused.`, place(node.offset));
    if (path.length > DEEPEST) throw invalid(file, "it is nested too deeply.", place(node.offset));
    if (key !== undefined) positions.set(path.join("."), place(node.offset));
  });
  return { value: value as Tree, positions };
}

/** The value of a syntax tree; of a key that comes twice the last one. `visit` sees each key before its value is used. */
function readNode(node: Node, path: (string | number)[], visit: (path: (string | number)[], node: Node, key?: string) => void): unknown {
  if (node.type === "array") {
    return (node.children ?? []).map((child, index) => {
      visit([...path, index], child);
      return readNode(child, [...path, index], visit);
    });
  }
  if (node.type !== "object") return node.value;
  const value: Tree = {};
  for (const { children: [keyNode, child] = [] } of node.children ?? []) {
    if (keyNode === undefined || child === undefined) continue;
    const key = String(keyNode.value);
    visit([...path, key], keyNode, key);
    value[key] = readNode(child, [...path, key], visit);
  }
  return value;
}

/** Refuses what no configuration holds: other top-level types, dangerous keys, circles, and trees that explode (YAML references). */
export function checkTree(value: unknown, file: string): Tree {
  if (!isTree(value)) throw invalid(file, `expected an object, got ${Array.isArray(value) ? "a list" : value === null ? "nothing" : `a ${typeof value}`}`);
  let values = 0;
  const walk = (node: unknown, depth: number): void => {
    values += 1;
    if (values > MOST_VALUES || depth > DEEPEST) throw invalid(file, "it is nested too deeply, or refers to itself.");
    if (Array.isArray(node)) for (const item of node) walk(item, depth + 1);
    if (!isTree(node)) return;
    for (const key of Object.keys(node)) {
      if (DANGEROUS_KEYS.has(key)) throw invalid(file, `the key ${key} is refused.`);
      walk(node[key], depth + 1);
    }
  };
  walk(value, 0);
  return value;
}

/** Objects that merge: literals, not class instances. */
export function isTree(value: unknown): value is Tree {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** CONFIG_INVALID for one file. `position` is in the text as ":line:column". */
export const invalid = (file: string, reason: string, at?: Position): AgentError =>
  new AgentError("CONFIG_INVALID", { file, position: at ? `:${at.line}:${at.column}` : "", reason });

function createPlaces(source: string): (offset: number) => Position {
  const starts = [0];
  for (let index = source.indexOf("\n"); index >= 0; index = source.indexOf("\n", index + 1)) starts.push(index + 1);
  return (offset) => {
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - starts[low]! + 1 };
  };
}

/** "CommaExpected" → "comma expected". */
const sayWords = (code: string): string => code.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();

/** Directory that relative paths of this file start from: the one above for a file in `.agent` or `.opencode`. */
export function baseDirectory(file: string): string {
  const directory = dirname(resolve(file));
  return PROJECT_FOLDERS.includes(basename(directory)) ? dirname(directory) : directory;
}
