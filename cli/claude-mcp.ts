import { AgentError, type Config } from "agent-runtime";
import { isFields } from "./content.ts";
import { checkFile, readJson, readText } from "./option-values.ts";

const OPTION = "--mcp-config";
type Servers = NonNullable<Config["mcp"]>;

/** Claude Code's `{ "mcpServers": { name: { command, args, env } | { type, url, headers } } }`, files or the text itself, as our `mcp`. */
export function readMcpConfigs(given: string[]): Servers {
  const invalid = (reason: string) => new AgentError("OPTION_INVALID", { option: OPTION, reason });
  const servers: Servers = {};
  for (const each of given) {
    const value = readJson(OPTION, each.trimStart().startsWith("{") ? each : readText(OPTION, checkFile(OPTION, each)));
    const named = isFields(value) ? value.mcpServers : undefined;
    if (!isFields(named)) throw invalid('it is not { "mcpServers": { name: … } }.');
    for (const [name, server] of Object.entries(named)) {
      if (name === "__proto__" || !isFields(server)) throw invalid(`"${name}" is no server.`);
      servers[name] = readServer(server, (reason) => invalid(`"${name}": ${reason}`));
    }
  }
  return servers;
}

function readServer(
  { type, command, args = [], env = {}, url, headers = {} }: Record<string, unknown>,
  fault: (reason: string) => AgentError,
): Servers[string] {
  if (type === "sdk") throw new AgentError("NOT_AVAILABLE", { name: "A server inside the client" });
  if (typeof url === "string") return { type: "remote", url, headers: readTexts(headers, "headers", fault), enabled: true };
  if (typeof command !== "string" || !Array.isArray(args) || args.some((arg) => typeof arg !== "string")) throw fault("it needs a command and args, or a url.");
  return { type: "local", command: [command, ...args], environment: readTexts(env, "env", fault), enabled: true };
}

function readTexts(value: unknown, key: string, fault: (reason: string) => AgentError): Record<string, string> {
  if (!isFields(value) || Object.values(value).some((text) => typeof text !== "string")) throw fault(`its ${key} are not names and texts.`);
  return value as Record<string, string>;
}
