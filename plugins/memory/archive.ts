import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AgentError, type PluginContext } from "agent-runtime";
import { bytesIn, namesIn, stampOf } from "./directory.ts";
import type { Observation } from "./observation.ts";
import { PROJECTS } from "./project.ts";

const TAKES_NOTHING = "the disk takes nothing.";

type SegmentData = { observations: Observation };
type SegmentStore = Awaited<ReturnType<typeof openSegment>>;

/** What a segment holds, so that most need not be read to know that something is not in them. */
interface Row {
  /** Short hashes of their sessions. Never fewer than there are. */
  sessions: string[];
  /** ms since 1970: the youngest. Never older than it is. */
  newest: number;
}

/** Observations of a segment, by id. */
export type Segment = Readonly<Record<string, Observation>>;

/** One that goes into the archive. `replaces`: it takes the place of the one with its id; otherwise that one stays, with this one's provenance. */
export interface Filing {
  observation: Observation;
  replaces: boolean;
}

const MAX_SEGMENT = 1_000;

const openSegment = (context: Pick<PluginContext, "openStore">, project: string, segment: string, access: "read" | "exclusive") =>
  context.openStore<SegmentData>(`${archiveName(project)}/${segment}`, { version: 1, defaults: { observations: {} }, access });

export const archiveName = (project: string): string => `${PROJECTS}/${project}/archive`;

/**
 * What has settled, in stores of at most a thousand: `archive/<n>`. Read lazily, one after the other, and again when its files
 * have changed. Everything that writes is for whoever has the lock "change"; it is durable when it returns, and throws where
 * the disk takes nothing.
 */
export class Archive {
  readonly #context: Pick<PluginContext, "openStore">;
  readonly #project: string;
  readonly #dir: string;
  readonly #read = new Map<string, { stamp: string; observations: Segment }>();

  /** `dataDir`: of the plugin. */
  constructor(context: Pick<PluginContext, "openStore">, project: string, dataDir: string) {
    this.#context = context;
    this.#project = project;
    this.#dir = join(dataDir, ...archiveName(project).split("/"));
  }

  /** Oldest first, each with a stamp that changes with what it holds. */
  segments(): { name: string; stamp: string }[] {
    return this.#names().map((name) => ({ name, stamp: this.#stampOf(name) }));
  }

  /** The observations of a segment. */
  async segment(name: string): Promise<Segment> {
    const stamp = this.#stampOf(name);
    const known = this.#read.get(name);
    if (known?.stamp === stamp) return known.observations;
    const store = await openSegment(this.#context, this.#project, name, "read");
    const observations = store.all("observations");
    await store.close();
    this.#read.set(name, { stamp, observations });
    return observations;
  }

  /** All of them, segment by segment. */
  async *all(): AsyncGenerator<{ name: string; observations: Segment }> {
    for (const name of this.#names()) yield { name, observations: await this.segment(name) };
  }

  /** The same, those with the youngest first; none in `newest` or behind it is younger than that. */
  async *youngest(): AsyncGenerator<{ newest: number; observations: Segment }> {
    const rows = await this.#rows();
    const names = this.#names().map((name) => ({ name, newest: rows[name]?.newest ?? Number.POSITIVE_INFINITY }));
    for (const { name, newest } of names.sort((a, b) => b.newest - a.newest)) yield { newest, observations: await this.segment(name) };
  }

  /** Those of these ids, in no order. `sessions`: theirs, where they are known: then only segments with one of them are read. */
  async find(ids: ReadonlySet<string>, sessions?: Iterable<string>): Promise<Observation[]> {
    const found: Observation[] = [];
    for (const name of await this.#candidates(sessions)) {
      const observations = await this.segment(name);
      for (const id of ids) if (observations[id] !== undefined) found.push(observations[id]);
    }
    return found;
  }

  /** Puts them where they belong. The same once more changes nothing, so a filing that was killed is done again. */
  async file(filings: readonly Filing[]): Promise<void> {
    const left = new Map(filings.map((filing) => [filing.observation.id, filing]));
    const names = this.#names();
    const candidates = new Set([...(await this.#candidates([...left.values()].map(({ observation }) => observation.sessionId))), ...names.slice(-1)]);
    for (const name of names) {
      if (!candidates.has(name) || left.size === 0) continue;
      const present = await this.segment(name);
      const here = [...left.keys()].filter((id) => present[id] !== undefined);
      if (here.length > 0) await this.#change(name, (store) => placeAll(store, here, left));
    }
    await this.#append([...left.values()].map(({ observation }) => observation));
  }

  async #append(observations: Observation[]): Promise<void> {
    let rest = observations;
    let number = Number(this.#names().at(-1) ?? 1);
    while (rest.length > 0) {
      const name = String(number);
      const room = MAX_SEGMENT - Object.keys(this.#names().includes(name) ? await this.segment(name) : {}).length;
      const some = rest.slice(0, Math.max(0, room));
      rest = rest.slice(some.length);
      if (some.length > 0) await this.#change(name, (store) => some.forEach((each) => void store.put("observations", each.id, each)));
      number++;
    }
  }

  /** Takes them out. Their bytes are in the files until their segments are erased. */
  async remove(ids: ReadonlySet<string>): Promise<void> {
    for (const name of this.#names()) {
      const present = await this.segment(name);
      const here = [...ids].filter((id) => present[id] !== undefined);
      if (here.length === 0) continue;
      await this.#change(name, (store) => here.forEach((id) => void store.remove("observations", id)));
    }
  }

  /** Whether its files hold these words, case aside, be it in what was removed or replaced long ago. */
  hasBytes(name: string, words: string): boolean {
    const wanted = JSON.stringify(words).slice(1, -1).toLowerCase();
    const dir = join(this.#dir, name);
    return namesIn(dir).some((file) => readFileSync(join(dir, file), "utf8").toLowerCase().includes(wanted));
  }

  /** Rewrites a segment without what is out of date. Whether it has. */
  async erase(name: string): Promise<boolean> {
    if (!this.#names().includes(name)) return true;
    const store = await openSegment(this.#context, this.#project, name, "exclusive");
    try {
      return await store.erase();
    } finally {
      await store.close();
      this.#read.delete(name);
    }
  }

  bytes(): number {
    return bytesIn(this.#dir);
  }

  #names(): string[] {
    return namesIn(this.#dir)
      .filter((name) => /^\d+$/.test(name))
      .sort((a, b) => Number(a) - Number(b));
  }

  #stampOf = (name: string): string => stampOf(join(this.#dir, name));

  /** Segments that may hold something of these sessions: those that say so, and those that the catalogue does not know. */
  async #candidates(sessions: Iterable<string> | undefined): Promise<string[]> {
    const names = this.#names();
    if (sessions === undefined || names.length === 0) return names;
    const hashes = [...new Set([...sessions].map(hashOf))];
    const rows = await this.#rows();
    return names.filter((name) => rows[name] === undefined || hashes.some((hash) => rows[name]?.sessions.includes(hash)));
  }

  async #rows(): Promise<Readonly<Record<string, Row>>> {
    const catalogue = await this.#openCatalogue("read");
    await catalogue.close();
    return catalogue.all("segments");
  }

  #openCatalogue(access: "read" | "exclusive") {
    return this.#context.openStore<{ segments: Row }>(`${archiveName(this.#project)}/catalogue`, { version: 1, defaults: { segments: {} }, access });
  }

  /** The catalogue is told first what may come: one too many costs a read, one too few a duplicate. */
  async #change(name: string, change: (store: SegmentStore) => void): Promise<void> {
    const store = await openSegment(this.#context, this.#project, name, "exclusive");
    try {
      change(store);
      await this.#note(name, Object.values(store.all("observations")));
      await store.sync();
      if (!store.persisted) throw new AgentError("STORE_UNWRITABLE", { path: this.#dir, reason: store.unreadable ?? TAKES_NOTHING });
    } finally {
      await store.close();
      this.#read.delete(name);
    }
  }

  async #note(name: string, observations: Observation[]): Promise<void> {
    const catalogue = await this.#openCatalogue("exclusive");
    const before = catalogue.get("segments", name);
    const sessions = [...new Set([...(before?.sessions ?? []), ...observations.map(({ sessionId }) => hashOf(sessionId))])];
    const newest = observations.reduce((most, { createdAt }) => Math.max(most, createdAt), before?.newest ?? 0);
    if (before?.sessions.length === sessions.length && before.newest === newest) return catalogue.close();
    catalogue.put("segments", name, { sessions, newest });
    await catalogue.sync();
    const { persisted } = catalogue;
    await catalogue.close();
    if (!persisted) throw new AgentError("STORE_UNWRITABLE", { path: this.#dir, reason: TAKES_NOTHING });
  }
}

function placeAll(store: SegmentStore, ids: string[], left: Map<string, Filing>): void {
  for (const id of ids) {
    const { observation, replaces } = left.get(id) as Filing;
    const present = store.get("observations", id) as Observation;
    const next = replaces ? observation : withProvenance(present, observation);
    if (next !== present) store.put("observations", id, next);
    left.delete(id);
  }
}

/** The first that said it stays, and keeps from which other calls it came. */
export function withProvenance(present: Observation, again: Observation): Observation {
  const known = new Set([present.callId, ...(present.merged ?? []).filter(({ id }) => id === present.id).map(({ callId }) => callId)]);
  if (known.has(again.callId)) return present;
  const { id, title, sessionId, callId, createdAt } = again;
  return { ...present, merged: [...(present.merged ?? []), { id, title, sessionId, ...(callId !== undefined && { callId }), createdAt }] };
}

const hashOf = (sessionId: string): string => createHash("sha256").update(sessionId).digest("hex").slice(0, 8);
