import { AgentError, type PluginContext } from "agent-runtime";
import { type ConfiguredServer, describeWay } from "./configured.ts";
import type { Changes } from "./pins.ts";
import { createPins, type Pins } from "./pins.ts";
import { Server } from "./server.ts";

export interface CommandNeeds {
  servers: ConfiguredServer[];
  context: PluginContext;
  write(text: string): void;
  signal: AbortSignal;
}

/** `agent mcp list`: what each server is and how it does. `agent mcp approve NAME`: accept its tools as they are now. */
export async function runCommand([action = "list", ...names]: string[], needs: CommandNeeds): Promise<number> {
  if (action === "list" && names.length === 0) return list(needs);
  if (action === "approve" && names.length === 1) return approve(names[0] as string, needs);
  throw new AgentError("OPTION_INVALID", { option: `mcp ${action}`, reason: "write agent mcp list, or agent mcp approve NAME." });
}

async function list({ servers, context, write, signal }: CommandNeeds): Promise<number> {
  if (servers.length === 0) write("No MCP server is configured: agent mcp add NAME -- COMMAND …\n");
  const pins = createPins(context.dataDir);
  const quiet = { ...context, report: () => {} };
  const opened = servers.map((configured) => new Server(configured, quiet, pins));
  const end = () => void Promise.all(opened.map((server) => server.close()));
  signal.addEventListener("abort", end, { once: true });
  await Promise.all(opened.map((server) => server.start()));
  for (const { source, configured, tools } of opened) {
    const count = source.status === "connected" ? ` (${tools.length} tools)` : "";
    write(`${source.name}: ${source.status}${count}\n  ${describeWay(configured.way)}\n${source.reason === undefined ? "" : `  ${source.reason}\n`}`);
    for (const { name } of tools) write(`    ${name}\n`);
  }
  await Promise.all(opened.map((server) => server.close()));
  signal.removeEventListener("abort", end);
  return 0;
}

/** Shows what is new before it is accepted; the next prompt of any run offers it. */
async function approve(name: string, { servers, context, write }: CommandNeeds): Promise<number> {
  const configured = servers.find((server) => server.name === name);
  if (configured === undefined)
    throw new AgentError("OPTION_INVALID", {
      option: "mcp approve",
      reason: `there is no MCP server "${name}"; there are: ${servers.map((server) => server.name).join(", ") || "none"}.`,
    });
  const pins = createPins(context.dataDir);
  let changes: Changes | undefined;
  const watching: Pins = {
    ...pins,
    compare: async (...of) => (changes = await pins.compare(...of).catch(() => ({ added: of[1].map((tool) => tool.name), changed: [] }))),
  };
  const server = new Server({ ...configured, isEnabled: true }, { ...context, report: () => {} }, watching);
  await server.start();
  const { source, listed } = server;
  await server.close();
  if (source.status === "failed") throw new AgentError("OPTION_INVALID", { option: "mcp approve", reason: `"${name}" cannot be asked: ${source.reason}` });
  const news = listed.filter((tool) => changes?.added.includes(tool.name) || changes?.changed.includes(tool.name));
  for (const tool of news)
    write(
      `${changes?.changed.includes(tool.name) ? "changed" : "new"}: ${tool.name}\n  ${tool.description.replaceAll("\n", "\n  ")}\n  ${JSON.stringify(tool.schema)}\n`,
    );
  await pins.accept(configured, listed);
  write(`The ${listed.length} tools of ${name} are accepted as they are now.\n`);
  return 0;
}
