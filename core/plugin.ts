import type { Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import type { StartProcess } from "./exec.ts";
import { type AskAnswer, type AskRequest, findHookFault, type Hooks } from "./hooks.ts";
import type { GuardedFetch } from "./http.ts";
import type { Log } from "./log.ts";
import type { Provider } from "./provider.ts";
import type { StandardSchema } from "./schema.ts";
import type { Store, StoreOptions } from "./store.ts";
import { findToolFault, type OutputOf, type Tool } from "./tool.ts";

/** The version of this contract. A plugin that names another one is refused when it is loaded. */
export const PLUGIN_API = 1;

/** What a command may use. */
export interface CommandContext {
  cwd: string;
  signal: AbortSignal;
  /** To stdout. */
  write(text: string): void;
  /** All of stdin, as text. */
  readStdin(): Promise<string>;
}

/** A command of the command line that a plugin brings: `agent NAME …`. */
export interface PluginCommand {
  name: string;
  description: string;
  /** Gets the words after the name and prints its own output. Resolves to the exit code, 0 when it returns nothing. */
  run(words: string[], context: CommandContext): Promise<number | void> | number | void;
}

/** A server, or another place that tools come from while the runtime runs. */
export interface ToolSource {
  name: string;
  status: "pending" | "connected" | "failed" | "disabled";
  /** Why it is not connected, for people. */
  reason?: string;
}

/** Tools that are found while the runtime runs: those of servers. */
export interface LateTools {
  /** What their names begin with. One of another name, or of a name that somebody has, is left out with a report. */
  prefixes: readonly string[];
  /** Asked before each request to a model, which waits for it, 5 s at most. The same list as before means that nothing has changed. */
  list(): readonly Tool[] | Promise<readonly Tool[]>;
  sources?(): ToolSource[];
}

/** What a plugin adds. Data returned, not calls made: it can be inspected, tested without a host, and undone. */
export interface Contribution {
  tools?: Tool[];
  lateTools?: LateTools;
  providers?: Provider[];
  hooks?: Hooks;
  commands?: PluginCommand[];
  /** What other plugins ask for by `context.extensions(point)`: data of their own kinds. */
  extensions?: { [point: string]: unknown[] };
  /**
   * Called when the runtime closes and everything still works: for work that may outlast the prompts. It ends when `signal`
   * aborts, and has an hour at most; what is left over has to survive without it.
   */
  finish?(signal: AbortSignal): void | Promise<void>;
  /** Called once at the end, in reverse order of loading. */
  dispose?(): void | Promise<void>;
}

export interface PluginContext<Options = Record<string, unknown>> {
  /** The workspace: absolute, real path. */
  cwd: string;
  /** Directories whose `node_modules` may be looked into, nearest first: the workspace where it is trusted, and the user's own. */
  packageDirs: readonly string[];
  /** Directory for files of this plugin; made on first use. Calls return the same path. Throws STORE_UNWRITABLE. */
  dataDir(): Promise<string>;
  /**
   * What `make` gave when this plugin first asked: the same until the runtime closes, while a configuration that changes sets
   * the plugin up anew. For what belongs to sessions, which go on. Nobody disposes it.
   */
  lasting<T>(make: () => T): T;
  /** The options of the configuration, checked by `options` where the plugin has it. */
  options: Options;
  /** The configuration in force; frozen. */
  config: Readonly<Config>;
  fetch: GuardedFetch;
  /** Starts a process that stays, for a server that is talked to over its standard input and output. It ends with the runtime at the latest; a plugin ends it in `dispose`. */
  startProcess: StartProcess;
  /**
   * Opens a store of this plugin, which survives crashes. `name`: words joined by `/`, its directory below the plugin's own.
   * Whatever its files look like it opens, with a report; the one exception is STORE_NEWER. Whoever opens it closes it.
   */
  openStore<T>(name: string, options: PluginStoreOptions<T>): Promise<Store<T>>;
  /** Takes a lock that one process has at a time, as long as it lives; `busy`: the process that has it. `waitMs`: 0 by default. */
  lock(name: string, options?: { waitMs?: number }): Promise<{ release(): void } | { busy: number }>;
  /**
   * Asks a model outside of any run, with retries and fallbacks as they are configured. It has no tools; hooks and limits of
   * runs do not count. A model that refuses an `outputSchema` is asked without. Throws an AgentError.
   */
  ask(request: PluginAskRequest): Promise<AskAnswer>;
  /** Embeds texts by a model `provider/model`; vectors stand in the order of the texts. Throws an AgentError. */
  embed(request: EmbedRequest): Promise<EmbedAnswer>;
  /** Known secrets, and what looks like a key, replaced by `[redacted]`; with `strict` also what is named a secret or looks random: see `Redactor`. */
  redact(text: string, options?: { strict?: boolean }): string;
  /**
   * Takes the configuration anew where its files have changed; this plugin is then set up once more (see `lasting`). False where
   * nothing has changed, or the new one cannot be used: that is reported, and the one before stays.
   */
  reload(): Promise<boolean>;
  /** What all plugins of this configuration bring for an extension point, in their order. Empty while they are being set up. */
  extensions(point: string): readonly unknown[];
  /** Tells of a fault that runs go on with: one `plugin.error` event, in the prompt that runs or the next one. */
  report(message: string): void;
  log: Log;
}

/** A store's schema; see Store. */
export type PluginStoreOptions<T> = Pick<StoreOptions<T>, "version" | "defaults" | "access">;

export interface PluginAskRequest extends AskRequest {
  /** Of models that are named without it, as with `--provider`; where none is named its default is asked. Without both it is the model of the configuration. */
  provider?: string;
  temperature?: number;
  /** Of the providers of these models, for this request alone: options such as apiKey, over those of the configuration. */
  providerOptions?: Record<string, Record<string, unknown>>;
  /** Is told of each retry and each fallback before it happens. */
  on?(event: { type: "retry" | "fallback"; from: string; to: string; code: string; message: string }): void;
  signal: AbortSignal;
}

export interface EmbedRequest {
  model: string;
  texts: string[];
  signal: AbortSignal;
}

export interface EmbedAnswer {
  vectors: number[][];
  /** `provider/model` */
  model: string;
  /** Input tokens, where the provider says so. */
  tokens?: number;
  /** Where the provider says so. */
  costUsd?: number;
}

export interface Plugin<Options = any> {
  name: string;
  /** 1 by default. */
  api?: number;
  /** Checks the options; wrong ones stop the start with file and reason. */
  options?: StandardSchema;
  /** Names of tools, providers or commands of others that this plugin is meant to take the place of. */
  replaces?: string[];
  /** Returns what it adds. No work, no network, no heavy import here: that belongs into the first call. At most 5 s. */
  setup(context: PluginContext<Options>): Contribution | Promise<Contribution>;
}

/**
 * A plugin that is not loaded before something of it is asked for. Without `provides` it is loaded at the start;
 * with it, only when one of these providers (`"*"`: any that nobody else provides) or commands is needed.
 */
export interface LazyPlugin {
  name: string;
  provides?: { providers?: string[]; commands?: string[] };
  /** With `provides`: loaded at the start all the same where this says of the configuration that there is something to do. */
  isNeeded?(config: Readonly<Config>): boolean;
  /** Off until the configuration or `--plugin` names it; commands that `provides` names are there all the same. */
  off?: boolean;
  /** Directory of its files below the data directory, instead of `plugins/NAME`. */
  directory?: string;
  load(): Promise<{ default: Plugin }>;
}

/**
 * Defines a plugin.
 *
 *     export default definePlugin({ name: "hello", setup: () => ({ tools: [hello] }) });
 */
export function definePlugin<S extends StandardSchema>(plugin: Omit<Plugin<OutputOf<S>>, "options"> & { options: S }): Plugin;
export function definePlugin(plugin: Plugin<Record<string, unknown>>): Plugin;
export function definePlugin(plugin: Plugin): Plugin {
  return Object.freeze({ api: PLUGIN_API, ...plugin });
}

/** A plugin is data: what is not of its shape is refused with the reason, before anything of it runs. */
export function checkPlugin(plugin: unknown, spec: string): Plugin {
  const refuse = (reason: string) => new AgentError("PLUGIN_BROKEN", { spec, reason });
  if (typeof plugin === "function") throw refuse("its default export is a function; export default definePlugin({ name, setup }).");
  if (plugin === undefined) throw refuse("it has no default export; export default definePlugin({ name, setup }).");
  if (typeof plugin !== "object" || plugin === null) throw refuse("its default export is no plugin; export default definePlugin({ name, setup }).");
  const { name, api = PLUGIN_API, setup } = plugin as Partial<Plugin>;
  if (typeof name !== "string" || name === "") throw refuse("it has no name.");
  if (typeof setup !== "function") throw refuse(`"${name}" has no setup function.`);
  if (api !== PLUGIN_API) throw refuse(`"${name}" is written for version ${api} of the plugin contract; this is version ${PLUGIN_API}.`);
  return plugin as Plugin;
}

/** What setup returned. A fault in it is told with the plugin's name now, not in the middle of a run. */
export function checkContribution(contribution: unknown, spec: string): Contribution {
  const fault = findContributionFault(contribution);
  if (fault !== undefined) throw new AgentError("PLUGIN_BROKEN", { spec, reason: fault });
  return contribution as Contribution;
}

const PARTS: readonly string[] = ["tools", "lateTools", "providers", "hooks", "commands", "extensions", "finish", "dispose"] satisfies (keyof Contribution)[];

/** A misspelt part is a fault, as a misspelt hook is: a rule that is never asked protects nobody. */
function findContributionFault(contribution: unknown): string | undefined {
  if (typeof contribution !== "object" || contribution === null || Array.isArray(contribution))
    return "setup returned no contribution; return {} where it adds nothing.";
  const unknown = Object.keys(contribution).find((part) => !PARTS.includes(part));
  if (unknown !== undefined) return `setup returned "${unknown}", which is nothing known; it may return ${PARTS.join(", ")}.`;
  const { tools = [], providers = [], commands = [], hooks = {}, extensions = {}, finish, dispose } = contribution as Contribution;
  const other = Object.entries({ tools, providers, commands }).find(([, list]) => !Array.isArray(list));
  if (other !== undefined) return `its ${other[0]} are not a list.`;
  if (dispose !== undefined && typeof dispose !== "function") return "its dispose is not a function.";
  if (finish !== undefined && typeof finish !== "function") return "its finish is not a function.";
  const strange = Object.entries(extensions ?? {}).find(([, list]) => !Array.isArray(list));
  if (strange !== undefined) return `what it brings for the extension point "${strange[0]}" is not a list.`;
  const empty = Object.entries({ tools, providers, commands }).find(([, list]) => list.some((item) => typeof item !== "object" || item === null));
  if (empty !== undefined) return `one of its ${empty[0]} is not an object.`;
  const faults = [
    ...tools.map(findToolFault),
    ...providers.map(({ id, create }) => (typeof id === "string" && typeof create === "function" ? undefined : `the provider "${id}" has no create function.`)),
    ...commands.map(({ name, run }) => (typeof name === "string" && typeof run === "function" ? undefined : `the command "${name}" has no run function.`)),
    findHookFault(hooks),
    findLateFault((contribution as Contribution).lateTools),
  ];
  const named = { tool: tools.map(({ name }) => name), provider: providers.map(({ id }) => id), command: commands.map(({ name }) => name) };
  return faults.find((fault) => fault !== undefined) ?? findRepeated(named);
}

function findLateFault(late: unknown): string | undefined {
  if (late === undefined) return undefined;
  const { prefixes, list, sources } = (late ?? {}) as Partial<LateTools>;
  const isWhole = Array.isArray(prefixes) && prefixes.every((prefix) => typeof prefix === "string" && prefix !== "");
  if (!isWhole || typeof list !== "function") return "its lateTools are not { prefixes, list }.";
  return sources === undefined || typeof sources === "function" ? undefined : "the sources of its lateTools are not a function.";
}

function findRepeated(named: Record<string, string[]>): string | undefined {
  for (const [kind, names] of Object.entries(named)) {
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) return `it brings the ${kind} "${twice}" twice.`;
  }
  return undefined;
}
