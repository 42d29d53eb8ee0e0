import { definePlugin, z } from "agent-runtime";
import { isSearchProvider, type SearchProvider, type ServiceOptions } from "./search-provider.ts";
import { webfetch } from "./webfetch.ts";
import { codesearch, type SearchPlace, websearch } from "./websearch.ts";

/** The search services that come with the plugin. */
const SERVICES = {
  exa: async (options: ServiceOptions) => (await import("./exa.ts")).exa(options),
  brave: async (options: ServiceOptions) => (await import("./brave.ts")).brave(options),
  searxng: async (options: ServiceOptions) => (await import("./searxng.ts")).searxng(options),
  tavily: async (options: ServiceOptions) => (await import("./tavily.ts")).tavily(options),
};

type Service = keyof typeof SERVICES;

const isService = (value: unknown): value is Service => typeof value === "string" && Object.hasOwn(SERVICES, value);
const PROVIDER = `one of ${Object.keys(SERVICES).join(", ")}, or an object { name, search(query, options), code?(query, options) }`;

const search = z
  .strictObject({
    provider: z.custom<Service | SearchProvider>((value) => isService(value) || isSearchProvider(value), `it is ${PROVIDER}`).optional(),
    apiKey: z.string().optional(),
    url: z.url({ protocol: /^https?$/, error: "it is an address that begins with http:// or https://" }).optional(),
  })
  .refine(({ provider, url }) => provider !== "searxng" || url !== undefined, "searxng needs the url of a server");

const HOST = /^(?:[^\s/*:]+(?::\d{1,5})?|[\d.]+\/(?:[12]?\d|3[0-2])|[\da-f:.]*:[\da-f:.]*(?:\/(?:\d{1,2}|1[01]\d|12[0-8]))?)$/i;
const host = z.string().regex(HOST, 'it is a name, an address or a range: "wiki.corp", "wiki.corp:3000", "10.0.0.7", "10.0.0.0/8"');

const options = z.strictObject({ allowPrivateHosts: z.array(host).optional(), search: search.optional() });

export default definePlugin({
  name: "web",
  options,
  setup({ options: { allowPrivateHosts = [], search } }) {
    const place = placeOf(search);
    return { tools: [webfetch(allowPrivateHosts), websearch(place), codesearch(place)] };
  },
});

function placeOf(configured?: z.infer<typeof search>): SearchPlace {
  const { provider, url, apiKey } = configured ?? {};
  return {
    isConfigured: configured !== undefined,
    load: async () => (isSearchProvider(provider) ? provider : SERVICES[provider ?? "exa"]({ url, apiKey })),
    // Who sets the address means that host, wherever it is.
    allowPrivateHosts: url === undefined ? [] : [hostOf(new URL(url))],
  };
}

const hostOf = ({ hostname, port, protocol }: URL): string => `${hostname.replace(/^\[|\]$/g, "")}:${port || (protocol === "https:" ? 443 : 80)}`;
