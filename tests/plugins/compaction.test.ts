import { tool, z } from "agent-runtime";
import { builtins } from "agent-runtime/plugins";
import { type BootOptions, boot, type PromptReport } from "agent-runtime/testing";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { withoutFence } from "../../core/fence.ts";
import { budgetOf } from "../../plugins/compaction/budget.ts";
import { isBuilt, JSON_OUT, makeConfiguredHome, ofType, removeHomes, resultOf, runCommand, until } from "../cli/command.ts";
import { turn } from "../cli/tool-runs.ts";
import { type Reply, type SeenRequest, startServer } from "../fixtures/server.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(removeHomes);

const tokensOf = ({ text }: SeenRequest) => Math.ceil(text.length / 4);
const rolesOf = ({ body }: SeenRequest) => body.messages.map(({ role }: any) => role[0]).join("");
const textOf = ({ content }: any): string => (typeof content === "string" ? content : (content ?? []).map((part: any) => part.text).join(""));
const isSummary = ({ body }: SeenRequest) => textOf(body.messages[0]).startsWith("You summarise");
const tooLong: Reply = { status: 400, body: { error: { code: "context_length_exceeded", message: "This is too much." } } };

interface World {
  /** Tokens above which the server refuses. */
  refusesAbove?: number;
  refusal?: Reply;
  summary?: Reply | ((request: SeenRequest) => Reply);
}

/** A server with a context window of its own, which counts every request; `reply` answers the steps of the run. */
async function startModel(reply: (request: SeenRequest, step: number) => Reply, world: World = {}) {
  const { refusal = tooLong, summary = { text: "What was done: a lot." } } = world;
  let step = 0;
  const server = await startServer((request) => {
    const isRefused = tokensOf(request) > (world.refusesAbove ?? Number.POSITIVE_INFINITY);
    if (isRefused) return refusal;
    const answer = isSummary(request) ? (typeof summary === "function" ? summary(request) : summary) : reply(request, step++);
    return { usage: { prompt_tokens: tokensOf(request), cost: 0.01 }, ...answer };
  });
  ends.push(() => server.close());
  const steps = () => server.requests.filter((request) => !isSummary(request));
  const summaries = () => server.requests.filter(isSummary);
  return { server, steps, summaries };
}

const report = tool({
  name: "report",
  description: "Gives a long text.",
  effect: "read",
  input: z.object({ n: z.number(), times: z.number().default(600) }),
  run: ({ n, times }) => `report ${n} ${`fact ${n} `.repeat(times)}`,
});

interface Setting extends Omit<BootOptions, "plugins"> {
  url: string;
  /** The window as the configuration gives it. */
  window?: number;
  options?: Record<string, unknown>;
}

async function start({ url, window, options, config, ...more }: Setting) {
  const models: Record<string, object> = window === undefined ? {} : { m: { limit: { context: window } } };
  const agent = await boot({
    ...more,
    tools: ["report"],
    config: { model: "local/m", ...config, provider: { local: { options: { baseURL: url, apiKey: false }, models }, ...config?.provider } },
    plugins: [
      ...builtins,
      { name: "report", setup: () => ({ tools: [report] }) },
      ...(options === undefined ? [] : [["compaction", options] as [string, Record<string, unknown>]]),
    ],
  });
  ends.push(() => agent.close());
  return agent;
}

const callsThen =
  (steps: number, times = 600) =>
  (_: SeenRequest, step: number): Reply =>
    step < steps ? turn(["report", { n: step, times }]) : { text: "Done." };

const compactionsOf = ({ events }: PromptReport): any[] => events.filter(({ type }) => type === "compaction");

/** Every call has its result right after it, and every result its call: what providers demand. */
function expectSound({ body }: SeenRequest): void {
  const open = new Set<string>();
  for (const message of body.messages) {
    if (message.role !== "tool") expect([...open]).toEqual([]);
    for (const { id } of message.tool_calls ?? []) open.add(id);
    if (message.role === "tool") expect(open.delete(message.tool_call_id)).toBe(true);
  }
  expect([...open]).toEqual([]);
  expect(body.messages.find(({ role }: any) => role !== "system").role).toBe("user");
}

describe("a context that is nearly full", () => {
  test("is compacted before the window is passed: first prompt, system prompt, settings and newest messages stay", async () => {
    const { server, steps, summaries } = await startModel(callsThen(24), { refusesAbove: 16_000 });
    const agent = await start({ url: server.url, window: 16_000, config: { temperature: 0.3 } });
    const answer = await agent.prompt("Read all reports.");
    expect(answer.result).toMatchObject({ status: "success", text: "Done.", steps: 25, exitCode: 0 });
    expect(compactionsOf(answer).length).toBeGreaterThan(1);
    expect(new Set(compactionsOf(answer).map(({ reason }) => reason))).toEqual(new Set(["nearly-full"]));
    expect(summaries().length).toBeGreaterThan(0);
    for (const request of steps()) {
      expectSound(request);
      expect(tokensOf(request)).toBeLessThan(16_000);
      expect(request.body.temperature).toBe(0.3);
      expect(request.body.messages[0]).toEqual(steps()[0]?.body.messages[0]);
      expect(textOf(request.body.messages[1])).toBe("Read all reports.");
    }
    const last = steps().at(-1) as SeenRequest;
    expect(textOf(last.body.messages.at(-1))).toContain("report 23 ");
    expect(last.text).toContain("What was done: a lot.");
  });

  test("is first relieved of old tool outputs, which asks no model", async () => {
    const { server, steps, summaries } = await startModel(callsThen(7, 1200));
    const agent = await start({ url: server.url, window: 16_000 });
    const answer = await agent.prompt("Read.");
    expect([compactionsOf(answer).length, summaries().length]).toEqual([1, 0]);
    const [{ before, after, tokensBefore, tokensAfter, model }] = compactionsOf(answer);
    expect([before, model]).toEqual([after, undefined]);
    expect(tokensAfter).toBeLessThan(tokensBefore);
    const outputs = steps()
      .at(-1)
      ?.body.messages.filter(({ role }: any) => role === "tool")
      .map(textOf);
    expect(outputs[0]).toContain("characters left out)");
    expect(withoutFence(outputs.at(-1))).toBe(`report 6 ${"fact 6 ".repeat(1200)}`);
  });

  test("is summarised by the model of the option, of the profile compaction, or small_model; its use counts for the run", async () => {
    const cases: Partial<Setting>[] = [
      { options: { model: "local/small" } },
      { config: { agent: { compaction: { model: "local/small" } } } },
      { config: { small_model: "local/small" } },
    ];
    for (const { config, ...more } of cases) {
      const { server, summaries } = await startModel(callsThen(12));
      const agent = await start({ url: server.url, window: 16_000, ...more, config: { ...config, compaction: { prune: false } } });
      const { result, events } = await agent.prompt("Read.");
      expect(summaries().map(({ body }) => body.model)).toEqual(["small"]);
      expect(summaries()[0]?.body).not.toHaveProperty("tools");
      const [event] = events.filter(({ type }) => type === "compaction");
      expect(event).toMatchObject({ model: "local/small", costUsd: 0.01, tokens: { output: 10 } });
      expect(result).toMatchObject({ model: "local/m", steps: 13 });
      expect(result.costUsd).toBeCloseTo(0.14);
      expect(result.tokens.output).toBe(140);
      expect(await agent.runtime.sessions.list()).toMatchObject([{ steps: 13, tokens: { output: 140 } }]);
    }
  });

  test("keeps the prompt that is being answered, also when it is old already", async () => {
    const { server, steps } = await startModel((request, step) => (step === 0 ? { text: "Hello." } : callsThen(14)(request, step)));
    const agent = await start({ url: server.url, window: 16_000, config: { compaction: { prune: false } } });
    const { result } = await agent.prompt("First wish.");
    await agent.prompt({ message: "Second wish.", session: result.sessionId });
    const last = steps().at(-1) as SeenRequest;
    expect(rolesOf(last)).toMatch(/^suau(at)+$/);
    expect(last.body.messages.slice(1, 4).map(textOf)).toEqual(["First wish.", expect.stringContaining("a lot"), "Second wish."]);
  });

  test("is compacted where the provider does not count its tokens, and where the model for summaries is not there", async () => {
    const { server, summaries } = await startModel((request, step) => ({ ...callsThen(12)(request, step), usage: null }));
    const agent = await start({ url: server.url, window: 16_000, config: { small_model: "nowhere/model", compaction: { prune: false } } });
    const answer = await agent.prompt("Read.");
    expect(answer.result).toMatchObject({ status: "success", steps: 13 });
    expect(compactionsOf(answer)).toMatchObject([{ reason: "nearly-full", model: "local/m" }]);
    expect(summaries()).toHaveLength(1);
  });

  test("is shown to a smaller model for summaries only as far as its window goes", async () => {
    const { server, summaries } = await startModel(callsThen(12));
    const models = { m: { limit: { context: 16_000 } }, small: { limit: { context: 4_000 } } };
    const config = { provider: { local: { options: { baseURL: server.url, apiKey: false as const }, models } }, compaction: { prune: false } };
    await (await start({ url: server.url, options: { model: "local/small" }, config })).prompt("Read.");
    expect(summaries().map(({ body }) => body.model)).toEqual(["small"]);
    expect(tokensOf(summaries()[0] as SeenRequest)).toBeLessThan(3_000);
  });

  test("keeps the prompt though a message about its answer came after it", async () => {
    const { server, steps } = await startModel((request, step) =>
      step === 0
        ? { text: "Hello." }
        : step === 1
          ? { text: `no JSON ${"x".repeat(40_000)}`, usage: { prompt_tokens: 2_000, completion_tokens: 10_000 } }
          : callsThen(9)(request, step),
    );
    const agent = await start({ url: server.url, window: 16_000, config: { compaction: { prune: false, preserve_recent_tokens: 500 } } });
    const { result } = await agent.prompt("First wish.");
    await agent.prompt({ message: "Second wish.", session: result.sessionId, outputSchema: { type: "object" } });
    for (const request of steps().slice(1)) {
      expectSound(request);
      expect(request.body.messages.map(textOf)).toContain("Second wish.");
    }
    expect(steps()[2]?.text).not.toContain("xxx");
  });

  test("is left alone where the window is unknown, and where the configuration says so", async () => {
    const unknown = await startModel(callsThen(12));
    expect(compactionsOf(await (await start({ url: unknown.server.url })).prompt("Read."))).toEqual([]);
    const off = await startModel(callsThen(12));
    expect(compactionsOf(await (await start({ url: off.server.url, window: 9_000, config: { compaction: { auto: false } } })).prompt("Read."))).toEqual([]);
    const given = await startModel(callsThen(12));
    expect(compactionsOf(await (await start({ url: given.server.url, options: { contextTokens: 16_000 } })).prompt("Read."))).toHaveLength(1);
    const reserved = await startModel(callsThen(12));
    expect(compactionsOf(await (await start({ url: reserved.server.url, window: 16_000, config: { compaction: { reserved: 100 } } })).prompt("Read."))).toEqual(
      [],
    );
  });

  test("is not compacted for ever where that gains nothing", async () => {
    const { server, summaries } = await startModel((_, step) => (step < 8 ? turn(["report", { n: step }]) : { text: "Done." }));
    const agent = await start({ url: server.url, window: 3_000 });
    const answer = await agent.prompt("wish ".repeat(4_000));
    expect(answer.result).toMatchObject({ status: "success", steps: 9 });
    expect(summaries().length + compactionsOf(answer).length).toBeLessThanOrEqual(6);
  });
});

describe("a conversation that does not fit", () => {
  test.each<[string, Reply]>([
    ["400 with context_length_exceeded", tooLong],
    ["413", { status: 413 }],
  ])("(%s) is compacted and asked again, though nobody knows the window", async (_, refusal) => {
    const { server, steps, summaries } = await startModel(callsThen(12), { refusesAbove: 9_000, refusal });
    const agent = await start({ url: server.url, config: { compaction: { prune: false } } });
    const answer = await agent.prompt("Read all reports.");
    expect(answer.result).toMatchObject({ status: "success", text: "Done.", steps: 13 });
    expect(compactionsOf(answer)[0]).toMatchObject({ reason: "overflow", model: "local/m" });
    expect(summaries().length).toBeLessThanOrEqual(3);
    for (const request of steps()) expectSound(request);
    expect(answer.toolOutputs).toHaveLength(12);
  });

  test("is compacted by what is sent of it where a window leaves out the rest", async () => {
    const world: World = {};
    const { server, steps } = await startModel((_, step) => (step < 40 ? turn(["report", { n: step, times: 1_200 }]) : { text: "Done." }), world);
    const agent = await start({ url: server.url, config: { window: { tokens: 18_000 } } });
    const first = await agent.prompt("Read all reports.");
    expect(first.result).toMatchObject({ status: "success", steps: 41 });
    world.refusesAbove = 4_500;
    const answer = await agent.prompt({ message: "And now?", session: first.result.sessionId });
    expect(answer.result).toMatchObject({ status: "success", text: "Done." });
    expect(compactionsOf(answer)).toHaveLength(1);
    expectSound(steps().at(-1) as SeenRequest);
  });

  test("loses its oldest messages, with a note, where no model gives a summary", async () => {
    for (const summary of [{ status: 400, body: { error: { message: "no" } } }, tooLong, { text: "" }] as Reply[]) {
      const { server, steps } = await startModel(callsThen(9), { refusesAbove: 9_000, summary });
      const agent = await start({ url: server.url, config: { small_model: "local/small", compaction: { prune: false }, retry: { maxRetries: 0 } } });
      const answer = await agent.prompt("Read all reports.");
      expect(answer.result).toMatchObject({ status: "success", text: "Done." });
      const last = steps().at(-1) as SeenRequest;
      expectSound(last);
      expect(last.text).toMatch(/\d+ earlier messages were left out to save context; there is no summary of them/);
      expect(compactionsOf(answer)[0]).not.toHaveProperty("costUsd");
    }
  });

  test("because of the last outputs alone has these shortened in the middle", async () => {
    const { server, steps } = await startModel(
      (_, step) => (step === 0 ? turn(...Array.from({ length: 10 }, (_, n) => ["report", { n }] as [string, object])) : { text: "Done." }),
      { refusesAbove: 9_000 },
    );
    const answer = await (await start({ url: server.url })).prompt("Read all at once.");
    expect(answer.result).toMatchObject({ status: "success", text: "Done." });
    expectSound(steps().at(-1) as SeenRequest);
    expect(steps().at(-1)?.text).toMatch(/report 9 .*characters left out.*fact 9/);
  });

  test("whatever is done ends as CONTEXT_OVERFLOW, exit 1, after one more try", async () => {
    const { server } = await startModel(() => ({ text: "never" }), { refusesAbove: 0 });
    const answer = await (await start({ url: server.url })).prompt("Hello.");
    expect(answer.result).toMatchObject({ status: "error", exitCode: 1, error: { code: "CONTEXT_OVERFLOW" } });
    expect(server.requests).toHaveLength(1);
    const full = await startModel(callsThen(99), { refusesAbove: 5_500, summary: { text: "long ".repeat(4_000) } });
    const stuck = await (await start({ url: full.server.url, files: { "AGENTS.md": "rule ".repeat(3_500) } })).prompt("Go.");
    expect(stuck.result).toMatchObject({ status: "error", exitCode: 1, error: { code: "CONTEXT_OVERFLOW" } });
    expect(full.server.requests.length).toBeLessThan(12);
  });
});

describe("limits", () => {
  test("count what a summary cost: the next request is not sent", async () => {
    const { server, steps, summaries } = await startModel(callsThen(20), { summary: { text: "Dear.", usage: { prompt_tokens: 10, cost: 5 } } });
    const agent = await start({ url: server.url, window: 16_000, config: { compaction: { prune: false } }, limits: { costUsd: 1 } });
    const { result } = await agent.prompt("Read.");
    expect(result).toMatchObject({ exitCode: 3, error: { code: "LIMIT_COST" } });
    expect([summaries().length, result.steps]).toEqual([1, steps().length]);
  });

  test("let a run be interrupted while a summary is written", async () => {
    const stop = new AbortController();
    const { server } = await startModel(callsThen(20), {
      summary: () => {
        setTimeout(() => stop.abort(), 20);
        return { raw: ["HANG"] };
      },
    });
    const agent = await start({ url: server.url, window: 16_000, config: { compaction: { prune: false } } });
    const { result, events } = await agent.prompt("Read.", { signal: stop.signal });
    expect(result).toMatchObject({ status: "interrupted", exitCode: 130 });
    expect(events.filter(({ type }) => type === "compaction")).toEqual([]);
  });
});

describe.skipIf(!isBuilt)("the command", () => {
  const home = (config: object = {}) =>
    makeConfiguredHome({
      provider: { openrouter: { models: { "acme/model-1": { limit: { context: 16_000 } } } } },
      small_model: "openrouter/acme/small",
      ...config,
    });
  const numbers = (n: number) => turn(["bash", { command: `seq ${10 + n}000 ${10 + n}999` }]);

  test("tells of a compaction, goes on from it with --continue, and keeps on disk what it took out", async () => {
    const place = home({ compaction: { prune: false } });
    const script = (limit: number) => {
      let step = 0;
      return (request: SeenRequest): Reply => ({
        usage: { prompt_tokens: tokensOf(request), cost: 0.01 },
        ...(isSummary(request) ? { text: "Numbers were listed." } : step++ < limit ? numbers(step) : { text: "Listed." }),
      });
    };
    const args = ["--model", "openrouter/acme/model-1", ...JSON_OUT, "--tools", "bash"];
    const first = await runCommand({ home: place, args: [...args, "--verbose", "-p", "List."], script: script(12) });
    expect(first.stderr).toMatch(
      /OpenRouter API usage \{"model":"openrouter\/acme\/small",.*"estimatedCostUSD":"0.01","actualCostUSD":"0.01","costSource":"provider","messagesInContext":1\}/,
    );
    expect([first.code, resultOf(first).text]).toEqual([0, "Listed."]);
    const [event] = ofType(first, "compaction");
    expect(event).toMatchObject({ reason: "nearly-full", model: "openrouter/acme/small", cost: 0.01 });
    expect(event.after).toBeLessThan(event.before);
    expect(event.tokensAfter).toBeLessThan(event.tokensBefore);

    const second = await runCommand({ home: place, args: [...args, "--continue", "-p", "And now?"], script: script(0) });
    const [request] = second.requests as [SeenRequest];
    expectSound(request);
    expect(request.text).toContain("Numbers were listed.");
    expect(request.text).not.toContain("11500");
    const exported = await runCommand({ home: place, args: ["session", "export", event.sessionID] });
    expect(exported.stdout).toContain("11500");
    expect(exported.stdout).toContain("Numbers were listed.");
  });

  test("falls over within a compaction: in the chain of the run, and in that of the option", async () => {
    const down: Reply = { status: 503, body: { error: { message: "down" } } };
    const chains: [string, object, string[]][] = [
      ["openrouter/acme/model-1,openrouter/acme/b", {}, ["acme/model-1", "acme/b"]],
      ["openrouter/acme/model-1", { plugin: [["compaction", { model: ["openrouter/acme/x", "openrouter/acme/y"] }]] }, ["acme/x", "acme/y"]],
    ];
    for (const [model, config, [broken, other]] of chains) {
      let step = 0;
      const place = home({ small_model: undefined, compaction: { prune: false }, retry: { maxRetries: 0 }, ...config });
      const run = await runCommand({
        home: place,
        args: ["--model", model, ...JSON_OUT, "--tools", "bash", "-p", "List."],
        script: (request) => {
          if (isSummary(request) && request.body.model === broken) return down;
          const reply = isSummary(request) ? { text: "Numbers were listed." } : step++ < 8 ? numbers(step) : { text: "Listed." };
          return { usage: { prompt_tokens: tokensOf(request), cost: 0.01 }, ...reply };
        },
      });
      expect([run.code, resultOf(run).text, resultOf(run).steps]).toEqual([0, "Listed.", 9]);
      expect(ofType(run, "fallback").map(({ from, to }) => [from, to])).toEqual([[`openrouter/${broken}`, `openrouter/${other}`]]);
      expect(ofType(run, "compaction").map(({ model }) => model)).toEqual([`openrouter/${other}`]);
      expect(run.requests.filter(isSummary).map(({ body }) => body.model)).toEqual([broken, other]);
    }
  });

  test("replays a run with a compaction, request by request, and sends nothing", async () => {
    const place = home({ small_model: undefined, compaction: { prune: false } });
    const args = ["--model", "openrouter/acme/model-1", ...JSON_OUT, "--tools", "bash", "-p", "List."];
    let step = 0;
    const script = (request: SeenRequest): Reply => ({
      usage: { prompt_tokens: tokensOf(request), cost: 0.01 },
      ...(isSummary(request) ? { text: "Numbers were listed." } : step++ < 8 ? numbers(step) : { text: "Listed." }),
    });
    const first = await runCommand({ home: place, args: [...args, "--record", "traffic"], script });
    const second = await runCommand({ home: place, args: [...args, "--replay", "traffic"], script: [] });
    expect([first.code, second.code, second.requests.length]).toEqual([0, 0, 0]);
    expect(ofType(first, "compaction")).toHaveLength(1);
    expect(resultOf(second)).toMatchObject({ text: "Listed.", steps: 9, tokens: resultOf(first).tokens });
    expect(ofType(second, "compaction").map(({ before, after }) => [before, after])).toEqual(
      ofType(first, "compaction").map(({ before, after }) => [before, after]),
    );
  });

  test("ends with 130 when it is interrupted while a summary is written, and goes on later", async () => {
    const place = home({ compaction: { prune: false } });
    let step = 0;
    const args = ["--model", "openrouter/acme/model-1", ...JSON_OUT, "--tools", "bash"];
    const first = await runCommand({
      home: place,
      args: [...args, "-p", "List."],
      script: (request) => (isSummary(request) ? { raw: ["HANG"] } : { ...numbers(++step), usage: { prompt_tokens: tokensOf(request) } }),
      onSpawn: (child, server) => void until(() => server.requests.some(isSummary)).then(() => child.kill("SIGINT")),
    });
    expect([first.code, resultOf(first).status]).toEqual([130, "interrupted"]);
    const second = await runCommand({ home: place, args: [...args, "--continue", "-p", "And now?"], script: [{ text: "Here." }] });
    expect([second.code, resultOf(second).text]).toEqual([0, "Here."]);
    expectSound(second.requests.at(-1) as SeenRequest);
  });

  test("ends with exit 1 and the code where nothing can be made shorter", async () => {
    const run = await runCommand({ home: home(), args: ["--model", "openrouter/acme/model-1", "-p", "Hello."], script: [tooLong] });
    expect([run.code, run.requests.length]).toEqual([1, 1]);
    expect(run.stderr).toContain("CONTEXT_OVERFLOW");
  });
});

describe("a context of 200,000 tokens", () => {
  test.each([
    ["a reserve of 2,000", { context: 200_000 }, { reserved: 2_000 }, 198_000],
    ["the least reserve that serves", { context: 200_000 }, {}, 180_000],
    ["the model's longest answer", { context: 200_000, output: 4_096 }, {}, 195_904],
    ["a reserve that would leave nothing", { context: 200_000 }, { reserved: 500_000 }, 100_000],
    ["a limit of the input alone", { context: 200_000, input: 150_000 }, { reserved: 2_000 }, 148_000],
  ])("is nearly full by %s", (_, limit, compaction, full) => {
    const config = { provider: { openrouter: { models: { "acme/model": { limit } } } }, compaction };
    expect(budgetOf("openrouter/acme/model:free", config)).toEqual({ full });
    expect(budgetOf("openrouter/acme/other", config)).toBeUndefined();
  });
});
