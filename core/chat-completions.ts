import type { LanguageModelV3, LanguageModelV3StreamPart, SharedV3ProviderMetadata } from "@ai-sdk/provider";
import { createDeltaMerger, readOpening, type StreamOpening } from "./chat-events.ts";
import { type CallTracker, createCallTracker, type RawCall } from "./chat-tool-calls.ts";
import { AgentError } from "./errors.ts";
import type { Fetch } from "./http.ts";
import { HttpResponse } from "./http-exchange.ts";
import { statusOfName } from "./provider-error.ts";

export type { RawCall } from "./chat-tool-calls.ts";

/** An error that a provider sent inside an answer with status 200; it has the fields of the AI SDK's APICallError. */
export class ChatError extends Error {
  override readonly name = "ChatError";
  /** HTTP status, 500 where the provider names none. */
  readonly statusCode: number;
  readonly data: { error: { code?: unknown; message: string } };
  readonly responseBody: string;
  readonly responseHeaders: Record<string, string>;

  constructor(error: unknown, responseHeaders: Record<string, string> = {}) {
    const { code, type, message } = (typeof error === "object" && error !== null ? error : { message: String(error) }) as Record<string, unknown>;
    const text = typeof message === "string" && message !== "" ? message : "the provider reported an error without a message.";
    super(text);
    this.statusCode = statusOfName(code) ?? statusOfName(type) ?? 500;
    this.data = { error: { code, message: text } };
    this.responseBody = JSON.stringify({ error }).slice(0, 4000);
    this.responseHeaders = responseHeaders;
  }
}

/**
 * A fetch whose streamed chat completions cost less to parse and break less. Events that arrive in one read and differ in
 * nothing but their text are joined into one; no event waits for another. An answer with status 200 to a
 * stream request that is no event stream is thrown: RESPONSE_INVALID, or a ChatError where the body is `{ "error": … }`.
 *
 * The key `tool_calls` is renamed in each event, so that the SDK neither mends nor drops calls: `withExactToolCalls` must
 * stand around the model, and reads them.
 */
export function withMergedDeltas(fetch: Fetch): Fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (!response.ok || typeof init?.body !== "string" || !init.body.includes('"stream":true')) return response;
    const reader = response.body?.getReader();
    const type = response.headers.get("content-type") ?? "";
    const opening: StreamOpening = reader === undefined ? { kind: "other", text: "" } : await readOpening(reader, type);
    if (reader === undefined || opening.kind === "other") {
      reader?.cancel().catch(() => {});
      throw toOpeningError(opening.kind === "other" ? opening.text : "", {
        type,
        model: new URL(response.url || "http://unknown").host,
        headers: Object.fromEntries(response.headers),
      });
    }
    const { status, statusText, url, headers } = response;
    return new HttpResponse({ status, statusText, url, headers, body: mergedBody(reader, opening.bytes) }) as unknown as Response;
  };
}

const QUOTE_LIMIT = 200;

function toOpeningError(text: string, { type, model, headers }: { type: string; model: string; headers: Record<string, string> }): Error {
  const error = readErrorBody(text);
  if (error !== undefined) return new ChatError(error, headers);
  const quote = text
    .replace(/<(script|style)\b[\s\S]*?(<\/\1>|$)/gi, " ")
    .replace(/<[^>]*(>|$)/g, " ")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, QUOTE_LIMIT);
  const reason = quote === "" ? `an empty body (${type || "no content type"}).` : `${type || "no content type"}: ${quote}`;
  return new AgentError("RESPONSE_INVALID", { model, reason });
}

function readErrorBody(text: string): unknown {
  if (!text.trimStart().startsWith("{")) return undefined;
  try {
    const { error } = JSON.parse(text);
    return error ?? undefined;
  } catch {
    return undefined;
  }
}

const DRAIN_MS = 1000;
/** Of a stream as it comes, envelopes included: many times what the longest answers take. */
const STREAM_LIMIT = 256 * 1024 * 1024;

function mergedBody(reader: ReadableStreamDefaultReader<Uint8Array>, opening: Uint8Array): ReadableStream<Uint8Array> {
  const merger = createDeltaMerger();
  let first: Uint8Array | undefined = opening;
  let size = 0;
  const readOn = () =>
    reader.read().catch((error: unknown) => {
      if (!merger.isFinished() || !isBroken(error)) throw error;
      return { done: true, value: undefined };
    });
  const read = async (): Promise<{ events: Uint8Array; done: boolean }> => {
    const { done, value } = first === undefined ? await readOn() : { done: false, value: first };
    first = undefined;
    size += value?.length ?? 0;
    if (size > STREAM_LIMIT) throw new AgentError("ANSWER_TOO_LONG", { model: "the model", limit: `${STREAM_LIMIT} bytes` });
    return { events: done || value === undefined ? merger.end() : merger.push(value), done };
  };
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    for (;;) {
      const { events, done } = await read();
      if (events.length > 0) controller.enqueue(events);
      if (done || merger.isDone()) {
        controller.close();
        if (!done) drain(reader);
        return;
      }
      if (events.length > 0) return;
    }
  };
  const cancel = (reason: unknown) => reader.cancel(reason);
  const letGo = (error: unknown) => {
    cancel(error).catch(() => {});
    throw error;
  };
  return new ReadableStream<Uint8Array>({ pull: (controller) => pull(controller).catch(letGo), cancel }, { highWaterMark: 0 });
}

/** A connection that breaks or hangs after the finish of an answer has taken nothing from it. */
const isBroken = (error: unknown): boolean => error instanceof AgentError && ["STREAM_CUT", "NETWORK_FAILED", "PROVIDER_TIMEOUT"].includes(error.code);

/** After `[DONE]` only the end of the body comes; read to it, so that the connection can be used again. */
function drain(reader: ReadableStreamDefaultReader<Uint8Array>): void {
  const stop = () => void reader.cancel().catch(() => {});
  const timer = setTimeout(stop, DRAIN_MS);
  timer.unref();
  const next = (): Promise<void> => reader.read().then(({ done }) => (done ? undefined : next()));
  next()
    .catch(() => {})
    .finally(() => clearTimeout(timer));
}

export interface ExactToolCallsOptions {
  /** Provider metadata of a call: from what the wire said of it, its place, and the metadata of the SDK's finish part. */
  describeCall?(call: RawCall, place: number, finish: SharedV3ProviderMetadata | undefined): SharedV3ProviderMetadata | undefined;
  /** USD that an answer costs where the wire says nothing of it. */
  costUsd?: number;
}

/**
 * A chat-completions model whose stream says what the wire said. The SDK packages mend cut arguments to `{}`, drop calls
 * and take a stream that was cut for a finished one; here:
 * - tool calls come in order of first appearance, their `input` is the raw text, JSON or not;
 * - a stream without a `finish_reason` ends with an `error` part STREAM_CUT, a line that is not JSON with RESPONSE_INVALID,
 *   an `error` of the provider with a ChatError, a lost connection with what `fetch` threw; one error part, then the end;
 * - `finish.providerMetadata["agent-runtime"].costUsd` is what the provider says the answer cost, where it says so.
 */
export function withExactToolCalls(model: LanguageModelV3, options: ExactToolCallsOptions = {}): LanguageModelV3 {
  const { specificationVersion, provider, modelId } = model;
  return {
    specificationVersion,
    provider,
    modelId,
    get supportedUrls() {
      return model.supportedUrls;
    },
    doGenerate: (call) => model.doGenerate(call),
    async doStream(call) {
      try {
        const answer = await model.doStream({ ...call, includeRawChunks: true });
        return { ...answer, stream: exactStream(answer.stream, { modelId, signal: call.abortSignal, keepsRaw: call.includeRawChunks === true, options }) };
      } catch (error) {
        throw unwrap(error);
      }
    },
  };
}

interface ExactContext {
  modelId: string;
  signal: AbortSignal | undefined;
  keepsRaw: boolean;
  options: ExactToolCallsOptions;
}

/** What the raw chunks have said so far. */
interface Wire {
  calls: CallTracker;
  /** The provider's own word for how the answer ended. */
  finish: string | undefined;
  /** The last chunk held no word of the answer: at most its end and its bill. */
  isBill: boolean;
  /** The bill could not be read: the SDK takes that for a failure of the whole answer. */
  hasBadBill: boolean;
  costUsd: number | undefined;
  /** Characters of the answer. */
  length: number;
  /** An error part went out: nothing else follows. */
  hasFailed: boolean;
}

type Emit = (part: LanguageModelV3StreamPart) => void;

function exactStream(source: ReadableStream<LanguageModelV3StreamPart>, context: ExactContext): ReadableStream<LanguageModelV3StreamPart> {
  const reader = source.getReader();
  const wire: Wire = { calls: createCallTracker(), finish: undefined, isBill: false, hasBadBill: false, costUsd: undefined, length: 0, hasFailed: false };
  return new ReadableStream<LanguageModelV3StreamPart>(
    {
      async pull(controller) {
        let count = 0;
        const emit: Emit = (part) => {
          count++;
          controller.enqueue(part);
        };
        while (count === 0) {
          const isOver = await readPart(reader, { emit, wire, context });
          if (!isOver) continue;
          reader.cancel().catch(() => {});
          return controller.close();
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** Reads one part and emits what comes of it. Resolves to true when the stream is over. */
async function readPart(
  reader: ReadableStreamDefaultReader<LanguageModelV3StreamPart>,
  { emit, wire, context }: { emit: Emit; wire: Wire; context: ExactContext },
): Promise<boolean> {
  try {
    const { done, value } = await reader.read();
    if (done) {
      if (wire.finish === undefined) emit({ type: "error", error: cut(wire, context) });
      return true;
    }
    passPart(value, { emit, wire, context });
  } catch (error) {
    if (context.signal?.aborted) throw context.signal.reason;
    emit({ type: "error", error: unwrap(error) });
    wire.hasFailed = true;
  }
  return wire.hasFailed;
}

function passPart(part: LanguageModelV3StreamPart, { emit, wire, context }: { emit: Emit; wire: Wire; context: ExactContext }): void {
  switch (part.type) {
    case "raw":
      readRaw(part.rawValue, emit, wire);
      if (context.keepsRaw && !wire.hasFailed) emit(part);
      return;
    case "tool-input-start":
    case "tool-input-delta":
    case "tool-input-end":
    case "tool-call":
      return;
    case "error":
      context.signal?.throwIfAborted();
      wire.hasBadBill ||= isBadBill(part.error, wire);
      if (wire.hasBadBill) return;
      wire.hasFailed = true;
      emit({ type: "error", error: toStreamError(part.error, wire, context) });
      return;
    case "finish":
      passFinish(part, { emit, wire, context });
      return;
    default:
      emit(part);
  }
}

function passFinish(
  part: Extract<LanguageModelV3StreamPart, { type: "finish" }>,
  { emit, wire, context }: { emit: Emit; wire: Wire; context: ExactContext },
): void {
  if (wire.finish === undefined) {
    wire.hasFailed = true;
    emit({ type: "error", error: cut(wire, context) });
    return;
  }
  const calls = wire.calls.all();
  for (const [place, call] of calls.entries()) {
    const metadata = context.options.describeCall?.(call, place, part.providerMetadata);
    emit({ type: "tool-input-end", id: call.id });
    emit({ type: "tool-call", toolCallId: call.id, toolName: call.name, input: call.input, ...(metadata && { providerMetadata: metadata }) });
  }
  const { unified, raw }: typeof part.finishReason = wire.hasBadBill
    ? { unified: FINISH_REASONS[wire.finish] ?? "other", raw: wire.finish }
    : part.finishReason;
  const isCalling = calls.length > 0 && (unified === "stop" || unified === "other");
  const providerMetadata: SharedV3ProviderMetadata = { ...part.providerMetadata };
  const costUsd = wire.costUsd ?? context.options.costUsd;
  if (costUsd !== undefined) providerMetadata["agent-runtime"] = { costUsd };
  emit({ ...part, finishReason: { unified: isCalling ? "tool-calls" : unified, raw }, providerMetadata });
}

/** Numbers that a server got wrong are no reason to lose the answer that was complete before them. */
const isBadBill = (error: unknown, { finish, isBill }: Wire): boolean => finish !== undefined && isBill && (error as Error).name === "AI_TypeValidationError";

const FINISH_REASONS: Record<string, "stop" | "length" | "content-filter" | "tool-calls"> = {
  stop: "stop",
  length: "length",
  content_filter: "content-filter",
  tool_calls: "tool-calls",
  function_call: "tool-calls",
};

/** An answer that goes on for ever is stopped here: 32 Mi characters. */
const ANSWER_LIMIT = 32 * 1024 * 1024;
const CALLS_LIMIT = 1000;

function readRaw(value: unknown, emit: Emit, wire: Wire): void {
  if (typeof value !== "object" || value === null) return;
  const { choices, error, usage } = value as {
    choices?: { delta?: Record<string, unknown> | null; finish_reason?: unknown; error?: unknown }[];
    error?: unknown;
    usage?: unknown;
  };
  const choice = Array.isArray(choices) ? choices[0] : undefined;
  const failure = error ?? choice?.error ?? (choice?.finish_reason === "error" ? { message: "the provider ended the answer with an error." } : undefined);
  if (failure !== undefined && failure !== null) throw new ChatError(failure);
  if (typeof choice?.finish_reason === "string" && choice.finish_reason !== "") wire.finish = choice.finish_reason;
  wire.costUsd = readCost(usage) ?? wire.costUsd;
  const length = lengthOf(choice?.delta);
  wire.length += length;
  wire.isBill = length === 0;
  const deltas = choice?.delta?.[RENAMED] ?? choice?.delta?.tool_calls;
  if (Array.isArray(deltas)) for (const delta of deltas) for (const part of wire.calls.push(delta)) wire.length += passDelta(part, emit);
  if (wire.calls.all().length > CALLS_LIMIT) throw new AgentError("ANSWER_TOO_LONG", { model: "the model", limit: `${CALLS_LIMIT} tool calls` });
  if (wire.length > ANSWER_LIMIT) throw new AgentError("ANSWER_TOO_LONG", { model: "the model", limit: `${ANSWER_LIMIT} characters` });
}

/** Characters of text and of thoughts. */
function lengthOf(delta: Record<string, unknown> | null | undefined): number {
  const texts = [delta?.content, delta?.reasoning, delta?.reasoning_content];
  return texts.reduce((sum: number, text) => sum + (typeof text === "string" ? text.length : 0), 0);
}

function passDelta(part: LanguageModelV3StreamPart, emit: Emit): number {
  emit(part);
  return part.type === "tool-input-delta" ? part.delta.length : 0;
}

const RENAMED = "exact_tool_calls";
const MOST_USD = 1e6;

/** USD; with a key of one's own the upstream provider is paid as well (`cost_details.upstream_inference_cost`). */
function readCost(usage: unknown): number | undefined {
  if (typeof usage !== "object" || usage === null) return undefined;
  const {
    cost,
    is_byok: isOwnKey,
    cost_details: details,
  } = usage as { cost?: unknown; is_byok?: unknown; cost_details?: { upstream_inference_cost?: unknown } | null };
  const isAmount = (value: unknown): value is number => typeof value === "number" && value >= 0 && value < MOST_USD;
  if (!isAmount(cost)) return undefined;
  const upstream = details?.upstream_inference_cost;
  return cost + (isAmount(upstream) && (isOwnKey === true || (isOwnKey === undefined && cost === 0)) ? upstream : 0);
}

function cut(wire: Wire, { modelId }: ExactContext): AgentError {
  const where = wire.calls.all().length > 0 ? "in the middle of a tool call." : wire.length > 0 ? `after ${wire.length} characters.` : "before it began.";
  return new AgentError("STREAM_CUT", { model: modelId, reason: `it broke off ${where}` });
}

/** What an SDK reports as an error part, without its wrapping. */
function toStreamError(error: unknown, wire: Wire, context: ExactContext): unknown {
  const inner = unwrap(error);
  if (inner instanceof AgentError || !(inner instanceof Error)) return inner instanceof AgentError || inner instanceof ChatError ? inner : new ChatError(inner);
  if (inner.name === "AI_InvalidResponseDataError" && wire.finish === undefined) return cut(wire, context);
  if (inner.name !== "AI_JSONParseError" && inner.name !== "AI_TypeValidationError") return inner;
  const text = (inner as { text?: unknown }).text;
  const reason = typeof text === "string" ? `a line of its stream is not JSON: ${text.slice(0, QUOTE_LIMIT)}` : inner.message.slice(0, QUOTE_LIMIT);
  return new AgentError("RESPONSE_INVALID", { model: context.modelId, reason });
}

/** The AgentError or ChatError that an SDK has wrapped, else the error itself. */
function unwrap(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    if (current instanceof AgentError || current instanceof ChatError) return current;
    current = current.cause;
  }
  return error;
}
