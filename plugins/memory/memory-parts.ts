import { join } from "node:path";
import { AgentError, type PluginContext } from "agent-runtime";
import { Archive } from "./archive.ts";
import { stampOf } from "./directory.ts";
import { type Inbox, inboxName, openInbox, type StoreContext } from "./inbox.ts";
import type { Observation } from "./observation.ts";
import { PROJECTS } from "./project.ts";

/** Everything of one project's memory. Nothing of the archive is read before it is asked for. */
export interface MemoryParts {
  context: StoreContext & Pick<PluginContext, "log" | "report">;
  project: string;
  /** Its directory. */
  dir: string;
  inbox: Inbox;
  archive: Archive;
  /** Reads the inbox again where another process has changed it; `force`: also what it has only appended during a change of ours. */
  refresh(options?: { force?: boolean }): Promise<void>;
  /**
   * Runs what removes or replaces: one at a time among all processes, a short time each, with the inbox as it stands on disk.
   * Throws MEMORY_BUSY.
   */
  change<T>(run: () => Promise<T>): Promise<T>;
}

/** ms that a change waits for the others. */
const CHANGE_WAIT_MS = 60_000;
/** What is made of the observations to find them, below the project's directory. */
export const INDEX = "index";
/** Fresh observations from which on they are filed into the archive. */
export const FRESH = 200;

export async function openParts(context: MemoryParts["context"], project: string): Promise<MemoryParts> {
  const dataDir = await context.dataDir();
  const inbox = await openInbox(context, project);
  const inboxDir = join(dataDir, ...inboxName(project).split("/"));
  let stamp: string | undefined;
  const refresh = async ({ force = false } = {}) => {
    const now = stampOf(inboxDir);
    if (now === stamp && !force) return;
    await inbox.store.refresh();
    stamp = now;
  };
  // While we have the lock nobody else takes anything away; what others append meanwhile, items, is seen later.
  const settle = () => {
    stamp = stampOf(inboxDir);
  };
  return {
    context,
    project,
    dir: join(dataDir, PROJECTS, project),
    inbox,
    archive: new Archive(context, project, dataDir),
    refresh,
    change: createChange(context, project, { refresh, settle }),
  };
}

/** Those of one process wait in a line; only the first of them asks for the lock. */
function createChange(
  context: MemoryParts["context"],
  project: string,
  { refresh, settle }: { refresh(): Promise<void>; settle(): void },
): MemoryParts["change"] {
  let line: Promise<unknown> = Promise.resolve();
  const locked = async <T>(run: () => Promise<T>): Promise<T> => {
    const lock = await context.lock(`${PROJECTS}/${project}/change`, { waitMs: CHANGE_WAIT_MS });
    if ("busy" in lock) throw new AgentError("MEMORY_BUSY", { project, pid: lock.busy });
    try {
      await refresh();
      return await run();
    } finally {
      settle();
      lock.release();
    }
  };
  return (run) => {
    const changed = line.then(() => locked(run));
    line = changed.catch(() => {});
    return changed;
  };
}

/** Moves the fresh observations into the archive: durable there before they leave the inbox. For `change`. */
export async function fileFresh({ inbox: { store }, inbox, archive }: MemoryParts): Promise<void> {
  const fresh = Object.values(store.all("observations"));
  await archive.file(fresh.map((observation) => ({ observation, replaces: store.get("changed", observation.id) !== undefined })));
  for (const { id } of fresh) {
    store.remove("observations", id);
    store.remove("changed", id);
  }
  inbox.prune();
  await store.sync();
}

/** Throws STORE_UNWRITABLE where what was put is in memory alone. */
export async function persist({ inbox: { store }, dir }: Pick<MemoryParts, "inbox" | "dir">): Promise<void> {
  await store.sync();
  if (!store.persisted) throw new AgentError("STORE_UNWRITABLE", { path: dir, reason: "what was to be kept is in memory alone" });
}

/** Everything there is, each once: what is fresh stands before the archive. */
export async function readAll({ inbox, archive }: MemoryParts): Promise<Map<string, Observation>> {
  const found = new Map<string, Observation>();
  for await (const { observations } of archive.all()) for (const [id, observation] of Object.entries(observations)) found.set(id, observation);
  for (const [id, observation] of Object.entries(inbox.store.all("observations"))) found.set(id, observation);
  return found;
}
