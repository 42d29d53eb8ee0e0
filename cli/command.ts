import { join, resolve } from "node:path";
import { AgentError } from "agent-runtime";
import {
  configDirectory,
  createRedactor,
  createSessions,
  currentDirectory,
  dataDirectory,
  hostEnvironment,
  isStartedByRun,
  type LoadConfigOptions,
  loadConfig,
  type Sessions,
  secretsOf,
  withoutControls,
} from "agent-runtime/host";
import type { CommandInvocation } from "./args.ts";
import { createLog } from "./log.ts";
import type { RunHost } from "./run.ts";
import { openStdin } from "./stdin.ts";

/** What every command gets; each takes what it needs. */
function createCommandContext({ runtime: options, log }: CommandInvocation, { streams, signal, stdin = openStdin() }: RunHost) {
  const env = hostEnvironment();
  const cwd = resolve(options.cwd ?? currentDirectory());
  const dataDir = dataDirectory(env);
  const redactor = createRedactor(secretsOf(env));
  let sessions: Sessions | undefined;
  return {
    cwd,
    dataDir,
    configDir: configDirectory(env),
    configFile: options.configFile ?? (env.AGENT_CONFIG || undefined),
    signal,
    stdin,
    canAsk: stdin.kind === "terminal" && streams.isErrorTerminal,
    async openRuntime() {
      const [{ createRuntime }, { builtins }] = await Promise.all([import("agent-runtime"), import("../plugins/index.ts")]);
      const say = (line: string) => streams.say(`${redactor.redact(line)}\n`);
      return createRuntime({
        ...options,
        plugins: [...builtins, ...(options.plugins ?? [])],
        log: createLog({ ...log, say, redact: redactor.redact }),
      });
    },
    async load(changes: Partial<LoadConfigOptions> = {}) {
      const loaded = await loadConfig({ ...options, cwd, env, dataDir, ...(options.config !== undefined && { overlay: options.config }), ...changes });
      for (const secret of loaded.secrets) redactor.add(secret);
      return loaded;
    },
    write: (text: string): void => void streams.write(streams.isTerminal ? withoutControls(text) : text),
    redact: redactor.redact,
    get sessions(): Sessions {
      sessions ??= createSessions({
        dir: join(dataDir, "sessions"),
        on: (event) =>
          streams.say(`warning: ${withoutControls(event.path)}: ${event.type === "store.recovered" ? `${event.lost} records are lost` : event.reason}\n`),
      });
      return sessions;
    },
  };
}

export type CommandContext = ReturnType<typeof createCommandContext>;

interface Command {
  name: string;
  description: string;
  /** One line for each way to call it. */
  usage: string[];
  /** Its actions have a help of their own. */
  hasActions?: boolean;
  run(words: string[], context: CommandContext): Promise<number>;
}

const CARE_OF_MEMORY = Object.fromEntries(["work", "retry", "consolidate", "compact", "reindex"].map((action) => [action, "to work on the memory"]));

/** What a person decides for the runs to come, by command and first word; "" is any other. A model that runs it decides nothing. */
const DECISIONS: Record<string, Record<string, string>> = {
  trust: { list: "", remove: "", "": "to trust a workspace" },
  config: { set: "to change the configuration", unset: "to change the configuration" },
  auth: { login: "to store a key", logout: "to remove a key" },
  memory: {
    save: "to write into the memory",
    edit: "to change the memory",
    forget: "to remove from the memory",
    import: "to import into the memory",
    export: "to export the memory",
    ...CARE_OF_MEMORY,
  },
};

function refuseAgent({ name, words }: CommandInvocation): void {
  const decisions = DECISIONS[name];
  const what = decisions?.[words[0] ?? ""] ?? decisions?.[""];
  if (what && isStartedByRun(hostEnvironment())) throw new AgentError("PERSON_NEEDED", { what });
}

const COMMANDS: Record<string, () => Promise<Command>> = {
  auth: async () => (await import("./commands/auth.ts")).authCommand,
  session: async () => (await import("./commands/session.ts")).sessionCommand,
  config: async () => (await import("./commands/config.ts")).configCommand,
  trust: async () => (await import("./commands/trust.ts")).trustCommand,
  mcp: async () => (await import("./commands/mcp.ts")).mcpCommand,
  stats: async () => (await import("./commands/stats.ts")).statsCommand,
  memory: async () => (await import("./commands/memory.ts")).memoryCommand,
  cache: async () => (await import("./commands/cache.ts")).cacheCommand,
};

/** Runs a command of the command line; resolves to its exit code. */
export async function runCommand(invocation: CommandInvocation, host: RunHost): Promise<number> {
  const command = await COMMANDS[invocation.name]?.();
  if (command === undefined) throw new Error(`no command ${invocation.name}`);
  const { words } = invocation;
  const isHelp = (word: string | undefined) => word === "--help" || word === "-h";
  // Behind -- stand the words of another program.
  const asksHelp = words.slice(0, words.includes("--") ? words.indexOf("--") : words.length).some(isHelp);
  if (command.hasActions ? isHelp(words[0]) : asksHelp) {
    host.streams.write(`${command.usage.map((line, index) => `${index === 0 ? "Usage:" : "      "} agent ${line}`).join("\n")}\n\n${command.description}\n`);
    return 0;
  }
  refuseAgent(invocation);
  return command.run(invocation.words, createCommandContext(invocation, host));
}
