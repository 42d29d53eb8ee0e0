import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Script } from "../fixtures/server.ts";
import { isBuilt, JSON_OUT, MODEL, makeConfiguredHome, ofType, removeHomes, resultOf, runCommand } from "./command.ts";

afterAll(removeHomes);

const todo = (n: number) => ({ name: "todowrite", args: { todos: [{ content: `step ${n}`, status: "pending", priority: "low" }] } });
/** So many steps that call a tool, then an answer. */
const run = (steps: number, usage: object = {}): Script =>
  Array.from({ length: steps + 1 }, (_, n) => (n < steps ? { tools: [todo(n)], usage } : { text: "done", usage })) as Script;
const rolesOf = (request: any): string =>
  request.body.messages
    .map(({ role }: any) => role[0])
    .join("")
    .replace(/^s/, "");

describe.skipIf(!isBuilt)("the window of a run", () => {
  test("is off: every request holds the whole conversation", async () => {
    const { requests } = await runCommand({ args: [...MODEL, "-p", "go"], script: run(15) });
    expect(requests.at(-1)?.body.messages).toHaveLength(1 + 1 + 2 * 15);
  });

  test.each([
    ["the configuration", { window: { messages: 20 } }, {}],
    ["OPENROUTER_MAX_CONTEXT_MESSAGES", {}, { OPENROUTER_MAX_CONTEXT_MESSAGES: "20" }],
    ["an option of the provider", { provider: { openrouter: { options: { maxContextMessages: 20 } } } }, {}],
    ["the configuration rather than the variable", { window: { messages: 20 } }, { OPENROUTER_MAX_CONTEXT_MESSAGES: "4" }],
  ])("of 20 messages is set by %s; the system prompt and the first prompt stay", async (_name, config, env) => {
    const { requests, stderr, code } = await runCommand({ args: [...MODEL, "-p", "the first prompt"], script: run(30), home: makeConfiguredHome(config), env });
    expect(code).toBe(0);
    const sent = requests.map(rolesOf);
    expect(Math.max(...sent.map((roles) => roles.length))).toBe(19);
    for (const roles of sent) expect(roles).toMatch(/^u(at)*$/);
    for (const { body } of requests)
      expect([body.messages[0].role, JSON.stringify(body.messages[1])]).toEqual(["system", expect.stringContaining("the first prompt")]);
    // Once for each jump, not once for each request.
    const lines = stderr.split("\n").filter((line) => line.includes("The window leaves out messages."));
    expect(lines[0]).toMatch(/"original":21,"kept":9,"dropped":12,"elided":0,"estimatedTokens":\d+,"limit":\{"messages":20\}/);
    expect(lines.length).toBeLessThanOrEqual(5);
  });

  test("refuses a number of messages that is none", async () => {
    const { stderr, code, requests } = await runCommand({ args: [...MODEL, "-p", "x"], env: { OPENROUTER_MAX_CONTEXT_MESSAGES: "many" } });
    expect([code, requests.length]).toEqual([2, 0]);
    expect(stderr).toContain("maxContextMessages");
  });

  test("of tokens keeps every request within it", async () => {
    const home = makeConfiguredHome({ window: { tokens: 4_000 } });
    const { requests } = await runCommand({ args: [...MODEL, "-p", "x".repeat(30_000)], script: run(20, { prompt_tokens: 0 }), home });
    for (const { body } of requests) {
      const { messages, tools } = body;
      // What JSON escapes, in each fence for one, is not counted.
      expect((JSON.stringify(messages).length + JSON.stringify(tools).length) / 4).toBeLessThan(4_900);
    }
    expect(JSON.stringify(requests[0]?.body.messages)).toContain("characters left out …]");
  });

  test("begins in the same place when the session goes on", async () => {
    const home = makeConfiguredHome({ window: { messages: 20 } });
    const first = await runCommand({ args: [...MODEL, "-p", "one"], script: run(9), home });
    const second = await runCommand({ args: [...MODEL, "-c", "-p", "two"], script: run(1), home });
    const third = await runCommand({ args: [...MODEL, "-c", "-p", "three"], script: [{ text: "x" }], home });
    expect(rolesOf(first.requests.at(-1))).toBe(`u${"at".repeat(9)}`);
    const text = ({ requests }: typeof first) => JSON.stringify(requests.at(-1)?.body.messages).slice(0, -1);
    expect(text(third).startsWith(text(second))).toBe(true);
  });
});

describe.skipIf(!isBuilt)("a request that is large", () => {
  const WARNING = "input tokens, more than 50000";
  test.each([
    [50_000, 0],
    [50_001, 1],
  ])("of %i tokens is warned of, once in a run: %i", async (tokens, times) => {
    const { stderr } = await runCommand({ args: [...MODEL, "-p", "x"], script: run(3, { prompt_tokens: tokens }) });
    expect(stderr.split(WARNING).length - 1).toBe(times);
    if (times > 0) expect(stderr).toContain("set window or toolOutput.ratio in the configuration, or start a new session");
  });

  test.each([
    [{ window: { warnTokens: 100 } }, "more than 100,"],
    [{ window: { warnTokens: false } }, undefined],
  ])("is what the configuration says it is: %j", async (config, text) => {
    const { stderr } = await runCommand({ args: [...MODEL, "-p", "x"], script: run(1, { prompt_tokens: 60_000 }), home: makeConfiguredHome(config) });
    expect(stderr.includes("input tokens, more than")).toBe(text !== undefined);
    if (text !== undefined) expect(stderr).toContain(text);
  });
});

test.skipIf(!isBuilt)("what the provider counted stands in the log, and what it did not count is unknown", async () => {
  const verbose = [...MODEL, "--verbose", "-p", "x"];
  const counted = await runCommand({ args: verbose, script: [{ text: "x" }] });
  expect(counted.stderr).toContain(
    'OpenRouter API usage {"model":"openrouter/acme/model-1","inputTokens":100,"cachedTokens":0,"outputTokens":10,"totalTokens":110,"estimatedCostUSD":"0.0015","actualCostUSD":"0.0015","costSource":"provider","messagesInContext":1}',
  );
  const silent = await runCommand({ args: verbose, script: [{ text: "x", usage: null }] });
  expect(silent.stderr).toContain(
    '"inputTokens":"unknown","outputTokens":"unknown","totalTokens":"unknown","estimatedCostUSD":"unknown","costSource":"unknown"',
  );
  const free = await runCommand({
    args: [...JSON_OUT, "--verbose", "-m", "openrouter/a/b:free", "-p", "x"],
    script: [{ text: "x", usage: { cost: undefined } }],
  });
  expect(resultOf(free)).toMatchObject({ cost: 0 });
  expect(ofType(free, "step_finish")[0].part).toMatchObject({ cost: 0 });
  expect(free.stderr).toContain('"estimatedCostUSD":"0.00"');
});

describe.skipIf(!isBuilt)("a long output", () => {
  const command = "for i in $(seq 1 2000); do echo \"working on part $i of the whole\"; done; echo 'Error: part 7 is not there'";
  const script: Script = [{ tools: [{ name: "bash", args: { command, description: "x" } }] }, { text: "done" }];
  const toolText = (run: { requests: any[] }): string => run.requests[1].body.messages.at(-1).content;

  test("goes to the model as it is, unless the configuration wants it shortened", async () => {
    const whole = toolText(await runCommand({ args: [...MODEL, "-p", "x"], script }));
    expect(whole).toContain("working on part 100 of the whole\n");
    const run = await runCommand({ args: [...MODEL, "-p", "x"], script, home: makeConfiguredHome({ toolOutput: { ratio: 4 } }) });
    const short = toolText(run);
    expect(short.length).toBeLessThan(whole.length / 4);
    expect(short).toContain("Error: part 7 is not there");
    const path = /The whole is in (\S+): use grep/.exec(short)?.[1] as string;
    expect(readFileSync(path, "utf8")).toContain("working on part 100 of the whole");
  });

  test("of a file that is read stays word by word", async () => {
    const home = makeConfiguredHome({ toolOutput: { ratio: 4 } });
    const text = Array.from({ length: 900 }, (_, i) => `the same line with the number ${i}`).join("\n");
    writeFileSync(join(home, "work/a.txt"), text);
    const run = await runCommand({ args: [...MODEL, "-p", "x"], script: [{ tools: [{ name: "read", args: { filePath: "a.txt" } }] }, { text: "done" }], home });
    expect(toolText(run)).toContain("the same line with the number 450");
    expect(toolText(run)).not.toContain("(Shortened:");
  });
});
