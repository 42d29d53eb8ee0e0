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
      await command.waitForRest(signal);
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
export function lookAt(command: BackgroundCommand, commands: SessionCommands, { isFirst = false } = {}): ToolResult {
  const { ending, outputPath } = command;
  if (ending !== undefined) commands.forget(command);
  const { text, leftOut } = command.takeNews();
  const whereabouts = existsSync(outputPath) ? `the whole output is in ${outputPath}` : "they could not be kept";
  const cut = leftOut > 0 ? `... (${leftOut} characters left out; ${whereabouts}) ...\n` : "";
  return {
    title: command.command,
    output: `${cut}${text || (isFirst ? "(no output)" : "(no new output)")}\n(${describeState(command, isFirst)})`,
    metadata: {
      id: command.id,
      status: ending?.end ?? "running",
      exit: ending !== undefined && "exitCode" in ending ? ending.exitCode : null,
      truncated: leftOut > 0,
      outputPath,
    },
  };
}

/**
 * A look has the time in it, so that looks that see nothing new are not taken for a loop. One that fails at its start says
 * the same each time: to start it again and again is a loop.
 */
function describeState({ id, ending, elapsedMs }: BackgroundCommand, isFirst: boolean): string {
  const [name, when] = isFirst ? ["The command", ""] : [id, ` after ${elapsedMs} ms`];
  switch (ending?.end) {
    case undefined:
      return `${id} has been running for ${elapsedMs} ms`;
    case "exit":
      return `${name} exited with code ${ending.exitCode}${when}`;
    case "timeout":
      return `${name} was ended at its timeout${when}`;
    case "output-limit":
      return `${name} was ended${when}: it wrote more than 64 MiB. Write to a file, or filter with head or grep.`;
    case "kill":
      return `${name} was ended by bash_kill${when}`;
    case "abort":
      return `${name} was ended from outside${when}`;
    case "failure":
      return `${name} could not run: ${ending.error instanceof Error ? ending.error.message : ending.error}`;
  }
}
