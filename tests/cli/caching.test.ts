import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Reply, SeenRequest } from "../fixtures/server.ts";
import { type CommandResult, isBuilt, JSON_OUT, makeHomeWith, ofType, removeHomes, resultOf, runCommand } from "./command.ts";

afterAll(removeHomes);

const IMPORT = 'import { definePlugin, tool, z } from "agent-runtime";\n';
const plugin = (name: string, contribution: string) => `${IMPORT}export default definePlugin({ name: "${name}", setup: () => (${contribution}) });`;
const toolText = (name: string) => `tool({ name: "${name}", description: "Says ${name}.", input: z.object({}), run: () => "${name}" })`;

/** Two plugins with tools, and hooks that are asked and change nothing. */
const PLUGINS = {
  "work/idle.ts": plugin(
    "idle",
    `{ tools: [${toolText("zeta")}, ${toolText("alpha")}], hooks: { system() {}, tools() {}, request: (all) => ({ ...all }), messages: (all) => [...all] } }`,
  ),
  "work/more.ts": plugin("more", `{ tools: [${toolText("beta")}] }`),
};
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==", "base64");

/** A long run: single and parallel calls, broken ones, long and empty results, files that come back. */
const STEPS: Reply[] = [
  { text: "Let me look.", tools: [{ name: "read", args: { filePath: "a.txt" } }] },
  { tools: [{ name: "glob", args: { pattern: "*" } }, { name: "zeta" }, { name: "read", args: { filePath: "none.txt" } }] },
  { reasoning: "hm", tools: [{ name: "bash", args: { command: "true" } }] },
  { tools: [{ name: "read", args: { filePath: "pixel.png" } }] },
  { tools: [{ name: "nosuch", args: "{broken" }, { name: "beta" }] },
  { tools: [{ name: "todowrite", args: { todos: [{ content: "x", status: "pending", priority: "low", 10: "ten", 2: "two" }] } }] },
  { tools: [{ name: "write", args: { content: "é\u2028😀", filePath: "b.txt" } }] },
  { text: "so", tools: [{ name: "alpha" }] },
  { tools: [{ name: "bash", args: { command: "seq 3000" } }] },
  { text: "Done." },
];

interface Session {
  model: string;
  config?: object;
  env?: Record<string, string>;
  /** Number of the request that is refused, so that the next model takes over. */
  refused?: number;
}

/** Three processes, one session: a prompt with an image, one that goes on, and two prompts of one stdin. */
async function runSession({ model, config = {}, env = {}, refused = -1 }: Session): Promise<{ runs: CommandResult[]; requests: SeenRequest[] }> {
  const home = makeHomeWith({ ...PLUGINS, "work/a.txt": "one\ntwo\n", ".config/agent/agent.json": config });
  writeFileSync(join(home, "work/pixel.png"), PNG);
  const base = ["--plugin", "./idle.ts", "--plugin", "./more.ts", "--trust", "--permission-mode", "yolo", ...JSON_OUT, "--model", model];
  const runs: CommandResult[] = [];
  let step = 0;
  const script = ({ body, text }: SeenRequest, n: number): Reply => {
    const isRefused = runs.length === 0 && n === refused;
    if (isRefused) return { status: 404 };
    const usage = { prompt_tokens: Math.ceil(text.length / 4) };
    // A summary for a compaction is asked for without tools.
    return body.tools === undefined ? { text: "It was done.", usage } : { ...(STEPS[step++ % STEPS.length] as Reply), usage };
  };
  const run = async (args: string[], stdin: string | null = null) => void runs.push(await runCommand({ args: [...base, ...args], stdin, script, env, home }));
  await run(["-f", "pixel.png", "-p", "first"]);
  await run(["--continue", "-p", "second"]);
  await run(["--continue", "--input-format", "json"], '{"message":"third"}\n{"message":"fourth"}\n');
  return { runs, requests: runs.flatMap(({ requests }) => requests) };
}

const withoutMarks = (text: string): string => text.replaceAll(',"cache_control":{"type":"ephemeral"}', "");
const marksOf = (text: string): number => text.split('"cache_control":').length - 1;

/** The bytes of a request's messages, one text each, as they stand in its body. */
function messagesOf({ body, text }: SeenRequest): string[] {
  const messages = body.messages.map((message: object) => JSON.stringify(message));
  expect(text).toContain(`"messages":[${messages.join()}]`);
  return messages.map(withoutMarks);
}

const restOf = ({ body }: SeenRequest, model = body.model): string => withoutMarks(JSON.stringify({ ...body, model, messages: [] }));

/** Each request begins with the messages of the one before, and the tools and all other fields are the same. */
function expectStable(requests: SeenRequest[], { anyModel = false } = {}): void {
  expect(requests.length).toBeGreaterThanOrEqual(30);
  for (const [index, request] of requests.slice(1).entries()) {
    const [before, after] = [messagesOf(requests[index]!), messagesOf(request)];
    expect(after.slice(0, before.length), `request ${index + 1}`).toEqual(before);
    const model = anyModel ? "" : undefined;
    expect(restOf(request, model)).toBe(restOf(requests[index]!, model));
  }
}

describe.skipIf(!isBuilt).concurrent("the prefix of a session over 30 requests, three processes, plugins and files", () => {
  test("stays the same in every byte for a model with cache marks, which are at most four", async () => {
    const { runs, requests } = await runSession({ model: "openrouter/anthropic/claude-sonnet-4" });
    expectStable(requests);
    for (const { text } of requests) expect(marksOf(text)).toBeLessThanOrEqual(4);
    for (const { body } of requests) {
      expect(body.tools.map((tool: object) => marksOf(JSON.stringify(tool)))).toEqual([...Array(body.tools.length - 1).fill(0), 1]);
      expect(marksOf(JSON.stringify(body.messages[0]))).toBe(1);
    }
    expect(runs.flatMap((run) => ofType(run, "cache_broken"))).toEqual([]);
    expect(requests.at(-1)?.text).not.toContain(new Date().toISOString().slice(0, 10));
  }, 180_000);

  test("stays the same for an OpenAI model, whose key is the session's", async () => {
    const { requests } = await runSession({ model: "openrouter/openai/gpt-4o" });
    expectStable(requests);
    expect(new Set(requests.map(({ body }) => body.prompt_cache_key)).size).toBe(1);
    expect(requests[0]?.body.prompt_cache_key).toMatch(/^[0-9a-f]{32}$/);
  }, 180_000);

  test("stays the same for an endpoint of the configuration, which gets no field that it may not know", async () => {
    const { requests } = await runSession({
      model: "mine/m",
      config: { provider: { mine: { options: { baseURL: "{env:OPENROUTER_BASE_URL}" } } } },
    });
    expectStable(requests);
    for (const { text } of requests) expect([marksOf(text), text.includes("prompt_cache_key")]).toEqual([0, false]);
  }, 180_000);

  test("stays the same when the next model of the chain takes over", async () => {
    const { runs, requests } = await runSession({ model: "openrouter/anthropic/claude-a,openrouter/anthropic/claude-b", refused: 5 });
    expect(ofType(runs[0]!, "fallback")).toHaveLength(1);
    expect(new Set(requests.map(({ body }) => body.model))).toEqual(new Set(["anthropic/claude-a", "anthropic/claude-b"]));
    expectStable(requests, { anyModel: true });
    expect(runs.flatMap((run) => ofType(run, "cache_broken"))).toEqual([]);
  }, 180_000);
});

/** Numbers of the requests that do not begin with the messages of the one before. */
const breaksOf = (requests: SeenRequest[]): number[] =>
  requests.flatMap((request, index) => {
    const before = index === 0 ? [] : messagesOf(requests[index - 1]!);
    return messagesOf(request).slice(0, before.length).join("\n") === before.join("\n") ? [] : [index];
  });

describe.skipIf(!isBuilt).concurrent("the prefix of a session that is shortened", () => {
  const model = "openrouter/anthropic/claude-sonnet-4";
  const expectMarked = (requests: SeenRequest[]) => {
    for (const { text } of requests) expect([3, 4]).toContain(marksOf(text));
    expect(new Set(requests.map((request) => restOf(request))).size).toBe(1);
  };

  test.each([
    ["messages", { messages: 12 }],
    ["tokens", { tokens: 12_000 }],
  ])(
    "by a window of %s stays the same from jump to jump, and system and first prompt always",
    async (_, window) => {
      const { runs, requests } = await runSession({ model, config: { window } });
      const breaks = breaksOf(requests);
      expect(requests.length).toBeGreaterThanOrEqual(30);
      expect(breaks.length).toBeGreaterThan(0);
      expect(breaks.length, String(breaks)).toBeLessThanOrEqual(requests.length / 3);
      for (const request of requests) expect(messagesOf(request).slice(0, 2)).toEqual(messagesOf(requests[0]!).slice(0, 2));
      expectMarked(requests);
      expect(runs.flatMap((run) => ofType(run, "cache_broken"))).toEqual([]);
    },
    60_000,
  );

  test("by a compaction stays the same before and after it", async () => {
    const models = { "anthropic/claude-sonnet-4": { limit: { context: 14_000, output: 2_000 } } };
    const { runs, requests } = await runSession({ model, config: { provider: { openrouter: { models } } } });
    const asked = requests.filter(({ body }) => body.tools !== undefined);
    const compactions = runs.flatMap((run) => ofType(run, "compaction")).length;
    expect(compactions).toBeGreaterThan(0);
    expect(breaksOf(asked).length, String(breaksOf(asked))).toBeLessThanOrEqual(compactions);
    expectMarked(asked);
    expect(runs.flatMap((run) => ofType(run, "cache_broken"))).toEqual([]);
  }, 180_000);
});

describe.skipIf(!isBuilt).concurrent("a plugin that disturbs the prefix", () => {
  const ask = (home: string, args: string[] = [], format = JSON_OUT) =>
    runCommand({ args: ["--plugin", "./clock.ts", "--trust", ...format, "--model", "openrouter/anthropic/claude-sonnet-4", "-p", "go", ...args], home });

  test("is named, also in a session that another process goes on with", async () => {
    const home = makeHomeWith({ "work/clock.ts": plugin("clock", "{ hooks: { system: (text) => text + process.hrtime.bigint() } }") });
    expect(ofType(await ask(home), "cache_broken")).toEqual([]);
    expect(ofType(await ask(home, ["--continue"]), "cache_broken")).toMatchObject([{ by: "clock", part: "system" }]);
    expect((await ask(home, ["--continue"], [])).stderr).toContain("warning: the plugin clock changed the system prompt");
  });
});

describe.skipIf(!isBuilt).concurrent("cached tokens", () => {
  const usage = { prompt_tokens: 1000, completion_tokens: 10, cost: 0.002, prompt_tokens_details: { cached_tokens: 750, cache_write_tokens: 50 } };
  const ask = (args: string[], script: Reply[]) => runCommand({ args: ["--model", "openrouter/acme/model-1", "-p", "go", ...args], script });

  test("and their share stand in step_finish and result; what they cost is what the provider says", async () => {
    const run = await ask(JSON_OUT, [
      { tools: [{ name: "glob", args: { pattern: "*" } }], usage: { prompt_tokens: 1000, completion_tokens: 10, cost: 0.002 } },
      { text: "ok", usage },
    ]);
    expect(ofType(run, "step_finish").map(({ part }) => [part.cacheHitRate, part.tokens.input, part.tokens.cache, part.cost])).toEqual([
      [0, 1000, { read: 0, write: 0 }, 0.002],
      [0.75, 200, { read: 750, write: 50 }, 0.002],
    ]);
    expect(resultOf(run)).toMatchObject({ cacheHitRate: 0.375, cost: 0.004, costSource: "provider" });
  });

  test("have no share where no tokens are known", async () => {
    const run = await ask(JSON_OUT, [{ text: "ok", usage: null }]);
    expect([ofType(run, "step_finish")[0].part.cacheHitRate, resultOf(run).cacheHitRate]).toEqual([null, null]);
  });

  test("are told in the last line of the progress, where there are any", async () => {
    expect((await ask([], [{ text: "ok", usage }])).stderr).toContain("1010 tokens (75 % of the input cached)");
    expect((await ask([], [{ text: "ok" }])).stderr).not.toContain("cached");
  });
});
