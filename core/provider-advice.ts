import { AgentError } from "./errors.ts";
import type { ModelInfo } from "./provider.ts";
import type { ReadyProvider } from "./ready-provider.ts";
import { suggestFreeModel, suggestModels } from "./suggest-models.ts";

/** What is known of a provider when one of its models has failed. */
export interface AdviceFacts extends Pick<ReadyProvider, "provider" | "keySource" | "unusedKeys" | "variable" | "isKeyOff" | "authFile" | "configured"> {
  /** As it was sent, without the provider's name. */
  modelId: string;
  /** What the provider lists; undefined where it gives no list. Asks it, so only where that helps. */
  listModels(): Promise<ModelInfo[] | undefined>;
}

/** The same error with the next step that its provider knows of: a page, another model, the place of the key. */
export async function withAdvice(error: AgentError, facts: AdviceFacts): Promise<AgentError> {
  if (error.data.advice !== undefined) return error;
  const parts = (await adviceOn(error, facts)).filter((part) => part !== "");
  const isSentence = (part: string) => /[.?]$/.test(part);
  const advice = [...parts.filter(isSentence), parts.filter((part) => !isSentence(part)).join("; ")].join(" ").trim();
  return advice === "" ? error : new AgentError(error.code, { ...error.data, advice }, { cause: error.cause });
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
        suggestFreeModel({ ...facts, listed: await facts.listModels() }),
      ];
    case "MODEL_UNAVAILABLE":
      return [...(await suggestModels({ ...facts, listed: await facts.listModels() })), page("Models", pages.models)];
    case "RATE_LIMITED":
      return facts.provider.freeSuffix === undefined ? [] : [suggestFreeModel({ ...facts, listed: await facts.listModels() })];
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
