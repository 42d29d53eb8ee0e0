import type { Message, Plugin, Provider } from "agent-runtime";
import { afterEach, describe, expect, test } from "vitest";
import { createFetch } from "../../core/http.ts";
import { silentLog } from "../../core/log.ts";
import type { Entry } from "../../core/message.ts";
import { type ModelRequest, toCallOptions } from "../../core/request.ts";
import plugin from "../../plugins/openrouter/index.ts";
import { startServer, type TestServer } from "../fixtures/server.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

const openrouter = (await (plugin as Plugin).setup({ config: {} } as never)).providers![0] as Provider;

const tools: ModelRequest["tools"] = ["read", "write"].map((name) => ({ type: "function", name, description: "d", inputSchema: { type: "object" } }));
const user = (text: string, ...files: object[]): Message => ({ role: "user", content: [{ type: "text", text }, ...files] }) as Message;
const said = (text: string): Message => ({ role: "assistant", content: [{ type: "text", text }] });
const called = (...ids: string[]): Message => ({
  role: "assistant",
  content: ids.map((id) => ({ type: "tool-call", toolCallId: id, toolName: "read", input: {} })),
});
const results = (...texts: string[]): Message => ({
  role: "tool",
  content: texts.map((value, index) => ({ type: "tool-result", toolCallId: `c${index}`, toolName: "read", output: { type: "text", value } })),
});
const image = { type: "file", mediaType: "image/png", data: "aGk=" };

interface Sending {
  model?: string;
  system?: string;
  options?: Record<string, unknown>;
  change?(call: ReturnType<typeof toCallOptions>): ReturnType<typeof toCallOptions>;
}

/** The body that reaches OpenRouter. */
async function send(messages: Message[], { model = "anthropic/claude-sonnet-4", system = "Be kind.", options = {}, change = (call) => call }: Sending = {}) {
  const server = await startServer([{ text: "hello" }]);
  open.push(server);
  const entries = messages.map((message, index): Entry => ({ id: `msg_${index}`, at: 0, message }));
  const request: ModelRequest = { system, entries, tools, settings: { headers: {}, providerOptions: {} }, cacheKey: "k1" };
  const cachePolicy = openrouter.cachePolicy!(model);
  const call = change(toCallOptions(request, { id: "openrouter/anthropic/claude-sonnet-4", cachePolicy, signal: new AbortController().signal }));
  const factory = await openrouter.create({ apiKey: "sk", baseURL: server.url, ...options }, { fetch: createFetch(), log: silentLog });
  const { stream } = await (await factory(model)).doStream(call);
  for await (const _ of stream as unknown as AsyncIterable<unknown>);
  return server.requests[0]!.body;
}

const MARK = { type: "ephemeral" };
const countMarks = (value: unknown): number => JSON.stringify(value).split('"cache_control"').length - 1;
const marksOf = (body: any): number[] => body.messages.map(countMarks);

describe("cache marks for OpenRouter", () => {
  test("stand on the last tool, the system message and the last two others, each in a text part", async () => {
    const body = await send([user("one"), said("two"), user("three")]);
    expect(body.tools.map((tool: any) => tool.cache_control)).toEqual([undefined, MARK]);
    expect(body.messages).toEqual([
      { role: "system", content: [{ type: "text", text: "Be kind.", cache_control: MARK }] },
      { role: "user", content: [{ type: "text", text: "one" }] },
      { role: "assistant", content: [{ type: "text", text: "two", cache_control: MARK }] },
      { role: "user", content: [{ type: "text", text: "three", cache_control: MARK }] },
    ]);
  });

  test("of parallel results stand on the last one, and on what came before the calls", async () => {
    const body = await send([user("hi"), called("c0", "c1", "c2"), results("a", "b", "c")]);
    expect(marksOf(body)).toEqual([1, 1, 0, 0, 0, 1]);
    expect(body.messages.at(-1)).toMatchObject({ role: "tool", tool_call_id: "c2", content: [{ type: "text", text: "c", cache_control: MARK }] });
    expect(body.messages.at(-1)).not.toHaveProperty("cache_control");
    expect(countMarks(body)).toBe(4);
  });

  test("of a message with files stand on its text", async () => {
    const body = await send([user("look", image, image)]);
    expect(body.messages[1].content.map((part: any) => [part.type, part.cache_control])).toEqual([
      ["text", MARK],
      ["image_url", undefined],
      ["image_url", undefined],
    ]);
  });

  test("are never on an empty text, which Anthropic refuses", async () => {
    expect(marksOf(await send([user("hi"), called("c0"), results("")]))).toEqual([1, 1, 0, 0]);
    expect(marksOf(await send([user("hi")], { system: "" }))).toEqual([1]);
  });

  test.each([
    ["hooks", {}],
    ["the provider options ask for", { extraBody: { cache_control: MARK } }],
  ])("are never more than four, whatever %s add", async (_, options) => {
    const marked = (message: Message): Message =>
      message.role === "user"
        ? { ...message, content: message.content.map((part) => ({ ...part, providerOptions: { openrouter: { cacheControl: MARK } } })) }
        : { ...message, providerOptions: { openrouter: { cacheControl: MARK } } };
    const body = await send([user("1"), said("2"), user("3"), said("4"), user("5")], {
      options,
      change: (call) => ({ ...call, prompt: call.prompt.map(marked) }),
    });
    expect(countMarks(body)).toBe(4);
    expect(marksOf(body)[0]).toBe(1);
    expect(marksOf(body).at(-1)).toBe(1);
  });

  test("leave a message in the same bytes when they move on", async () => {
    const talk = [user("one"), called("c0", "c1"), results("a", ""), said("two"), user("three", image), said("four"), user("five")];
    const plain = (body: any): string[] =>
      body.messages.map((message: object) => JSON.stringify(message).replaceAll(',"cache_control":{"type":"ephemeral"}', ""));
    const all = plain(await send(talk));
    for (let length = 1; length < talk.length; length++) {
      const some = plain(await send(talk.slice(0, length)));
      expect(all.slice(0, some.length)).toEqual(some);
    }
  });

  test("are for Anthropic and Gemini alone; the bodies of others stay as they are", async () => {
    expect(countMarks(await send([user("hi")], { model: "google/gemini-2.5-pro" }))).toBe(3);
    const body = await send([user('"cache_control":')], { model: "meta-llama/llama-3.3-70b-instruct" });
    expect(body.messages.at(-1).content).toBe('"cache_control":');
    expect(body).not.toHaveProperty("prompt_cache_key");
  });
});

describe("the key of a session", () => {
  test("goes to OpenAI's own models, and what a request says itself counts", async () => {
    const own = { openrouter: { prompt_cache_key: "mine" } };
    expect((await send([user("hi")], { model: "openai/gpt-4o" })).prompt_cache_key).toBe("k1");
    const changed = await send([user("hi")], { model: "openai/gpt-4o", change: (call) => ({ ...call, providerOptions: own }) });
    expect(changed.prompt_cache_key).toBe("mine");
  });

  test.each(["openai/gpt-oss-120b", "anthropic/claude-sonnet-4", "deepseek/deepseek-chat"])("does not go to %s", async (model) => {
    expect(await send([user("hi")], { model })).not.toHaveProperty("prompt_cache_key");
  });
});
