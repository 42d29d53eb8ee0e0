import type { RequestOptions } from "node:http";
import type { AgentOptions } from "node:https";
import type { Duplex } from "node:stream";
import { type Exchange, loadHttp, type OpenOptions } from "./http-exchange.ts";
import type { ProxyServer } from "./proxy.ts";

type Open = Exchange["open"];
export type Created = (error: Error | null, socket?: Duplex) => void;
type ConnectOptions = RequestOptions & Pick<OpenOptions, "ended">;

/** Requests through a proxy, over kept connections: to an https host through a tunnel, to an http host by its whole URL (RFC 9112, 3.2.2). */
export const openThrough = (proxy: ProxyServer, isSecure: boolean): Open => (isSecure ? openTunnel(proxy) : openForwarded(proxy));

const authorize = ({ authorization }: ProxyServer): Record<string, string> => (authorization === undefined ? {} : { "proxy-authorization": authorization });

function openForwarded(proxy: ProxyServer): Open {
  const { request, Agent } = loadHttp(proxy.protocol === "https:");
  const agent = new Agent({ keepAlive: true, noDelay: true });
  const { hostname, port } = proxy;
  return (url, { method, headers }) =>
    request({ hostname, port, method, path: url.href, headers: { ...headers, host: url.host, ...authorize(proxy) }, agent } as RequestOptions);
}

function openTunnel(proxy: ProxyServer): Open {
  const { request, Agent } = loadHttp(true) as typeof import("node:https");
  class TunnelAgent extends Agent {
    override createConnection(options: ConnectOptions, created: Created): undefined {
      connectThrough(proxy, options, (error, socket) => {
        if (error !== null) created(error);
        else created(null, super.createConnection({ ...options, socket } as never, undefined as never) as Duplex);
      });
    }
  }
  const agent = new TunnelAgent({ keepAlive: true } satisfies AgentOptions);
  return (url, options) => request(url, { ...options, agent } as RequestOptions);
}

/** Asks the proxy for a connection to the host (CONNECT, RFC 9110, 9.3.6). */
export function connectThrough(proxy: ProxyServer, { host, port, ended }: ConnectOptions, created: Created): void {
  const target = `${host?.includes(":") ? `[${host}]` : host}:${port}`;
  const { hostname, port: proxyPort } = proxy;
  const asked = loadHttp(proxy.protocol === "https:").request({
    hostname,
    port: proxyPort,
    method: "CONNECT",
    path: target,
    headers: { host: target, ...authorize(proxy) },
    agent: false,
    signal: ended,
  } as RequestOptions);
  asked.once("error", created);
  asked.once("connect", ({ statusCode = 0, statusMessage }, socket) => {
    if (statusCode >= 200 && statusCode < 300) return created(null, socket);
    socket.destroy();
    created(Object.assign(new Error(`the proxy ${hostname}:${proxyPort} refused the connection: ${statusCode} ${statusMessage}`), { code: "EPROXY" }));
  });
  asked.end();
}
