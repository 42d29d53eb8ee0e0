import { afterAll, describe, expect, test } from "vitest";
import type { Reply } from "../fixtures/server.ts";
import { errorOf, isBuilt, JSON_OUT, MODEL, makeConfiguredHome, makeHomeWith, ofType, removeHomes, resultOf, runCommand } from "./command.ts";

afterAll(removeHomes);

const PRICE = { input: 3, output: 15, cache_read: 0.3, cache_write: 3.75 };
/** A home in which the model has these prices. */
const pricedHome = (cost: object) => makeConfiguredHome({ provider: { openrouter: { models: { "acme/model-1": { cost } } } } });
/** The provider counts tokens and says nothing of their cost. */
const silent = { cost: undefined, prompt_tokens: 100_000, completion_tokens: 10_000, prompt_tokens_details: { cached_tokens: 60_000 } };
const calling = (n: number, usage: Record<string, unknown>): Reply => ({ tools: [{ name: "glob", args: { pattern: `*${n}` } }], usage });
const ask = (args: string[], usage: Record<string, unknown>, home?: string) =>
  runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go", ...args], script: (_, n) => calling(n, usage), ...(home && { home }) });

describe.skipIf(!isBuilt).concurrent("what a step costs", () => {
  test("comes from the prices of the configuration where the provider does not say it", async () => {
    const run = await runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go"], script: [{ text: "x", usage: silent }], home: pricedHome(PRICE) });
    const cost = (40_000 * 3 + 60_000 * 0.3 + 10_000 * 15) / 1e6;
    expect(ofType(run, "step_finish")[0].part).toMatchObject({ cost, costSource: "catalogue" });
    expect(resultOf(run)).toMatchObject({ cost, costSource: "catalogue" });
  });

  test("is what the provider says, whatever the prices are", async () => {
    const run = await runCommand({
      args: [...JSON_OUT, ...MODEL, "-p", "go"],
      script: [{ text: "x", usage: { ...silent, cost: 0.5 } }],
      home: pricedHome(PRICE),
    });
    expect(resultOf(run)).toMatchObject({ cost: 0.5, costSource: "provider" });
  });

  test("is of the weaker source where two steps differ", async () => {
    const script = [calling(0, { cost: 0.5 }), { text: "x", usage: silent }];
    const run = await runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go"], script, home: pricedHome({ input: 1, output: 1 }) });
    expect(resultOf(run)).toMatchObject({ cost: 0.61, costSource: "catalogue" });
  });

  test("is 0 for a model whose prices are 0, and unknown where half of a price is given", async () => {
    const [free, half] = await Promise.all(
      [{ input: 0, output: 0 }, { input: 3 }].map((cost) =>
        runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go"], script: [{ text: "x", usage: silent }], home: pricedHome(cost) }),
      ),
    );
    expect(resultOf(free!)).toMatchObject({ cost: 0, costSource: "catalogue" });
    expect(resultOf(half!)).toMatchObject({ cost: null, costSource: "unknown" });
  });

  test("is not what the configuration of an untrusted workspace says", async () => {
    const config = { provider: { openrouter: { models: { "acme/model-1": { cost: { input: 0, output: 0 } } } } } };
    const run = await ask(["--max-cost", "1"], silent, makeHomeWith({ "work/agent.json": config }));
    expect([run.code, errorOf(run).code, run.requests.length]).toEqual([3, "COST_UNKNOWN", 1]);
  });
});

describe.skipIf(!isBuilt).concurrent("a budget", () => {
  // A step costs 0.288 USD.
  test.each([
    ["0.2", 1],
    ["0.3", 1],
    ["0.6", 2],
    ["1", 3],
  ])("of %s USD is kept with the prices of the configuration: %i requests", async (limit, requests) => {
    const run = await ask(["--max-cost", limit], silent, pricedHome(PRICE));
    expect([run.code, errorOf(run).code, resultOf(run).status, run.requests.length]).toEqual([3, "LIMIT_COST", "limit", requests]);
    // At most the last request is over it.
    expect(resultOf(run).cost - 0.288).toBeLessThan(Number(limit));
  });

  test.each([
    ["--max-cost", "0", 1],
    ["--max-tokens-total", "1", 1],
    ["--max-tokens-total", "110", 1],
    ["--max-tokens-total", "111", 2],
    ["--max-steps", "1", 1],
    ["--max-steps", "3", 3],
  ])("of %s %s is overshot by one request at most", async (option, value, requests) => {
    const run = await ask([option, value], {});
    expect([run.code, resultOf(run).status, run.requests.length]).toEqual([3, "limit", requests]);
  });

  test("counts what tasks use: a child stops, and so does the run that started it", async () => {
    const task = { name: "task", args: { description: "x", prompt: "child" } };
    const script = ({ body }: { body: any }, n: number): Reply =>
      JSON.stringify(body.messages).includes('"child"') && !JSON.stringify(body.messages).includes('"go"')
        ? calling(n, { cost: 0.4 })
        : { tools: [task], usage: { cost: 0.4 } };
    const run = await runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go", "--max-cost", "1"], script });
    expect([run.code, errorOf(run).code]).toEqual([3, "LIMIT_COST"]);
    expect(run.requests.length).toBeLessThanOrEqual(3);
  });

  test("holds where tasks run side by side: not each of them asks once more", async () => {
    const task = (n: number) => ({ name: "task", args: { description: "x", prompt: `child ${n}` } });
    const script = ({ body }: { body: any }, n: number): Reply =>
      JSON.stringify(body.messages).includes('"go"') ? { tools: [0, 1, 2, 3].map(task), usage: { cost: 0.4 } } : { ...calling(n, { cost: 0.4 }), delayMs: 300 };
    const run = await runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go", "--max-cost", "1"], script });
    expect([run.code, errorOf(run).code]).toEqual([3, "LIMIT_COST"]);
    expect(run.requests.length).toBe(2);
  });

  test.each([
    ["--max-cost", "1", { cost: 0.9 }, { cost: 0.1 }, "LIMIT_COST"],
    [
      "--max-tokens-total",
      "1000",
      { prompt_tokens: 900, completion_tokens: 0, total_tokens: 900 },
      { prompt_tokens: 100, completion_tokens: 0, total_tokens: 100 },
      "LIMIT_TOKENS",
    ],
  ])("of %s is passed by one request at most, also by tasks that cost far more than all before them", async (option, limit, dear, cheap, code) => {
    const task = (n: number) => ({ name: "task", args: { description: "x", prompt: `child ${n}` } });
    const script = ({ body }: { body: any }, n: number): Reply =>
      JSON.stringify(body.messages).includes('"go"') ? { tools: [0, 1, 2, 3].map(task), usage: cheap } : { ...calling(n, dear), delayMs: 100 };
    const run = await runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go", option, limit], script });
    expect([run.code, errorOf(run).code]).toEqual([3, code]);
    expect(run.requests.length).toBe(2);
  });

  test("of time ends a wait for a provider that asks for patience, and a stream that never ends", async () => {
    const patience: Reply = { status: 429, headers: { "retry-after": "60" }, body: { error: { message: "slow", code: 429 } } };
    const endless: Reply = { raw: [": OPENROUTER PROCESSING\n\n", "HANG"] };
    for (const reply of [patience, endless]) {
      const run = await runCommand({ args: [...JSON_OUT, ...MODEL, "-p", "go", "--timeout", "1"], script: () => reply });
      expect([run.code, errorOf(run).code]).toEqual([3, "LIMIT_TIME"]);
      expect(run.ms).toBeLessThan(30_000);
    }
  });
});

describe.skipIf(!isBuilt)("requestsPerMinute", () => {
  const home = (requestsPerMinute: number | false) => makeConfiguredHome({ provider: { openrouter: { options: { requestsPerMinute } } } });
  const script = [{ tools: [{ name: "bash", args: { command: "echo 1" } }] }, { tools: [{ name: "bash", args: { command: "echo 2" } }] }, { text: "done" }];

  test("holds requests back, says so, and is no way around the time limit", async () => {
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "--timeout", "2", "-p", "go"], script, home: home(2) });
    expect([run.code, errorOf(run).code, run.requests.length]).toEqual([3, "LIMIT_TIME", 2]);
    expect(run.stderr).toMatch(/Waiting \d+ s: openrouter gets no more than 2 requests a minute/);
  });

  test("does nothing while there are fewer, or where it is off", async () => {
    for (const limit of [3, false] as const) {
      const run = await runCommand({ args: [...MODEL, "-p", "go"], script, home: home(limit) });
      expect([run.code, run.requests.length, run.stderr.includes("Waiting")]).toEqual([0, 3, false]);
    }
  });
});
