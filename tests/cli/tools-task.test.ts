import { afterAll, describe, expect, test } from "vitest";
import type { Reply, SeenRequest } from "../fixtures/server.ts";
import { isBuilt, JSON_OUT, MODEL, makeConfiguredHome, makeHome, ofType, removeHomes, resultOf, runCommand, until } from "./command.ts";
import { CLAUDE_OUT, toLines } from "./stream-json.ts";
import { bareText, byPrompt, type Call, processesWith, runTools, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const task = (prompt: string, more: object = {}): Call => ["task", { description: `about ${prompt}`, prompt, ...more }];
const beside = (prompt: string, more: object = {}): Call => task(prompt, { background: true, ...more });
const saidBy = (request: SeenRequest | undefined): string[] =>
  (request?.body.messages ?? []).flatMap(({ role, content }: any) => (role === "user" ? [content].flat().map((part: any) => bareText(part.text ?? part)) : []));
/** The last request of the conversation that begins with these words. */
const lastOf = (requests: SeenRequest[], words: string) => requests.findLast((request) => saidBy(request)[0] === words);
/** Calls of a request without a result, and results without a call. */
function unpaired({ body }: SeenRequest): string[] {
  const calls = body.messages.flatMap(({ tool_calls = [] }: any) => tool_calls.map(({ id }: any) => id));
  const results = body.messages.flatMap(({ role, tool_call_id }: any) => (role === "tool" ? [tool_call_id] : []));
  return [...calls.filter((id: string) => !results.includes(id)), ...results.filter((id: string) => !calls.includes(id))];
}

const SLOW: Reply = { text: "Child's answer.", delayMs: 400 };
const TOP = { top: [turn(beside("child")), { text: "Nothing left to do." }, { text: "All is known." }], child: [SLOW] };

describe.skipIf(!isBuilt)("a task in the background", { concurrent: true }, () => {
  test("is waited for and told of; its events name the parent, and its cost counts for it", async () => {
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "top"], script: byPrompt(TOP) });
    const result = resultOf(run);
    expect([run.code, result.status, result.text, result.steps]).toEqual([0, "success", "All is known.", 3]);
    expect(result.cost).toBeCloseTo(4 * 0.0015);
    const [state] = ofType(run, "tool_use").map(({ part }) => part.state);
    const { sessionId } = state.metadata;
    expect(state).toMatchObject({ status: "completed", title: "about child", metadata: { status: "running" } });
    expect(state.output).toBe(`The task runs in the background. You will be told its answer.\n(task_id: ${sessionId})`);
    expect(saidBy(run.requests.at(-1))).toEqual([
      "top",
      `The background task "about child" has ended: success (task_id: ${sessionId}). Its answer:\nChild's answer.`,
    ]);
    const child = run.events.filter(({ sessionID }) => sessionID === sessionId);
    expect(child.map(({ type }) => type)).toEqual(["step_start", "text", "step_finish"]);
    expect(new Set(child.map(({ parentSessionID }) => parentSessionID))).toEqual(new Set([result.sessionID]));
    expect(run.events.indexOf(child[1])).toBeGreaterThan(run.events.findIndex(({ type }) => type === "tool_use"));
    expect(run.events.at(-1)).toBe(result);
  });

  test("has frames of Claude Code's that carry the call", async () => {
    const run = await runCommand({ args: [...CLAUDE_OUT, "-p", "top"], script: byPrompt(TOP) });
    const call = ofType(run, "assistant")[0].message.content[0].id;
    const texts = ofType(run, "assistant").map(({ parent_tool_use_id, message }) => [parent_tool_use_id, message.content[0].text]);
    expect(texts.slice(1).sort()).toEqual(
      [
        [null, "All is known."],
        [null, "Nothing left to do."],
        [call, "Child's answer."],
      ].sort(),
    );
    expect([run.code, ofType(run, "result")]).toMatchObject([0, [{ subtype: "success", result: "All is known.", total_cost_usd: 0.006 }]]);
  });

  test("keeps the limit of cost of the whole run", async () => {
    const turns = { ...TOP, child: [turn(["bash", { command: "true" }]), turn(["bash", { command: "echo 2" }]), SLOW] };
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "--max-cost", "0.0045", "-p", "top"], script: byPrompt(turns) });
    expect([run.code, resultOf(run).status, resultOf(run).error.code]).toEqual([3, "limit", "LIMIT_COST"]);
    expect(resultOf(run).cost).toBeLessThanOrEqual(0.0045 + 1e-9);
    expect(run.requests).toHaveLength(3);
  });

  test("ends with the run at SIGINT, leaves nothing behind, and the next prompt is told", async () => {
    const home = makeHome();
    const script = byPrompt({ ...TOP, child: [turn(["bash", { command: "sleep 98765.1" }])] });
    const args = [...MODEL, ...JSON_OUT, "--stream"];
    const run = await runCommand({
      args: [...args, "-p", "top"],
      script,
      home,
      onSpawn(child, server) {
        void until(() => processesWith("sleep 98765.1").length > 0 && server.requests.length >= 3).then(() => child.kill("SIGINT"));
      },
    });
    expect([run.code, resultOf(run).status, resultOf(run).exitCode]).toEqual([130, "interrupted", 130]);
    await until(() => processesWith("sleep 98765.1").length === 0);
    const next = await runCommand({ args: [...args, "--continue", "-p", "and now?"], home });
    expect(next.code).toBe(0);
    expect(saidBy(next.requests[0])).toEqual([
      "top",
      expect.stringMatching(/^The background task "about child" has ended: interrupted \(task_id: ses_\w+\)\. The run was interrupted\./),
      "and now?",
    ]);
    expect(unpaired(next.requests[0]!)).toEqual([]);
  });

  test("ends with an agent that is killed, and the next prompt is told, once", async () => {
    const script = byPrompt({ ...TOP, child: [turn(["bash", { command: "setsid sleep 98765.3" }])] });
    const args = [...MODEL, ...JSON_OUT];
    const killed = await runCommand({
      args: [...args, "-p", "top"],
      script,
      onSpawn(child, server) {
        void until(() => processesWith("sleep 98765.3").length > 0 && server.requests.length >= 3).then(() => child.kill("SIGKILL"));
      },
    });
    expect(killed.signal).toBe("SIGKILL");
    await until(() => processesWith("sleep 98765.3").length === 0);
    const next = () => runCommand({ args: [...args, "--continue", "-p", "and now?"], home: killed.home });
    for (const run of [await next(), await next()]) {
      const ends = saidBy(run.requests[0]).filter((text) => text.startsWith("A background task has ended with the agent, without an answer (task_id: ses_"));
      expect([run.code, ends.length, unpaired(run.requests[0]!)]).toEqual([0, 1, []]);
    }
  });

  test("of calls that come with a request is waited for, though no model is asked; two requests on, it is known", async () => {
    const request = { message: "given", noReply: true, tools: [{ name: "task", params: beside("child")[1] }] };
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT],
      stdin: toLines(request, { message: "next" }),
      script: byPrompt({ child: [SLOW], given: [{ text: "Never." }, { text: "I know." }] }),
    });
    expect([run.code, ofType(run, "result").map(({ steps, text }) => [steps, text])]).toEqual([
      0,
      [
        [0, ""],
        [1, "I know."],
      ],
    ]);
    expect(saidBy(lastOf(run.requests, "given"))).toEqual(["given", expect.stringContaining("has ended: success"), "next"]);
  });

  test("is refused beyond eight, and told of as what it was where it fails or meets a limit", async () => {
    const nine = Array.from({ length: 9 }, (_, index) =>
      beside(index === 0 ? "bad" : index === 1 ? "long" : `child ${index}`, index === 1 ? { subagent_type: "short" } : {}),
    );
    const children = Object.fromEntries(nine.map(([, args]: any) => [args.prompt, [SLOW]]));
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT, "-p", "top"],
      home: makeConfiguredHome({ agent: { short: { steps: 1 } } }),
      script: byPrompt({
        ...children,
        top: [turn(...nine), { text: "Waiting." }, { text: "Done." }],
        bad: [{ status: 400, body: { error: { message: "not this one" } }, delayMs: 300 }],
        long: [{ ...turn(["bash", { command: "true" }]), delayMs: 300 }],
      }),
    });
    expect([run.code, resultOf(run).text]).toEqual([0, "Done."]);
    const refused = ofType(run, "tool_use").flatMap(({ part }) => (part.tool === "task" && part.state.status === "error" ? [part.state.error] : []));
    expect(refused).toEqual([
      "8 tasks run in the background already.\nGo on with other work until you are told that one has ended, or start this one without background.",
    ]);
    const told = saidBy(lastOf(run.requests, "top"));
    expect(told).toHaveLength(9);
    expect(told).toContainEqual(expect.stringMatching(/^The background task "about bad" has ended: error \(.*not this one/));
    expect(told).toContainEqual(expect.stringMatching(/^The background task "about long" has ended: limit \(.* The limit of 1 steps is reached\./));
  });
});

describe.skipIf(!isBuilt)("a task", { concurrent: true }, () => {
  test("of bad input, or that cannot start, tells the model why", async () => {
    const elsewhere = resultOf(await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "private"] }));
    const { outputs, code } = await runTools([
      ["task", {}],
      ["task", { description: "d", prompt: "p", background: "yes" }],
      task("p", { subagent_type: "nobody" }),
      task("p", { task_id: elsewhere.sessionID }),
      task("p", { model: "nope/x", background: true }),
    ]);
    expect(code).toBe(0);
    expect(outputs).toEqual([
      expect.stringMatching(/^The input of task is invalid: description: .*; prompt: .*\nCall it again with input that fits its schema\.$/s),
      "The input of task is invalid: background: Invalid input: expected boolean, received string\nCall it again with input that fits its schema.",
      expect.stringMatching(/^The task ended as error: There is no agent profile "nobody"; there are: build, plan\.\n/),
      `The task ended as error: There is no session ${elsewhere.sessionID}.`,
      expect.stringMatching(/^The task ended as error: There is no provider "nope" for the model nope\/x\./),
    ]);
  });

  test("goes on with an earlier one of its session, and with none of another", async () => {
    const home = makeHome();
    let id = "";
    const script = (request: SeenRequest): Reply => {
      const [first, ...more] = saidBy(request);
      if (first === "child") return { text: more.length === 0 ? "One." : "Two." };
      const results = toolOutputsOf(request);
      id ||= /task_id: (ses_\w+)/.exec(results[0] ?? "")?.[1] ?? "";
      return [turn(task("child")), turn(task("again", { task_id: id })), { text: "Done." }][results.length % 3] as Reply;
    };
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "top"], script, home });
    expect(toolOutputsOf(lastOf(run.requests, "top"))).toEqual([`One.\n\n(task_id: ${id})`, `Two.\n\n(task_id: ${id})`]);
    const other = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "other"], script: [turn(task("mine?", { task_id: id })), { text: "ok" }], home });
    expect(toolOutputsOf(other.requests.at(-1))).toEqual([`The task ended as error: There is no session ${id}.`]);
  });

  test("that fails again and again is a loop", async () => {
    const script = byPrompt({ top: [turn(task("child"))], child: [{ status: 400, body: { error: { message: "not this" } } }] });
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "top"], script });
    expect([run.code, resultOf(run).error.code, resultOf(run).steps]).toEqual([3, "LOOP_DETECTED", 5]);
  });

  test("that still runs is not gone on with; what is given empty is not given", async () => {
    const empty = { subagent_type: "", model: "", task_id: "" };
    const script = (request: SeenRequest): Reply => {
      if (saidBy(request)[0] === "child") return { text: "One.", delayMs: 300 };
      const results = toolOutputsOf(request);
      const id = /ses_\w+/.exec(results[0] ?? "")?.[0];
      return results.length === 0 ? turn(beside("child", empty)) : results.length === 1 ? turn(task("more", { task_id: id })) : { text: "Done." };
    };
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "top"], script });
    const [started, refused] = toolOutputsOf(run.requests.at(-1));
    expect(started).toMatch(/^The task runs in the background\./);
    expect(refused).toMatch(/^The task ended as error: The task ses_\w+ still runs; its answer comes first\.$/);
    expect([run.code, ofType(run, "error").map(({ error }) => error.code)]).toEqual([0, ["TASK_BUSY"]]);
  });

  test("ends with the run at SIGINT", async () => {
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT, "-p", "top"],
      script: byPrompt({ top: [turn(task("child"))], child: [turn(["bash", { command: "sleep 98765.2" }])] }),
      onSpawn: (child) => void until(() => processesWith("sleep 98765.2").length > 0).then(() => child.kill("SIGINT")),
    });
    expect([run.code, resultOf(run).status]).toEqual([130, "interrupted"]);
    await until(() => processesWith("sleep 98765.2").length === 0);
  });
});

describe.skipIf(!isBuilt)("todos", { concurrent: true }, () => {
  const todos = [
    { content: "read", status: "completed", priority: "high" },
    { content: "write", status: "in_progress", priority: "medium" },
    { content: "drop", status: "cancelled", priority: "low" },
  ];

  test("are in the events of both dialects, and live on with --continue and --fork", async () => {
    const home = makeHome();
    const run = await runTools([["todowrite", { todos }]], { home });
    expect(ofType(run, "tool_use")[0].part.state).toMatchObject({ status: "completed", title: "1 todo", metadata: { todos } });
    for (const more of [["--continue"], ["--continue", "--fork"]]) {
      const { outputs } = await runTools([["todoread", {}]], { home, args: more });
      expect(JSON.parse(outputs.at(-1) ?? "")).toEqual(todos);
    }
    const claude = await runTools([["todowrite", { todos }]], { args: ["--output-format", "stream-json"] });
    expect(ofType(claude, "user")[0].tool_use_result).toEqual({ title: "1 todo", metadata: { todos } });
  });

  test("of bad input are refused with what is allowed", async () => {
    const one = { content: "x", status: "pending", priority: "low" };
    const { outputs, code } = await runTools([
      ["todowrite", {}],
      ["todowrite", { todos: [{ ...one, status: "done" }, one, { ...one, priority: "urgent" }] }],
      ["todowrite", { todos: Array(101).fill(one) }],
      ["todowrite", { todos: [{ ...one, content: "x".repeat(1001) }] }],
      ["todoread", {}],
    ]);
    const refused = (reason: string) => `The input of todowrite is invalid: ${reason}\nCall it again with input that fits its schema.`;
    expect([code, outputs]).toEqual([
      0,
      [
        refused("todos: Invalid input: expected array, received undefined"),
        refused(
          'todos.0.status: Invalid option: expected one of "pending"|"in_progress"|"completed"|"cancelled"; todos.2.priority: Invalid option: expected one of "high"|"medium"|"low"',
        ),
        refused("todos: give at most 100 todos."),
        refused("todos.0.content: give at most 1000 characters."),
        "[]",
      ],
    ]);
  });
});
