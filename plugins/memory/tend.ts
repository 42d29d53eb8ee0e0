import type { PluginContext } from "agent-runtime";
import type { Memory } from "./memory.ts";
import type { Observation } from "./observation.ts";
import { PROJECTS } from "./project.ts";
import type { Vectors } from "./vectors.ts";

export interface TendNeeds extends Pick<PluginContext, "openStore"> {
  memory: Pick<Memory, "project" | "consolidate" | "stats">;
  /** Undefined: no embeddings. */
  vectors(): Promise<Vectors> | undefined;
  /** Whether it is consolidated without being asked for. */
  consolidates: boolean;
  signal: AbortSignal;
}

interface Care {
  /** How many observations have come since it was consolidated. */
  counts: { fresh: number };
}

const COUNT = "since";
/** Observations after which it is worth to look at all of them again. */
const DUE = 50;
/** In a larger memory only the command does it: to look at all of it takes seconds. */
const LARGEST = 20_000;

/** What is done for observations after they are stored, and nobody waits for: their vectors, and now and then order among all of them. */
export async function tend(stored: readonly Observation[], { memory, vectors, consolidates, signal, openStore }: TendNeeds): Promise<void> {
  if (stored.length === 0 || signal.aborted) return;
  await (await vectors())?.fill(stored, { signal });
  if (!consolidates) return;
  const store = await openStore<Care>(`${PROJECTS}/${memory.project}/care`, { version: 1, defaults: { counts: {} } });
  try {
    const fresh = (store.get("counts", COUNT)?.fresh ?? 0) + stored.length;
    const isDue = fresh >= DUE && !signal.aborted;
    store.put("counts", COUNT, { fresh: isDue ? 0 : fresh });
    await store.write();
    if (isDue && (await memory.stats()).observations <= LARGEST) await memory.consolidate();
  } finally {
    await store.close();
  }
}
