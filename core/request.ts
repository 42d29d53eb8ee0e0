import type { JSONSchema7, LanguageModelV3CallOptions, LanguageModelV3FunctionTool } from "@ai-sdk/provider";
import { withCachePolicy } from "./cache-policy.ts";
import type { RequestSettings } from "./hooks.ts";
import { type Entry, type Message, messageFor } from "./message.ts";
import type { CachePolicy } from "./provider.ts";
import type { JsonSchema } from "./tool.ts";

/** What one step asks, before it is put into the words of one model. */
export interface ModelRequest {
  /** "" sends no system message. */
  system: string;
  entries: readonly Entry[];
  /** Messages in the place of the entries, where a hook has changed them. */
  messages?: Message[];
  /** In a stable order: a changed order would break the provider's cache. */
  tools: LanguageModelV3FunctionTool[];
  settings: RequestSettings;
  /** JSON Schema that the answer shall satisfy, for models that can be told so. */
  outputSchema?: JsonSchema;
  /** Names the session to the cache of a provider that wants that. */
  cacheKey?: string;
}

/** The call options for one model (`id`: `provider/model`): system, then messages, with what its cache policy wants. */
export function toCallOptions(request: ModelRequest, model: { id: string; cachePolicy: CachePolicy; signal: AbortSignal }): LanguageModelV3CallOptions {
  const { system, tools, settings } = request;
  const messages = messagesFor(model.id, request);
  const prompt: Message[] = [...(system === "" ? [] : [{ role: "system" as const, content: system }]), ...messages.filter(saysSomething).map(withUsableCalls)];
  const call: LanguageModelV3CallOptions = {
    prompt,
    ...(tools.length > 0 && { tools, toolChoice: { type: "auto" as const } }),
    ...(settings.temperature !== undefined && { temperature: settings.temperature }),
    ...(settings.topP !== undefined && { topP: settings.topP }),
    ...(settings.stop !== undefined && { stopSequences: settings.stop }),
    ...(settings.seed !== undefined && { seed: settings.seed }),
    ...(settings.maxOutputTokens !== undefined && { maxOutputTokens: settings.maxOutputTokens }),
    ...(request.outputSchema !== undefined && { responseFormat: { type: "json" as const, schema: request.outputSchema as JSONSchema7, name: "answer" } }),
    headers: settings.headers,
    providerOptions: settings.providerOptions,
    abortSignal: model.signal,
  };
  return withCachePolicy(call, model.cachePolicy, request.cacheKey);
}

/** The conversation as a model may see it. What a hook has left as it was is known by its entry. */
function messagesFor(model: string, { entries, messages }: ModelRequest): Message[] {
  if (messages === undefined) return entries.map((entry) => messageFor(entry, model));
  const known = new Map(entries.map((entry) => [entry.message, entry]));
  return messages.map((message) => {
    const entry = known.get(message);
    return entry === undefined ? message : messageFor(entry, model);
  });
}

/** Providers refuse an assistant's message without text and calls, which is what an answer leaves that was cut while it thought. */
export const saysSomething = (message: Message): boolean => message.role !== "assistant" || message.content.some(({ type }) => type !== "reasoning");

/**
 * A model calls what it likes, but providers refuse a conversation in which a call has a name or an input that no tool
 * can have. The result has told the model what was wrong with it.
 */
function withUsableCalls(message: Message): Message {
  if (message.role === "assistant" && message.content.some((part) => part.type === "tool-call" && !(isName(part.toolName) && isObject(part.input))))
    return {
      ...message,
      content: message.content.map((part) => (part.type === "tool-call" ? { ...usable(part), input: isObject(part.input) ? part.input : {} } : part)),
    };
  if (message.role === "tool" && message.content.some((part) => part.type === "tool-result" && !isName(part.toolName)))
    return { ...message, content: message.content.map((part) => (part.type === "tool-result" ? usable(part) : part)) };
  return message;
}

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);
const isName = (name: string): boolean => /^[\w-]{1,64}$/.test(name);
const usable = <T extends { toolName: string }>(part: T): T => ({ ...part, toolName: part.toolName.replace(/[^\w-]+/g, "_").slice(0, 64) || "_" });
