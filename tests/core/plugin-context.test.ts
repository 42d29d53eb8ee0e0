import { rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { definePlugin, type PluginContext } from "../../core/index.ts";
import { type BootOptions, boot, say } from "../../core/testing/index.ts";
import openaiCompatible from "../../plugins/openai-compatible/index.ts";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";

const open: (TestServer | { close(): Promise<void> })[] = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

const never = new AbortController().signal;
const question = { messages: [{ role: "user" as const, content: [{ type: "text" as const, text: "?" }] }], signal: never };

/** A runtime whose plugin "asker" hands out its context, and a provider for each list of replies. */
async function startAsker(replies: Record<string, Reply[]>, options: BootOptions = {}) {
  let context: PluginContext | undefined;
  const asker = definePlugin({
    name: "asker",
    setup: (given) => {
      context = given;
      return { extensions: { "test.words": ["a", "b"] } };
    },
  });
  const servers: Record<string, TestServer> = {};
  const provider: Record<string, object> = {};
  for (const [name, list] of Object.entries(replies)) {
    const server = await startServer(list);
    open.push(server);
    servers[name] = server;
    provider[name] = { npm: "@ai-sdk/openai-compatible", options: { baseURL: server.url, apiKey: `key-of-${name}-0123456789` } };
  }
  const agent = await boot({
    ...options,
    plugins: [openaiCompatible, asker, ...(options.plugins ?? [])],
    config: { provider, retry: { maxRetries: 0 }, ...options.config } as never,
  });
  open.push(agent);
  return { agent, servers, context: context as PluginContext };
}

const answer = (text: string, finish = "stop"): Reply => ({ text, finish });

describe("a plugin asks a model outside of any run", () => {
  test("and gets its words, who answered, and whether it was cut", async () => {
    const { context } = await startAsker({ one: [answer("Half of i", "length")] });
    expect(await context.ask({ ...question, model: "one/m" })).toMatchObject({ text: "Half of i", reason: "length", model: "one/m" });
  });

  test("and falls over to the next of the chain, with the same messages, told before it happens", async () => {
    const { context, servers } = await startAsker({ one: [{ status: 503, body: { error: { message: "down" } } }], two: [answer("yes")] });
    const told: unknown[] = [];
    const asked = await context.ask({
      ...question,
      model: ["one/m", "two/m"],
      on: (event) => void told.push({ ...event, hits: servers.two?.requests.length }),
    });
    expect(asked).toMatchObject({ text: "yes", model: "two/m" });
    expect(told).toMatchObject([{ type: "fallback", from: "one/m", to: "two/m", code: "OVERLOADED", hits: 0 }]);
    expect(servers.one?.requests[0]?.body.messages).toEqual(servers.two?.requests[0]?.body.messages);
  });

  test.each([
    [400, "response_format is not supported"],
    [400, "This model does not support structured outputs"],
    [404, "No endpoints found that support structured outputs"],
  ])("with a schema, and without it where the model refuses that by %d, %s, from then on", async (status, message) => {
    const refused = { status, body: { error: { message } } };
    const { context, servers } = await startAsker({ one: [refused, answer("1"), answer("2")] });
    const ask = () => context.ask({ ...question, model: "one/m", outputSchema: { type: "object", properties: {} } });
    expect([(await ask()).text, (await ask()).text]).toEqual(["1", "2"]);
    expect(servers.one?.requests.map(({ body }) => "response_format" in body)).toEqual([true, false, false]);
  });

  test("with a key of its own, which is known as a secret from then on", async () => {
    const { context, servers } = await startAsker({ one: [answer("a"), answer("b")] });
    await context.ask({ ...question, model: "one/m", providerOptions: { one: { apiKey: "sk-other-0123456789abcdef" } } });
    await context.ask({ ...question, model: "one/m" });
    expect(servers.one?.requests.map(({ headers }) => headers.authorization)).toEqual(["Bearer sk-other-0123456789abcdef", "Bearer key-of-one-0123456789"]);
    expect(context.redact("sk-other-0123456789abcdef")).toBe("[redacted]");
  });

  test("and gets the error of the last model", async () => {
    const { context } = await startAsker({ one: [{ status: 401, body: { error: { message: "no" } } }] });
    await expect(context.ask({ ...question, model: "one/m" })).rejects.toMatchObject({ code: "AUTH_REFUSED" });
  });

  test("until its signal aborts", async () => {
    const { context } = await startAsker({ one: [{ raw: ["HANG"] }] });
    await expect(context.ask({ ...question, model: "one/m", signal: AbortSignal.timeout(100) })).rejects.toBeDefined();
  });
});

describe("what the runtime gives to plugins", () => {
  test("a store and a lock of their own, and no way out of their directory", async () => {
    const { context } = await startAsker({});
    const store = await context.openStore<{ words: string }>("a/b", { version: 1, defaults: { words: {} } });
    store.put("words", "x", "kept");
    await store.close();
    const again = await context.openStore<{ words: string }>("a/b", { version: 1, defaults: { words: {} } });
    expect(again.get("words", "x")).toBe("kept");
    await again.close();
    await expect(context.openStore("../x", { version: 1, defaults: {} })).rejects.toThrow("no name");
    const lock = await context.lock("work");
    expect(await context.lock("work")).toEqual({ busy: process.pid });
    if ("release" in lock) lock.release();
    expect(await context.lock("work")).toHaveProperty("release");
    writeFileSync(join(await context.dataDir(), "file"), "");
    await expect(context.lock("file/lock")).rejects.toMatchObject({ code: "STORE_UNWRITABLE" });
  });

  test("a directory of its own, or an error that says which one cannot be made", async () => {
    const { context } = await startAsker({});
    const dir = await context.dataDir();
    rmSync(dirname(dir), { recursive: true });
    writeFileSync(dirname(dir), "a file in the way");
    await expect(context.dataDir()).rejects.toMatchObject({ code: "STORE_UNWRITABLE", message: expect.stringContaining(dir) });
  });

  test("what others bring for an extension point", async () => {
    const other = definePlugin({ name: "other", setup: () => ({ extensions: { "test.words": ["c"] } }) });
    const { context } = await startAsker({}, { plugins: [other] });
    expect(context.extensions("test.words")).toEqual(["a", "b", "c"]);
    expect(context.extensions("constructor")).toEqual([]);
  });

  test("the words of each prompt, before its answer, and what a call was judged by", async () => {
    const seen: unknown[] = [];
    const watcher = definePlugin({
      name: "watcher",
      setup: () => ({ hooks: { on: { prompt: ({ text }) => void seen.push(text) }, system: (_system, { prompt }) => void seen.push(`system: ${prompt}`) } }),
    });
    const agent = await boot({ plugins: [watcher], script: [say("Hi.")] });
    open.push(agent);
    await agent.prompt({
      message: [
        { type: "text", text: "Good " },
        { type: "text", text: "day" },
      ],
    });
    expect(seen.sort()).toEqual(["Good day", "system: Good day"]);
  });

  test("time to finish once every prompt is over, until the one who closes has no more patience", async () => {
    const steps: string[] = [];
    const slow = definePlugin({
      name: "slow",
      setup: () => ({
        hooks: { on: { "session.finish": () => void steps.push("observed") } },
        finish: (signal) =>
          new Promise((resolve) => {
            steps.push("finish");
            signal.addEventListener("abort", () => resolve(steps.push("aborted") as never));
          }),
        dispose: () => void steps.push("dispose"),
      }),
    });
    const agent = await boot({ plugins: [slow], script: [say("Hi.")] });
    await agent.prompt("go");
    const patience = new AbortController();
    const closed = agent.runtime.close({ signal: patience.signal });
    await expect.poll(() => steps, { timeout: 30_000 }).toEqual(["observed", "finish"]);
    patience.abort();
    await closed;
    expect(steps).toEqual(["observed", "finish", "aborted", "dispose"]);
  });
});
