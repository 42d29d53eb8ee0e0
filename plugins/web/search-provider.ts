import type { GuardedFetch } from "agent-runtime";

/** One hit. All of it is plain text. */
export interface SearchResult {
  title: string;
  url: string;
  /** What the page says of the query: an excerpt or a summary. */
  text: string;
  /** A date or a time, as the service writes it. */
  publishedAt?: string;
}

export interface SearchContext {
  /** HTTP to public addresses, and to the host of the option `url`. Ends with the signal. */
  fetch: GuardedFetch;
  /** Aborts with the call, and when the time of a search is over. */
  signal: AbortSignal;
}

/** What the tools `websearch` and `codesearch` ask. A method throws to fail: the model reads the message. */
export interface SearchProvider {
  name: string;
  /** At most `numResults` hits, the best first. */
  search(query: string, options: SearchContext & { numResults: number }): Promise<SearchResult[]>;
  /** About so many tokens of code and documentation; undefined where the service has none, and the web is searched instead. */
  code?(query: string, options: SearchContext & { tokens: number }): Promise<string | undefined>;
}

/** What a search service is set up with. */
export interface ServiceOptions {
  apiKey?: string | undefined;
  /** Takes the place of the service's own address. */
  url?: string | undefined;
}

export function isSearchProvider(value: unknown): value is SearchProvider {
  const { name, search, code } = (value ?? {}) as Partial<SearchProvider>;
  return typeof name === "string" && name.trim() !== "" && typeof search === "function" && (code === undefined || typeof code === "function");
}

/** Why these are no results, or undefined. */
export function findResultsFault(results: unknown): string | undefined {
  const isResult = (hit: Partial<SearchResult> | null) => [hit?.title, hit?.url, hit?.text].every((text) => typeof text === "string");
  return Array.isArray(results) && results.every(isResult) ? undefined : "what it found is not a list of { title, url, text }.";
}
