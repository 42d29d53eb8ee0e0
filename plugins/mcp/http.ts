import type { PluginContext } from "agent-runtime";
import type { Inbox, Transport } from "./connection.ts";
import { isObject } from "./connection.ts";
import { LONGEST_MESSAGE } from "./stdio.ts";

export interface RemoteServer {
  url: string;
  headers: Record<string, string>;
}

/** Of one answer, which may be many messages. */
const MOST_BYTES = 4 * LONGEST_MESSAGE;
const [NOTICE_MS, FAREWELL_MS] = [10_000, 500];
const TOO_LONG = `its answer is longer than ${LONGEST_MESSAGE / 1024 / 1024} MiB.`;

/**
 * Streamable HTTP: each message is a POST of its own, answered by JSON or by an event stream. The address is the user's
 * own word, so it may be private; no redirect leads from it to another origin, and so no header goes elsewhere.
 */
export function openHttp(server: RemoteServer, { fetch }: Pick<PluginContext, "fetch">, inbox: Inbox, totalMs: number): Transport {
  const agreed: Record<string, string> = {};
  const life = new AbortController();
  const ask = (method: string, more: object) => fetch(server.url, { ...requestOf(server, agreed), method, signal: life.signal, timeoutMs: totalMs, ...more });
  return {
    async send(message, signal) {
      const limits = signal === undefined ? { timeoutMs: NOTICE_MS } : { signal: AbortSignal.any([life.signal, signal]) };
      const response = await ask("POST", { body: JSON.stringify(message), ...limits });
      const session = response.headers.get(SESSION);
      if (session !== null && /^[\x21-\x7e]{1,512}$/.test(session)) agreed[SESSION] ??= session;
      if (!response.ok) {
        await response.body?.cancel().catch(() => {});
        if (response.status === 404 && SESSION in agreed) inbox.end("it has forgotten the session.");
        throw new Error(describeRefusal(response));
      }
      const isAnswered = await readAnswer(response, inbox, "method" in message && "id" in message ? Number(message.id) : undefined);
      if (!isAnswered) throw new Error("it ended its answer without the result.");
    },
    agree: (version) => void (agreed["mcp-protocol-version"] = version),
    async close() {
      life.abort(new Error("the agent ends."));
      if (SESSION in agreed) await ask("DELETE", { timeoutMs: FAREWELL_MS, signal: undefined }).catch(() => {});
    },
  };
}

const SESSION = "mcp-session-id";

/** What all requests to a server have in common. */
function requestOf({ url, headers }: RemoteServer, agreed: Record<string, string>) {
  const { origin, hostname, protocol, port } = new URL(url);
  const place = `${hostname.replace(/^\[|\]$/g, "")}:${port || (protocol === "https:" ? "443" : "80")}`;
  return {
    headers: { ...headers, ...agreed, "content-type": "application/json", accept: "application/json, text/event-stream" },
    allowPrivateHosts: [place],
    maxBytes: MOST_BYTES,
    async onRedirect(next: string) {
      if (new URL(next).origin !== origin) throw new Error(`it redirects to ${new URL(next).origin}. Write the address it has now.`);
    },
  };
}

function describeRefusal({ status, statusText }: Response): string {
  const fact = `it answered ${`${status} ${statusText}`.trim()}`;
  if (status === 401 || status === 403) return `${fact}. Logging in by OAuth is not supported: put a token into its headers.`;
  if (status === 404 || status === 405) return `${fact}. Check the url; servers that speak only the older HTTP with SSE are not supported.`;
  return `${fact}.`;
}

/** Whether the request was answered; a message that was no request is. */
async function readAnswer(response: Response, inbox: Inbox, id: number | undefined): Promise<boolean> {
  let isAnswered = id === undefined;
  const take = (text: string) => {
    const message = parse(text);
    isAnswered ||= [message].flat().some((each) => isObject(each) && Number(each.id) === id && !("method" in each));
    inbox.take(message);
  };
  const type = response.headers.get("content-type") ?? "";
  if (/^text\/event-stream/i.test(type)) await readEvents(response, take);
  else if (/^application\/json/i.test(type)) take(await readText(response));
  else await response.body?.cancel().catch(() => {});
  return isAnswered;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function* piecesOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  try {
    for (let read = await reader?.read(); read?.value !== undefined; read = await reader?.read()) yield decoder.decode(read.value, { stream: true });
  } finally {
    await reader?.cancel().catch(() => {});
  }
}

async function readText(response: Response): Promise<string> {
  const parts: string[] = [];
  let size = 0;
  for await (const piece of piecesOf(response)) {
    parts.push(piece);
    size += piece.length;
    if (size > LONGEST_MESSAGE) throw new Error(TOO_LONG);
  }
  return parts.join("");
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html, as far as data goes: what other events are called does not matter. */
async function readEvents(response: Response, take: (data: string) => void): Promise<void> {
  let parts: string[] = [];
  let data: string[] = [];
  let size = 0;
  const endLine = () => {
    const line = parts.join("").replace(/\r$/, "");
    parts = [];
    if (line === "" && data.length > 0) take(data.join("\n"));
    if (line === "") [data, size] = [[], 0];
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  };
  for await (const piece of piecesOf(response)) {
    for (const [index, part] of piece.split("\n").entries()) {
      if (index > 0) endLine();
      parts.push(part);
      size += part.length;
      if (size > LONGEST_MESSAGE) throw new Error(TOO_LONG);
    }
  }
  endLine();
  endLine();
}
