import { createHash } from "node:crypto";
import { join } from "node:path";
import { AgentError } from "agent-runtime";
import { bytesIn } from "./directory.ts";
import { matchesFilter } from "./filter.ts";
import { eraseLeft, forgetIn } from "./forget.ts";
import type { ConsolidationReport, Filter, Hit, Memory, MemoryStats, SearchRequest } from "./memory.ts";
import { FRESH, fileFresh, INDEX, type MemoryParts, openParts, persist, readAll } from "./memory-parts.ts";
import type { Observation } from "./observation.ts";
import { listProjects, projectOf } from "./project.ts";

/** Finds observations of one project. Made when it is first asked. */
export interface SearchEngine {
  search(request: SearchRequest): Promise<Hit[]>;
  reindex(): Promise<number>;
  close(): Promise<void>;
}

/** What a search reads. Of two observations with one id that of the inbox counts. */
export interface ObservationSource {
  project: string;
  /** Where its files may be; it is removed when something is forgotten. Made by whoever writes there. */
  indexDir: string;
  /** Segments of the archive, oldest first, then "inbox"; the mark changes with what one holds. */
  parts(): Promise<{ name: string; mark: string }[]>;
  read(part: string): Promise<Readonly<Record<string, Observation>>>;
}

/** Looks at all observations of a project and says what is to be changed. */
export type Consolidate = (
  observations: Observation[],
) => Promise<ConsolidationReport & { changed: Observation[] }> | (ConsolidationReport & { changed: Observation[] });

export interface MemoryNeeds {
  context: MemoryParts["context"];
  cwd: string;
  /** Id of a project, instead of that of `cwd`. */
  project?: string | undefined;
  makeSearch?(source: ObservationSource): Promise<SearchEngine>;
  consolidate?: Consolidate;
}

/** With what a worker needs besides. */
export interface OpenMemory extends Memory {
  readonly parts: MemoryParts;
}

/** Opens the memory of a project. Reads its inbox and nothing else. */
export async function openMemory(needs: MemoryNeeds): Promise<OpenMemory> {
  return new ProjectMemory(needs, await openParts(needs.context, needs.project ?? projectOf(needs.cwd)));
}

class ProjectMemory implements OpenMemory {
  readonly parts: MemoryParts;
  readonly #needs: MemoryNeeds;
  readonly #others = new Map<string, Promise<OpenMemory>>();
  #engine: Promise<SearchEngine> | undefined;
  #closed: Promise<void> | undefined;

  constructor(needs: MemoryNeeds, parts: MemoryParts) {
    this.#needs = needs;
    this.parts = parts;
  }

  get project(): string {
    return this.parts.project;
  }

  async list({ limit = Number.POSITIVE_INFINITY, project, ...filter }: Filter & { limit?: number; project?: string | undefined }): Promise<Observation[]> {
    const memories = await this.#named(project);
    const lists = await Promise.all(memories.map((memory) => (memory === this ? this.#listOwn(filter, limit) : memory.list({ ...filter, limit }))));
    return lists.flat().sort(byTime).slice(0, limit);
  }

  /** From the youngest segment on, until no older one can hold anything that belongs there. */
  async #listOwn(filter: Filter, limit: number): Promise<Observation[]> {
    await this.parts.refresh();
    const fresh = this.parts.inbox.store.all("observations");
    let found = Object.values(fresh).filter((each) => matchesFilter(each, filter));
    for await (const { newest, observations } of this.parts.archive.youngest()) {
      if (found.length >= limit) {
        found = found.sort(byTime).slice(0, limit);
        if ((found.at(-1)?.createdAt ?? 0) > newest) break;
      }
      found.push(...Object.values(observations).filter((each) => fresh[each.id] === undefined && matchesFilter(each, filter)));
    }
    return found.sort(byTime).slice(0, limit);
  }

  async get(ids: string[]): Promise<Observation[]> {
    await this.parts.refresh();
    const fresh = this.parts.inbox.store.all("observations");
    const missing = new Set(ids.filter((id) => fresh[id] === undefined));
    const whole = new Map(missing.size === 0 ? [] : (await this.parts.archive.find(missing)).map((each) => [each.id, each]));
    const all = ids.every((id) => fresh[id] ?? whole.get(id)) ? undefined : await readAll(this.parts);
    const found = ids.map((id) => fresh[id] ?? whole.get(id) ?? beginningWith(id, all ?? new Map()));
    return found.filter((each) => each !== undefined);
  }

  async noteUse(ids: readonly string[]): Promise<void> {
    this.parts.inbox.noteUse(ids, Date.now());
  }

  async uses(): Promise<ReadonlyMap<string, number>> {
    await this.parts.refresh();
    return new Map(Object.entries(this.parts.inbox.store.all("uses")).map(([id, { count }]) => [id, count]));
  }

  async search({ project, limit = 20, ...request }: SearchRequest): Promise<Hit[]> {
    const memories = await this.#named(project);
    const lists = await Promise.all(
      memories.map(async (memory) => (memory === this ? (await this.#search()).search({ ...request, limit }) : memory.search({ ...request, limit }))),
    );
    return memories.length === 1 ? (lists[0] as Hit[]) : joinHits(lists).slice(0, limit);
  }

  #search(): Promise<SearchEngine> {
    const { makeSearch } = this.#needs;
    if (makeSearch === undefined) throw new AgentError("NOT_AVAILABLE", { name: "memory search" });
    this.#engine ??= makeSearch(this.#source());
    return this.#engine;
  }

  #source(): ObservationSource {
    const { parts } = this;
    const { inbox, archive, project, dir } = parts;
    return {
      project,
      indexDir: join(dir, INDEX),
      async parts() {
        await parts.refresh();
        const segments = archive.segments().map(({ name, stamp }) => ({ name, mark: stamp }));
        return [...segments, { name: "inbox", mark: markOf(inbox.store.all("observations")) }];
      },
      async read(part) {
        if (part === "inbox") return inbox.store.all("observations");
        return archive.segment(part);
      },
    };
  }

  add(observations: Observation[]): Promise<{ ids: string[]; added: number }> {
    const { parts } = this;
    return parts.change(async () => {
      const fresh = parts.inbox.store.all("observations");
      const sessions = new Set(observations.map(({ sessionId }) => sessionId));
      const known = new Set((await parts.archive.find(new Set(observations.map(({ id }) => id)), sessions)).map(({ id }) => id));
      const added = new Map(observations.filter(({ id }) => !known.has(id) && fresh[id] === undefined).map((each) => [each.id, each]));
      // A whole import does not go the way of a few.
      if (added.size > FRESH) await parts.archive.file([...added.values()].map((observation) => ({ observation, replaces: false })));
      else for (const each of added.values()) parts.inbox.store.put("observations", each.id, each);
      await this.#settle();
      return { ids: observations.map(({ id }) => id), added: added.size };
    });
  }

  /** What was forgotten since it was read stays forgotten. */
  async change(observations: Observation[]): Promise<void> {
    await this.parts.change(async () => {
      const fresh = this.parts.inbox.store.all("observations");
      const settled = observations.filter(({ id }) => fresh[id] === undefined);
      const found =
        settled.length === 0 ? [] : await this.parts.archive.find(new Set(settled.map(({ id }) => id)), new Set(settled.map(({ sessionId }) => sessionId)));
      const known = new Set([...Object.keys(fresh), ...found.map(({ id }) => id)]);
      await this.#putChanged(observations.filter(({ id }) => known.has(id)));
    });
  }

  async #putChanged(observations: readonly Observation[]): Promise<void> {
    const { store } = this.parts.inbox;
    for (const each of observations) {
      store.put("observations", each.id, each);
      store.put("changed", each.id, 1);
    }
    await this.#settle();
  }

  async #settle(): Promise<void> {
    await persist(this.parts);
    if (Object.keys(this.parts.inbox.store.all("observations")).length >= FRESH) await fileFresh(this.parts);
  }

  async forget(what: Parameters<Memory["forget"]>[0], { dryRun = false } = {}): ReturnType<Memory["forget"]> {
    if (!dryRun) await this.#dropEngine();
    return forgetIn(this.parts, what, { dryRun });
  }

  async #dropEngine(): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    await (await engine?.catch(() => undefined))?.close();
  }

  async queue() {
    await this.parts.refresh({ force: true });
    return this.parts.inbox.items();
  }

  retry(ids?: string[]): Promise<number> {
    const { inbox } = this.parts;
    return this.parts.change(async () => {
      const dead = inbox.items().filter(({ id, state }) => state === "dead" && (ids === undefined || ids.includes(id)));
      for (const { id } of dead) inbox.setState(id, { state: "pending", attempts: 0 });
      await persist(this.parts);
      return dead.length;
    });
  }

  async stats(): Promise<MemoryStats> {
    await this.parts.refresh({ force: true });
    const { inbox, dir, project } = this.parts;
    const all = [...(await readAll(this.parts)).values()];
    const byType: Record<string, number> = {};
    for (const { type } of all) byType[type] = (byType[type] ?? 0) + 1;
    const queue = { pending: 0, leased: 0, dead: 0 };
    for (const { state } of inbox.items()) queue[state]++;
    const { requests, input, output, costUsd } = inbox.spent();
    const health = inbox.health();
    return {
      project,
      observations: all.length,
      summaries: byType.summary ?? 0,
      sessions: new Set(all.map(({ sessionId }) => sessionId)).size,
      untrusted: all.filter(({ trust }) => trust === "untrusted").length,
      byType,
      queue,
      skipped: inbox.skipped(),
      requests,
      tokens: { input, output },
      costUsd,
      ...(health && { failing: { failures: health.failures, since: health.since, reason: health.reason } }),
      bytes: bytesIn(dir),
    };
  }

  async consolidate({ dryRun = false } = {}): Promise<ConsolidationReport> {
    const { consolidate } = this.#needs;
    if (consolidate === undefined) throw new AgentError("NOT_AVAILABLE", { name: "consolidation" });
    return this.parts.change(async () => {
      const { changed, ...report } = await consolidate([...(await readAll(this.parts)).values()]);
      if (!dryRun) await this.#putChanged(changed);
      return report;
    });
  }

  async compact(): Promise<void> {
    const { inbox, archive } = this.parts;
    await this.parts.change(async () => {
      await fileFresh(this.parts);
      for (const name of ["inbox", ...archive.segments().map(({ name }) => name)]) inbox.store.put("erase", name, 1);
      await persist(this.parts);
      await eraseLeft(this.parts);
    });
  }

  async reindex(): Promise<number> {
    return (await this.#search()).reindex();
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#dropEngine();
      for (const other of this.#others.values()) await (await other).close();
      await this.parts.inbox.close();
    })();
    return this.#closed;
  }

  /** This one; another by its id, or the beginning of one that fits only one; all with "*". */
  async #named(project: string | undefined): Promise<Memory[]> {
    if (project === undefined || project === this.project) return [this];
    const known = listProjects(await this.#needs.context.dataDir());
    const ids = project === "*" ? known : known.includes(project) ? [project] : known.filter((id) => id.startsWith(project));
    if (project !== "*" && ids.length !== 1)
      throw new AgentError("OPTION_INVALID", {
        option: "project",
        reason: `"${project}" is no project that has a memory. There are: ${known.join(", ") || "none"}.`,
      });
    return Promise.all(ids.map((id) => (id === this.project ? this : this.#other(id))));
  }

  #other(project: string): Promise<OpenMemory> {
    const other = this.#others.get(project) ?? openMemory({ ...this.#needs, project });
    this.#others.set(project, other);
    return other;
  }
}

/** By words alone the scores of a project stand beside its own best hit: between projects the words of the best ones compare. */
function joinHits(lists: Hit[][]): Hit[] {
  const bests = lists.map((hits) => hits.reduce((most, { parts }) => Math.max(most, parts.words), 0));
  const best = Math.max(...bests);
  const isByWords = best > 0 && lists.flat().every(({ parts }) => parts.fused === undefined && parts.rerank === undefined);
  const joined = lists.flatMap((hits, index) => hits.map((hit) => (isByWords ? { ...hit, score: (hit.score * bests[index]!) / best } : hit)));
  return joined.sort((a, b) => b.score - a.score);
}

const byTime = (a: Observation, b: Observation): number => b.createdAt - a.createdAt;

function beginningWith(id: string, all: ReadonlyMap<string, Observation>): Observation | undefined {
  if (id === "") return undefined;
  const found = [...all.keys()].filter((known) => known.startsWith(id));
  return found.length === 1 ? all.get(found[0] as string) : undefined;
}

/** Changes with what fresh observations there are and what they say. */
const markOf = (observations: Readonly<Record<string, Observation>>): string => createHash("sha256").update(JSON.stringify(observations)).digest("hex");
