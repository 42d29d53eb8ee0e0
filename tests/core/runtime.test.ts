import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LanguageModelV3StreamPart } from "@ai-sdk/provider";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AgentError } from "../../core/errors.ts";
import type { AgentEvent, EventOf, EventType } from "../../core/events.ts";
import type { Hooks } from "../../core/hooks.ts";
import { type Contribution, definePlugin, type LazyPlugin, type Plugin } from "../../core/plugin.ts";
import { provider } from "../../core/provider.ts";
import { createRuntime } from "../../core/runtime.ts";
import { type BootedAgent, type BootOptions, boot, call, calls, fail, type PromptReport, type ScriptedTurn, say } from "../../core/testing/index.ts";
import { type Tool, tool } from "../../core/tool.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function start(options: BootOptions = {}): Promise<BootedAgent> {
  const agent = await boot(options);
  ends.push(() => agent.close());
  return agent;
}

function scratch(): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "agent-runtime-")));
  ends.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const plugin = (contribution: Contribution, name = "test"): Plugin => definePlugin({ name, setup: () => contribution });
const hooked = (hooks: Hooks, name = "hooked") => plugin({ hooks }, name);
const noop = tool({ name: "noop", description: "Nothing.", effect: "read", input: z.object({ n: z.number().optional() }), run: ({ n }) => `did ${n ?? "it"}` });
const make = (run: Tool["run"], name = "it") => tool({ name, description: "d", effect: "read", input: { type: "object" }, run });
const never = new Promise<never>(() => {});

const ofType = <T extends EventType>(events: AgentEvent[], type: T) => events.filter((event): event is EventOf<T> => event.type === type);
const told = ({ events }: PromptReport) => events.map((event) => event.type);
async function readAll(run: AsyncIterable<AgentEvent>): Promise<AgentEvent[]> {
  const events = [];
  for await (const event of run) events.push(event);
  return events;
}

/** The roles of what was sent, and of the session after it: an answered call follows its call. */
const roles = (messages: readonly { role: string }[]) => messages.map(({ role }) => role[0]).join("");

/** A provider "raw" whose model streams what `pump` gives it. */
function raw(pump: (send: (part: LanguageModelV3StreamPart) => void, signal: AbortSignal) => Promise<void>): Plugin {
  const doStream = async ({ abortSignal }: { abortSignal?: AbortSignal }) => ({
    stream: new ReadableStream<LanguageModelV3StreamPart>({
      start(controller) {
        const send = (part: LanguageModelV3StreamPart) => {
          try {
            controller.enqueue(part);
          } catch {
            // Cancelled: nobody reads any more.
          }
        };
        pump(send, abortSignal as AbortSignal)
          .then(
            () => controller.close(),
            (error) => controller.error(error),
          )
          .catch(() => {});
      },
    }),
  });
  const model = { specificationVersion: "v3", provider: "raw", modelId: "m", supportedUrls: {}, doStream, doGenerate: async () => never };
  return plugin({ providers: [provider({ id: "raw", keyless: true, create: () => () => model as never })] }, "raw");
}

const delta = (text: string): LanguageModelV3StreamPart => ({ type: "text-delta", id: "t", delta: text });

describe("a prompt", () => {
  test("is asked, its calls run, and asked again until none is made", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], script: [1, 2, 3, 4].map((n) => call("noop", { n })).concat(say("All done.")) });
    const report = await agent.prompt("go");
    expect(report.result).toMatchObject({
      status: "success",
      exitCode: 0,
      text: "All done.",
      steps: 5,
      model: "scripted/model",
      persisted: true,
      costUsd: 0,
      costSource: "provider",
    });
    expect(report.result.tokens).toEqual({ input: 500, output: 50, reasoning: 0, cache: { read: 0, write: 0 } });
    expect(report.toolOutputs).toEqual(["did 1", "did 2", "did 3", "did 4"]);
    expect(agent.requests.map(({ prompt }) => roles(prompt))).toEqual(["su", "suat", "suatat", "suatatat", "suatatatat"]);
    expect(ofType(report.events, "step.finish").map(({ step, reason }) => [step, reason])).toEqual([
      [1, "tool-calls"],
      [2, "tool-calls"],
      [3, "tool-calls"],
      [4, "tool-calls"],
      [5, "stop"],
    ]);
  });

  test("tells its events in order, all of one session, session.finish last", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], script: [call("noop"), say("Hi.")] });
    const report = await agent.prompt("go");
    expect(told(report)).toEqual(
      "session.start model.resolved prompt step.start message tool.start tool.finish step.finish step.start text.delta text message step.finish session.finish".split(
        " ",
      ),
    );
    expect(new Set(report.events.map(({ sessionId }) => sessionId))).toEqual(new Set([report.result.sessionId]));
    expect(report.events.at(-1)).toMatchObject({ result: report.result });
  });

  test("shows deltas only to those who want them", async () => {
    const progressing = make((_, { progress }) => {
      progress({ title: "half" });
      return "";
    });
    const agent = await start({
      plugins: [plugin({ tools: [progressing] })],
      script: [call("it"), { text: "Hi.", reasoning: "hm" }],
    });
    const events = await readAll(agent.runtime.prompt("go"));
    expect(events.map(({ type }) => type)).toEqual(
      "session.start model.resolved prompt step.start message tool.start tool.finish step.finish step.start reasoning text message step.finish session.finish".split(
        " ",
      ),
    );
  });

  test("gives a result to those who do not read its events", async () => {
    const agent = await start({ script: [say("Hi.")] });
    expect(await agent.runtime.prompt("go").result).toMatchObject({ text: "Hi.", status: "success" });
  });

  test("goes on when its reader leaves, and a second reader finds nothing", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], script: [call("noop"), say("Hi.")] });
    const run = agent.runtime.prompt("go");
    for await (const _ of run) break;
    expect((await run.result).text).toBe("Hi.");
    expect(await readAll(run)).toEqual([]);
  });

  test("waits for a slow reader", async () => {
    let sent = 0;
    const many = raw(async (send) => {
      for (; sent < 5000; sent++) {
        send(delta("x"));
        if (sent % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      send({ type: "finish", finishReason: { unified: "stop", raw: "stop" }, usage: {} as never });
    });
    let shown = 0;
    const agent = await start({ plugins: [many, hooked({ on: { "text.delta": () => void shown++ } })], config: { model: "raw/m" } });
    const run = agent.runtime.prompt("go", { deltas: true });
    const reader = run[Symbol.asyncIterator]();
    await reader.next();
    while (sent < 5000) await new Promise((resolve) => setImmediate(resolve));
    expect(shown).toBeLessThan(2000);
    let deltas = 0;
    for (let next = await reader.next(); !next.done; next = await reader.next()) if (next.value.type === "text.delta") deltas++;
    expect([deltas, (await run.result).text.length]).toEqual([5000, 5000]);
  });

  test("without words is refused before anything is written or sent", async () => {
    const agent = await start();
    const { result } = await agent.prompt("  \n");
    expect(result).toMatchObject({ status: "error", exitCode: 2, error: { code: "INPUT_EMPTY" } });
    expect([agent.requests.length, (await agent.runtime.sessions.list()).length]).toEqual([0, 0]);
  });

  test("may be text and files in their order; a URL is left to the provider", async () => {
    const agent = await start({ script: [say("A cat."), say("Yes.")] });
    const content = [
      { type: "file" as const, mediaType: "image/png", data: new Uint8Array([1, 2]) },
      { type: "text" as const, text: "What is this?" },
      { type: "file" as const, mediaType: "image/*", data: new URL("https://site.test/a.png") },
    ];
    const { result } = await agent.prompt({ message: content });
    expect(agent.requests[0]?.prompt.at(-1)).toEqual({ role: "user", content });
    await agent.prompt({ message: "Sure?", session: result.sessionId });
    expect(agent.requests[1]?.prompt[1]).toMatchObject({ content });
  });

  test.each([7, [7], [{ text: "a" }], { text: "a" }])("that is %j is refused", async (message) => {
    const agent = await start();
    expect((await agent.prompt({ message: message as never })).result.error).toMatchObject({ code: "INPUT_INVALID" });
    expect(agent.requests).toEqual([]);
  });

  test("sends system, sampling and tools, and the system prompt may be replaced and extended", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], config: { temperature: 0.5, appendSystem: "Always." } });
    await agent.prompt({ message: "go", system: "You are Bob.", appendSystem: "Today.", topP: 0.1, stop: ["END"], seed: 7, maxOutputTokens: 99 });
    const [request] = agent.requests;
    expect(request).toMatchObject({
      temperature: 0.5,
      topP: 0.1,
      stopSequences: ["END"],
      seed: 7,
      maxOutputTokens: 99,
      tools: [{ type: "function", name: "noop", inputSchema: { type: "object" } }],
    });
    expect(request?.prompt[0]?.content).toMatch(/^You are Bob\.\n\nWorkspace: [\s\S]*\n\nAlways\.\n\nToday\.$/);
    const plain = await start();
    await plain.prompt("go");
    for (const setting of ["temperature", "topP", "stopSequences", "seed", "maxOutputTokens", "tools"]) expect(plain.requests[0]).not.toHaveProperty(setting);
  });

  test("tells of a tool only while it is offered, and answers a call of it all the same", async () => {
    let isOpen = false;
    const open = make(() => {
      isOpen = true;
      return "opened";
    }, "open");
    const look = {
      ...make(() => "seen", "look"),
      offer: ({ model, tools }: { model: string; tools: readonly string[] }) => isOpen && `${model} ${tools}` === "scripted/model open,look",
    };
    const agent = await start({ plugins: [plugin({ tools: [open, look] })], script: [call("look", {}), call("open", {}), say("done")] });
    const { toolOutputs } = await agent.prompt("go");
    expect(toolOutputs).toEqual(["seen", "opened"]);
    expect(agent.requests.map(({ tools = [] }) => tools.map(({ name }) => name).join())).toEqual(["open", "open", "open,look"]);
  });

  test("names the tool whose offer fails", async () => {
    const broken = {
      ...noop,
      offer: () => {
        throw new Error("no idea");
      },
    };
    const { result } = await (await start({ plugins: [plugin({ tools: [broken] })] })).prompt("go");
    expect(result.error).toMatchObject({ code: "TOOL_FAILED", text: expect.stringContaining("noop failed: its offer failed: no idea") });
  });
});

describe("an answer that is none", () => {
  const one = async (turn: ScriptedTurn | ScriptedTurn[], options: BootOptions = {}) => {
    const agent = await start({ config: { retry: { maxRetries: 0 } }, script: [turn].flat(), plugins: [plugin({ tools: [noop] })], ...options });
    return { agent, ...(await agent.prompt("go")) };
  };

  test("because a limit cut it keeps its text and ends with exit code 3", async () => {
    const { result } = await one({ text: "half an ans", finish: "length" });
    expect(result).toMatchObject({ status: "limit", exitCode: 3, text: "half an ans", error: { code: "ANSWER_CUT" } });
  });

  test("because a limit cut it while it thought leaves a conversation that can go on", async () => {
    const { agent, result } = await one([{ reasoning: "let me think", finish: "length" }, say("Again.")]);
    expect(result.exitCode).toBe(3);
    expect((await agent.prompt({ message: "go on", session: result.sessionId })).text).toBe("Again.");
    expect(roles(agent.requests[1]?.prompt ?? [])).toBe("suu");
  });

  test("because its calls got lost on the way is no success", async () => {
    const { result } = await one({ text: "Let me read the file.", finish: "tool-calls" });
    expect(result).toMatchObject({ exitCode: 1, error: { code: "ANSWER_EMPTY" } });
  });

  test("because a limit cut it in a call does not run that call, and leaves a conversation that can go on", async () => {
    const { agent, result, toolOutputs } = await one([{ calls: [{ tool: "noop", input: '{"n": 1' }], finish: "length" }, say("Again.")]);
    expect([result.exitCode, toolOutputs]).toEqual([3, []]);
    expect((await agent.prompt({ message: "go on", session: result.sessionId })).text).toBe("Again.");
    expect(roles(agent.requests[1]?.prompt ?? [])).toBe("suatu");
    expect((agent.requests[1]?.prompt[3] as any)?.content[0].output.value).toContain("Not run");
  });

  test("because a filter ended it is refused content, exit code 1, and leaves no empty message behind", async () => {
    const { agent, result } = await one([{ finish: "content-filter" }, say("Else.")]);
    expect(result).toMatchObject({ status: "error", exitCode: 1, error: { code: "CONTENT_REFUSED" } });
    await agent.prompt({ message: "else", session: result.sessionId });
    expect(roles(agent.requests[1]?.prompt ?? [])).toBe("suu");
  });

  test.each([
    [{ text: "" }, "ANSWER_EMPTY", 1],
    [{ reasoning: "only thoughts" }, "ANSWER_EMPTY", 1],
    [{ text: "half", finish: "error" }, "STREAM_CUT", 4],
    [fail(500), "OVERLOADED", 4],
    [fail(400), "REQUEST_INVALID", 1],
    [fail(401), "AUTH_REFUSED", 5],
    [fail(402), "QUOTA_EXCEEDED", 4],
    [fail(404), "MODEL_UNAVAILABLE", 4],
    [fail(new AgentError("CONTEXT_OVERFLOW", { model: "m", reason: "r" })), "CONTEXT_OVERFLOW", 1],
  ] as [ScriptedTurn, string, number][])("%j is %s and exit code %i", async (turn, code, exitCode) => {
    const { result, events } = await one(turn);
    expect(result).toMatchObject({ status: "error", exitCode, text: "", error: { code } });
    expect(ofType(events, "error")).toHaveLength(1);
    expect(result).not.toHaveProperty("model");
  });

  test("is asked for again, then the next of the chain, and the result names who answered", async () => {
    const other = raw(async (send) => {
      send(delta("From the other."));
      send({ type: "finish", finishReason: { unified: "stop", raw: "stop" }, usage: {} as never });
    });
    const { result, events } = await one(fail(503), { plugins: [other], config: { fallback: ["raw/b"], retry: { maxRetries: 0 } } });
    expect(result).toMatchObject({ text: "From the other.", model: "raw/b", exitCode: 0, costSource: "unknown" });
    expect(result).not.toHaveProperty("costUsd");
    expect(ofType(events, "fallback")).toMatchObject([{ from: "scripted/model", to: "raw/b", error: { code: "OVERLOADED" } }]);
  });

  test("because the conversation is too long is compacted once and asked again", async () => {
    const overflow = fail(new AgentError("CONTEXT_OVERFLOW", { model: "m", reason: "r" }));
    const compact: Hooks["compact"] = (entries) => entries.slice(-1);
    const { result, events, agent } = await one([say("First."), overflow, say("Short enough.")], { plugins: [hooked({ compact })] });
    const second = await agent.prompt({ message: "again", session: result.sessionId });
    expect([ofType(events, "compaction").length, second.text]).toEqual([0, "Short enough."]);
    expect(ofType(second.events, "compaction")).toMatchObject([{ before: 3, after: 1 }]);
    expect(roles(agent.requests[2]?.prompt ?? [])).toBe("su");
  });
});

describe("limits", () => {
  const endless = { plugins: [plugin({ tools: [noop] })], script: (_: unknown, n: number) => call("noop", { n }) };

  test("of steps end the run after the last one allowed, its tools run", async () => {
    const agent = await start({ ...endless, limits: { steps: 3 } });
    const report = await agent.prompt("go");
    expect(report.result).toMatchObject({ status: "limit", exitCode: 3, steps: 3, error: { code: "LIMIT_STEPS" } });
    expect([agent.requests.length, report.toolOutputs.length]).toEqual([3, 3]);
  });

  test("of steps are 100 by themselves, and may stand in the configuration and in a profile", async () => {
    expect((await (await start(endless)).prompt("go")).result.steps).toBe(100);
    expect((await (await start({ ...endless, config: { limits: { steps: 2 } } })).prompt("go")).result.steps).toBe(2);
    const profiled = await start({ ...endless, limits: { steps: 3 }, config: { agent: { quick: { steps: 1 }, slow: { steps: 9 } } } });
    expect((await profiled.prompt({ message: "go", agent: "quick" })).result.steps).toBe(1);
    expect((await profiled.prompt({ message: "go", agent: "slow" })).result.steps).toBe(3);
  });

  test("of cost end the run before the request that would pass them", async () => {
    const agent = await start({ ...endless, script: (_, n) => ({ ...call("noop", { n }), costUsd: 0.02 }), limits: { costUsd: 0.05 } });
    expect((await agent.prompt("go")).result).toMatchObject({ exitCode: 3, steps: 2, costUsd: 0.04, error: { code: "LIMIT_COST" } });
  });

  test("of tokens end the run when they are used up", async () => {
    const agent = await start({ ...endless, limits: { tokens: 300 } });
    expect((await agent.prompt("go")).result).toMatchObject({ exitCode: 3, steps: 3, error: { code: "LIMIT_TOKENS" } });
  });

  test("of time end the run wherever it is", async () => {
    const agent = await start({ plugins: [plugin({ tools: [make(() => never)] })], script: [call("it"), say("done")], limits: { timeoutMs: 50 } });
    expect((await agent.prompt("go")).result).toMatchObject({
      status: "limit",
      exitCode: 3,
      error: { code: "LIMIT_TIME", message: "The time limit of 0.05 s is reached." },
    });
    const configured = await start({ plugins: [raw(() => never)], config: { model: "raw/m", limits: { timeoutSeconds: 0.05 } } });
    expect((await configured.prompt("go")).result.error?.code).toBe("LIMIT_TIME");
  });

  test("see a model that repeats itself: warned at three, stopped at five", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], script: [call("noop", { n: 1 })] });
    const { result, events } = await agent.prompt("go");
    expect(result).toMatchObject({ status: "limit", exitCode: 3, steps: 5, error: { code: "LOOP_DETECTED" } });
    expect(ofType(events, "loop.warning").map(({ times }) => times)).toEqual([3, 4]);
    expect((agent.requests[3]?.prompt.at(-1) as any)?.content[0].text).toContain("3 times in a row");
  });

  test("see cycles of calls, too, but no polling whose result changes", async () => {
    const cycle = await start({ plugins: [plugin({ tools: [noop] })], script: (_, index) => call("noop", { n: index % 3 }) });
    expect((await cycle.prompt("go")).result).toMatchObject({ steps: 15, error: { code: "LOOP_DETECTED" } });
    let count = 0;
    const polling = await start({ plugins: [plugin({ tools: [make(() => `${count++}`)] })], script: (_, index) => (index < 8 ? call("it") : say("Ready.")) });
    expect((await polling.prompt("go")).text).toBe("Ready.");
  });
});

describe("a request with more than words", () => {
  test("has its tools run first, in order, and the model is told as if it had called them", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], script: [say("Seen.")] });
    const report = await agent.prompt({
      message: "look",
      tools: [{ name: "noop", params: { n: 1 } }, { name: "nothing" }, { name: "noop", params: { n: 2 } }],
    });
    expect(report.toolOutputs).toEqual(["did 1", expect.stringContaining('There is no tool "nothing"'), "did 2"]);
    const [, user, assistant, results] = (agent.requests[0]?.prompt ?? []) as any[];
    expect(user.content[0].text).toBe("look");
    expect(assistant.content.map((part: any) => [part.toolName, part.input])).toEqual([
      ["noop", { n: 1 }],
      ["nothing", {}],
      ["noop", { n: 2 }],
    ]);
    expect(results.content.map((part: any) => part.toolCallId)).toEqual(assistant.content.map((part: any) => part.toolCallId));
    expect(report.text).toBe("Seen.");
  });

  test("asks no model with noReply, needs none, and the next prompt knows of it", async () => {
    const agent = await start({ plugins: [plugin({ tools: [noop] })], script: [say("I know.")], config: { model: "nobody/x" } });
    const { result, toolOutputs } = await agent.prompt({ message: "note", tools: [{ name: "noop" }], noReply: true });
    expect([result.exitCode, result.steps, toolOutputs, agent.requests.length]).toEqual([0, 0, ["did it"], 0]);
    await agent.prompt({ message: "well?", session: result.sessionId, model: "scripted/model" });
    expect(roles(agent.requests[0]?.prompt ?? [])).toBe("suatu");
  });

  test("attaches files: text with its path, images as they are", async () => {
    const agent = await start({ files: { "notes.md": "Remember.", "a.png": "\u0089PNG" } });
    await agent.prompt({ message: "see", files: ["notes.md", "a.png"] });
    expect((agent.requests[0]?.prompt[1] as any)?.content).toEqual([
      { type: "text", text: "see" },
      { type: "text", text: '<file path="notes.md">\nRemember.\n</file>' },
      { type: "file", mediaType: "image/png", filename: "a.png", data: readFileSync(join(agent.cwd, "a.png")).toString("base64") },
    ]);
  });

  test("attaches what comes through a pipe, and waits for it no longer than the prompt lasts", async () => {
    const agent = await start({ config: { limits: { timeoutSeconds: 3 } } });
    const [pipe, silent] = [join(agent.cwd, "pipe"), join(agent.cwd, "silent")];
    execFileSync("mkfifo", [pipe, silent]);
    const [writer, held] = [openSync(pipe, "r+"), openSync(silent, "r+")];
    writeSync(writer, "one\n");
    setTimeout(() => {
      writeSync(writer, "two\n");
      closeSync(writer);
    }, 50);
    await agent.prompt({ message: "see", files: ["pipe"] });
    expect((agent.requests[0]?.prompt[1] as any)?.content[1]).toEqual({ type: "text", text: '<file path="pipe">\none\ntwo\n\n</file>' });
    expect((await agent.prompt({ message: "see", files: ["silent"] })).result).toMatchObject({ exitCode: 3, error: { code: "LIMIT_TIME" } });
    closeSync(held);
    for (const path of ["/dev/zero", "."]) {
      expect((await agent.prompt({ message: "see", files: [path] })).result).toMatchObject({ exitCode: 2, error: { code: "FILE_NOT_FOUND" } });
    }
  });

  test("with a file that is not there sends nothing", async () => {
    const agent = await start();
    expect((await agent.prompt({ message: "see", files: ["gone.md"] })).result).toMatchObject({ exitCode: 2, error: { code: "FILE_NOT_FOUND" } });
    expect(agent.requests).toEqual([]);
  });
});

describe("an output schema", () => {
  const outputSchema = { type: "object", properties: { n: { type: "integer" } }, required: ["n"] };

  test("gives the checked value, also out of a code fence", async () => {
    const agent = await start({ script: [say('```json\n{"n": 3}\n```')] });
    const { result } = await agent.prompt({ message: "count", outputSchema });
    expect(result).toMatchObject({ exitCode: 0, output: { n: 3 } });
    expect(agent.requests[0]?.prompt[0]?.content).toContain(JSON.stringify(outputSchema));
  });

  test("that an answer does not satisfy is asked for again, with the reason, and steps are counted on", async () => {
    const agent = await start({ script: [say("three"), say('{"n": "3"}'), say('{"n": 3}')] });
    const { result, events } = await agent.prompt({ message: "count", outputSchema });
    expect(result).toMatchObject({ output: { n: 3 }, steps: 3 });
    expect(ofType(events, "step.start").map(({ step }) => step)).toEqual([1, 2, 3]);
    expect((agent.requests[1]?.prompt.at(-1) as any)?.content[0].text).toContain("it is not JSON.");
    expect((agent.requests[2]?.prompt.at(-1) as any)?.content[0].text).toContain("n: ");
  });

  test("that is never satisfied fails the run, within its limit of steps", async () => {
    const agent = await start({ script: [say("three")] });
    expect((await agent.prompt({ message: "count", outputSchema })).result).toMatchObject({
      exitCode: 1,
      steps: 3,
      text: "three",
      error: { code: "OUTPUT_INVALID" },
    });
    const limited = await start({ script: [say("three")], limits: { steps: 2 } });
    expect((await limited.prompt({ message: "count", outputSchema })).result).toMatchObject({ exitCode: 3, steps: 2, error: { code: "LIMIT_STEPS" } });
  });

  test("that is no schema is refused before anything is sent", async () => {
    const agent = await start();
    expect((await agent.prompt({ message: "count", outputSchema: { type: "strin" } })).result).toMatchObject({
      exitCode: 2,
      error: { code: "OPTION_INVALID" },
    });
    expect(agent.requests).toEqual([]);
  });
});

describe("a session", () => {
  test("is gone on with by its id, and by being the newest", async () => {
    const agent = await start({ script: [say("One."), say("Two."), say("Three.")] });
    const first = await agent.prompt("one");
    const second = await agent.prompt({ message: "two", session: first.result.sessionId });
    const third = await agent.prompt("three", { continueNewest: true });
    expect([second.result.sessionId, third.result.sessionId]).toEqual([first.result.sessionId, first.result.sessionId]);
    expect(ofType(third.events, "session.start")[0]?.resumed).toBe(true);
    expect(roles(agent.requests[2]?.prompt ?? [])).toBe("suauau");
  });

  test("is gone on with in another runtime, as it was left", async () => {
    const [dataDir, cwd] = [scratch(), scratch()];
    const first = await start({ dataDir, cwd, script: [say("One.")] });
    const { result } = await first.prompt("one", { title: "Mine" });
    await first.close();
    const second = await start({ dataDir, cwd, script: [say("Two.")] });
    const report = await second.prompt("two", { continueNewest: true });
    expect(report.result.sessionId).toBe(result.sessionId);
    expect(ofType(report.events, "session.start")[0]).toMatchObject({ title: "Mine", resumed: true, cwd });
    expect(roles(second.requests[0]?.prompt ?? [])).toBe("suau");
  });

  test("is left alone by a fork, which has a new id", async () => {
    const agent = await start({ script: [say("One."), say("Two.")] });
    const { result } = await agent.prompt("one");
    const fork = await agent.prompt({ message: "two", session: result.sessionId }, { fork: true });
    expect(fork.result.sessionId).not.toBe(result.sessionId);
    expect(roles(agent.requests[1]?.prompt ?? [])).toBe("suau");
    expect((await agent.runtime.sessions.read(result.sessionId)).entries).toHaveLength(2);
    expect((await agent.runtime.sessions.read(fork.result.sessionId)).entries).toHaveLength(4);
  });

  test("takes the id that the host gives it, and goes on with that where it exists already", async () => {
    const [dataDir, cwd] = [scratch(), scratch()];
    for (const resumed of [false, true]) {
      const agent = await start({ dataDir, cwd });
      const { result, events } = await agent.prompt("hi", { sessionId: "my-session" });
      expect([result.sessionId, ofType(events, "session.start")[0]?.resumed]).toEqual(["my-session", resumed]);
      await agent.close();
    }
  });

  test("that is not there is an error before anything is sent", async () => {
    const agent = await start();
    expect((await agent.prompt({ message: "hi", session: "ses_gone" })).result).toMatchObject({ exitCode: 2, error: { code: "SESSION_NOT_FOUND" } });
    expect((await agent.prompt("hi", { continueNewest: true })).result).toMatchObject({ exitCode: 2, error: { code: "SESSION_NOT_FOUND" } });
    expect(agent.requests).toEqual([]);
  });

  test("serves one prompt at a time", async () => {
    let letGo = () => {};
    const held = new Promise<string>((resolve) => (letGo = () => resolve("")));
    const agent = await start({ plugins: [plugin({ tools: [make(() => held)] })], script: [say("One."), call("it"), say("Two."), say("Three.")] });
    const { result } = await agent.prompt("one");
    const running = agent.runtime.prompt({ message: "two", session: result.sessionId });
    for await (const { type } of running) if (type === "tool.start") break;
    expect((await agent.prompt({ message: "me too", session: result.sessionId })).result).toMatchObject({ exitCode: 7, error: { code: "SESSION_BUSY" } });
    letGo();
    expect((await running.result).text).toBe("Two.");
    expect((await agent.prompt({ message: "three", session: result.sessionId })).text).toBe("Three.");
  });

  test("is kept nowhere without persistence, but goes on in the same runtime", async () => {
    const dataDir = scratch();
    const agent = await start({ dataDir, persist: false, script: [say("One."), say("Two.")] });
    const { result } = await agent.prompt("one");
    expect(result.persisted).toBe(false);
    await agent.prompt({ message: "two", session: result.sessionId });
    expect(roles(agent.requests[1]?.prompt ?? [])).toBe("suau");
    const other = await start({ dataDir });
    expect(await other.runtime.sessions.list()).toEqual([]);
  });

  test("holds no secret that a tool has read", async () => {
    const secret = `sk-or-v1-${"a1b2c3d4".repeat(8)}`;
    const agent = await start({
      plugins: [plugin({ tools: [noop] })],
      script: [{ text: `I saw ${secret}`, calls: [{ tool: "noop", input: { n: 1 } }] }, say("Done.")],
    });
    const { result } = await agent.prompt(`my key is ${secret}`);
    expect(JSON.stringify(await agent.runtime.sessions.read(result.sessionId))).not.toContain("a1b2c3d4");
  });
});

describe("a task", () => {
  const task = tool({
    name: "task",
    description: "d",
    effect: "read",
    input: z.object({ prompt: z.string(), agent: z.string().optional(), id: z.string().optional() }),
    async run({ prompt, agent, id }, { runTask }) {
      const result = await runTask({ prompt, ...(agent && { agent }), ...(id && { sessionId: id }) });
      return { output: `${result.status}: ${result.error ?? result.text}`, metadata: { id: result.sessionId } };
    },
  });
  /** The child is known by its prompt; what it answers may differ from its parent's turns. */
  const scripted = (child: ScriptedTurn[], parent: ScriptedTurn[]) => {
    const at = { child: 0, parent: 0 };
    return ({ prompt }: { prompt: readonly { role: string; content: any }[] }) => {
      const who = prompt.find(({ role }) => role === "user")?.content[0].text.startsWith("child") ? "child" : "parent";
      const turns = who === "child" ? child : parent;
      return turns[Math.min(at[who]++, turns.length - 1)] as ScriptedTurn;
    };
  };
  const tools = plugin({ tools: [task, noop] });

  test("runs in a session of its own whose events name the parent, and its use counts for both", async () => {
    const script = scripted(
      [
        { ...call("noop"), costUsd: 1 },
        { text: "Child's answer.", costUsd: 2 },
      ],
      [
        { ...call("task", { prompt: "child work" }), costUsd: 4 },
        { text: "Thanks.", costUsd: 8 },
      ],
    );
    const agent = await start({ plugins: [tools], script });
    const { result, events, toolOutputs } = await agent.prompt("go");
    const children = events.filter(({ parentId }) => parentId !== undefined);
    expect(new Set(children.map(({ parentId }) => parentId))).toEqual(new Set([result.sessionId]));
    expect(children.map(({ type }) => type)).toEqual(
      "session.start model.resolved prompt step.start message tool.start tool.finish step.finish step.start text.delta text message step.finish session.finish".split(
        " ",
      ),
    );
    expect([result.text, result.steps, result.costUsd, toolOutputs.at(-1)]).toEqual(["Thanks.", 2, 15, "success: Child's answer."]);
    expect(ofType(children, "session.finish")[0]?.result.costUsd).toBe(3);
    expect(await agent.runtime.sessions.newest(agent.cwd)).toBe(result.sessionId);
    expect((await agent.runtime.sessions.read(children[0]?.sessionId ?? "")).meta.parentId).toBe(result.sessionId);
  });

  test("that fails is told to the parent, which goes on", async () => {
    const agent = await start({ plugins: [tools], script: scripted([fail(400)], [call("task", { prompt: "child" }), say("Well.")]) });
    const { result, toolOutputs } = await agent.prompt("go");
    expect([result.exitCode, result.text, toolOutputs[0]]).toEqual([0, "Well.", expect.stringMatching(/^error: scripted\/model refused the request \(400\)/)]);
  });

  test("never passes the limit of cost of those who started it", async () => {
    const script = scripted([{ ...call("noop", { n: 1 }), costUsd: 0.4 }], [{ ...call("task", { prompt: "child" }), costUsd: 0.4 }, say("Done.")]);
    const agent = await start({ plugins: [tools], script, limits: { costUsd: 1 } });
    const { result, toolOutputs } = await agent.prompt("go");
    expect(toolOutputs.at(-1)).toMatch(/^limit: The limit of 1 USD is reached/);
    expect(result.costUsd).toBeLessThanOrEqual(1);
  });

  test("inside tasks is refused beyond three levels, or where the configuration says", async () => {
    const deeper = (options: BootOptions) =>
      start({ plugins: [tools], script: ({ prompt }) => (prompt.at(-1)?.role === "tool" ? say("Enough.") : call("task", { prompt: "child" })), ...options });
    const depthOf = async (options: BootOptions) => {
      const { events, toolOutputs } = await (await deeper(options)).prompt("go");
      return [ofType(events, "session.start").length, toolOutputs[0]];
    };
    expect(await depthOf({})).toEqual([4, "task is nested deeper than 3 levels.\nDo the work in this step instead."]);
    expect(await depthOf({ config: { subagent_depth: 1 } })).toEqual([2, expect.stringContaining("deeper than 1 levels")]);
  });

  test("goes on with its own earlier session, and with no other", async () => {
    let id = "";
    const agent = await start({
      plugins: [tools],
      script: ({ prompt }, index) =>
        [say("Private."), call("task", { prompt: "child" }), say("Child one."), call("task", { prompt: "child again", id }), say("Child two."), say("Done.")][
          index
        ] ?? say(`${prompt.length}`),
    });
    const other = await agent.prompt("mine alone");
    const watched = agent.runtime.prompt("go");
    const events: AgentEvent[] = [];
    for await (const event of watched) {
      events.push(event);
      if (event.type === "tool.finish" && event.state.status === "completed") id ||= String(event.state.metadata.id);
    }
    expect(ofType(events, "tool.finish").map(({ state }) => state.status === "completed" && state.output)).toEqual([
      "success: Child one.",
      "success: Child two.",
    ]);
    expect(roles(agent.requests[4]?.prompt ?? [])).toBe("suau");

    const prying = await start({
      plugins: [tools],
      dataDir: scratch(),
      script: (_, index) => (index === 0 ? say("Private.") : index === 1 ? call("task", { prompt: "child", id: first }) : say("Done.")),
    });
    let first = "";
    first = (await prying.prompt("secret")).result.sessionId;
    expect((await prying.prompt("go")).toolOutputs[0]).toBe(`error: There is no session ${first}.`);
    expect(other.result.exitCode).toBe(0);
  });

  test("never has a wider mode than its parent, whatever profile it names", async () => {
    const modes: unknown[] = [];
    const watch = hooked({ permission: (_, { config }) => void modes.push(config.permissionMode) });
    const script = () =>
      scripted([call("noop"), say("Done.")], [call("task", { prompt: "child", agent: "build" }), call("task", { prompt: "child" }), say("Done.")]);
    const agent = await start({ plugins: [tools, watch], script: script() });
    await agent.prompt({ message: "go", agent: "plan" });
    expect(new Set(modes)).toEqual(new Set(["plan"]));
  });
});

describe("an abort", () => {
  test("in the middle of a tool ends the run, and the session can go on", async () => {
    const abort = new AbortController();
    const stuck = make(() => {
      setImmediate(() => abort.abort());
      return never;
    });
    const agent = await start({ plugins: [plugin({ tools: [stuck, noop] })], script: [calls(["it", {}], ["noop", {}]), say("Going on.")] });
    const { result, events } = await agent.prompt("go", { signal: abort.signal });
    expect(result).toMatchObject({ status: "interrupted", exitCode: 130, steps: 1, error: { code: "INTERRUPTED" } });
    expect(ofType(events, "tool.finish")).toHaveLength(2);
    expect((await agent.prompt({ message: "go on", session: result.sessionId })).text).toBe("Going on.");
    expect(roles(agent.requests[1]?.prompt ?? [])).toBe("suatu");
  });

  test("in the middle of a stream ends the run, even of a model that does not heed it, and nothing follows the last event", async () => {
    const abort = new AbortController();
    let sendLater = (_: LanguageModelV3StreamPart) => {};
    const deaf = raw((send) => {
      send(delta("Half"));
      sendLater = send;
      return never;
    });
    const seen: string[] = [];
    const show = (text: string) => {
      seen.push(text);
      abort.abort();
    };
    const agent = await start({
      plugins: [deaf, hooked({ on: { "text.delta": ({ delta }) => show(delta) } })],
      config: { model: "raw/m" },
    });
    const report = await agent.prompt("go", { signal: abort.signal });
    expect(report.result).toMatchObject({ status: "interrupted", exitCode: 130, steps: 0, text: "" });
    sendLater(delta("Late"));
    await new Promise((resolve) => setImmediate(resolve));
    expect([seen, told(report).at(-1)]).toEqual([["Half"], "session.finish"]);
    const next = await agent.prompt({ message: "again", session: report.result.sessionId, model: "scripted/model" });
    expect([next.result.exitCode, roles(agent.requests[0]?.prompt ?? [])]).toEqual([0, "suu"]);
  });

  test("in the middle of a wait between retries ends it at once", async () => {
    const abort = new AbortController();
    const limited = fail(429);
    (limited.error as any).responseHeaders = { "retry-after": "300" };
    const agent = await start({ script: [limited], plugins: [hooked({ on: { retry: () => abort.abort() } })] });
    const { result } = await agent.prompt("go", { signal: abort.signal });
    expect([result.status, result.durationMs < 10_000]).toEqual(["interrupted", true]);
  });

  test("carries the host's reason and its exit code", async () => {
    const signal = AbortSignal.abort(new AgentError("INTERRUPTED", { exit: 143 }));
    const agent = await start();
    expect((await agent.prompt("go", { signal })).result).toMatchObject({ status: "interrupted", exitCode: 143 });
    const closed = AbortSignal.abort(new AgentError("OUTPUT_CLOSED"));
    expect((await agent.prompt("go", { signal: closed })).result).toMatchObject({ status: "interrupted", exitCode: 141 });
  });

  test("before the run writes nothing and sends nothing", async () => {
    const agent = await start();
    expect((await agent.prompt("go", { signal: AbortSignal.abort() })).result).toMatchObject({ status: "interrupted", exitCode: 130 });
    expect([agent.requests.length, await agent.runtime.sessions.list()]).toEqual([0, []]);
  });

  test("leaves a tool that does not heed it nothing more to say after the last event", async () => {
    const abort = new AbortController();
    let progress = (_: { title: string }) => {};
    const stuck = make((_, context) => {
      progress = context.progress;
      setImmediate(() => abort.abort());
      return never;
    });
    const agent = await start({
      plugins: [plugin({ tools: [stuck] })],
      script: [call("it")],
    });
    const run = agent.runtime.prompt("go", { signal: abort.signal, deltas: true });
    await run.result;
    progress({ title: "still here" });
    expect((await readAll(run)).at(-1)?.type).toBe("session.finish");
  });
});

describe("plugins", () => {
  test("of which two bring one name stop the start, exit code 2, with both names", async () => {
    await expect(boot({ plugins: [plugin({ tools: [noop] }, "one"), plugin({ tools: [noop] }, "two")] })).rejects.toMatchObject({
      code: "PLUGIN_CONFLICT",
      exit: 2,
      message: 'Both one and two bring the tool "noop".',
    });
  });

  test("may take the place of another's tool", async () => {
    const mine = definePlugin({ name: "mine", replaces: ["noop"], setup: () => ({ tools: [make(() => "mine", "noop")] }) });
    const agent = await start({ plugins: [plugin({ tools: [noop] }), mine], script: [call("noop"), say("done")] });
    expect((await agent.prompt("go")).toolOutputs).toEqual(["mine"]);
  });

  test("that are lazy are not loaded before they are asked for", async () => {
    let loaded = 0;
    const lazy: LazyPlugin = {
      name: "lazy",
      provides: { providers: ["raw"], commands: ["greet"] },
      load: async () => {
        loaded++;
        return { default: definePlugin({ name: "lazy", setup: () => ({ commands: [{ name: "greet", description: "", run: () => 0 }] }) }) };
      },
    };
    const agent = await start({ plugins: [lazy] });
    await agent.prompt("go");
    expect([loaded, await agent.runtime.command("nothing")]).toEqual([0, undefined]);
    expect([(await agent.runtime.command("greet"))?.name, loaded]).toEqual(["greet", 1]);
  });

  test("come from files of the workspace, with options", async () => {
    const text = `import { definePlugin, tool, z } from "agent-runtime";
      export default definePlugin({ name: "greeter", options: z.object({ word: z.string() }), setup: ({ options }) => ({
        tools: [tool({ name: "greet", description: "d", input: z.object({}), run: () => options.word })] }) });`;
    const cwd = scratch();
    writeFileSync(join(cwd, "greeter.ts"), text);
    const agent = await start({ cwd, plugins: [["./greeter.ts", { word: "Hello!" }]], script: [call("greet"), say("done")] });
    expect((await agent.prompt("go")).toolOutputs).toEqual(["Hello!"]);
    await expect(boot({ cwd, plugins: [["./greeter.ts", { word: 7 }]] })).rejects.toMatchObject({ code: "PLUGIN_BROKEN", exit: 2 });
  });

  test("that are broken are told of and left out where the host wants it", async () => {
    const cwd = scratch();
    writeFileSync(join(cwd, "bad.mjs"), "export default 7;");
    await expect(boot({ cwd, plugins: ["./bad.mjs"] })).rejects.toMatchObject({ code: "PLUGIN_BROKEN" });
    const agent = await start({ cwd, plugins: ["./bad.mjs"], skipBrokenPlugins: true });
    const { events, result } = await agent.prompt("go");
    expect([ofType(events, "plugin.error")[0]?.plugin, result.exitCode]).toEqual(["./bad.mjs", 0]);
  });

  test("see everything, are waited for, and what they do wrong is told before the last event", async () => {
    const seen: string[] = [];
    const late = hooked(
      {
        on: {
          "step.finish": async () => {
            await new Promise((resolve) => setTimeout(resolve, 5));
            throw new Error("oops");
          },
        },
      },
      "late",
    );
    const agent = await start({
      plugins: [
        late,
        hooked({ on: { "plugin.error": ({ plugin, message }) => void seen.push(`${plugin}: ${message}`), "session.finish": () => void seen.push("finish") } }),
      ],
    });
    const report = await agent.prompt("go");
    expect(report.result.exitCode).toBe(0);
    expect(ofType(report.events, "plugin.error")).toMatchObject([{ plugin: "late", hook: "on.step.finish", message: "oops" }]);
    expect(told(report).at(-1)).toBe("session.finish");
    await agent.runtime.close();
    expect(seen).toEqual(["late: oops", "finish"]);
  });

  test("whose observer fails at the very end are told of in the log", async () => {
    const warned: unknown[] = [];
    const log = { debug() {}, info() {}, warn: (message: string, data?: unknown) => void warned.push([message, data]) };
    const agent = await start({
      log,
      plugins: [
        hooked({
          on: {
            "session.finish": () => {
              throw new Error("oops");
            },
          },
        }),
      ],
    });
    await agent.prompt("go");
    await agent.runtime.close();
    expect(warned).toEqual([["plugin.error", { plugin: "hooked", hook: "on.session.finish", message: "oops" }]]);
  });

  test("change the configuration, the system prompt, the messages, the tools and the request", async () => {
    const hooks: Hooks = {
      config: (config) => ({ ...config, temperature: 0.3 }),
      system: (text) => `${text}\nBe kind.`,
      messages: (messages) => [...messages, { role: "user", content: [{ type: "text", text: "One more thing." }] }],
      tools: (tools) => tools.filter(({ name }) => name !== "noop"),
      request: (settings) => ({ ...settings, headers: { "x-mine": "1" } }),
    };
    const agent = await start({ plugins: [plugin({ tools: [noop, make(() => "", "other")] }), hooked(hooks)] });
    const { result } = await agent.prompt("go");
    const [request] = agent.requests;
    expect(request).toMatchObject({ temperature: 0.3, headers: { "x-mine": "1" }, tools: [{ name: "other" }] });
    expect(request?.prompt[0]?.content).toMatch(/Be kind\.$/);
    expect(roles(request?.prompt ?? [])).toBe("suu");
    expect((await agent.runtime.sessions.read(result.sessionId)).entries).toHaveLength(2);
  });

  test("whose tool has a schema that fails to become JSON Schema end the run, and the tool is named", async () => {
    const input = { "~standard": { version: 1, vendor: "other", validate: (value: unknown) => ({ value }), jsonSchema: { input: () => JSON.parse("{") } } };
    const agent = await start({ plugins: [plugin({ tools: [{ ...noop, input: input as never }] })] });
    expect((await agent.prompt("go")).result).toMatchObject({
      exitCode: 1,
      error: { code: "TOOL_FAILED", message: expect.stringMatching(/^noop failed: its input cannot be given as JSON Schema: /) },
    });
  });

  test("that fail to change something fail the run and are named", async () => {
    for (const hook of ["system", "messages", "tools", "request"] as const) {
      const agent = await start({
        plugins: [
          hooked({
            [hook]: () => {
              throw new Error("oops");
            },
          }),
        ],
      });
      expect((await agent.prompt("go")).result).toMatchObject({
        status: "error",
        exitCode: 1,
        error: { code: "HOOK_FAILED", message: `The hook ${hook} of the plugin hooked failed: oops` },
      });
      expect(agent.requests).toEqual([]);
    }
    await expect(
      boot({
        plugins: [
          hooked({
            config: () => {
              throw new Error("oops");
            },
          }),
        ],
      }),
    ).rejects.toMatchObject({ code: "HOOK_FAILED" });
  });
});

describe("the model of a prompt", () => {
  const resolved = async (options: BootOptions, request: object = {}) =>
    ofType((await (await start(options)).prompt({ message: "go", ...request })).events, "model.resolved")[0];

  test("is told once, before the first request, with its source", async () => {
    expect(await resolved({}, { model: "scripted/vendor/mine:free" })).toMatchObject({
      requested: "scripted/vendor/mine:free",
      selector: "scripted/vendor/mine:free",
      providerId: "scripted",
      modelId: "vendor/mine:free",
      source: "input",
      matchesRequest: true,
    });
    expect(await resolved({})).toMatchObject({ requested: "scripted/model", source: "cli" });
    expect(await resolved({ modelSource: "env" })).toMatchObject({ source: "env" });
    expect(await resolved({ config: { agent: { mine: { model: "scripted/profile" } } }, modelSource: "config" }, { agent: "mine" })).toMatchObject({
      modelId: "profile",
      source: "config",
    });
  });

  test("of an unknown provider is an error before anything is written or sent, with opencode's name", async () => {
    const agent = await start();
    const { result, events } = await agent.prompt({ message: "go", model: "z-ai/glm-4.7" });
    expect(result).toMatchObject({
      exitCode: 2,
      error: { code: "MODEL_NOT_FOUND", name: "ProviderModelNotFoundError", hint: expect.stringContaining("Did you mean openrouter/z-ai/glm-4.7?") },
    });
    expect([ofType(events, "model.resolved"), await agent.runtime.sessions.list()]).toEqual([[], []]);
  });

  test("without its key is passed over while another of the chain has one, and that is told", async () => {
    const keyed = plugin({ providers: [provider({ id: "keyed", env: ["KEYED_API_KEY"], create: () => () => never as never })] }, "keyed");
    expect(await resolved({ plugins: [keyed], config: { model: "keyed/a,scripted/b" } })).toMatchObject({
      requested: "keyed/a",
      selector: "scripted/b",
      matchesRequest: false,
    });
    const alone = await start({ plugins: [keyed], config: { model: "keyed/a" } });
    expect((await alone.prompt("go")).result).toMatchObject({ exitCode: 5, error: { code: "KEY_MISSING", hint: expect.stringContaining("KEYED_API_KEY=…") } });
  });
});

describe("a provider that is broken", () => {
  const never = new Promise<never>(() => {});
  const broken = (create: () => unknown) => plugin({ providers: [provider({ id: "raw", keyless: true, create: create as never })] }, "raw");

  test.each<[string, () => unknown, string]>([
    [
      "throws",
      () => {
        throw new TypeError("create boom");
      },
      "create boom",
    ],
    ["gives no model", () => () => null, "what it gives for m is no language model."],
    [
      "throws for a model",
      () => () => {
        throw new Error("no m");
      },
      "no m",
    ],
  ])("and %s is told by its name, once, and the next model of the chain answers", async (_, create, reason) => {
    const alone = await start({ plugins: [broken(create)] });
    const report = await alone.prompt({ message: "hi", model: "raw/m" });
    expect(report.result).toMatchObject({
      exitCode: 4,
      error: { code: "PROVIDER_BROKEN", message: expect.stringContaining(`provider raw fails before anything is sent: ${reason}`) },
    });
    expect(told(report)).not.toContain("retry");
    const chain = await start({ plugins: [broken(create)], script: [say("Here.")] });
    expect((await chain.prompt({ message: "hi", model: "raw/m,scripted/model" })).text).toBe("Here.");
  });

  test("and never gives its model ends with the prompt", async () => {
    const agent = await start({ plugins: [broken(() => () => never)], config: { limits: { timeoutSeconds: 0.1 } } });
    expect((await agent.prompt({ message: "hi", model: "raw/m" })).result).toMatchObject({ exitCode: 3, error: { code: "LIMIT_TIME" } });
  });
});

describe("an agent profile", () => {
  const config = { agent: { writer: { prompt: "You write.", temperature: 0.9, tools: { noop: false } }, gone: { disable: true } } };

  test("brings its prompt, its sampling and its tools", async () => {
    const agent = await start({ config, plugins: [plugin({ tools: [noop, make(() => "", "other")] })] });
    await agent.prompt({ message: "go", agent: "writer" });
    expect(agent.requests[0]).toMatchObject({ temperature: 0.9, tools: [{ name: "other" }] });
    expect(agent.requests[0]?.prompt[0]?.content).toMatch(/^You write\./);
  });

  test("that is not there is refused before anything is sent", async () => {
    const agent = await start({ config });
    for (const name of ["nobody", "gone"])
      expect((await agent.prompt({ message: "go", agent: name })).result).toMatchObject({ exitCode: 2, error: { code: "AGENT_NOT_FOUND" } });
    expect(agent.requests).toEqual([]);
  });
});

describe("a runtime that cannot be made", () => {
  test("ends the plugins that were set up", async () => {
    const ended: string[] = [];
    const tidy = (name: string, more: Contribution = {}) => plugin({ ...more, dispose: () => void ended.push(name) }, name);
    await expect(start({ plugins: [tidy("one")], roots: ["/nonexistent-root"] })).rejects.toBeInstanceOf(AgentError);
    await expect(
      start({
        plugins: [
          tidy("two", {
            hooks: {
              config: () => {
                throw new Error("no");
              },
            },
          }),
        ],
      }),
    ).rejects.toMatchObject({ code: "HOOK_FAILED" });
    await expect(start({ plugins: [tidy("three", { tools: [noop] }), tidy("four", { tools: [noop] })] })).rejects.toMatchObject({ code: "PLUGIN_CONFLICT" });
    expect(ended).toEqual(["two", "four", "three"]);
  });
});

describe("a runtime", () => {
  test("names the tools that a model is given", async () => {
    const hidden = tool({ name: "hidden", description: "d", optional: true, input: z.object({}), run: () => "" });
    const forOthers = { ...make(() => "", "special"), offer: ({ model }: { model: string }) => model === "scripted/special" };
    const tools = plugin({ tools: [noop, hidden, forOthers, make(() => "", "other")] });
    expect(await (await start({ plugins: [tools] })).runtime.tools()).toEqual(["noop", "other"]);
    expect(await (await start({ plugins: [tools], config: { model: "scripted/special,scripted/other" } })).runtime.tools()).toEqual([
      "noop",
      "special",
      "other",
    ]);
    expect(await (await start({ plugins: [tools], disableTools: ["other"], config: { tools: { hidden: true } } })).runtime.tools()).toEqual(["noop", "hidden"]);
    const wrong = await start({ plugins: [tools], tools: ["reed"] });
    expect((await wrong.prompt("go")).result).toMatchObject({ exitCode: 2, error: { code: "TOOL_UNAVAILABLE" } });
  });

  test("answers several prompts at the same time, each in its own session", async () => {
    const agent = await start({
      plugins: [plugin({ tools: [noop] })],
      script: ({ prompt }) => (prompt.at(-1)?.role === "tool" ? say(`to ${(prompt[1] as any).content[0].text}`) : call("noop")),
    });
    const reports = await Promise.all(["a", "b", "c", "d"].map((text) => agent.prompt(text)));
    expect(reports.map(({ text }) => text)).toEqual(["to a", "to b", "to c", "to d"]);
    expect(new Set(reports.map(({ result }) => result.sessionId)).size).toBe(4);
  });

  test("that is closed ends what is running, disposes its plugins in reverse, and may be closed again", async () => {
    const disposed: string[] = [];
    const closing = (name: string) => plugin({ dispose: () => void disposed.push(name) }, name);
    const agent = await start({ plugins: [closing("one"), closing("two"), plugin({ tools: [make(() => never)] })], script: [call("it")] });
    const run = agent.runtime.prompt("go");
    for await (const { type } of run) if (type === "tool.start") break;
    await Promise.all([agent.runtime.close(), agent.runtime.close()]);
    await agent.runtime.close();
    expect(await run.result).toMatchObject({ status: "interrupted", exitCode: 130 });
    expect(disposed).toEqual(["two", "one"]);
  });

  test("refuses what is no request as it refuses any other prompt", async () => {
    const { runtime } = await start();
    for (const request of [null, {}, { message: 5 }])
      expect(await runtime.prompt(request as never).result).toMatchObject({ status: "error", exitCode: 2, error: { code: "INPUT_INVALID" } });
  });

  test("needs a workspace that is there", async () => {
    await expect(createRuntime({ cwd: "/not/there", discover: false })).rejects.toMatchObject({
      code: "OPTION_INVALID",
      message: expect.stringContaining("cwd: ENOENT"),
    });
  });

  test("takes many prompts at once, also with one signal for all, and warns of no leak", async () => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on("warning", note);
    ends.push(() => process.off("warning", note));
    const agent = await start({ script: [say("Hi.")] });
    const { signal } = new AbortController();
    const reports = await Promise.all(Array.from({ length: 20 }, () => agent.prompt("go", { signal })));
    await new Promise((resolve) => setImmediate(resolve));
    expect([reports.every(({ text }) => text === "Hi."), warnings]).toEqual([true, []]);
  });

  test("that is closed answers nothing more", async () => {
    const agent = await start();
    await agent.runtime.close();
    expect((await agent.prompt("too late")).result).toMatchObject({ status: "interrupted" });
    expect(agent.requests).toEqual([]);
  });
});
