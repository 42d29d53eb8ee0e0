import type { Observation } from "./observation.ts";
import type { WorkItem } from "./work-item.ts";

/** Which observations; what is left out does not narrow. All of what is named must hold. */
export interface Filter {
  type?: string | undefined;
  concept?: string | undefined;
  /** A path, or the folder or the last parts of one. */
  file?: string | undefined;
  /** Id of a session, or its beginning. */
  session?: string | undefined;
  /** ms since 1970, both included. */
  since?: number | undefined;
  until?: number | undefined;
  trust?: Observation["trust"] | undefined;
}

export interface SearchRequest extends Filter {
  /** Words; "a phrase"; AND, OR, NOT, -word, brackets; title:word, type:x, file:path, concept:x. */
  query: string;
  /** 20 by default. */
  limit?: number;
  /** Of another project, or of all of them with "*". */
  project?: string | undefined;
}

/** Why a hit stands where it stands. All are 0 to 1 but `words`, `vector` and `rerank`, which are there where they were asked. */
export interface ScoreParts {
  /** BM25 over the weighted fields, neighbours included. */
  words: number;
  /** Cosine of the embeddings. */
  vector?: number;
  /** Reciprocal rank fusion of the two lists, k = 60. */
  fused?: number;
  rerank?: number;
  recency: number;
  importance: number;
}

export interface Hit {
  observation: Observation;
  project: string;
  score: number;
  parts: ScoreParts;
}

/** What shall be forgotten; at least one. All of what is named must hold. */
export interface Forgetting {
  ids?: string[] | undefined;
  /** A tool, a URL or the beginning of one, a path, a command: see `source` of an observation. */
  source?: string | undefined;
  session?: string | undefined;
  /** Words that stand in it, case aside. */
  match?: string | undefined;
}

export interface Forgotten {
  observations: string[];
  /** Work that was not done yet, turns of extractors, texts of sessions. */
  others: number;
}

/** How the memory does: numbers for `agent memory stats`. */
export interface MemoryStats {
  project: string;
  observations: number;
  summaries: number;
  sessions: number;
  untrusted: number;
  byType: Record<string, number>;
  queue: { pending: number; leased: number; dead: number };
  /** Calls that were left out, by reason. */
  skipped: Record<string, number>;
  /** Of extraction, since the store began. */
  requests: number;
  tokens: { input: number; output: number };
  costUsd: number;
  /** Failures of extraction in a row, with the last reason. */
  failing?: { failures: number; since: number; reason: string };
  bytes: number;
}

/** The memory of one project. Every method opens what it needs, and nothing else. */
export interface Memory {
  /** Id of the project: its folder's name and a hash of its path. */
  readonly project: string;
  /** Newest first. */
  list(filter: Filter & { limit?: number; project?: string | undefined }): Promise<Observation[]>;
  /** By id, or by the beginning of one that fits only one. In the order asked; those that there are not are left out. */
  get(ids: string[]): Promise<Observation[]>;
  /** They were given to a model: what is used fades more slowly. */
  noteUse(ids: readonly string[]): Promise<void>;
  /** How often each was used, of those that were. */
  uses(): Promise<ReadonlyMap<string, number>>;
  /** Best first. */
  search(request: SearchRequest): Promise<Hit[]>;
  /** Stores them; those that are there already stay as they are. Returns the ids, in order, and how many were new. */
  add(observations: Observation[]): Promise<{ ids: string[]; added: number }>;
  /** Puts changed ones in their place. */
  change(observations: Observation[]): Promise<void>;
  /** Removes everywhere: store, index, journal, quarantined copies, queue, extractor's conversation. */
  forget(what: Forgetting, options?: { dryRun?: boolean }): Promise<Forgotten>;
  queue(): Promise<WorkItem[]>;
  /** Dead letters become pending again; all of them without ids. Returns how many. */
  retry(ids?: string[]): Promise<number>;
  stats(): Promise<MemoryStats>;
  /** Merges near-duplicates, links what is superseded; nothing is deleted. */
  consolidate(options?: { dryRun?: boolean }): Promise<ConsolidationReport>;
  /** Rewrites the files of the store without what is out of date. */
  compact(): Promise<void>;
  /** Builds the search index anew. Returns how many observations it holds. */
  reindex(): Promise<number>;
  close(): Promise<void>;
}

export interface ConsolidationReport {
  /** [the one that stays, what it took in] */
  merged: [string, string[]][];
  /** [the old one, the new one] */
  superseded: [string, string][];
  conflicts: [string, string][];
}
