import type { SearchProvider, ServiceOptions } from "./search-provider.ts";
import { askService, readHits, readJson, searchFailed } from "./search-request.ts";

const FORMATS = 'Its settings.yml must list json: "search: formats: [html, json]".';

/** A SearXNG server; `url` is its address. */
export const searxng = ({ apiKey, url }: ServiceOptions): SearchProvider => ({
  name: "searxng",
  async search(query, { fetch, signal }) {
    const address = new URL(url ?? "");
    if (!address.pathname.endsWith("/search")) address.pathname = `${address.pathname.replace(/\/$/, "")}/search`;
    address.searchParams.set("q", query);
    address.searchParams.set("format", "json");
    const headers = { ...(apiKey && { authorization: `Bearer ${apiKey}` }) };
    const response = await askService({ service: "searxng", url: address, fetch, signal, headers, keyAdvice: FORMATS });
    const { results, unresponsive_engines: silent } = (await readJson(response, "searxng", signal)) ?? {};
    const hits = readHits(results, "searxng", { date: "publishedDate", textsOf: ({ content }) => [content] });
    if (hits.length === 0 && Array.isArray(silent) && silent.length > 0)
      throw searchFailed("searxng", `its engines do not answer: ${silent.map((engine) => String(engine).replace(",", ": ")).join(", ")}`);
    return hits;
  },
});
