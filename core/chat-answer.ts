import type { LanguageModelV3FinishReason, LanguageModelV3StreamPart, LanguageModelV3Usage, SharedV3ProviderMetadata } from "@ai-sdk/provider";
import { addDetail, type ReasoningDetail, readDetail, textOfDetail } from "./chat-reasoning.ts";
import { type CallTracker, createCallTracker, type RawCall } from "./chat-tool-calls.ts";
import { AgentError } from "./errors.ts";

/** What the events of one streamed chat completion have said so far. */
export interface Answer {
  calls: CallTracker;
  /** `reasoning_details`, put together. */
  details: ReasoningDetail[];
  /** The provider's own word for how the answer ended. */
  finish: string | undefined;
  usage: unknown;
  /** Characters of text, thoughts, arguments and signatures. */
  length: number;
  /** The start of an event that is no part of a completion. */
  stray: string | undefined;
  /** The text or the thought that is being written. */
  open: { kind: Kind; id: string } | undefined;
  /** First half of a character whose second half has not come. */
  half: string;
  blocks: number;
  isRefused: boolean;
  isNamed: boolean;
}

type Kind = "text" | "reasoning";
type Part = LanguageModelV3StreamPart;

/** `delta` of a choice. Servers differ in all of it. */
interface Delta {
  content?: unknown;
  refusal?: unknown;
  reasoning?: unknown;
  reasoning_content?: unknown;
  reasoning_details?: unknown;
  tool_calls?: unknown;
  exact_tool_calls?: unknown;
}

interface Chunk {
  id?: unknown;
  model?: unknown;
  choices?: unknown;
  usage?: unknown;
}

export interface AnswerOptions {
  /** Provider metadata of a call, from what the wire said of it. */
  describeCall?(call: RawCall): SharedV3ProviderMetadata | undefined;
  /** Provider metadata that sends `reasoning_details` back: it stands at the first call, else at a thought without text. */
  describeReasoning?(details: ReasoningDetail[]): SharedV3ProviderMetadata | undefined;
  /** USD that an answer costs where the wire says nothing of it. */
  costUsd?: number;
}

/** An answer that goes on for ever is stopped here: 32 Mi characters, 1000 calls, 10,000 changes between text and thoughts. */
const ANSWER_LIMIT = 32 * 1024 * 1024;
const CALLS_LIMIT = 1000;
const BLOCKS_LIMIT = 10_000;
const STRAY_LIMIT = 200;

export const createAnswer = (): Answer => ({
  calls: createCallTracker(),
  details: [],
  finish: undefined,
  usage: undefined,
  length: 0,
  stray: undefined,
  open: undefined,
  half: "",
  blocks: 0,
  isRefused: false,
  isNamed: false,
});

/** Takes one parsed event; returns the parts that it makes. Throws ANSWER_TOO_LONG for an answer without end. */
export function readChunk(answer: Answer, value: unknown): Part[] {
  if (typeof value !== "object" || value === null) return [];
  const chunk = value as Chunk;
  if (!Array.isArray(chunk.choices) && !isObject(chunk.usage)) answer.stray ??= JSON.stringify(chunk).slice(0, STRAY_LIMIT);
  if (isObject(chunk.usage)) answer.usage = chunk.usage;
  const parts = nameModel(answer, chunk);
  // Only one answer was asked for: what belongs to a second one is dropped.
  const choice = Array.isArray(chunk.choices) ? chunk.choices.find((one) => isObject(one) && !((one as { index?: number }).index! > 0)) : undefined;
  const { delta, finish_reason: finish } = (choice ?? {}) as { delta?: unknown; finish_reason?: unknown };
  if (isObject(delta)) parts.push(...readDelta(answer, delta as Delta));
  if (typeof finish === "string" && finish !== "") answer.finish = finish;
  checkLimits(answer);
  return parts;
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** Said once; servers repeat it with each event. */
function nameModel(answer: Answer, { id, model }: Chunk): Part[] {
  if (answer.isNamed || typeof model !== "string" || model === "") return [];
  answer.isNamed = true;
  return [{ type: "response-metadata", modelId: model, ...(typeof id === "string" && { id }) }];
}

function readDelta(answer: Answer, delta: Delta): Part[] {
  const parts: Part[] = [];
  const details = Array.isArray(delta.reasoning_details) ? delta.reasoning_details.map(readDetail).filter((detail) => detail !== undefined) : [];
  for (const detail of details) answer.length += addDetail(answer.details, detail);
  // OpenRouter says its thoughts twice: as text, and in details that can be signed.
  const thought = textOf(delta.reasoning) || textOf(delta.reasoning_content) || details.map(textOfDetail).join("");
  parts.push(...grow(answer, "reasoning", thought));
  for (const { kind, text } of readContent(delta.content)) parts.push(...grow(answer, kind, text));
  const refusal = textOf(delta.refusal);
  answer.isRefused ||= refusal !== "";
  parts.push(...grow(answer, "text", refusal));
  const calls = delta.exact_tool_calls ?? delta.tool_calls;
  if (!Array.isArray(calls) || calls.length === 0) return parts;
  if (answer.open?.kind === "reasoning") parts.push(...closeBlock(answer));
  for (const call of calls) parts.push(...answer.calls.push(call));
  for (const part of parts) if (part.type === "tool-input-delta") answer.length += part.delta.length;
  return parts;
}

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** Text, or a list of typed parts, as Mistral sends what it thinks. */
function readContent(content: unknown): { kind: Kind; text: string }[] {
  if (!Array.isArray(content)) return [{ kind: "text", text: textOf(content) }];
  return content.filter(isObject).map(({ type, text, thinking }: { type?: unknown; text?: unknown; thinking?: unknown }) => {
    if (type !== "thinking") return { kind: "text", text: type === "text" ? textOf(text) : "" };
    const thoughts = Array.isArray(thinking) ? thinking.map((one: { text?: unknown } | null) => textOf(one?.text)).join("") : textOf(thinking);
    return { kind: "reasoning", text: thoughts };
  });
}

/** Adds to the open block of that kind; another kind begins a new one. Half a character waits for its other half. */
function grow(answer: Answer, kind: Kind, text: string): Part[] {
  if (text === "") return [];
  answer.length += text.length;
  const parts = answer.open?.kind === kind ? [] : [...closeBlock(answer), openBlock(answer, kind)];
  const whole = answer.half + text;
  answer.half = /[\uD800-\uDBFF]$/.exec(whole)?.[0] ?? "";
  const delta = answer.half === "" ? whole : whole.slice(0, -1);
  if (delta !== "") parts.push({ type: `${kind}-delta`, id: answer.open!.id, delta: delta.replace(LONE_HALF, "\uFFFD") });
  return parts;
}

/** Half a character alone: no request could send it back. */
const LONE_HALF = /\p{Surrogate}/gu;

function openBlock(answer: Answer, kind: Kind): Part {
  answer.open = { kind, id: `${kind}-${answer.blocks++}` };
  return { type: `${kind}-start`, id: answer.open.id };
}

function closeBlock(answer: Answer): Part[] {
  if (answer.open === undefined) return [];
  const { kind, id } = answer.open;
  const lost: Part[] = answer.half === "" ? [] : [{ type: `${kind}-delta`, id, delta: "\uFFFD" }];
  [answer.open, answer.half] = [undefined, ""];
  return [...lost, { type: `${kind}-end`, id }];
}

function checkLimits({ calls, length, blocks, details }: Answer): void {
  const limit =
    calls.all().length > CALLS_LIMIT
      ? `${CALLS_LIMIT} tool calls`
      : length > ANSWER_LIMIT
        ? `${ANSWER_LIMIT} characters`
        : Math.max(blocks, details.length) > BLOCKS_LIMIT && `${BLOCKS_LIMIT} pieces of text and thought`;
  if (limit) throw new AgentError("ANSWER_TOO_LONG", { model: "the model", limit });
}

/** The parts that end an answer whose finish has come. `metadata` is what the package says of it. */
export function endAnswer(answer: Answer, options: AnswerOptions, metadata: SharedV3ProviderMetadata | undefined): Part[] {
  const parts = closeBlock(answer);
  const calls = answer.calls.all();
  const signed = answer.details.length === 0 ? undefined : options.describeReasoning?.(answer.details);
  if (signed !== undefined && calls.length === 0)
    parts.push({ type: "reasoning-start", id: "signed" }, { type: "reasoning-end", id: "signed", providerMetadata: signed });
  for (const [place, call] of calls.entries()) {
    const own = { ...options.describeCall?.(call), ...(place === 0 && signed) };
    const { id, name, input } = call;
    parts.push({ type: "tool-input-end", id });
    parts.push({ type: "tool-call", toolCallId: id, toolName: name, input, ...(Object.keys(own).length > 0 && { providerMetadata: own }) });
  }
  const costUsd = readCost(answer.usage) ?? options.costUsd;
  const providerMetadata = { ...metadata, ...(costUsd !== undefined && { "agent-runtime": { costUsd } }) };
  parts.push({ type: "finish", finishReason: readFinish(answer), usage: readUsage(answer.usage), providerMetadata });
  return parts;
}

type Unified = LanguageModelV3FinishReason["unified"];

/** Words for the end of an answer, in lower case: OpenAI's, and those that gateways pass on from other vendors. */
const FINISH_REASONS: Record<string, Unified> = {
  stop: "stop",
  end_turn: "stop",
  stop_sequence: "stop",
  eos: "stop",
  eos_token: "stop",
  length: "length",
  max_tokens: "length",
  model_length: "length",
  model_context_window_exceeded: "length",
  tool_calls: "tool-calls",
  tool_use: "tool-calls",
  function_call: "tool-calls",
  content_filter: "content-filter",
  safety: "content-filter",
  recitation: "content-filter",
  prohibited_content: "content-filter",
  sensitive: "content-filter",
  refusal: "content-filter",
};

function readFinish({ finish = "", calls, isRefused }: Answer): LanguageModelV3FinishReason {
  const said = FINISH_REASONS[finish.toLowerCase()] ?? "other";
  const isOver = said === "stop" || said === "other";
  const unified = isOver && isRefused ? "content-filter" : isOver && calls.all().length > 0 ? "tool-calls" : said;
  return { unified, raw: finish };
}

/** Providers are hostile here, too: what is no finite number from 0 up is unknown. */
const countOf = (value: unknown): number | undefined => (typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined);

/** Each count stands for itself: a server that leaves out a total has still counted the rest. */
function readUsage(usage: unknown): LanguageModelV3Usage {
  const { prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details, completion_tokens_details, prompt_cache_hit_tokens } = (usage ?? {}) as Record<
    string,
    any
  >;
  const output = countOf(completion_tokens);
  const all = countOf(total_tokens);
  const total = countOf(prompt_tokens) ?? (all === undefined ? undefined : Math.max(0, all - (output ?? 0)));
  const cacheRead = countOf(prompt_tokens_details?.cached_tokens) ?? countOf(prompt_cache_hit_tokens);
  const cacheWrite = countOf(prompt_tokens_details?.cache_write_tokens);
  const reasoning = countOf(completion_tokens_details?.reasoning_tokens);
  return {
    inputTokens: { total, noCache: total === undefined ? undefined : Math.max(0, total - (cacheRead ?? 0) - (cacheWrite ?? 0)), cacheRead, cacheWrite },
    outputTokens: { total: output, text: output === undefined ? undefined : Math.max(0, output - (reasoning ?? 0)), reasoning },
    ...(isObject(usage) && { raw: usage as never }),
  };
}

const MOST_USD = 1e6;

/**
 * USD. With a key of one's own, `cost` is OpenRouter's fee, and the upstream provider bills
 * `cost_details.upstream_inference_cost` as well; without one that amount is part of `cost`.
 */
function readCost(usage: unknown): number | undefined {
  const { cost, is_byok: isOwnKey, cost_details: details } = (usage ?? {}) as Record<string, any>;
  const isAmount = (value: unknown): value is number => typeof value === "number" && value >= 0 && value < MOST_USD;
  if (!isAmount(cost)) return undefined;
  const upstream: unknown = details?.upstream_inference_cost;
  const isBilled = isAmount(upstream) && (isOwnKey === true || (isOwnKey === undefined && cost === 0));
  return isBilled ? Number((cost + upstream).toPrecision(12)) : cost;
}
