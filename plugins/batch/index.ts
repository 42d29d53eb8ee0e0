import { AgentError, definePlugin, type ToolContext, type ToolResult, tool, z } from "agent-runtime";

const MAX_CALLS = 10;
const MAX_DEPTH = 3;

const input = z.object({
  tool_calls: z.array(z.object({ tool: z.string(), parameters: z.record(z.string(), z.unknown()) })).describe(`1 to ${MAX_CALLS} calls`),
});

type Call = z.infer<typeof input>["tool_calls"][number];

/** How one call of the batch ended. */
type Part = { tool: string; status: "completed"; result: ToolResult } | { tool: string; status: "error"; error: string };

const batch = tool({
  name: "batch",
  description: "Run independent tool calls in parallel.",
  input,
  // Each of its calls is judged by itself.
  effect: "read",
  // Its calls have cut their outputs already.
  selfLimiting: true,
  async run({ tool_calls: calls }, context) {
    checkBatch(calls, context);
    const ended: string[] = [];
    const parts = await Promise.all(
      calls.map(async (call, index) => {
        const part = await runCall(call, context);
        context.signal.throwIfAborted();
        ended.push(`[${index + 1}] ${labelOf(part)}`);
        context.progress({ title: `${ended.length} of ${calls.length} calls have ended: ${ended.join(", ")}` });
        return part;
      }),
    );
    return describeParts(parts);
  },
});

function checkBatch(calls: Call[], { depth }: ToolContext): void {
  if (depth >= MAX_DEPTH) throw new AgentError("NESTING_TOO_DEEP", { tool: "batch", limit: MAX_DEPTH });
  if (calls.length >= 1 && calls.length <= MAX_CALLS) return;
  throw new AgentError("TOOL_INPUT_INVALID", { tool: "batch", reason: `it has ${calls.length} calls; give 1 to ${MAX_CALLS}, and the rest in another batch.` });
}

/** A call that fails is a failed part, not the end of the others. */
async function runCall({ tool: name, parameters }: Call, context: ToolContext): Promise<Part> {
  try {
    return { tool: name, status: "completed", result: await context.call(name, parameters) };
  } catch (error) {
    return { tool: name, status: "error", error: error instanceof AgentError ? error.text : error instanceof Error ? error.message : String(error) };
  }
}

const labelOf = ({ tool: name, status }: Part): string => (status === "error" ? `${name} failed` : name);

function describeParts(parts: Part[]): ToolResult {
  const failed = parts.filter(({ status }) => status === "error").length;
  const sections = parts.map((part, index) => {
    return `[${index + 1}] ${labelOf(part)}\n${part.status === "error" ? part.error : part.result.output}`;
  });
  return {
    title: `${parts.length} ${parts.length === 1 ? "call" : "calls"}${failed > 0 ? `, ${failed} failed` : ""}`,
    output: sections.join("\n\n"),
    metadata: {
      total: parts.length,
      failed,
      calls: parts.map((part) => ({ tool: part.tool, status: part.status, ...(part.status === "completed" && { title: part.result.title ?? "" }) })),
    },
    attachments: parts.flatMap((part) => (part.status === "completed" ? (part.result.attachments ?? []) : [])),
  };
}

/** Several calls in one: the same permissions, hooks and events as if the model had made each by itself. */
export default definePlugin({ name: "batch", options: z.strictObject({}), setup: () => ({ tools: [batch] }) });
