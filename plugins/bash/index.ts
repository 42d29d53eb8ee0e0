import { AgentError, definePlugin, type ToolContext, tool, z } from "agent-runtime";

const DEFAULT_TIMEOUT_MS = 120_000;
const MAX_TIMEOUT_MS = 600_000;
/** What the model gets: head and tail of 14,800 characters each, and a line between them. */
const MAX_CHARACTERS = 30_000;
const SIDE_CHARACTERS = 14_800;
/** A character has at most four bytes in UTF-8. */
const KEEP_BYTES = 4 * (MAX_CHARACTERS / 2);

const input = z.object({
  command: z.string(),
  description: z.string().optional().describe("Purpose in 5-10 words"),
  timeout: z.number().optional().describe("ms; default 120000, max 600000"),
  workdir: z.string().optional().describe("Default: the workspace"),
});

type Ending = Awaited<ReturnType<ToolContext["exec"]>>;

const createBash = (inherit: string[]) =>
  tool({
    name: "bash",
    description: "Run a bash command without stdin and terminal. Each call is a new shell; background processes end with it.",
    input,
    effect: "run",
    selfLimiting: true,
    patterns: ({ command }) => [command],
    async run({ command, description, timeout, workdir }, context) {
      const timeoutMs = checkTimeout(timeout);
      const cwd = workdir === undefined ? context.cwd : await context.paths.resolve(workdir, "write");
      const spillPath = await context.spillPath();
      const ending = await runShell(command, context, { cwd, timeoutMs, spillPath, inherit });
      const { output, outputPath, truncated } = await cutOutput(ending, context);
      return {
        title: description ?? command,
        output: [output || "(no output)", ...describeEnding(ending, timeoutMs)].join("\n"),
        metadata: { exit: ending.exitCode, description, truncated, outputPath, timedOut: ending.end === "timeout" },
      };
    },
  });

function checkTimeout(timeout = DEFAULT_TIMEOUT_MS): number {
  if (timeout > 0) return Math.min(timeout, MAX_TIMEOUT_MS);
  throw new AgentError("TOOL_INPUT_INVALID", { tool: "bash", reason: `timeout is ${timeout}; give milliseconds from 1 to ${MAX_TIMEOUT_MS}.` });
}

async function runShell(
  command: string,
  context: ToolContext,
  place: { cwd: string; timeoutMs: number; spillPath: string; inherit: string[] },
): Promise<Ending> {
  const args = ["-c", command];
  const options = { ...place, signal: context.signal, keepBytes: KEEP_BYTES, onProgress: (output: string) => context.progress({ output }) };
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

export default definePlugin({
  name: "bash",
  /** `env`: names, or `PREFIX_*`, that commands get beside the allow-listed environment. */
  options: z.strictObject({ env: z.array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*\*?$/, "Write a variable's NAME or PREFIX_*.")).optional() }),
  setup: ({ options }) => ({ tools: [createBash(options.env ?? [])] }),
});
