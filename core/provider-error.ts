import { AgentError, type ErrorCode, errorMessage } from "./errors.ts";
import { nameOfKind } from "./modalities.ts";

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

/**
 * Names that providers give to errors in `code`, `type`, `status` or `reason` of a body, in lower case, as the HTTP
 * status that means the same: OpenAI, Anthropic, Google (google.rpc.Code), Azure, Groq, Mistral and llama.cpp as they
 * document them. 413 stands for a conversation that is too long, 451 for refused content.
 */
const STATUS_OF_NAME: Readonly<Record<string, number>> = {
  invalid_request_error: 400,
  invalid_argument: 400,
  failed_precondition: 400,
  authentication_error: 401,
  invalid_api_key: 401,
  api_key_invalid: 401,
  unauthenticated: 401,
  insufficient_quota: 402,
  insufficient_credits: 402,
  billing_error: 402,
  billing_not_active: 402,
  billing_hard_limit_reached: 402,
  permission_error: 403,
  permission_denied: 403,
  not_found_error: 404,
  not_found: 404,
  model_not_found: 404,
  model_decommissioned: 404,
  invalid_model: 404,
  deploymentnotfound: 404,
  context_length_exceeded: 413,
  exceed_context_size_error: 413,
  request_too_large: 413,
  rate_limit_exceeded: 429,
  rate_limit_error: 429,
  resource_exhausted: 429,
  content_filter: 451,
  content_policy_violation: 451,
  moderation_blocked: 451,
  responsibleaipolicyviolation: 451,
  server_error: 500,
  api_error: 500,
  internal: 500,
  unavailable: 503,
  unavailable_error: 503,
  overloaded: 503,
  deadline_exceeded: 504,
  timeout_error: 504,
  overloaded_error: 529,
};

const isStatus = (value: unknown): value is number => typeof value === "number" && Number.isInteger(value) && value >= 400 && value <= 599;

/** The HTTP status that a `code` or `type` of an error stands for: `429`, `"429"`, `"rate_limit_exceeded"`. */
export function statusOfName(name: unknown): number | undefined {
  const status = typeof name === "string" && /^\d{3}$/.test(name) ? Number(name) : typeof name === "string" ? STATUS_OF_NAME[name.toLowerCase()] : name;
  return isStatus(status) ? status : undefined;
}

/** What a failed call of an AI SDK package carries; any of it may be missing. */
interface CallError {
  statusCode?: unknown;
  responseHeaders?: Record<string, string | undefined>;
  responseBody?: unknown;
  data?: unknown;
  cause?: unknown;
}

/** Statuses that mean several things: what the body says of itself decides, its names before its words. */
const AMBIGUOUS = new Set([400, 403, 422, 429]);
const CONTEXT_WORDS = /context[_ ]length|context (window|size)|maximum context|too many tokens|prompt is too long|input is too long|input token count/i;
const QUOTA_WORDS = /key limit exceeded|insufficient (credits|quota|balance)|insufficient_quota/i;
const CONTENT_WORDS = /content[_ ]filter|content[_ ]policy|content management|\bmoderation\b|\bflagged\b/i;
const MEDIA = "(?:image|vision|multi-?modal|pdf|document|file|audio|video)";
/**
 * A model that takes no files of some kind, in the words of OpenRouter, OpenAI, Mistral, DeepSeek, llama.cpp, Ollama,
 * vLLM and the AI SDK. What is wrong with a single file (its format, its size) is not meant.
 */
const MEDIA_WORDS = new RegExp(
  [
    `no endpoints found that support ${MEDIA}`,
    `(?:not|n't) (?:currently )?support (?:any )?${MEDIA}(?: (?:inputs?|content|attachments?|understanding)\\b|s\\b|[.,]|$)`,
    `\\b(?:${MEDIA}(?:s|_url| inputs?| content| attachments?)(?: (?:blocks?|modality))?|vision) (?:is|are) (?:not|only) (?:supported|enabled)`,
    "unknown variant [`'\"](?:image_url|input_audio|file)\\b",
    "missing data required for image input|at most 0 (?:image|audio|video)|is not a (?:multi-?modal|vision) model",
    "media type [^ ]+ functionality not supported",
  ].join("|"),
  "i",
);
/** llama.cpp and Ollama say it with a 500. */
const MEDIA_STATUSES = new Set([400, 404, 415, 422, 500, 501]);
const MODEL_WORDS = /is not a valid model id\W*$/i;

/**
 * Whatever a provider threw, as a row of the error table. Decided by the HTTP status; where that has several meanings by
 * the codes of the body; by words of its message only where neither says it. A number inside a message is never read as a
 * status. `now` is needed for a Retry-After that is a date.
 */
export function toProviderError(error: unknown, asked: AskedModel, now: number): AgentError {
  const inner = error instanceof AgentError ? error : innermost(error);
  if (inner instanceof AgentError) return withModel(inner, asked);
  const said = readSaid(error);
  const status = statusOf(error, said);
  const wait = retryAfter(error, now);
  const reason = reasonOf(error, said);
  const code = status === undefined ? codeWithoutStatus(error, reason) : codeOf(status, said, reason);
  const media = code === "MEDIA_REFUSED" ? mediaOf(reason) : {};
  const shown = status ?? (code === "REQUEST_INVALID" ? "not sent" : undefined);
  return new AgentError(code, { ...asked, ...media, status: shown, reason: `${reason}${sayWait(wait)}`, ...wait, source: asked.keySource }, { cause: error });
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

/** The error object of a body, in the forms in which providers send it; any field may be missing or of another type. */
interface SaidError {
  code?: unknown;
  type?: unknown;
  status?: unknown;
  message?: unknown;
  /** Azure. */
  innererror?: { code?: unknown } | null;
  /** Google. */
  details?: unknown;
  /** OpenRouter: `reasons` of its moderation, `raw` what the model's own provider said. */
  metadata?: { reasons?: unknown; raw?: unknown } | null;
}

/** `{"error":{…}}`, the same in a list, or the error itself. The SDK reads less of a body than there is; what it read counts first. */
function readSaid(error: unknown): SaidError {
  const { data } = (error ?? {}) as CallError;
  const bodies = [parseBody(error), data, error].map((body) => (Array.isArray(body) ? body[0] : body) as { error?: unknown } | null | undefined);
  const said = bodies.map((body) => body?.error).filter(isObject);
  return said.length > 0 ? Object.assign({}, ...said) : ((bodies.find((body) => isObject(body) && !(body instanceof Error)) as SaidError | undefined) ?? {});
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

function parseBody(error: unknown): unknown {
  const { responseBody } = (error ?? {}) as CallError;
  if (typeof responseBody !== "string" || !/^\s*[{[]/.test(responseBody)) return undefined;
  try {
    return JSON.parse(responseBody);
  } catch {
    return undefined;
  }
}

/** That of the answer, else what the error or its body say of themselves. */
function statusOf(error: unknown, said: SaidError): number | undefined {
  const { statusCode } = (error ?? {}) as CallError;
  const { code, status } = (error ?? {}) as { code?: unknown; status?: unknown };
  return [statusCode, status, code, said.code, said.type, said.status].map(statusOfName).find((value) => value !== undefined);
}

/** Where the status has several meanings a name in the body decides, and words of its message where there is none. */
function codeOf(status: number, said: SaidError, reason: string): ErrorCode {
  if (MEDIA_STATUSES.has(status) && MEDIA_WORDS.test(reason)) return "MEDIA_REFUSED";
  const named = AMBIGUOUS.has(status) ? statusNamed(status, said) : undefined;
  return named === undefined ? codeOfStatus(status, reason) : codeOfStatus(named, "");
}

/** The kind of files that a refusal names; none where it may mean several. */
function mediaOf(reason: string): { kind?: string; media: string } {
  const kind = /image/i.test(reason) ? "image" : /pdf|document|\bfile/i.test(reason) ? "pdf" : undefined;
  return kind === undefined ? { media: "files of this kind" } : { kind, media: nameOfKind(kind) };
}

/** The status that the names in a body stand for; a bare "invalid request" says nothing. */
function statusNamed(status: number, { code, type, status: word, innererror, details, metadata }: SaidError): number | undefined {
  const reasons = Array.isArray(details) ? details.map((detail) => (detail as { reason?: unknown } | null)?.reason) : [];
  const names = [innererror?.code, code, type, ...reasons, word].filter((name) => typeof name === "string");
  const named = names.map(statusOfName).find((value) => value !== undefined && value !== 400);
  return named ?? (status === 403 && Array.isArray(metadata?.reasons) ? 451 : undefined);
}

/** Words count only where a status has several meanings: a 429 that speaks of tokens is still one to wait for. */
function codeOfStatus(status: number, words: string): ErrorCode {
  if (status === 401) return "AUTH_REFUSED";
  if (status === 402) return "QUOTA_EXCEEDED";
  if (status === 404 || status === 410) return "MODEL_UNAVAILABLE";
  if (status === 408 || status >= 500) return "OVERLOADED";
  if (status === 413) return "CONTEXT_OVERFLOW";
  if (status === 451) return "CONTENT_REFUSED";
  if (AMBIGUOUS.has(status) && QUOTA_WORDS.test(words)) return "QUOTA_EXCEEDED";
  if (status === 429) return "RATE_LIMITED";
  if (status === 403) return CONTENT_WORDS.test(words) ? "CONTENT_REFUSED" : "AUTH_REFUSED";
  if (!AMBIGUOUS.has(status)) return "REQUEST_INVALID";
  if (CONTEXT_WORDS.test(words)) return "CONTEXT_OVERFLOW";
  if (MODEL_WORDS.test(words)) return "MODEL_UNAVAILABLE";
  return CONTENT_WORDS.test(words) ? "CONTENT_REFUSED" : "REQUEST_INVALID";
}

/** No status: the answer was never one, or it broke off. */
function codeWithoutStatus(error: unknown, reason: string): ErrorCode {
  const name = error instanceof Error ? error.name : "";
  if (/JSONParse|TypeValidation|InvalidResponseData|EmptyResponseBody/.test(name)) return "RESPONSE_INVALID";
  if (/LoadAPIKey/.test(name)) return "KEY_MISSING";
  if (/UnsupportedFunctionality/.test(name) && MEDIA_WORDS.test(reason)) return "MEDIA_REFUSED";
  if (/InvalidPrompt|UnsupportedFunctionality|InvalidArgument/.test(name) || isRefusedByNode(error)) return "REQUEST_INVALID";
  // A redirect that leads nowhere, or a status that there is not.
  if (typeof (error as CallError | undefined)?.statusCode === "number") return "RESPONSE_INVALID";
  return "STREAM_CUT";
}

/** What Node does not send at all: a header with a line break, a body of the wrong kind. */
const isRefusedByNode = (error: unknown): boolean => error instanceof TypeError && String((error as NodeJS.ErrnoException).code).startsWith("ERR_");

const MESSAGE_LIMIT = 500;

/** What the provider says of it, in one line without tags. */
function reasonOf(error: unknown, said: SaidError): string {
  const { responseBody } = (error ?? {}) as CallError;
  const isText = typeof responseBody === "string" && responseBody.trim() !== "" && !responseBody.trimStart().startsWith("{");
  const text = messageIn(error, said) ?? (isText ? responseBody : errorMessage(error));
  return (
    text
      .slice(0, BODY_LIMIT)
      .replace(/<(script|style)\b[\s\S]*?(<\/\1>|$)/gi, " ")
      .replace(/<[^>]*(>|$)/g, " ")
      .replace(/\s+/g, " ")
      .trim()
      .slice(0, MESSAGE_LIMIT) || "no reason given."
  );
}

const BODY_LIMIT = 4000;

/** `error.message`, `{"error":"…"}`, `{"message":"…"}` or `{"detail":"…"}`; with what a provider behind the provider said. */
function messageIn(error: unknown, { message, metadata }: SaidError): string | undefined {
  const { error: text, message: own, detail } = (parseBody(error) ?? {}) as Record<string, unknown>;
  const found = [message, text, own, detail].find((value): value is string => typeof value === "string" && value !== "");
  const raw = typeof metadata?.raw === "string" ? metadata.raw : undefined;
  return found !== undefined && raw ? `${found.replace(/\.$/, "")}: ${raw}` : found;
}

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
  // The oldest form of a date names no zone, and means UTC.
  const date = /\d:\d\d/.test(value) ? Date.parse(/(GMT|UTC|Z|[+-]\d\d:?\d\d)$/i.test(value) ? value : `${value} GMT`) : Number.NaN;
  return Number.isNaN(date) ? {} : { retryAfterMs: Math.max(0, date - now) };
}
