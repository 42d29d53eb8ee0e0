import * as nodeFs from "node:fs";
import { join } from "node:path";
import { AgentError } from "./errors.ts";
import { makeDirectories } from "./generation.ts";
import { acquireLock } from "./lock.ts";
import type { Notices } from "./notices.ts";
import type { PluginStoreOptions } from "./plugin.ts";
import { openStore, type Store } from "./store.ts";

const NAME = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/;

/** Where a store, or a lock, of this name lies. */
function directoryOf(place: string, name: string): string {
  if (!NAME.test(name)) throw new Error(`"${name}" is no name of a store: words of letters, digits, ., _ and - joined by /.`);
  return join(place, name);
}

export async function openPluginStore<T>(
  place: string,
  name: string,
  { notices, ...options }: PluginStoreOptions<T> & { notices: Notices },
): Promise<Store<T>> {
  return openStore({
    ...options,
    dir: directoryOf(place, name),
    onRecovered: (recovery) => notices.tell({ type: "store.recovered", ...recovery }),
    onDegraded: (degraded) => notices.tell({ type: "store.degraded", ...degraded }),
  });
}

export async function lockForPlugin(place: string, name: string, { waitMs = 0 }: { waitMs?: number } = {}): Promise<{ release(): void } | { busy: number }> {
  const dir = directoryOf(place, name);
  try {
    makeDirectories(nodeFs, dir);
    return await acquireLock({ dir, waitMs });
  } catch (error) {
    throw new AgentError("STORE_UNWRITABLE", { path: dir, reason: (error as Error).message }, { cause: error });
  }
}
