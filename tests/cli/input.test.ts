import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type InputItem, type InputOptions, readInput } from "../../cli/input.ts";
import type { Stdin, StdinKind } from "../../cli/stdin.ts";

async function* pieces(...parts: (string | Uint8Array | number)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (typeof part === "number") await sleep(part);
    else yield typeof part === "string" ? Buffer.from(part) : part;
  }
}

const stdinOf = (chunks: AsyncIterable<Uint8Array>, kind: StdinKind = "stream"): Stdin => ({ kind, read: () => chunks, hasWaiting: async () => false });

async function read(stdin: Stdin, options: Partial<InputOptions> = {}): Promise<{ items: InputItem[]; said: string[] }> {
  const said: string[] = [];
  const items: InputItem[] = [];
  for await (const item of readInput({
    joinStdin: false,
    format: "auto",
    stdin,
    signal: new AbortController().signal,
    say: (line) => said.push(line),
    ...options,
  }))
    items.push(item);
  return { items, said };
}

const brief = (items: InputItem[]) =>
  items.map((item) => (item.kind === "request" ? `${item.format}:${item.request.message}` : `${item.format}!${item.error.code}`));
const silent = stdinOf({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) });

describe("text on stdin", () => {
  test("is one prompt to its end, however it comes", async () => {
    expect(brief((await read(stdinOf(pieces("one\n", "two {", "}\n")))).items)).toEqual(["text:one\ntwo {}\n"]);
    expect(brief((await read(stdinOf(pieces(" \n", "{not", " json")), { format: "text" })).items)).toEqual(["text: \n{not json"]);
  });

  test("that is empty or blank is INPUT_EMPTY", async () => {
    for (const parts of [[], [""], ["\n \n"]]) expect(brief((await read(stdinOf(pieces(...parts)))).items)).toEqual(["text!INPUT_EMPTY"]);
    expect(brief((await read(stdinOf(pieces(), "terminal"))).items)).toEqual(["text!INPUT_EMPTY"]);
    expect(brief((await read(stdinOf(pieces("\n")), { format: "json" })).items)).toEqual(["json!INPUT_EMPTY"]);
  });

  test("that is no UTF-8 is INPUT_ENCODING with its line", async () => {
    const { items } = await read(stdinOf(pieces("good\n", Uint8Array.of(0xe9, 0x20))));
    expect(items).toMatchObject([{ kind: "error", error: { code: "INPUT_ENCODING", data: { line: 2 } } }]);
  });

  test("may start with a byte order mark", async () => {
    expect(brief((await read(stdinOf(pieces(Uint8Array.of(0xef, 0xbb, 0xbf), '{"message":"a"}')))).items)).toEqual(["json:a"]);
    expect(brief((await read(stdinOf(pieces(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))))).items)).toEqual(["text:a"]);
  });

  test("that is long in coming is told of once", async () => {
    const { said } = await read(stdinOf(pieces(30, "a", 30, "b", 30)), { silenceMs: 10 });
    expect(said).toHaveLength(1);
    expect(said[0]).toContain("waiting for the prompt on stdin");
    expect((await read(stdinOf(pieces('{"message":"a"}', 30)), { silenceMs: 10 })).said).toEqual([]);
  });
});

describe("JSON on stdin", () => {
  test("is taken request by request, before its end has come", async () => {
    const items = readInput({
      joinStdin: false,
      format: "auto",
      stdin: stdinOf(pieces('{"message":"a"}\n{"pro', 'mpt":"b"}', 200)),
      signal: new AbortController().signal,
      say() {},
    });
    expect([(await items.next()).value, (await items.next()).value]).toMatchObject([{ request: { message: "a" } }, { request: { message: "b" } }]);
  });

  test("is read only as far as requests are taken", async () => {
    let taken = 0;
    async function* endless() {
      for (;;) yield Buffer.from(`{"message":"${taken++}"}\n`);
    }
    const items = readInput({ joinStdin: false, format: "json", stdin: stdinOf(endless()), signal: new AbortController().signal, say() {} });
    for (let n = 0; n < 3; n++) await items.next();
    expect(taken).toBeLessThanOrEqual(4);
  });

  test("keeps every field of a request and tells of keys it does not know", async () => {
    const request = {
      message: "m",
      model: ["a/b", "c/d"],
      temperature: 0.5,
      topP: 1,
      stop: "x",
      seed: 1,
      maxOutputTokens: 5,
      files: ["f"],
      outputSchema: {},
      tools: [{ name: "bash", params: { command: "ls" } }],
      session: "ses_1",
      noReply: true,
    };
    const { items, said } = await read(stdinOf(pieces(JSON.stringify({ ...request, temprature: 1 }))));
    expect(items).toMatchObject([{ request: { ...request, stop: ["x"] } }]);
    expect(said).toEqual(['warning: line 1: the key "temprature" is not known and is ignored. Did you mean "temperature"?']);
  });

  test("names the key of a wrong type and goes on", async () => {
    const wrong = {
      message: 5,
      model: 1,
      temperature: "hot",
      topP: 3,
      stop: [1],
      seed: 1.5,
      maxOutputTokens: 0,
      files: "f",
      outputSchema: [],
      tools: [{}],
      session: {},
      noReply: "yes",
    };
    for (const [key, value] of Object.entries(wrong)) {
      const { items } = await read(stdinOf(pieces(`{"message":"ok"}\n${JSON.stringify({ message: "m", [key]: value })}\n{"message":"ok"}`)));
      expect(brief(items)).toEqual(["json:ok", "json!INPUT_INVALID", "json:ok"]);
      expect(items[1]).toMatchObject({ error: { data: { line: 2, reason: expect.stringMatching(new RegExp(`^${key} must be`)) } } });
    }
  });

  test("without a message, or with an empty one, is refused", async () => {
    expect(brief((await read(stdinOf(pieces("{}")))).items)).toEqual(["json!INPUT_INVALID"]);
    expect(brief((await read(stdinOf(pieces('{"message":" "}')))).items)).toEqual(["json!INPUT_EMPTY"]);
    expect(brief((await read(stdinOf(pieces('{"noReply":true,"tools":[{"name":"bash"}]}')))).items)).toEqual(["json:"]);
  });
});

describe("a prompt by argument", () => {
  test("does not touch an open stdin", async () => {
    expect(brief((await read(silent, { prompt: "hi" })).items)).toEqual(["text:hi"]);
  });

  test("is joined with stdin by -, and with a file that is stdin", async () => {
    expect(brief((await read(stdinOf(pieces("notes\n")), { prompt: "sum up", joinStdin: true })).items)).toEqual(["text:sum up\n\nnotes"]);
    expect(brief((await read(stdinOf(pieces("notes\n"), "file"), { prompt: "sum up" })).items)).toEqual(["text:sum up\n\nnotes"]);
    expect(brief((await read(stdinOf(pieces(), "file"), { prompt: "sum up" })).items)).toEqual(["text:sum up"]);
  });

  test("is JSON only where that is said", async () => {
    expect(brief((await read(silent, { prompt: '{"message":"a"}' })).items)).toEqual(['text:{"message":"a"}']);
    expect(brief((await read(silent, { prompt: '{"message":"a"}', format: "json" })).items)).toEqual(["json:a"]);
  });

  test("that is blank is INPUT_EMPTY", async () => expect(brief((await read(silent, { prompt: " " })).items)).toEqual(["text!INPUT_EMPTY"]));
});
