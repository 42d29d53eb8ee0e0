import * as nodeFs from "node:fs";
import { join } from "node:path";
import type { Config } from "./config.ts";
import { errorMessage } from "./errors.ts";
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
  const { cwd, packageDirs, fetch, startProcess, log, config, redactor, ofPlugins, whenReady } = needs;
  return ({ name, plugin, options = {} }) => {
    const place = placeOf(needs.dataDir, name, "directory" in plugin ? plugin.directory : undefined);
    const report = (message: string) => needs.report({ plugin: name, message });
    return {
      cwd,
      packageDirs,
      options,
      config,
      fetch,
      startProcess,
      report,
      log,
      redact: redactor.redact,
      extensions: (point) => whenReady()?.extensions(point) ?? [],
      async dataDir() {
        makeDirectories(nodeFs, place);
        return place;
      },
      async openStore(store, storeOptions) {
        const { openPluginStore } = await import("./plugin-stores.ts");
        return openPluginStore(place, store, { ...storeOptions, notices: needs.notices });
      },
      async lock(lockName, lockOptions) {
        const { lockForPlugin } = await import("./plugin-stores.ts");
        return lockForPlugin(place, lockName, lockOptions);
      },
      async ask(request) {
        const { askForPlugin } = await import("./plugin-ask.ts");
        return askForPlugin(request, readyOf(whenReady, name).asking);
      },
      async embed(request) {
        const { embedForPlugin } = await import("./plugin-embed.ts");
        return embedForPlugin(request, readyOf(whenReady, name).asking);
      },
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

const placeOf = (dataDir: string, name: string, directory: string | undefined): string =>
  directory === undefined ? join(dataDir, "plugins", name.replace(/[^\w.-]/g, "_")) : join(dataDir, directory);

function readyOf(whenReady: PluginNeeds["whenReady"], name: string) {
  const ready = whenReady();
  if (ready === undefined) throw new Error(`the plugin "${name}" asks a model while it is set up; ask in a hook, a tool or a command.`);
  return ready;
}
