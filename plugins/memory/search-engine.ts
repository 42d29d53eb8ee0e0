import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { PluginContext } from "agent-runtime";
import { type Cleaning, cleaningOf } from "./cleaning.ts";
import type { Filter, Hit, SearchRequest } from "./memory.ts";
import type { Observation } from "./observation.ts";
import type { ObservationSource, SearchEngine } from "./open-memory.ts";
import type { MemoryOptions } from "./options.ts";
import { withoutPrivate } from "./private-text.ts";
import { type ParsedQuery, parseQuery } from "./query.ts";
import { type Ranked, rankCandidates } from "./rank.ts";
import { type Candidate, type IndexFile, openSearchIndex, type SearchIndex } from "./search-index.ts";
import { createTrouble } from "./trouble.ts";
import type { Vectors } from "./vectors.ts";

export interface SearchNeeds {
  context: Pick<PluginContext, "ask" | "report" | "redact">;
  /** As they are now. */
  options(): MemoryOptions;
  /** Asked only where the options name a model of embeddings. */
  vectors(): Promise<Vectors>;
  /** ms since 1970 */
  now(): number;
  signal: AbortSignal;
}

/** Hits that come from the vectors. */
const NEAREST = 50;
/** Those that are looked at once more: which of them is out of date, and what a reranker says. */
const BEST = 20;

/** Searches one project by words, and by what the options add. The index is a file beside the store; what has changed since is read when somebody searches. */
export async function createSearchEngine(source: ObservationSource, needs: SearchNeeds): Promise<SearchEngine> {
  const index = await openSearchIndex({ project: source.project, file: indexFile(source.indexDir) });
  return new Engine(index, source, needs);
}

class Engine implements SearchEngine {
  readonly #index: SearchIndex;
  readonly #source: ObservationSource;
  readonly #needs: SearchNeeds;
  readonly #cleaning: Cleaning;
  readonly #trouble: ReturnType<typeof createTrouble>;
  /** Searches of one index come one after the other: they bring it up to date. */
  #line: Promise<unknown> = Promise.resolve();

  constructor(index: SearchIndex, source: ObservationSource, needs: SearchNeeds) {
    this.#index = index;
    this.#source = source;
    this.#needs = needs;
    this.#cleaning = cleaningOf(() => needs.context);
    const report = (message: string) => needs.context.report(message);
    this.#trouble = createTrouble({ report, now: needs.now, what: "reranking fails, so hits stay in the order in which they were found" });
  }

  search(request: SearchRequest): Promise<Hit[]> {
    return this.#next(async () => {
      await this.#update();
      const query = this.#clean(request.query);
      return query === "" && request.query.trim() !== "" ? [] : this.#search({ ...request, query });
    });
  }

  reindex(): Promise<number> {
    return this.#next(async () => {
      this.#index.dropParts(this.#index.parts);
      await this.#update();
      return this.#index.size;
    });
  }

  async close(): Promise<void> {
    await this.#line.catch(() => {});
  }

  /** Models are shown it, so it is cleaned like what is kept. */
  #clean = (query: string): string => this.#cleaning.redact(withoutPrivate(query).text).trim();

  #next<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#line.catch(() => {}).then(run);
    this.#line = done;
    return done;
  }

  /** Where only the inbox has changed the file stays: the inbox is small, and read again by whoever needs it. */
  async #update(): Promise<void> {
    const parts = await this.#source.parts();
    const gone = this.#index.parts.filter((part) => !parts.some(({ name }) => name === part));
    let isWorthSaving = gone.length > 0;
    this.#index.dropParts(gone);
    for (const { name, mark } of parts) {
      if (this.#index.markOf(name) === mark) continue;
      this.#index.sync(name, mark, Object.values(await this.#source.read(name)));
      isWorthSaving ||= name !== "inbox";
      // Whoever waits for this has a time limit, and a clock that has to be able to strike.
      await setImmediate();
    }
    // An index that cannot be written is made again by the next process.
    if (isWorthSaving) await this.#index.save().catch(() => {});
  }

  async #search({ query, limit = 20, project: _, ...filter }: SearchRequest): Promise<Hit[]> {
    const { search } = this.#needs.options();
    const parsed = parseQuery(query, this.#needs.now());
    const vectors = search.embeddings === undefined ? undefined : await this.#nearest(parsed, filter);
    const found = await this.#index.search(parsed, { filter, read: (ids) => this.#read(ids), limit, ...(vectors && { vectors }) });
    const how = { query: parsed, now: this.#needs.now(), halfLifeDays: search.halfLifeDays };
    const most = { ...how, limit: Math.max(limit, BEST) };
    const candidates = await this.#linkBest(found, rankCandidates(found, most));
    const ranked = rankCandidates(candidates, most);
    const observations = new Map((await this.#read(ranked.map(({ id }) => id))).map((each) => [each.id, each]));
    const hits = (list: Ranked[]) => list.flatMap((each) => toHit(each, observations, this.#source.project)).slice(0, limit);
    if (search.rerank === undefined || parsed.text.trim() === "") return hits(ranked);
    const scores = await this.#rerank(query, [...observations.values()], search.rerank);
    return hits(scores.size === 0 ? ranked : rankCandidates(candidates, { ...how, rerank: scores }));
  }

  /** Of the best those that are out of date stand behind what replaces them, also where nobody has consolidated them yet; of two that conflict the older one, if it has no more of the query. */
  async #linkBest(candidates: Candidate[], ranked: Ranked[]): Promise<Candidate[]> {
    const best = (await this.#read(ranked.slice(0, BEST).map(({ id }) => id))).filter(({ supersededBy }) => supersededBy === undefined);
    const { findContradictions } = await import("./contradictions.ts");
    const { superseded, conflicts } = findContradictions(best);
    const coverage = new Map(candidates.map((one) => [one.id, one.coverage]));
    const weaker = conflicts.filter(([older, newer]) => coverage.get(older.id)! <= coverage.get(newer.id)!);
    const links = new Map([...weaker, ...superseded].map(([older, newer]) => [older.id, newer.id]));
    return candidates.map((one) => {
      const next = links.get(one.id);
      return next === undefined ? one : { ...one, supersededBy: next };
    });
  }

  async #nearest({ text }: ParsedQuery, filter: Filter): Promise<ReadonlyMap<string, number> | undefined> {
    const [vectors, { matchesFilter }] = [await this.#needs.vectors(), await import("./filter.ts")];
    const among = [...(await this.#readAll()).values()].filter((each) => matchesFilter(each, filter));
    const found = await vectors.nearest(text, { among, limit: NEAREST, signal: this.#needs.signal });
    return found && new Map(found.map(({ id, cosine }) => [id, cosine]));
  }

  async #rerank(query: string, hits: Observation[], model: string | string[]): Promise<ReadonlyMap<string, number>> {
    const [{ rerank }, { signal }] = [await import("./rerank.ts"), this.#needs];
    if (this.#trouble.isPaused()) return new Map();
    const reranked = await this.#trouble.guard(async () => {
      const { scores, failure } = await rerank({ query, hits, model, ask: this.#needs.context.ask, signal });
      if (failure !== undefined) throw new Error(failure);
      return scores;
    }, signal);
    return reranked ?? new Map();
  }

  async #readAll(): Promise<Map<string, Observation>> {
    const all = new Map<string, Observation>();
    for (const { name } of await this.#source.parts()) for (const each of Object.values(await this.#source.read(name))) all.set(each.id, each);
    return all;
  }

  /** From the newest part on, and no further than is needed. */
  async #read(ids: string[]): Promise<Observation[]> {
    const found = new Map<string, Observation>();
    for (const { name } of (await this.#source.parts()).reverse()) {
      if (found.size === ids.length) break;
      const part = await this.#source.read(name);
      for (const id of ids) if (!found.has(id) && part[id] !== undefined) found.set(id, part[id]);
    }
    return ids.flatMap((id) => found.get(id) ?? []);
  }
}

function toHit({ id, score, parts }: Ranked, observations: ReadonlyMap<string, Observation>, project: string): Hit[] {
  const observation = observations.get(id);
  return observation === undefined ? [] : [{ observation, project, score, parts }];
}

const indexFile = (dir: string): IndexFile => ({
  read: () => readFile(join(dir, "words")).catch(() => undefined),
  async write(bytes) {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const made = join(dir, `words.${process.pid}.tmp`);
    try {
      await writeFile(made, bytes, { mode: 0o600 });
      await rename(made, join(dir, "words"));
    } catch (error) {
      await rm(made, { force: true });
      throw error;
    }
  },
});
