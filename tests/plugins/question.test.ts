import { definePlugin, tool, z } from "agent-runtime";
import { type BootOptions, boot, call, calls, type ScriptedTurn, say } from "agent-runtime/testing";
import { describe, expect, test } from "vitest";
import { toJsonSchema } from "../../core/schema.ts";
import batch from "../../plugins/batch/index.ts";
import permissions from "../../plugins/permissions/index.ts";
import question from "../../plugins/question/index.ts";
import task from "../../plugins/task/index.ts";

const COLOUR = { question: "Which colour?", options: ["red", "blue"] };
const UNANSWERED =
  "Nobody is there to answer: Which colour?\nDecide without the answer, or say in the final answer what has to be known. A person answers with --input-format stream-json; permission question: deny keeps a model from asking.";

async function run(
  options: BootOptions,
  { script = [call("question", COLOUR), say("Noted.")], signal }: { script?: ScriptedTurn[]; signal?: AbortSignal } = {},
) {
  const agent = await boot({ plugins: [question, batch, task, permissions], config: { tools: { question: true }, ...options.config }, script, ...options });
  try {
    const report = await agent.prompt("go", { ...(signal && { signal }) });
    const asked = report.events.flatMap((event) => (event.type === "permission.request" ? [event] : []));
    return { ...report, asked, requests: agent.requests, errors: report.events.flatMap((event) => (event.type === "error" ? [event.error.code] : [])) };
  } finally {
    await agent.close();
  }
}

describe("a question", () => {
  test.each([
    [{ answer: "green" }, "green"],
    ["once", "yes"],
    ["always", "yes"],
    ["reject", "Denied: a person does not want to answer this. Decide without it, or say in the final answer what has to be known."],
    [{ reject: "Ask me tomorrow." }, "Denied: Ask me tomorrow."],
    [{ answer: " " }, "(The answer is empty.)"],
  ] as const)("that is answered with %j tells the model %j, and the run goes on", async (given, told) => {
    const requests: unknown[] = [];
    const { toolOutputs, result, asked } = await run({
      ask: async ({ id: _, callId: __, ...request }) => {
        requests.push(request);
        return given;
      },
    });
    expect([toolOutputs, result.status, result.exitCode, result.text]).toEqual([[told], "success", 0, "Noted."]);
    expect(requests).toEqual([{ tool: "question", permission: "question", effect: "ask", patterns: ["*"], input: COLOUR, ...COLOUR }]);
    expect(asked).toMatchObject([{ tool: "question", title: "Which colour?", ...COLOUR }]);
  });

  test.each([
    ["no ask function", {}],
    ["a host that has nobody any more", { ask: async () => "nobody" as const }],
  ])("that nobody can answer, with %s, is a failed call, and in the end a failed run that keeps its text", async (_, options) => {
    const { toolOutputs, result, errors } = await run(options);
    expect(toolOutputs).toEqual([UNANSWERED]);
    expect(result).toMatchObject({ status: "error", exitCode: 6, text: "Noted.", steps: 2, error: { code: "QUESTION_UNANSWERED" } });
    expect(errors).toEqual(["QUESTION_UNANSWERED"]);
  });

  test("that several tasks and batches ask is told of once", async () => {
    const script = [
      calls(["question", COLOUR], ["task", { description: "d", prompt: "child" }], ["batch", { tool_calls: [{ tool: "question", parameters: COLOUR }] }]),
      call("question", COLOUR),
      say("Noted."),
    ];
    const { result, errors, events } = await run({}, { script });
    expect([result.exitCode, errors]).toEqual([6, ["QUESTION_UNANSWERED"]]);
    expect(events.flatMap((event) => (event.type === "session.finish" ? [event.result.status] : []))).toEqual(["success", "error"]);
  });

  test("of a task reaches the same person", async () => {
    const script = [call("task", { description: "d", prompt: "child" }), call("question", COLOUR), say("Child: blue."), say("Done.")];
    const { asked, toolOutputs, result } = await run({ ask: async () => ({ answer: "blue" }) }, { script });
    expect([result.exitCode, toolOutputs[0]]).toEqual([0, "blue"]);
    expect(asked).toMatchObject([{ parentId: result.sessionId, question: "Which colour?" }]);
  });

  test("that a rule denies is a failed call alone, and nobody is asked", async () => {
    const { toolOutputs, result, asked } = await run({ config: { tools: { question: true }, permission: { question: "deny" } }, ask: async () => "once" });
    expect([result.status, result.exitCode, asked]).toEqual(["success", 0, []]);
    expect(toolOutputs[0]).toMatch(/^Denied: the rule question "\*": "deny" forbids/);
  });

  test.each(["ask", "plan", "readonly", "auto"] as const)("is asked in the mode %s, without a permission to ask", async (permissionMode) => {
    const { toolOutputs, asked } = await run({
      config: { tools: { question: true }, permissionMode, permission: "ask" },
      ask: async () => ({ answer: "blue" }),
    });
    expect([toolOutputs, asked.length]).toEqual([["blue"], 1]);
  });

  test("stays where tools may only read", async () => {
    expect((await run({ readOnly: true, ask: async () => "once" })).toolOutputs).toEqual(["yes"]);
  });

  test("that waits ends with an abort", async () => {
    const abort = new AbortController();
    const ask: BootOptions["ask"] = async () => {
      setImmediate(() => abort.abort());
      return new Promise(() => {});
    };
    const { result, errors } = await run({ ask }, { signal: abort.signal });
    expect([result.status, result.exitCode, errors]).toEqual(["interrupted", 130, ["INTERRUPTED"]]);
  });

  test("whose host fails is a failed call", async () => {
    const { toolOutputs, result } = await run({ ask: async () => Promise.reject(new Error("gone")) });
    expect([toolOutputs, result.exitCode]).toEqual([["The question could not be asked: gone"], 0]);
  });

  test.each([
    [{}, /question/],
    [{ question: " " }, /question/],
    [{ question: "q".repeat(2001) }, /question/],
    [{ question: "q", options: "red" }, /options/],
    [{ question: "q", options: Array(21).fill("o") }, /options/],
  ])("of bad input is refused", async (input, reason) => {
    const { toolOutputs, result } = await run({ ask: async () => "once" }, { script: [call("question", input), say("ok")] });
    expect([result.exitCode, toolOutputs[0]]).toEqual([0, expect.stringMatching(/^The input of question is invalid: /)]);
    expect(toolOutputs[0]).toMatch(reason);
  });
});

test("the tool is off until it is named, and short", async () => {
  const { requests } = await run({ config: {} });
  expect(requests[0]!.tools!.map(({ name }) => name)).not.toContain("question");
  const [own] = (await question.setup({} as never)).tools!;
  expect(JSON.stringify({ name: own!.name, description: own!.description, parameters: await toJsonSchema(own!.input) }).length).toBeLessThanOrEqual(450);
});

test("words where a permission was asked for are told to the model, which has no permission by them", async () => {
  const write = tool({ name: "it", description: "d", effect: "write", input: z.object({}), run: () => "done" });
  const plugin = definePlugin({ name: "test", setup: () => ({ tools: [write], hooks: { permission: () => "ask" as const } }) });
  const agent = await boot({ plugins: [plugin], script: [call("it"), say("ok")], ask: async () => ({ answer: "Use the other folder." }) });
  expect((await agent.prompt("go")).toolOutputs).toEqual(["Denied: a person says: Use the other folder."]);
  await agent.close();
});

test("nobody is asked for a permission once the run was aborted, while the call was judged", async () => {
  const abort = new AbortController();
  const asked: string[] = [];
  const write = tool({ name: "it", description: "d", effect: "write", input: z.object({}), run: () => "done" });
  const permission = () => {
    abort.abort();
    return "ask" as const;
  };
  const plugin = definePlugin({ name: "test", setup: () => ({ tools: [write], hooks: { permission } }) });
  const ask: BootOptions["ask"] = async ({ id }) => {
    asked.push(id);
    return "once";
  };
  const agent = await boot({ plugins: [plugin], script: [call("it"), say("ok")], ask });
  const { result, events } = await agent.prompt("go", { signal: abort.signal });
  await agent.close();
  expect([result.status, asked, events.filter(({ type }) => type === "permission.request")]).toEqual(["interrupted", [], []]);
});

test("any tool may ask, and decide what it does without an answer", async () => {
  const curious = tool({
    name: "curious",
    description: "d",
    effect: "read",
    input: z.object({}),
    run: async (_, { ask }) => (await ask({ question: "Shall I?" })) ?? "nobody is there",
  });
  const plugin = definePlugin({ name: "test", setup: () => ({ tools: [curious] }) });
  const agent = await boot({ plugins: [plugin], script: [call("curious"), say("ok")] });
  const { toolOutputs, result } = await agent.prompt("go");
  expect([toolOutputs, result.exitCode]).toEqual([["nobody is there"], 0]);
  await agent.close();
});
