import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { definePlugin, type Plugin, provider, textModel, tool, z } from "agent-runtime";
import { boot } from "agent-runtime/testing";
import { afterAll, describe, expect, test } from "vitest";
import type { Log } from "../../core/log.ts";
import { clearResponseCache, createResponseCache } from "../../core/response-cache.ts";
import { builtins } from "../../plugins/index.ts";
import { type Script, startServer } from "../fixtures/server.ts";

const scratch = mkdtempSync(join(tmpdir(), "agent-recording-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let count = 0;
const newDirectory = () => join(scratch, String(++count));

const hello = tool({
  name: "hello",
  description: "Greet someone by name.",
  input: z.object({ name: z.string() }),
  effect: "read",
  run: ({ name }) => `Hello, ${name}!`,
});
const greeter = definePlugin({ name: "greeter", setup: () => ({ tools: [hello] }) });

/** An agent with one tool and a model behind HTTP. Nothing listens at the address that is there by default. */
const bootGreeter = (options: { record?: string; replay?: string; cache?: boolean; url?: string; dataDir?: string; cwd?: string; greeter?: Plugin }) => {
  const { url = "http://127.0.0.1:9/v1", greeter: plugin = greeter, ...more } = options;
  return boot({
    plugins: [...builtins, plugin],
    tools: ["hello"],
    config: {
      model: "local/model-1",
      systemPrompt: "Greet whom you are told to.",
      retry: { maxRetries: 1 },
      provider: { local: { options: { baseURL: url, apiKey: false } } },
    },
    ...more,
  });
};

/** Recorded with `AGENT_RECORD=1 npx vitest run tests/core/recording.test.ts`; without it nothing but the files answers. */
const FIXTURE = fileURLToPath(new URL("../fixtures/recordings/greeting", import.meta.url));
const GREETING: Script = [
  { status: 429, headers: { "retry-after-ms": "5" } },
  { reasoning: "A greeting.", tools: [{ name: "hello", args: { name: "Ada" }, id: "call_1" }] },
  { text: "Ada was greeted. 🎉" },
];

describe("a recording of this repository", () => {
  test("answers on any machine, with its refusal, its call and its cost", async () => {
    const isRecording = process.env.AGENT_RECORD === "1";
    const server = isRecording ? await startServer(GREETING) : undefined;
    if (isRecording) rmSync(FIXTURE, { recursive: true, force: true });
    await using agent = await bootGreeter({ [isRecording ? "record" : "replay"]: FIXTURE, ...(server && { url: server.url }) });
    const { text, toolOutputs, events, result } = await agent.prompt("Greet Ada.");
    await server?.close();
    expect(text, result.error?.text).toBe("Ada was greeted. 🎉");
    expect(toolOutputs).toEqual(["Hello, Ada!"]);
    expect(events.filter(({ type }) => type === "retry")).toMatchObject([{ error: { code: "RATE_LIMITED" } }]);
    expect(result).toMatchObject({ status: "success", costUsd: 0.003 });
  });

  test("holds no path and no address", () => {
    const text = readdirSync(FIXTURE)
      .map((file) => readFileSync(join(FIXTURE, file), "utf8"))
      .join("");
    expect(text).toContain("Workspace: {workspace}\\n{platform}");
    expect(text).not.toMatch(/127\.0\.0\.1|agent-boot|\/tmp\/|\/home\//);
  });
});

describe("record and replay of the library", () => {
  test("identical requests are answered in their order, and from then on with the last answer", async () => {
    const dir = newDirectory();
    const server = await startServer([{ text: "one" }, { text: "two" }]);
    await using recorded = await bootGreeter({ record: dir, url: server.url });
    for (const answer of ["one", "two"]) expect((await recorded.prompt("Hi.")).text).toBe(answer);
    await recorded.close();
    await server.close();
    await using replayed = await bootGreeter({ replay: dir });
    for (const answer of ["one", "two", "two"]) expect((await replayed.prompt("Hi.")).text).toBe(answer);
  });

  test("runs at the same time get a file for each exchange", async () => {
    const dir = newDirectory();
    const server = await startServer(({ body }) => ({ text: `To ${body.messages.at(-1).content}`, delayMs: 10 }));
    const agents = await Promise.all([1, 2].map(() => bootGreeter({ record: dir, url: server.url })));
    await Promise.all(agents.flatMap((agent) => ["a", "b", "c"].map((prompt) => agent.prompt(prompt))));
    await Promise.all(agents.map((agent) => agent.close()));
    await server.close();
    expect(readdirSync(dir)).toHaveLength(6);
    await using replayed = await bootGreeter({ replay: dir });
    for (const prompt of ["c", "a", "b"]) expect((await replayed.prompt(prompt)).text).toBe(`To ${prompt}`);
  });

  test("a model that only stands in the address is told apart, whatever the body", async () => {
    const server = await startServer(({ path }) => ({ body: `I am ${path}`, headers: { "content-type": "text/plain" } }));
    const plain = provider({
      id: "plain",
      env: ["PLAIN_KEY"],
      create: ({ apiKey }, { fetch }) => {
        const ask = (id: string) => fetch(`${server.origin}/${id}`, { method: "POST", body: "Hello?", headers: { "x-key": String(apiKey) } });
        return (id) =>
          textModel(async function* () {
            yield await (await ask(id)).text();
          });
      },
    });
    const plugins = [definePlugin({ name: "plain", setup: () => ({ providers: [plain] }) })];
    const dir = newDirectory();
    await using recorded = await boot({ plugins, record: dir, env: { PLAIN_KEY: "a-key-of-no-known-kind" } });
    for (const id of ["a", "b"]) await recorded.prompt({ message: "Hi.", model: `plain/${id}` });
    await recorded.close();
    await server.close();
    await using replayed = await boot({ plugins, replay: dir });
    for (const id of ["b", "a"]) expect((await replayed.prompt({ message: "Hi.", model: `plain/${id}` })).text).toBe(`I am /${id}`);
    const { result } = await replayed.prompt({ message: "Hi.", model: "plain/c" });
    expect(result).toMatchObject({ exitCode: 2, error: { code: "RECORDING_MISSING", hint: expect.stringContaining('recorded "a", asked "c"') } });
  });

  test("a run that was interrupted leaves nothing that would be taken for an answer", async () => {
    const dir = newDirectory();
    const server = await startServer([{ raw: ['data: {"choices":[{"delta":{"content":"Half"}}]}\n\n', "HANG"] }]);
    await using agent = await bootGreeter({ record: dir, url: server.url });
    const ending = new AbortController();
    const run = agent.runtime.prompt("Hi.", { signal: ending.signal, deltas: true });
    for await (const { type } of run) if (type === "text.delta") ending.abort();
    expect((await run.result).status).not.toBe("success");
    await agent.close();
    await server.close();
    expect(readdirSync(dir)).toEqual([]);
  });

  test("a field of a tool is compared, whatever its name", async () => {
    const dir = newDirectory();
    const server = await startServer([{ text: "Hello." }]);
    const start = (word: string, options: object) => {
      const keyed = tool({ name: "hello", description: "Say it.", input: z.object({ prompt_cache_key: z.literal(word) }), effect: "read", run: () => "" });
      return bootGreeter({ ...options, greeter: definePlugin({ name: "greeter", setup: () => ({ tools: [keyed] }) }) });
    };
    await using recorded = await start("a", { record: dir, url: server.url });
    await recorded.prompt("Hi.");
    await recorded.close();
    await server.close();
    await using replayed = await start("b", { replay: dir });
    expect((await replayed.prompt("Hi.")).result.error).toMatchObject({ code: "RECORDING_MISSING", hint: expect.stringContaining("prompt_cache_key") });
  });

  test("a replay is the same however often, and no model rests for what it repeats", async () => {
    const [dir, dataDir] = [newDirectory(), newDirectory()];
    const server = await startServer(({ body }) => (body.model === "down" ? { status: 404 } : { text: "Here." }));
    const chain = { message: "Hi.", model: "local/down", fallback: ["local/up"] };
    const fallen = async (options: object) => {
      await using agent = await bootGreeter({ dataDir, url: server.url, ...options });
      const { events, result } = await agent.prompt(chain);
      expect(result.text).toBe("Here.");
      return events.flatMap((event) => (event.type === "fallback" ? [event.error.message.includes("it rests")] : []));
    };
    expect(await fallen({ record: dir })).toEqual([false]);
    for (const _ of [1, 2]) expect(await fallen({ replay: dir })).toEqual([false]);
    rmSync(join(dataDir, "routes"), { recursive: true });
    await fallen({ replay: dir });
    await server.close();
    expect(existsSync(join(dataDir, "routes"))).toBe(false);
  });

  test("both at once are refused", async () => {
    await expect(bootGreeter({ record: newDirectory(), replay: newDirectory() })).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });
});

test("the response cache of the library tells what it answered, and what it answered is recorded, too", async () => {
  const [dir, dataDir, cwd] = [newDirectory(), newDirectory(), newDirectory()];
  const server = await startServer([{ text: "Hello." }]);
  const events = [];
  for (const record of [undefined, dir]) {
    await using agent = await bootGreeter({ cache: true, dataDir, cwd, url: server.url, ...(record && { record }) });
    events.push(...(await agent.prompt("Hi.")).events.filter(({ type }) => type === "step.finish"));
  }
  await server.close();
  expect(server.requests).toHaveLength(1);
  expect(events.map((event) => "cached" in event && event.cached)).toEqual([false, true]);
  expect(events[1]).toMatchObject({ costUsd: 0, tokens: { output: 10 } });
  expect(readdirSync(dir)).toHaveLength(1);
});

test("clearing the response cache disturbs no run that writes to it", async () => {
  const dir = join(newDirectory(), "responses");
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const cache = createResponseCache({ dir, log: { warn } as unknown as Log });
  const answer = { status: 200, headers: {}, body: ["x".repeat(1000)] };
  await Promise.all(Array.from({ length: 300 }, (_, index) => (index % 10 === 9 ? clearResponseCache(dir) : cache.store(`key-${index}`, answer))));
  expect(warnings).toEqual([]);
  await cache.store("last", answer);
  expect(await cache.find("last")).toEqual(answer);
  await clearResponseCache(dir);
  expect(readdirSync(dir)).toEqual([]);
});
