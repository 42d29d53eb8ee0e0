import { existsSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { checkConfig, suggestKey } from "./config-check.ts";
import { COMMAND_LINE, isOn, isSecret, keysIn, readContent, readVariables, secretsOf } from "./config-environment.ts";
import {
  baseDirectory,
  findWorkspaceRoot,
  invalid,
  isCode,
  isForeign,
  isTree,
  listDirectories,
  listProjectFiles,
  listProjectFolders,
  listUserFiles,
  type ParsedFile,
  type Position,
  readConfigFile,
  type Tree,
} from "./config-files.ts";
import { listFolderFiles, readMarkdown } from "./config-folders.ts";
import { freeze, type Layer, mergeLayers, type PluginOrigin } from "./config-merge.ts";
import { renewNames } from "./config-names.ts";
import { expandReferences, isReference } from "./config-references.ts";
import type { Config, PermissionConfig } from "./config-schema.ts";
import { AgentError } from "./errors.ts";
import { isInside } from "./inside.ts";
import { type FoundTrust, findTrust } from "./trust.ts";
import { dropReferences, keepData, rightsIn } from "./untrusted.ts";

export type { PluginOrigin } from "./config-merge.ts";
export type { AgentProfile, Config, PermissionConfig, PluginSpec, ProviderConfig } from "./config-schema.ts";

export type Environment = Record<string, string | undefined>;

export interface LoadConfigOptions {
  cwd: string;
  env: Environment;
  /** What the command line says; it beats everything. */
  overlay?: Partial<Config>;
  /** This file instead of those of the workspace (`--config`, `AGENT_CONFIG`). It is trusted: a person named it. */
  configFile?: string;
  /** False: only `overlay` counts. */
  discover?: boolean;
  /** Trust the workspace for this run. */
  trust?: boolean;
  /** Read the workspace as if nobody had trusted it. */
  ignoreTrust?: boolean;
  /** What a workspace that is trusted said before; it is not read again. */
  settled?: SettledWorkspace | undefined;
  /** Instead of the user's own directory, `configDirectory(env)`. */
  configDir?: string;
  dataDir: string;
}

interface SettledWorkspace {
  layers: Layer[];
  directories: string[];
  keyFiles: string[];
}

export interface Untrusted {
  keys: string[];
  files: string[];
  /** It was trusted, and has changed since. */
  changed?: true;
}

export interface LoadedConfig {
  /** Frozen, all the way down. */
  config: Readonly<Config>;
  /** Dotted key → `file:line`, `environment AGENT_MODEL` or `command line`. What is not in it has its default. */
  origins: Map<string, string>;
  warnings: string[];
  /** What an untrusted workspace says and what was left out of it: dotted keys and folders, and the files they stand in. */
  untrusted?: Untrusted;
  /** Values of `untrusted.keys` as they stand in the file, for those that have one. */
  ignored: Map<string, unknown>;
  /** `rights`: what an untrusted workspace says of them, as one text. `digest`: what it was trusted as, where it was not for this run. */
  workspace: { isTrusted: boolean; rights: string; digest?: string | undefined; settled?: SettledWorkspace };
  /** Trusted folders, weakest first, that may hold `plugin/`, `tool/`, `skill/`. */
  directories: string[];
  /** Plugins of the configuration and of trusted plugin folders, weakest first. */
  pluginSpecs: PluginOrigin[];
  modelSource: "cli" | "env" | "config" | undefined;
  fallbackSource: LoadedConfig["modelSource"];
  /** Rules of the command line and of `AGENT_PERMISSION`, which no profile passes. */
  permissionCeiling: PermissionConfig | undefined;
  /** Values that must never be printed. */
  secrets: string[];
  /** Files that were read, weakest first. */
  files: string[];
  /** Those of them in which keys stand. */
  keyFiles: string[];
}

/** The process's environment. The one place outside the command line that reads it. */
export const hostEnvironment = (): Environment => process.env;

/** `AGENT_DATA_DIR`, else `$XDG_DATA_HOME/agent`, else `~/.local/share/agent`. */
export const dataDirectory = (env: Environment): string =>
  resolve(env.AGENT_DATA_DIR || join(env.XDG_DATA_HOME || join(homeDirectory(env), ".local", "share"), "agent"));

/** `AGENT_CONFIG_DIR`, else `$XDG_CONFIG_HOME/agent`, else `~/.config/agent`. */
export const configDirectory = (env: Environment): string => resolve(env.AGENT_CONFIG_DIR || join(configHome(env), "agent"));

const configHome = (env: Environment): string => env.XDG_CONFIG_HOME || join(homeDirectory(env), ".config");
const homeDirectory = (env: Environment): string => env.HOME || homedir();

/**
 * Reads and merges every source of configuration; what an untrusted workspace may not say is left out and listed.
 * Writes nothing. Throws CONFIG_INVALID (file, position, reason), CONFIG_NOT_FOUND, and OPTION_INVALID for the environment.
 */
export async function loadConfig(options: LoadConfigOptions): Promise<LoadedConfig> {
  const loading: Loading = {
    env: options.env,
    warnings: [],
    secrets: [],
    files: [],
    keyFiles: [],
    directories: [],
    dropped: new Set(),
    droppedFrom: new Set(),
    ignored: new Map(),
    trust: { state: "untrusted" },
    workspace: { isTrusted: false, rights: rightsIn({}) },
    userDirectories: configFolders(options),
  };
  const overlay = await overlayLayer(options, loading);
  if (options.discover === false) return finish([overlay], loading);
  const user = await readUserLayers(loading);
  const environment = await readEnvironmentLayers(options, loading);
  const trusted = mergeLayers([...user, ...environment, overlay]).config;
  const project = await readProjectLayers(options, trusted, loading);
  loading.secrets.push(...secretsOf(options.env));
  return finish([...user, ...project, ...environment, overlay], loading);
}

/** What is collected on the way. */
interface Loading {
  env: Environment;
  warnings: string[];
  secrets: string[];
  files: string[];
  keyFiles: string[];
  directories: string[];
  dropped: Set<string>;
  droppedFrom: Set<string>;
  ignored: Map<string, unknown>;
  trust: FoundTrust;
  workspace: LoadedConfig["workspace"];
  userDirectories: [opencode: string, own: string];
}

function finish(layers: Layer[], loading: Loading): LoadedConfig {
  const { config, origins, pluginSpecs } = mergeLayers(layers);
  const { warnings, secrets, files, keyFiles, directories, dropped, ignored, workspace } = loading;
  return {
    config: freeze(config),
    origins,
    warnings,
    ...(dropped.size > 0 && { untrusted: describeUntrusted(loading) }),
    ignored,
    workspace,
    directories,
    pluginSpecs,
    modelSource: sourceOf(origins.get("model")),
    fallbackSource: sourceOf(origins.get("fallback")),
    permissionCeiling: mergeLayers(layers.filter(({ isFinal }) => isFinal)).config.permission,
    secrets: [...new Set([...secrets, ...keysIn(config)])].filter(isSecret),
    files,
    keyFiles,
  };
}

const describeUntrusted = ({ dropped, droppedFrom, trust }: Loading): Untrusted => ({
  keys: [...dropped].map(printable),
  files: [...droppedFrom].map(printable),
  ...(trust.state === "changed" && { changed: true }),
});

function sourceOf(origin: string | undefined): LoadedConfig["modelSource"] {
  if (origin === undefined) return undefined;
  return origin === COMMAND_LINE ? "cli" : /^environment AGENT_(MODEL|FALLBACK)$/.test(origin) ? "env" : "config";
}

/** The user's own: opencode's and ours. */
export const configFolders = ({ configDir, env }: LoadConfigOptions): [opencode: string, own: string] => [
  join(configHome(env), "opencode"),
  configDir ?? configDirectory(env),
];

async function readUserLayers(loading: Loading): Promise<Layer[]> {
  const [opencode, own] = loading.userDirectories;
  const layers: Layer[] = [];
  for (const file of listUserFiles(opencode, "opencode")) layers.push(...(await readLayer(file, loading)));
  layers.push(...(await readFolder(opencode, loading, { plugins: false })));
  for (const file of listUserFiles(own, "agent")) layers.push(...(await readLayer(file, loading)));
  layers.push(...(await readFolder(own, loading)));
  return layers;
}

async function readProjectLayers(options: LoadConfigOptions, trusted: Config, loading: Loading): Promise<Layer[]> {
  const named = options.ignoreTrust ? undefined : (options.configFile ?? options.env.AGENT_CONFIG);
  if (named) return readLayer(resolve(options.cwd, named), loading);
  if (options.settled !== undefined) {
    loading.workspace.isTrusted = true;
    loading.workspace.settled = options.settled;
    loading.directories.push(...options.settled.directories);
    loading.keyFiles.push(...options.settled.keyFiles);
    return options.settled.layers;
  }
  const before = { directories: loading.directories.length, keyFiles: loading.keyFiles.length };
  const root = findWorkspaceRoot(options.cwd);
  const directories = listDirectories(root, options.cwd);
  const files = listProjectFiles(directories);
  const folders = listProjectFolders(directories);
  const isEmpty = files.length + folders.length === 0;
  const isTrusted = await lookUpTrust(options, loading, isEmpty);
  if (isEmpty) return [];
  const side = isTrusted ? undefined : { config: trusted, root };
  const layers: Layer[] = [];
  for (const directory of directories) {
    for (const file of files.filter((path) => baseDirectory(path) === directory)) layers.push(...(await readLayer(file, loading, side)));
    for (const folder of folders.filter((path) => dirname(path) === directory)) layers.push(...(await readFolder(folder, loading, { side })));
  }
  if (side === undefined) {
    const [directories, keyFiles] = [loading.directories.slice(before.directories), loading.keyFiles.slice(before.keyFiles)];
    loading.workspace.settled = { layers, directories, keyFiles };
  } else loading.workspace.rights = rightsIn(mergeLayers(layers).config);
  return layers;
}

/** A list that cannot be used trusts nothing, which is told where it matters; the commands that would change it leave it as it is. */
async function lookUpTrust(options: LoadConfigOptions, loading: Loading, isEmpty: boolean): Promise<boolean> {
  const { workspace, warnings } = loading;
  if (options.ignoreTrust) return false;
  if (options.trust || isOn(options.env.AGENT_TRUST)) return (workspace.isTrusted = true);
  try {
    loading.trust = await findTrust(options);
  } catch (error) {
    if (!(error instanceof AgentError) || !LIST_FAULTS.has(error.code)) throw error;
    if (!isEmpty) warnings.push(`${error.text} Until then no workspace is trusted.`);
  }
  workspace.digest = loading.trust.digest;
  return (workspace.isTrusted = loading.trust.state === "trusted");
}

const LIST_FAULTS = new Set(["TRUST_REFUSED", "STORE_DAMAGED", "STORE_NEWER"]);

/** Without a side, a file is trusted. */
type Side = { config: Config; root: string };

async function readLayer(file: string, loading: Loading, side?: Side): Promise<Layer[]> {
  if (!mayRead(file, loading, side)) return [];
  const parsed = await readConfigFile(file, loading.trust.texts?.get(file));
  if (parsed.value === undefined) return [];
  loading.files.push(file);
  if (basename(file) !== "package.json" && keysIn(parsed.value).some(isSecret)) loading.keyFiles.push(file);
  return [await buildLayer(file, parsed, loading, side)];
}

/** False, and noted, for a program, a link that leads out of a workspace that is not trusted, and what somebody else has put there. */
function mayRead(file: string, loading: Loading, side: Side | undefined): boolean {
  if (side === undefined || (!isCode(file) && isInside(realpathSync(file), side.root) && !isForeign(file, side.root))) return true;
  noteDropped(file, [relative(side.root, file)], loading);
  return false;
}

/** Profiles, commands and plugins that lie as files in a folder. */
async function readFolder(folder: string, loading: Loading, { side, plugins = true }: { side?: Side | undefined; plugins?: boolean } = {}): Promise<Layer[]> {
  if (!existsSync(folder)) return [];
  const files = listFolderFiles(folder, side?.root);
  for (const link of files.outside) noteDropped(link, [`${relative(side?.root ?? folder, link)}/`], loading);
  const layers: Layer[] = [];
  for (const [kind, list] of [
    ["agent", files.profiles],
    ["command", files.commands],
  ] as const) {
    for (const file of list)
      if (mayRead(file, loading, side))
        layers.push(await buildLayer(file, await readMarkdown(file, { folder, kind, text: loading.trust.texts?.get(file) }), loading, side));
  }
  if (side === undefined) {
    loading.directories.push(folder);
    if (plugins) layers.push(...files.plugins.map((file) => ({ config: { plugin: [file] }, originOf: () => file, from: folder })));
    return layers;
  }
  for (const file of [...files.plugins, ...files.tools]) noteDropped(file, [`${relative(side.root, dirname(file))}/`], loading);
  return layers;
}

/** One parsed file, as far as it may speak: references, older names, check, trust. */
async function buildLayer(file: string, parsed: ParsedFile, loading: Loading, side?: Side): Promise<Layer> {
  const spoken = await renewNames(side === undefined ? await expand(file, parsed, loading) : parsed.value!);
  let config = await check(file, parsed, side === undefined ? spoken : await dropMisfits(file, spoken, loading), loading);
  if (side !== undefined) {
    const plain = dropReferences(config, isReference);
    const kept = keepData(plain.value, { ...side, base: baseDirectory(file) });
    const keys = [...plain.dropped, ...kept.dropped];
    noteDropped(file, keys, loading);
    for (const key of keys) loading.ignored.set(key, valueAt(config, key));
    config = kept.config;
  }
  return {
    config: anchorInstructions(config, file, loading),
    originOf: (key) => `${file}${sayLine(findPosition(parsed.positions, key))}`,
    from: dirname(file),
  };
}

/** Takes out references where no text may stand. The others are texts until all is checked: so nothing that needs them is faulted for lacking them. */
async function dropMisfits(file: string, value: Tree, loading: Loading): Promise<Tree> {
  const { fault } = await checkConfig(value);
  const rest = dropReferences(value, (text, key) => key === fault?.key && isReference(text));
  if (rest.dropped.length === 0) return value;
  noteDropped(file, rest.dropped, loading);
  return dropMisfits(file, rest.value, loading);
}

const valueAt = (config: Config, key: string): unknown =>
  key.split(".").reduce<unknown>((at, name) => (isTree(at) && Object.hasOwn(at, name) ? at[name] : undefined), config);

function noteDropped(file: string, keys: string[], loading: Loading): void {
  for (const key of keys) loading.dropped.add(key);
  if (keys.length > 0) loading.droppedFrom.add(file);
}

async function expand(file: string, parsed: ParsedFile, loading: Loading): Promise<Tree> {
  const { value, secrets, unset, fault } = await expandReferences(parsed.value!, { file, env: loading.env });
  if (fault !== undefined) throw invalid(file, fault.reason, findPosition(parsed.positions, fault.key));
  for (const { name, key } of unset)
    loading.warnings.push(`${file}${sayLine(findPosition(parsed.positions, key))}: ${key}: the variable ${name} is not set; "" is used.`);
  loading.secrets.push(...secrets);
  return value;
}

async function check(file: string, parsed: ParsedFile, value: Tree, loading: Loading): Promise<Config> {
  const checked = await checkConfig(value);
  if (checked.fault) throw invalid(file, printable(checked.fault.reason), findPosition(parsed.positions, checked.fault.key));
  for (const path of checked.unknown) {
    const near = await suggestKey(path);
    loading.warnings.push(
      `${file}${sayLine(findPosition(parsed.positions, path.join(".")))}: unknown key ${printable(path.join("."))}${near && `; did you mean ${near}?`}`,
    );
  }
  return checked.config;
}

/** Relative instructions of a workspace's file are meant from its directory; those of the user from the workspace. */
function anchorInstructions(config: Config, file: string, loading: Loading): Config {
  if (config.instructions === undefined || loading.userDirectories.includes(dirname(file))) return config;
  return {
    ...config,
    instructions: config.instructions.map((entry) => (/^([a-z][a-z0-9+.-]*:|~)/i.test(entry) ? entry : resolve(baseDirectory(file), entry))),
  };
}

async function readEnvironmentLayers({ env, cwd }: LoadConfigOptions, loading: Loading): Promise<Layer[]> {
  const layers: Layer[] = [];
  const content = await readContent(env);
  if (content !== undefined) {
    const layer = await buildLayer(join(cwd, "AGENT_CONFIG_CONTENT"), { value: content, positions: new Map() }, loading);
    layers.push({ ...layer, originOf: () => "environment AGENT_CONFIG_CONTENT", isTyped: true });
  }
  for (const { name, value } of readVariables(env)) {
    const checked = await checkConfig(value);
    if (checked.fault) throw new AgentError("OPTION_INVALID", { option: name, reason: `${checked.fault.reason.replace(/^[\w.]+: /, "")}.` });
    layers.push({ config: checked.config, originOf: () => `environment ${name}`, from: cwd, isFinal: true });
  }
  return layers;
}

async function overlayLayer({ overlay = {}, cwd }: LoadConfigOptions, loading: Loading): Promise<Layer> {
  const config = await check(COMMAND_LINE, { value: overlay, positions: new Map() }, overlay, loading);
  return { config, originOf: () => COMMAND_LINE, from: cwd, isTyped: true, isFinal: true };
}

/** The place of a key, or of the nearest thing around it. */
function findPosition(positions: Map<string, Position>, key: string): Position | undefined {
  for (let name = key; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf(".")))) {
    const found = positions.get(name);
    if (found !== undefined) return found;
  }
  return undefined;
}

const sayLine = (at: Position | undefined): string => (at === undefined ? "" : `:${at.line}`);

/** Without the characters by which a file could write to the terminal, or be shown as another. */
const printable = (text: string): string => text.replace(/[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu, "?");
