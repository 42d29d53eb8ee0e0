import type { LanguageModelV3StreamPart, LanguageModelV3Usage } from "@ai-sdk/provider";
import { AgentError } from "./errors.ts";
import type { CostSource, Emit } from "./events.ts";
import type { AssistantMessage, TokenCount } from "./message.ts";

/** A tool call as the model wrote it. `input` is the raw text: whether it is valid is judged on that. */
export interface AskedCall {
  id: string;
  tool: string;
  input: string;
}

export type FinishReason = "stop" | "length" | "content-filter" | "tool-calls" | "error" | "other";

/** One answer of a model, folded from its stream. */
export interface Turn {
  message: AssistantMessage;
  /** In the order in which they first appeared. */
  calls: AskedCall[];
  text: string;
  reason: FinishReason;
  tokens: TokenCount;
  costUsd?: number;
  costSource: CostSource;
  respondedModelId?: string;
  /** It came from the response cache and cost nothing. */
  cached?: true;
}

export interface TurnContext {
  model: string;
  messageId: string;
  emit: Emit;
  newId(prefix: "prt" | "call"): string;
  /** A call of an earlier answer has this id. */
  isTaken?(callId: string): boolean;
  now(): number;
  /** Resolves when the readers of the events have caught up. */
  caughtUp(): Promise<void> | undefined;
  signal: AbortSignal;
}

interface Block {
  kind: "text" | "reasoning";
  partId: string;
  text: string;
  startedAt: number;
  providerOptions?: Record<string, any>;
}

type Call = AskedCall & { providerOptions?: Record<string, any> };

interface Fold {
  /** Text, reasoning and calls in the order in which they began. */
  parts: (Block | Call)[];
  open: Map<string, Block>;
  /** Calls that are still being written. An id that comes again after its call is complete is another call. */
  writing: Map<string, Call>;
  finish?: Extract<LanguageModelV3StreamPart, { type: "finish" }>;
  respondedModelId?: string;
}

/**
 * Folds a model's stream into one message. Throws what the stream reports as an error, STREAM_CUT for a stream that
 * ends without a finish, ANSWER_EMPTY for one that says nothing, and the signal's reason; nothing is emitted after an abort.
 */
export async function foldTurn(stream: ReadableStream<LanguageModelV3StreamPart>, context: TurnContext): Promise<Turn> {
  const fold: Fold = { parts: [], open: new Map(), writing: new Map() };
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      context.signal.throwIfAborted();
      if (done) break;
      foldPart(fold, value, context);
      await context.caughtUp();
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  for (const id of [...fold.open.keys()]) closeBlock(fold, id, context);
  return finishTurn(fold, context);
}

function foldPart(fold: Fold, part: LanguageModelV3StreamPart, context: TurnContext): void {
  switch (part.type) {
    case "text-start":
    case "reasoning-start":
      openBlock(fold, part.type === "text-start" ? "text" : "reasoning", part, context);
      return;
    case "text-delta":
    case "reasoning-delta":
      growBlock(fold, part.type === "text-delta" ? "text" : "reasoning", part, context);
      return;
    case "text-end":
    case "reasoning-end":
      keepMetadata(fold.open.get(blockKey(part)), part);
      closeBlock(fold, blockKey(part), context);
      return;
    case "tool-input-start":
      if (!part.providerExecuted) openCall(fold, part.id, part.toolName);
      return;
    case "tool-input-delta":
      growCall(fold.writing.get(part.id), part.delta);
      return;
    case "tool-call":
      closeCall(fold, part);
      return;
    case "response-metadata":
      fold.respondedModelId ??= part.modelId;
      return;
    case "finish":
      fold.finish = part;
      return;
    case "error":
      throw part.error;
    default:
      // Sources, files, warnings and raw chunks do not enter the conversation.
      return;
  }
}

const blockKey = (part: { type: string; id: string }): string => `${part.type.split("-")[0]}:${part.id}`;

function openBlock(
  fold: Fold,
  kind: Block["kind"],
  part: { type: string; id: string; providerMetadata?: Record<string, any> | undefined },
  context: TurnContext,
): Block {
  const block: Block = { kind, partId: context.newId("prt"), text: "", startedAt: context.now() };
  keepMetadata(block, part);
  fold.parts.push(block);
  fold.open.set(blockKey(part), block);
  return block;
}

function growBlock(
  fold: Fold,
  kind: Block["kind"],
  part: { type: string; id: string; delta: string; providerMetadata?: Record<string, any> | undefined },
  context: TurnContext,
): void {
  const block = fold.open.get(blockKey(part)) ?? openBlock(fold, kind, part, context);
  keepMetadata(block, part);
  if (part.delta === "") return;
  block.text += part.delta;
  context.emit({ type: `${kind}.delta`, messageId: context.messageId, partId: block.partId, delta: part.delta });
}

function keepMetadata(block: Block | undefined, part: { providerMetadata?: Record<string, any> | undefined }): void {
  if (block !== undefined && part.providerMetadata !== undefined) block.providerOptions = { ...block.providerOptions, ...part.providerMetadata };
}

function closeBlock(fold: Fold, key: string, context: TurnContext): void {
  const block = fold.open.get(key);
  fold.open.delete(key);
  if (block === undefined || block.text === "") return;
  const { kind, partId, text, startedAt } = block;
  context.emit({ type: kind, messageId: context.messageId, partId, text, startedAt, endedAt: context.now() });
}

function openCall(fold: Fold, id: string, tool: string): Call {
  const call = { id, tool, input: "" };
  fold.writing.set(id, call);
  fold.parts.push(call);
  return call;
}

function growCall(call: Call | undefined, delta: string): void {
  if (call !== undefined) call.input += delta;
}

function closeCall(fold: Fold, part: Extract<LanguageModelV3StreamPart, { type: "tool-call" }>): void {
  if (part.providerExecuted) return;
  const call = fold.writing.get(part.toolCallId) ?? openCall(fold, part.toolCallId, part.toolName);
  fold.writing.delete(part.toolCallId);
  // The deltas are what the model sent; a package may have mended the input of the closing part.
  if (call.input === "") call.input = part.input;
  if (part.providerMetadata !== undefined) call.providerOptions = part.providerMetadata;
}

function finishTurn(fold: Fold, context: TurnContext): Turn {
  const { finish } = fold;
  if (finish === undefined) throw new AgentError("STREAM_CUT", { model: context.model, reason: "the stream closed early." });
  const reason = readReason(finish.finishReason);
  const calls = withOwnIds(
    fold.parts.filter((part) => "tool" in part),
    context,
  );
  const text = fold.parts.flatMap((part) => ("kind" in part && part.kind === "text" ? [part.text] : [])).join("");
  if (reason === "error") throw new AgentError("STREAM_CUT", { model: context.model, reason: "the provider reported an error at its end." });
  // A finish that speaks of calls, and none came: they got lost on the way.
  const isEmpty = calls.length === 0 && (text.trim() === "" || reason === "tool-calls");
  if (isEmpty && reason !== "content-filter" && reason !== "length") throw new AgentError("ANSWER_EMPTY", { model: context.model });
  const costUsd = readCost(finish.providerMetadata);
  return {
    message: toMessage(fold),
    calls,
    text,
    reason,
    tokens: countTokens(finish.usage),
    ...(costUsd !== undefined && { costUsd }),
    costSource: costUsd === undefined ? "unknown" : "provider",
    ...(fold.respondedModelId !== undefined && { respondedModelId: fold.respondedModelId }),
  };
}

/** Ids are taken over where they can serve; empty ones and those that any call of the session has are replaced, so that each result has its one call. */
function withOwnIds(calls: Call[], context: TurnContext): AskedCall[] {
  const seen = new Map<string, string>();
  for (const call of calls) {
    const { id } = call;
    if (id === "" || seen.has(id) || context.isTaken?.(id)) call.id = context.newId("call");
    if (id !== "" && !seen.has(id)) seen.set(id, call.id);
  }
  for (const call of calls) if (call.providerOptions !== undefined) call.providerOptions = renameIds(call.providerOptions, seen);
  return calls;
}

/** Levels of a call's metadata in which ids are looked for: provider, list, entry, field. */
const ID_LEVELS = 4;

/** What a vendor has signed can name its call: it gets the new name with it, or the vendor would not know what it belongs to. */
function renameIds<T>(value: T, names: Map<string, string>, levels = ID_LEVELS): T {
  if (typeof value !== "object" || value === null || levels === 0) return value;
  if (Array.isArray(value)) return value.map((item) => renameIds(item, names, levels - 1)) as T;
  const renamed = Object.entries(value).map(([key, item]) => [key, (key === "id" && names.get(item)) || renameIds(item, names, levels - 1)]);
  return Object.fromEntries(renamed) as T;
}

function toMessage(fold: Fold): AssistantMessage {
  const content: AssistantMessage["content"] = [];
  for (const part of fold.parts) {
    const providerOptions =
      "providerOptions" in part && part.providerOptions !== undefined ? { providerOptions: part.providerOptions as Record<string, any> } : {};
    if ("tool" in part) content.push({ type: "tool-call", toolCallId: part.id, toolName: part.tool, input: parseInput(part.input) ?? {}, ...providerOptions });
    else if (part.kind === "reasoning" || part.text !== "") content.push({ type: part.kind, text: part.text, ...providerOptions });
  }
  return { role: "assistant", content };
}

/** The value of a call's raw input; no text at all is an empty object. Undefined where it is not JSON. */
export function parseInput(input: string): unknown {
  if (input.trim() === "") return {};
  try {
    return JSON.parse(input);
  } catch {
    return undefined;
  }
}

/** Specification v2 gives a word, v3 and v4 an object. "other" without the provider's own word means that there was no finish. */
function readReason(finishReason: unknown): FinishReason {
  if (typeof finishReason === "string") return finishReason === "unknown" ? "other" : (finishReason as FinishReason);
  const { unified, raw } = (finishReason ?? {}) as { unified?: FinishReason; raw?: string };
  if (unified === undefined || (unified === "other" && raw === undefined)) return "error";
  return unified;
}

/** Providers are hostile here: what is no finite, positive number counts as 0. */
function countTokens(usage: LanguageModelV3Usage | undefined): TokenCount {
  const count = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0);
  const [input, output] = [usage?.inputTokens, usage?.outputTokens];
  const read = count(input?.cacheRead);
  const write = count(input?.cacheWrite);
  const rest = Math.max(0, count(input?.total) - read - write);
  // Some packages count what was written as not cached, too: no token is counted twice.
  const uncached = input?.noCache === undefined ? rest : count(input.total) > 0 ? Math.min(count(input.noCache), rest) : count(input.noCache);
  return {
    input: uncached,
    output: count(output?.total),
    reasoning: count(output?.reasoning),
    cache: { read, write },
  };
}

/** Provider plugins say what a step cost under this package's own name; absurd figures are refused. */
function readCost(metadata: Record<string, any> | undefined): number | undefined {
  const cost: unknown = metadata?.["agent-runtime"]?.costUsd;
  return typeof cost === "number" && cost >= 0 && cost < 1e6 ? cost : undefined;
}
