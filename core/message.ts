import type {
  LanguageModelV3FilePart,
  LanguageModelV3Message,
  LanguageModelV3ReasoningPart,
  LanguageModelV3TextPart,
  LanguageModelV3ToolCallPart,
  LanguageModelV3ToolResultOutput,
  LanguageModelV3ToolResultPart,
} from "@ai-sdk/provider";
import { authorOf } from "./model-id.ts";

/** The conversation speaks the AI SDK's prompt types; there is no second message dialect. */
export type Message = LanguageModelV3Message;
export type UserMessage = Extract<Message, { role: "user" }>;
export type AssistantMessage = Extract<Message, { role: "assistant" }>;
export type ToolMessage = Extract<Message, { role: "tool" }>;
export type TextPart = LanguageModelV3TextPart;
export type FilePart = LanguageModelV3FilePart;
export type ReasoningPart = LanguageModelV3ReasoningPart;
export type ToolCallPart = LanguageModelV3ToolCallPart;
export type ToolResultPart = LanguageModelV3ToolResultPart;
export type ToolResultOutput = LanguageModelV3ToolResultOutput;

/** A message as a session keeps it: who wrote it, when (ms since 1970), and which model (`provider/model`) where one did. */
export interface Entry {
  id: string;
  at: number;
  model?: string;
  /** The step of the session that it is the answer of. */
  step?: number;
  message: Message;
}

/** Why this is no message, or undefined. */
export function findMessageFault(message: unknown): string | undefined {
  const { role, content } = (message ?? {}) as { role?: unknown; content?: unknown };
  if (role === "system") return typeof content === "string" ? undefined : "the content of a system message is not a string.";
  if (role !== "user" && role !== "assistant" && role !== "tool") return "a message has no role: system, user, assistant or tool.";
  const isParts = Array.isArray(content) && content.every((part) => typeof part?.type === "string");
  return isParts ? undefined : `the content of a message of the role ${role} is not a list of parts.`;
}

/** Why this is no entry, or undefined. */
export function findEntryFault(entry: unknown): string | undefined {
  const { id, at, message } = (entry ?? {}) as Partial<Entry>;
  return typeof id === "string" && typeof at === "number" ? findMessageFault(message) : "an entry is not { id, at, message }.";
}

/** Tokens of one step. `input` excludes what was read from or written to the provider's cache. */
export interface TokenCount {
  input: number;
  output: number;
  reasoning: number;
  cache: { read: number; write: number };
}

export const NO_TOKENS: TokenCount = { input: 0, output: 0, reasoning: 0, cache: { read: 0, write: 0 } };

export const addTokens = (a: TokenCount, b: TokenCount): TokenCount => ({
  input: a.input + b.input,
  output: a.output + b.output,
  reasoning: a.reasoning + b.reasoning,
  cache: { read: a.cache.read + b.cache.read, write: a.cache.write + b.cache.write },
});

/** All tokens that passed, cached ones included; reasoning is part of the output. */
export const totalTokens = (count: TokenCount): number => count.input + count.output + count.cache.read + count.cache.write;

/** The share of the prompt's tokens that came from the provider's cache, 0 to 1; null where no tokens are known. */
export function cacheHitRate({ input, cache }: TokenCount): number | null {
  const all = input + cache.read + cache.write;
  return all === 0 ? null : Number((cache.read / all).toFixed(4));
}

export const textMessage = (text: string): UserMessage => userMessage(text);

/** What a user says: words, or parts in their order. */
export type UserContent = string | UserMessage["content"];

export const userMessage = (content: UserContent, files: UserMessage["content"] = []): UserMessage => ({
  role: "user",
  content: [...(typeof content === "string" ? [{ type: "text" as const, text: content }] : content), ...files],
});

const TOOL_FILES = "Files that the tools above have read:";

/** Files cannot stand in a tool result of every provider; in a user's message they can. */
export const toolFilesMessage = (files: FilePart[]): UserMessage => userMessage(TOOL_FILES, files);

/** Whether tools have brought the files of a message, and not the user. */
export const isToolFiles = ({ role, content }: Message): boolean => role === "user" && content[0]?.type === "text" && content[0].text === TOOL_FILES;

/** Blank text, and no file. */
export const saysNothing = (content: UserContent): boolean => userMessage(content).content.every((part) => part.type === "text" && part.text.trim() === "");

/** The text of a message: its text parts, joined. */
export function messageText(message: Message): string {
  if (message.role === "system") return message.content;
  return message.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("");
}

export const toolCallsOf = (message: Message): ToolCallPart[] =>
  message.role === "assistant" ? message.content.filter((part): part is ToolCallPart => part.type === "tool-call" && !part.providerExecuted) : [];

/**
 * What a model (`provider/model`) may see of an entry: what another vendor's models have thought and signed is dropped,
 * because only its own understand it. Returns the same object where nothing changes.
 */
export function messageFor(entry: Entry, reader: string): Message {
  const { message, model } = entry;
  if (message.role !== "assistant" || model === undefined || model === reader || authorOf(model) === authorOf(reader)) return message;
  return {
    role: "assistant",
    content: message.content.filter((part) => part.type !== "reasoning").map(({ providerOptions: _, ...part }) => part as AssistantMessage["content"][number]),
  };
}
