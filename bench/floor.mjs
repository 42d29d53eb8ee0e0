// The yardstick: what one writes by hand on the AI SDK, with one tool.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const run = promisify(execFile);
const openrouter = createOpenRouter({ apiKey: process.env.OPENROUTER_API_KEY, baseURL: process.env.OPENROUTER_BASE_URL });
const bash = tool({
  description: "Run a command.",
  inputSchema: z.object({ command: z.string(), description: z.string().optional() }),
  execute: async ({ command }) => (await run("bash", ["-c", command])).stdout,
});
const result = streamText({
  model: openrouter(process.argv[2]),
  prompt: process.argv[3],
  system: "You are an agent.",
  tools: { bash },
  stopWhen: stepCountIs(1000),
});
for await (const part of result.fullStream) {
  if (part.type === "text-delta") process.stdout.write(part.text);
  if (part.type === "error") throw part.error;
}
