import type { RequestOptions } from "node:http";
import { AgentError } from "./errors.ts";
import { type Exchange, exchange, type Failure, followRedirects, type HttpLimits, HttpResponse, loadHttp, type Pieces, readRequest } from "./http-exchange.ts";
import { findProxy, type ProxyServer } from "./proxy.ts";

export { createGuardedFetch, type GuardOptions, type GuardTarget } from "./guarded-fetch.ts";
export { HeaderList, type HttpLimits, HttpResponse, type Pieces, piecesOf } from "./http-exchange.ts";

/** The shape of the built-in `fetch`, as far as AI SDK providers and tools use it. */
export type Fetch = typeof globalThis.fetch;

export interface GuardedRequest extends RequestInit {
  /** Hosts, addresses or CIDR ranges that are allowed though they are not public. */
  allowPrivateHosts?: string[];
  /** Bytes of the decompressed body; more is an error while it streams. 5 MiB by default. */
  maxBytes?: number;
  /** ms for the whole exchange, body included. 30,000 by default. */
  timeoutMs?: number;
  /** Asked before a redirect is followed; what it throws ends the request. */
  onRedirect?(url: string): Promise<void>;
  /** Redirects that are followed, each address checked anew. 5 by default. */
  maxRedirects?: number;
}

/** `fetch` for tools and plugins: http and https to public addresses only, checked on the address that is connected to. */
export type GuardedFetch = (url: string | URL, init?: GuardedRequest) => Promise<Response>;

const DEFAULT_LIMITS: HttpLimits = { connectTimeoutMs: 10_000, headersTimeoutMs: 300_000, chunkTimeoutMs: 60_000, contentTimeoutMs: 300_000 };
const MAX_REDIRECTS = 5;

/**
 * The one HTTP client, for providers: any host, kept connections, a time limit for each stage and none for the whole.
 * `env` may name proxies (`findProxy`).
 * The built-in fetch is not used: on Node 20 its first use costs about 100 ms.
 *
 * Throws PROVIDER_TIMEOUT (`data.stage`: connect, headers or stall), NETWORK_FAILED (dns or network), TLS_FAILED or STREAM_CUT
 * (`data.cause`: Node's code), or the reason of `init.signal`; the body of the answer fails with the same. `data.model` is the host until a router knows better.
 */
export function createFetch(limits: Partial<HttpLimits> = {}, env: Record<string, string | undefined> = {}): Fetch {
  const open = createOpener(env);
  const all = mergeLimits(DEFAULT_LIMITS, limits);
  const send = async (input: unknown, init: RequestInit & { limits?: Partial<HttpLimits>; maxBytes?: number } = {}) => {
    const first = readRequest(input, init);
    const refuse = (url: URL, reason: string) => new AgentError("NETWORK_FAILED", { model: url.host, reason });
    const response = await followRedirects(
      first,
      async (request) => {
        const way = await open(request.url);
        // Compression is asked for lists; a stream of small events would only be held up by it.
        if (request.method === "GET") request.headers["accept-encoding"] ??= "gzip, br";
        const answer = await exchange({
          ...request,
          ...way,
          signal: init.signal,
          limits: mergeLimits(all, init.limits ?? {}),
          ...(init.maxBytes !== undefined && { maxBytes: init.maxBytes }),
          toError: (failure) => toProviderError(failure, request.url),
        });
        if (answer.status === 407 && way.via !== undefined) throw refuse(request.url, `the proxy ${way.via} refused the connection: 407 ${answer.statusText}.`);
        return answer;
      },
      { max: MAX_REDIRECTS, mode: init.redirect, refuse },
    );
    return response.ok ? response : shorten(response);
  };
  return send as unknown as Fetch;
}

/** What a server says of an error is read this far: whoever asks takes the whole of it into memory. */
const ERROR_BYTES = 64 * 1024;

function shorten(response: HttpResponse): HttpResponse {
  const { status, statusText, url, redirected, headers } = response;
  const whole = response.takePieces();
  let left = ERROR_BYTES;
  const read = async () => {
    // The status has said it; what the body would have added is lost.
    const { value } = left > 0 ? await (whole as Pieces).read().catch(() => ({ value: undefined })) : {};
    const start = value?.subarray(0, left);
    left -= value?.length ?? left;
    if (left <= 0) whole?.cancel().catch(() => {});
    return { done: start === undefined, value: start };
  };
  return new HttpResponse({ status, statusText, url, redirected, headers, pieces: whole && { read, cancel: whole.cancel } });
}

/** The same client with other limits. Works on what `createFetch` made; other fetch functions ignore it. */
export function withLimits(fetch: Fetch, limits: Partial<HttpLimits>): Fetch {
  return (input, init) => fetch(input, { limits, ...init } as RequestInit);
}

function mergeLimits(base: HttpLimits, over: Partial<HttpLimits>): HttpLimits {
  return { ...base, ...Object.fromEntries(Object.entries(over).filter(([, value]) => value !== undefined)) };
}

/** How a URL is reached. */
type Way = Pick<Exchange, "open" | "via">;

/** Loads what it takes to reach a URL when it is first needed: `node:http` or `node:https`, with an agent that keeps connections. */
function createOpener(env: Record<string, string | undefined>) {
  const loaded = new Map<string, Promise<Way>>();
  return (url: URL): Promise<Way> => {
    const isSecure = url.protocol === "https:";
    if (!isSecure && url.protocol !== "http:")
      throw new AgentError("NETWORK_FAILED", { model: url.href, reason: `${url.protocol}// is neither http nor https.` });
    const proxy = findProxy(url, env);
    const key = `${isSecure} ${JSON.stringify(proxy)}`;
    const way = loaded.get(key) ?? (proxy === undefined ? openDirectly(isSecure) : openBy(proxy, isSecure));
    loaded.set(key, way);
    return way;
  };
}

async function openDirectly(isSecure: boolean): Promise<Way> {
  const { request, Agent } = loadHttp(isSecure);
  const agent = new Agent({ keepAlive: true, noDelay: true });
  return { open: (url, options) => request(url, { ...options, agent } as RequestOptions) };
}

async function openBy(proxy: ProxyServer, isSecure: boolean): Promise<Way> {
  const { openThrough } = await import("./tunnel.ts");
  return { open: openThrough(proxy, isSecure), via: `${proxy.hostname}:${proxy.port}` };
}

function toProviderError({ stage, reason, code }: Failure, url: URL): AgentError {
  if (stage === "connect" || stage === "headers" || stage === "stall") return new AgentError("PROVIDER_TIMEOUT", { model: url.host, reason, stage });
  const row = stage === "tls" ? "TLS_FAILED" : stage === "cut" ? "STREAM_CUT" : "NETWORK_FAILED";
  return new AgentError(row, { model: url.host, reason, stage, cause: code });
}
