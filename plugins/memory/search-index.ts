import { createHash } from "node:crypto";
import { dayWords, findTimes, type NamedTime, timeWords } from "./dates.ts";
import { type Filterable, hasField, passesFilter } from "./filter.ts";
import type { Filter } from "./memory.ts";
import type { Observation } from "./observation.ts";
import type { Bm25, Doc, Field, Postings, Scores } from "./postings.ts";
import type { Condition, ParsedQuery, QueryTerm, TextField } from "./query.ts";
import { foldText, readSequence, readWords } from "./words.ts";

/** Where the index is kept. `read` gives nothing where there is no file; `write` replaces the whole of it or nothing. */
export interface IndexFile {
  read(): Promise<Uint8Array | undefined>;
  write(bytes: Uint8Array): Promise<void>;
}

/** An observation that fits, with what the ranking needs. */
export interface Candidate {
  id: string;
  /** BM25 over the weighted fields, neighbours included; 0 where it is there for its vector or its filter alone. */
  words: number;
  /** 0 to 1: how much of the query it has, rare words counting more. */
  coverage: number;
  vector?: number;
  /** It is of the time that the query names. */
  timely: boolean;
  createdAt: number;
  /** Later in the order of the store. */
  order: number;
  importance: number;
  supersededBy?: string;
  conflictsWith?: string[];
}

export interface IndexQuery {
  filter?: Filter;
  /** Reads observations for phrases, titles and the nearness of words; those that there are not are left out. */
  read(ids: string[]): Promise<Observation[]>;
  /** Cosines by id; those observations are candidates too. */
  vectors?: ReadonlyMap<string, number>;
  /** Hits that are wanted: some more are returned, as age and importance have their say yet. 100 by default. */
  limit?: number;
}

/** The words of one project's observations. It never holds anything but what `sync` gave it. */
export interface SearchIndex {
  readonly size: number;
  /** What the caller said of a part when it was last brought up to date. */
  markOf(part: string): string | undefined;
  readonly parts: string[];
  /**
   * Makes it hold exactly these of one part (a segment of the archive, the inbox): what is new is added, what differs replaced,
   * what is not among them removed, unless another part has taken it since. Returns whether anything changed.
   */
  sync(part: string, mark: string, observations: readonly Observation[]): boolean;
  /** Forgets parts that there are no more. */
  dropParts(parts: string[]): void;
  remove(ids: string[]): void;
  search(query: ParsedQuery, options: IndexQuery): Promise<Candidate[]>;
  /** Writes the file where something changed since; what was removed is then in no byte of it. */
  save(): Promise<void>;
  /** Why the file was not used: it is then empty and wants everything anew. */
  readonly rebuilt: "missing" | "damaged" | "outdated" | undefined;
}

interface Entry extends Filterable {
  part: string;
  /** Of its content. */
  print: string;
  importance: number;
  /** Somebody says it: the words it is about are often in what was said before. */
  spoken: boolean;
  supersededBy?: string;
  conflictsWith?: string[];
}

/** What the ranking by words is made of; chosen by measurement, see docs/memory.md "Figures". */
export interface Weights {
  /** Of BM25: saturation, length, and the floor of a word that is there (BM25+). */
  k: number;
  b: number;
  d: number;
  /** How many times a word counts by where it stands. */
  title: number;
  subtitle: number;
  facts: number;
  tags: number;
  /** The person who speaks, where the query names them; and the same name when others say it. */
  speaker: number;
  mention: number;
  /** The record's own time, and times that its text names. */
  date: number;
  said: number;
  /** What entries before and after it in its session add: one and two away. */
  before: [number, number];
  after: [number, number];
  /** What they add of a word that the entry has itself. */
  repeated: number;
  /** A time or a number in the text of an entry, where one is asked for. */
  asked: number;
  /** Two words of the query that stand together. */
  near: number;
  /** What an observation of the time that the query names has over others: 0.5 is half as much again. */
  timely: number;
}

export const WEIGHTS: Weights = {
  k: 1.2,
  b: 0.4,
  d: 0.5,
  title: 3,
  subtitle: 1,
  facts: 2,
  tags: 2,
  speaker: 2,
  mention: 0.3,
  date: 1,
  said: 1,
  before: [0.4, 0.35],
  after: [0.25, 0.2],
  repeated: 0.5,
  asked: 1,
  near: 0.25,
  timely: 0.5,
};

const VERSION = 1;
const SPEAKER = /^\s*([\p{Lu}][\p{L}\p{M}.'’-]*(?: [\p{Lu}][\p{L}\p{M}.'’-]*){0,2}|user|assistant|human|system):\s/u;
const NUMBER = /\b(?:\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twice|once|couple)\b/i;
/** Marks of what a text holds; no word looks like them. */
const HAS_TIME = "#time";
const HAS_NUMBER = "#number";
const PREFIX_LENGTH = 4;
const FUZZY_LENGTH = 5;
/** What a word that was guessed counts as found. */
const GUESSED = 0.5;
const MORE = 200;
/** So many of the best are read for words that stand together. */
const NEAR_READ = 20;

export async function openSearchIndex({ project, file, weights = WEIGHTS }: { project: string; file: IndexFile; weights?: Weights }): Promise<SearchIndex> {
  const { Postings } = await import("./postings.ts");
  const bytes = await file.read();
  const loaded = bytes === undefined ? "missing" : readIndex(bytes, project);
  const index = new WordIndex({ Postings, project, file, weights });
  if (typeof loaded === "string") index.rebuilt = loaded;
  else index.restore(loaded);
  return index;
}

interface Saved {
  parts: Record<string, string>;
  entries: [number, Entry][];
  next: number;
  postings: object;
}

/** One line `{version, project, sha256}`, then the index as JSON. */
function readIndex(bytes: Uint8Array, project: string): Saved | "damaged" | "outdated" {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = buffer.indexOf(10);
  if (end < 0) return "damaged";
  try {
    const head = JSON.parse(buffer.toString("utf8", 0, end));
    if (head.version !== VERSION || head.project !== project) return "outdated";
    const body = buffer.subarray(end + 1);
    return head.sha256 === hashOf(body) ? JSON.parse(body.toString("utf8")) : "damaged";
  } catch {
    return "damaged";
  }
}

const hashOf = (data: string | Uint8Array) => createHash("sha256").update(data).digest("base64url");

class WordIndex implements SearchIndex {
  rebuilt: SearchIndex["rebuilt"];
  #marks = new Map<string, string>();
  #entries = new Map<number, Entry>();
  #byId = new Map<string, number>();
  #next = 0;
  #changed = false;
  #postings: Postings;
  #neighbours: Neighbours | undefined;
  readonly #options: { Postings: typeof Postings; project: string; file: IndexFile; weights: Weights };

  constructor(options: { Postings: typeof Postings; project: string; file: IndexFile; weights: Weights }) {
    this.#options = options;
    this.#postings = new options.Postings();
  }

  get size() {
    return this.#entries.size;
  }

  get parts() {
    return [...this.#marks.keys()];
  }

  markOf(part: string) {
    return this.#marks.get(part);
  }

  restore({ parts, entries, next, postings }: Saved): void {
    this.#postings = this.#options.Postings.restore(postings);
    this.#marks = new Map(Object.entries(parts));
    this.#entries = new Map(entries);
    for (const [order, { id }] of entries) this.#byId.set(id, order);
    this.#next = next;
  }

  sync(part: string, mark: string, observations: readonly Observation[]): boolean {
    const before = this.#next;
    let touched = this.#marks.get(part) !== mark;
    const here = new Set(observations.map(({ id }) => id));
    for (const entry of [...this.#entries.values()])
      if (entry.part === part && !here.has(entry.id)) {
        this.remove([entry.id]);
        touched = true;
      }
    for (const observation of observations) touched = this.#put(part, observation) || touched;
    this.#marks.set(part, mark);
    this.#changed ||= touched;
    return touched || this.#next !== before;
  }

  dropParts(parts: string[]): void {
    const gone = new Set(parts);
    this.remove([...this.#entries.values()].filter(({ part }) => gone.has(part)).map(({ id }) => id));
    for (const part of parts) this.#changed = this.#marks.delete(part) || this.#changed;
  }

  remove(ids: string[]): void {
    for (const id of ids) {
      const order = this.#byId.get(id);
      if (order === undefined) continue;
      this.#postings.discard(order);
      this.#entries.delete(order);
      this.#byId.delete(id);
      this.#touch();
    }
  }

  #touch(): void {
    this.#changed = true;
    this.#neighbours = undefined;
  }

  /** Whether anything changed. What is replaced keeps its place in the order. */
  #put(part: string, observation: Observation): boolean {
    const entry = makeEntry(part, observation);
    const order = this.#byId.get(observation.id);
    const known = order === undefined ? undefined : this.#entries.get(order);
    if (known?.print === entry.print && known.part === part) return false;
    const place = order ?? this.#next++;
    this.#entries.set(place, entry);
    this.#byId.set(observation.id, place);
    if (known?.print !== entry.print) {
      const doc = makeDoc(place, observation, this.#options.weights);
      if (known === undefined) this.#postings.add(doc);
      else this.#postings.replace(doc);
    }
    this.#touch();
    return true;
  }

  async save(): Promise<void> {
    if (!this.#changed) return;
    // What was discarded stands in the index until then.
    if (this.#postings.dirtCount > 0) await this.#postings.vacuum({ batchSize: Number.MAX_SAFE_INTEGER, batchWait: 0 });
    const { parts, entries } = { parts: Object.fromEntries(this.#marks), entries: [...this.#entries] };
    const body = JSON.stringify({ parts, entries, next: this.#next, postings: this.#postings.toJSON() } satisfies Saved);
    const head = JSON.stringify({ version: VERSION, project: this.#options.project, sha256: hashOf(body) });
    this.#changed = false;
    await this.#options.file.write(Buffer.from(`${head}\n${body}`));
  }

  async search(query: ParsedQuery, { filter = {}, read, vectors = new Map(), limit = 100 }: IndexQuery): Promise<Candidate[]> {
    const allowed = await this.#allow(query, filter, read);
    const isPlain = query.terms.length > 0;
    let found = isPlain ? this.#score(query, allowed) : new Map<number, Found>();
    // Filters alone, or nothing at all: everything that is allowed.
    if (!isPlain && (query.condition !== undefined || query.text.trim() === "")) for (const order of allowed) found.set(order, { words: 0, coverage: 1 });
    found = this.#cut(found, 3 * limit + MORE);
    for (const [id, cosine] of vectors) {
      const order = this.#byId.get(id);
      if (order !== undefined && allowed.has(order)) found.set(order, { words: 0, coverage: 0, ...found.get(order), vector: cosine });
    }
    for (const order of [...found.keys()]) this.#addSuperseding(order, found, allowed);
    await this.#addNearness(query, found, read);
    return [...found].map(([order, result]) => this.#candidate(order, result, query));
  }

  /** The best by their words, of the same words the newest. */
  #cut(found: Map<number, Found>, most: number): Map<number, Found> {
    if (found.size <= most) return found;
    const least = Float64Array.from(found.values(), ({ words }) => words).sort()[found.size - most]!;
    const at = (order: number) => this.#entries.get(order)!.at;
    const better = [...found].filter(([, { words }]) => words > least);
    const equal = [...found].filter(([, { words }]) => words === least).sort(([a], [b]) => at(b) - at(a) || b - a);
    return new Map([...better, ...equal.slice(0, most - better.length)]);
  }

  #candidate(order: number, result: Found, query: ParsedQuery): Candidate {
    const { id, at, importance, supersededBy, conflictsWith } = this.#entries.get(order)!;
    const timely = isOfTime(at, query.times);
    return { id, ...result, timely, createdAt: at, order, importance, ...(supersededBy && { supersededBy }), ...(conflictsWith && { conflictsWith }) };
  }

  /** What has taken the place of a hit is a hit, whatever its words. */
  #addSuperseding(order: number, found: Map<number, Found>, allowed: ReadonlySet<number>): void {
    const next = this.#byId.get(this.#entries.get(order)?.supersededBy ?? "");
    if (next === undefined || found.has(next) || !allowed.has(next)) return;
    found.set(next, { words: 0, coverage: 0 });
    this.#addSuperseding(next, found, allowed);
  }

  async #allow({ condition }: ParsedQuery, filter: Filter, read: IndexQuery["read"]): Promise<Set<number>> {
    const isOpen = Object.values(filter).every((wanted) => wanted === undefined);
    const allowed = new Set<number>(isOpen ? this.#entries.keys() : []);
    if (!isOpen) for (const [order, entry] of this.#entries) if (passesFilter(entry, filter)) allowed.add(order);
    if (condition === undefined) return allowed;
    return this.#meet(condition, allowed, read);
  }

  /** Those of `among` that satisfy the condition. */
  async #meet(condition: Condition, among: Set<number>, read: IndexQuery["read"]): Promise<Set<number>> {
    switch (condition.kind) {
      case "field":
        return keep(among, (order) => hasField(this.#entries.get(order)!, condition.field, condition.value));
      case "time":
        return keep(among, (order) => this.#entries.get(order)!.at >= condition.since && this.#entries.get(order)!.at <= condition.until);
      case "not": {
        const met = await this.#meet(condition.of, among, read);
        return keep(among, (order) => !met.has(order));
      }
      case "all": {
        let met = among;
        for (const inner of condition.of) met = await this.#meet(inner, met, read);
        return met;
      }
      case "any": {
        const met = new Set<number>();
        for (const inner of condition.of) for (const order of await this.#meet(inner, among, read)) met.add(order);
        return met;
      }
      default:
        return this.#meetWords(condition, among, read);
    }
  }

  async #meetWords(
    { kind, terms, sequence, within }: Extract<Condition, { sequence: string[] }>,
    among: Set<number>,
    read: IndexQuery["read"],
  ): Promise<Set<number>> {
    let met = among;
    for (const term of terms) {
      const list = this.#having(term);
      met = keep(met, (order) => list.of(order) > 0);
    }
    if (kind === "words" && within === undefined) return met;
    const isMet = (observation: Observation) =>
      textsOf(observation, within).some((text) => (kind === "phrase" ? hasPhrase(readSequence(text), sequence) : hasAll(text, terms)));
    const passed = new Set((await this.#read(met, read)).filter(isMet).map(({ id }) => this.#byId.get(id)!));
    return keep(met, (order) => passed.has(order));
  }

  async #read(orders: Iterable<number>, read: IndexQuery["read"]): Promise<Observation[]> {
    const ids = [...orders].map((order) => this.#entries.get(order)!.id);
    return ids.length === 0 ? [] : read(ids);
  }

  #bm25(): Bm25 {
    const { k, b, d } = this.#options.weights;
    return { k, b, d, size: this.#next };
  }

  /** Of a word as it stands, wherever. */
  #having(term: string): Scores {
    return this.#postings.scores(term, { text: 1, who: 1, date: 1, said: 1 }, this.#bm25());
  }

  /** Scores of one term. A word that nobody wrote is looked up as the beginning of one, then as a slip of the keyboard. */
  #lookUp({ term, kind }: QueryTerm): { scores: Scores; sort: "time" | "name" | "word" | "guess" } {
    const [{ weights }, bm25] = [this.#options, this.#bm25()];
    const scores = (boosts: Partial<Record<Field, number>>) => this.#postings.scores(term, boosts, bm25);
    if (kind === "time") return { scores: scores({ date: weights.date, said: weights.said }), sort: "time" };
    if (scores({ who: 1 }).ids.length > 0) return { scores: scores({ who: weights.speaker, text: weights.mention }), sort: "name" };
    const exact = scores({ text: 1 });
    if (exact.ids.length > 0 || kind !== "word") return { scores: exact, sort: "word" };
    const begun = term.length < PREFIX_LENGTH ? exact : this.#postings.guesses(term, bm25, 0);
    if (begun.ids.length > 0) return { scores: begun, sort: "guess" };
    return { scores: term.length < FUZZY_LENGTH ? exact : this.#postings.guesses(term, bm25, term.length < 8 ? 1 : 2), sort: "guess" };
  }

  /**
   * s(d) = Σ of the terms: its own score, and parts of those of the entries before and after it in its session, as an answer often
   * stands beside the words of the question. Without a word of its own only what somebody says is found. Neighbours count
   * whether they are allowed or not.
   */
  #score({ terms, asks, times }: ParsedQuery, allowed: ReadonlySet<number>): Map<number, Found> {
    const [words, masses, has] = [new Float64Array(this.#next), new Float64Array(this.#next), new Uint8Array(this.#next)];
    let whole = 0;
    for (const term of terms) {
      const { scores, sort } = this.#lookUp(term);
      // Whoever is asked about by name is known; a time says nothing of what is asked.
      const mass = sort === "time" ? 0 : term.weight * this.#rarity(sort === "name" ? 0 : scores.ids.length);
      whole += mass;
      const sure = sort === "guess" ? mass * GUESSED : mass;
      for (const order of scores.ids) {
        words[order]! += term.weight * scores.of(order);
        masses[order]! += sure;
        has[order] = 1;
      }
      if (sort === "word" || sort === "guess") this.#spread(scores, { weight: term.weight, mass: sure / 2, words, masses });
    }
    const { asked, timely } = this.#options.weights;
    for (const mark of [asks.when && HAS_TIME, asks.count && HAS_NUMBER])
      if (mark) {
        const scores = this.#having(mark);
        for (const order of scores.ids) if (words[order]! > 0) words[order]! += asked * scores.of(order);
      }
    const found = new Map<number, Found>();
    for (const order of allowed) {
      if (words[order]! === 0) continue;
      const { at, spoken } = this.#entries.get(order)!;
      if (has[order] === 0 && !spoken) continue;
      const favour = isOfTime(at, times) ? 1 + timely : 1;
      found.set(order, { words: words[order]! * favour, coverage: whole === 0 ? 1 : masses[order]! / whole });
    }
    return found;
  }

  #rarity(matching: number): number {
    return Math.log(1 + (this.size - matching + 0.5) / (matching + 0.5));
  }

  /** What the entries that have a word give to those beside them. */
  #spread(scores: Scores, { weight, mass, words, masses }: { weight: number; mass: number; words: Float64Array; masses: Float64Array }): void {
    const { before, after, repeated } = this.#options.weights;
    this.#neighbours ??= findNeighbours(this.#entries, this.#next);
    const { previous, next } = this.#neighbours;
    const seen = new Uint8Array(this.#next);
    const give = (order: number, score: number) => {
      if (order < 0 || score === 0) return;
      const has = scores.of(order) > 0;
      words[order]! += weight * score * (has ? repeated : 1);
      if (has || seen[order] === 1) return;
      seen[order] = 1;
      masses[order]! += mass;
    };
    for (const order of scores.ids) {
      const score = scores.of(order);
      // What comes before an entry is seen by it as "before": the one after gets `before`.
      const [left, right] = [previous[order]!, next[order]!];
      give(right, before[0] * score);
      give(left, after[0] * score);
      if (right >= 0) give(next[right]!, before[1] * score);
      if (left >= 0) give(previous[left]!, after[1] * score);
    }
  }

  /** Two words that stand together in the query and in the text are worth more than the two alone (sequential dependence). */
  async #addNearness({ terms }: ParsedQuery, found: Map<number, Found>, read: IndexQuery["read"]): Promise<void> {
    const plain = terms.filter(({ kind }) => kind === "word").map(({ term }) => term);
    const { near } = this.#options.weights;
    if (plain.length < 2 || near === 0) return;
    const best = [...found]
      .filter(([, { words }]) => words > 0)
      .sort(([, a], [, b]) => b.words - a.words)
      .slice(0, NEAR_READ);
    const rarities = new Map(plain.map((term) => [term, this.#rarity(this.#postings.scores(term, { text: 1 }, this.#bm25()).ids.length)]));
    for (const observation of await this.#read(
      best.map(([order]) => order),
      read,
    )) {
      const result = found.get(this.#byId.get(observation.id)!)!;
      const sequences = textsOf(observation).map((text) => readWords(text).map(({ term }) => term));
      for (const [i, second] of plain.entries()) {
        const first = plain[i - 1];
        if (first === undefined || !sequences.some((sequence) => standTogether(sequence, first, second))) continue;
        result.words += near * Math.min(rarities.get(first)!, rarities.get(second)!);
      }
    }
  }
}

interface Found {
  words: number;
  coverage: number;
  vector?: number;
}

/** By the order of an entry that of the one before and after it in its session; -1 is none. */
interface Neighbours {
  previous: Int32Array;
  next: Int32Array;
}

/** Entries of a session by time; of one time in the order in which they came. */
function findNeighbours(entries: ReadonlyMap<number, Entry>, size: number): Neighbours {
  const sessions = new Map<string, number[]>();
  for (const [order, { session }] of entries) {
    const list = sessions.get(session);
    if (list === undefined) sessions.set(session, [order]);
    else list.push(order);
  }
  const neighbours = { previous: new Int32Array(size).fill(-1), next: new Int32Array(size).fill(-1) };
  for (const session of sessions.values()) {
    session.sort((a, b) => entries.get(a)!.at - entries.get(b)!.at || a - b);
    for (const [i, order] of session.entries()) {
      neighbours.previous[order] = session[i - 1] ?? -1;
      neighbours.next[order] = session[i + 1] ?? -1;
    }
  }
  return neighbours;
}

function isOfTime(at: number, times: NamedTime[]): boolean {
  return times.some(({ from, to, month }) => (month === undefined ? at >= from! && at < to! : new Date(at).getUTCMonth() === month));
}

function keep(among: Set<number>, isKept: (order: number) => boolean): Set<number> {
  const kept = new Set<number>();
  for (const order of among) if (isKept(order)) kept.add(order);
  return kept;
}

function makeEntry(part: string, observation: Observation): Entry {
  const { id, type, concepts, title, narrative, filesRead, filesModified, sessionId, createdAt, trust, importance, supersededBy, conflictsWith } = observation;
  return {
    id,
    part,
    print: hashOf(JSON.stringify(observation)).slice(0, 12),
    type,
    concepts,
    files: [...new Set([...filesModified, ...filesRead])],
    session: sessionId,
    at: createdAt,
    trust,
    importance,
    spoken: SPEAKER.test(narrative === "" ? title : narrative),
    ...(supersededBy !== undefined && { supersededBy }),
    ...(conflictsWith !== undefined && { conflictsWith }),
  };
}

/** The texts of an observation, each by itself: a phrase does not reach from one into the next. */
function textsOf(observation: Observation, within?: TextField): string[] {
  if (within !== undefined) return [observation[within]].flat();
  const { title, subtitle, facts, narrative, symbols, filesModified, filesRead, concepts, summary } = observation;
  return [title, subtitle, ...facts, narrative, ...symbols, ...filesModified, ...filesRead, ...concepts, ...Object.values(summary ?? {})].filter(
    (text) => text !== "",
  );
}

function makeDoc(order: number, observation: Observation, weights: Weights): Doc {
  const { type, title, subtitle, facts, narrative, concepts, symbols, filesModified, filesRead, summary, createdAt } = observation;
  // A title that is all there is counts as a narrative that is all there is.
  const isAlone = narrative === "" && subtitle === "" && facts.length === 0;
  const whole = isAlone ? title : narrative;
  const [opening = "", speaker = ""] = SPEAKER.exec(whole) ?? [];
  const told = whole.slice(opening.length);
  const heading = isAlone || repeatsNarrative(title, narrative) ? "" : title;
  const times = (text: string, count: number) =>
    repeat(
      readWords(text).map(({ term }) => term),
      count,
    );
  const tags = [type, ...symbols, ...concepts, ...filesModified, ...filesRead];
  const body = [told, subtitle, ...facts, ...Object.values(summary ?? {})].join("\n");
  return {
    id: order,
    text: [
      ...times(heading, weights.title),
      ...times(subtitle, weights.subtitle),
      ...facts.flatMap((fact) => times(fact, weights.facts)),
      ...times(told, 1),
      ...Object.values(summary ?? {}).flatMap((text) => times(text, 1)),
      ...tags.flatMap((tag) => times(tag, weights.tags)),
    ],
    who: readWords(speaker).map(({ term }) => term),
    date: dayWords(createdAt),
    said: saidWords(`${heading}\n${body}`, createdAt),
  };
}

function saidWords(text: string, at: number): string[] {
  const named = findTimes(text, at);
  return [...named.flatMap(timeWords), ...(named.length > 0 ? [HAS_TIME] : []), ...(NUMBER.test(text) ? [HAS_NUMBER] : [])];
}

/** Imports make a title of the beginning of the narrative: it says nothing twice. */
function repeatsNarrative(title: string, narrative: string): boolean {
  const start = foldText(title)
    .replace(/(?:…|\.\.\.)$/, "")
    .trim();
  return (
    start !== "" &&
    foldText(narrative.slice(0, start.length + 64))
      .replace(/\s+/g, " ")
      .includes(start.replace(/\s+/g, " "))
  );
}

const repeat = (terms: string[], times: number): string[] => Array.from({ length: times }, () => terms).flat();

function hasAll(text: string, terms: string[]): boolean {
  const there = new Set(readWords(text).map(({ term }) => term));
  return terms.every((term) => there.has(term));
}

function hasPhrase(text: string[], phrase: string[]): boolean {
  return text.some((_, start) => phrase.every((word, i) => text[start + i] === word));
}

/** In this order, with one word between them at most. */
function standTogether(sequence: string[], first: string, second: string): boolean {
  return sequence.some((term, i) => term === first && (sequence[i + 1] === second || sequence[i + 2] === second));
}
