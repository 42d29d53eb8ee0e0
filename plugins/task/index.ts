import { definePlugin, type ToolResult, tool, z } from "agent-runtime";

const task = tool({
  name: "task",
  description:
    "Give a self-contained piece of work to a child agent with its own context. It sees only the prompt and returns its final answer. task_id goes on with an earlier one.",
  effect: "read",
  input: z.object({
    description: z.string().describe("3-5 words"),
    prompt: z.string(),
    subagent_type: z.string().optional().describe("agent profile"),
    model: z.string().optional(),
    task_id: z.string().optional(),
    background: z.boolean().optional().describe("go on meanwhile; you are told its answer"),
  }),
  patterns: ({ subagent_type }) => [subagent_type || "*"],
  async run({ description, prompt, subagent_type, model, task_id, background = false }, context): Promise<ToolResult> {
    const result = await context.runTask({
      prompt,
      description,
      background,
      // Some models fill in every parameter: what is empty is not given.
      ...(subagent_type && { agent: subagent_type }),
      ...(model && { model }),
      ...(task_id && { sessionId: task_id }),
      disableTools: ["todowrite", "todoread"],
    });
    const { sessionId, status, steps, costUsd, text, error } = result;
    const metadata = { sessionId, status, steps, ...(costUsd !== undefined && { costUsd }) };
    // A task that could not start has none.
    const goOn = sessionId === "" ? "" : `\n(task_id: ${sessionId})`;
    if (status === "running") return { output: `The task runs in the background. You will be told its answer.${goOn}`, title: description, metadata };
    if (status === "success") return { output: `${text}\n${goOn}`, title: description, metadata };
    throw new Error(`The task ended as ${status}: ${error ?? "no reason given."}${text === "" ? "" : `\nIts last words: ${text}`}${goOn}`);
  },
});

/** Child agents. Their events carry the parent's session; their cost counts for it. */
export default definePlugin({ name: "task", options: z.strictObject({}), setup: () => ({ tools: [task] }) });
