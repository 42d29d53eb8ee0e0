import { AgentError } from "agent-runtime";
import { type LoadedConfig, SECRET_NAME } from "agent-runtime/host";

/** What a command of the configuration needs from the command line. */
export interface ConfigContext {
  load(): Promise<LoadedConfig>;
  write(text: string): void;
  redact(text: string): string;
  dataDir: string;
  cwd: string;
}

/** `agent config show [--origin] [--json]`, `agent config path`. */
export const configCommand = {
  name: "config",
  description: "Show the configuration that is in force, and where each value came from.",
  usage: ["config show [--origin] [--json]", "config path [--json]"],
  async run(words: string[], context: ConfigContext): Promise<number> {
    const [action = "show", ...options] = words;
    if (action === "set") throw new AgentError("NOT_AVAILABLE", { name: "agent config set" });
    if (action !== "show" && action !== "path")
      throw new AgentError("OPTION_UNKNOWN", { what: "action", name: `config ${action}`, suggestion: "Use show or path. " });
    const unknown = options.find((option) => !(action === "show" ? ["--origin", "--json"] : ["--json"]).includes(option));
    if (unknown !== undefined) throw new AgentError("OPTION_UNKNOWN", { what: "option", name: unknown, suggestion: `Of agent config ${action}. ` });
    const loaded = await context.load();
    const text = action === "path" ? describePaths(loaded, options) : describeConfig(loaded, options);
    context.write(context.redact(text));
    return 0;
  },
};

function describePaths({ files }: LoadedConfig, options: string[]): string {
  if (options.includes("--json")) return `${JSON.stringify(files)}\n`;
  return files.length === 0 ? "No configuration file was found.\n" : `${files.join("\n")}\n`;
}

function describeConfig({ config, origins }: LoadedConfig, options: string[]): string {
  const withOrigin = options.includes("--origin");
  const masked = mask(config, "");
  if (options.includes("--json") && !withOrigin) return `${JSON.stringify(masked, null, 2)}\n`;
  const values = [...origins].map(([key, origin]) => ({ key, value: valueAt(masked, key), origin })).filter(({ value }) => value !== undefined);
  values.sort((a, b) => (a.key < b.key ? -1 : 1));
  if (options.includes("--json")) return `${JSON.stringify(Object.fromEntries(values.map(({ key, value, origin }) => [key, { value, origin }])), null, 2)}\n`;
  if (values.length === 0) return "Nothing is configured; every key has its default.\n";
  return values.map(({ key, value, origin }) => `${key} = ${JSON.stringify(value)}${withOrigin ? `  (${origin})` : ""}\n`).join("");
}

/** Keys may hold dots themselves, so each step tries the longest name first. */
function valueAt(value: unknown, key: string): unknown {
  if (key === "") return value;
  if (typeof value !== "object" || value === null) return undefined;
  const parts = key.split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const name = parts.slice(0, length).join(".");
    if (Object.hasOwn(value, name)) return valueAt((value as Record<string, unknown>)[name], parts.slice(length).join("."));
  }
  return undefined;
}

const SECRET_GROUPS = new Set(["headers", "environment"]);

/** The configuration as it may be shown: keys, also those in an address, headers and variables of servers are "***". */
function mask(value: unknown, name: string): unknown {
  if (Array.isArray(value)) return value.map((item) => mask(item, name));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mask(item, SECRET_GROUPS.has(name) ? "secret" : key)]));
  }
  if (typeof value !== "string" || value === "") return value;
  return SECRET_NAME.test(name)
    ? "***"
    : value.replace(/([?&]([^\s=&#]{1,100})=)[^\s&#]+/g, (whole, start, key) => (SECRET_NAME.test(key) ? `${start}***` : whole));
}
