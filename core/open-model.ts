import { joinSignals, orAborted, type TimeLimit } from "./abort.ts";
import { describeKey, describeStrangers, type ProviderKey, readStoredKeys } from "./auth.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { Log } from "./log.ts";
import { toolCallsOf } from "./message.ts";
import { formatModelId, type ModelId } from "./model-id.ts";
import type { DefaultModel } from "./models.ts";
import { type Price, withCost } from "./price.ts";
import type { LanguageModel, Provider } from "./provider.ts";
import { type AskedModel, toProviderError } from "./provider-error.ts";
import { type OpenerDependencies, type ReadyProvider, readOptions, readyProvider } from "./ready-provider.ts";
import { type ModelRequest, toCallOptions } from "./request.ts";
import type { Route, StepContext } from "./route.ts";
import type { Traffic } from "./traffic.ts";
import { foldTurn, type Turn } from "./turn.ts";
import { logUsage } from "./usage-log.ts";

export interface ModelOpener {
  /** Makes one model ready to be asked: for answers, unless `make` says otherwise. Throws KEY_MISSING, MODEL_NOT_FREE; sends nothing. */
  open(id: ModelId, make?: MakeAnswering): Promise<Route>;
  /** The provider, unless the configuration switches it off. */
  findProvider(id: string): Promise<Provider | undefined>;
  providerIds(): string[];
  defaultModel(provider: string): Promise<DefaultModel | undefined>;
  keyedProviders(): Promise<string[]>;
  /** Where each provider has its key, by the provider's name. Throws STORE_DAMAGED. */
  keys(): Promise<ProviderKey[]>;
  /**
   * The error that a run ends with, with the next step that the provider of its model knows of. May ask the provider what
   * it has, in narrow limits: so only for an error that nothing follows. Never fails, and waits for nothing once the signal aborts.
   */
  advise(error: AgentError, signal: AbortSignal): Promise<AgentError>;
}

/** How a model answers once it is made. What it throws is not yet a row of the error table. */
export type Answering = (request: ModelRequest, step: StepContext & { model: string; provider: Provider }) => Promise<Turn>;

export type MakeAnswering = (id: ModelId, ready: ReadyProvider) => Promise<Answering>;

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
    async open(id, make = makeChat) {
      const opened = ready.get(id.provider) ?? readyProvider(id, await findProvider(id.provider), dependencies);
      ready.set(id.provider, opened);
      const known = await opened;
      const own = config.provider?.[id.provider]?.models?.[id.model];
      const route = toRoute(id, known, { apiId: own?.id ?? id.model, price: own?.cost, traffic, log, make });
      if (config.limits?.freeOnly && !route.isFree && !known.provider.keyless) throw new AgentError("MODEL_NOT_FREE", { id: route.model });
      return route;
    },
    async defaultModel(id) {
      const provider = await findProvider(id);
      return provider && readDefault(provider, dependencies);
    },
    keyedProviders: () => listKeyed(dependencies, { findProvider, providerIds }),
    async keys() {
      const auth = await readStoredKeys(dependencies.dataDir);
      const found = await Promise.all(providerIds().map(findProvider));
      const known = found.filter((provider) => provider !== undefined).map((provider) => describeKey(config, provider, { env: dependencies.env, auth }));
      const ids = known.map(({ provider }) => provider);
      return [...known, ...describeStrangers(ids, auth)].sort((a, b) => (a.provider < b.provider ? -1 : 1));
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

async function listKeyed(
  dependencies: OpenerDependencies,
  { findProvider, providerIds }: Pick<ModelOpener, "findProvider" | "providerIds">,
): Promise<string[]> {
  const { replayed } = dependencies.traffic ?? {};
  const isOn = new Set(providerIds());
  if (replayed !== undefined) return (await replayed.providers()).filter((id) => isOn.has(id));
  const keyed = [];
  for (const id of isOn) {
    const provider = await findProvider(id);
    if (provider === undefined || provider.keyless) continue;
    if ((await readOptions(provider, dependencies)).options.apiKey !== undefined) keyed.push(id);
  }
  return keyed;
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

/** What its provider calls a model, what its answers cost, and what stands between it and the network. */
interface Around {
  apiId: string;
  price: Price | undefined;
  traffic: Traffic | undefined;
  log: Log;
  make: MakeAnswering;
}

/** The ending says so, or the prices. */
const costsNothing = ({ freeSuffix }: Provider, { apiId, price }: Around): boolean =>
  (freeSuffix !== undefined && apiId.endsWith(freeSuffix)) || (price?.input === 0 && price.output === 0);

/** One model as a route: what it throws comes out as a row of the error table. */
function toRoute(id: ModelId, ready: ReadyProvider, around: Around): Route {
  const { price, traffic, log, make } = around;
  const { provider, keySource, variable, timeoutMs, contextMessages, paceOf, place } = ready;
  const model = formatModelId(id);
  const asked: AskedModel = { model, provider: provider.id, variable, keySource };
  let made: Answering | undefined;
  let account: string | undefined;
  return {
    model,
    get account() {
      account ??= place();
      return account;
    },
    get id() {
      return `${model} ${this.account}`;
    },
    ...(contextMessages !== undefined && { contextMessages }),
    isFree: costsNothing(provider, around),
    async ask(request, step) {
      const { signal, release } = joinSignals([step.signal], limitOf(model, timeoutMs));
      try {
        made ??= await orAborted(make(id, ready), signal);
        const answer = made;
        const ask = async () => {
          if (traffic?.replayed === undefined) await paceOf(around.apiId)?.(signal);
          return withCost(await answer(request, { ...step, signal, model: asked.model, provider }), price);
        };
        const turn = await (traffic === undefined ? ask() : traffic.ask(id, ask));
        logUsage(log, provider, turn, { model: asked.model, messages: (request.messages ?? request.entries).length });
        return turn;
      } catch (error) {
        step.signal.throwIfAborted();
        throw toProviderError(error, asked, step.now());
      } finally {
        release();
      }
    },
  };
}

const makeChat: MakeAnswering = async (id, { factory }) => {
  const model = await makeModel(factory, id);
  return (request, step) => askModel(model, request, step);
};

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
