import type { SearchProvider, ServiceOptions } from "./search-provider.ts";
import { askService, keyAdvice, readHits, readJson, searchFailed } from "./search-request.ts";

const ENDPOINT = "https://api.search.brave.com/res/v1/web/search";
const KEYS = keyAdvice("brave", "https://api-dashboard.search.brave.com");

/** The web search of Brave's API. */
export const brave = ({ apiKey, url = ENDPOINT }: ServiceOptions): SearchProvider => ({
  name: "brave",
  async search(query, { numResults, fetch, signal }) {
    if (!apiKey) throw searchFailed("brave", "it has no key", KEYS);
    const address = new URL(url);
    address.searchParams.set("q", query);
    address.searchParams.set("count", String(numResults));
    const response = await askService({ service: "brave", url: address, fetch, signal, headers: { "x-subscription-token": apiKey }, keyAdvice: KEYS });
    const { web, type } = (await readJson(response, "brave", signal)) ?? {};
    const textsOf = ({ description, extra_snippets: more }: any) => [description, ...(Array.isArray(more) ? more : [])];
    // Where it finds nothing there is no such part.
    const results = web === undefined && type === "search" ? [] : web?.results;
    return readHits(results, "brave", { date: "page_age", textsOf });
  },
});
