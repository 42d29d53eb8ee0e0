import type { LanguageModelV3StreamPart, LanguageModelV3Usage } from "@ai-sdk/provider";
import { describe, expect, test } from "vitest";
import type { EventFacts } from "../../core/events.ts";
import { foldTurn, type TurnContext } from "../../core/turn.ts";

const usage: LanguageModelV3Usage = {
  inputTokens: { total: 100, noCache: 70, cacheRead: 20, cacheWrite: 10 },
  outputTokens: { total: 9, text: 5, reasoning: 4 },
};
const finish = (unified: any = "stop", more: object = {}): LanguageModelV3StreamPart => ({
  type: "finish",
  finishReason: { unified, raw: unified },
  usage,
  ...more,
});

const text = (delta: string, id = "t"): LanguageModelV3StreamPart[] => [
  { type: "text-start", id },
  { type: "text-delta", id, delta },
  { type: "text-end", id },
];

const asked = (id: string, toolName: string, input: string): LanguageModelV3StreamPart[] => [
  { type: "tool-input-start", id, toolName },
  { type: "tool-input-delta", id, delta: input },
  { type: "tool-input-end", id },
  { type: "tool-call", toolCallId: id, toolName, input },
];

const streamOf = (parts: LanguageModelV3StreamPart[]) =>
  new ReadableStream<LanguageModelV3StreamPart>({
    start(controller) {
      for (const part of parts) controller.enqueue(part);
      controller.close();
    },
  });

function fold(parts: LanguageModelV3StreamPart[] | ReadableStream<LanguageModelV3StreamPart>, over: Partial<TurnContext> = {}) {
  const events: EventFacts[] = [];
  let made = 0;
  const context: TurnContext = {
    model: "p/m",
    messageId: "msg_1",
    emit: (event) => events.push(event),
    newId: (prefix) => `${prefix}_${++made}`,
    now: () => 5,
    caughtUp: () => undefined,
    signal: new AbortController().signal,
    ...over,
  };
  return { events, turn: foldTurn(Array.isArray(parts) ? streamOf(parts) : parts, context) };
}

test("a call whose id an earlier answer has used gets one of its own", async () => {
  const { calls, message } = await fold([...asked("a", "one", "{}"), ...asked("b", "one", "{}"), finish("tool-calls")], {
    isTaken: (id) => id === "a",
  }).turn;
  expect(calls.map(({ id }) => id)).toEqual(["call_1", "b"]);
  expect(message.content).toMatchObject([{ toolCallId: "call_1" }, { toolCallId: "b" }]);
});

describe("a turn", () => {
  test("is the text of its blocks, shown in deltas and once complete", async () => {
    const { turn, events } = fold([
      { type: "text-start", id: "t" },
      { type: "text-delta", id: "t", delta: "Hel" },
      { type: "text-delta", id: "t", delta: "lo" },
      { type: "text-end", id: "t" },
      finish(),
    ]);
    expect(await turn).toMatchObject({ text: "Hello", reason: "stop", calls: [], message: { role: "assistant", content: [{ type: "text", text: "Hello" }] } });
    expect(events.map((event) => ("delta" in event ? event.delta : event.type))).toEqual(["Hel", "lo", "text"]);
    expect(events.at(-1)).toMatchObject({ messageId: "msg_1", partId: "prt_1", text: "Hello", startedAt: 5, endedAt: 5 });
  });

  test("closes a block that the provider left open", async () => {
    const { turn, events } = fold([{ type: "text-start", id: "t" }, { type: "text-delta", id: "t", delta: "open" }, finish()]);
    expect((await turn).text).toBe("open");
    expect(events.at(-1)).toMatchObject({ type: "text", text: "open" });
  });

  test("takes a delta without a start as the start of a block, and keeps reasoning apart from text of the same id", async () => {
    const { turn } = fold([{ type: "reasoning-delta", id: "0", delta: "hm" }, { type: "text-delta", id: "0", delta: "yes" }, finish()]);
    expect((await turn).message.content).toEqual([
      { type: "reasoning", text: "hm" },
      { type: "text", text: "yes" },
    ]);
  });

  test("keeps the metadata of a block and of a call for the provider that wrote it", async () => {
    const { turn } = fold([
      { type: "reasoning-start", id: "r" },
      { type: "reasoning-delta", id: "r", delta: "so" },
      { type: "reasoning-end", id: "r", providerMetadata: { p: { signature: "s" } } },
      { type: "tool-call", toolCallId: "c", toolName: "read", input: "{}", providerMetadata: { p: { mark: 1 } } },
      finish("tool-calls"),
    ]);
    expect((await turn).message.content).toEqual([
      { type: "reasoning", text: "so", providerOptions: { p: { signature: "s" } } },
      { type: "tool-call", toolCallId: "c", toolName: "read", input: {}, providerOptions: { p: { mark: 1 } } },
    ]);
  });

  test("counts tokens, input without what the cache gave, and refuses absurd figures", async () => {
    expect((await fold([...text("a"), finish()]).turn).tokens).toEqual({ input: 70, output: 9, reasoning: 4, cache: { read: 20, write: 10 } });
    const absurd = {
      inputTokens: { total: -5, noCache: undefined, cacheRead: Number.NaN, cacheWrite: undefined },
      outputTokens: { total: Number.POSITIVE_INFINITY },
    };
    expect((await fold([...text("a"), finish("stop", { usage: absurd })]).turn).tokens).toEqual({
      input: 0,
      output: 0,
      reasoning: 0,
      cache: { read: 0, write: 0 },
    });
    expect((await fold([...text("a"), finish("stop", { usage: undefined })]).turn).tokens.input).toBe(0);
  });

  test("takes the cost that the provider's plugin says, and no absurd one", async () => {
    const cost = (costUsd: unknown) =>
      fold([...text("a"), finish("stop", { providerMetadata: { "agent-runtime": { costUsd } } })]).turn.then((turn) => turn.costUsd);
    expect([await cost(0.25), await cost(-1), await cost(1e9), await cost("0.1"), await cost(Number.NaN)]).toEqual([
      0.25,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  test("names the model that says it has answered", async () => {
    expect((await fold([{ type: "response-metadata", modelId: "real" }, ...text("a"), finish()]).turn).respondedModelId).toBe("real");
  });
});

describe("the calls of a turn", () => {
  test("stand in the order in which they first appeared, with the raw text of their input", async () => {
    const { turn } = fold([
      { type: "tool-input-start", id: "a", toolName: "read" },
      { type: "tool-input-start", id: "b", toolName: "list" },
      { type: "tool-input-delta", id: "b", delta: "{ }" },
      { type: "tool-call", toolCallId: "b", toolName: "list", input: "{}" },
      { type: "tool-input-delta", id: "a", delta: '{"x": 1 ' },
      { type: "tool-call", toolCallId: "a", toolName: "read", input: '{"x":1}' },
      finish("tool-calls"),
    ]);
    expect((await turn).calls).toEqual([
      { id: "a", tool: "read", input: '{"x": 1 ' },
      { id: "b", tool: "list", input: "{ }" },
    ]);
  });

  test("that broke off keep an empty input in the message, so that the conversation stays readable", async () => {
    expect((await fold([...asked("a", "read", '{"x": '), finish("tool-calls")]).turn).message.content).toEqual([
      { type: "tool-call", toolCallId: "a", toolName: "read", input: {} },
    ]);
  });

  test("get ids of their own where the provider repeats one or gives none", async () => {
    const { turn } = fold([...asked("same", "read", '{"n":1}'), ...asked("same", "read", '{"n":2}'), ...asked("", "read", '{"n":3}'), finish("tool-calls")]);
    const { calls, message } = await turn;
    expect(calls.map(({ input }) => input)).toEqual(['{"n":1}', '{"n":2}', '{"n":3}']);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(3);
    expect(calls[0]?.id).toBe("same");
    expect(message.content.map((part) => "toolCallId" in part && part.toolCallId)).toEqual(calls.map(({ id }) => id));
  });

  test("that the provider itself has run are none of ours", async () => {
    const { turn } = fold([
      { type: "tool-input-start", id: "s", toolName: "web_search", providerExecuted: true },
      { type: "tool-input-delta", id: "s", delta: "{}" },
      { type: "tool-call", toolCallId: "s", toolName: "web_search", input: "{}", providerExecuted: true },
      ...text("found"),
      finish(),
    ]);
    expect((await turn).calls).toEqual([]);
  });

  test("take the name of the closing part where deltas came without a start", async () => {
    expect(
      (await fold([{ type: "tool-input-delta", id: "a", delta: "{}" }, { type: "tool-call", toolCallId: "a", toolName: "read", input: "{}" }, finish()]).turn)
        .calls,
    ).toEqual([{ id: "a", tool: "read", input: "{}" }]);
  });
});

describe("a stream that is no answer", () => {
  const codeOf = (parts: LanguageModelV3StreamPart[]) =>
    fold(parts).turn.then(
      () => "answered",
      (error) => error.code ?? error.message,
    );

  test("is cut when it ends without a finish, whatever it said before", async () => expect(await codeOf(text("half"))).toBe("STREAM_CUT"));

  test("is cut when its finish has no reason of the provider's own", async () => {
    expect(await codeOf([...text("half"), finish("other", { finishReason: { unified: "other", raw: undefined } })])).toBe("STREAM_CUT");
    expect(await codeOf([...text("half"), finish("stop", { finishReason: undefined })])).toBe("STREAM_CUT");
    expect(await codeOf([...text("half"), finish("error")])).toBe("STREAM_CUT");
    expect(await codeOf([...text("whole"), finish("other", { finishReason: { unified: "other", raw: "end_turn" } })])).toBe("answered");
  });

  test("is empty when it has neither text nor calls", async () => {
    expect(await codeOf([finish()])).toBe("ANSWER_EMPTY");
    expect(await codeOf([...text("  \n"), finish()])).toBe("ANSWER_EMPTY");
    expect(await codeOf([{ type: "reasoning-delta", id: "r", delta: "thinking" }, finish()])).toBe("ANSWER_EMPTY");
  });

  test("is no empty answer when a limit or a filter ended it", async () => {
    expect((await fold([finish("length")]).turn).reason).toBe("length");
    expect((await fold([finish("content-filter")]).turn).message.content).toEqual([]);
  });

  test("throws what it reports as an error", async () =>
    expect(await codeOf([...text("half"), { type: "error", error: new Error("upstream") }])).toBe("upstream"));
});

test("a slow reader holds the stream back", async () => {
  let letGo = () => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const { turn, events } = fold([...text("a"), ...text("b", "u"), finish()], { caughtUp: () => (events.length === 1 ? held : undefined) });
  await new Promise((resolve) => setImmediate(resolve));
  expect(events).toHaveLength(1);
  letGo();
  expect((await turn).text).toBe("ab");
});

test("after an abort nothing is emitted, and the stream is cancelled", async () => {
  const abort = new AbortController();
  let controller!: ReadableStreamDefaultController<LanguageModelV3StreamPart>;
  let isCancelled = false;
  const stream = new ReadableStream<LanguageModelV3StreamPart>({ start: (given) => void (controller = given), cancel: () => void (isCancelled = true) });
  const { turn, events } = fold(stream, { signal: abort.signal });
  abort.abort(new Error("stopped"));
  for (const part of text("late")) controller.enqueue(part);
  await expect(turn).rejects.toThrow("stopped");
  expect(events).toEqual([]);
  expect(isCancelled).toBe(true);
});
