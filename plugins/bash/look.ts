import { existsSync } from "node:fs";
import { type ToolResult, tool, z } from "agent-runtime";
import type { Background, BackgroundCommand, SessionCommands } from "./background.ts";

const MAX_WAIT_MS = 60_000;

/**
 * Looks and ends are ruled as `bash` is, but run no command: what was allowed to start may be looked at and ended. They
 * reach only what their session has started. Offered from a session's first background command on, and then for good:
 * to take them back would cost the provider's cache once more.
 */
const reach = (background: () => Background) => ({
  effect: "read" as const,
  permission: "bash",
  patterns: () => [],
  selfLimiting: true,
  offer: ({ sessionId }: { sessionId: string }) => background().hasSeen(sessionId),
});

export const createBashOutput = (background: () => Background) =>
  tool({
    ...reach(background),
    name: "bash_output",
    description: "What a background command of bash has written since the last look, and whether it runs.",
    input: z.object({
      id: z.string(),
      wait: z.number().min(0).optional().describe("ms to wait for new output or the end; default 0, max 60000"),
    }),
    async run({ id, wait = 0 }, { sessionId, signal }) {
      const commands = background().of(sessionId);
      const command = commands.find(id, "bash_output");
      await command.waitUntil(() => command.hasNews || command.ending !== undefined, Math.min(wait, MAX_WAIT_MS), signal);
      // What was not read stays for the next look.
      signal.throwIfAborted();
      return lookAt(command, commands);
    },
  });

export const createBashKill = (background: () => Background) =>
  tool({
    ...reach(background),
    name: "bash_kill",
    description: "End a background command of bash, with everything it started, and read its last output.",
    input: z.object({ id: z.string() }),
    async run({ id }, { sessionId }) {
      const commands = background().of(sessionId);
      const command = commands.find(id, "bash_kill");
      await command.kill("kill");
      return lookAt(command, commands);
    },
  });

/** What is new of a command. One that has ended is told of once. */
export function lookAt(command: BackgroundCommand, commands: SessionCommands, whenNothing = "(no new output)"): ToolResult {
  const { ending, outputPath } = command;
  if (ending !== undefined) commands.forget(command);
  const { text, leftOut } = command.takeNews();
  const whereabouts = existsSync(outputPath) ? `the whole output is in ${outputPath}` : "they could not be kept";
  const cut = leftOut > 0 ? `... (${leftOut} characters left out; ${whereabouts}) ...\n` : "";
  return {
    title: command.command,
    output: `${cut}${text || whenNothing}\n(${describeState(command)})`,
    metadata: {
      id: command.id,
      status: ending?.end ?? "running",
      exit: ending !== undefined && "exitCode" in ending ? ending.exitCode : null,
      truncated: leftOut > 0,
      outputPath,
    },
  };
}

/** Each text has the time in it, so that looks that see nothing new are not taken for a loop. */
function describeState({ id, ending, elapsedMs }: BackgroundCommand): string {
  switch (ending?.end) {
    case undefined:
      return `${id} has been running for ${elapsedMs} ms`;
    case "exit":
      return `${id} exited with code ${ending.exitCode} after ${elapsedMs} ms`;
    case "timeout":
      return `${id} was ended at its timeout, after ${elapsedMs} ms`;
    case "output-limit":
      return `${id} was ended after ${elapsedMs} ms: it wrote more than 64 MiB. Write to a file, or filter with head or grep.`;
    case "kill":
      return `${id} was ended by bash_kill after ${elapsedMs} ms`;
    case "abort":
      return `${id} was ended from outside after ${elapsedMs} ms`;
    case "failure":
      return `${id} could not run: ${ending.error instanceof Error ? ending.error.message : ending.error}`;
  }
}
