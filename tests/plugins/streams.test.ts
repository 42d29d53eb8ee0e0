import type { Fetch } from "agent-runtime";
import { definePlugin, tool, z } from "agent-runtime";
import { boot } from "agent-runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { createFetch } from "../../core/http.ts";
import openaiCompatible from "../../plugins/openai-compatible/index.ts";
import openrouter from "../../plugins/openrouter/index.ts";
import { modelOf, PROVIDERS, RECORDED, readAnswer } from "../fixtures/recorded-stream.ts";
import { chunk, done, type RawStep, type Reply, type SeenRequest, startServer, type TestServer, usageChunk } from "../fixtures/server.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

async function serve(script: Reply[]): Promise<TestServer> {
  const server = await startServer(script);
  open.push(server);
  return server;
}

/** A real body, in given pieces. */
function bodyOf(pieces: Uint8Array[]): ReadableStream<Uint8Array> {
  const rest = [...pieces];
  return new ReadableStream({ pull: (controller) => (rest.length > 0 ? controller.enqueue(rest.shift()!) : controller.close()) }, { highWaterMark: 0 });
}

describe.each(PROVIDERS)("a recorded stream of the provider %s", (name) => {
  const bytes = RECORDED;

  test("is one message, and an event for each of its parts", async () => {
    const { events, turn } = await readAnswer(
      await modelOf(
        name,
        splitting(() => [bytes]),
      ),
    );
    expect(events.filter((one) => one.type === "text" || one.type === "reasoning").map(({ type, text }) => [type, text])).toEqual([
      ["reasoning", "Hmm, 漢字? 🤔"],
      ["text", 'Grüße 👋 "und"\\\n字'],
      ["reasoning", "One more thought."],
      ["text", " Ende."],
    ]);
    expect(turn).toMatchObject({
      text: 'Grüße 👋 "und"\\\n字 Ende.',
      calls: [
        { id: "a", tool: "one", input: '{"ü":"😀"}' },
        { id: "b", tool: "two", input: '{"n":[1,2]}' },
      ],
      reason: "tool-calls",
      tokens: { input: 9, output: 7, reasoning: 3, cache: { read: 0, write: 0 } },
      costUsd: 0.5,
      respondedModelId: "vendor/model-1",
    });
    const signed = [{ type: "reasoning.text", text: "Hmm, 漢字? 🤔", signature: "c2ln", index: 0 }];
    expect(turn.message.content.find(({ type }) => type === "tool-call")?.providerOptions).toEqual(
      name === "openrouter" ? { openrouter: { reasoning_details: signed } } : undefined,
    );
  });

  test("gives the same events and the same message wherever it is split, and byte by byte", { timeout: 120_000 }, async () => {
    let pieces: Uint8Array[] = [bytes];
    const model = await modelOf(
      name,
      splitting(() => pieces),
    );
    const whole = await readAnswer(model);
    for (let at = 0; at <= bytes.length; at++) {
      pieces = [bytes.subarray(0, at), bytes.subarray(at)];
      expect(await readAnswer(model), `split at ${at}`).toEqual(whole);
    }
    pieces = Array.from(bytes, (byte) => Uint8Array.of(byte));
    expect(await readAnswer(model)).toEqual(whole);
  });

  test("gives the same over a real connection", async () => {
    const inside = bytes.indexOf(Buffer.from("字")) + 1;
    const offsets = [1, 30, inside, bytes.indexOf("\r\r") + 1, bytes.indexOf("tool_calls") + 4, bytes.length - 1];
    const split = (at: number): RawStep[] => [bytes.subarray(0, at), { delayMs: 15 }, bytes.subarray(at)];
    const replies = [{ raw: [bytes] }, ...offsets.map((at) => ({ raw: split(at) }))];
    const { url } = await serve(replies);
    const model = await modelOf(name, createFetch(), url);
    const whole = await readAnswer(model);
    expect(whole.turn.text).toContain("Ende.");
    for (const at of offsets) expect(await readAnswer(model), `split at ${at}`).toEqual(whole);
  });
});

function splitting(pieces: () => Uint8Array[]): Fetch {
  return (async () => new Response(bodyOf(pieces()), { headers: { "content-type": "text/event-stream" } })) as unknown as Fetch;
}

const noop = definePlugin({
  name: "noop",
  setup: () => ({ tools: [tool({ name: "noop", description: "Nothing.", input: z.object({}), effect: "read", run: () => "ok" })] }),
});
const asks = (id: string, more: object = {}) =>
  chunk({ tool_calls: [{ index: 0, id, type: "function", function: { name: "noop", arguments: "{}" }, ...more }] });
const CALLED = [chunk({}, "tool_calls"), usageChunk(), done];
const detail = (fields: object) => chunk({ reasoning_details: [fields] });
const sentBack = (request: SeenRequest | undefined) => request?.body.messages.filter(({ role }: { role: string }) => role === "assistant");

/** A run of two calls and an answer; gives the requests that it sent. */
async function runLoop(model: string, steps: string[][]): Promise<SeenRequest[]> {
  const { url, requests } = await serve([...steps.map((raw) => ({ raw: [...raw, ...CALLED] })), { text: "Done." }]);
  const provider = { [model.split("/")[0]!]: { options: { baseURL: url, apiKey: "k" } } };
  await using agent = await boot({ plugins: [noop, openrouter, openaiCompatible], config: { model, provider } });
  expect((await agent.prompt("go")).text).toBe("Done.");
  return requests;
}

describe("thoughts that their vendor wants back", () => {
  test("carry Anthropic's signatures, each with exactly the text that it was made for", async () => {
    const format = "anthropic-claude-v1";
    const requests = await runLoop("openrouter/anthropic/claude-sonnet-4", [
      [
        detail({ type: "reasoning.text", text: "Let me ", index: 0, format }),
        detail({ type: "reasoning.text", text: "look.", index: 0, format }),
        detail({ type: "reasoning.text", signature: "sig-1", index: 0, format }),
        detail({ type: "reasoning.encrypted", data: "hidden", index: 1, format }),
        detail({ type: "reasoning.text", text: "And then?", index: 2, format }),
        detail({ type: "reasoning.text", signature: "sig-2", index: 2, format }),
        chunk({ content: "Looking." }),
        asks("a"),
      ],
      [
        detail({ type: "reasoning.text", text: "Once more.", index: 0, format }),
        detail({ type: "reasoning.text", signature: "sig-3", index: 0, format }),
        asks("b"),
      ],
    ]);
    const first = {
      role: "assistant",
      content: [{ type: "text", text: "Looking." }],
      reasoning: "Let me look.And then?",
      reasoning_details: [
        { type: "reasoning.text", text: "Let me look.", signature: "sig-1", index: 0, format },
        { type: "reasoning.encrypted", data: "hidden", index: 1, format },
        { type: "reasoning.text", text: "And then?", signature: "sig-2", index: 2, format },
      ],
    };
    expect(sentBack(requests[1])).toMatchObject([first]);
    expect(sentBack(requests[2])).toMatchObject([first, { reasoning_details: [{ text: "Once more.", signature: "sig-3" }] }]);
  });

  test("carry Gemini's encrypted details, those that come with or after the call too", async () => {
    const format = "google-gemini-v1";
    const requests = await runLoop("openrouter/google/gemini-3-pro", [
      [
        detail({ type: "reasoning.text", text: "**Plan**", index: 0, format }),
        asks("a"),
        detail({ type: "reasoning.encrypted", data: "c2lnbmF0dXJl", id: "a", index: 0, format }),
      ],
    ]);
    expect(sentBack(requests[1])[0].reasoning_details).toEqual([{ type: "reasoning.encrypted", data: "c2lnbmF0dXJl", id: "a", index: 0, format }]);
  });

  test("follow a call that gets an id of its own because its vendor gives each step the same ones", async () => {
    const step = (data: string) => [
      asks("tool_0_noop"),
      detail({ type: "reasoning.encrypted", data, id: "tool_0_noop", index: 0, format: "google-gemini-v1" }),
    ];
    const requests = await runLoop("openrouter/google/gemini-3-pro", [step("Zmlyc3Q="), step("c2Vjb25k")]);
    const sent = sentBack(requests[2]);
    expect(sent.map(({ reasoning_details }: any) => reasoning_details?.map(({ data }: any) => data))).toEqual([["Zmlyc3Q="], ["c2Vjb25k"]]);
    expect(sent.map(({ reasoning_details: [one], tool_calls: [call] }: any) => one.id === call.id)).toEqual([true, true]);
    expect(sent[0].tool_calls[0].id).not.toBe(sent[1].tool_calls[0].id);
  });

  test("carry OpenAI's summary in one piece beside what is encrypted", async () => {
    const format = "openai-responses-v1";
    const requests = await runLoop("openrouter/openai/gpt-5", [
      [
        ...["The ", "end ", "of ", "the ", "file."].map((summary) => detail({ type: "reasoning.summary", summary, index: 0, format })),
        detail({ type: "reasoning.encrypted", data: "gAAA", id: "rs_1", index: 0, format }),
        detail({ type: "reasoning.of.tomorrow", data: "unknown" }),
        asks("a"),
      ],
    ]);
    expect(sentBack(requests[1])[0].reasoning_details).toEqual([
      { type: "reasoning.summary", summary: "The end of the file.", index: 0, format },
      { type: "reasoning.encrypted", data: "gAAA", id: "rs_1", index: 0, format },
    ]);
  });

  test("are kept of an answer without calls, for the next prompt", async () => {
    const details = [{ type: "reasoning.encrypted", data: "kept", id: "rs_9", format: "openai-responses-v1" }];
    const { url, requests } = await serve([
      { raw: [chunk({ content: "Hello." }), chunk({ reasoning_details: details }), chunk({}, "stop"), usageChunk(), done] },
      { text: "Again." },
    ]);
    const config = { model: "openrouter/openai/gpt-5", provider: { openrouter: { options: { baseURL: url, apiKey: "k" } } } };
    await using agent = await boot({ plugins: [openrouter], config });
    const { result } = await agent.prompt("hi");
    await agent.prompt({ message: "and again", session: result.sessionId } as never);
    expect(sentBack(requests[1])[0]).toMatchObject({ content: "Hello.", reasoning_details: details });
  });

  test("carry Gemini's signature of each call on its own endpoint", async () => {
    const signed = (id: string) => asks(id, { extra_content: { google: { thought_signature: `sig-${id}` } } });
    const requests = await runLoop("google/gemini-3-pro", [[signed("a")], [signed("b")]]);
    const signatures = sentBack(requests[2]).map(({ tool_calls: [called] }: any) => called.extra_content.google.thought_signature);
    expect(signatures).toEqual(["sig-a", "sig-b"]);
  });

  test("go back as reasoning_content where they came as that", async () => {
    const requests = await runLoop("deepseek/deepseek-reasoner", [[chunk({ reasoning_content: "I should look." }), asks("a")]]);
    expect(sentBack(requests[1])[0]).toMatchObject({ reasoning_content: "I should look." });
  });
});

test.each(["openrouter/a/b", "deepseek/m"])("a server that calls every call the same gets back one result for each: %s", async (model) => {
  const requests = await runLoop(model, [[asks("call_0")], [asks("call_0")], [asks("call_0")]]);
  const { messages } = requests[3]!.body;
  const called = messages.flatMap((message: any) => message.tool_calls?.map(({ id }: { id: string }) => id) ?? []);
  expect(called[0]).toBe("call_0");
  expect(new Set(called).size).toBe(3);
  expect(messages.flatMap((message: any) => message.tool_call_id ?? [])).toEqual(called);
});
