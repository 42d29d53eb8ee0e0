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
  /** Dotted keys of the configuration that an untrusted workspace sets. */
  untrusted: readonly string[];
  providerIds(): string[];
  findProvider(id: string): Promise<Provider | undefined>;
  /** Providers that need a key and have one, with the model that each takes by default. */
  keyedDefaults(): Promise<{ provider: string; model: string | undefined }[]>;
}

/**
 * Which models a prompt goes to, nearest wish first: request, command line, `AGENT_MODEL`, agent profile, configuration,
 * the default of the only provider with a key. Throws MODEL_INVALID, MODEL_NOT_FOUND, MODEL_UNSET and KEY_MISSING;
 * no model is ever put in the place of the one that was asked for.
 */
export async function resolveChain(wish: ModelWish, dependencies: ChainDependencies): Promise<ModelChain> {
  const { config, profile } = dependencies;
  const { wanted, source } = await firstWish(wish, dependencies);
  const following = splitModelList(wish.fallback ?? profile?.fallback ?? config.fallback);
  const ids = [];
  for (const id of [...wanted, ...following]) ids.push(await resolveId(id, dependencies));
  const unique = [...new Map(ids.map((id) => [formatModelId(id), id])).values()];
  return { requested: source === "default" ? null : (wanted[0] ?? null), source, ids: unique };
}

async function firstWish(wish: ModelWish, dependencies: ChainDependencies): Promise<{ wanted: string[]; source: ModelSource }> {
  const { config, configSource, profile, provider } = dependencies;
  const isNear = configSource === "cli" || configSource === "env";
  const wishes: [string | string[] | undefined, ModelSource][] = [
    [wish.model, "input"],
    [isNear ? config.model : undefined, configSource ?? "config"],
    [provider === undefined ? undefined : await defaultOf(provider, dependencies), "default"],
    [profile?.model, "config"],
    [config.model, "config"],
  ];
  for (const [value, source] of wishes) {
    const wanted = splitModelList(value);
    if (wanted.length > 0) return { wanted, source };
  }
  return { wanted: [await onlyDefault(dependencies)], source: "default" };
}

/** The model that `--provider NAME` without `--model` means. */
async function defaultOf(id: string, { config, findProvider, providerIds }: ChainDependencies): Promise<string> {
  const provider = await findProvider(id);
  if (provider === undefined) throw unknownProvider(id, id, providerIds());
  const model = config.provider?.[id]?.default_model ?? provider.defaultModel?.id;
  if (model === undefined) throw new AgentError("MODEL_INVALID", { id, reason: `the provider "${id}" has no default model; name one with --model.` });
  return model.startsWith(`${id}/`) ? model : `${id}/${model}`;
}

/** With exactly one key there is no doubt whom to ask. */
async function onlyDefault({ keyedDefaults }: ChainDependencies): Promise<string> {
  const keyed = (await keyedDefaults()).filter(({ model }) => model !== undefined);
  const [first, ...others] = keyed;
  if (first === undefined) throw new AgentError("KEY_MISSING", { provider: "any provider, and no model is named", variable: "OPENROUTER_API_KEY" });
  if (others.length > 0) throw new AgentError("MODEL_UNSET", { providers: keyed.map(({ provider }) => provider).join(", ") });
  return first.model?.startsWith(`${first.provider}/`) ? first.model : `${first.provider}/${first.model}`;
}

async function resolveId(id: string, dependencies: ChainDependencies): Promise<ModelId> {
  const { config, provider, providerIds, findProvider, untrusted } = dependencies;
  const full = withProvider(resolveAlias(id, config), provider);
  const parsed = parseModelId(full);
  if ((await findProvider(parsed.provider)) !== undefined) return parsed;
  if (untrusted.some((key) => key.startsWith(`provider.${parsed.provider}.`))) throw new AgentError("UNTRUSTED", { what: `The provider "${parsed.provider}"` });
  throw unknownProvider(full, parsed.provider, providerIds(), await nearest(parsed, providerIds()));
}

const withProvider = (id: string, provider: string | undefined): string => (provider === undefined || id.startsWith(`${provider}/`) ? id : `${provider}/${id}`);

function unknownProvider(id: string, provider: string, known: string[], suggestion = ""): AgentError {
  return new AgentError("MODEL_NOT_FOUND", { id, provider, suggestion, known: known.join(", ") });
}

/** A slip of the pen in the provider's name, or else a vendor's id that lacks its provider. */
async function nearest({ provider, model }: ModelId, known: string[]): Promise<string> {
  const { distance } = await import("fastest-levenshtein");
  const close = known.find((id) => distance(id, provider) <= 2 && id.length > 3);
  return `Did you mean ${close === undefined ? `openrouter/${provider}` : close}/${model}? `;
}
