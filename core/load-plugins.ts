import { readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Jiti } from "jiti";
import type { PluginOrigin, PluginSpec } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { within } from "./hooks.ts";
import { checkPlugin, type LazyPlugin, type Plugin } from "./plugin.ts";
import { isLazy, LOAD_LIMIT_MS, type PluginEntry } from "./registry.ts";
import { shareRuntime } from "./share-runtime.ts";

export interface PluginPlace {
  /** Directory that a relative path, and the search for an installed package, start from. */
  from: string;
  /** Further directories whose `node_modules` are searched for a package. */
  packageDirs: string[];
  /** A package must not come from `from`: that is a workspace that nobody trusts. */
  isForeign?: boolean;
  /** Where compiled TypeScript is kept between runs; false: nowhere. */
  cacheDir: string | false;
  /** ms instead of LOAD_LIMIT_MS. */
  limitMs?: number;
}

/**
 * `"./path"`, `"/path"`, `"file://…"` or the name of an installed package → its plugin, checked. TypeScript and
 * JavaScript alike. Nothing is ever installed. Throws PLUGIN_NOT_FOUND, PLUGIN_BROKEN and UNTRUSTED, all naming `spec`.
 */
export async function loadPlugin(spec: string, place: PluginPlace): Promise<Plugin> {
  const jiti = await createLoader(place);
  const file = isPath(spec) ? findFile(spec, place, jiti) : findPackage(spec, place, jiti);
  shareRuntime(await import("./index.ts"), { natively: isEsModule(file) });
  const loaded = await within(place.limitMs ?? LOAD_LIMIT_MS, jiti.import<Exports | undefined>(file)).catch((error: unknown) => {
    // Node.js adds to a missing module the files that asked for it: ours among them, which help nobody.
    throw new AgentError("PLUGIN_BROKEN", { spec, reason: errorMessage(error).replace(/\nRequire stack:[\s\S]*/, "") }, { cause: error });
  });
  // CommonJS exports the plugin itself, and what a compiler makes of `export default` stands one level deeper there.
  const places = [loaded, loaded?.default, loaded?.default?.default];
  return checkPlugin(places.find((place) => typeof place?.setup === "function") ?? loaded?.default, spec);
}

interface Exports {
  default?: Exports;
  setup?: unknown;
}

/** jiti leaves those to Node; an address is what it has found in a package. */
function isEsModule(file: string): boolean {
  const path = file.startsWith("file:") ? fileURLToPath(file) : file;
  return /\.mjs$/.test(path) || (/\.js$/.test(path) && findPackageType(dirname(path)) === "module");
}

function findPackageType(directory: string): unknown {
  try {
    return JSON.parse(readFileSync(join(directory, "package.json"), "utf8")).type;
  } catch {
    return directory === dirname(directory) ? undefined : findPackageType(dirname(directory));
  }
}

const isPath = (spec: string): boolean => spec.startsWith(".") || spec.startsWith("file:") || isAbsolute(spec);

/** One loader for all: whatever the plugin imports as "agent-runtime" is this very module, wherever the plugin lives. */
async function createLoader({ cacheDir }: PluginPlace): Promise<Jiti> {
  const { createJiti } = await import("jiti");
  const self = await import("./index.ts");
  return createJiti(import.meta.url, {
    fsCache: cacheDir,
    moduleCache: true,
    tryNative: false,
    interopDefault: false,
    virtualModules: { "agent-runtime": self },
  });
}

function resolveSpec(spec: string, from: string): string {
  if (!spec.startsWith("file:")) return resolve(from, spec);
  try {
    return fileURLToPath(spec);
  } catch (error) {
    throw new AgentError("PLUGIN_NOT_FOUND", { spec }, { cause: error });
  }
}

/** A file, or a folder with an index or a package in it. */
function findFile(spec: string, { from }: PluginPlace, jiti: Jiti): string {
  const path = resolveSpec(spec, from);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile()) return path;
  const found = stat?.isDirectory() ? (findOwnPackage(path, jiti) ?? jiti.esmResolve(path, { try: true })) : undefined;
  if (found === undefined) throw new AgentError("PLUGIN_NOT_FOUND", { spec });
  return found;
}

/** What a package gives to those who import it by name: it may do so itself. */
function findOwnPackage(directory: string, jiti: Jiti): string | undefined {
  const manifest = join(directory, "package.json");
  try {
    return jiti.esmResolve(JSON.parse(readFileSync(manifest, "utf8")).name, { parentURL: pathToFileURL(manifest), try: true });
  } catch {
    return undefined;
  }
}

function findPackage(spec: string, { from, packageDirs, isForeign = false }: PluginPlace, jiti: Jiti): string {
  const findFrom = (directory: string) => jiti.esmResolve(spec, { parentURL: pathToFileURL(join(directory, "plugin.js")), try: true });
  for (const directory of isForeign ? packageDirs : [from, ...packageDirs]) {
    const found = findFrom(directory);
    if (found !== undefined) return found;
  }
  if (isForeign && findFrom(from) !== undefined) throw new AgentError("UNTRUSTED", { what: `The plugin "${spec}"` });
  throw new AgentError("PLUGIN_NOT_FOUND", { spec });
}

export interface PluginWishes {
  /** Plugins of the host: as objects, or as specs that start from `cwd`. */
  given: (Plugin | LazyPlugin | string | [string, Record<string, unknown>])[];
  /** Plugins that the configuration names. */
  configured: Omit<PluginOrigin, "origin">[];
  cwd: string;
  /** False: whoever names a package at the command line means another than the one that the workspace brings along. */
  isTrusted: boolean;
  place: Omit<PluginPlace, "from" | "isForeign">;
  /** Set: a plugin that cannot be loaded is reported and left out. */
  skipBroken?: ((fault: { plugin: string; message: string }) => void) | undefined;
}

/** All plugins that take part. A spec that names one of the host's own gives it options, or switches it on. */
export async function collectPlugins({ given, configured, cwd, isTrusted, skipBroken, ...wishes }: PluginWishes): Promise<PluginEntry[]> {
  const isSpec = (plugin: PluginWishes["given"][number]): plugin is PluginSpec => typeof plugin === "string" || Array.isArray(plugin);
  // By name or file: the same plugin is loaded once, however often and from wherever it is named.
  const wanted = new Map<string, { name: string; from: string; isForeign: boolean; options: Record<string, unknown> }>();
  for (const { spec, from, isTyped = false } of [
    ...configured,
    ...given.filter(isSpec).map((spec): PluginWishes["configured"][number] => ({ spec, from: cwd, isTyped: true })),
  ]) {
    const [name, options] = typeof spec === "string" ? [spec, {}] : spec;
    wanted.set(isPath(name) ? resolveSpec(name, from) : name, { name, from, isForeign: !isTrusted && isTyped, options });
  }
  const entries: PluginEntry[] = [];
  for (const plugin of given) {
    if (isSpec(plugin)) continue;
    const { name } = isLazy(plugin) ? plugin : checkPlugin(plugin, "given by the host");
    const wish = wanted.get(name);
    wanted.delete(name);
    const isOff = wish === undefined && "off" in plugin && plugin.off === true;
    if (!isOff) entries.push({ plugin, options: wish?.options ?? {} });
    else if (plugin.provides?.commands !== undefined) entries.push({ plugin, isOff });
  }
  for (const { name: spec, options, ...place } of wanted.values()) {
    try {
      entries.push({ plugin: await loadPlugin(spec, { ...wishes.place, ...place }), options, spec, skipWhenBroken: skipBroken !== undefined });
    } catch (error) {
      if (skipBroken === undefined || !(error instanceof AgentError)) throw error;
      skipBroken({ plugin: spec, message: error.message });
    }
  }
  return entries;
}
