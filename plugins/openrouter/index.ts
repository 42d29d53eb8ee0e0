import {
  AgentError,
  type Config,
  definePlugin,
  embeddingModel,
  fetchModelList,
  type LanguageModel,
  type ModelInfo,
  type Provider,
  provider,
  withExactToolCalls,
  withLimits,
  withMergedDeltas,
  z,
} from "agent-runtime";
import { withCacheMarks } from "./cache-marks.ts";

const BASE_URL = "https://openrouter.ai/api/v1";
const SITE_URL = "https://github.com/agent-runtime/agent-runtime";
const APP_NAME = "agent-runtime";
/** Options that go into the body of a request as they are; openrouter.ai/docs/api-reference describes them. */
const BODY_OPTIONS = ["models", "provider", "plugins", "transforms", "reasoning", "route", "user"];

/** What the configuration says of single models, by their ids. */
type Models = NonNullable<NonNullable<Config["provider"]>[string]["models"]>;

type Options = Record<string, unknown> & { apiKey?: string; baseURL?: string; headers?: Record<string, unknown> };

/** Variables and the option that each one sets. */
const VARIABLES = {
  OPENROUTER_BASE_URL: "baseURL",
  OPENROUTER_SITE_URL: "siteUrl",
  OPENROUTER_APP_NAME: "appName",
  OPENROUTER_MAX_TOKENS: "maxTokens",
  OPENROUTER_TEMPERATURE: "temperature",
  OPENROUTER_TIMEOUT: "timeoutSeconds",
  OPENROUTER_DEFAULT_MODEL: "defaultModel",
  OPENROUTER_MAX_CONTEXT_MESSAGES: "maxContextMessages",
};

function refuseOption(name: string, reason: string): never {
  const variable = Object.entries(VARIABLES).find(([, option]) => option === name)?.[0];
  throw new AgentError("OPTION_INVALID", { option: `provider.openrouter.options.${name}${variable === undefined ? "" : ` (${variable})`}`, reason });
}

/** A number of an option, which the environment gives as text; undefined where it is not set. */
function readNumber(options: Options, name: string, { least, isWhole = false }: { least: number; isWhole?: boolean }): number | undefined {
  const value = options[name];
  if (value === undefined || value === null || value === "" || value === false) return undefined;
  const number = Number(value);
  if (Number.isFinite(number) && number >= least && (!isWhole || Number.isInteger(number))) return number;
  return refuseOption(name, `${JSON.stringify(value)} is not a ${isWhole ? "whole " : ""}number from ${least} up.`);
}

/** A header holds no line break and no letter beyond ASCII. */
const toHeader = (text: string): string => text.replace(/[^\x20-\x7e]+/g, encodeURIComponent);

const MOST_CATEGORIES = 2;

/** Of the app, as OpenRouter sorts it; it passes over those that it does not know. */
function readCategories({ categories }: Options): string | undefined {
  const list = (typeof categories === "string" ? categories.split(",") : [categories || []].flat())
    .map((category) => String(category).trim())
    .filter((category) => category !== "");
  const odd = list.find((category) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(category) || category.length > 30);
  if (odd !== undefined) return refuseOption("categories", `${JSON.stringify(odd)} is not lower-case words joined by hyphens, of 30 characters at most.`);
  if (list.length > MOST_CATEGORIES) return refuseOption("categories", `it has ${list.length}; OpenRouter takes ${MOST_CATEGORIES}.`);
  return list.length === 0 ? undefined : list.join(",");
}

/** OpenRouter's attribution: who asks. `false` leaves a header out. */
function attribution(options: Options): Record<string, string> {
  const { siteUrl, appName, headers } = options;
  const categories = readCategories(options);
  const site = siteUrl === false || siteUrl === "false" ? undefined : toHeader(String(siteUrl || SITE_URL));
  const name = appName === false || appName === "false" ? undefined : toHeader(String(appName || APP_NAME));
  const all = {
    ...(site && { "HTTP-Referer": site }),
    ...(name && { "X-Title": name, "X-OpenRouter-Title": name }),
    ...(categories && { "X-OpenRouter-Categories": categories }),
    ...headers,
  };
  const refused = Object.entries(headers ?? {})
    .filter(([, value]) => value === false)
    .map(([key]) => key.toLowerCase());
  return Object.fromEntries(Object.entries(all).filter(([key]) => !refused.includes(key.toLowerCase()))) as Record<string, string>;
}

function baseOf(options: Options): string {
  // A base URL is often copied with the path of its one endpoint.
  const base = String(options.baseURL || BASE_URL).replace(/\/*(\/chat\/completions|\/embeddings)?\/*$/i, "");
  return URL.canParse(base) && /^https?:/i.test(base) ? base : refuseOption("baseURL", `"${base}" is not a URL of http or https.`);
}

/** OpenRouter's own routers are ids of its vendor "openrouter": `openrouter/auto` names the model `openrouter/auto`. */
const toApiId = (id: string): string => (id.includes("/") ? id : `openrouter/${id}`);

interface CallDefaults {
  maxOutputTokens: number | undefined;
  temperature: number | undefined;
  headers: Record<string, string>;
}

/** What the request itself says counts; these fill in. */
function withDefaults(model: LanguageModel, { maxOutputTokens, temperature, headers }: CallDefaults): LanguageModel {
  const doStream: LanguageModel["doStream"] = (call) =>
    model.doStream({
      ...call,
      maxOutputTokens: call.maxOutputTokens ?? maxOutputTokens,
      temperature: call.temperature ?? temperature,
      headers: { ...headers, ...call.headers },
    });
  return { ...model, doStream };
}

interface ListedModel {
  id: string;
  name?: string;
  context_length?: number | null;
  pricing?: Record<string, unknown>;
  supported_parameters?: string[];
}

/** Listed in USD per token, as text; -1 means that it varies. */
function perMillion(value: unknown): number | undefined {
  const price = value === undefined || value === null || value === "" ? Number.NaN : Number(value);
  return price >= 0 ? Number((price * 1e6).toPrecision(12)) : undefined;
}

function toModelInfo({ id, name, context_length: context, pricing = {}, supported_parameters: parameters }: ListedModel): ModelInfo {
  const [input, output] = [perMillion(pricing.prompt), perMillion(pricing.completion)];
  const [cacheRead, cacheWrite] = [perMillion(pricing.input_cache_read), perMillion(pricing.input_cache_write)];
  const price =
    input === undefined || output === undefined
      ? undefined
      : { input, output, ...(cacheRead !== undefined && { cacheRead }), ...(cacheWrite !== undefined && { cacheWrite }) };
  return { id, ...(name && { name }), ...(context && { context }), ...(price && { price }), ...(parameters && { tools: parameters.includes("tools") }) };
}

/** Gemini and Anthropic sign what they think and want it back in the next step of a run; the package looks for it there. */
const describeReasoning: NonNullable<Parameters<typeof withExactToolCalls>[1]>["describeReasoning"] = (details) => ({
  openrouter: { reasoning_details: details as never },
});

/** A list of models is OpenRouter's to choose from: with limits.freeOnly nothing in it may cost. */
function refusePaid(options: Options, models: Models): void {
  const lists = [options.models, ...Object.values(models).map((own) => own?.options?.models)];
  const paid = lists.flat().find((id) => id !== undefined && !String(id).endsWith(":free"));
  if (paid !== undefined) throw new AgentError("MODEL_NOT_FREE", { id: `openrouter/${paid}` });
}

/** `models` have options of their own, which go into the body of their requests. */
const createModels =
  (models: Models, freeOnly: boolean): Provider["create"] =>
  async (options, { fetch }) => {
    if (freeOnly) refusePaid(options, models);
    const seconds = readNumber(options, "timeoutSeconds", { least: 0.001 });
    const limits = seconds === undefined ? {} : { headersTimeoutMs: seconds * 1000, chunkTimeoutMs: seconds * 1000 };
    const defaults: Omit<CallDefaults, "headers"> = {
      maxOutputTokens: readNumber(options, "maxTokens", { least: 1, isWhole: true }),
      temperature: readNumber(options, "temperature", { least: 0 }),
    };
    const body = Object.fromEntries(BODY_OPTIONS.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]));
    // The package prints warnings on stderr unless it is told not to.
    (globalThis as { AI_SDK_LOG_WARNINGS?: unknown }).AI_SDK_LOG_WARNINGS ??= false;
    const { createOpenRouter } = await import("@openrouter/ai-sdk-provider");
    const sdk = createOpenRouter({
      apiKey: options.apiKey ?? "",
      baseURL: baseOf(options),
      headers: attribution(options),
      fetch: withCacheMarks(withMergedDeltas(withLimits(fetch, limits))),
      extraBody: { ...body, ...(options.extraBody as Record<string, unknown> | undefined) },
    });
    // With a list of models another one may have answered, and that one may cost.
    const isFree = (id: string, own: Record<string, unknown>) => id.endsWith(":free") && options.models === undefined && own.models === undefined;
    return (modelId) => {
      const { id = modelId, options: extraBody = {}, headers = {} } = models[modelId] ?? {};
      const chat = sdk.chat(toApiId(id), { usage: { include: true }, extraBody });
      return withDefaults(withExactToolCalls(chat, { describeReasoning, ...(isFree(id, extraBody) && { costUsd: 0 }) }), { ...defaults, headers });
    };
  };

/** Which provider serves it may be chosen for embeddings as for answers; the other options of a body are for answers alone. */
const createEmbeddings =
  (models: Models, freeOnly: boolean): NonNullable<Provider["embeddings"]> =>
  (options, { fetch }) => {
    if (freeOnly) refusePaid(options, models);
    const shared = { provider: "openrouter", baseURL: baseOf(options), fetch };
    const headers = { ...(options.apiKey && { authorization: `Bearer ${options.apiKey}` }), ...attribution(options) };
    const { provider: served, user } = options;
    const body = { ...(served !== undefined && { provider: served }), ...(user !== undefined && { user }) };
    return (modelId) => {
      const { id = modelId, options: own, headers: ownHeaders } = models[modelId] ?? {};
      return embeddingModel(toApiId(id), {
        ...shared,
        headers: { ...headers, ...ownHeaders },
        body: { ...body, ...(options.extraBody as object | undefined), ...own },
      });
    };
  };

const openrouter: Omit<Provider, "create" | "embeddings"> = {
  id: "openrouter",
  name: "OpenRouter",
  env: ["OPENROUTER_API_KEY"],
  envOptions: VARIABLES,
  // A free model with tools. The date says when it was chosen; free models come and go.
  defaultModel: { id: "meta-llama/llama-3.3-70b-instruct:free", date: "2026-11-20" },
  freeSuffix: ":free",
  pages: {
    keys: "https://openrouter.ai/settings/keys",
    credits: "https://openrouter.ai/settings/credits",
    activity: "https://openrouter.ai/activity",
    models: "https://openrouter.ai/models",
    status: "https://status.openrouter.ai",
  },

  async models(options, { fetch }) {
    const headers = { ...attribution(options), ...(options.apiKey && { authorization: `Bearer ${options.apiKey}` }) };
    const listed = await fetchModelList<ListedModel>(baseOf(options), { provider: "openrouter", headers, fetch });
    return listed.map(toModelInfo);
  },

  /** openrouter.ai/docs/api-reference/limits: free models together, whatever was paid. */
  requestsPerMinute: (modelId, options) => (modelId.endsWith(":free") && new URL(baseOf(options)).hostname === "openrouter.ai" ? 20 : undefined),

  /**
   * Anthropic and Gemini need marks, as openrouter.ai/docs/features/prompt-caching says; the others cache by themselves,
   * and OpenAI finds the requests of a session by their key. The open models of that vendor are served by others.
   */
  cachePolicy(modelId) {
    if (/^(anthropic\/|google\/gemini)/.test(modelId)) return { kind: "breakpoints", providerOptions: { openrouter: { cacheControl: { type: "ephemeral" } } } };
    if (/^openai\/(?!gpt-oss)/.test(modelId)) return { kind: "key", optionsFor: (key) => ({ openrouter: { prompt_cache_key: key } }) };
    return { kind: "none" };
  },
};

export default definePlugin({
  name: "openrouter",
  options: z.strictObject({}),
  setup({ config: { provider: configured, limits } }) {
    const [models, freeOnly] = [configured?.openrouter?.models ?? {}, limits?.freeOnly === true];
    return { providers: [provider({ ...openrouter, create: createModels(models, freeOnly), embeddings: createEmbeddings(models, freeOnly) })] };
  },
});
