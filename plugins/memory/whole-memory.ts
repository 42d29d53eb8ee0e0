import type { PluginContext } from "agent-runtime";
import type { Observation } from "./observation.ts";
import { type OpenMemory, openMemory } from "./open-memory.ts";
import type { MemoryOptions } from "./options.ts";
import type { Vectors } from "./vectors.ts";

/** The context as it is now: a configuration that changes brings another one. */
export type ContextNow = () => PluginContext<MemoryOptions>;

export interface WholeMemory extends OpenMemory {
  /** For what was stored: see `tend`. Nobody waits for it. */
  tend(stored: readonly Observation[], signal: AbortSignal): Promise<void>;
}

/** Opens the memory of this workspace, or of the project with this id, with everything that searches and cares. Reads its inbox and nothing else. */
export async function openWholeMemory(context: ContextNow, project?: string): Promise<WholeMemory> {
  const closing = new AbortController();
  let vectors: Promise<Vectors> | undefined;
  const openVectors = (id: string) => (vectors ??= makeVectors(context, id));
  const memory = await openMemory({
    context: context(),
    cwd: context().cwd,
    project,
    makeSearch: async (source) => {
      const { createSearchEngine } = await import("./search-engine.ts");
      const own = () => (source.project === memory.project ? openVectors(source.project) : makeVectors(context, source.project));
      return createSearchEngine(source, { context: context(), options: () => context().options, vectors: own, now: Date.now, signal: closing.signal });
    },
    consolidate: async (observations) => {
      const { consolidateInPieces } = await import("./consolidate.ts");
      const cosine = context().options.search.embeddings === undefined ? undefined : await (await openVectors(memory.project)).cosines();
      const { report, changed } = await consolidateInPieces(observations, { cosine });
      return { ...report, changed };
    },
  });
  const [forget, close] = [memory.forget.bind(memory), memory.close.bind(memory)];
  const whole: Pick<WholeMemory, "forget" | "close" | "tend"> = {
    async tend(stored, signal) {
      const { search, consolidate } = context().options;
      const { tend } = await import("./tend.ts");
      const own = () => (search.embeddings === undefined ? undefined : openVectors(memory.project));
      await tend(stored, { memory, vectors: own, consolidates: consolidate, signal, openStore: (name, options) => context().openStore(name, options) });
    },
    async forget(what, options) {
      return options?.dryRun ? forget(what, options) : forgetWithVectors(what, forget, await openVectors(memory.project));
    },
    async close() {
      closing.abort();
      await close();
    },
  };
  return Object.assign(memory, whole);
}

/** Vectors first, so that a kill leaves something to forget again; and once more, for what was embedded meanwhile. */
async function forgetWithVectors(what: Parameters<OpenMemory["forget"]>[0], forget: OpenMemory["forget"], vectors: Vectors): ReturnType<OpenMemory["forget"]> {
  await vectors.forget((await forget(what, { dryRun: true })).observations);
  const forgotten = await forget(what);
  await vectors.forget(forgotten.observations);
  return forgotten;
}

async function makeVectors(context: ContextNow, project: string): Promise<Vectors> {
  const { createVectors } = await import("./vectors.ts");
  return createVectors({
    openStore: (name, options) => context().openStore(name, options),
    embed: (request) => context().embed(request),
    report: (message) => context().report(message),
    project,
    model: () => context().options.search.embeddings,
    now: Date.now,
  });
}
