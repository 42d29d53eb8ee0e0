import type { ClientRequest, IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { LONGEST_TIMER_MS } from "./abort.ts";

/** Limits of one exchange, in ms; Infinity is none. The exchange as a whole has none. */
export interface HttpLimits {
  /** Until the connection stands, TLS included. */
  connectTimeoutMs: number;
  /** From then until the headers of the answer have come. */
  headersTimeoutMs: number;
  /** Between two pieces of the body, comments of an event stream included. */
  chunkTimeoutMs: number;
  /** Between two pieces of the body that are more than comments and blank lines. */
  contentTimeoutMs: number;
}

/** Where an exchange broke. `code` is Node's, for example ECONNREFUSED; TLS errors have one of theirs. */
export interface Failure {
  stage: "connect" | "headers" | "stall" | "dns" | "network" | "tls" | "cut" | "size";
  reason: string;
  code?: string;
}

export interface OpenOptions {
  method: string;
  headers: Record<string, string>;
  /** Aborts when the request is given up while a proxy is asked for a connection: Node itself would wait for that. */
  ended?: AbortSignal;
}

export interface Exchange {
  url: URL;
  method: string;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: string | Uint8Array | undefined;
  signal: AbortSignal | null | undefined;
  limits: HttpLimits;
  /** Starts the request without sending it. Called again when a kept connection turns out to be closed. */
  open(url: URL, options: OpenOptions): ClientRequest;
  /** Host and port of the proxy that it goes through. */
  via?: string;
  /** The error that a failure is thrown as. */
  toError(failure: Failure): Error;
  /** Bytes of the body after decompression. */
  maxBytes?: number;
  /** How many times larger than what was sent the body may become, once it has passed 1 MiB. */
  maxRatio?: number;
  /** Called once when the exchange is over, well or not. */
  onEnd?(): void;
}

/** Not by `import`: on Node 22 and newer that reads every name of the module, and one of them loads the built-in fetch (25 ms of CPU). */
export const loadHttp = (isSecure: boolean): typeof import("node:http") | typeof import("node:https") =>
  isSecure ? process.getBuiltinModule("node:https") : process.getBuiltinModule("node:http");

type HeaderSource = Iterable<readonly [string, string]> | Record<string, string | readonly string[] | undefined> | undefined;

/**
 * Headers by case-insensitive name, several values joined by ", ". Does what `Headers` does without loading it:
 * its first use costs Node 20 about 30 ms.
 */
export class HeaderList {
  readonly #values = new Map<string, string>();

  constructor(source?: HeaderSource) {
    if (source === undefined || source === null) return;
    const pairs = Symbol.iterator in source ? (source as Iterable<readonly [string, string]>) : Object.entries(source);
    for (const [name, value] of pairs)
      for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined && one !== null) this.append(name, String(one));
  }

  get(name: string): string | null {
    return this.#values.get(name.toLowerCase()) ?? null;
  }
  has(name: string): boolean {
    return this.#values.has(name.toLowerCase());
  }
  set(name: string, value: string): void {
    this.#values.set(name.toLowerCase(), value);
  }
  append(name: string, value: string): void {
    const known = this.get(name);
    this.set(name, known === null ? value : `${known}, ${value}`);
  }
  delete(name: string): void {
    this.#values.delete(name.toLowerCase());
  }
  forEach(visit: (value: string, name: string, list: this) => void): void {
    for (const [name, value] of this.#values) visit(value, name, this);
  }
  entries(): IterableIterator<[string, string]> {
    return this.#values.entries();
  }
  keys(): IterableIterator<string> {
    return this.#values.keys();
  }
  values(): IterableIterator<string> {
    return this.#values.values();
  }
  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.#values.entries();
  }
}

/** A body, piece by piece: what the reader of a stream does, without the cost of a stream. */
export interface Pieces {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  /** Lets go of what has not been read. */
  cancel(reason?: unknown): Promise<void>;
}

interface ResponseParts {
  status: number;
  statusText: string;
  url: string;
  redirected?: boolean;
  headers: { get(name: string): string | null };
  pieces: Pieces | undefined;
}

/** The part of a `Response` that the AI SDK and tools use. The body can be read once. */
export class HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  redirected: boolean;
  readonly #pieces: Pieces | undefined;
  #body: ReadableStream<Uint8Array> | null | undefined;
  #isTaken = false;

  constructor(parts: ResponseParts) {
    this.status = parts.status;
    this.statusText = parts.statusText;
    this.url = parts.url;
    this.headers = parts.headers;
    this.redirected = parts.redirected ?? false;
    this.#pieces = parts.pieces;
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  get body(): ReadableStream<Uint8Array> | null {
    this.#body ??= this.#pieces === undefined ? null : toStream(this.#pieces);
    return this.#body;
  }

  get bodyUsed(): boolean {
    return this.#isTaken || (this.#body?.locked ?? false);
  }

  /** The body without a stream around it; undefined where there is none. */
  takePieces(): Pieces | undefined {
    if (this.bodyUsed) throw new TypeError("The body was read before.");
    this.#isTaken = true;
    return this.#pieces;
  }

  async bytes(): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    const pieces = this.takePieces();
    for (let read = await pieces?.read(); read?.value !== undefined; read = await pieces?.read()) parts.push(read.value);
    return Buffer.concat(parts);
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const bytes = await this.bytes();
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  }

  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  async json(): Promise<any> {
    return JSON.parse(await this.text());
  }
}

/** The body of any response, ours or another's. */
export const piecesOf = (response: Response | HttpResponse): Pieces | undefined =>
  response instanceof HttpResponse ? response.takePieces() : (response.body?.getReader() as Pieces | undefined);

const toStream = (pieces: Pieces): ReadableStream<Uint8Array> =>
  new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { value } = await pieces.read();
        if (value === undefined) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => pieces.cancel(reason),
    },
    { highWaterMark: 0 },
  );

/** One request on its way: what ends it, and the one timer that is moved from stage to stage. */
interface Flight {
  request: ClientRequest;
  /** Why we ended it ourselves. */
  failure: Error | undefined;
  /** Told of that, once there is a body. */
  onFailure: ((error: Error) => void) | undefined;
  fail(error: Error): void;
  wait(stage: "connect" | "headers" | "stall", ms: number): void;
  rest(): void;
  end(): void;
}

const STAGES = { connect: "no connection", headers: "no answer", stall: "no further piece of the answer" };

/**
 * Sends one request and resolves when the headers of the answer have come. Rejects with `toError(failure)`, or with the
 * signal's reason; so does the body, which is read only as fast as it is taken.
 */
export async function exchange(plan: Exchange): Promise<HttpResponse> {
  for (;;) {
    const { signal } = plan;
    if (signal?.aborted) throw signal.reason;
    const flight = startFlight(plan);
    try {
      const incoming = await awaitHeaders(plan, flight);
      return await toResponse(plan, flight, incoming);
    } catch (error) {
      flight.end();
      // A kept connection that the server has closed meanwhile. It may have taken the request: only what can be asked twice is.
      if (flight.failure === undefined && flight.request.reusedSocket && isReset(error) && plan.method === "GET") continue;
      plan.onEnd?.();
      if (flight.failure !== undefined) throw flight.failure;
      throw isNodeError(error) ? plan.toError(explain(error, plan)) : error;
    }
  }
}

function startFlight(plan: Exchange): Flight {
  const { signal } = plan;
  const ending = plan.via === undefined ? undefined : new AbortController();
  const request = plan.open(plan.url, { method: plan.method, headers: plan.headers, ...(ending && { ended: ending.signal }) });
  let timer: NodeJS.Timeout | undefined;
  const abort = () => flight.fail(signal?.reason);
  const flight: Flight = {
    request,
    failure: undefined,
    onFailure: undefined,
    fail(error) {
      if (flight.failure !== undefined) return;
      flight.failure = error;
      flight.end();
      flight.onFailure?.(error);
      ending?.abort();
      request.destroy(error instanceof Error ? error : new Error("aborted"));
    },
    wait(stage, ms) {
      clearTimeout(timer);
      if (ms === Number.POSITIVE_INFINITY) return;
      timer = setTimeout(() => flight.fail(plan.toError({ stage, reason: `${STAGES[stage]} within ${ms / 1000} s.` })), Math.min(ms, LONGEST_TIMER_MS));
    },
    rest: () => clearTimeout(timer),
    end() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
  signal?.addEventListener("abort", abort, { once: true });
  return flight;
}

function awaitHeaders(plan: Exchange, flight: Flight): Promise<IncomingMessage> {
  const { request } = flight;
  const { limits } = plan;
  return new Promise((resolve, reject) => {
    flight.wait("connect", limits.connectTimeoutMs);
    const connected = () => flight.wait("headers", limits.headersTimeoutMs);
    request.once("socket", (socket) => {
      if (request.reusedSocket) connected();
      else socket.once(plan.url.protocol === "https:" ? "secureConnect" : "connect", connected);
    });
    request.once("response", resolve);
    request.on("error", reject);
    request.once("close", () => reject(flight.failure ?? Object.assign(new Error("socket hang up"), { code: "ECONNRESET" })));
    request.end(plan.body);
  });
}

async function toResponse(plan: Exchange, flight: Flight, incoming: IncomingMessage): Promise<HttpResponse> {
  incoming.on("error", () => {});
  const status = incoming.statusCode ?? 0;
  const headers = new HeaderList(incoming.headers);
  const isEmpty = status === 204 || status === 304 || plan.method === "HEAD";
  flight.rest();
  const source = isEmpty ? incoming.resume() : await decompress(incoming, headers.get("content-encoding"));
  if (flight.failure !== undefined) throw flight.failure;
  const pieces = isEmpty ? undefined : createPieces(plan, flight, { incoming, source });
  if (isEmpty) {
    flight.end();
    plan.onEnd?.();
  }
  return new HttpResponse({ status, statusText: incoming.statusMessage ?? "", url: plan.url.href, headers, pieces });
}

/** Undoes `content-encoding`; what it does not know stays as it is. */
async function decompress(incoming: IncomingMessage, encoding: string | null): Promise<Readable> {
  const names = (encoding ?? "").split(",").map((name) => name.trim().toLowerCase());
  if (!names.some((name) => ["gzip", "x-gzip", "deflate", "br"].includes(name))) return incoming;
  const [zlib, { pipeline }] = await Promise.all([import("node:zlib"), import("node:stream")]);
  const flush = { flush: zlib.constants.Z_SYNC_FLUSH };
  let source: Readable = incoming;
  for (const name of names.reverse()) {
    if (!["gzip", "x-gzip", "deflate", "br"].includes(name)) continue;
    // createUnzip reads gzip and zlib alike.
    const decoder = name === "br" ? zlib.createBrotliDecompress() : zlib.createUnzip(flush);
    source = pipeline(source, decoder, () => {});
  }
  return source;
}

const RATIO_FREE_BYTES = 1024 * 1024;
const BUFFERED_BYTES = 64 * 1024;

type Line = "new" | "comment" | "content";

/** A body on its way. */
interface Transfer {
  plan: Exchange;
  flight: Flight;
  /** What comes out of decompression; the answer itself where nothing is compressed. */
  source: Readable & { bytesWritten?: number };
  isEvents: boolean;
  /** Bytes after decompression. */
  size: number;
  /** `performance.now()` of the last piece that was more than comments. */
  contentAt: number;
  /** What the line began as in which the last piece ended; a piece may end anywhere. */
  line: Line;
  isOver: boolean;
  /** Why it broke off. */
  failure?: Error;
  /** What has come and nobody has read. */
  queue: Uint8Array[];
  queuedBytes: number;
  /** Reads that wait for a piece. */
  readers: { resolve(piece: { done: boolean; value?: Uint8Array }): void; reject(error: Error): void }[];
}

function createPieces(plan: Exchange, flight: Flight, { incoming, source }: { incoming: IncomingMessage; source: Readable }): Pieces {
  const isEvents = (incoming.headers["content-type"] ?? "").includes("event-stream");
  const at = { size: 0, contentAt: performance.now(), line: "new", isOver: false } as const;
  const transfer: Transfer = { plan, flight, source, isEvents, ...at, queue: [], queuedBytes: 0, readers: [] };
  listen(transfer);
  waitForPiece(transfer);
  return {
    read: () => readPiece(transfer),
    async cancel() {
      endTransfer(transfer);
      transfer.queue = [];
      source.destroy();
      flight.request.destroy();
    },
  };
}

function listen(transfer: Transfer): void {
  const { plan, flight, source } = transfer;
  flight.onFailure = (error) => {
    if (transfer.isOver) return;
    transfer.failure = error;
    for (const reader of transfer.readers.splice(0)) reader.reject(error);
    endTransfer(transfer);
    source.destroy();
  };
  source.on("data", (piece: Buffer) => passPiece(transfer, piece));
  source.on("end", () => endTransfer(transfer));
  source.on("error", (error: NodeJS.ErrnoException) => {
    // An event stream says itself when it is whole; and where nothing has come, nothing was compressed.
    const isWhole = error.code === "Z_BUF_ERROR" && (transfer.isEvents || transfer.source.bytesWritten === 0);
    if (isWhole) endTransfer(transfer);
    else flight.fail(plan.toError(explain(error, plan)));
  });
  source.on("close", () => transfer.isOver || flight.fail(plan.toError({ stage: "cut", reason: CUT, code: "ECONNRESET" })));
}

async function readPiece(transfer: Transfer): Promise<{ done: boolean; value?: Uint8Array }> {
  const { source, queue, readers, isOver, failure } = transfer;
  if (failure !== undefined) throw failure;
  const value = queue.shift();
  transfer.queuedBytes -= value?.length ?? 0;
  if (!isOver && source.isPaused() && transfer.queuedBytes < BUFFERED_BYTES) {
    waitForPiece(transfer);
    source.resume();
  }
  if (value !== undefined) return { done: false, value };
  return isOver ? { done: true } : new Promise((resolve, reject) => readers.push({ resolve, reject }));
}

function passPiece(transfer: Transfer, piece: Buffer): void {
  const { plan, flight, source, queue, readers } = transfer;
  if (transfer.isOver) return;
  transfer.size += piece.length;
  const excess = findExcess(transfer);
  if (excess !== undefined) {
    flight.fail(plan.toError({ stage: "size", reason: excess }));
    return;
  }
  if (transfer.isEvents && hasContent(transfer, piece)) transfer.contentAt = performance.now();
  const reader = readers.shift();
  if (reader !== undefined) reader.resolve({ done: false, value: piece });
  else {
    queue.push(piece);
    transfer.queuedBytes += piece.length;
  }
  if (transfer.queuedBytes < BUFFERED_BYTES) waitForPiece(transfer);
  else {
    // The reader is slow: that is no stall of the server.
    source.pause();
    flight.rest();
  }
}

function findExcess({ plan, source, size }: Transfer): string | undefined {
  const { maxBytes = Number.POSITIVE_INFINITY, maxRatio = Number.POSITIVE_INFINITY } = plan;
  if (size > maxBytes) return `it is longer than ${maxBytes} bytes.`;
  if (size > RATIO_FREE_BYTES && source.bytesWritten !== undefined && size > source.bytesWritten * maxRatio)
    return `it grows more than ${maxRatio}-fold when it is decompressed.`;
  return undefined;
}

/** The wait for a piece is cut short where the longer wait for content ends before it. */
function waitForPiece({ plan: { limits }, flight, isEvents, contentAt }: Transfer): void {
  const leftMs = isEvents ? Math.max(1, limits.contentTimeoutMs - (performance.now() - contentAt)) : Number.POSITIVE_INFINITY;
  flight.wait("stall", Math.min(limits.chunkTimeoutMs, leftMs));
}

function endTransfer(transfer: Transfer): void {
  if (transfer.isOver) return;
  transfer.isOver = true;
  for (const reader of transfer.readers.splice(0)) reader.resolve({ done: true });
  transfer.flight.end();
  transfer.plan.onEnd?.();
}

/** False for a piece of an event stream that holds comments and blank lines only. */
function hasContent(transfer: Transfer, piece: Buffer): boolean {
  let [line, isContent] = [transfer.line, false];
  for (let index = 0; index < piece.length; index++) {
    const byte = piece[index];
    if (byte === 0x0a || byte === 0x0d) line = "new";
    else if (line === "new") line = byte === 0x3a ? "comment" : "content";
    isContent ||= line === "content";
  }
  transfer.line = line;
  return isContent;
}

const CUT = "the connection was closed in the middle of the answer.";
const isNodeError = (error: unknown): error is NodeJS.ErrnoException => error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string";
const isReset = (error: unknown): boolean => isNodeError(error) && (error.code === "ECONNRESET" || error.code === "EPIPE");
const isTlsCode = (code: string): boolean => /CERT|TLS|SSL|SIGNATURE|EPROTO|ISSUER/.test(code);

/** What a Node error means, said with the host and never with the path or the query. */
function explain(error: NodeJS.ErrnoException, { url, via }: Exchange): Failure {
  // Only the proxy is looked up and connected to.
  const place = via === undefined ? url.host : `the proxy ${via}`;
  const code = error.code ?? (error as { errors?: NodeJS.ErrnoException[] }).errors?.[0]?.code ?? "UNKNOWN";
  const reasons: Record<string, string> = {
    ECONNREFUSED: `nothing listens at ${place}.`,
    ENOTFOUND: `the host ${via ?? url.hostname} is not known.`,
    EAI_AGAIN: `the host ${via ?? url.hostname} could not be looked up.`,
    ECONNRESET: error.message === "aborted" ? CUT : `${url.host} closed the connection.`,
    EPIPE: `${url.host} closed the connection.`,
    ETIMEDOUT: `${place} does not answer.`,
    EHOSTUNREACH: `there is no way to ${place}.`,
    ENETUNREACH: `there is no way to ${place}.`,
    Z_DATA_ERROR: "its compressed body is damaged.",
    Z_BUF_ERROR: "its compressed body ends too early.",
  };
  const isLookUp = error.syscall === "getaddrinfo" || code === "ENOTFOUND" || code === "EAI_AGAIN";
  if (isLookUp) reasons[code] ??= `the host ${url.hostname} could not be looked up.`;
  const isTls = reasons[code] === undefined && isTlsCode(code);
  const said = code === "EPROTO" ? "the server does not speak TLS" : error.message;
  const known = reasons[code] ?? `${isTls ? `no secure connection to ${url.host}` : url.host}: ${said}`;
  const stage = isLookUp ? "dns" : isTls ? "tls" : reasons[code] === CUT || code.startsWith("Z_") ? "cut" : "network";
  return { stage, reason: `${known.replace(/\.?$/, "")} (${code}).`, code };
}

export interface RedirectPlan {
  max: number;
  /** "error" throws, "manual" returns the redirecting answer itself. */
  mode: RequestInit["redirect"];
  refuse(url: URL, reason: string): Error;
}

export interface HttpRequest {
  url: URL;
  method: string;
  headers: Record<string, string>;
  body: string | Uint8Array | undefined;
}

export const isRedirect = (status: number): boolean => [301, 302, 303, 307, 308].includes(status);
/** What may go on to another origin: nothing that says who asks. */
const HARMLESS = new Set(["accept", "accept-encoding", "accept-language", "content-type", "user-agent"]);

/** Follows redirects by hand: each hop goes through `send`, and so through its checks. */
export async function followRedirects(first: HttpRequest, send: (request: HttpRequest) => Promise<HttpResponse>, plan: RedirectPlan): Promise<HttpResponse> {
  let request = first;
  for (let hops = 0; ; hops++) {
    const response = await send(request);
    response.redirected = hops > 0;
    const location = isRedirect(response.status) ? response.headers.get("location") : null;
    if (location === null || plan.mode === "manual") return response;
    await response.body?.cancel();
    if (plan.mode === "error") throw plan.refuse(request.url, "it redirects.");
    if (hops >= plan.max) throw plan.refuse(first.url, `it redirects more than ${plan.max} times.`);
    request = redirect(request, response.status, { location, refuse: plan.refuse });
  }
}

function redirect(request: HttpRequest, status: number, { location, refuse }: { location: string; refuse: RedirectPlan["refuse"] }): HttpRequest {
  // Node.js reads headers byte by byte; what is not ASCII in an address is UTF-8.
  const address = Buffer.from(location, "latin1").toString();
  if (!URL.canParse(address, request.url)) throw refuse(request.url, "it redirects to something that is not a URL.");
  const url = new URL(address, request.url);
  const isGet = status === 303 || (status < 303 && request.method === "POST");
  const isNear = url.origin === request.url.origin;
  const headers = Object.entries(request.headers).filter(
    ([name]) => (isNear || HARMLESS.has(name)) && !(isGet && (name === "content-type" || name === "content-length")),
  );
  return {
    url,
    method: isGet && request.method !== "HEAD" ? "GET" : request.method,
    headers: Object.fromEntries(headers),
    body: isGet ? undefined : request.body,
  };
}

/** A request as `fetch` takes it, in the form that is sent. Throws a TypeError for bodies that only the built-in fetch knows. */
export function readRequest(input: unknown, init: RequestInit = {}): HttpRequest {
  const given = (typeof input === "object" && input !== null && "url" in input ? input : undefined) as
    | { url: string; method?: string; headers?: unknown }
    | undefined;
  const url = new URL(String(given?.url ?? input));
  const headers = Object.fromEntries(new HeaderList((init.headers ?? given?.headers) as HeaderSource));
  const body = init.body instanceof URLSearchParams ? init.body.toString() : (init.body ?? undefined);
  if (body !== undefined && typeof body !== "string" && !(body instanceof Uint8Array))
    throw new TypeError("The body of a request is a string or a Uint8Array.");
  if (init.body instanceof URLSearchParams) headers["content-type"] ??= "application/x-www-form-urlencoded;charset=UTF-8";
  headers["user-agent"] ??= "agent-runtime";
  headers.accept ??= "*/*";
  return { url, method: (init.method ?? given?.method ?? "GET").toUpperCase(), headers, body };
}
