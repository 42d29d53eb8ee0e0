import type {
  EmbeddingModelV3,
  LanguageModelV3,
  LanguageModelV3CallOptions,
  LanguageModelV3Content,
  LanguageModelV3GenerateResult,
  LanguageModelV3StreamPart,
  LanguageModelV3Usage,
} from "@ai-sdk/provider";
import type { Fetch } from "./http.ts";
import type { Log } from "./log.ts";
import type { Message } from "./message.ts";
import { estimateTokens } from "./token-estimate.ts";

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
 * What a model's cache needs. `breakpoints`: explicit marks, as provider options of a tool, a message or a part of one.
 * `key`: provider options of each request that hold the key of the session, so that its requests find each other.
 * `none`: the provider caches by itself or not at all.
 */
export type CachePolicy =
  | { kind: "none" }
  | { kind: "breakpoints"; providerOptions: Record<string, Record<string, any>> }
  | { kind: "key"; optionsFor(key: string): Record<string, Record<string, any>> };

export type ModelFactory = (modelId: string) => LanguageModel | Promise<LanguageModel>;

/** The AI SDK's specification of a model that turns texts into vectors. */
export type EmbeddingModel = EmbeddingModelV3;

export type EmbeddingFactory = (modelId: string) => EmbeddingModel | Promise<EmbeddingModel>;

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
  /** Pages of the service, for people; errors name the one that helps. */
  pages?: { keys?: string; credits?: string; activity?: string; models?: string; status?: string };
  /** Ending of a model id that means the same model for nothing, for example `:free`. */
  freeSuffix?: string;
  /** How many requests a minute the service takes of one account, where that is known; `options.requestsPerMinute` counts first. */
  requestsPerMinute?(modelId: string, options: ProviderOptions): number | undefined;
  /** Options of the provider itself under those of configuration and environment. */
  defaults?: ProviderOptions;
  /** Called once a run, when the first model is needed. Throws an AgentError for options it cannot use. */
  create(options: ProviderOptions, services: ProviderServices): ModelFactory | Promise<ModelFactory>;
  /** Models that embed texts, where the provider has such; called when the first is needed. Sends nothing. */
  embeddings?(options: ProviderOptions, services: ProviderServices): EmbeddingFactory | Promise<EmbeddingFactory>;
  /** The provider's own list, which errors name models of. Fails loudly; an empty list means that there are none. */
  models?(options: ProviderOptions, services: ProviderServices): Promise<ModelInfo[]>;
  cachePolicy?(modelId: string): CachePolicy;
}

/** Defines a provider. `create` returns a factory of AI SDK models, so every AI SDK provider package is three lines away. */
export function provider(definition: Provider): Provider {
  if (!/^[\w.-]+$/.test(definition.id)) throw new TypeError(`"${definition.id}" is not a provider id: use letters, digits, ., _ and -.`);
  return Object.freeze({ ...definition });
}

/** What a model of `textModel` yields: a piece of its text, or a part of the stream as the AI SDK defines it. */
export type TextModelPiece = string | LanguageModelV3StreamPart;

export type TextModelAnswer = (prompt: Message[], options: LanguageModelV3CallOptions) => AsyncIterable<TextModelPiece> | Iterable<TextModelPiece>;

/**
 * A language model made of a generator. Strings are its text; a `tool-call` part is a call; a `finish` part is added
 * where the generator yields none, with tokens estimated at four characters each. What the generator throws fails the
 * request. `costUsd` is what each answer costs; unknown by default.
 *
 *     textModel(async function* (prompt) { yield `There are ${prompt.length} messages.`; })
 */
export function textModel(
  answer: TextModelAnswer,
  { id = "text", provider = "text", costUsd }: { id?: string; provider?: string; costUsd?: number } = {},
): LanguageModel {
  const stream = (options: LanguageModelV3CallOptions) => streamParts(answer(options.prompt, options), options, costUsd);
  return {
    specificationVersion: "v3",
    provider,
    modelId: id,
    supportedUrls: {},
    doStream: async (options) => ({ stream: toStream(stream(options)) }),
    doGenerate: async (options) => collectParts(stream(options)),
  };
}

type FinishPart = Extract<LanguageModelV3StreamPart, { type: "finish" }>;

async function* streamParts(
  pieces: AsyncIterable<TextModelPiece> | Iterable<TextModelPiece>,
  { prompt, abortSignal }: LanguageModelV3CallOptions,
  costUsd: number | undefined,
): AsyncGenerator<LanguageModelV3StreamPart> {
  let [blocks, characters, isOpen, isCalling, isFinished] = [0, 0, false, false, false];
  yield { type: "stream-start", warnings: [] };
  for await (const piece of pieces) {
    abortSignal?.throwIfAborted();
    if (typeof piece === "string") {
      if (!isOpen) yield { type: "text-start", id: `text-${++blocks}` };
      isOpen = true;
      characters += piece.length;
      yield { type: "text-delta", id: `text-${blocks}`, delta: piece };
      continue;
    }
    if (isOpen) yield { type: "text-end", id: `text-${blocks}` };
    isOpen = false;
    isCalling ||= piece.type === "tool-call";
    isFinished ||= piece.type === "finish";
    characters += piece.type === "tool-call" ? piece.input.length : piece.type === "reasoning-delta" ? piece.delta.length : 0;
    yield piece;
  }
  if (isOpen) yield { type: "text-end", id: `text-${blocks}` };
  if (!isFinished) yield finishPart(isCalling, estimateUsage(JSON.stringify(prompt).length, characters), costUsd);
}

const finishPart = (isCalling: boolean, usage: LanguageModelV3Usage, costUsd: number | undefined): FinishPart => ({
  type: "finish",
  finishReason: { unified: isCalling ? "tool-calls" : "stop", raw: undefined },
  usage,
  ...(costUsd !== undefined && { providerMetadata: { "agent-runtime": { costUsd } } }),
});

function estimateUsage(promptCharacters: number, answerCharacters: number): LanguageModelV3Usage {
  const [input, output] = [promptCharacters, answerCharacters].map((characters) => estimateTokens(characters)) as [number, number];
  return { inputTokens: { total: input, noCache: input, cacheRead: 0, cacheWrite: 0 }, outputTokens: { total: output, text: output, reasoning: 0 } };
}

/** One part for each that is asked for, so a slow reader slows the generator down. */
function toStream(parts: AsyncGenerator<LanguageModelV3StreamPart>): ReadableStream<LanguageModelV3StreamPart> {
  return new ReadableStream<LanguageModelV3StreamPart>({
    async pull(controller) {
      const { done, value } = await parts.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await parts.return(undefined);
    },
  });
}

/** An answer that is not streamed is its stream, collected. */
export async function collectParts(parts: AsyncIterable<LanguageModelV3StreamPart>): Promise<LanguageModelV3GenerateResult> {
  const content: LanguageModelV3Content[] = [];
  let finish = finishPart(false, estimateUsage(0, 0), undefined);
  for await (const part of parts) {
    const last = content.at(-1);
    if (part.type === "text-start" || part.type === "reasoning-start") content.push({ type: part.type === "text-start" ? "text" : "reasoning", text: "" });
    else if (part.type === "text-delta" || part.type === "reasoning-delta") {
      if (last?.type === "text" || last?.type === "reasoning") last.text += part.delta;
    } else if (part.type === "text-end" || part.type === "reasoning-end") {
      if (last?.type === "text" || last?.type === "reasoning") Object.assign(last, part.providerMetadata && { providerMetadata: part.providerMetadata });
    } else if (part.type === "tool-call" || part.type === "file" || part.type === "source") content.push(part);
    else if (part.type === "finish") finish = part;
    else if (part.type === "error") throw part.error;
  }
  const { finishReason, usage, providerMetadata } = finish;
  return { content, finishReason, usage, warnings: [], ...(providerMetadata && { providerMetadata }) };
}
