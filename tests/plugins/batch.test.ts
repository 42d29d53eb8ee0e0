import { definePlugin, tool, z } from "agent-runtime";
import { boot, call, calls, say } from "agent-runtime/testing";
import { afterEach, expect, test } from "vitest";
import { withoutFence } from "../../core/fence.ts";
import { toJsonSchema } from "../../core/schema.ts";
import batch from "../../plugins/batch/index.ts";

let running = 0;
let most = 0;
/** No call ends before so many run at once. */
let needed = 0;
afterEach(() => void (needed = 0));
const slow = tool({
  name: "slow",
  description: "Waits, then says its name.",
  input: z.object({ name: z.string(), ms: z.number() }),
  effect: "read",
  async run({ name, ms }) {
    most = Math.max(most, ++running);
    do await new Promise((resolve) => setTimeout(resolve, ms));
    while (most < needed);
    running--;
    return { output: `I am ${name}.`, title: name };
  },
});
const broken = tool({ name: "broken", description: "Fails.", input: z.object({}), effect: "read", run: () => Promise.reject(new Error("It is broken.")) });
const helpers = definePlugin({
  name: "helpers",
  setup: () => ({
    tools: [slow, broken],
    hooks: { permission: ({ input }) => ((input as { name?: string }).name === "forbidden" ? { decision: "deny", reason: "not this one." } : undefined) },
  }),
});

async function run(input: unknown) {
  const agent = await boot({ plugins: [batch, helpers], script: [call("batch", input), say("ok")] });
  try {
    const { events, requests } = { ...(await agent.prompt("go")), requests: agent.requests };
    const finishes = events.flatMap((event) => (event.type === "tool.finish" ? [event] : []));
    const message = requests[1]!.prompt.findLast(({ role }) => role === "tool") as { content: { output: { type: string; value: string } }[] };
    const { type, value } = message.content[0]!.output;
    return { finishes, own: finishes.find((event) => event.tool === "batch")!, output: { type, value: withoutFence(value) } };
  } finally {
    await agent.close();
  }
}

const one = (name: string, ms = 1) => ({ tool: "slow", parameters: { name, ms } });

test("calls run together and their results keep their order, each labelled", async () => {
  [most, needed] = [0, 3];
  const { output, finishes, own } = await run({ tool_calls: [one("a", 150), one("b", 10), one("c", 80)] });
  expect(output).toEqual({ type: "text", value: "[1] slow\nI am a.\n\n[2] slow\nI am b.\n\n[3] slow\nI am c." });
  expect(most).toBe(3);
  expect(finishes.filter((event) => event.tool === "slow")).toHaveLength(3);
  expect(own.state).toMatchObject({ status: "completed", title: "3 calls", metadata: { total: 3, failed: 0 } });
});

test("a call that fails, is denied or does not exist fails alone", async () => {
  const { output, own } = await run({
    tool_calls: [{ tool: "broken", parameters: {} }, one("forbidden"), { tool: "nothing", parameters: {} }, { tool: "slow", parameters: {} }, one("b")],
  });
  expect(output.type).toBe("text");
  const parts = output.value.split(/\n\n(?=\[)/);
  expect(parts[0]).toBe("[1] broken failed\nIt is broken.");
  expect(parts[1]).toMatch(/^\[2\] slow failed\nDenied: not this one\./);
  expect(parts[2]).toMatch(/^\[3\] nothing failed\nThere is no tool "nothing"/);
  expect(parts[3]).toMatch(/^\[4\] slow failed\n.*invalid/);
  expect(parts[4]).toBe("[5] slow\nI am b.");
  expect(own.state).toMatchObject({ title: "5 calls, 4 failed" });
});

test.each([0, 11])("%i calls are refused and none is run", async (count) => {
  const { output, finishes } = await run({ tool_calls: Array.from({ length: count }, (_, index) => one(String(index))) });
  expect(output).toEqual({ type: "error-text", value: expect.stringContaining(`it has ${count} calls; give 1 to 10`) });
  expect(finishes).toHaveLength(1);
});

test("a batch in a batch is refused beyond three levels", async () => {
  const nest = (levels: number): unknown => (levels === 0 ? one("inside") : { tool: "batch", parameters: { tool_calls: [nest(levels - 1)] } });
  expect((await run({ tool_calls: [nest(2)] })).output.value).toContain("I am inside.");
  const deep = await run({ tool_calls: [nest(3)] });
  expect(deep.output.value).not.toContain("I am inside.");
  expect(deep.output.value).toContain("nested deeper than 3 levels");
});

test("its calls run at most 16 at a time, whatever the number of batches", async () => {
  [most, needed] = [0, 16];
  const batches = Array.from(
    { length: 4 },
    (_, index) => ["batch", { tool_calls: Array.from({ length: 10 }, (_, at) => one(`${index}-${at}`, 20)) }] as [string, unknown],
  );
  const agent = await boot({ plugins: [batch, helpers], script: [calls(...batches), say("ok")] });
  const { events } = await agent.prompt("go");
  await agent.close();
  expect(most).toBe(16);
  expect(events.filter((event) => event.type === "tool.finish" && event.tool === "slow")).toHaveLength(40);
});

test("an abort ends all of its calls, and the model is told which had ended", async () => {
  const abort = new AbortController();
  const stuck = tool({
    name: "stuck",
    description: "d",
    effect: "read",
    input: z.object({}),
    run: () => new Promise<string>(() => {}),
  });
  const more = definePlugin({ name: "more", setup: () => ({ tools: [stuck] }) });
  const parts = [{ tool: "stuck", parameters: {} }, one("a"), { tool: "broken", parameters: {} }];
  const agent = await boot({ plugins: [batch, helpers, more], script: [call("batch", { tool_calls: parts }), say("ok")] });
  const run = agent.runtime.prompt("go", { deltas: true, signal: abort.signal });
  const finishes: any[] = [];
  for await (const event of run) {
    if (event.type === "tool.progress" && event.title?.startsWith("2 of 3")) abort.abort();
    if (event.type === "tool.finish") finishes.push(event);
  }
  expect((await run.result).exitCode).toBe(130);
  expect(finishes.map(({ tool, state }) => `${tool}:${state.status}`).sort()).toEqual(["batch:error", "broken:error", "slow:completed", "stuck:error"]);
  const own = finishes.find((event) => event.tool === "batch");
  expect(own.state.error).toMatch(
    /^The run was interrupted\.\nGo on with --continue\.\nIt was at: 2 of 3 calls have ended: (\[2\] slow, \[3\] broken failed|\[3\] broken failed, \[2\] slow)$/,
  );
  await agent.close();
});

test("files that its calls read go to the model", async () => {
  const picture = tool({
    name: "picture",
    description: "d",
    effect: "read",
    input: z.object({}),
    run: () => ({ output: "a picture", attachments: [{ mediaType: "image/png", data: "AAAA" }] }),
  });
  const more = definePlugin({ name: "more", setup: () => ({ tools: [picture] }) });
  const agent = await boot({ plugins: [batch, more], script: [call("batch", { tool_calls: Array(2).fill({ tool: "picture", parameters: {} }) }), say("ok")] });
  await agent.prompt("go");
  expect(agent.requests[1]!.prompt.at(-1)).toMatchObject({ role: "user", content: [{ type: "text" }, { type: "file" }, { type: "file" }] });
  await agent.close();
});

test("a tool that is switched off stays so", async () => {
  const agent = await boot({ plugins: [batch, helpers], script: [call("batch", { tool_calls: [one("a")] }), say("ok")], disableTools: ["slow"] });
  expect((await agent.prompt("go")).toolOutputs.at(-1)).toBe('[1] slow failed\nThere is no tool "slow".\nUse one of: batch, broken.');
  await agent.close();
});

test("the description of the tool is short", async () => {
  const [own] = (await batch.setup({} as never)).tools!;
  expect(JSON.stringify({ name: own!.name, description: own!.description, parameters: await toJsonSchema(own!.input) }).length).toBeLessThanOrEqual(500);
});
