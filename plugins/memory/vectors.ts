import { createHash } from "node:crypto";
import type { PluginContext } from "agent-runtime";
import type { Observation } from "./observation.ts";
import { createTrouble, PAUSE_MS } from "./trouble.ts";

/** What keeping vectors takes of the plugin's context. */
export interface VectorNeeds extends Pick<PluginContext, "openStore" | "embed" | "report"> {
  /** Id of the project. */
  project: string;
  /** `provider/model` as the options have it now; undefined: no embeddings. */
  model(): string | undefined;
  /** ms since 1970 */
  now(): number;
}

export interface FillOptions {
  signal: AbortSignal;
  /** Observations that are embedded at most; all of them by default. */
  limit?: number;
}

export interface Vectors {
  /** Embeds those that have no vector of this model and this text. Returns how many; what fails is told once, and is no reason to stop. */
  fill(observations: readonly Observation[], options: FillOptions): Promise<number>;
  /** The nearest by cosine, best first; undefined where there are no embeddings, or they fail. Embeds a few of those that are missing. */
  nearest(query: string, options: NearestOptions): Promise<{ id: string; cosine: number }[] | undefined>;
  /** Of two observations, by id; undefined where a vector is missing. Sends nothing. */
  cosines(): Promise<(a: string, b: string) => number | undefined>;
  /** Removes them everywhere. */
  forget(ids: readonly string[]): Promise<void>;
}

export interface NearestOptions {
  /** Those that may be found. */
  among: readonly Observation[];
  limit: number;
  signal: AbortSignal;
}

/** One vector as it lies in a store. */
interface Kept {
  model: string;
  dimensions: number;
  /** Of the text, so that one that was changed is embedded again. */
  text: string;
  /** Float32, little endian, in base64; of length 1. */
  vector: string;
}

interface Shelf {
  vectors: Kept;
  about: { shelves: number };
}

const VERSION = 1;
const SHELF = 1_000;
/** Embedded in one go, and by a search at most. */
const BATCH = 96;
/** Characters of an observation that are embedded: models read 512 tokens and more. */
const LONGEST = 2_000;
/** What a search waits for embeddings. */
const QUERY_MS = 5_000;

interface Loaded {
  vector: Float32Array;
  model: string;
  text: string;
  shelf: number;
}

/** The vectors of one project: stores of 1,000 each, read when first needed. Whatever fails, words are still there. */
export function createVectors(needs: VectorNeeds): Vectors {
  const trouble = createTrouble({ report: needs.report, now: needs.now, what: "embeddings fail, so memory is searched by words alone" });
  /** Until then a search embeds its query alone. */
  let onlyQueryUntil = 0;
  const { load, reload, missing, fill } = createShelves(needs);
  return {
    async fill(observations, { signal, limit = observations.length }) {
      const model = needs.model();
      if (model === undefined || trouble.isPaused()) return 0;
      return (await trouble.guard(async () => fill((await missing(observations, model)).slice(0, limit), model, signal), signal)) ?? 0;
    },
    async nearest(query, { among, limit, signal }) {
      const model = needs.model();
      if (model === undefined || query.trim() === "" || trouble.isPaused()) return undefined;
      const limited = AbortSignal.any([signal, AbortSignal.timeout(QUERY_MS)]);
      return trouble.guard(async () => {
        const { vectors } = await needs.embed({ model, texts: [query.slice(0, LONGEST)], signal: limited });
        const asked = toUnit(vectors[0]!);
        // What of them cannot be embedded now is not found by its meaning now.
        const wanted = needs.now() < onlyQueryUntil ? [] : await missing(among, model, asked.length);
        await fill(wanted.slice(0, BATCH), model, limited).catch(() => {
          signal.throwIfAborted();
          onlyQueryUntil = needs.now() + PAUSE_MS;
        });
        return findNearest(asked, { among, limit, model, loaded: await load() });
      }, signal);
    },
    async cosines() {
      const loaded = needs.model() === undefined ? new Map<string, Loaded>() : await load();
      return (a, b) => cosineOf(loaded.get(a), loaded.get(b));
    },
    async forget(ids) {
      // Anew: another process may have written some.
      const loaded = await reload();
      // A copy of a damaged shelf may hold what its shelf does not any more.
      for (const shelf of new Set([...loaded.values()].map((one) => one.shelf))) await removeFrom(await openShelf(needs, shelf, "shared"), ids);
      for (const id of ids) loaded.delete(id);
    },
  };
}

/** What is kept, and how more comes to it. */
function createShelves(needs: VectorNeeds) {
  let loading: Promise<Map<string, Loaded>> | undefined;
  const load = () => (loading ??= loadAll(needs));
  const missing = async (observations: readonly Observation[], model: string, dimensions?: number) => {
    const loaded = await load();
    return observations.filter((one) => !isCurrent(loaded.get(one.id), one, { model, dimensions }));
  };
  const fill = async (observations: readonly Observation[], model: string, signal: AbortSignal) => {
    for (let from = 0; from < observations.length; from += BATCH) {
      const batch = observations.slice(from, from + BATCH);
      const { vectors } = await needs.embed({ model, texts: batch.map(textOf), signal });
      const fresh = batch.map((one, index) => [one.id, { vector: toUnit(vectors[index]!), model, text: hashOf(one) }] as const);
      await keep(fresh, await load(), needs);
    }
    return observations.length;
  };
  const reload = () => (loading = loadAll(needs));
  return { load, reload, missing, fill };
}

type Place = Pick<VectorNeeds, "openStore" | "project">;

const openShelf = ({ openStore, project }: Place, shelf: number, access: "shared" | "read") =>
  openStore<Shelf>(`projects/${project}/vectors/${shelf}`, { version: VERSION, defaults: { vectors: {}, about: {} }, access });

type OpenShelf = Awaited<ReturnType<typeof openShelf>>;

const ABOUT = "shelves";

async function loadAll(place: Place): Promise<Map<string, Loaded>> {
  const loaded = new Map<string, Loaded>();
  for (let shelf = 0, shelves = 1; shelf < shelves; shelf++) {
    const store = await openShelf(place, shelf, "read");
    shelves = Math.max(shelves, store.get("about", ABOUT)?.shelves ?? 1);
    for (const [id, { vector, model, text }] of Object.entries(store.all("vectors"))) loaded.set(id, { vector: decode(vector), model, text, shelf });
    await store.close();
  }
  return loaded;
}

type Fresh = readonly (readonly [id: string, vector: Omit<Loaded, "shelf">])[];

/** Each goes where the one before it lay, a new one onto the last shelf that has room. */
async function keep(fresh: Fresh, loaded: Map<string, Loaded>, place: Place): Promise<void> {
  const counts: number[] = [];
  for (const { shelf } of loaded.values()) counts[shelf] = (counts[shelf] ?? 0) + 1;
  const byShelf = new Map<number, [string, Omit<Loaded, "shelf">][]>();
  for (const [id, vector] of fresh) {
    let shelf = loaded.get(id)?.shelf ?? Math.max(0, counts.length - 1);
    if (!loaded.has(id) && (counts[shelf] ?? 0) >= SHELF) shelf++;
    if (!loaded.has(id)) counts[shelf] = (counts[shelf] ?? 0) + 1;
    byShelf.set(shelf, [...(byShelf.get(shelf) ?? []), [id, vector]]);
    loaded.set(id, { ...vector, shelf });
  }
  for (const [shelf, vectors] of byShelf) {
    if (shelf > 0) await noteShelves(place, shelf + 1);
    await change(await openShelf(place, shelf, "shared"), (store) => {
      for (const [id, { vector, model, text }] of vectors) store.put("vectors", id, { model, dimensions: vector.length, text, vector: encode(vector) });
    });
  }
}

/** Before the shelf is written: one that nobody knows of would never be read. */
async function noteShelves(place: Place, shelves: number): Promise<void> {
  await change(await openShelf(place, 0, "shared"), (store) => {
    if ((store.get("about", ABOUT)?.shelves ?? 1) < shelves) store.put("about", ABOUT, { shelves });
  });
}

async function change(store: OpenShelf, make: (store: OpenShelf) => void): Promise<void> {
  try {
    make(store);
    await store.write();
  } finally {
    await store.close();
  }
}

async function removeFrom(store: OpenShelf, ids: readonly string[]): Promise<void> {
  try {
    for (const id of ids) store.remove("vectors", id);
    await store.erase();
  } finally {
    await store.close();
  }
}

const textOf = ({ title, subtitle, facts, narrative }: Observation): string =>
  [title, subtitle, ...facts, narrative]
    .filter((part) => part !== "")
    .join("\n")
    .slice(0, LONGEST) ||
  title ||
  "-";

const hashOf = (observation: Observation): string => createHash("sha256").update(textOf(observation)).digest("hex").slice(0, 16);

/** The same name may lead to another model one day: then its vectors have another length. */
function isCurrent(loaded: Loaded | undefined, observation: Observation, { model, dimensions }: { model: string; dimensions: number | undefined }): boolean {
  if (loaded === undefined || loaded.model !== model || loaded.text !== hashOf(observation)) return false;
  return dimensions === undefined || loaded.vector.length === dimensions;
}

/** A vector of length 1, so that a product of two is their cosine. One of zeros stays as it is, and is near to nothing. */
function toUnit(vector: readonly number[]): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return Float32Array.from(vector, (value) => (length === 0 ? 0 : value / length));
}

function encode(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString("base64");
}

function decode(text: string): Float32Array {
  const bytes = Buffer.from(text, "base64");
  return Float32Array.from({ length: bytes.length >> 2 }, (_, index) => bytes.readFloatLE(index * 4));
}

function product(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function cosineOf(a: Loaded | undefined, b: Loaded | undefined): number | undefined {
  if (a === undefined || b === undefined || a.model !== b.model || a.vector.length !== b.vector.length) return undefined;
  return product(a.vector, b.vector);
}

interface Among extends Pick<NearestOptions, "among" | "limit"> {
  model: string;
  loaded: ReadonlyMap<string, Loaded>;
}

/** Every vector is looked at: 10,000 of 768 dimensions take about 10 ms. What is opposite, or stands at a right angle, is near to nothing. */
function findNearest(query: Float32Array, { among, limit, model, loaded }: Among): { id: string; cosine: number }[] {
  const found = among.flatMap(({ id }) => {
    const one = loaded.get(id);
    if (one === undefined || one.model !== model || one.vector.length !== query.length) return [];
    const cosine = product(query, one.vector);
    return cosine > 0 ? [{ id, cosine }] : [];
  });
  return found.sort((a, b) => b.cosine - a.cosine || (a.id < b.id ? -1 : 1)).slice(0, limit);
}
