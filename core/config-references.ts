import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { isTree, type Tree } from "./config-files.ts";
import { errorMessage } from "./errors.ts";

const REFERENCE = /\{(env|file):([^{}]+)\}/g;

/** Keys whose values people see anyway: a model's name that comes from the environment is no secret. */
const PUBLIC =
  /^(model|small_model|fallback|default_agent|alias|instructions|command|shell|username|systemPrompt|appendSystem|outputFormat)(\.|$)|\.(model|fallback|prompt|description|name|baseURL|api|npm)(\.|$)/;

export interface Expanded {
  value: Tree;
  /** Values that must not be printed. */
  secrets: string[];
  /** Unset variables: name and dotted key. */
  unset: { name: string; key: string }[];
  /** The first file that could not be read. */
  fault?: { key: string; reason: string };
}

export const isReference = (text: string): boolean => /\{(env|file):[^{}]+\}/.test(text);

/** The text with each `{file:…}` replaced by what `read` gives for its path. */
export const replaceFiles = (text: string, source: Source, read: (path: string) => string): string =>
  text.replace(REFERENCE, (whole, kind: string, name: string) => (kind === "file" ? read(pathOf(name.trim(), source)) : whole));

const pathOf = (name: string, { file, env }: Source): string =>
  name.startsWith("~/") ? join(env.HOME ?? homedir(), name.slice(2)) : resolve(dirname(file), name);

/** Where the references of one file are looked up. */
interface Source {
  file: string;
  env: Record<string, string | undefined>;
}

/**
 * Replaces `{env:NAME}` and `{file:path}` in string values; an unset variable by "". Runs after parsing, so a value can
 * neither break the syntax nor add keys. Paths are relative to the file; `~/` is the home directory; the text is trimmed.
 */
export async function expandReferences(value: Tree, source: Source): Promise<Expanded> {
  const found: Expanded = { value, secrets: [], unset: [] };
  const walk = async (node: unknown, path: string[]): Promise<unknown> => {
    if (typeof node === "string") return isReference(node) ? expandText(node, path.join("."), { found, source }) : node;
    if (Array.isArray(node)) return Promise.all(node.map((item, index) => walk(item, [...path, String(index)])));
    if (!isTree(node)) return node;
    const copy: Tree = {};
    for (const [key, item] of Object.entries(node)) copy[key] = await walk(item, [...path, key]);
    return copy;
  };
  found.value = (await walk(value, [])) as Tree;
  return found;
}

async function expandText(text: string, key: string, { found, source }: { found: Expanded; source: Source }): Promise<string> {
  const pieces: string[] = [];
  let end = 0;
  for (const match of text.matchAll(REFERENCE)) {
    const name = match[2]!.trim();
    const piece = match[1] === "env" ? readVariable(name, key, { found, source }) : await readText(name, key, { found, source });
    pieces.push(text.slice(end, match.index), piece);
    end = match.index + match[0].length;
    if (!PUBLIC.test(key)) found.secrets.push(piece);
  }
  return pieces.join("") + text.slice(end);
}

function readVariable(name: string, key: string, { found, source }: { found: Expanded; source: Source }): string {
  const value = source.env[name];
  if (value === undefined) found.unset.push({ name, key });
  return value ?? "";
}

async function readText(name: string, key: string, { found, source }: { found: Expanded; source: Source }): Promise<string> {
  const path = pathOf(name, source);
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    found.fault ??= { key, reason: `${key}: the file ${path} cannot be read: ${errorMessage(error)}` };
    return "";
  }
}
