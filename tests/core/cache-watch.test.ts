import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { EventOf } from "../../core/events.ts";
import type { Hooks } from "../../core/hooks.ts";
import type { Entry, Message } from "../../core/message.ts";
import { definePlugin, type Plugin } from "../../core/plugin.ts";
import { provider } from "../../core/provider.ts";
import { type BootedAgent, type BootOptions, boot, call, fail, type PromptReport, say, scriptedProvider } from "../../core/testing/index.ts";
import { tool } from "../../core/tool.ts";

const agents: BootedAgent[] = [];
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.close();
});

const other = tool({ name: "other", description: "Nothing.", effect: "read", input: z.object({}), run: () => "done" });
const noop = tool({ name: "noop", description: "Nothing.", effect: "read", input: z.object({ n: z.number().optional() }), run: () => "done" });
const tools = definePlugin({ name: "tools", setup: () => ({ tools: [noop, other] }) });
const hooked = (name: string, hooks: Hooks): Plugin => definePlugin({ name, setup: () => ({ hooks }) });

async function start(plugins: Plugin[], options: BootOptions = {}): Promise<BootedAgent> {
  const agent = await boot({ plugins: [tools, ...plugins], script: (_, index) => (index % 4 === 3 ? say("ok") : call("noop", { n: index })), ...options });
  agents.push(agent);
  return agent;
}

const broken = ({ events }: PromptReport) =>
  events.filter((event): event is EventOf<"cache.broken"> => event.type === "cache.broken").map(({ by, part }) => `${by}: ${part}`);

/** Each prompt of the texts in one session: who broke the cache in it. */
async function brokenIn(agent: BootedAgent, ...requests: object[]): Promise<string[][]> {
  const all: string[][] = [];
  let session: string | undefined;
  for (const request of requests) {
    const report = await agent.prompt({ message: "go", ...(session !== undefined && { session }), ...request });
    expect(report.result.status).toBe("success");
    session = report.result.sessionId;
    all.push(broken(report));
  }
  return all;
}

let count = 0;
const rename = (text: string): string => `${text} ${count++}`;
const withFirst = (messages: Message[], text: string): Message[] => [{ role: "user", content: [{ type: "text", text }] }, ...messages];

describe("cache.broken", () => {
  test("is silent over a session in which nothing but the conversation grows", async () => {
    const agent = await start([hooked("idle", { system: () => {}, tools: (all) => [...all], messages: (all) => [...all], request: (all) => ({ ...all }) })]);
    expect(await brokenIn(agent, {}, {}, {})).toEqual([[], [], []]);
  });

  test("names the plugin whose system prompt is another in each prompt, once a prompt", async () => {
    const agent = await start([
      hooked("calm", { system: (text) => `${text} Be calm.` }),
      hooked("clock", { system: rename }),
      hooked("loud", { system: () => {} }),
    ]);
    expect(await brokenIn(agent, {}, {}, {})).toEqual([[], ["clock: system"], ["clock: system"]]);
  });

  test("names the plugin that changes a tool, or its place", async () => {
    let prompts = 0;
    const agent = await start([
      hooked("counter", { tools: () => void prompts++ }),
      hooked("shuffle", { tools: (all) => (prompts === 2 ? [...all].reverse() : all) }),
      hooked("dated", { tools: (all) => all.map((one) => (prompts === 4 ? { ...one, description: "Other." } : one)) }),
    ]);
    expect(await brokenIn(agent, {}, {}, {}, {}, {})).toEqual([[], ["shuffle: tools"], ["shuffle: tools"], ["dated: tools"], ["dated: tools"]]);
  });

  test("names the plugin that rewrites what was sent before, at the very next request", async () => {
    const agent = await start([
      hooked("keeper", { messages: (all) => withFirst(all, "kept") }),
      hooked("clock", { messages: (all) => withFirst(all, rename("it is")) }),
    ]);
    expect(await brokenIn(agent, {})).toEqual([["clock: messages", "clock: messages", "clock: messages"]]);
  });

  test("names the plugin that leaves out what was sent before", async () => {
    const agent = await start([hooked("window", { messages: (all) => (all.length > 4 ? [all[0]!, ...all.slice(-2)] : all) })]);
    expect(await brokenIn(agent, {})).toEqual([["window: messages", "window: messages"]]);
  });

  test("lets a plugin say at the end what changes with each request", async () => {
    const agent = await start([hooked("reminder", { messages: (all) => [...all, ...withFirst([], rename("it is"))] })]);
    expect(await brokenIn(agent, {}, {})).toEqual([[], []]);
  });

  test("names the plugin that changes the provider's options; headers and sampling are none of the cache's business", async () => {
    const options = hooked("trace", { request: (all) => ({ ...all, providerOptions: { scripted: { id: rename("x") } } }) });
    expect(await brokenIn(await start([options]), {})).toEqual([Array(3).fill("trace: request")]);
    const harmless = hooked("trace", { request: (all) => ({ ...all, temperature: count++ / 1000, headers: { "x-id": rename("x") } }) });
    expect(await brokenIn(await start([harmless]), {}, {})).toEqual([[], []]);
  });

  test("names the configuration for what no plugin did", async () => {
    const agent = await start([hooked("calm", { system: (text) => `${text} Be calm.` })]);
    expect(await brokenIn(agent, {}, { appendSystem: "Be brief." }, { appendSystem: "Be brief." }, {})).toEqual([
      [],
      ["configuration: system"],
      [],
      ["configuration: system"],
    ]);
  });

  test("is not told when another model answers, which has a cache of its own", async () => {
    const agent = await start([hooked("namer", { system: (text, { model }) => `${text} You are ${model}.` })]);
    expect(await brokenIn(agent, { model: "scripted/a" }, { model: "scripted/b" }, { model: "scripted/b" })).toEqual([[], [], []]);
  });

  test("is not told for a compaction, and watches on after it", async () => {
    let asked = 0;
    const overflow = Object.assign(new Error("too long"), { statusCode: 400, responseHeaders: {}, responseBody: "maximum context length is 10 tokens" });
    const shorten = (entries: Entry[]) => [{ ...entries[0]!, id: "msg_summary" }, ...entries.slice(-2)];
    const agent = await start([hooked("short", { compact: shorten }), hooked("copy", { messages: (all) => all.map((message) => ({ ...message })) })], {
      script: () => (++asked === 3 ? fail(overflow) : asked < 6 ? call("noop", { n: asked }) : say("ok")),
    });
    const report = await agent.prompt("go");
    expect([report.result.status, report.events.some(({ type }) => type === "compaction")]).toEqual(["success", true]);
    expect(broken(report)).toEqual([]);
  });
});

describe("a conversation that was shortened", () => {
  const copy = hooked("copy", { messages: (all) => all.map((message) => ({ ...message })) });
  const long = definePlugin({
    name: "long",
    setup: () => ({
      tools: [tool({ name: "long", description: "Much.", effect: "read", input: z.object({ n: z.number() }), run: ({ n }) => `${n}`.repeat(6000) })],
    }),
  });
  const script = (_: unknown, index: number) => (index % 6 === 5 ? say("ok") : call("long", { n: index }));
  const cut = ({ message, ...entry }: Entry): Entry => {
    if (message.role !== "tool") return { ...entry, message };
    const content = message.content.map((part) => (part.type === "tool-result" ? { ...part, output: { type: "text" as const, value: "cut" } } : part));
    return { ...entry, message: { ...message, content } };
  };

  test("by its window, its outputs or whole messages, is nobody's fault", async () => {
    const seen: any[] = [];
    for (const window of [{ tokens: 2000 }, { tokens: 6000 }, { messages: 5 }]) {
      const agent = await start([copy, long], { script, config: { window } });
      expect(await brokenIn(agent, {}, {}), JSON.stringify(window)).toEqual([[], []]);
      const requests = agent.requests.map(({ prompt }) => JSON.stringify(prompt));
      seen.push(
        requests.some((text) => text.includes("characters left out")),
        requests.at(-1)!.length,
      );
    }
    expect(seen[0]).toBe(true);
  });

  test("by a compaction that clips outputs and keeps every message, is nobody's fault", async () => {
    let asked = 0;
    const overflow = Object.assign(new Error("too long"), { statusCode: 400, responseHeaders: {}, responseBody: "maximum context length is 10 tokens" });
    const agent = await start([copy, long, hooked("clip", { compact: (entries) => entries.map(cut) })], {
      script: () => (++asked === 3 ? fail(overflow) : asked < 6 ? call("long", { n: asked }) : say("ok")),
    });
    const report = await agent.prompt("go");
    expect([report.events.some(({ type }) => type === "compaction"), report.result.status, broken(report)]).toEqual([true, "success", []]);
  });
});

describe("the prefix of a session", () => {
  test("costs the same to watch however long the session is: without a hook no message is read", async () => {
    const agent = await start([]);
    const { result } = await agent.prompt("go");
    const { state } = await agent.runtime.sessions.read(result.sessionId);
    expect(Object.keys(state).sort()).toEqual(["cache.request", "cache.system", "cache.tools"]);
    expect(JSON.stringify(state).length).toBeLessThan(500);
  });

  test("is marked for a provider of its own, tools too, and a key is the same for a session and no other", async () => {
    const seen: any[] = [];
    const script = [say("ok")];
    const marks = definePlugin({
      name: "vendors",
      setup: () => ({
        providers: [
          {
            ...scriptedProvider(script, seen),
            id: "marked",
            cachePolicy: () => ({ kind: "breakpoints", providerOptions: { marked: { here: true } } }) as const,
          },
          provider({ ...scriptedProvider(script, seen), id: "keyed", cachePolicy: () => ({ kind: "key", optionsFor: (key) => ({ keyed: { key } }) }) }),
        ],
      }),
    });
    const agent = await start([marks]);
    await agent.prompt({ message: "a", model: "marked/m" });
    expect(seen[0].tools.at(-1).providerOptions).toEqual({ marked: { here: true } });
    expect(seen[0].prompt.map((message: any) => message.providerOptions ?? message.content.at(-1).providerOptions)).toEqual([
      { marked: { here: true } },
      { marked: { here: true } },
    ]);
    const { result } = await agent.prompt({ message: "a", model: "keyed/m" });
    await agent.prompt({ message: "b", model: "keyed/m", session: result.sessionId });
    await agent.prompt({ message: "c", model: "keyed/m" });
    const keys = seen.slice(1).map(({ providerOptions }) => providerOptions.keyed.key);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect([keys[1] === keys[0], keys[2] === keys[0]]).toEqual([true, false]);
  });
});
