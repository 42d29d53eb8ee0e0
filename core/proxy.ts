import { AgentError } from "./errors.ts";

/** The way to a host that is not reached directly. */
export interface ProxyServer {
  /** `http:` or `https:`: how the proxy itself is spoken to. */
  protocol: "http:" | "https:";
  hostname: string;
  port: number;
  /** Value of `Proxy-Authorization`, where its address has a user. */
  authorization?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy that the environment names for a URL: `HTTPS_PROXY`, `HTTP_PROXY`, or `ALL_PROXY` for both, in capitals or not,
 * unless `NO_PROXY` has the host. This machine is never asked for through a proxy, as in Go's net/http. Throws OPTION_INVALID
 * for an address that is none, or of a kind that is not spoken.
 */
export function findProxy(url: URL, env: Environment): ProxyServer | undefined {
  const names = [url.protocol === "https:" ? "https_proxy" : "http_proxy", "all_proxy"];
  const name = names.find((each) => read(each, env) !== "");
  if (name === undefined) return undefined;
  const hostname = bare(url.hostname);
  if (isThisMachine(hostname) || isExempt({ hostname, port: portOf(url) }, read("no_proxy", env))) return undefined;
  return parseProxy(read(name, env), name.toUpperCase());
}

const read = (name: string, env: Environment): string => (env[name] ?? env[name.toUpperCase()] ?? "").trim();
const bare = (hostname: string): string =>
  hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
const portOf = ({ port, protocol }: URL): number => Number(port) || (protocol === "https:" ? 443 : 80);
const isThisMachine = (hostname: string): boolean => /^(.*\.)?localhost$|^127(\.\d+){3}$|^::1$/.test(hostname);

function parseProxy(address: string, option: string): ProxyServer {
  const text = address.includes("://") ? address : `http://${address}`;
  // The address may hold a password, so it is not repeated.
  const refuse = (reason: string) => new AgentError("OPTION_INVALID", { option, reason });
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.hostname === "") throw refuse("it is not the address of a proxy.");
  const { protocol, username, password } = url;
  if (protocol !== "http:" && protocol !== "https:") throw refuse(`a proxy is spoken to by http or https, not by ${protocol.slice(0, -1)}.`);
  const authorization = username === "" && password === "" ? undefined : `Basic ${encodeUser(username, password, refuse)}`;
  return { protocol, hostname: bare(url.hostname), port: portOf(url), ...(authorization !== undefined && { authorization }) };
}

function encodeUser(username: string, password: string, refuse: (reason: string) => AgentError): string {
  try {
    return Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64");
  } catch {
    throw refuse("its user or password is not percent-encoded.");
  }
}

/** Entries of NO_PROXY: `*`, a host with all below it (`example.com`, `.example.com`, `*.example.com`), an address, each with a port or without. */
function isExempt({ hostname, port }: { hostname: string; port: number }, list: string): boolean {
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => {
      const [, host = entry, ownPort] = /^(\[.*\]|[^:]*):(\d+)$/.exec(entry) ?? [];
      if (ownPort !== undefined && Number(ownPort) !== port) return false;
      const name = bare(host.replace(/^\*?\./, ""));
      return host === "*" || hostname === name || hostname.endsWith(`.${name}`) || isInRange(hostname, name);
    });
}

/** An address in a range like 10.0.0.0/8. */
function isInRange(hostname: string, range: string): boolean {
  const [network = "", bits] = range.split("/");
  const { BlockList, isIP } = process.getBuiltinModule("node:net");
  const family = isIP(hostname);
  if (bits === undefined || family === 0 || isIP(network) !== family || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128)) return false;
  const type = family === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  list.addSubnet(network, Number(bits), type);
  return list.check(hostname, type);
}
