import { AgentError, type Runtime } from "agent-runtime";
import { readText, type Stdin } from "./stdin.ts";

export interface PluginCommandContext {
  openRuntime(): Promise<Runtime>;
  stdin: Stdin;
  signal: AbortSignal;
  write(text: string): void;
  redact(text: string): string;
  /** Where the command was typed; the runtime's directory without it. */
  cwd?: string;
}

/** Runs the command that a plugin brings; resolves to its exit code. */
export async function runPluginCommand(
  name: string,
  words: string[],
  { openRuntime, stdin, signal, write, redact, cwd }: PluginCommandContext,
): Promise<number> {
  const runtime = await openRuntime();
  try {
    const command = await runtime.command(name);
    if (command === undefined) throw new AgentError("NOT_AVAILABLE", { name: `The plugin ${name}` });
    const readStdin = () => readText(stdin, signal);
    return (await command.run(words, { cwd: cwd ?? runtime.cwd, signal, write: (text) => write(redact(runtime.redact(text))), readStdin })) ?? 0;
  } finally {
    await runtime.close({ signal });
  }
}
