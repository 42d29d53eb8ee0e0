import { ALIASES } from "./aliases.ts";
import { AgentError } from "./errors.ts";
import type { Provider } from "./provider.ts";

/** What is known of a provider when one of its models has failed. */
export interface AdviceFacts {
  provider: Provider;
  /** As the provider knows it, without the provider's name. */
  modelId: string;
  /** Where the key in use came from, and where others are set. */
  keySource: string;
  unusedKeys: string[];
  /** The variable that holds the key, or the option of the configuration. */
  variable: string;
  /** The configuration says that none is sent. */
  isKeyOff: boolean;
  /** Path of the stored keys. */
  authFile: string;
  /** Ids of the provider that the configuration names. */
  configured: string[];
}

/** The same error with the next step that its provider knows of: a page, another model, the place of the key. */
export async function withAdvice(error: AgentError, facts: AdviceFacts): Promise<AgentError> {
  const parts = (await adviceOn(error, facts)).filter((part) => part !== "");
  const isSentence = (part: string) => /[.?]$/.test(part);
  const advice = [...parts.filter(isSentence), parts.filter((part) => !isSentence(part)).join("; ")].join(" ").trim();
  return advice === "" || error.data.advice !== undefined ? error : new AgentError(error.code, { ...error.data, advice }, { cause: error.cause });
}

async function adviceOn({ code, data }: AgentError, facts: AdviceFacts): Promise<string[]> {
  const { pages = {} } = facts.provider;
  switch (code) {
    case "AUTH_REFUSED":
      return data.status === 403 ? [RIGHTS, page("Account", pages.credits), page("Keys", pages.keys)] : [...sayKeys(facts), page("Keys", pages.keys)];
    case "QUOTA_EXCEEDED":
      return [
        page("Credits", pages.credits),
        page("Activity", pages.activity),
        page("Limits of the key", data.status === 402 ? undefined : pages.keys),
        freeModel(facts),
      ];
    case "MODEL_UNAVAILABLE":
      return [await nearestModels(facts), siblingModel(facts), page("Models", pages.models)];
    case "RATE_LIMITED":
      return [freeModel(facts)];
    case "NETWORK_FAILED":
      return [data.stage === "dns" ? LOOK_UP : "", facts.provider.keyless ? "Is its server running?" : "", page("Status of the service", pages.status)];
    case "OVERLOADED":
    case "PROVIDER_TIMEOUT":
    case "RESPONSE_INVALID":
      return [page("Status of the service", pages.status)];
    default:
      return [];
  }
}

const RIGHTS = "The account may have to be verified or to pay first, or the key has no right to this model.";
const LOOK_UP = "The name was not found: check its spelling and the name service (DNS) of this machine.";

const page = (what: string, url: string | undefined): string => (url === undefined ? "" : `${what}: ${url}`);

/** A key that is set where another one comes before it changes nothing. */
function sayKeys(facts: AdviceFacts): string[] {
  const { provider, keySource, unusedKeys, authFile } = facts;
  const place = (source: string) =>
    source === "configuration" ? `provider.${provider.id}.options.apiKey of the configuration` : source === "auth.json" ? authFile : source;
  const isVariable = keySource !== "configuration" && keySource !== "auth.json";
  const first = isVariable
    ? ""
    : `The one in ${place(keySource)} comes first${keySource === "configuration" ? " (agent config show --origin names the file)" : ""}.`;
  const others = unusedKeys.length === 0 ? "" : `Another key is set in ${unusedKeys.map(place).join(" and ")}, and is not used.`;
  return [first, others, sayChange(facts)];
}

/** How another key comes to be used. */
function sayChange({ provider: { id }, keySource, variable, isKeyOff }: AdviceFacts): string {
  if (keySource === "auth.json") return `To replace it: agent auth login ${id}; to remove it: agent auth logout ${id}.`;
  if (keySource === "configuration") return "Only a change there counts.";
  return isKeyOff ? `Set one: ${variable}=…` : `Set another one: agent auth login ${id}, or ${variable}=…`;
}

/** The provider's own free model, unless it is the one that failed. */
function freeModel({ provider, modelId }: AdviceFacts): string {
  const free = provider.defaultModel?.id ?? "";
  const isFree = provider.freeSuffix !== undefined && free.endsWith(provider.freeSuffix) && free !== modelId;
  return isFree ? `A free model: ${provider.id}/${free}` : "";
}

/** The same model with or without the ending that makes it free. */
function siblingModel({ provider: { id, freeSuffix }, modelId }: AdviceFacts): string {
  if (freeSuffix === undefined) return "";
  return modelId.endsWith(freeSuffix)
    ? `It may no longer be free: ${id}/${modelId.slice(0, -freeSuffix.length)}`
    : `It may be there for nothing: ${id}/${modelId}${freeSuffix}`;
}

const MOST_SUGGESTIONS = 3;

/** Those of the ids that are known without asking the provider: from the configuration, the aliases, the default. */
async function nearestModels({ provider, modelId, configured }: AdviceFacts): Promise<string> {
  const { distance } = await import("fastest-levenshtein");
  const prefix = `${provider.id}/`;
  const aliased = Object.values(ALIASES).flatMap((id) => (id.startsWith(prefix) ? [id.slice(prefix.length)] : []));
  const known = [...new Set([...configured, ...aliased, ...(provider.defaultModel ? [provider.defaultModel.id] : [])])];
  const near = known
    .map((id) => ({ id, far: distance(id.toLowerCase(), modelId.toLowerCase()) }))
    .filter(({ id, far }) => id !== modelId && far <= Math.max(2, Math.floor(modelId.length / 4)))
    .sort((a, b) => a.far - b.far)
    .slice(0, MOST_SUGGESTIONS);
  return near.length === 0 ? "" : `Did you mean ${near.map(({ id }) => `${prefix}${id}`).join(" or ")}?`;
}
