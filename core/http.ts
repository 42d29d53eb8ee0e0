import type { RequestOptions } from "node:http";
import { AgentError } from "./errors.ts";
import { exchange, type Failure, followRedirects, type HttpLimits, HttpResponse, loadHttp, readRequest } from "./http-exchange.ts";

export { createGuardedFetch, type GuardOptions, type GuardTarget } from "./guarded-fetch.ts";
export { HeaderList, type HttpLimits, HttpResponse } from "./http-exchange.ts";

/** The shape of the built-in `fetch`, as far as AI SDK providers and tools use it. */
export type Fetch = typeof globalThis.fetch;

export interface GuardedRequest extends RequestInit {
  /** Hosts, addresses or CIDR ranges that are allowed though they are not public. */
  allowPrivateHosts?: string[];
  /** Bytes of the decompressed body; more is an error while it streams. 5 MiB by default. */
  maxBytes?: number;
  /** ms for the whole exchange, body included. 30,000 by default. */
  timeoutMs?: number;
  /** Redirects that are followed, each address checked anew. 5 by default. */
  maxRedirects?: number;
}

/** `fetch` for tools and plugins: http and https to public addresses only, checked on the address that is connected to. */
export type GuardedFetch = (url: string | URL, init?: GuardedRequest) => Promise<Response>;

const DEFAULT_LIMITS: HttpLimits = { connectTimeoutMs: 10_000, headersTimeoutMs: 300_000, chunkTimeoutMs: 60_000, contentTimeoutMs: 300_000 };
const MAX_REDIRECTS = 5;

/**
 * The one HTTP client, for providers: any host, kept connections, a time limit for each stage and none for the whole.
 * The built-in fetch is not used: on Node 20 its first use costs about 100 ms.
 *
 * Throws PROVIDER_TIMEOUT (`data.stage`: connect, headers or stall), NETWORK_FAILED (dns or network), TLS_FAILED or STREAM_CUT
 * (`data.cause`: Node's code), or the reason of `init.signal`; the body of the answer fails with the same. `data.model` is the host until a router knows better.
 */
export function createFetch(limits: Partial<HttpLimits> = {}): Fetch {
  const open = createOpener();
  const all = mergeLimits(DEFAULT_LIMITS, limits);
  const send = async (input: unknown, init: RequestInit & { limits?: Partial<HttpLimits> } = {}) => {
    const first = readRequest(input, init);
    const refuse = (url: URL, reason: string) => new AgentError("NETWORK_FAILED", { model: url.host, reason });
    const response = await followRedirects(
      first,
      async (request) => {
        const opened = await open(request.url);
        // Compression is asked for lists; a stream of small events would only be held up by it.
        if (request.method === "GET") request.headers["accept-encoding"] ??= "gzip, br";
        return exchange({
          ...request,
          signal: init.signal,
          limits: mergeLimits(all, init.limits ?? {}),
          open: opened,
          toError: (failure) => toProviderError(failure, request.url),
        });
      },
      { max: MAX_REDIRECTS, mode: init.redirect, refuse },
    );
    return response.ok ? response : shorten(response);
  };
  return send as unknown as Fetch;
}

/** What a server says of an error is read this far: whoever asks takes the whole of it into memory. */
const ERROR_BYTES = 64 * 1024;

function shorten({ status, statusText, url, redirected, headers, body }: HttpResponse): HttpResponse {
  const reader = body?.getReader();
  let left = ERROR_BYTES;
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    // The status has said it; what the body would have added is lost.
    const { value } = (await reader?.read().catch(() => undefined)) ?? {};
    if (value !== undefined) controller.enqueue(value.subarray(0, left));
    left -= value?.length ?? left;
    if (left > 0) return;
    controller.close();
    reader?.cancel().catch(() => {});
  };
  const start = new ReadableStream<Uint8Array>({ pull, cancel: (reason) => reader?.cancel(reason) }, { highWaterMark: 0 });
  return new HttpResponse({ status, statusText, url, redirected, headers, body: reader === undefined ? null : start });
}

/** The same client with other limits. Works on what `createFetch` made; other fetch functions ignore it. */
export function withLimits(fetch: Fetch, limits: Partial<HttpLimits>): Fetch {
  return (input, init) => fetch(input, { limits, ...init } as RequestInit);
}

function mergeLimits(base: HttpLimits, over: Partial<HttpLimits>): HttpLimits {
  return { ...base, ...Object.fromEntries(Object.entries(over).filter(([, value]) => value !== undefined)) };
}

/** Loads `node:http` or `node:https` when first needed, with one agent each that keeps connections. */
function createOpener() {
  const load = async (isSecure: boolean) => {
    const { request, Agent } = loadHttp(isSecure);
    const agent = new Agent({ keepAlive: true, noDelay: true });
    return (url: URL, options: RequestOptions) => request(url, { ...options, agent } as RequestOptions);
  };
  const loaded = new Map<boolean, ReturnType<typeof load>>();
  return (url: URL) => {
    const isSecure = url.protocol === "https:";
    if (!isSecure && url.protocol !== "http:")
      throw new AgentError("NETWORK_FAILED", { model: url.href, reason: `${url.protocol}// is neither http nor https.` });
    const opener = loaded.get(isSecure) ?? load(isSecure);
    loaded.set(isSecure, opener);
    return opener;
  };
}

function toProviderError({ stage, reason, code }: Failure, url: URL): AgentError {
  if (stage === "connect" || stage === "headers" || stage === "stall") return new AgentError("PROVIDER_TIMEOUT", { model: url.host, reason, stage });
  const row = stage === "tls" ? "TLS_FAILED" : stage === "cut" ? "STREAM_CUT" : "NETWORK_FAILED";
  return new AgentError(row, { model: url.host, reason, stage, cause: code });
}
