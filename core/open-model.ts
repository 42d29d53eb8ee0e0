import { createHash } from "node:crypto";
import { joinSignals, orAborted, type TimeLimit } from "./abort.ts";
import { authPath, describeKey, describeStrangers, type ProviderKey, readStoredKeys, resolveProviderOptions } from "./auth.ts";
import type { Config } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { createFetch, type HttpLimits } from "./http.ts";
import type { Log } from "./log.ts";
import { toolCallsOf } from "./message.ts";
import { formatModelId, type ModelId } from "./model-id.ts";
import type { DefaultModel } from "./models.ts";
import { createPace, type Pace } from "./pace.ts";
import { type Price, withCost } from "./price.ts";
import type { LanguageModel, ModelFactory, Provider, ProviderOptions } from "./provider.ts";
import { type AskedModel, toProviderError } from "./provider-error.ts";
import type { Redactor } from "./redact.ts";
import type { Registry } from "./registry.ts";
import { type ModelRequest, toCallOptions } from "./request.ts";
import type { Route, StepContext } from "./route.ts";
import type { Traffic } from "./traffic.ts";
import { foldTurn, type Turn } from "./turn.ts";
import { logUsage } from "./usage-log.ts";

export interface ModelOpener {
  /** Makes one model ready to be asked. Throws KEY_MISSING, MODEL_NOT_FREE; sends nothing. */
  open(id: ModelId): Promise<Route>;
  /** The provider, unless the configuration switches it off. */
  findProvider(id: string): Promise<Provider | undefined>;
  providerIds(): string[];
  defaultModel(provider: string): Promise<DefaultModel | undefined>;
  keyedProviders(): Promise<string[]>;
  /** Where each provider has its key, by the provider's name. Throws STORE_DAMAGED. */
  keys(): Promise<ProviderKey[]>;
}

export interface OpenerDependencies {
  config: Readonly<Config>;
  registry: Registry;
  env: Record<string, string | undefined>;
  dataDir: string;
  redactor: Redactor;
  log: Log;
  /** What is asked of models goes through it. */
  traffic?: Traffic | undefined;
}

/** A provider with its options read and its key found; made only when it is first asked. */
interface ReadyProvider {
  provider: Provider;
  keySource: string;
  unusedKeys: string[];
  /** The variable that holds the key, or the option of the configuration. */
  variable: string;
  /** The configuration says that none is sent. */
  isKeyOff: boolean;
  authFile: string;
  /** Ids that the configuration names. */
  configured: string[];
  /** ms for a whole answer. */
  timeoutMs: number | undefined;
  /** Tells host and key from others, and betrays neither. */
  place(): string;
  contextMessages: number | undefined;
  /** What keeps the requests to a model from coming too fast; models with the same limit share one. */
  paceOf(apiId: string): Pace | undefined;
  factory(): Promise<ModelFactory>;
}

/** Opens models. A provider's options are read once; its package is loaded when it is first asked. */
export function createModelOpener(dependencies: OpenerDependencies): ModelOpener {
  const { config, registry, traffic, log } = dependencies;
  const ready = new Map<string, Promise<ReadyProvider>>();
  const isOn = (id: string) => !config.disabled_providers?.includes(id) && (config.enabled_providers?.includes(id) ?? true);
  const findProvider = async (id: string) => (isOn(id) ? registry.provider(id) : undefined);
  const providerIds = () => [...new Set([...registry.providerIds(), ...Object.keys(config.provider ?? {})])].filter(isOn).sort();
  return {
    findProvider,
    providerIds,
    async open(id) {
      const opened = ready.get(id.provider) ?? readyProvider(id, await findProvider(id.provider), dependencies);
      ready.set(id.provider, opened);
      const known = await opened;
      const own = config.provider?.[id.provider]?.models?.[id.model];
      const route = toRoute(id, known, { apiId: own?.id ?? id.model, price: own?.cost, traffic, log });
      if (config.limits?.freeOnly && !route.isFree && !known.provider.keyless) throw new AgentError("MODEL_NOT_FREE", { id: route.model });
      return route;
    },
    async defaultModel(id) {
      const provider = await findProvider(id);
      return provider && readDefault(provider, dependencies);
    },
    async keyedProviders() {
      if (traffic?.replayed !== undefined) return (await traffic.replayed.providers()).filter(isOn);
      const keyed = [];
      for (const id of providerIds()) {
        const provider = await findProvider(id);
        if (provider === undefined || provider.keyless) continue;
        if ((await readOptions(provider, dependencies)).options.apiKey !== undefined) keyed.push(id);
      }
      return keyed;
    },
    async keys() {
      const auth = await readStoredKeys(dependencies.dataDir);
      const found = await Promise.all(providerIds().map(findProvider));
      const known = found.filter((provider) => provider !== undefined).map((provider) => describeKey(config, provider, { env: dependencies.env, auth }));
      const ids = known.map(({ provider }) => provider);
      return [...known, ...describeStrangers(ids, auth)].sort((a, b) => (a.provider < b.provider ? -1 : 1));
    },
  };
}

/** A replay sends nothing and needs no key; packages that insist on one get a word. */
async function readOptions(provider: Provider, { config, env, dataDir, traffic }: OpenerDependencies) {
  const read = await resolveProviderOptions(config, provider, { env, auth: await readStoredKeys(dataDir) });
  if (traffic?.replayed !== undefined && !provider.keyless) read.options.apiKey ??= "replay";
  return read;
}

/** What the configuration says, else a variable of the provider, else the provider itself. */
async function readDefault(provider: Provider, dependencies: OpenerDependencies): Promise<DefaultModel | undefined> {
  const own = dependencies.config.provider?.[provider.id];
  const configured = own?.default_model ?? own?.options?.defaultModel;
  if (typeof configured === "string" && configured !== "") return { id: configured, source: "config" };
  const { defaultModel } = (await readOptions(provider, dependencies)).options;
  if (typeof defaultModel === "string") return { id: defaultModel, source: "env" };
  return provider.defaultModel && { id: provider.defaultModel.id, source: "default" };
}

async function readyProvider(id: ModelId, provider: Provider | undefined, dependencies: OpenerDependencies): Promise<ReadyProvider> {
  if (provider === undefined) throw new AgentError("MODEL_NOT_FOUND", { id: formatModelId(id), provider: id.provider, known: "" });
  const { options, keySource, unusedKeys, secrets } = await readOptions(provider, dependencies);
  for (const secret of secrets) dependencies.redactor.add(secret);
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
  let factory: Promise<ModelFactory> | undefined;
  const make = async () => {
    const fetch = createFetch(timeoutsOf(options), dependencies.env);
    return provider.create(options, { fetch: dependencies.traffic?.wrap(fetch, provider.id) ?? fetch, log: dependencies.log });
  };
  const timeoutMs = typeof options.timeout === "number" ? options.timeout : undefined;
  return {
    provider,
    keySource: keySource ?? "nowhere",
    unusedKeys,
    variable,
    isKeyOff,
    authFile: authPath(dependencies.dataDir),
    configured: Object.keys(own?.models ?? {}),
    timeoutMs,
    contextMessages: readContextMessages(provider, options),
    paceOf: createPaces(provider, options, dependencies.log),
    place: () => fingerprint([hostOf(options.baseURL), options.apiKey]),
    factory: () => (factory ??= make()),
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

/** What its provider calls a model, what its answers cost, and what stands between it and the network. */
interface Around {
  apiId: string;
  price: Price | undefined;
  traffic: Traffic | undefined;
  log: Log;
}

/** The ending says so, or the prices. */
const costsNothing = ({ freeSuffix }: Provider, { apiId, price }: Around): boolean =>
  (freeSuffix !== undefined && apiId.endsWith(freeSuffix)) || (price?.input === 0 && price.output === 0);

/** One model as a route: what it throws comes out as a row of the error table. */
function toRoute(id: ModelId, ready: ReadyProvider, around: Around): Route {
  const { price, traffic, log } = around;
  const { provider, factory, keySource, variable, timeoutMs, contextMessages, paceOf, place } = ready;
  const model = formatModelId(id);
  const asked: AskedModel = { model, provider: provider.id, variable, keySource };
  let made: LanguageModel | undefined;
  let routeId: string | undefined;
  return {
    model,
    get id() {
      routeId ??= `${model} ${place()}`;
      return routeId;
    },
    ...(contextMessages !== undefined && { contextMessages }),
    isFree: costsNothing(provider, around),
    async ask(request, step) {
      const { signal, release } = joinSignals([step.signal], limitOf(model, timeoutMs));
      try {
        made ??= await orAborted(makeModel(factory, id), signal);
        const model = made;
        const ask = async () => {
          if (traffic?.replayed === undefined) await paceOf(around.apiId)?.(signal);
          return withCost(await askModel(model, request, { ...step, signal, model: asked.model, provider }), price);
        };
        const turn = await (traffic === undefined ? ask() : traffic.ask(id, ask));
        logUsage(log, provider, turn, { model: asked.model, messages: (request.messages ?? request.entries).length });
        return turn;
      } catch (error) {
        step.signal.throwIfAborted();
        const { withAdvice } = await import("./provider-advice.ts");
        throw await withAdvice(toProviderError(error, asked, step.now()), { ...ready, modelId: id.model });
      } finally {
        release();
      }
    },
  };
}

/** What fails here is the plugin: nothing was sent, and to try again would not help. */
async function makeModel(factory: ReadyProvider["factory"], id: ModelId): Promise<LanguageModel> {
  try {
    const made = await (await factory())(id.model);
    if (typeof made?.doStream === "function") return made;
  } catch (error) {
    if (error instanceof AgentError) throw error;
    throw new AgentError("PROVIDER_BROKEN", { provider: id.provider, reason: errorMessage(error) }, { cause: error });
  }
  throw new AgentError("PROVIDER_BROKEN", { provider: id.provider, reason: `what it gives for ${id.model} is no language model.` });
}

const limitOf = (model: string, ms: number | undefined): TimeLimit | undefined =>
  ms === undefined
    ? undefined
    : { ms, error: () => new AgentError("PROVIDER_TIMEOUT", { model, stage: "whole", reason: `no whole answer within ${ms / 1000} s.` }) };

async function askModel(model: LanguageModel, request: ModelRequest, step: StepContext & { model: string; provider: Provider }): Promise<Turn> {
  const { provider, signal } = step;
  const cachePolicy = provider.cachePolicy?.(step.model.slice(provider.id.length + 1)) ?? { kind: "none" };
  const options = toCallOptions(request, { id: step.model, cachePolicy, signal });
  const isTaken = (callId: string) => request.entries.some(({ message }) => toolCallsOf(message).some(({ toolCallId }) => toolCallId === callId));
  return orAborted(
    Promise.resolve(model.doStream(options)).then(({ stream }) => foldTurn(stream, { ...step, isTaken })),
    signal,
  );
}
