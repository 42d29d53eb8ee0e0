import { AgentError, type ErrorCode, errorMessage } from "./errors.ts";

/** What was asked, for the texts of an error. */
export interface AskedModel {
  /** `provider/model` */
  model: string;
  provider: string;
  /** The variable that holds the provider's key. */
  variable: string;
  /** Where the key in use came from. */
  keySource: string;
}

/** What a failed call of an AI SDK package carries; any of it may be missing. */
interface CallError {
  statusCode?: unknown;
  responseHeaders?: Record<string, string | undefined>;
  responseBody?: unknown;
  data?: unknown;
  cause?: unknown;
}

const CONTEXT_WORDS = /context[_ ]length|context window|maximum context|too many tokens|prompt is too long|input is too long/i;
const QUOTA_WORDS = /key limit exceeded|insufficient (credits|quota|balance)|insufficient_quota/i;
const CONTENT_WORDS = /content[_ ]filter|content[_ ]policy|content management|\bmoderation\b|\bflagged\b/i;

/**
 * Whatever a provider threw, as a row of the error table. Decided by the HTTP status, then by what the body says of
 * itself; a number inside a message is never read as a status. `now` is needed for a Retry-After that is a date.
 */
export function toProviderError(error: unknown, asked: AskedModel, now: number): AgentError {
  if (error instanceof AgentError) return withModel(error, asked);
  const inner = innermost(error);
  if (inner instanceof AgentError) return withModel(inner, asked);
  const status = statusOf(error);
  const wait = retryAfter(error, now);
  const data = { ...asked, status, reason: `${reasonOf(error)}${sayWait(wait)}`, ...wait };
  const code = status === undefined ? codeWithoutStatus(error) : codeOfStatus(status, `${data.reason} ${bodyOf(error)}`);
  const sent = status === undefined && code === "REQUEST_INVALID" ? { status: "not sent" } : {};
  return new AgentError(code, { ...data, ...sent, source: asked.keySource }, { cause: error });
}

/** An error that was thrown before the model's name was known gets it. */
function withModel(error: AgentError, asked: AskedModel): AgentError {
  return new AgentError(error.code, { ...asked, source: asked.keySource, ...error.data, model: asked.model }, { cause: error.cause });
}

/** The SDK wraps what `fetch` threw. */
function innermost(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 5 && current instanceof Error && current.cause !== undefined && !(current instanceof AgentError); depth++)
    current = current.cause;
  return current;
}

function statusOf(error: unknown): number | undefined {
  const { statusCode, data } = (error ?? {}) as CallError;
  const { code, status } = (error ?? {}) as { code?: unknown; status?: unknown };
  const inBody = (data as { error?: { code?: unknown } } | undefined)?.error?.code;
  const isStatus = (value: unknown): value is number => typeof value === "number" && Number.isInteger(value) && value >= 400 && value <= 599;
  return [statusCode, status, code, inBody].map((value) => (typeof value === "string" && /^[45]\d\d$/.test(value) ? Number(value) : value)).find(isStatus);
}

/** Words count only where a status has several meanings: a 429 that speaks of tokens is still one to wait for. */
function codeOfStatus(status: number, words: string): ErrorCode {
  if (status === 401) return "AUTH_REFUSED";
  if (status === 402) return "QUOTA_EXCEEDED";
  if (status === 404) return "MODEL_UNAVAILABLE";
  if (status === 408 || status >= 500) return "OVERLOADED";
  if (status === 413) return "CONTEXT_OVERFLOW";
  if (QUOTA_WORDS.test(words)) return "QUOTA_EXCEEDED";
  if (status === 429) return "RATE_LIMITED";
  if (status === 403) return CONTENT_WORDS.test(words) ? "CONTENT_REFUSED" : "AUTH_REFUSED";
  if (CONTEXT_WORDS.test(words)) return "CONTEXT_OVERFLOW";
  return CONTENT_WORDS.test(words) ? "CONTENT_REFUSED" : "REQUEST_INVALID";
}

/** No status: the answer was never one, or it broke off. */
function codeWithoutStatus(error: unknown): ErrorCode {
  const name = error instanceof Error ? error.name : "";
  if (/JSONParse|TypeValidation|InvalidResponseData|EmptyResponseBody/.test(name)) return "RESPONSE_INVALID";
  if (/LoadAPIKey/.test(name)) return "KEY_MISSING";
  if (/InvalidPrompt|UnsupportedFunctionality|InvalidArgument/.test(name) || isRefusedByNode(error)) return "REQUEST_INVALID";
  return "STREAM_CUT";
}

/** What Node does not send at all: a header with a line break, a body of the wrong kind. */
const isRefusedByNode = (error: unknown): boolean => error instanceof TypeError && String((error as NodeJS.ErrnoException).code).startsWith("ERR_");

const MESSAGE_LIMIT = 500;

/** What the provider says of it, in one line without tags. */
function reasonOf(error: unknown): string {
  const said = (error as CallError | undefined)?.data as { error?: { message?: unknown } } | undefined;
  const text = typeof said?.error?.message === "string" ? said.error.message : (readBody(bodyOf(error)) ?? errorMessage(error));
  return (
    text
      .replace(/<(script|style)\b[\s\S]*?(<\/\1>|$)/gi, " ")
      .replace(/<[^>]*(>|$)/g, " ")
      .replace(/\s+/g, " ")
      .trim()
      .slice(0, MESSAGE_LIMIT) || "no reason given."
  );
}

/** The reason in a body that is not in OpenAI's form: `{"error":"…"}`, `{"message":"…"}`, `{"detail":"…"}`, or a text. */
function readBody(body: string): string | undefined {
  if (!body.trimStart().startsWith("{")) return body.trim() === "" ? undefined : body;
  try {
    const { error, message, detail } = JSON.parse(body) as Record<string, unknown>;
    return [error, (error as { message?: unknown } | undefined)?.message, message, detail].find((value): value is string => typeof value === "string");
  } catch {
    return undefined;
  }
}

const bodyOf = (error: unknown): string => {
  const { responseBody } = (error ?? {}) as CallError;
  return typeof responseBody === "string" ? responseBody.slice(0, 4000) : "";
};

const sayWait = ({ retryAfterMs = 0 }: { retryAfterMs?: number }): string => (retryAfterMs > 0 ? ` (it asks to wait ${Math.ceil(retryAfterMs / 1000)} s)` : "");

/** `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, 10.2.3), in ms from now. */
function retryAfter(error: unknown, now: number): { retryAfterMs?: number } {
  const headers = (error as CallError | undefined)?.responseHeaders ?? {};
  const ms = Number.parseFloat(headers["retry-after-ms"] ?? "");
  if (Number.isFinite(ms) && ms >= 0) return { retryAfterMs: Math.ceil(ms) };
  const value = headers["retry-after"]?.trim();
  if (!value) return {};
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return seconds >= 0 ? { retryAfterMs: Math.ceil(seconds * 1000) } : {};
  const date = Date.parse(value);
  return Number.isNaN(date) ? {} : { retryAfterMs: Math.max(0, date - now) };
}
