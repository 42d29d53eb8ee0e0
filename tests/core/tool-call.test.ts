import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { AgentEvent, EventOf, EventType } from "../../core/events.ts";
import { withoutFence } from "../../core/fence.ts";
import type { Hooks } from "../../core/hooks.ts";
import { type Contribution, definePlugin, type Plugin } from "../../core/plugin.ts";
import { type BootedAgent, type BootOptions, boot, call, calls, type PromptReport, say } from "../../core/testing/index.ts";
import { type Tool, type ToolContext, tool } from "../../core/tool.ts";
import { answerCall, type CallDependencies } from "../../core/tool-call.ts";

const booted: BootedAgent[] = [];
afterEach(async () => {
  for (const agent of booted.splice(0)) await agent.close();
});

async function start(options: BootOptions): Promise<BootedAgent> {
  const agent = await boot(options);
  booted.push(agent);
  return agent;
}

const plugin = (contribution: Contribution, name = "test"): Plugin => definePlugin({ name, setup: () => contribution });
const echo = tool({ name: "echo", description: "Say it back.", effect: "read", input: z.object({ text: z.string() }), run: ({ text }) => `echo ${text}` });
const ofType = <T extends EventType>({ events }: PromptReport, type: T) => events.filter((event: AgentEvent): event is EventOf<T> => event.type === type);
const unused = tool({ name: "unused", description: "d", input: z.object({}), run: () => "" });
const make = (run: Tool["run"], more: Omit<Partial<Tool>, "input"> = {}) =>
  tool({ name: "it", description: "d", effect: "read", input: { type: "object" }, ...more, run });

/** Calls one tool once and gives back what the model was told. */
async function answer(one: Tool, input: unknown = {}, { hooks, ...options }: Omit<BootOptions, "script" | "plugins"> & { hooks?: Hooks } = {}) {
  const agent = await start({ plugins: [plugin({ tools: [one, unused], ...(hooks && { hooks }) })], script: [call(one.name, input), say("done")], ...options });
  const report = await agent.prompt("go");
  return { ...report, told: report.toolOutputs[0] ?? "", state: ofType(report, "tool.finish")[0]?.state, agent };
}

describe("a call", () => {
  test("is answered, told by a start and a finish, and the model reads the result", async () => {
    const { told, events, agent, text, result } = await answer(echo, { text: "hi" });
    expect([told, text, result.exitCode]).toEqual(["echo hi", "done", 0]);
    const [started, finished] = events.filter((event) => event.type === "tool.start" || event.type === "tool.finish");
    expect(started).toMatchObject({ type: "tool.start", tool: "echo", input: { text: "hi" } });
    expect(finished).toMatchObject({
      type: "tool.finish",
      callId: (started as any).callId,
      partId: (started as any).partId,
      state: { status: "completed", output: "echo hi", title: "", metadata: {} },
    });
    expect(agent.requests[1]?.prompt.at(-1)).toMatchObject({
      role: "tool",
      content: [
        {
          type: "tool-result",
          toolName: "echo",
          output: { type: "text", value: expect.stringMatching(/^<tool-output id="\w{10}" tool="echo">\necho hi\n<\/tool-output \w{10}>$/) },
        },
      ],
    });
  });

  test("gets its input as the schema gives it, and no arguments at all are an empty object", async () => {
    const typed = tool({ name: "it", description: "d", input: z.object({ n: z.coerce.number().default(7) }), run: ({ n }) => `${typeof n} ${n}` });
    expect((await answer(typed, { n: "5" })).told).toBe("number 5");
    expect((await answer(typed, "")).told).toBe("number 7");
  });

  test("may give a title, metadata and files; files go to the model in a message of their own", async () => {
    const { state, agent } = await answer(
      make(() => ({ output: "seen", title: "A picture", metadata: { size: 3 }, attachments: [{ mediaType: "image/png", data: "AAAA", filename: "a.png" }] })),
    );
    expect(state).toMatchObject({ status: "completed", title: "A picture", metadata: { size: 3 } });
    expect(agent.requests[1]?.prompt.at(-1)).toMatchObject({
      role: "user",
      content: [{ type: "text" }, { type: "file", mediaType: "image/png", data: "AAAA", filename: "a.png" }],
    });
  });

  test("shows its progress", async () => {
    const slow = make((_, { progress }) => {
      progress({ title: "half" });
      return "whole";
    });
    const report = await answer(slow);
    expect(ofType(report, "tool.progress")).toMatchObject([{ tool: "it", title: "half" }]);
  });

  test("knows who made it and where it works", async () => {
    let seen: ToolContext | undefined;
    const nosy = make((_, context) => {
      seen = context;
      return "";
    });
    const { agent } = await answer(nosy);
    expect(seen).toMatchObject({
      cwd: agent.cwd,
      depth: 0,
      model: "scripted/model",
      sessionId: expect.stringMatching(/^ses_/),
      callId: expect.stringMatching(/^call_/),
    });
  });

  test("keeps values with the session from one prompt to the next", async () => {
    const counter = make((_, { state }) => {
      state.set("count", (state.get<number>("count") ?? 0) + 1);
      return `${state.get("count")}`;
    });
    const agent = await start({ plugins: [plugin({ tools: [counter] })], script: (_, index) => (index % 2 === 0 ? call("it") : say("done")) });
    const { result, toolOutputs } = await agent.prompt("one");
    expect([toolOutputs, (await agent.prompt({ message: "two", session: result.sessionId })).toolOutputs]).toEqual([["1"], ["2"]]);
  });
});

describe("a call that cannot be run tells the model why, and the run goes on", () => {
  const isError = ({ state, result, text }: Awaited<ReturnType<typeof answer>>) => expect([state?.status, result.exitCode, text]).toEqual(["error", 0, "done"]);

  test("when there is no such tool", async () => {
    const agent = await start({ plugins: [plugin({ tools: [echo] })], script: [call("reed"), say("done")] });
    const report = await agent.prompt("go");
    expect(report.toolOutputs).toEqual(['There is no tool "reed".\nUse one of: echo.']);
    expect(report.result.exitCode).toBe(0);
    expect(agent.requests[1]?.prompt.at(-1)).toMatchObject({ content: [{ toolName: "reed", output: { type: "error-text" } }] });
  });

  test.each(['{"text": ', "text", "{'text': 1}"])("when its arguments are no JSON: %s", async (raw) => {
    const report = await answer(echo, raw);
    isError(report);
    expect(report.told).toContain(`The input of echo is invalid: this is not JSON: ${raw.trim()}`);
  });

  test.each([{}, { text: 1 }, [], "null", "7"])("when its arguments do not fit the schema: %j", async (input) => {
    const report = await answer(echo, input);
    isError(report);
    expect(report.told).toMatch(/^The input of echo is invalid: .*\nCall it again with input that fits its schema\.$/);
  });

  test("when it throws, in any way", async () => {
    for (const [run, told] of [
      [
        () => {
          throw new Error("no luck");
        },
        "no luck",
      ],
      [
        async () => {
          throw new Error("no luck later");
        },
        "no luck later",
      ],
      [
        () => {
          throw "just text";
        },
        "just text",
      ],
      [
        () => {
          throw undefined;
        },
        "undefined",
      ],
    ] as [Tool["run"], string][]) {
      const report = await answer(make(run));
      isError(report);
      expect(report.told).toBe(told);
    }
  });

  test.each([undefined, null, 7, {}, { output: 7 }, []])("when it returns %j", async (garbage) => {
    const report = await answer(make(() => garbage as never));
    isError(report);
    expect(report.told).toBe("it failed: it returned neither a string nor { output }.");
  });

  test.each([
    [{ attachments: {} }, "the attachments that it returned are not a list of { mediaType, data }."],
    [{ attachments: [null] }, "the attachments that it returned are not a list of { mediaType, data }."],
    [{ attachments: [{ mediaType: 5 }] }, "the attachments that it returned are not a list of { mediaType, data }."],
    [{ metadata: "text" }, "the metadata that it returned is not an object."],
    [{ title: 7 }, "the title that it returned is not a string."],
  ])("when it returns %j beside its output", async (garbage, reason) => {
    const report = await answer(make(() => ({ output: "x", ...garbage }) as never));
    isError(report);
    expect(report.told).toBe(`it failed: ${reason}`);
  });

  test.each([["text"], [null], [[undefined]], [[7]], [Promise.resolve(["secret"])]])("when its patterns are %j: no rule could deny it", async (patterns) => {
    let ran = false;
    const report = await answer(make(() => String((ran = true)), { patterns: () => patterns as never }));
    isError(report);
    expect([report.told, ran]).toEqual(["it failed: its patterns are not a list of strings.", false]);
  });

  test("when its patterns cannot be told", async () =>
    isError(
      await answer(
        make(() => "", {
          patterns: () => {
            throw new Error("hm");
          },
        }),
      ),
    ));
});

describe("several calls of one message", () => {
  test("run at the same time, and their results stand in the order of the calls", async () => {
    const waiting: (() => void)[] = [];
    const slow = tool({
      name: "slow",
      description: "d",
      input: z.object({ n: z.number() }),
      run: async ({ n }) => {
        await new Promise<void>((resolve) => {
          waiting.push(resolve);
          if (waiting.length === 3) for (const [index, go] of waiting.reverse().entries()) setTimeout(go, index);
        });
        return { output: `${n}`, attachments: [{ mediaType: "image/png", data: `${n}` }] };
      },
    });
    const agent = await start({
      plugins: [plugin({ tools: [slow] })],
      script: [calls(["slow", { n: 1 }], ["slow", { n: 2 }], ["slow", { n: 3 }]), say("done")],
    });
    const { toolOutputs } = await agent.prompt("go");
    expect(toolOutputs).toEqual(["3", "2", "1"]);
    const [results, files] = (agent.requests[1]?.prompt.slice(-2) ?? []) as any[];
    expect(results.content.map((part: any) => withoutFence(part.output.value))).toEqual(["1", "2", "3"]);
    expect(files.content.slice(1).map((part: any) => part.data)).toEqual(["1", "2", "3"]);
  });

  test("are at most 16 at once", async () => {
    let [now, most, started] = [0, 0, 0];
    const slow = make(async () => {
      most = Math.max(most, ++now);
      started++;
      await new Promise((resolve) => setTimeout(resolve, 1));
      now--;
      return "";
    });
    const warnings: string[] = [];
    const warn = (warning: Error) => warnings.push(warning.message);
    process.on("warning", warn);
    const agent = await start({
      plugins: [plugin({ tools: [slow] })],
      script: [calls(...Array.from({ length: 40 }, (): [string, unknown] => ["it", {}])), say("done")],
    });
    expect((await agent.prompt("go")).toolOutputs).toHaveLength(40);
    process.off("warning", warn);
    expect([most, started, warnings]).toEqual([16, 40, []]);
  });

  test("do not suffer when one of them fails", async () => {
    const agent = await start({
      plugins: [plugin({ tools: [echo] })],
      script: [calls(["echo", { text: "a" }], ["nothing", {}], ["echo", { text: "b" }]), say("done")],
    });
    await agent.prompt("go");
    expect((agent.requests[1]!.prompt.at(-1) as any).content.map((part: any) => part.output.type)).toEqual(["text", "error-text", "text"]);
  });
});

describe("hooks around a call", () => {
  test("change its input before it is judged, and its result before the model reads it", async () => {
    const hooks: Hooks = {
      toolBefore: (given) => ({ ...given, input: { text: `${(given.input as any).text}!` } }),
      permission: ({ input }) => ((input as any).text === "hi!" ? "allow" : "deny"),
      toolAfter: (result, { input }) => ({ ...result, output: `${result.output} (${(input as any).text})` }),
    };
    expect((await answer(echo, { text: "hi" }, { hooks })).told).toBe("echo hi! (hi!)");
  });

  test("that fail, fail that call alone and name plugin and hook", async () => {
    const before = await answer(
      echo,
      { text: "hi" },
      {
        hooks: {
          toolBefore: () => {
            throw new Error("oops");
          },
        },
      },
    );
    expect([before.told, before.text]).toEqual([expect.stringContaining("The hook toolBefore of the plugin test failed: oops"), "done"]);
    const after = await answer(
      echo,
      { text: "hi" },
      {
        hooks: {
          toolAfter: () => {
            throw new Error("oops");
          },
        },
      },
    );
    expect(after.told).toContain("The hook toolAfter of the plugin test failed: oops");
  });

  test("give its processes their environment", async () => {
    const print = make(
      async (_, { exec, cwd, signal }) => (await exec(process.execPath, ["-e", "process.stdout.write(String(process.env.MINE))"], { cwd, signal })).head,
    );
    const { told } = await answer(print, {}, { hooks: { env: (env) => ({ ...env, MINE: "set" }) } });
    expect(told).toContain("set");
  });
});

describe("what a call changes", () => {
  /** Answers one call of a tool; `end` is the look after it. */
  function answerWatched(end: () => Promise<void>, effect?: "read") {
    const it = make(() => "done", { effect: "run" });
    const steps: string[] = [];
    const watch = {
      begin: async () => void steps.push("begin"),
      keep: async () => {},
      end() {
        steps.push("end");
        return end();
      },
    };
    const dependencies = {
      tools: new Map([["it", it]]),
      before: async (call: unknown) => call,
      after: async (result: unknown) => result,
      permit: async () => ({ decision: "allow", ...(effect && { effect }) }),
      check: async (_: unknown, value: unknown) => ({ value }),
      contextOf: () => ({}),
      watch: () => watch,
      compress: async (text: string) => text,
      truncate: async (text: string) => text,
      takePlace: async () => () => {},
      failed() {},
      redact: (text: string) => text,
      redactKnown: (input: unknown) => input,
      emit() {},
      now: () => 0,
      signal: new AbortController().signal,
      cwd: "/",
    } as unknown as CallDependencies;
    const place = { messageId: "msg", callId: "call", partId: "prt", depth: 0 };
    return answerCall({ id: "call", tool: "it", input: "{}" }, place, dependencies).then(({ output }) => ({ told: output.output, steps }));
  }

  test("is looked for without holding its result", async () => {
    expect(await answerWatched(() => new Promise(() => {}))).toEqual({ told: "done", steps: ["begin", "end"] });
  });

  test("is not looked for where a permission hook knows that it only reads", async () => {
    expect(await answerWatched(async () => {}, "read")).toEqual({ told: "done", steps: [] });
  });
});

describe("permission", () => {
  const ask: Hooks = { permission: () => ({ decision: "ask", reason: "it writes" }) };
  const writer = make(() => "written", { effect: "write", permission: "edit", patterns: (input) => [input.path ?? "*"] });
  const twice = [call("it", { path: "a" }), call("it", { path: "a" }), call("it", { path: "b" }), say("done")];

  test("is asked with tool, key, effect and patterns", async () => {
    const seen: unknown[] = [];
    await answer(writer, { path: "a.txt" }, { hooks: { permission: (request) => void seen.push(request) } });
    expect(seen).toMatchObject([{ tool: "it", permission: "edit", effect: "write", patterns: ["a.txt"], input: { path: "a.txt" } }]);
  });

  test("that is denied tells the model the reason", async () => {
    const { told, result } = await answer(writer, {}, { hooks: { permission: () => ({ decision: "deny", reason: "not on Sundays" }) } });
    expect([told, result.exitCode]).toEqual(["Denied: not on Sundays", 0]);
  });

  test("with nobody to ask means deny, and the run goes on", async () => {
    const { told, text } = await answer(writer, {}, { hooks: ask });
    expect([told, text]).toEqual(["Denied: it writes and nobody can be asked.", "done"]);
  });

  test.each([
    ["once", ["written", "written", "written"], 3],
    ["always", ["written", "written", "written"], 2],
    ["reject", Array(3).fill(expect.stringMatching(/^Denied: a person rejected this call of it\./)), 3],
  ] as const)("that a person answers with %s", async (given, outputs, times) => {
    const asked: string[] = [];
    const agent = await start({
      plugins: [plugin({ tools: [writer], hooks: ask })],
      script: twice,
      async ask({ id, patterns }) {
        asked.push(`${id.slice(0, 4)} ${patterns}`);
        return given;
      },
    });
    const report = await agent.prompt("go");
    expect(report.toolOutputs).toEqual(outputs);
    expect(asked).toHaveLength(times);
    expect(asked[0]).toBe("per_ a");
    expect(ofType(report, "permission.request")).toHaveLength(times);
    expect(ofType(report, "permission.request")[0]).toMatchObject({ tool: "it", patterns: ["a"], title: "it writes" });
  });

  test("for good does not cover what a plugin denies", async () => {
    let verdict: "ask" | "deny" = "ask";
    const agent = await start({
      plugins: [plugin({ tools: [writer], hooks: { permission: () => verdict } })],
      script: [call("it"), call("it"), say("done")],
      async ask() {
        verdict = "deny";
        return "always";
      },
    });
    expect((await agent.prompt("go")).toolOutputs).toEqual(["written", "Denied: it is not allowed here."]);
  });

  test("that cannot be asked is no permission", async () => {
    for (const broken of [
      async () => {
        throw new Error("gone");
      },
      () => {
        throw new Error("gone");
      },
    ] as BootOptions["ask"][]) {
      const { told } = await answer(writer, {}, { hooks: ask, ...(broken && { ask: broken }) });
      expect(told).toBe("Permission could not be asked: gone");
    }
  });

  test("that nobody ever answers does not hold an aborted run, and the tool is not run afterwards", async () => {
    const abort = new AbortController();
    let [ran, allow] = [false, (_: "once") => {}];
    const run = () => {
      ran = true;
      return "";
    };
    const agent = await start({
      plugins: [plugin({ tools: [make(run)], hooks: ask })],
      script: [call("it"), say("done")],
      ask() {
        setImmediate(() => abort.abort());
        return new Promise((resolve) => (allow = resolve));
      },
    });
    const { result } = await agent.prompt("go", { signal: abort.signal });
    expect(result.status).toBe("interrupted");
    allow("once");
    await new Promise((resolve) => setImmediate(resolve));
    expect(ran).toBe(false);
  });
});

describe("the output of a tool", () => {
  const long = Array.from({ length: 3000 }, (_, index) => `line ${index}`).join("\n");

  test("that is long is cut, and the whole is kept where the tools find it", async () => {
    const { told } = await answer(make(async () => long));
    expect(told).toMatch(/\(Lines 1-2000 of 3000, \d+ bytes in all\. The whole is in .*tool-output.*\.txt: use read with offset 2001, or grep\.\)$/);
  });

  test("is cut where the configuration says, and not at all where the tool limits itself", async () => {
    expect(
      (
        await answer(
          make(() => "a\nb\nc"),
          {},
          { config: { tool_output: { max_lines: 2 } } },
        )
      ).told,
    ).toMatch(/^a\nb\n\n\(Lines 1-2 of 3/);
    expect((await answer(make(() => long, { selfLimiting: true }))).told).toBe(long);
  });

  test("holds no secret, not even one that the cut goes through", async () => {
    const secret = `sk-or-v1-${"a1b2c3d4".repeat(8)}`;
    expect((await answer(make(() => `key ${secret}`))).told).toBe("key [redacted]");
    expect(
      (
        await answer(
          make(() => {
            throw new Error(`bad ${secret}`);
          }),
        )
      ).told,
    ).toBe("bad [redacted]");
    const { told } = await answer(
      make(() => `${"x\n".repeat(10)}${secret}\n${"y\n".repeat(50)}`),
      {},
      { config: { tool_output: { max_bytes: 50 } } },
    );
    expect(told).not.toContain("a1b2");
  });
});

describe("a call made by a tool", () => {
  const outer = (run: (context: ToolContext) => Promise<string>) =>
    tool({ name: "outer", description: "d", effect: "read", input: { type: "object" }, run: (_, context) => run(context) });
  const nest = async (one: Tool, { hooks, others = [echo] }: { hooks?: Hooks; others?: Tool[] } = {}) => {
    const agent = await start({ plugins: [plugin({ tools: [one, ...others], ...(hooks && { hooks }) })], script: [call("outer"), say("done")] });
    return agent.prompt("go");
  };

  test("goes the same way: events, hooks, schema, permission", async () => {
    const seen: string[] = [];
    const report = await nest(
      outer(async ({ call }) => (await call("echo", { text: "in" })).output),
      { hooks: { permission: ({ tool }) => void seen.push(tool) } },
    );
    expect(seen).toEqual(["outer", "echo"]);
    expect(report.toolOutputs).toEqual(["echo in", "echo in"]);
    expect(ofType(report, "tool.start").map((event) => event.tool)).toEqual(["outer", "echo"]);
  });

  test("throws what a model would read", async () => {
    const said = async (name: string, input: unknown) =>
      (
        await nest(
          outer(async ({ call }) =>
            call(name, input).then(
              () => "ran",
              (error) => `caught: ${error.message}`,
            ),
          ),
        )
      ).toolOutputs.at(-1);
    expect(await said("nothing", {})).toMatch(/^caught: There is no tool "nothing"\.\nUse one of: echo, outer\./);
    expect(await said("echo", { text: 1 })).toMatch(/^caught: The input of echo is invalid: text: /);
  });

  test("is refused when it is nested too deep", async () => {
    const report = await nest(outer(async ({ call, depth }) => `${depth} ${(await call("outer", {})).output}`));
    expect(report.toolOutputs.at(-1)).toBe("outer is nested deeper than 3 levels.\nDo the work in this step instead.");
    expect(ofType(report, "tool.start")).toHaveLength(4);
  });
});
