import { resolveAlias } from "./aliases.ts";
import type { AgentProfile, Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import type { ModelSource } from "./events.ts";
import { formatModelId, type ModelId, parseModelId, splitModelList } from "./model-id.ts";
import type { Provider } from "./provider.ts";

/** The models of one prompt: the first, and those that follow it when it fails. */
export interface ModelChain {
  /** What was asked for, before aliases; null when nobody asked. */
  requested: string | null;
  source: ModelSource;
  /** `provider/model`, at least one. */
  ids: ModelId[];
}

export interface ModelWish {
  model?: string | string[] | undefined;
  fallback?: string | string[] | undefined;
}

export interface ChainDependencies {
  config: Readonly<Config>;
  /** Where `config.model` comes from. */
  configSource: ModelSource | undefined;
  profile: AgentProfile | undefined;
  /** `--provider`: the provider of an id that is given without it. */
  provider?: string | undefined;
  /** Where `config.fallback` comes from; what the command line says goes with its `provider`. */
  fallbackSource?: ModelSource | undefined;
  /** Dotted keys of the configuration that an untrusted workspace sets. */
  untrusted: readonly string[];
  providerIds(): string[];
  findProvider(id: string): Promise<Provider | undefined>;
  /** The model that a provider takes when none is named, and who says so. */
  defaultModel(provider: string): Promise<DefaultModel | undefined>;
  /** Providers that need a key and have one. */
  keyedProviders(): Promise<string[]>;
}

export interface DefaultModel {
  /** With the provider in front or without. */
  id: string;
  source: Extract<ModelSource, "env" | "config" | "default">;
}

/**
 * Which models a prompt goes to, nearest wish first: request, command line, `AGENT_MODEL`, agent profile, configuration,
 * a provider's variable, the default of the only provider with a key. Then those that follow. Throws MODEL_INVALID, MODEL_NOT_FOUND, MODEL_UNSET and KEY_MISSING;
 * no model is ever put in the place of the one that was asked for.
 */
export async function resolveChain(wish: ModelWish, dependencies: ChainDependencies): Promise<ModelChain> {
  const { wanted, source } = await firstWish(wish, dependencies);
  const ids = [];
  for (const id of wanted) ids.push(await resolveId(id, dependencies));
  const { following, isOwn } = followersOf(ids, wish, dependencies);
  for (const id of following) ids.push(await resolveId(id, isOwn ? dependencies : { ...dependencies, provider: undefined }));
  const unique = [...new Map(ids.map((id) => [formatModelId(id), id])).values()];
  return { requested: source === "default" ? null : (wanted[0] ?? null), source, ids: unique };
}

/**
 * The next models, nearest wish first: request, command line and `AGENT_FALLBACK`, agent profile, what the configuration says of
 * the models that are asked, and what it says of all. What files name is a whole id: the provider of the command line
 * is not meant for it (`isOwn`: it is).
 */
function followersOf(asked: ModelId[], wish: ModelWish, { config, profile, fallbackSource }: ChainDependencies): { following: string[]; isOwn: boolean } {
  const near = fallbackSource === "cli" || fallbackSource === "env" ? config.fallback : undefined;
  const own = asked.flatMap(({ provider, model }) => splitModelList(config.provider?.[provider]?.models?.[model]?.fallback));
  const following = wish.fallback ?? near ?? profile?.fallback ?? (own.length > 0 ? own : config.fallback);
  return { following: splitModelList(following), isOwn: wish.fallback !== undefined || fallbackSource === "cli" };
}

interface Wanted {
  wanted: string[];
  source: ModelSource;
}

async function firstWish(wish: ModelWish, dependencies: ChainDependencies): Promise<Wanted> {
  const { config, configSource = "config", profile, provider } = dependencies;
  const isNear = configSource === "cli" || configSource === "env";
  return (
    readWish(wish.model, "input") ??
    (isNear ? readWish(config.model, configSource) : undefined) ??
    (provider === undefined ? undefined : await defaultOf(provider, dependencies)) ??
    readWish(profile?.model, "config") ??
    readWish(config.model, "config") ??
    onlyDefault(dependencies)
  );
}

/** A name that was left empty is a slip, and no wish for the default. */
function readWish(value: string | string[] | undefined, source: ModelSource): Wanted | undefined {
  if (value === undefined) return undefined;
  const wanted = splitModelList(value);
  if (wanted.length === 0) throw new AgentError("MODEL_INVALID", { id: "", reason: "it is empty." });
  return { wanted, source };
}

/** The model that `--provider NAME` without `--model` means. */
async function defaultOf(provider: string, { config, findProvider, providerIds, defaultModel }: ChainDependencies): Promise<Wanted> {
  if ((await findProvider(provider)) === undefined) throw unknownProvider(provider, { provider, config, known: providerIds() });
  const model = await defaultModel(provider);
  if (model === undefined)
    throw new AgentError("MODEL_INVALID", { id: provider, reason: `the provider "${provider}" has no default model; name one with --model.` });
  return { wanted: [withProvider(model.id, provider, config)], source: model.source };
}

/** A variable names the model; else, with exactly one key, there is no doubt whom to ask. */
async function onlyDefault({ config, keyedProviders, defaultModel, findProvider }: ChainDependencies): Promise<Wanted> {
  const keyed = await Promise.all((await keyedProviders()).map(async (provider) => ({ provider, model: await defaultModel(provider) })));
  if (keyed.length === 0) throw await noKeyAtAll(findProvider);
  const chosen = keyed.find((one) => one.model?.source === "env") ?? (keyed.length === 1 ? keyed[0] : undefined);
  if (chosen?.model === undefined) throw new AgentError("MODEL_UNSET", { providers: keyed.map((one) => one.provider).join(", ") });
  return { wanted: [withProvider(chosen.model.id, chosen.provider, config)], source: chosen.model.source };
}

/** One service is named, where a single key leads to many models. */
async function noKeyAtAll(findProvider: ChainDependencies["findProvider"]): Promise<AgentError> {
  const page = (await findProvider("openrouter"))?.pages?.keys;
  const suggestion = " or any other provider, and no model is named";
  return new AgentError("KEY_MISSING", { provider: "openrouter", variable: "OPENROUTER_API_KEY", suggestion, ...(page && { advice: `Keys: ${page}` }) });
}

async function resolveId(id: string, dependencies: ChainDependencies): Promise<ModelId> {
  const { config, provider, providerIds, findProvider, untrusted } = dependencies;
  const full = provider === undefined ? resolveAlias(id, config) : withProvider(id, provider, config);
  const parsed = parseModelId(full);
  if ((await findProvider(parsed.provider)) !== undefined) return parsed;
  if (untrusted.some((key) => key.startsWith(`provider.${parsed.provider}.`))) throw new AgentError("UNTRUSTED", { what: `The provider "${parsed.provider}"` });
  const known = providerIds();
  throw unknownProvider(full, { provider: parsed.provider, config, known, suggestion: await nearest(parsed, known) });
}

/** The id at this provider. A short name that we know counts only where it leads there: elsewhere it is that provider's own. */
function withProvider(id: string, provider: string, config: Readonly<Config>): string {
  const resolved = resolveAlias(id, config);
  if (resolved.startsWith(`${provider}/`)) return resolved;
  return `${provider}/${Object.hasOwn(config.alias ?? {}, id) ? resolved : id}`;
}

interface Unknown {
  provider: string;
  config: Readonly<Config>;
  known: string[];
  suggestion?: string;
}

function unknownProvider(id: string, { provider, config, known, suggestion = "" }: Unknown): AgentError {
  const isOff = config.disabled_providers?.includes(provider) || config.enabled_providers?.includes(provider) === false;
  const hint = isOff ? "The configuration switches it off (disabled_providers, enabled_providers). " : suggestion;
  return new AgentError("MODEL_NOT_FOUND", { id, provider, suggestion: hint, known: known.join(", ") });
}

/** A slip of the pen in the provider's name, or else a vendor's id that lacks its provider. */
async function nearest({ provider, model }: ModelId, known: string[]): Promise<string> {
  const { distance } = await import("fastest-levenshtein");
  const close = known.find((id) => distance(id, provider) <= 2 && id.length > 3);
  return `Did you mean ${close === undefined ? `openrouter/${provider}` : close}/${model}? `;
}
