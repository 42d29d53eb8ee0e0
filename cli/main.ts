import { readFileSync } from "node:fs";
import type { AgentError } from "agent-runtime";
import { createRedactor, secretsOf, toAgentError } from "agent-runtime/host";
import { createJsonOutput, createTextOutput, openStreams } from "./output.ts";
import type { RunHost } from "./run.ts";
import { watchSignals } from "./signals.ts";

/** From the first signal or the closing of stdout to the end, whatever still hangs; the promise is 3 s. */
const GRACE_MS = 2700;

const readVersion = (): string => JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version;

/** The command. Runs it, waits until every byte is out, and ends the process: the only place that does. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<void> {
  const ending = new AbortController();
  const endNow = takeExit();
  const abort = (error: AgentError) => {
    if (ending.signal.aborted) return;
    setTimeout(() => endNow(error.exit), GRACE_MS).unref();
    ending.abort(error);
  };
  const streams = openStreams(process.stdout, process.stderr, abort);
  const host: RunHost = { streams, signal: ending.signal, abort, readVersion, redact: (text) => createRedactor(secretsOf(process.env)).redact(text) };
  watchSignals({ abort, endNow });
  watchFaults(host, argv);
  let exitCode: number;
  try {
    exitCode = await dispatch(argv, host);
  } catch (error) {
    exitCode = await report(toAgentError(error), host, argv);
  }
  await streams.flush();
  endNow(ending.signal.aborted ? toAgentError(ending.signal.reason).exit : exitCode);
}

/** From here on a plugin that wants to end the process gets an error, so that its fault is told and no output is lost. */
function takeExit(): (exitCode: number) => never {
  const exit = process.exit.bind(process);
  process.exit = () => {
    throw new Error("it called process.exit, which only the command may do. Throw an error instead.");
  };
  return exit;
}

async function dispatch(argv: readonly string[], host: RunHost): Promise<number> {
  if (argv[0] === "--version" || argv[0] === "-V") return print(`${readVersion()}\n`, host);
  const { parseArgs } = await import("./args.ts");
  const invocation = parseArgs(argv, process.env);
  switch (invocation.kind) {
    case "version":
      return print(`${readVersion()}\n`, host);
    case "help":
      return print(invocation.text, host);
    case "command":
      return (await import("./command.ts")).runCommand(invocation, host);
    case "run":
      return (await import("./run.ts")).runPrompts(invocation, host);
    default:
      invocation satisfies never;
      return 2;
  }
}

function print(text: string, { streams }: RunHost): number {
  streams.write(text);
  return 0;
}

/** Tells of an error that belongs to no request: an event on stdout where JSON was asked for, and always a line on stderr. */
async function report(error: AgentError, { streams, redact = (text) => text }: RunHost, argv: readonly string[]): Promise<number> {
  const options = { streams, stream: false, redact, log: { verbose: argv.includes("--verbose"), quiet: false } };
  const quiet = { ...options, log: { ...options.log, verbose: false } };
  const format = findFormat(argv);
  if (format === "json") createJsonOutput(quiet).error(error);
  if (format === "stream-json") (await import("./output-claude.ts")).createClaudeOutput(undefined, quiet).error(error);
  createTextOutput(options).error(error);
  return error.exit;
}

/** Asked of the raw words, because they may be what is wrong. */
function findFormat(argv: readonly string[]): string | undefined {
  const [, , format, standard] = /(^|\0)(?:--output-format[=\0]([^\0]*)|--json-standard[=\0]([^\0]*))(?:\0|$)/.exec(argv.join("\0")) ?? [];
  const named = standard === "opencode" ? "json" : standard === "claude" ? "stream-json" : standard;
  return format ?? named ?? process.env.AGENT_OUTPUT_FORMAT;
}

/** A fault that nobody caught ends the run as an error of ours; a promise that nobody waits for cannot change the outcome. */
function watchFaults(host: RunHost, argv: readonly string[]): void {
  process.on("uncaughtException", (error) => {
    void report(toAgentError(error), host, argv);
    host.abort(toAgentError(error));
  });
  process.on("unhandledRejection", (error) => {
    if (argv.includes("--verbose"))
      host.streams.say(host.redact?.(`debug: unhandled rejection: ${error instanceof Error ? error.stack : String(error)}\n`) ?? "");
  });
}
