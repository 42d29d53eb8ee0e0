import { createHash } from "node:crypto";
import type { Config, PluginContext } from "agent-runtime";
import type { RemoteServer } from "./http.ts";
import type { LocalServer } from "./stdio.ts";

export type Way = ({ type: "local" } & LocalServer) | ({ type: "remote" } & RemoteServer);

/** A server that the configuration names, and that can be reached as far as can be told. */
export interface ConfiguredServer {
  /** As the configuration has it. */
  name: string;
  /** What the names of its tools begin with, `__` left out. */
  prefix: string;
  way: Way;
  isEnabled: boolean;
  /** ms: to start and to list its tools; of a call, without progress and in all. */
  limits: { startup: number; call: number; total: number };
}

const LIMITS = { startup: 10_000, call: 120_000, total: 600_000 };
const LONGEST_PREFIX = 30;

/** The servers of the configuration, and what is wrong with the others. Says nothing of those that are switched off by `{ enabled: false }` alone. */
export function readServers({ mcp = {} }: PluginContext["config"], only?: string[]): { servers: ConfiguredServer[]; faults: string[] } {
  const servers: ConfiguredServer[] = [];
  const faults: string[] = [];
  for (const [name, given] of Object.entries(mcp)) {
    const isEnabled = given.enabled !== false && (only === undefined || only.includes(name));
    const way = readWay(given);
    const prefix = prefixOf(name);
    const twin = servers.find((other) => other.prefix === prefix);
    if (typeof way !== "string" && twin === undefined) servers.push({ name, prefix, way, isEnabled, limits: readLimits(given.timeout) });
    else if (isEnabled)
      faults.push(
        `The MCP server "${name}" cannot be used: ${typeof way === "string" ? way : `its tools would be called as those of "${twin?.name}". Rename it.`}`,
      );
  }
  return { servers, faults };
}

type Given = NonNullable<Config["mcp"]>[string];

/** Or why there is none. */
function readWay({ type, command = [], cwd, environment = {}, url, headers = {} }: Given): Way | string {
  if (type === "remote" || (type === undefined && url !== undefined)) {
    if (url === undefined || !URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) return "its url is no http or https address.";
    const { username, password } = new URL(url);
    return username + password === "" ? { type: "remote", url, headers } : "its url holds a user name or a password. Put them into its headers.";
  }
  if (command[0] === undefined || command[0] === "") return 'it has no command. Write "command": ["program", "argument"], or a url.';
  const odd = Object.keys(environment).find((key) => !/^[A-Za-z_]\w*$/.test(key));
  return odd === undefined ? { type: "local", command, cwd, environment } : `"${odd}" is no name of a variable.`;
}

/** A number is for the start, as opencode has it. */
function readLimits(timeout: Given["timeout"]): ConfiguredServer["limits"] {
  const given = typeof timeout === "number" ? { startup: timeout } : (timeout ?? {});
  const isTime = (value: unknown): value is number => typeof value === "number" && value > 0 && value < 2 ** 31;
  return { ...LIMITS, ...Object.fromEntries(Object.entries(given).filter(([key, value]) => Object.hasOwn(LIMITS, key) && isTime(value))) };
}

/** Letters, digits, `-` and single `_`: the first `__` of a tool's name ends it. */
function prefixOf(name: string): string {
  const clean = name.replace(/[^a-zA-Z0-9-]+/g, "_").replace(/^_|_$/g, "");
  if (clean !== "" && clean.length <= LONGEST_PREFIX) return clean;
  return `${clean.slice(0, LONGEST_PREFIX - 9)}_${digest(name).slice(0, 8)}`.replace(/_+/g, "_").replace(/^_/, "");
}

/** What is started or asked. A server that is reached in another way is another server; its variables and headers may change. */
export const identityOf = ({ name, way }: ConfiguredServer): string =>
  digest(JSON.stringify(way.type === "local" ? [name, way.command, way.cwd] : [name, way.url]));

export const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The command or address, for people. */
export const describeWay = (way: Way): string =>
  way.type === "local" ? way.command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(" ") : way.url;
