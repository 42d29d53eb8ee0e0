import { afterAll, describe, expect, test } from "vitest";
import { isBuilt, JSON_OUT, MODEL, makeHomeWith, ofType, removeHomes, resultOf, runCommand, until } from "./command.ts";
import { type Call, processesWith, runTools, statesOf } from "./tool-runs.ts";

afterAll(removeHomes);

const part = (tool: string, parameters: object) => ({ tool, parameters });
const batch = (...tool_calls: unknown[]): Call => ["batch", { tool_calls }];
const bash = (command: string) => part("bash", { command });

describe.skipIf(!isBuilt)("a batch", { concurrent: true }, () => {
  test("runs its calls together and gives their results in order; one that fails ends no other", async () => {
    const home = makeHomeWith({ "work/a.txt": "AAA\n" });
    const calls = [
      bash("sleep 0.3; echo slow"),
      part("read", { filePath: "a.txt" }),
      part("nothing", {}),
      part("read", {}),
      part("read", { filePath: "/etc/passwd" }),
      bash("exit 3"),
    ];
    const { outputs, code } = await runTools([batch(...calls)], { home });
    const parts = (outputs[0] ?? "").split(/\n\n(?=\[\d)/);
    expect(code).toBe(0);
    expect(parts).toEqual([
      "[1] bash\nslow\n",
      expect.stringMatching(/^\[2\] read\n[\s\S]*AAA/),
      expect.stringMatching(/^\[3\] nothing failed\nThere is no tool "nothing"\.\nUse one of: bash, batch, /),
      expect.stringMatching(/^\[4\] read failed\nThe input of read is invalid: filePath: /),
      expect.stringMatching(/^\[5\] read failed\n.*outside the workspace/),
      expect.stringMatching(/^\[6\] bash\n[\s\S]*\(Exit code: 3\)$/),
    ]);
  });

  test("keeps its bounds, and permissions and tools that are switched off hold in it", async () => {
    const nest = (levels: number): unknown => (levels === 0 ? bash("echo inside") : part("batch", { tool_calls: [nest(levels - 1)] }));
    const args = ["--disable-tools", "write", "--permission", '{"bash":{"rm *":"deny"}}'];
    const { outputs } = await runTools(
      [
        batch(),
        batch(...Array(11).fill(bash("true"))),
        batch(nest(2)),
        batch(nest(3)),
        batch(part("write", { filePath: "x", content: "" }), bash("rm x")),
        ["batch", {}],
      ],
      { args },
    );
    const bounds = (count: number) =>
      `The input of batch is invalid: it has ${count} calls; give 1 to 10, and the rest in another batch.\nCall it again with input that fits its schema.`;
    expect(outputs.slice(0, 2)).toEqual([bounds(0), bounds(11)]);
    expect(outputs[2]).toContain("inside");
    expect(outputs[3]).toContain("nested deeper than 3 levels");
    expect(outputs[4]).toMatch(/^\[1\] write failed\nThere is no tool "write"\.[\s\S]*\[2\] bash failed\nDenied: the rule bash "rm \*": "deny" forbids/);
    expect(outputs[5]).toMatch(/^The input of batch is invalid: tool_calls: /);
  });

  test("may hold a task and a question", async () => {
    const calls = [part("task", { description: "d", prompt: "child" }), part("question", { question: "Well?" })];
    const run = await runTools([batch(...calls)], { args: ["--tools", "batch,task,question,bash"] });
    expect([run.code, resultOf(run).error.code, statesOf(run).sort()]).toEqual([
      6,
      "QUESTION_UNANSWERED",
      ["batch:completed", "question:error", "task:completed"],
    ]);
  });

  test("ends at SIGINT with all of its calls, and says which had ended", async () => {
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT, "-p", "go"],
      script: [{ tools: [{ name: "batch", args: { tool_calls: [bash("sleep 98765.3"), bash("echo quick; touch quick.txt")] } }] }],
      onSpawn(child) {
        let printed = "";
        child.stdout?.on("data", (text: string) => (printed += text));
        void until(() => printed.includes('"quick\\n"') && processesWith("sleep 98765.3").length > 0).then(() => child.kill("SIGINT"));
      },
    });
    expect([run.code, statesOf(run).sort()]).toEqual([130, ["bash:completed", "bash:error", "batch:error"]]);
    const own = ofType(run, "tool_use").find(({ part }) => part.tool === "batch");
    expect(own.part.state.error).toBe("The run was interrupted.\nGo on with --continue.\nIt was at: 1 of 2 calls have ended: [2] bash");
    await until(() => processesWith("sleep 98765.3").length === 0);
  });
});

describe.skipIf(!isBuilt)("200 calls of one message", () => {
  test("run at most 16 at a time, and their results stand in the order of the calls", async () => {
    const calls = Array.from({ length: 200 }, (_, index): Call => ["bash", { command: `echo ${index}` }]);
    const { outputs, code, events } = await runTools(calls, { args: ["--stream"] });
    expect([code, outputs.map((text) => text.trim())]).toEqual([0, calls.map((_, index) => String(index))]);
    let [running, most] = [0, 0];
    for (const { type } of events) {
      if (type === "tool_start") most = Math.max(most, ++running);
      if (type === "tool_use") running--;
    }
    expect(most).toBe(16);
  });
});
