import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { AgentError, type PluginContext, type Tool, type ToolContext, type ToolResult } from "agent-runtime";
import { cleanShort } from "./clean.ts";
import type { ConfiguredServer } from "./configured.ts";
import { Connection, Gone, isObject, type RequestLimits, type Transport } from "./connection.ts";
import type { Changes, Pins } from "./pins.ts";
import { type ListedTool, MOST_READ, readTools } from "./read-tools.ts";
import { toResult } from "./result.ts";
import { createTool } from "./tool.ts";

export type ServerContext = Pick<PluginContext, "cwd" | "startProcess" | "fetch" | "report">;
type Status = "pending" | "connected" | "failed" | "disabled";

/** Versions of the protocol that are spoken, the newest first: https://modelcontextprotocol.io/specification/versioning */
const VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const [MOST_RESTARTS, BACKOFF_MS] = [2, 500];
/** Pages of tools, and times that a server may say that it has others now. */
const [MOST_PAGES, MOST_NEWS] = [32, 20];
const PROGRESS_MS = 100;

/** One server: connected when it is first asked for, started anew when it has ended, and silenced when its tools have changed. */
export class Server {
  readonly configured: ConfiguredServer;
  readonly #context: ServerContext;
  readonly #pins: Pins;
  readonly #life = new AbortController();
  #status: Status;
  #reason: string | undefined;
  #tools: readonly Tool[] = [];
  #listed: ListedTool[] = [];
  #connection: Connection | undefined;
  #connecting: Promise<void> | undefined;
  #restarts = 0;
  #news = 0;
  #agree: Transport["agree"];

  constructor(configured: ConfiguredServer, context: ServerContext, pins: Pins) {
    [this.configured, this.#context, this.#pins] = [configured, context, pins];
    this.#status = configured.isEnabled ? "pending" : "disabled";
  }

  get tools(): readonly Tool[] {
    return this.#tools;
  }

  /** As it lists them, whether they are offered or not. */
  get listed(): ListedTool[] {
    return this.#listed;
  }

  get source() {
    return { name: this.configured.name, status: this.#status, ...(this.#reason !== undefined && { reason: this.#reason }) };
  }

  /** Never rejects: a server that cannot be had is told of once. */
  async start(): Promise<void> {
    if (this.#status !== "pending") return;
    await this.#connectOnce().catch((error: unknown) => this.#fail(error));
  }

  /** Runs one of its tools. Throws MCP_GONE, and Errors whose message is what the model reads. */
  async call(tool: string, input: unknown, context: ToolContext): Promise<ToolResult> {
    const connection = await this.#reach();
    if (this.#status === "disabled") throw this.#gone(this.#reason ?? "it is switched off.");
    const { call, total } = this.configured.limits;
    const limits: RequestLimits = { signal: context.signal, idleMs: call, totalMs: total, onProgress: tellProgress(context) };
    try {
      return toResult(await connection.request("tools/call", { name: tool, arguments: input }, limits), context);
    } catch (error) {
      if (error instanceof Gone) throw this.#gone(error.message);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#life.abort(new Gone("the agent ends."));
    await this.#connecting?.catch(() => {});
    await this.#connection?.close("the agent ends.");
  }

  /** The connection, made anew where the server has ended: twice at most, and later each time. */
  async #reach(): Promise<Connection> {
    await this.#connecting?.catch(() => {});
    if (this.#connection !== undefined && !this.#connection.isOver) return this.#connection;
    if (this.#restarts >= MOST_RESTARTS) throw this.#gone(`it was started ${MOST_RESTARTS + 1} times and has ended each time.`);
    this.#connecting ??= this.#restart().finally(() => (this.#connecting = undefined));
    await this.#connecting.catch((error: Error) => {
      throw this.#gone(error.message);
    });
    return this.#connection as Connection;
  }

  async #restart(): Promise<void> {
    await delay(BACKOFF_MS * 2 ** this.#restarts++, undefined, { signal: this.#life.signal });
    await this.#connect();
  }

  #connectOnce(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => (this.#connecting = undefined));
    return this.#connecting;
  }

  async #connect(): Promise<void> {
    const { limits, way } = this.configured;
    const roots = way.type === "local" ? [{ uri: pathToFileURL(this.#context.cwd).href, name: "workspace" }] : [];
    const connection = new Connection({ roots, onChange: () => void this.#renew(connection) });
    const starting = AbortSignal.any([this.#life.signal, AbortSignal.timeout(limits.startup)]);
    try {
      connection.attach(await this.#open(connection));
      await this.#greet(connection, starting);
      await this.#list(connection, starting);
      this.#connection = connection;
    } catch (error) {
      await connection.close("it could not be used.");
      const isLate = starting.aborted && !this.#life.signal.aborted;
      throw isLate ? new Error(`it was not ready within ${limits.startup / 1000} s; its "timeout" gives it more.`) : error;
    }
  }

  async #open(connection: Connection): Promise<Transport> {
    const { way, limits } = this.configured;
    const context = this.#context;
    const transport =
      way.type === "local"
        ? await (await import("./stdio.ts")).openStdio(way, context, connection)
        : (await import("./http.ts")).openHttp(way, context, connection, limits.total);
    this.#agree = transport.agree;
    return transport;
  }

  async #greet(connection: Connection, signal: AbortSignal): Promise<void> {
    const { startup } = this.configured.limits;
    const capabilities = this.configured.way.type === "local" ? { roots: {} } : {};
    const hello = { protocolVersion: VERSIONS[0], capabilities, clientInfo: { name: "agent-runtime", version: "1" } };
    const answer = await connection.request("initialize", hello, { signal, idleMs: startup, totalMs: startup });
    const version = isObject(answer) ? answer.protocolVersion : undefined;
    if (typeof version !== "string" || !VERSIONS.includes(version)) throw new Error("it speaks no version of the protocol that is known here.");
    this.#agree?.(version);
    connection.notify("notifications/initialized");
  }

  /** Takes its tools as they are now, unless they are others than those that were accepted. */
  async #list(connection: Connection, signal: AbortSignal): Promise<void> {
    const { tools, left } = readTools(await this.#listAll(connection, signal));
    this.#listed = tools;
    const changes = await this.#pins.compare(this.configured, tools);
    if (changes !== undefined) return this.#disable(changes);
    this.#status = "connected";
    this.#reason = left.length === 0 ? undefined : `${left.length} of its tools are left out: ${left.slice(0, 5).join(", ")}${left.length > 5 ? ", …" : ""}`;
    if (left.length > 0)
      this.#context.report(`The MCP server "${this.configured.name}" lists more than is taken (128 tools, 256 KiB of text): ${this.#reason}`);
    this.#tools = tools.map((tool) => createTool(tool, this.configured.prefix, this));
  }

  async #listAll(connection: Connection, signal: AbortSignal): Promise<unknown[]> {
    const { startup } = this.configured.limits;
    const all: unknown[] = [];
    let cursor: unknown;
    for (let page = 0; page < MOST_PAGES; page++) {
      const answer = await connection.request("tools/list", cursor === undefined ? {} : { cursor }, { signal, idleMs: startup, totalMs: startup });
      if (!isObject(answer) || !Array.isArray(answer.tools)) throw new Error("its list of tools is none.");
      for (const tool of answer.tools) all.push(tool);
      cursor = answer.nextCursor;
      if (typeof cursor !== "string" || cursor === "" || all.length > MOST_READ) break;
    }
    return all;
  }

  /** It says that it has other tools now. */
  async #renew(connection: Connection): Promise<void> {
    if (connection !== this.#connection || this.#news++ >= MOST_NEWS) return;
    const signal = AbortSignal.any([this.#life.signal, AbortSignal.timeout(this.configured.limits.startup)]);
    await this.#list(connection, signal).catch(() => {});
  }

  #disable({ added, changed }: Changes): void {
    const list = (names: string[]) =>
      names
        .slice(0, 5)
        .map((name) => cleanShort(name, 64))
        .join(", ") + (names.length > 5 ? ", …" : "");
    const facts = [changed.length > 0 ? `changed: ${list(changed)}` : "", added.length > 0 ? `new: ${list(added)}` : ""].filter((fact) => fact !== "");
    if (this.#status !== "disabled")
      this.#context.report(
        `The tools of the MCP server "${this.configured.name}" are not what they were when they were accepted, and are off (${facts.join("; ")}). Look at them and accept them: agent mcp approve ${this.configured.name}`,
      );
    [this.#status, this.#reason, this.#tools] = ["disabled", `its tools have changed (${facts.join("; ")}): agent mcp approve ${this.configured.name}`, []];
  }

  #fail(error: unknown): void {
    const reason = cleanShort(error instanceof Error ? error.message : String(error), 2_000);
    [this.#status, this.#reason] = ["failed", reason];
    if (this.#life.signal.aborted) return;
    this.#context.report(
      `The MCP server "${this.configured.name}" cannot be used, and its tools are missing: ${reason} Mend it, or switch it off: agent config set ${this.#key} false`,
    );
  }

  /** In the configuration. */
  get #key(): string {
    const { name } = this.configured;
    return /^[\w-]+$/.test(name) ? `mcp.${name}.enabled` : `'mcp."${name}".enabled'`;
  }

  #gone(reason: string): AgentError {
    return new AgentError("MCP_GONE", { server: this.configured.name, reason });
  }
}

/** At most ten times a second, and only what can be seen. */
function tellProgress(context: ToolContext): (message: unknown) => void {
  let last = 0;
  return (message) => {
    const now = performance.now();
    if (typeof message !== "string" || now - last < PROGRESS_MS) return;
    last = now;
    context.progress({ title: cleanShort(message, 200) });
  };
}
