import * as nodeFs from "node:fs";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { makeDirectories } from "./generation.ts";
import type { Notices } from "./notices.ts";
import type { PluginContext } from "./plugin.ts";
import type { PluginAskDependencies } from "./plugin-ask.ts";
import type { EmbedDependencies } from "./plugin-embed.ts";
import type { Redactor } from "./redact.ts";
import type { PluginEntry } from "./registry.ts";

/** What the contexts of all plugins of a configuration are made of. */
export interface PluginNeeds extends Pick<PluginContext, "cwd" | "packageDirs" | "fetch" | "startProcess" | "log"> {
  config: Readonly<Config>;
  dataDir: string;
  notices: Notices;
  redactor: Redactor;
  /** What outlives a configuration, by the plugin's name. */
  ofPlugins: Map<string, unknown>;
  report(fault: { plugin: string; message: string }): void;
  reload(): Promise<boolean>;
  /** There once every plugin has been set up. */
  whenReady(): { asking: PluginAskDependencies & EmbedDependencies; extensions(point: string): readonly unknown[] } | undefined;
}

/** Everything that a plugin may use, made for each by its name. What only some of them want is loaded when it is asked for. */
export function createPluginContexts(needs: PluginNeeds): (entry: PluginEntry & { name: string }) => PluginContext {
  const { cwd, packageDirs, fetch, startProcess, log, config, redactor, ofPlugins } = needs;
  return ({ name, plugin, options = {} }) => {
    const place = placeOf(needs.dataDir, name, "directory" in plugin ? plugin.directory : undefined);
    const report = (message: string) => needs.report({ plugin: name, message });
    return {
      ...{ cwd, packageDirs, options, config, fetch, startProcess, report, log },
      redact: redactor.redact,
      ...createPluginDisk(place, needs),
      ...createPluginModels(name, needs),
      reload: () =>
        needs.reload().catch((error: unknown) => {
          report(`the changed configuration cannot be used: ${errorMessage(error)}`);
          return false;
        }),
      lasting<T>(make: () => T) {
        if (!ofPlugins.has(name)) ofPlugins.set(name, make());
        return ofPlugins.get(name) as T;
      },
    };
  };
}

function createPluginDisk(place: string, { notices }: PluginNeeds): Pick<PluginContext, "dataDir" | "openStore" | "lock"> {
  return {
    async dataDir() {
      try {
        makeDirectories(nodeFs, place);
      } catch (error) {
        throw new AgentError("STORE_UNWRITABLE", { path: place, reason: errorMessage(error) }, { cause: error });
      }
      return place;
    },
    async openStore(name, options) {
      const { openPluginStore } = await import("./plugin-stores.ts");
      return openPluginStore(place, name, { ...options, notices });
    },
    async lock(name, options) {
      const { lockForPlugin } = await import("./plugin-stores.ts");
      return lockForPlugin(place, name, options);
    },
  };
}

function createPluginModels(name: string, { whenReady }: PluginNeeds): Pick<PluginContext, "ask" | "embed" | "extensions"> {
  const ready = () => {
    const known = whenReady();
    if (known === undefined) throw new Error(`the plugin "${name}" asks a model while it is set up; ask in a hook, a tool or a command.`);
    return known.asking;
  };
  return {
    extensions: (point) => whenReady()?.extensions(point) ?? [],
    async ask(request) {
      const { askForPlugin } = await import("./plugin-ask.ts");
      return askForPlugin(request, ready());
    },
    async embed(request) {
      const { embedForPlugin } = await import("./plugin-embed.ts");
      return embedForPlugin(request, ready());
    },
  };
}

const placeOf = (dataDir: string, name: string, directory: string | undefined): string =>
  directory === undefined ? join(dataDir, "plugins", name.replace(/[^\w.-]/g, "_")) : join(dataDir, directory);
