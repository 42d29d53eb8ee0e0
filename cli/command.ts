import { join, resolve } from "node:path";
import {
  configDirectory,
  createRedactor,
  createSessions,
  currentDirectory,
  dataDirectory,
  hostEnvironment,
  loadConfig,
  type Sessions,
  secretsOf,
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
    async load() {
      const loaded = await loadConfig({ ...options, cwd, env, dataDir, ...(options.config !== undefined && { overlay: options.config }) });
      for (const secret of loaded.secrets) redactor.add(secret);
      return loaded;
    },
    write: (text: string): void => void streams.write(text),
    redact: redactor.redact,
    get sessions(): Sessions {
      sessions ??= createSessions({
        dir: join(dataDir, "sessions"),
        on: (event) => streams.say(`warning: ${event.path}: ${event.type === "store.recovered" ? `${event.lost} records are lost` : event.reason}\n`),
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
  run(words: string[], context: CommandContext): Promise<number>;
}

const COMMANDS: Record<string, () => Promise<Command>> = {
  auth: async () => (await import("./commands/auth.ts")).authCommand,
  session: async () => (await import("./commands/session.ts")).sessionCommand,
  config: async () => (await import("./commands/config.ts")).configCommand,
  trust: async () => (await import("./commands/trust.ts")).trustCommand,
  stats: async () => (await import("./commands/stats.ts")).statsCommand,
  cache: async () => (await import("./commands/cache.ts")).cacheCommand,
};

/** Runs a command of the command line; resolves to its exit code. */
export async function runCommand(invocation: CommandInvocation, host: RunHost): Promise<number> {
  const command = await COMMANDS[invocation.name]?.();
  if (command === undefined) throw new Error(`no command ${invocation.name}`);
  if (invocation.words.some((word) => word === "--help" || word === "-h")) {
    host.streams.write(`${command.usage.map((line, index) => `${index === 0 ? "Usage:" : "      "} agent ${line}`).join("\n")}\n\n${command.description}\n`);
    return 0;
  }
  return command.run(invocation.words, createCommandContext(invocation, host));
}
