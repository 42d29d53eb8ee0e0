import { AgentError, type GuardedFetch, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { findResultsFault, type SearchContext, type SearchProvider, type SearchResult } from "./search-provider.ts";

const [SEARCH_SECONDS, CODE_SECONDS] = [25, 30];
const MOST_RESULTS = 20;
/** Characters of one hit, where the web is searched. */
const [TITLE_LENGTH, URL_LENGTH, EXCERPT_LENGTH] = [200, 2_000, 1_500];
/** Characters that are taken for a token. */
const TOKEN_LENGTH = 4;

const query = z.string().trim().min(1);

/** Where searches go. `allowPrivateHosts`: the host of a service that a person has named. */
export interface SearchPlace {
  /** A person has chosen a service: then models are told of the tools without more ado. */
  isConfigured: boolean;
  load(): Promise<SearchProvider>;
  allowPrivateHosts: string[];
}

export const websearch = (place: SearchPlace): Tool =>
  tool({
    name: "websearch",
    description: "Search the web. Returns titles, URLs and excerpts; webfetch reads a page.",
    input: z.object({ query, numResults: z.number().int().min(1).max(MOST_RESULTS).optional() }),
    effect: "net",
    optional: !place.isConfigured,
    patterns: ({ query }) => [query],
    run: ({ query, numResults = 8 }, context) =>
      searchWithin(SEARCH_SECONDS, place, context, async (provider, options) => {
        const hits = await search(provider, query, { ...options, numResults });
        return toResult(query, provider, { hits, excerptLength: EXCERPT_LENGTH });
      }),
  });

export const codesearch = (place: SearchPlace): Tool =>
  tool({
    name: "codesearch",
    description: "Search for code examples and documentation of libraries and APIs.",
    input: z.object({ query, tokensNum: z.number().int().min(1_000).max(50_000).optional() }),
    effect: "net",
    optional: !place.isConfigured,
    patterns: ({ query }) => [query],
    run: ({ query, tokensNum = 5_000 }, context) => searchWithin(CODE_SECONDS, place, context, (...asked) => searchCode(query, tokensNum, ...asked)),
  });

async function searchCode(query: string, tokens: number, provider: SearchProvider, options: SearchContext): Promise<ToolResult> {
  const length = tokens * TOKEN_LENGTH;
  const code: unknown = await provider.code?.(query, { ...options, tokens });
  if (typeof code === "string") return { output: shorten(code, length) || nothingFound(query, provider), title: query, metadata: { provider: provider.name } };
  const numResults = Math.min(MOST_RESULTS, Math.max(3, Math.round(tokens / 1_000)));
  const hits = await search(provider, `${query} code example documentation`, { ...options, numResults });
  const result = toResult(query, provider, { hits, excerptLength: Math.round(length / numResults) });
  return { ...result, output: `${result.output}\n\n(${provider.name} has no search for code: this is what a search of the web finds.)` };
}

type Work = (provider: SearchProvider, options: SearchContext) => Promise<ToolResult>;

/** Ends with the call or its time limit, whether the provider heeds that or not. */
async function searchWithin(seconds: number, { load, allowPrivateHosts }: SearchPlace, context: ToolContext, work: Work): Promise<ToolResult> {
  const [provider, { asSearchFailure, searchFailed }] = await Promise.all([load(), import("./search-request.ts")]);
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(searchFailed(provider.name, `it took longer than ${seconds} s`)), seconds * 1_000);
  const signal = AbortSignal.any([context.signal, limit.signal]);
  const fetch: GuardedFetch = (url, init) => context.fetch(url, { timeoutMs: seconds * 1_000, signal, allowPrivateHosts, ...init });
  const ended = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
  try {
    return await Promise.race([work(provider, { fetch, signal }), ended]);
  } catch (error) {
    throw asSearchFailure(provider.name, error, signal);
  } finally {
    clearTimeout(timer);
  }
}

async function search(provider: SearchProvider, query: string, options: SearchContext & { numResults: number }): Promise<SearchResult[]> {
  const hits = await provider.search(query, options);
  const fault = findResultsFault(hits);
  if (fault !== undefined) throw new AgentError("SEARCH_FAILED", { provider: provider.name, reason: fault });
  return hits.slice(0, options.numResults);
}

function toResult(query: string, provider: SearchProvider, { hits, excerptLength }: { hits: SearchResult[]; excerptLength: number }): ToolResult {
  const lines = hits.map(({ title, url, publishedAt = "", text }, index) => {
    const heads = [shorten(title, TITLE_LENGTH), shorten(url, URL_LENGTH), shorten(publishedAt, TITLE_LENGTH)].map((head) => head.replace(/\s+/g, " "));
    return `${index + 1}. ${[...heads, shorten(text, excerptLength)].filter((part) => part !== "").join("\n")}`;
  });
  return { output: lines.join("\n\n") || nothingFound(query, provider), title: query, metadata: { provider: provider.name, results: hits.length } };
}

const nothingFound = (query: string, { name }: SearchProvider): string => `${name} found nothing for "${query}". Try other or fewer words.`;

function shorten(text: string, length: number): string {
  const shown = text
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
  return shown.length > length
    ? `${shown
        .slice(0, length)
        .replace(/[\ud800-\udbff]$/, "")
        .trimEnd()}…`
    : shown;
}
