import {
  AgentError,
  type Config,
  definePlugin,
  embeddingModel,
  type Fetch,
  fetchModelList,
  type LanguageModel,
  type ModelInfo,
  type PluginContext,
  type Provider,
  provider,
  withExactToolCalls,
  withMergedDeltas,
  z,
} from "agent-runtime";
import { fromPackage } from "./from-package.ts";
import { PRESETS, type Preset } from "./presets.ts";

type Configured = NonNullable<Config["provider"]>[string];
type Options = Parameters<Provider["create"]>[0];

/** Providers that other built-in plugins bring, whatever the configuration says of them. */
const OTHERS = new Set(["openrouter", "demo"]);
const OWN_PACKAGE = "@ai-sdk/openai-compatible";

const isLocal = (url: string): boolean => URL.canParse(url) && /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\]|0\.0\.0\.0)$/.test(new URL(url).hostname);

const plainHeaders = (headers: Options["headers"]): Record<string, string> =>
  Object.fromEntries(Object.entries((headers ?? {}) as Record<string, unknown>).filter(([, value]) => typeof value === "string")) as Record<string, string>;

/** A header of the configuration counts before the key, as in the package that asks for answers. */
const headersOf = (options: Options): Record<string, string> => ({
  ...(options.apiKey && { authorization: `Bearer ${options.apiKey}` }),
  ...lowerCased(plainHeaders(options.headers)),
});

const lowerCased = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

function baseOf(id: string, options: Options): string {
  if (!options.baseURL)
    throw new AgentError("OPTION_INVALID", { option: `provider.${id}.options.baseURL`, reason: "it is not set, for example http://127.0.0.1:8080/v1." });
  if (!URL.canParse(options.baseURL) || !/^https?:/i.test(options.baseURL))
    throw new AgentError("OPTION_INVALID", { option: `provider.${id}.options.baseURL`, reason: `"${options.baseURL}" is not a URL of http or https.` });
  // A base URL is often copied with the path of its one endpoint.
  return options.baseURL.replace(/\/*(\/chat\/completions|\/embeddings)?\/*$/i, "");
}

/** Gemini signs its calls and wants the signature back; the package reads it there whatever the provider is called. */
const describeCall: NonNullable<Parameters<typeof withExactToolCalls>[1]>["describeCall"] = ({ extra }) => {
  const signature = (extra as { google?: { thought_signature?: unknown } } | undefined)?.google?.thought_signature;
  return typeof signature === "string" ? { google: { thoughtSignature: signature } } : undefined;
};

/** What all models of an endpoint share. */
const settingsOf = (id: string, options: Options, fetch: Fetch) => ({
  name: id,
  baseURL: baseOf(id, options),
  fetch: withMergedDeltas(fetch),
  includeUsage: true,
  ...(options.apiKey && { apiKey: options.apiKey }),
});

/** One endpoint as a provider. `own` is what the configuration says of it. */
function endpoint(id: string, preset: Preset, own: Configured): Provider {
  const { name, baseURL, env, envOptions, pages } = preset;
  const takesKey = own.options?.setCacheKey ?? preset.cacheKey ?? false;
  const keyless = own.options?.apiKey === false || isLocal(own.options?.baseURL ?? own.api ?? baseURL);
  return provider({
    id,
    name: own.name ?? name,
    keyless,
    ...(env && { env }),
    ...(envOptions && { envOptions }),
    ...(pages && { pages }),
    ...(baseURL !== "" && { defaults: { baseURL } }),

    async create(options, { fetch }) {
      const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
      const shared = settingsOf(id, options, fetch);
      // Nobody says who asks, so nobody can be billed.
      const isFree = !options.apiKey && options.headers === undefined;
      return (modelId) => {
        const model = own.models?.[modelId];
        const body = { ...(options.extraBody as object | undefined), ...model?.options };
        const sdk = createOpenAICompatible({
          ...shared,
          headers: { ...plainHeaders(options.headers), ...model?.headers },
          transformRequestBody: (args) => ({ ...args, ...body }),
        });
        const exact = withExactToolCalls(sdk.chatModel(model?.id ?? modelId), { describeCall, ...(isFree && model?.cost === undefined && { costUsd: 0 }) });
        return typeof options.reasoningTag === "string" ? withReasoningTag(exact, options.reasoningTag) : exact;
      };
    },

    embeddings: (options, { fetch }) => toEmbeddings(id, own, { options, fetch }),

    models: (options, { fetch }) => listModels(id, own, { options, fetch }),

    cachePolicy: () => (takesKey === true ? { kind: "key", optionsFor: (key) => cacheKeyOption(id, key) } : { kind: "none" }),
  });
}

/** The package reads the options of a provider under the first word of its name. */
const cacheKeyOption = (id: string, key: string) => ({ [id.split(".")[0] as string]: { prompt_cache_key: key } });

/** A local server may leave a model's thoughts in its answer, between <think> tags: they are no part of it. */
async function withReasoningTag(model: LanguageModel, tagName: string): Promise<LanguageModel> {
  const { extractReasoningMiddleware, wrapLanguageModel } = await import("ai");
  return wrapLanguageModel({ model, middleware: extractReasoningMiddleware({ tagName }) });
}

function toEmbeddings(id: string, own: Configured, { options, fetch }: { options: Options; fetch: Fetch }) {
  const [baseURL, headers] = [baseOf(id, options), headersOf(options)];
  return (modelId: string) => {
    const { id: apiId = modelId, headers: ownHeaders, options: body } = own.models?.[modelId] ?? {};
    return embeddingModel(apiId, {
      provider: id,
      baseURL,
      headers: { ...headers, ...ownHeaders },
      body: { ...(options.extraBody as object | undefined), ...body },
      fetch,
    });
  };
}

/** What the endpoint itself lists, with what the configuration knows of it. */
async function listModels(id: string, own: Configured, { options, fetch }: { options: Options; fetch: Fetch }): Promise<ModelInfo[]> {
  const listed = await fetchModelList(baseOf(id, options), { provider: id, headers: headersOf(options), fetch });
  const known = new Map(Object.entries(own.models ?? {}));
  return listed.map((model) => toModelInfo(model.id, known.get(model.id) ?? {}));
}

/** What the configuration knows of a model. */
function toModelInfo(id: string, { name, limit, cost, tool_call: tools }: NonNullable<Configured["models"]>[string]): ModelInfo {
  const price =
    cost?.input === undefined || cost.output === undefined
      ? undefined
      : {
          input: cost.input,
          output: cost.output,
          ...(cost.cache_read !== undefined && { cacheRead: cost.cache_read }),
          ...(cost.cache_write !== undefined && { cacheWrite: cost.cache_write }),
        };
  return {
    id,
    ...(name && { name }),
    ...(limit?.context !== undefined && { context: limit.context }),
    ...(price && { price }),
    ...(tools !== undefined && { tools }),
  };
}

function toProvider(id: string, own: Configured, { cwd, packageDirs }: Pick<PluginContext, "cwd" | "packageDirs">): Provider {
  if (own.npm !== undefined && own.npm !== OWN_PACKAGE) {
    const env = own.env ?? PRESETS[id]?.env;
    const toApiId = (modelId: string) => own.models?.[modelId]?.id ?? modelId;
    return fromPackage({
      id,
      npm: own.npm,
      cwd,
      packageDirs,
      keyless: own.options?.apiKey === false || isLocal(own.options?.baseURL ?? own.api ?? ""),
      env,
      toApiId,
    });
  }
  return endpoint(id, PRESETS[id] ?? { name: id, baseURL: "", ...(own.env && { env: own.env }) }, own);
}

/** A name without an address or a package may be the options of another plugin's provider. */
const isEndpoint = ({ npm, api, options, models }: Configured): boolean => [npm, api, options?.baseURL, models].some((value) => value !== undefined);

export default definePlugin({
  name: "openai-compatible",
  options: z.strictObject({}),
  setup({ config, ...context }) {
    const configured = config.provider ?? {};
    const named = Object.keys(configured).filter((id) => !OTHERS.has(id) && isEndpoint(configured[id]!));
    const ids = new Set([...Object.keys(PRESETS), ...named]);
    return { providers: [...ids].map((id) => toProvider(id, configured[id] ?? {}, context)) };
  },
});
