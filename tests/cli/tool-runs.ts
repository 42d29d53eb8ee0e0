import { execFileSync } from "node:child_process";
import { withoutFence } from "../../core/fence.ts";
import { type Reply, type SeenRequest, startServer, type TestServer } from "../fixtures/server.ts";
import { type CommandResult, type CommandRun, JSON_OUT, MODEL, ofType, runCommand } from "./command.ts";

export type Call = [name: string, args: object];

/** A turn of the model that makes these calls. */
export const turn = (...calls: Call[]): Reply => ({ tools: calls.map(([name, args]) => ({ name, args })) });

/** Runs `agent` with a model that makes these calls and then answers. `outputs` are what it was told, in the order of the calls. */
export async function runTools(calls: Call[], { args = [], ...options }: CommandRun = {}): Promise<CommandResult & { outputs: string[] }> {
  const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "go", ...args], script: [turn(...calls), { text: "ok" }], ...options });
  return { ...run, outputs: toolOutputsOf(run.requests.at(-1)) };
}

/** As tools gave them: without the fence around them. */
export const toolOutputsOf = (request: SeenRequest | undefined): string[] => toolMessagesOf(request).map(withoutFence);

/** A text that has a fence somewhere, without it. */
export const bareText = (text: string): string => text.replace(/<tool-output [^\n]*>\n([\s\S]*?)\n<\/tool-output \w+>/g, "$1");

/** What the model is told of its calls, word by word. */
export const toolMessagesOf = (request: SeenRequest | undefined): string[] =>
  (request?.body.messages ?? [])
    .filter(({ role }: any) => role === "tool")
    .map(({ content }: any) => (typeof content === "string" ? content : JSON.stringify(content)));

/** `tool:status` of every call, in the order of their ends. */
export const statesOf = (run: CommandResult): string[] => ofType(run, "tool_use").map(({ part }) => `${part.tool}:${part.state.status}`);

/** A model that answers each conversation by its first prompt: `{ prompt: turns }`. */
export const byPrompt =
  (turns: Record<string, Reply[]>) =>
  ({ body }: SeenRequest): Reply => {
    const textOf = ({ content }: any) => (typeof content === "string" ? content : content[0].text);
    const own = turns[textOf(body.messages.find(({ role }: any) => role === "user"))] ?? [{ status: 500 }];
    const step = body.messages.filter(({ role }: any) => role === "assistant").length;
    return own[Math.min(step, own.length - 1)] as Reply;
  };

/** Processes that still run with this text in their command line. */
export function processesWith(text: string): string[] {
  const lines = execFileSync("ps", ["-eo", "stat=,args="]).toString().split("\n");
  return lines.filter((line) => line.includes(text) && !line.startsWith("Z"));
}

/** A server for pages, closed by the caller. */
export const startPages = (pages: Record<string, Reply>): Promise<TestServer> =>
  startServer(({ path }) => pages[path] ?? { status: 404, body: "no such page" });
