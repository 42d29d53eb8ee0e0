import { createHash } from "node:crypto";
import { join } from "node:path";
import { joinSignals, orAborted, type TimeLimit } from "./abort.ts";
import { readStoredKeys, resolveProviderOptions } from "./auth.ts";
import type { Config } from "./config.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { createFetch, type HttpLimits } from "./http.ts";
import { createKnownModels, type KnownModels } from "./known-models.ts";
import type { Log } from "./log.ts";
import { toolCallsOf } from "./message.ts";
import { formatModelId, type ModelId } from "./model-id.ts";
import type { DefaultModel } from "./models.ts";
import { type Price, withCost } from "./price.ts";
import type { LanguageModel, ModelFactory, Provider, ProviderOptions } from "./provider.ts";
import { type AskedModel, toProviderError } from "./provider-error.ts";
import type { Redactor } from "./redact.ts";
import type { Registry } from "./registry.ts";
import { type ModelRequest, toCallOptions } from "./request.ts";
import type { Route, StepContext } from "./route.ts";
import type { Traffic } from "./traffic.ts";
import { foldTurn, type Turn } from "./turn.ts";

export interface ModelOpener {
  /** Makes one model ready to be asked. Throws KEY_MISSING; sends nothing. */
  open(id: ModelId): Promise<Route>;
  /** The provider, unless the configuration switches it off. */
  findProvider(id: string): Promise<Provider | undefined>;
  providerIds(): string[];
  defaultModel(provider: string): Promise<DefaultModel | undefined>;
  keyedProviders(): Promise<string[]>;
  /**
   * The error that a run ends with, with the next step that the provider of its model knows of. May ask the provider what
   * it has, in narrow limits: so only for an error that nothing follows. Never fails, and waits for nothing once the signal aborts.
   */
  advise(error: AgentError, signal: AbortSignal): Promise<AgentError>;
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
  authFile: string;
  /** What is sent for each name that the configuration has. */
  configured: ReadonlyMap<string, string>;
  listModels: KnownModels;
  /** ms for a whole answer. */
  timeoutMs: number | undefined;
  /** Tells host and key from others, and betrays neither. */
  place(): string;
  contextMessages: number | undefined;
  factory(): Promise<ModelFactory>;
}

/** Opens models. A provider's options are read once; its package is loaded when it is first asked. */
export function createModelOpener(dependencies: OpenerDependencies): ModelOpener {
  const { config, registry, traffic } = dependencies;
  const ready = new Map<string, Promise<ReadyProvider>>();
  const isOn = (id: string) => !config.disabled_providers?.includes(id) && (config.enabled_providers?.includes(id) ?? true);
  const findProvider = async (id: string) => (isOn(id) ? registry.provider(id) : undefined);
  const providerIds = () => [...new Set([...registry.providerIds(), ...Object.keys(config.provider ?? {})])].filter(isOn).sort();
  return {
    findProvider,
    providerIds,
    async open(id) {
      const known = ready.get(id.provider) ?? readyProvider(id, await findProvider(id.provider), dependencies);
      ready.set(id.provider, known);
      const own = config.provider?.[id.provider]?.models?.[id.model];
      return toRoute(id, await known, { apiId: own?.id ?? id.model, price: own?.cost, traffic });
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
    async advise(error, signal) {
      const [, provider = "", name = ""] = /^([^/]+)\/(.+)$/.exec(String(error.data.model)) ?? [];
      const facts = await ready.get(provider)?.catch(() => undefined);
      if (facts === undefined) return error;
      const { withAdvice } = await import("./provider-advice.ts");
      return withAdvice(error, { ...facts, modelId: facts.configured.get(name) ?? name, listModels: () => facts.listModels(signal) });
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
  const variable = (own?.env ?? provider.env)?.[0] ?? `provider.${provider.id}.options.apiKey`;
  if (options.apiKey === undefined && !provider.keyless) throw new AgentError("KEY_MISSING", { provider: provider.id, variable });
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
    authFile: join(dependencies.dataDir, "auth.json"),
    configured: new Map(Object.entries(own?.models ?? {}).map(([name, model]) => [name, model.id ?? name])),
    timeoutMs,
    contextMessages: readContextMessages(provider, options),
    place: () => fingerprint([hostOf(options.baseURL), options.apiKey]),
    ...reach(provider, options, dependencies),
  };
}

/** Both ways to the service have one HTTP client. */
function reach(provider: Provider, options: ProviderOptions, dependencies: OpenerDependencies): Pick<ReadyProvider, "factory" | "listModels"> {
  const { env, traffic, log, redactor } = dependencies;
  const fetch = createFetch(timeoutsOf(options), env);
  const make = async () => provider.create(options, { fetch: traffic?.wrap(fetch, provider.id) ?? fetch, log });
  // Past the traffic: a list is no answer of a model, and nothing is sent in a replay.
  const known = { options, services: { fetch, log }, redact: redactor.redact };
  const listModels: KnownModels = traffic?.replayed === undefined ? createKnownModels(provider, known) : async () => undefined;
  let factory: Promise<ModelFactory> | undefined;
  return { listModels, factory: () => (factory ??= make()) };
}

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
}

/** The ending says so, or the prices. */
const costsNothing = ({ freeSuffix }: Provider, { apiId, price }: Around): boolean =>
  (freeSuffix !== undefined && apiId.endsWith(freeSuffix)) || (price?.input === 0 && price.output === 0);

/** One model as a route: what it throws comes out as a row of the error table. */
function toRoute(id: ModelId, ready: ReadyProvider, around: Around): Route {
  const { price, traffic } = around;
  const { provider, factory, keySource, variable, timeoutMs, contextMessages, place } = ready;
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
        const ask = async () => withCost(await askModel(model, request, { ...step, signal, model: asked.model, provider }), price);
        return await (traffic === undefined ? ask() : traffic.ask(id, ask));
      } catch (error) {
        step.signal.throwIfAborted();
        throw toProviderError(error, asked, step.now());
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
