import type { LanguageModelV3 } from "@ai-sdk/provider";
import type { Fetch } from "./http.ts";
import type { Log } from "./log.ts";

/** The AI SDK's language-model specification. v4 models are folded alike, so packages of the newer line may be returned too. */
export type LanguageModel = LanguageModelV3;

/** The options of one provider: `provider.NAME.options` of the configuration over its environment over its defaults. */
export interface ProviderOptions {
  apiKey?: string;
  baseURL?: string;
  headers?: Record<string, string>;
  [option: string]: unknown;
}

export interface ProviderServices {
  /** The one HTTP client, with the timeouts of this provider. Hand it to the SDK. */
  fetch: Fetch;
  log: Log;
}

/** What is known of a model. Prices are USD per million tokens; `undefined` means unknown, never free. */
export interface ModelInfo {
  id: string;
  name?: string;
  /** Tokens of the context window. */
  context?: number;
  price?: { input: number; output: number; cacheRead?: number; cacheWrite?: number };
  tools?: boolean;
}

/**
 * Which cache marks a model needs. `breakpoints`: explicit marks, as provider options of a message.
 * `none`: the provider caches by itself or not at all.
 */
export type CachePolicy = { kind: "none" } | { kind: "breakpoints"; providerOptions: Record<string, Record<string, any>> };

export type ModelFactory = (modelId: string) => LanguageModel | Promise<LanguageModel>;

export interface Provider {
  /** What stands before the first `/` of a model id. */
  id: string;
  name?: string;
  /** Environment variables that may hold the key; the first that is set counts. */
  env?: string[];
  /** Other environment variables and the option each one sets, for example `{ OPENROUTER_BASE_URL: "baseURL" }`. */
  envOptions?: Record<string, string>;
  /** No key is needed: a local server, a demo. A key that is set is sent all the same. */
  keyless?: boolean;
  /** The model taken when this is the only provider with a key. `date`: when it was chosen, ISO. */
  defaultModel?: { id: string; date: string };
  /** Options of the provider itself under those of configuration and environment. */
  defaults?: ProviderOptions;
  /** Called once a run, when the first model is needed. Throws an AgentError for options it cannot use. */
  create(options: ProviderOptions, services: ProviderServices): ModelFactory | Promise<ModelFactory>;
  /** The provider's own list. Fails loudly; an empty list means that there are none. */
  models?(options: ProviderOptions, services: ProviderServices): Promise<ModelInfo[]>;
  cachePolicy?(modelId: string): CachePolicy;
}

/** Defines a provider. `create` returns a factory of AI SDK models, so every AI SDK provider package is three lines away. */
export function provider(definition: Provider): Provider {
  if (!/^[\w.-]+$/.test(definition.id)) throw new TypeError(`"${definition.id}" is not a provider id: use letters, digits, ., _ and -.`);
  return Object.freeze({ ...definition });
}
