import { AgentError, type GuardedFetch } from "agent-runtime";
import { cleanHtml, htmlToText } from "./html.ts";
import { describeRetryAfter } from "./retry-after.ts";
import type { SearchResult } from "./search-provider.ts";
import { USER_AGENT } from "./user-agent.ts";

const MAX_BYTES = 2 * 1024 * 1024;
const EXCERPT = 300;
const OTHERS = 'Another service can be set in the options of the plugin web: ["web", { "search": { "provider": "exa" | "brave" | "searxng" | "tavily" } }].';

export interface ServiceRequest {
  /** Name of the service. */
  service: string;
  url: URL;
  fetch: GuardedFetch;
  signal: AbortSignal;
  headers?: Record<string, string>;
  /** Sent as JSON by POST; without it the request is a GET. */
  body?: object;
  /** The way out of a 401 or 403. */
  keyAdvice: string;
}

export const searchFailed = (service: string, reason: string, advice = OTHERS): AgentError =>
  new AgentError("SEARCH_FAILED", { provider: service, reason: `${reason.replace(/[.\s]+$/, "")}.`, advice });

/** How a key is set, as an advice. */
export const keyAdvice = (service: string, where: string): string =>
  `Set a key: ["web", { "search": { "provider": "${service}", "apiKey": "{env:${service.toUpperCase()}_API_KEY}" } }]; keys are made at ${where}.`;

/** Sends one request to a search service. Throws SEARCH_FAILED for all that is no success, with the way out of it. */
export async function askService({ service, url, fetch, signal, headers, body, keyAdvice }: ServiceRequest): Promise<Response> {
  const response = await fetch(url, {
    ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
    headers: { "user-agent": USER_AGENT, accept: "application/json", ...(body !== undefined && { "content-type": "application/json" }), ...headers },
    signal,
    maxBytes: MAX_BYTES,
  }).catch((error: unknown) => {
    throw asSearchFailure(service, error, signal);
  });
  if (response.ok) return response;
  const { status } = response;
  const said = excerptOf(await response.text().catch(() => ""));
  const reason = `${describeStatus(status, response.headers.get("retry-after"))}${said && `: ${said}`}`;
  throw searchFailed(service, reason, status === 401 || status === 403 ? keyAdvice : status === 429 ? `Wait, or set a key. ${OTHERS}` : OTHERS);
}

/** The body of an answer as JSON. */
export async function readJson(response: Response, service: string, signal: AbortSignal): Promise<any> {
  const text = await response.text().catch((error: unknown) => {
    throw asSearchFailure(service, error, signal);
  });
  try {
    return JSON.parse(text);
  } catch {
    if (text.trim() === "") throw searchFailed(service, "its answer is empty");
    const type = response.headers.get("content-type")?.split(";")[0] ?? "without a content type";
    throw searchFailed(service, `it answered with something that is not JSON (${type}): ${excerptOf(text)}`);
  }
}

/** An abort stays what it is; all else names the service. */
export function asSearchFailure(service: string, error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof AgentError && error.code === "SEARCH_FAILED") return error;
  const { reason } = error instanceof AgentError ? error.data : {};
  return searchFailed(service, typeof reason === "string" ? reason : error instanceof Error ? error.message : String(error));
}

function describeStatus(status: number, retryAfter: string | null): string {
  if (status === 401 || status === 403) return `it refuses to answer without a valid key (${status})`;
  if (status === 429) return `it takes no more requests for now (429${describeRetryAfter(retryAfter)})`;
  return status >= 500 ? `it is out of order (${status})` : `it answered ${status}`;
}

/** What a service says of an error, in one short line of plain text. */
function excerptOf(body: string): string {
  const text = (findMessage(body) ?? plainText(body)).replace(/\s+/g, " ").trim();
  return text.length > EXCERPT ? `${text.slice(0, EXCERPT)}…` : text;
}

/** The message in `{ error: { message } }`, `{ error: { detail } }`, `{ detail: { error } }`, `{ message }` and the like. */
function findMessage(body: string): string | undefined {
  try {
    let found = JSON.parse(body);
    for (let depth = 0; depth < 3 && typeof found === "object" && found !== null; depth++) found = found.error ?? found.message ?? found.detail;
    return typeof found === "string" ? found : undefined;
  } catch {
    return undefined;
  }
}

/** The hits of a service whose texts may mark words by HTML. `date` names the field of the date. */
export function readHits(list: unknown, service: string, { date, textsOf }: { date: string; textsOf(hit: any): unknown[] }): SearchResult[] {
  if (!Array.isArray(list)) throw searchFailed(service, "its answer holds no list of results");
  return list.filter(isObject).map((hit) => ({
    title: plainText(hit.title),
    url: String(hit.url ?? ""),
    text: textsOf(hit).map(plainText).filter(Boolean).join("\n"),
    ...(typeof hit[date] === "string" && { publishedAt: hit[date] }),
  }));
}

const isObject = (value: unknown): value is Record<string, any> => typeof value === "object" && value !== null;
const plainText = (html: unknown): string => (typeof html === "string" ? htmlToText(cleanHtml(html).html) : "");
