import { AgentError, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import type { Background } from "./background.ts";
import { lookAt } from "./look.ts";

const DEFAULT_TIMEOUT_MS = 120_000;
const MAX_TIMEOUT_MS = 600_000;
/** What the model gets: head and tail of 14,800 characters each, and a line between them. */
const MAX_CHARACTERS = 30_000;
const SIDE_CHARACTERS = 14_800;
/** A character has at most four bytes in UTF-8. */
const KEEP_BYTES = 4 * (MAX_CHARACTERS / 2);
/** In this time a background command that fails at once can say so. */
const FIRST_LOOK_MS = 300;

const input = z.object({
  command: z.string(),
  description: z.string().optional().describe("Purpose in 5-10 words"),
  timeout: z.number().optional().describe("ms; default 120000, max 600000"),
  workdir: z.string().optional().describe("Default: the workspace"),
  background: z.boolean().optional().describe("Return an id at once; runs on until the agent ends"),
});

type Ending = Awaited<ReturnType<ToolContext["exec"]>>;
type ExecOptions = Parameters<ToolContext["exec"]>[2];
/** What both ways of running have in common. */
type Place = Pick<ExecOptions, "cwd" | "isRealCwd" | "inherit"> & { spillPath: string };

export const createBash = (inherit: string[], background: () => Background) =>
  tool({
    name: "bash",
    description: "Run a bash command without stdin and terminal. Each call is a new shell; what it leaves running ends with it.",
    input,
    effect: "run",
    selfLimiting: true,
    patterns: ({ command }) => [command],
    async run(asked, context) {
      const { workdir } = asked;
      checkTimeout(asked);
      const cwd = workdir === undefined ? context.cwd : await context.paths.resolve(workdir, "write");
      const place = { cwd, isRealCwd: workdir !== undefined, inherit, spillPath: await context.spillPath() };
      return asked.background ? startBehind(asked, context, { ...place, background: background() }) : runToEnd(asked, context, place);
    },
  });

type Asked = z.infer<typeof input>;

function checkTimeout({ timeout = DEFAULT_TIMEOUT_MS, background }: Asked): void {
  if (timeout > 0) return;
  const most = background ? "on" : `to ${MAX_TIMEOUT_MS}`;
  throw new AgentError("TOOL_INPUT_INVALID", { tool: "bash", reason: `timeout is ${timeout}; give milliseconds from 1 ${most}.` });
}

async function runToEnd({ command, description, timeout = DEFAULT_TIMEOUT_MS }: Asked, context: ToolContext, place: Place): Promise<ToolResult> {
  const timeoutMs = Math.min(timeout, MAX_TIMEOUT_MS);
  const onProgress = (output: string) => context.progress({ output });
  const ending = await runShell(command, context, { ...place, timeoutMs, signal: context.signal, keepBytes: KEEP_BYTES, onProgress });
  const { output, outputPath, truncated } = await cutOutput(ending, context);
  return {
    title: description || command,
    output: [output || "(no output)", ...describeEnding(ending, timeoutMs)].join("\n"),
    metadata: { exit: ending.exitCode, description, truncated, outputPath, timedOut: ending.end === "timeout" },
  };
}

/** It goes on when the call and its prompt are over, so the signal of those is not its own. */
async function startBehind(
  { command, description, timeout }: Asked,
  context: ToolContext,
  { background, ...place }: Place & { background: Background },
): Promise<ToolResult> {
  const commands = background.of(context.sessionId);
  const started = commands.start({
    command,
    outputPath: place.spillPath,
    // All of it goes to the file at once; what was not read yet is kept beside it.
    run: (signal, onOutput) => runShell(command, context, { ...place, signal, onOutput, keepBytes: 1, ...(timeout !== undefined && { timeoutMs: timeout }) }),
  });
  await started.waitUntil(() => started.ending !== undefined, FIRST_LOOK_MS, context.signal);
  await started.waitForRest(context.signal);
  // Nobody was told its id.
  if (context.signal.aborted) await started.kill("abort");
  const { ending, id, outputPath } = started;
  const { output, metadata } = lookAt(started, commands, { isFirst: true });
  if (ending?.end === "failure") throw ending.error;
  const hint = `\n(bash_output shows what comes, bash_kill ends ${id}; the whole output goes to ${outputPath})`;
  return { title: description || command, output: ending === undefined ? output + hint : output, metadata: { ...metadata, description } };
}

async function runShell(command: string, context: ToolContext, options: ExecOptions): Promise<Ending> {
  const args = ["-c", command];
  try {
    return await context.exec("bash", args, options);
  } catch (error) {
    if (error instanceof AgentError && error.data.systemCode === "ENOENT") return context.exec("sh", args, options);
    throw error;
  }
}

async function cutOutput(ending: Ending, context: ToolContext): Promise<{ output: string; outputPath?: string; truncated: boolean }> {
  const isWhole = ending.tail === "";
  if (isWhole && ending.head.length <= MAX_CHARACTERS) return { output: ending.head, truncated: false };
  const head = ending.head.slice(0, SIDE_CHARACTERS).replace(/[\uD800-\uDBFF]$/, "");
  const tail = (isWhole ? ending.head : ending.tail).slice(-SIDE_CHARACTERS).replace(/^[\uDC00-\uDFFF]/, "");
  const outputPath = isWhole ? await context.spill(ending.head) : ending.spillPath;
  const leftOut = isWhole
    ? `${ending.head.length - head.length - tail.length} characters`
    : `${ending.totalBytes - Buffer.byteLength(head) - Buffer.byteLength(tail)} bytes`;
  const whereabouts = outputPath === undefined ? "they could not be kept" : `the whole output is in ${outputPath}`;
  return { output: `${head}\n... (${leftOut} left out; ${whereabouts}) ...\n${tail}`, outputPath, truncated: true };
}

function describeEnding(ending: Ending, timeoutMs: number): string[] {
  switch (ending.end) {
    case "timeout":
      return [`(Command timed out after ${timeoutMs} ms)`];
    case "abort":
      return ["(Command was aborted)"];
    case "output-limit":
      return ["(Command was ended: it wrote more than 64 MiB. Write to a file, or filter with head or grep.)"];
    case "exit":
      return ending.exitCode === 0 ? [] : [`(Exit code: ${ending.exitCode})`];
  }
}
