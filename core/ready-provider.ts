import { createHash } from "node:crypto";
import { authPath, readStoredKeys, resolveProviderOptions } from "./auth.ts";
import type { Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import { createFetch, type Fetch, type HttpLimits } from "./http.ts";
import { createKnownModels, type KnownModels } from "./known-models.ts";
import type { Log } from "./log.ts";
import { formatModelId, type ModelId } from "./model-id.ts";
import { createPace, type Pace } from "./pace.ts";
import type { EmbeddingFactory, ModelFactory, Provider, ProviderOptions } from "./provider.ts";
import type { Redactor } from "./redact.ts";
import type { Registry } from "./registry.ts";
import type { Traffic } from "./traffic.ts";

export interface OpenerDependencies {
  config: Readonly<Config>;
  registry: Registry;
  env: Record<string, string | undefined>;
  dataDir: string;
  redactor: Redactor;
  /** Those that are in use. */
  keys: Set<string>;
  log: Log;
  /** What is asked of models goes through it. */
  traffic?: Traffic | undefined;
}

/** A provider with its options read and its key found; made only when it is first asked. */
export interface ReadyProvider {
  provider: Provider;
  /** Where the key in use came from, and where others are set. */
  keySource: string;
  unusedKeys: string[];
  /** The variable that holds the key, or the option of the configuration. */
  variable: string;
  /** The configuration says that none is sent. */
  isKeyOff: boolean;
  /** Path of the stored keys. */
  authFile: string;
  /** What is sent for each name that the configuration has. */
  configured: ReadonlyMap<string, string>;
  listModels: KnownModels;
  /** ms for a whole answer. */
  timeoutMs: number | undefined;
  /** Tells host and key from others, and betrays neither. */
  place(): string;
  contextMessages: number | undefined;
  /** What keeps the requests to a model from coming too fast; models with the same limit share one. */
  paceOf(apiId: string): Pace | undefined;
  factory(): Promise<ModelFactory>;
  /** Undefined where the provider has none. */
  embeddings(): Promise<EmbeddingFactory | undefined>;
}

/** A replay sends nothing and needs no key; packages that insist on one get a word. */
export async function readOptions(provider: Provider, { config, env, dataDir, traffic }: OpenerDependencies) {
  const read = await resolveProviderOptions(config, provider, { env, auth: await readStoredKeys(dataDir) });
  if (traffic?.replayed !== undefined && !provider.keyless) read.options.apiKey ??= "replay";
  return read;
}

/** Reads the options of a provider and finds its key. Throws MODEL_NOT_FOUND, KEY_MISSING, OPTION_INVALID; sends nothing. */
export async function readyProvider(id: ModelId, provider: Provider | undefined, dependencies: OpenerDependencies): Promise<ReadyProvider> {
  if (provider === undefined) throw new AgentError("MODEL_NOT_FOUND", { id: formatModelId(id), provider: id.provider, known: "" });
  const { options, keySource, unusedKeys, secrets } = await readOptions(provider, dependencies);
  for (const secret of secrets) dependencies.redactor.add(secret);
  if (options.apiKey !== undefined && keySource !== undefined) dependencies.keys.add(options.apiKey);
  const own = dependencies.config.provider?.[provider.id];
  const option = `provider.${provider.id}.options.apiKey`;
  const isKeyOff = own?.options?.apiKey === false;
  const variable = (isKeyOff ? undefined : (own?.env ?? provider.env)?.[0]) ?? option;
  if (options.apiKey === undefined && !provider.keyless) {
    const advice = isKeyOff ? `As long as ${option} is false, no key counts.` : pageOf(provider);
    throw new AgentError("KEY_MISSING", { provider: provider.id, variable, ...(advice !== undefined && { advice }) });
  }
  if (options.apiKey !== undefined && !/^[\x20-\x7e]*$/.test(options.apiKey))
    throw new AgentError("OPTION_INVALID", {
      option: `The key of ${provider.id} from ${keySource}`,
      reason: "it holds a character that no key has. Copy it again.",
    });
  const timeoutMs = typeof options.timeout === "number" ? options.timeout : undefined;
  return {
    provider,
    keySource: keySource ?? "nowhere",
    unusedKeys,
    variable,
    isKeyOff,
    authFile: authPath(dependencies.dataDir),
    configured: new Map(Object.entries(own?.models ?? {}).map(([name, model]) => [name, model.id ?? name])),
    timeoutMs,
    contextMessages: readContextMessages(provider, options),
    paceOf: createPaces(provider, options, dependencies.log),
    place: () => fingerprint([hostOf(options.baseURL), options.apiKey]),
    ...reach(provider, options, dependencies),
  };
}

/** The provider's own limit of requests a minute, unless the configuration has one. */
function createPaces(provider: Provider, options: ProviderOptions, log: Log): ReadyProvider["paceOf"] {
  const paces = new Map<number, Pace>();
  return (apiId) => {
    const perMinute = (options.requestsPerMinute as number | false | undefined) ?? provider.requestsPerMinute?.(apiId, options);
    if (!perMinute) return undefined;
    const tell = (ms: number) =>
      log.warn(`Waiting ${Math.ceil(ms / 1000)} s: ${provider.id} gets no more than ${perMinute} requests a minute (requestsPerMinute).`);
    const pace = paces.get(perMinute) ?? createPace(perMinute, tell);
    paces.set(perMinute, pace);
    return pace;
  };
}

const pageOf = ({ pages }: Provider): string | undefined => pages?.keys && `Keys: ${pages.keys}`;

/** All ways to the service have one HTTP client. */
function reach(provider: Provider, options: ProviderOptions, dependencies: OpenerDependencies): Pick<ReadyProvider, "factory" | "embeddings" | "listModels"> {
  const { env, traffic, log, redactor } = dependencies;
  const fetch = withSafeBody(createFetch(timeoutsOf(options), env), redactor);
  const services = { fetch: traffic?.wrap(fetch, provider.id) ?? fetch, log };
  // Past the traffic: a list is no answer of a model, and nothing is sent in a replay.
  const known = { options, services: { fetch, log }, redact: redactor.redact };
  const listModels: KnownModels = traffic?.replayed === undefined ? createKnownModels(provider, known) : async () => undefined;
  let factory: Promise<ModelFactory> | undefined;
  let embeddings: Promise<EmbeddingFactory | undefined> | undefined;
  return {
    listModels,
    factory: () => (factory ??= (async () => provider.create(options, services))()),
    embeddings: () => (embeddings ??= (async () => provider.embeddings?.(options, services))()),
  };
}

/** A key belongs into a header: whatever brought it into the conversation, no body has one. */
const withSafeBody = (fetch: Fetch, { redactKnown }: Redactor): Fetch =>
  (async (input: Parameters<Fetch>[0], init?: RequestInit) =>
    fetch(input, typeof init?.body === "string" ? { ...init, body: redactKnown(init.body) } : init)) as Fetch;

/** An option of every provider; a variable such as OPENROUTER_MAX_CONTEXT_MESSAGES gives it as text. */
function readContextMessages({ id }: Provider, { maxContextMessages: value }: Record<string, unknown>): number | undefined {
  if (value === undefined || value === null || value === "" || value === false) return undefined;
  const messages = Number(value);
  if (Number.isInteger(messages) && messages >= 1) return messages;
  throw new AgentError("OPTION_INVALID", {
    option: `provider.${id}.options.maxContextMessages`,
    reason: `${JSON.stringify(value)} is not a whole number from 1 up.`,
  });
}

const fingerprint = (values: unknown[]): string => createHash("sha256").update(JSON.stringify(values)).digest("hex").slice(0, 8);
const hostOf = (url: string | undefined): string | undefined => (url !== undefined && URL.canParse(url) ? new URL(url).hostname : url);

/** Options of a provider that limit one exchange, in ms; false is none. */
const LIMITS: Record<string, keyof HttpLimits> = {
  connectTimeout: "connectTimeoutMs",
  headerTimeout: "headersTimeoutMs",
  chunkTimeout: "chunkTimeoutMs",
  contentTimeout: "contentTimeoutMs",
};

function timeoutsOf(options: Record<string, unknown>): Partial<HttpLimits> {
  const read = (value: unknown) => (value === false ? Number.POSITIVE_INFINITY : typeof value === "number" ? value : undefined);
  return Object.fromEntries(Object.entries(LIMITS).map(([option, limit]) => [limit, read(options[option])]));
}
