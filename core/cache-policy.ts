import type { LanguageModelV3CallOptions } from "@ai-sdk/provider";
import type { Message } from "./message.ts";
import type { CachePolicy } from "./provider.ts";

type Call = LanguageModelV3CallOptions;
type Mark = Record<string, Record<string, any>>;

/**
 * The call with what its provider's cache needs, and nothing where it needs nothing. Marks stand on the last tool, the
 * system message and the last two messages: four, which is as many as Anthropic takes. `key` names the session.
 */
export function withCachePolicy(call: Call, policy: CachePolicy, key: string | undefined): Call {
  if (policy.kind === "breakpoints") {
    const { providerOptions: mark } = policy;
    return { ...call, prompt: markPrompt(call.prompt, mark), ...(call.tools !== undefined && { tools: markLast(call.tools, mark) }) };
  }
  if (policy.kind === "key" && key !== undefined) return { ...call, providerOptions: merge(policy.optionsFor(key), call.providerOptions) };
  return call;
}

/**
 * The prefix that the next request of the session repeats. A message of calls alone has no place for a mark: the one
 * before it gets it, and there the request before has left its own.
 */
function markPrompt(prompt: Message[], mark: Mark): Message[] {
  const marked = new Set(prompt.flatMap((message, index) => (canCarry(message) ? [index] : [])).slice(-2));
  if (prompt[0]?.role === "system") marked.add(0);
  return prompt.map((message, index) => (marked.has(index) ? withMark(message, mark) : message));
}

/** Providers refuse a mark on an empty text. */
function canCarry(message: Message): boolean {
  if (message.role === "system") return false;
  if (message.role === "assistant") return message.content.some((part) => part.type === "text" && part.text !== "");
  const last = message.content.at(-1);
  return last !== undefined && (last.type !== "text" || last.text !== "");
}

/** On the last part of what a person or a tool says: each mark of a message counts, and packages would put it on every result. */
function withMark(message: Message, mark: Mark): Message {
  if (message.role === "user") return { ...message, content: markLast(message.content, mark) };
  if (message.role === "tool") return { ...message, content: markLast(message.content, mark) };
  return { ...message, providerOptions: merge(message.providerOptions, mark) };
}

const markLast = <T extends object>(items: T[], mark: Mark): T[] =>
  items.map((item, index) =>
    index === items.length - 1 ? { ...item, providerOptions: merge((item as { providerOptions?: Mark }).providerOptions, mark) } : item,
  );

/** Provider by provider; what `over` says counts. */
function merge(under: Mark | undefined, over: Mark | undefined): Mark {
  const merged: Mark = { ...under };
  for (const [provider, options] of Object.entries(over ?? {})) merged[provider] = { ...merged[provider], ...options };
  return merged;
}
