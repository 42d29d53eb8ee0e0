import { resolve } from "node:path";
import { isTree, type Tree } from "./config-files.ts";
import type { Config, PluginSpec } from "./config-schema.ts";
import { sandboxOf } from "./confine.ts";

/** One source of configuration: a file, the environment, or the command line. */
export interface Layer {
  config: Config;
  /** Where a dotted key of this layer was said: "file:line", "environment AGENT_MODEL", "command line". */
  originOf(key: string): string;
  /** Directory that relative paths of plugins start from. */
  from: string;
  /** It stands in no file: a package that it names is not meant from `from`. */
  isTyped?: boolean;
  /** Its permissions follow all others, so that they have the last word. */
  isFinal?: boolean;
}

export interface Merged {
  config: Config;
  /** Dotted key of each value → where it was said. */
  origins: Map<string, string>;
  pluginSpecs: PluginOrigin[];
}

export interface PluginOrigin {
  spec: PluginSpec;
  /** Directory that a relative path starts from. */
  from: string;
  origin: string;
  /** No file names it: a package is not meant from where it was typed. */
  isTyped?: boolean;
}

/** Merges layers, weakest first: objects merge, everything else is replaced, `instructions` and `plugin` join. */
export function mergeLayers(layers: Layer[]): Merged {
  const config: Tree = {};
  const origins = new Map<string, string>();
  let pluginSpecs: PluginOrigin[] = [];
  for (const layer of layers) {
    const { plugin, instructions, ...rest } = layer.config;
    // Else a short form and a longer one would take each other's place, and say less than both.
    if (rest.sandbox !== undefined) rest.sandbox = sandboxOf(rest.sandbox);
    if (layer.isFinal && isTree(rest.permission)) moveLast(config, rest.permission);
    mergeTree(config, rest, [], (path, isNew) => setOrigin(origins, path, isNew ? layer.originOf(path) : undefined));
    if (instructions !== undefined) joinInstructions(config, origins, instructions, layer);
    if (plugin !== undefined) pluginSpecs = joinPlugins(pluginSpecs, plugin, layer);
  }
  if (pluginSpecs.length > 0) config.plugin = pluginSpecs.map(({ spec }) => spec);
  for (const [index, { origin }] of pluginSpecs.entries()) origins.set(`plugin.${index}`, origin);
  return { config: config as Config, origins, pluginSpecs };
}

/** A permission map that stands for one word: `"ask"` is `{ "*": "ask" }`. */
export const spreadAction = (value: unknown): Tree | undefined => (typeof value === "string" ? { "*": value } : isTree(value) ? value : undefined);

function mergeTree(target: Tree, source: Tree, path: string[], note: (path: string, isNew: boolean) => void): void {
  for (const [key, value] of Object.entries(source)) {
    if (value === undefined) continue;
    const here = [...path, key];
    if (isTree(value) && isPermission(here) && typeof target[key] === "string") target[key] = spreadAction(target[key]);
    const dotted = here.join(".");
    if (isTree(value) && isTree(target[key])) {
      mergeTree(target[key], value, here, note);
    } else if (isTree(value)) {
      note(dotted, false);
      target[key] = {};
      if (Object.keys(value).length === 0) note(dotted, true);
      mergeTree(target[key] as Tree, value, here, note);
    } else {
      note(dotted, false);
      note(dotted, true);
      target[key] = Array.isArray(value) ? value.map(copy) : value;
    }
  }
}

const isPermission = ([first, , third]: string[]): boolean => first === "permission" || (first === "agent" && third === "permission");

/** Rules are tried in order and the last match counts, so rules with the last word must stand last. */
function moveLast(config: Tree, permission: Tree): void {
  const before = spreadAction(config.permission);
  if (before === undefined) return;
  const kept = Object.fromEntries(Object.entries(before).filter(([key]) => !(key in permission)));
  const moved = Object.fromEntries(Object.entries(before).filter(([key]) => key in permission));
  config.permission = { ...kept, ...moved };
}

function setOrigin(origins: Map<string, string>, key: string, origin: string | undefined): void {
  if (origin !== undefined) {
    origins.set(key, origin);
    return;
  }
  for (const known of origins.keys()) if (known === key || known.startsWith(`${key}.`)) origins.delete(known);
}

function joinInstructions(config: Tree, origins: Map<string, string>, added: string[], layer: Layer): void {
  const list = (config.instructions ?? []) as string[];
  for (const entry of added) {
    if (list.includes(entry)) continue;
    origins.set(`instructions.${list.length}`, layer.originOf("instructions"));
    list.push(entry);
  }
  config.instructions = list;
}

/** A plugin that is named again keeps its place and takes the later options. */
function joinPlugins(before: PluginOrigin[], added: PluginSpec[], layer: Layer): PluginOrigin[] {
  const byName = new Map(before.map((entry) => [pluginKey(entry), entry]));
  for (const spec of added) {
    const entry = { spec: copy(spec) as PluginSpec, from: layer.from, origin: layer.originOf("plugin"), ...(layer.isTyped && { isTyped: true }) };
    byName.set(pluginKey(entry), entry);
  }
  return [...byName.values()];
}

function pluginKey({ spec, from }: PluginOrigin): string {
  const name = typeof spec === "string" ? spec : spec[0];
  return name.startsWith(".") || name.startsWith("/") ? resolve(from, name) : name;
}

/** A copy down to the literals; functions and instances (in the options of a plugin) stay what they are. */
function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy);
  return isTree(value) ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copy(item)])) : value;
}

/** Freezes literals, all the way down. */
export function freeze<T>(value: T): T {
  if (!Array.isArray(value) && !isTree(value)) return value;
  for (const item of Object.values(value)) freeze(item);
  return Object.freeze(value);
}
