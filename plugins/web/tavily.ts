import type { SearchProvider, ServiceOptions } from "./search-provider.ts";
import { askService, keyAdvice, readHits, readJson, searchFailed } from "./search-request.ts";

const ENDPOINT = "https://api.tavily.com/search";
const KEYS = keyAdvice("tavily", "https://app.tavily.com");

/** Tavily's search API. */
export const tavily = ({ apiKey, url = ENDPOINT }: ServiceOptions): SearchProvider => ({
  name: "tavily",
  async search(query, { numResults, fetch, signal }) {
    if (!apiKey) throw searchFailed("tavily", "it has no key", KEYS);
    const headers = { authorization: `Bearer ${apiKey}` };
    const body = { query, max_results: numResults };
    const response = await askService({ service: "tavily", url: new URL(url), fetch, signal, headers, body, keyAdvice: KEYS });
    const { results } = (await readJson(response, "tavily", signal)) ?? {};
    return readHits(results, "tavily", { date: "published_date", textsOf: ({ content }) => [content] });
  },
});
