import type { LanguageModelV3CallOptions, LanguageModelV3FunctionTool } from "@ai-sdk/provider";
import type { RequestSettings } from "./hooks.ts";
import { type Entry, type Message, messageFor } from "./message.ts";
import type { CachePolicy } from "./provider.ts";

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
}

/** The call options for one model: system, then messages, with cache marks where its policy wants them. */
export function toCallOptions(request: ModelRequest, model: { providerId: string; cachePolicy: CachePolicy; signal: AbortSignal }): LanguageModelV3CallOptions {
  const { system, tools, settings } = request;
  const messages = request.messages ?? request.entries.map((entry) => messageFor(entry, model.providerId));
  const prompt: Message[] = [...(system === "" ? [] : [{ role: "system" as const, content: system }]), ...messages.filter(saysSomething).map(withUsableCalls)];
  return {
    prompt: markForCache(prompt, model.cachePolicy),
    ...(tools.length > 0 && { tools, toolChoice: { type: "auto" as const } }),
    ...(settings.temperature !== undefined && { temperature: settings.temperature }),
    ...(settings.topP !== undefined && { topP: settings.topP }),
    ...(settings.stop !== undefined && { stopSequences: settings.stop }),
    ...(settings.seed !== undefined && { seed: settings.seed }),
    ...(settings.maxOutputTokens !== undefined && { maxOutputTokens: settings.maxOutputTokens }),
    headers: settings.headers,
    providerOptions: settings.providerOptions,
    abortSignal: model.signal,
  };
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

/** Marks the system message and the last two others: the prefix that the next request of the session repeats. */
function markForCache(prompt: Message[], policy: CachePolicy): Message[] {
  if (policy.kind === "none") return prompt;
  const isMarked = (message: Message, index: number) => message.role === "system" || index >= prompt.length - 2;
  return prompt.map((message, index) => (isMarked(message, index) ? marked(message, policy.providerOptions) : message));
}

/** Of a tool message only the last result: each mark of the message would count, and Anthropic refuses more than four. */
function marked(message: Message, mark: Record<string, any>): Message {
  if (message.role !== "tool") return { ...message, providerOptions: { ...message.providerOptions, ...mark } };
  const content = message.content.map((part, index) =>
    index === message.content.length - 1 ? { ...part, providerOptions: { ...part.providerOptions, ...mark } } : part,
  );
  return { ...message, content };
}
