import type { LookupAddress } from "node:dns";
import type { RequestOptions } from "node:http";
import type { LookupFunction } from "node:net";
import type { Duplex } from "node:stream";
import { LONGEST_TIMER_MS, orAborted } from "./abort.ts";
import { AgentError } from "./errors.ts";
import type { GuardedFetch, GuardedRequest } from "./http.ts";
import { exchange, followRedirects, type HttpRequest, type HttpResponse, isRedirect, loadHttp, readRequest } from "./http-exchange.ts";
import { findProxy, type ProxyServer } from "./proxy.ts";
import type { Created } from "./tunnel.ts";

/** Where a connection goes: addresses that were checked, and no others. */
export interface GuardTarget {
  hostname: string;
  port: number;
  isSecure: boolean;
  addresses: LookupAddress[];
}

export interface GuardOptions {
  /** Hosts, addresses or CIDR ranges that every request may reach though they are not public. */
  allowPrivateHosts?: string[];
  /** All addresses of a host; the system's resolver by default. */
  resolve?(hostname: string): Promise<LookupAddress[]>;
  /** Opens the socket; to one of `addresses` only. */
  connect?(target: GuardTarget): Duplex;
  /** May name proxies (`findProxy`). They are asked for the checked address, not for the name. */
  env?: Readonly<Record<string, string | undefined>>;
}

const PORTS = new Set([80, 443, 8080, 8443]);
const MAX_REDIRECTS = 5;
const MAX_BYTES = 5 * 1024 * 1024;
const MAX_RATIO = 100;
const TIMEOUT_MS = 30_000;
const NO_LIMITS = {
  connectTimeoutMs: Number.POSITIVE_INFINITY,
  headersTimeoutMs: Number.POSITIVE_INFINITY,
  chunkTimeoutMs: Number.POSITIVE_INFINITY,
  contentTimeoutMs: Number.POSITIVE_INFINITY,
};

/**
 * `fetch` for tools and plugins. http and https, ports 80, 443, 8080 and 8443, public unicast addresses only. The
 * addresses of a host are checked and the socket is opened to those very addresses, so a second look-up cannot move it.
 * Redirects are followed by hand and checked like the first URL; no credentials go to another origin.
 *
 * Throws URL_REFUSED for what may not be fetched, FETCH_FAILED for what could not, or the reason of `init.signal`.
 */
export function createGuardedFetch(options: GuardOptions = {}): GuardedFetch {
  const send = async (input: string | URL, init: GuardedRequest = {}): Promise<HttpResponse> => {
    if (!URL.canParse(String(input))) throw refused(String(input), "it is not a URL.", "Give a full one: https://host/path.");
    const deadline = createDeadline(String(input), init);
    const allowed = await readAllowed([...(options.allowPrivateHosts ?? []), ...(init.allowPrivateHosts ?? [])]);
    const first = readRequest(input, init);
    first.headers["accept-encoding"] ??= "gzip, br";
    try {
      const hop = async (request: HttpRequest) => {
        if (request !== first && init.onRedirect !== undefined) await orAborted(init.onRedirect(request.url.href), deadline.signal);
        return fetchHop(request, { options, init, allowed, deadline });
      };
      const refuse = (url: URL, reason: string) => new AgentError("FETCH_FAILED", { url: url.href, reason });
      return await followRedirects(first, hop, { max: init.maxRedirects ?? MAX_REDIRECTS, mode: init.redirect, refuse });
    } catch (error) {
      deadline.end();
      throw error;
    }
  };
  return send as unknown as GuardedFetch;
}

interface Deadline {
  signal: AbortSignal;
  end(): void;
}

/** One signal for the time limit and the caller's own. It ends with the body that is read to its end. */
function createDeadline(url: string, { signal, timeoutMs = TIMEOUT_MS }: GuardedRequest): Deadline {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  const fail = () => controller.abort(new AgentError("FETCH_FAILED", { url, reason: `it took longer than ${timeoutMs / 1000} s.` }));
  const timer = timeoutMs < LONGEST_TIMER_MS ? setTimeout(fail, timeoutMs) : undefined;
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  return {
    signal: controller.signal,
    end() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
}

interface Hop {
  options: GuardOptions;
  init: GuardedRequest;
  allowed: Allowed;
  deadline: Deadline;
}

async function fetchHop(request: HttpRequest, { options, init, allowed, deadline }: Hop): Promise<HttpResponse> {
  const { url } = request;
  const target = await orAborted(checkTarget(url, allowed, options.resolve ?? resolveHost), deadline.signal);
  const proxy = findProxy(url, options.env ?? {});
  const connect = options.connect ?? (await loadConnect(target.isSecure, proxy));
  const { request: openRequest } = loadHttp(target.isSecure);
  // The deadline holds for all hops: it ends with the body of the last one.
  let [isOver, isLast] = [false, false];
  const onEnd = () => {
    isOver = true;
    if (isLast) deadline.end();
  };
  const response = await exchange({
    ...request,
    signal: deadline.signal,
    limits: NO_LIMITS,
    ...(proxy !== undefined && { via: `${proxy.hostname}:${proxy.port}` }),
    open: (to, { ended, ...settings }) => {
      const createConnection = (_: unknown, created: Created) => connect(target, created, ended);
      return openRequest(to, { ...settings, defaultPort: target.isSecure ? 443 : 80, createConnection } as RequestOptions);
    },
    toError: ({ reason }) => new AgentError("FETCH_FAILED", { url: url.href, reason }),
    maxBytes: init.maxBytes ?? MAX_BYTES,
    maxRatio: MAX_RATIO,
    onEnd,
  });
  isLast = response.headers.get("location") === null || !isRedirect(response.status);
  if (isOver && isLast) deadline.end();
  return response;
}

function refused(url: string, reason: string, advice: string): AgentError {
  return new AgentError("URL_REFUSED", { url, reason, advice });
}

const PRIVATE_ADVICE = "Only public hosts are fetched; a host is allowed with allowPrivateHosts in the options of the plugin web.";

/** Checks everything about a URL that can be known before a connection. */
async function checkTarget(url: URL, allowed: Allowed, resolve: NonNullable<GuardOptions["resolve"]>): Promise<GuardTarget> {
  const isSecure = url.protocol === "https:";
  if (!isSecure && url.protocol !== "http:") throw refused(url.href, `${url.protocol} is not fetched.`, "Use http or https.");
  if (url.username !== "" || url.password !== "") throw refused(`${url.origin}${url.pathname}`, "it holds a user name or a password.", "Leave them out.");
  const hostname = url.hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
  const port = Number(url.port) || (isSecure ? 443 : 80);
  const isNamed = allowed.hosts.has(hostname) || allowed.hosts.has(`${hostname}:${port}`);
  if (!isNamed && /(^|\.)localhost$/.test(hostname)) throw refused(url.href, "it is this machine.", PRIVATE_ADVICE);
  const addresses = await addressesOf(hostname, url, resolve);
  const isAllowed = isNamed || addresses.every(({ address }) => allowed.covers(address));
  if (!isAllowed)
    for (const { address } of addresses) if (!allowed.isPublic(address)) throw refused(url.href, `${address} is not a public address.`, PRIVATE_ADVICE);
  if (!isAllowed && !PORTS.has(port)) throw refused(url.href, `the port ${port} is not one of ${[...PORTS].join(", ")}.`, "Use one of them.");
  return { hostname, port, isSecure, addresses };
}

async function addressesOf(hostname: string, url: URL, resolve: NonNullable<GuardOptions["resolve"]>): Promise<LookupAddress[]> {
  const { isIP } = await import("node:net");
  const family = isIP(hostname);
  if (family !== 0) return [{ address: hostname, family }];
  const found = await resolve(hostname).catch(() => []);
  if (found.length === 0) throw new AgentError("FETCH_FAILED", { url: url.href, reason: `the host ${hostname} is not known.` });
  return found;
}

async function resolveHost(hostname: string): Promise<LookupAddress[]> {
  const { lookup } = await import("node:dns/promises");
  return lookup(hostname, { all: true });
}

/** Gives the socket, or later calls `created` with it. */
type Connect = (target: GuardTarget, created: Created, ended: AbortSignal | undefined) => Duplex | undefined;

/** Loaded beforehand, so that the socket is made where its errors are heard. */
async function loadConnect(isSecure: boolean, proxy: ProxyServer | undefined): Promise<Connect> {
  const [{ connect, isIP }, tls, tunnel] = await Promise.all([
    import("node:net"),
    isSecure ? import("node:tls") : undefined,
    proxy === undefined ? undefined : import("./tunnel.ts"),
  ]);
  const secure = (hostname: string, socket: object) =>
    tls?.connect({ ...socket, ALPNProtocols: ["http/1.1"], ...(isIP(hostname) === 0 && { servername: hostname }) });
  return ({ hostname, port, addresses }, created, ended) => {
    if (tunnel === undefined || proxy === undefined) {
      const options = { host: hostname, port, lookup: lookupIn(addresses) };
      return secure(hostname, options) ?? connect(options);
    }
    tunnel.connectThrough(proxy, { host: addresses[0]?.address, port, ended }, (error, socket) => {
      if (socket === undefined) created(error);
      else created(null, secure(hostname, { socket }) ?? socket);
    });
  };
}

/** Answers every look-up with the addresses that were checked: the socket cannot go elsewhere. */
function lookupIn(addresses: LookupAddress[]): LookupFunction {
  return (_hostname, options, done) => {
    const [first] = addresses;
    if (options.all) done(null, addresses);
    else done(null, first?.address ?? "", first?.family);
  };
}

interface Allowed {
  /** Names, with or without a port, in lower case. */
  hosts: Set<string>;
  /** The address is allowed though it is not public. */
  covers(address: string): boolean;
  isPublic(address: string): boolean;
}

async function readAllowed(entries: string[]): Promise<Allowed> {
  const { default: ipaddr } = await import("ipaddr.js");
  const hosts = new Set(entries.map((entry) => entry.toLowerCase().replace(/\.$/, "")));
  const ranges = entries.filter((entry) => ipaddr.isValidCIDR(entry)).map((entry) => ipaddr.parseCIDR(entry));
  const singles = entries.filter((entry) => ipaddr.isValid(entry)).map((entry) => ipaddr.process(entry).toString());
  return {
    hosts,
    covers(address) {
      const parsed = ipaddr.process(address);
      return singles.includes(parsed.toString()) || ranges.some(([base, bits]) => base.kind() === parsed.kind() && parsed.match(base, bits));
    },
    isPublic(address) {
      const parsed = ipaddr.process(address);
      if (parsed.range() !== "unicast") return false;
      // IPv6 has handed out 2000::/3 only; ::127.0.0.1 and its like are outside of it.
      return parsed.kind() === "ipv4" || parsed.match(ipaddr.parseCIDR("2000::/3") as never);
    },
  };
}
