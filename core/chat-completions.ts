import type { LanguageModelV3, LanguageModelV3StreamPart, SharedV3ProviderMetadata } from "@ai-sdk/provider";
import { type Answer, type AnswerOptions, createAnswer, endAnswer, readChunk } from "./chat-answer.ts";
import { createDeltaMerger, readOpening, type StreamOpening } from "./chat-events.ts";
import { AgentError } from "./errors.ts";
import type { Fetch } from "./http.ts";
import { HttpResponse, type Pieces, piecesOf } from "./http-exchange.ts";
import { collectParts } from "./provider.ts";
import { statusOfName } from "./provider-error.ts";

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
 * nothing but their text are joined into one; no event waits for another. A whole completion in the place of a stream is
 * one event; any other answer with status 200 to a stream request is thrown: RESPONSE_INVALID, or a ChatError where the
 * body is `{ "error": … }`.
 *
 * The key `tool_calls` is renamed in each event, so that the SDK does not stumble over calls: `withExactToolCalls` must
 * stand around the model, and reads them.
 */
export function withMergedDeltas(fetch: Fetch): Fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (!response.ok || typeof init?.body !== "string" || !init.body.includes('"stream":true')) return response;
    const reader = piecesOf(response);
    const type = response.headers.get("content-type") ?? "";
    const opening: StreamOpening = reader === undefined ? { kind: "other", text: "" } : await readOpening(reader, type);
    const bytes = opening.kind === "events" ? opening.bytes : toEvents(opening.text);
    if (reader === undefined || bytes === undefined) {
      reader?.cancel().catch(() => {});
      throw toOpeningError(opening.kind === "other" ? opening.text : "", {
        type,
        model: new URL(response.url || "http://unknown").host,
        headers: Object.fromEntries(response.headers),
      });
    }
    const { status, statusText, url, headers } = response;
    return new HttpResponse({ status, statusText, url, headers, pieces: mergedPieces(reader, bytes) }) as unknown as Response;
  };
}

const QUOTE_LIMIT = 200;

function toOpeningError(text: string, { type, model, headers }: { type: string; model: string; headers: Record<string, string> }): Error {
  const error = failureOf(readObject(text));
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

function readObject(text: string): Record<string, unknown> | undefined {
  if (!text.trimStart().startsWith("{")) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A completion that was sent whole, as the one event of a stream; undefined for anything else. */
function toEvents(text: string): Uint8Array | undefined {
  const completion = readObject(text);
  const choices = Array.isArray(completion?.choices) ? (completion.choices as ({ message?: unknown } | null)[]) : [];
  if (!choices[0]?.message) return undefined;
  const whole = { ...completion, choices: choices.map((choice) => ({ ...choice, message: undefined, delta: choice?.message })) };
  return Buffer.from(`data: ${JSON.stringify(whole)}\n\ndata: [DONE]\n\n`);
}

const DRAIN_MS = 1000;
/** How long the bill is waited for once an answer has come to its finish, and `[DONE]` does not come. */
const BILL_MS = 10_000;
/** Of a stream as it comes, envelopes included: many times what the longest answers take. */
const STREAM_LIMIT = 256 * 1024 * 1024;

function mergedPieces(source: Pieces, opening: Uint8Array): Pieces {
  const merger = createDeltaMerger();
  const readOn = createBillReader(source, merger.isFinished);
  let first: Uint8Array | undefined = opening;
  let size = 0;
  let isOver = false;
  const readEvents = async (): Promise<Uint8Array> => {
    const { value } = first === undefined ? await readOn() : { value: first };
    first = undefined;
    size += value?.length ?? 0;
    if (size > STREAM_LIMIT) throw new AgentError("ANSWER_TOO_LONG", { model: "the model", limit: `${STREAM_LIMIT} bytes` });
    const events = value === undefined ? merger.end() : merger.push(value);
    isOver = value === undefined || merger.isDone();
    if (isOver) drain(source);
    return events;
  };
  const read = async () => {
    let value: Uint8Array | undefined;
    while (!isOver && !value?.length) value = await readEvents();
    return value?.length ? { done: false, value } : { done: true };
  };
  const cancel = (reason: unknown) => source.cancel(reason);
  const letGo = (error: unknown) => {
    cancel(error).catch(() => {});
    throw error;
  };
  return { read: () => read().catch(letGo), cancel };
}

/** Reads the body of an answer. Once its finish has come, a body that breaks, hangs or goes on for ever takes nothing from it. */
function createBillReader(reader: Pieces, isFinished: () => boolean): () => Promise<{ done: boolean; value?: Uint8Array | undefined }> {
  let deadline: Promise<{ done: true }> | undefined;
  const readBody = () =>
    reader.read().catch((error: unknown) => {
      if (!isFinished() || !isBroken(error)) throw error;
      return { done: true as const, value: undefined };
    });
  return () => {
    if (!isFinished()) return readBody();
    deadline ??= new Promise((resolve) => setTimeout(() => resolve({ done: true }), BILL_MS).unref());
    return Promise.race([readBody(), deadline]);
  };
}

/** A connection that breaks or hangs after the finish of an answer has taken nothing from it. */
const isBroken = (error: unknown): boolean => error instanceof AgentError && ["STREAM_CUT", "NETWORK_FAILED", "PROVIDER_TIMEOUT"].includes(error.code);

/** After `[DONE]` only the end of the body comes; read to it, so that the connection can be used again. */
function drain(reader: Pieces): void {
  const stop = () => void reader.cancel().catch(() => {});
  const timer = setTimeout(stop, DRAIN_MS);
  timer.unref();
  const next = (): Promise<void> => reader.read().then(({ done }) => (done ? undefined : next()));
  next()
    .catch(() => {})
    .finally(() => clearTimeout(timer));
}

/**
 * A chat-completions model whose answer is what the wire said: the package makes the request, the answer is read from its raw
 * chunks. Packages mend cut arguments to `{}`, drop calls and late thoughts, refuse an answer for one field, and take a
 * stream that was cut for a finished one; here:
 * - text and thoughts come in the order of the wire, whichever comes first;
 * - tool calls come in order of first appearance, their `input` is the raw text, JSON or not;
 * - a stream without a `finish_reason` ends with an `error` part STREAM_CUT, a line that is not JSON with RESPONSE_INVALID,
 *   an `error` of the provider with a ChatError, a lost connection with what `fetch` threw; one error part, then the end;
 * - `finish.providerMetadata["agent-runtime"].costUsd` is what the provider says the answer cost, where it says so;
 * - `doGenerate` collects the stream.
 */
export function withExactToolCalls(model: LanguageModelV3, options: AnswerOptions = {}): LanguageModelV3 {
  const { specificationVersion, provider, modelId } = model;
  const doStream: LanguageModelV3["doStream"] = async (call) => {
    try {
      const answer = await model.doStream({ ...call, includeRawChunks: true });
      return { ...answer, stream: exactStream(answer.stream, { modelId, signal: call.abortSignal, keepsRaw: call.includeRawChunks === true, options }) };
    } catch (error) {
      throw unwrap(error);
    }
  };
  return {
    specificationVersion,
    provider,
    modelId,
    get supportedUrls() {
      return model.supportedUrls;
    },
    doStream,
    doGenerate: async (call) => collectParts((await doStream(call)).stream),
  };
}

interface ExactContext {
  modelId: string;
  signal: AbortSignal | undefined;
  keepsRaw: boolean;
  options: AnswerOptions;
}

/** An answer on its way. */
interface Wire extends Answer {
  /** The finish or an error went out: nothing else follows. */
  isOver: boolean;
}

type Emit = (part: LanguageModelV3StreamPart) => void;

function exactStream(source: ReadableStream<LanguageModelV3StreamPart>, context: ExactContext): ReadableStream<LanguageModelV3StreamPart> {
  const reader = source.getReader();
  const wire: Wire = { ...createAnswer(), isOver: false };
  return new ReadableStream<LanguageModelV3StreamPart>(
    {
      async pull(controller) {
        let count = 0;
        const emit: Emit = (part) => {
          count++;
          controller.enqueue(part);
        };
        while (count === 0 && !wire.isOver) await readPart(reader, { emit, wire, context });
        if (!wire.isOver) return;
        reader.cancel().catch(() => {});
        controller.close();
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

interface PartContext {
  emit: Emit;
  wire: Wire;
  context: ExactContext;
}

/** Reads one part of the package's stream and emits what comes of it. */
async function readPart(reader: ReadableStreamDefaultReader<LanguageModelV3StreamPart>, { emit, wire, context }: PartContext): Promise<void> {
  try {
    const { done, value } = await reader.read();
    if (done) end(undefined, { emit, wire, context });
    else passPart(value, { emit, wire, context });
  } catch (error) {
    if (context.signal?.aborted) throw context.signal.reason;
    fail(error, { emit, wire, context });
  }
}

function passPart(part: LanguageModelV3StreamPart, { emit, wire, context }: PartContext): void {
  switch (part.type) {
    case "raw":
      readRaw(part.rawValue, { emit, wire });
      if (context.keepsRaw) emit(part);
      return;
    case "error":
      context.signal?.throwIfAborted();
      // What a package does not understand of an event has been read from the event itself.
      if (part.error instanceof Error && part.error.name !== "AI_TypeValidationError") fail(part.error, { emit, wire, context });
      return;
    case "finish":
      end(part.providerMetadata, { emit, wire, context });
      return;
    case "stream-start":
    case "source":
    case "file":
      emit(part);
      return;
    default:
      return;
  }
}

function readRaw(value: unknown, { emit, wire }: Pick<PartContext, "emit" | "wire">): void {
  const failure = failureOf(value);
  if (failure !== undefined) throw new ChatError(failure);
  for (const part of readChunk(wire, value)) emit(part);
}

/** The error that an event or a body reports: beside its choices, in one of them, or as the whole of it. */
function failureOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  const { object, type, error, choices } = value as { object?: unknown; type?: unknown; error?: unknown; choices?: unknown };
  const choice = (Array.isArray(choices) ? choices[0] : undefined) as { error?: unknown; finish_reason?: unknown } | null | undefined;
  const isError = error == null && (object === "error" || type === "error");
  const failure = isError ? value : (error ?? choice?.error);
  return failure ?? (choice?.finish_reason === "error" ? { message: "the provider ended the answer with an error." } : undefined);
}

function end(metadata: SharedV3ProviderMetadata | undefined, { emit, wire, context }: PartContext): void {
  if (wire.finish === undefined) throw cut(wire, context);
  for (const part of endAnswer(wire, context.options, metadata)) emit(part);
  wire.isOver = true;
}

/** One error part, then nothing. An answer that was complete is kept: what broke after it takes nothing from it. */
function fail(error: unknown, { emit, wire, context }: PartContext): void {
  const failure = toStreamError(error, wire, context);
  const isHarmless = wire.finish !== undefined && !(failure instanceof ChatError);
  if (isHarmless) end(undefined, { emit, wire, context });
  else emit({ type: "error", error: failure });
  wire.isOver = true;
}

/** Nothing came, or it came to no finish. */
function cut({ calls, length, stray }: Answer, { modelId }: ExactContext): AgentError {
  const isMute = calls.all().length === 0 && length === 0;
  if (isMute && stray !== undefined) return new AgentError("RESPONSE_INVALID", { model: modelId, reason: `an event of its stream is no completion: ${stray}` });
  const where = calls.all().length > 0 ? "in the middle of a tool call." : length > 0 ? `after ${length} characters.` : "before it began.";
  return new AgentError("STREAM_CUT", { model: modelId, reason: `it broke off ${where}` });
}

/** What an SDK reports as an error, without its wrapping. */
function toStreamError(error: unknown, wire: Wire, context: ExactContext): unknown {
  const inner = unwrap(error);
  if (inner instanceof AgentError || inner instanceof ChatError || !(inner instanceof Error)) return inner;
  if (inner.name === "AI_InvalidResponseDataError") return cut(wire, context);
  if (inner.name !== "AI_JSONParseError") return inner;
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
