import { orAborted } from "./abort.ts";
import type { Config } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { type PluginHooks, within } from "./hooks.ts";
import { LateToolList } from "./late-tools.ts";
import {
  type Contribution,
  checkContribution,
  checkPlugin,
  type LazyPlugin,
  type Plugin,
  type PluginCommand,
  type PluginContext,
  type ToolSource,
} from "./plugin.ts";
import type { Provider } from "./provider.ts";
import { check } from "./schema.ts";
import type { Tool } from "./tool.ts";

/** A plugin that is to take part, with the options that the configuration gives it. */
export interface PluginEntry {
  plugin: Plugin | LazyPlugin;
  options?: Record<string, unknown>;
  /** Where it comes from; tells plugins of one name apart. */
  spec?: string;
  /** A plugin that cannot be set up is left out with a report instead of stopping the start. */
  skipWhenBroken?: boolean;
  /** Nobody has switched it on: it is loaded for its commands alone. */
  isOff?: boolean;
}

type Kind = "tool" | "provider" | "command";

/** Who contributed what. Names are unique; plugins are disposed in reverse order of loading. */
export interface Registry {
  /** Grows when a lazy plugin is loaded. */
  readonly hooks: readonly PluginHooks[];
  readonly tools: ReadonlyMap<string, Tool>;
  /** Takes the tools that servers have by now; a number that is another one where they have changed. */
  refreshTools(): number | Promise<number>;
  /** Whether a tool of this name may still come. */
  mayCome(name: string): boolean;
  toolSources(): ToolSource[];
  /** Loads the plugin that provides it, if that was left unloaded. */
  provider(id: string): Promise<Provider | undefined>;
  providerIds(): string[];
  command(name: string): Promise<PluginCommand | undefined>;
  /** What the loaded plugins bring for an extension point. */
  extensions(point: string): readonly unknown[];
  /** Lets every plugin end the work that outlasts the prompts, until the signal aborts. Errors are reported. */
  finish(signal: AbortSignal): Promise<void>;
  /** Errors of single plugins do not keep the others from being disposed; they are reported. */
  dispose(): Promise<void>;
}

export interface RegistryDependencies {
  contextOf(entry: PluginEntry & { name: string }): PluginContext;
  report(fault: { plugin: string; message: string }): void;
  /** What `isNeeded` of lazy plugins is asked with. */
  config?: Readonly<Config>;
  /** No tools are asked for that come late: nothing is to be started for what may only read. */
  readOnly?: boolean | undefined;
  /** ms instead of LOAD_LIMIT_MS. */
  limitMs?: number;
}

/** ms that loading and setting up one plugin may take. */
export const LOAD_LIMIT_MS = 5_000;
/** ms that the work of a plugin may outlast the prompts. */
const FINISH_LIMIT_MS = 3_600_000;

export const isLazy = (plugin: Plugin | LazyPlugin): plugin is LazyPlugin => typeof plugin === "object" && plugin !== null && "load" in plugin;

/** Sets up all plugins but the lazy ones. Throws PLUGIN_BROKEN and PLUGIN_CONFLICT. */
export async function createRegistry(entries: PluginEntry[], dependencies: RegistryDependencies): Promise<Registry> {
  const state = new RegistryState(dependencies);
  try {
    for (const entry of entries) {
      const { plugin } = entry;
      if (isLazy(plugin) && plugin.provides !== undefined && !isNeededAtOnce(plugin, entry, dependencies)) state.promise(plugin, entry);
      else await state.add(entry);
    }
  } catch (error) {
    await state.dispose();
    throw error;
  }
  return state;
}

function isNeededAtOnce({ off, isNeeded }: LazyPlugin, { isOff }: PluginEntry, { config = {} }: RegistryDependencies): boolean {
  return off === true ? !isOff : isNeeded?.(config) === true;
}

class RegistryState implements Registry {
  readonly hooks: PluginHooks[] = [];
  readonly tools = new Map<string, Tool>();
  readonly #dependencies: RegistryDependencies;
  readonly #providers = new Map<string, Provider>();
  readonly #commands = new Map<string, PluginCommand>();
  readonly #owners = new Map<string, PluginEntry>();
  /** What a plugin would bring, but another one took the place of it before it was loaded. */
  readonly #replaced: { entry: PluginEntry; key: string }[] = [];
  readonly #promised = new Map<string, PluginEntry>();
  readonly #loading = new Map<PluginEntry, Promise<void>>();
  readonly #extensions: { [point: string]: unknown[] }[] = [];
  readonly #finishers: { plugin: string; finish(signal: AbortSignal): void | Promise<void> }[] = [];
  readonly #disposers: { plugin: string; dispose(): void | Promise<void> }[] = [];
  readonly #late: LateToolList;

  constructor(dependencies: RegistryDependencies) {
    this.#dependencies = dependencies;
    this.#late = new LateToolList(this.tools, { report: dependencies.report, limitMs: limitOf(dependencies) });
  }

  refreshTools = (): number | Promise<number> => (this.#dependencies.readOnly ? 0 : this.#late.refresh());
  mayCome = (name: string): boolean => this.#late.mayCome(name);
  toolSources = (): ToolSource[] => this.#late.sources();

  /** Notes what a lazy plugin will bring, so that a conflict is seen before it is loaded. */
  promise(plugin: LazyPlugin, entry: PluginEntry): void {
    const names = [
      ...(plugin.provides?.providers ?? []).map((name) => ["provider", name] as const),
      ...(plugin.provides?.commands ?? []).map((name) => ["command", name] as const),
    ];
    for (const [kind, name] of names) {
      if (name !== "*") this.#claim(kind, name, entry, []);
      this.#promised.set(`${kind} ${name}`, entry);
    }
  }

  async add(entry: PluginEntry): Promise<void> {
    try {
      const plugin = checkPlugin(await within(limitOf(this.#dependencies), loadPlugin(entry.plugin)), entry.plugin.name);
      const contribution = await setUp(plugin, entry, this.#dependencies);
      this.#keep(plugin, contribution, entry);
    } catch (error) {
      const fault =
        error instanceof AgentError ? error : new AgentError("PLUGIN_BROKEN", { spec: entry.plugin.name, reason: errorMessage(error) }, { cause: error });
      if (!entry.skipWhenBroken || fault.code === "PLUGIN_CONFLICT") throw fault;
      this.#dependencies.report({ plugin: entry.plugin.name, message: fault.message });
    }
  }

  async provider(id: string): Promise<Provider | undefined> {
    await this.#fulfil(`provider ${id}`);
    if (!this.#providers.has(id)) await this.#fulfil("provider *");
    return this.#providers.get(id);
  }

  providerIds(): string[] {
    const promised = [...this.#promised.keys()].filter((key) => key.startsWith("provider ")).map((key) => key.slice("provider ".length));
    return [...new Set([...this.#providers.keys(), ...promised])].filter((id) => id !== "*").sort();
  }

  async command(name: string): Promise<PluginCommand | undefined> {
    await this.#fulfil(`command ${name}`);
    return this.#commands.get(name);
  }

  extensions = (point: string): readonly unknown[] => this.#extensions.flatMap((given) => (Object.hasOwn(given, point) ? (given[point] ?? []) : []));

  async finish(signal: AbortSignal): Promise<void> {
    const finishing = this.#finishers.map(({ plugin, finish }) =>
      orAborted(
        within(
          FINISH_LIMIT_MS,
          Promise.resolve().then(() => finish(signal)),
        ),
        signal,
      ).catch((error: unknown) => {
        if (!signal.aborted) this.#dependencies.report({ plugin, message: `finish: ${errorMessage(error)}` });
      }),
    );
    await Promise.all(finishing);
  }

  async dispose(): Promise<void> {
    for (const { plugin, dispose } of this.#disposers.splice(0).reverse()) {
      await within(limitOf(this.#dependencies), Promise.resolve().then(dispose)).catch((error) =>
        this.#dependencies.report({ plugin, message: `dispose: ${errorMessage(error)}` }),
      );
    }
  }

  async #fulfil(key: string): Promise<void> {
    const entry = this.#promised.get(key);
    if (entry === undefined) return;
    if (!this.#loading.has(entry)) this.#loading.set(entry, this.add(entry));
    await this.#loading.get(entry);
  }

  #keep(plugin: Plugin, contribution: Contribution, entry: PluginEntry): void {
    const { hooks, extensions, finish, dispose } = contribution;
    // First: also a plugin that is refused for its names was set up.
    if (dispose !== undefined) this.#disposers.push({ plugin: plugin.name, dispose });
    const claim = (kind: Kind, name: string) => this.#claim(kind, name, entry, plugin.replaces ?? []);
    const tools = (contribution.tools ?? []).filter(({ name }) => claim("tool", name));
    const providers = (contribution.providers ?? []).filter(({ id }) => claim("provider", id));
    const commands = (contribution.commands ?? []).filter(({ name }) => claim("command", name));
    if (!entry.isOff) for (const tool of tools) this.tools.set(tool.name, tool);
    for (const provider of providers) this.#providers.set(provider.id, provider);
    for (const command of commands) this.#commands.set(command.name, command);
    if (contribution.lateTools !== undefined) this.#late.add(plugin.name, contribution.lateTools);
    if (extensions !== undefined) this.#extensions.push(extensions);
    if (finish !== undefined) this.#finishers.push({ plugin: plugin.name, finish });
    // Who asks for its command alone has not switched it on.
    if (hooks !== undefined && !entry.isOff) this.hooks.push({ plugin: plugin.name, hooks });
  }

  /** False for a name that was replaced. Throws PLUGIN_CONFLICT. */
  #claim(kind: Kind, name: string, entry: PluginEntry, replaces: string[]): boolean {
    const key = `${kind} ${name}`;
    const owner = this.#owners.get(key);
    if (this.#replaced.some((lost) => lost.entry === entry && lost.key === key)) return false;
    if (owner !== undefined && owner !== entry) {
      if (!replaces.includes(name)) throw conflict(kind, name, owner, entry);
      this.#replaced.push({ entry: owner, key });
      this.#promised.delete(key);
    }
    this.#owners.set(key, entry);
    return true;
  }
}

function conflict(kind: Kind, name: string, first: PluginEntry, second: PluginEntry): AgentError {
  const isSameName = first.plugin.name === second.plugin.name;
  return new AgentError("PLUGIN_CONFLICT", {
    first: first.plugin.name,
    second: isSameName ? (second.spec ?? "another plugin of that name") : second.plugin.name,
    kind,
    name,
  });
}

const limitOf = ({ limitMs = LOAD_LIMIT_MS }: RegistryDependencies): number => limitMs;

async function loadPlugin(plugin: Plugin | LazyPlugin): Promise<unknown> {
  return isLazy(plugin) ? (await plugin.load()).default : plugin;
}

/** What the plugin contributes, with its options and that checked. Throws PLUGIN_BROKEN, and what the plugin throws. */
export async function setUp(plugin: Plugin, entry: PluginEntry, dependencies: RegistryDependencies): Promise<Contribution> {
  const { options = {} } = entry;
  const checked = plugin.options === undefined ? { value: options } : await within(limitOf(dependencies), check(plugin.options, options));
  if (checked.reason !== undefined) throw new AgentError("PLUGIN_BROKEN", { spec: plugin.name, reason: `its options are wrong: ${checked.reason}` });
  const contribution = await within(
    limitOf(dependencies),
    Promise.resolve().then(() => plugin.setup(dependencies.contextOf({ ...entry, name: plugin.name, options: checked.value as Record<string, unknown> }))),
  );
  return checkContribution(contribution, plugin.name);
}
