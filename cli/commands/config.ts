import { resolve } from "node:path";
import { AgentError } from "agent-runtime";
import { type LoadedConfig, SECRET_NAME } from "agent-runtime/host";

/** What a command of the configuration needs from the command line. */
export interface ConfigContext {
  load(): Promise<LoadedConfig>;
  write(text: string): void;
  redact(text: string): string;
  dataDir: string;
  cwd: string;
  /** The user's own directory of configuration. */
  configDir: string;
  /** The file that `--config` names. */
  configFile: string | undefined;
}

const OPTIONS: Record<string, string[]> = { show: ["--origin", "--json"], path: ["--json"], get: ["--json"], set: ["--project"], unset: ["--project"] };

/** `agent config show [--origin] [--json]`, `path`, `get KEY`, `set KEY VALUE`, `unset KEY`. */
export const configCommand = {
  name: "config",
  description: `Show the configuration that is in force and where each value came from, or change a value of a file: the
user's own, with --project the workspace's, or the one that --config names. A VALUE is JSON or a text; a name in a KEY
that holds a dot stands in quotes: provider.openai.models."gpt-4.1".fallback`,
  usage: [
    "config show [--origin] [--json]",
    "config path [--json]",
    "config get KEY [--json]",
    "config set KEY VALUE [--project]",
    "config unset KEY [--project]",
  ],
  async run(words: string[], context: ConfigContext): Promise<number> {
    const [action = "show", ...rest] = words;
    const allowed = OPTIONS[action];
    if (allowed === undefined)
      throw new AgentError("OPTION_UNKNOWN", { what: "action", name: `config ${action}`, suggestion: `Use ${Object.keys(OPTIONS).join(", ")}. ` });
    const options = rest.filter((word) => word.startsWith("--"));
    const names = rest.filter((word) => !word.startsWith("--"));
    const unknown = options.find((option) => !allowed.includes(option));
    if (unknown !== undefined) throw new AgentError("OPTION_UNKNOWN", { what: "option", name: unknown, suggestion: `Of agent config ${action}. ` });
    const wanted = { get: 1, unset: 1, set: 2 }[action] ?? 0;
    if (names.length !== wanted) throw new AgentError("OPTION_INVALID", { option: `config ${action}`, reason: WANTED[wanted] as string });
    if (action === "set" || action === "unset") return change(names as [string, string?], options.includes("--project"), context);
    const loaded = await context.load();
    const describe = { path: describePaths, get: describeValue }[action] ?? describeConfig;
    context.write(context.redact(describe(loaded, options, names[0] ?? "")));
    return 0;
  },
};

const WANTED = ["it takes no further word.", "it takes one KEY.", "it takes a KEY and a VALUE."];

async function change([key, value]: [string, string?], isProject: boolean, context: ConfigContext): Promise<number> {
  const { editConfig, projectConfigFile, splitKey, userConfigFile } = await import("agent-runtime/host");
  const own = isProject ? projectConfigFile(context.cwd) : userConfigFile(context.configDir);
  const file = context.configFile === undefined ? own : resolve(context.cwd, context.configFile);
  // A configuration with a fault elsewhere can be edited, too: that may be what mends it.
  const load = () => context.load().catch(() => undefined);
  const before = isProject && (await load())?.workspace.isTrusted;
  const isNew = await editConfig(file, { key, value, dataDir: context.dataDir });
  const state = value !== undefined ? "is set" : isNew ? "is no longer set" : "was not set";
  context.write(`${key} ${state} in ${file}\n`);
  if (before && isNew) context.write("The workspace is no longer trusted as it was: agent trust\n");
  const origin = (await load())?.origins.get(splitKey(key).join("."));
  if (value !== undefined && origin !== undefined && !origin.startsWith(file)) context.write(`Another value comes before it: ${origin}\n`);
  return 0;
}

function describeValue({ config }: LoadedConfig, options: string[], key: string): string {
  const value = valueAt(mask(config, ""), key.replaceAll('"', ""));
  if (value === undefined) throw new AgentError("OPTION_INVALID", { option: "config get", reason: `${key} is not set; its default counts.` });
  return options.includes("--json") || typeof value !== "string" ? `${JSON.stringify(value, null, 2)}\n` : `${value}\n`;
}

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
