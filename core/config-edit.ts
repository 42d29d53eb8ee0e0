import { realpathSync } from "node:fs";
import { join } from "node:path";
import { checkConfig, suggestKey } from "./config-check.ts";
import { findWorkspaceRoot, isTree, listDirectories, listProjectFiles, listUserFiles, parseConfig, readText, statPath, type Tree } from "./config-files.ts";
import { AgentError } from "./errors.ts";
import { isInside } from "./inside.ts";
import { whileLocked, writeWhole } from "./whole-file.ts";

/** The user's own file, `agent.json` unless there is an `agent.jsonc`. */
export const userConfigFile = (configDir: string): string => listUserFiles(configDir, "agent").at(-1) ?? join(configDir, "agent.json");

/** The nearest `agent.json` or `agent.jsonc` of the workspace, else one in its root. Throws OPTION_INVALID for a link that leads out. */
export function projectConfigFile(cwd: string): string {
  const root = findWorkspaceRoot(cwd);
  const known = listProjectFiles(listDirectories(root, cwd)).filter((file) => /[\\/]agent\.jsonc?$/.test(file));
  const file = known.at(-1) ?? join(root, "agent.json");
  if (statPath(file) !== undefined && !isInside(realpathSync(file), root))
    throw new AgentError("OPTION_INVALID", { option: "--project", reason: `${file} is a link out of the workspace. Change the file that it leads to.` });
  return file;
}

/** `provider.acme.models."gpt-4.1".fallback` → its five names; a name that holds dots stands in quotes. Throws OPTION_INVALID. */
export function splitKey(key: string): string[] {
  const names = [...key.matchAll(/(?:^|\.)(?:"([^"]+)"|([^."]+))(?=\.|$)/g)];
  const isKey = key !== "" && names.map(([whole]) => whole).join("") === key && !/(^|[."])(__proto__|constructor|prototype)([."]|$)/.test(key);
  if (!isKey)
    throw new AgentError("OPTION_INVALID", { option: "config", reason: `"${key}" is no key: write names and dots, for example provider.openrouter.options.` });
  return names.map(([, quoted, plain]) => (quoted ?? plain) as string);
}

/**
 * Sets one value of a configuration file, or takes it out (`undefined`); comments, order and the rest stay as they are.
 * `value`: JSON, or else a text. One edit at a time, and the file is replaced as a whole. False where it was so before.
 * Throws OPTION_INVALID and CONFIG_INVALID before anything is written, STORE_UNWRITABLE.
 */
export async function editConfig(file: string, edit: { key: string; value: string | undefined; dataDir: string }): Promise<boolean> {
  const names = splitKey(edit.key);
  const value = edit.value === undefined ? undefined : await readValue(names, edit.value);
  if (!/\.jsonc?$/.test(file)) throw new AgentError("OPTION_INVALID", { option: "config", reason: `${file} is no JSON: change it with an editor.` });
  return whileLocked(edit.dataDir, file, async () => {
    const mode = statPath(file)?.mode;
    const text = mode === undefined ? "" : await readText(file);
    // What is damaged is not touched.
    const parsed = await parseConfig(text, file);
    const place = findPlace(parsed.value, names);
    if (value === undefined && !place.isSet) return false;
    if (place.inTheWay !== undefined)
      throw new AgentError("OPTION_INVALID", { option: "config", reason: `${file}: ${place.inTheWay} is no object there, and holds no keys.` });
    const changed = await change(text, names, value);
    if (changed !== text) await writeWhole(file, changed, mode === undefined ? undefined : mode & 0o777);
    return changed !== text;
  });
}

/** Whether a key is set, and the one above it that holds something else than keys. */
function findPlace(value: unknown, names: string[]): { isSet: boolean; inTheWay?: string } {
  let at: unknown = value ?? {};
  for (const [index, name] of names.entries()) {
    if (!isTree(at)) return { isSet: false, inTheWay: names.slice(0, index).join(".") };
    if (!Object.hasOwn(at, name)) return { isSet: false };
    at = at[name];
  }
  return { isSet: true };
}

async function change(text: string, names: string[], value: unknown): Promise<string> {
  const { applyEdits, modify } = await import("jsonc-parser");
  const source = text.trim() === "" ? "{}\n" : text;
  const indent = /^([ \t]+)"/m.exec(source)?.[1] ?? "  ";
  const formattingOptions = { insertSpaces: !indent.startsWith("\t"), tabSize: indent.length, eol: source.includes("\r\n") ? "\r\n" : "\n" };
  return applyEdits(source, modify(source, names, value, { formattingOptions }));
}

/** As JSON where the key takes that, else as a text. Throws OPTION_INVALID for an unknown key and for a value of the wrong type. */
async function readValue(names: string[], given: string): Promise<unknown> {
  const faults: string[] = [];
  for (const value of [...parseJson(given), given]) {
    const checked = await checkConfig(nest(names, value));
    if (checked.fault !== undefined) {
      faults.push(checked.fault.reason);
      continue;
    }
    const unknown = checked.unknown[0];
    if (unknown === undefined) return value;
    const near = await suggestKey(unknown);
    const hint = near === "" ? "" : ` Did you mean ${[...unknown.slice(0, -1), near].join(".")}?`;
    throw new AgentError("OPTION_INVALID", { option: "config", reason: `there is no key ${unknown.join(".")}.${hint}` });
  }
  throw new AgentError("OPTION_INVALID", { option: "config", reason: `${faults[0]}.` });
}

function parseJson(text: string): unknown[] {
  try {
    return [JSON.parse(text)];
  } catch {
    return [];
  }
}

const nest = (names: string[], value: unknown): Tree => {
  const nested = names.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
  return isTree(nested) ? nested : {};
};
