import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Options, type Query, query, type SDKMessage, type SDKResultMessage, type SDKUserMessage } from "@anthropic-ai/claude-agent-sdk";
import { afterAll, describe, expect, test } from "vitest";
import { type Script, startServer } from "../fixtures/server.ts";
import { isBuilt, KEY, LAUNCHER, makeHome, makeHomeWith, removeHomes, talkOf, until } from "./command.ts";
import { turn } from "./tool-runs.ts";

afterAll(removeHomes);

/** Runs the SDK's own client with this package's command in the place of Claude Code. */
async function drive(
  prompt: string | AsyncIterable<SDKUserMessage>,
  script: Script,
  options: Options = {},
  watch: (message: SDKMessage, query: Query) => void = () => {},
) {
  const server = await startServer(script);
  const home = makeHome();
  const running = query({
    prompt,
    options: {
      pathToClaudeCodeExecutable: LAUNCHER,
      executable: process.execPath as "node",
      cwd: join(home, "work"),
      model: "openrouter/acme/model-1",
      env: { PATH: process.env.PATH, HOME: home, OPENROUTER_API_KEY: KEY, OPENROUTER_BASE_URL: server.url },
      ...options,
    },
  });
  const messages: SDKMessage[] = [];
  let failure: unknown;
  try {
    for await (const message of running) {
      messages.push(message);
      watch(message, running);
    }
  } catch (error) {
    failure = error;
  }
  await server.close();
  const results = messages.filter((message): message is SDKResultMessage => message.type === "result");
  return { messages, results, requests: server.requests, failure, talk: (n = 0) => talkOf({ requests: server.requests } as never, n) };
}

const said = (text: string): SDKUserMessage => ({ type: "user", message: { role: "user", content: text }, parent_tool_use_id: null });

describe.runIf(isBuilt)("the client of the Agent SDK", () => {
  test("asks one prompt, and reads tools, answer and result", async () => {
    const { messages, results, failure } = await drive("hi", [turn(["list", {}]), { text: "Hello, Ada." }]);
    expect(failure).toBeUndefined();
    expect(messages.map(({ type }) => type)).toEqual(["system", "assistant", "user", "assistant", "result"]);
    expect(messages[0]).toMatchObject({ subtype: "init", model: "openrouter/acme/model-1", permissionMode: "auto" });
    expect(results).toMatchObject([{ subtype: "success", result: "Hello, Ada.", num_turns: 2, total_cost_usd: 0.003 }]);
  });

  test("talks over several prompts in one session", async () => {
    let next = () => {};
    const answered = new Promise<void>((resolve) => (next = resolve));
    async function* prompts() {
      yield said("one");
      await answered;
      yield said("two");
    }
    const { results, talk, failure } = await drive(prompts(), [{ text: "First." }, { text: "Second." }], {}, ({ type }) => type === "result" && next());
    expect(failure).toBeUndefined();
    expect(results.map((result) => result.subtype === "success" && result.result)).toEqual(["First.", "Second."]);
    expect(new Set(results.map(({ session_id }) => session_id)).size).toBe(1);
    expect(results[1]?.total_cost_usd).toBe(0.003);
    expect(results[1]?.usage.input_tokens).toBe(100);
    expect(talk(1)).toEqual(["user:one", "assistant:First.", "user:two"]);
  });

  test("shows images, and changes the mode of the prompt that runs", async () => {
    const data = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
    const source = { type: "base64", media_type: "image/png", data } as const;
    const content = [{ type: "text", text: "Draw this" } as const, { type: "image", source } as const];
    const message: SDKUserMessage = { type: "user", message: { role: "user", content }, parent_tool_use_id: null };
    let end = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    let ask = async () => {};
    const script: Script = async (_, n) => {
      if (n === 0) await ask();
      return n === 0 ? turn(["write", { filePath: "a", content: "x" }]) : { text: "ok" };
    };
    async function* prompts() {
      yield message;
      await ended;
    }
    const { requests } = await drive(prompts(), script, {}, ({ type }, running) => {
      ask = () => running.setPermissionMode("plan");
      if (type === "result") end();
    });
    const url = `data:image/png;base64,${data}`;
    expect(requests[0]?.body.messages[1].content).toEqual([
      { type: "text", text: "Draw this" },
      { type: "image_url", image_url: { url } },
    ]);
    expect(requests[1]?.body.messages.at(-1)).toMatchObject({ role: "tool", content: expect.stringContaining("Denied") });
  });

  test("interrupts a prompt and goes on with the next", async () => {
    let next = () => {};
    const interrupted = new Promise<void>((resolve) => (next = resolve));
    async function* prompts() {
      yield said("one");
      await interrupted;
      yield said("two");
    }
    const script: Script = ({ text }) => (text.includes("two") ? { text: "Here." } : { raw: ["HANG"] });
    let isInterrupted = false;
    const { results, failure } = await drive(prompts(), script, {}, async (message, running) => {
      if (message.type === "result") next();
      if (message.type !== "system" || isInterrupted) return;
      isInterrupted = true;
      await running.interrupt();
    });
    expect(failure).toBeUndefined();
    expect(results).toMatchObject([{ subtype: "error_during_execution", is_error: true, terminal_reason: "aborted_streaming" }, { result: "Here." }]);
  });

  test("is asked for permission, and its answer counts", async () => {
    const script = [turn(["bash", { command: "echo first" }], ["bash", { command: "echo second" }]), { text: "ok" }];
    const asked: unknown[] = [];
    const { results, talk, failure } = await drive("go", script, {
      canUseTool: async (tool, input) => {
        asked.push([tool, input.command]);
        return input.command === "echo first" ? { behavior: "allow", updatedInput: input } : { behavior: "deny", message: "Not that one." };
      },
    });
    expect(failure).toBeUndefined();
    expect(asked).toEqual([
      ["bash", "echo first"],
      ["bash", "echo second"],
    ]);
    expect(talk(1).slice(-2)).toEqual([expect.stringContaining("first"), "tool:Denied: Not that one."]);
    expect(results).toMatchObject([{ subtype: "success", permission_denials: [{ tool_name: "bash", tool_input: { command: "echo second" } }] }]);
  });

  test("is asked a question, and its words are the answer; where it cannot ask, nobody answers", async () => {
    const script = () => [turn(["question", { question: "Which colour?", options: ["red", "blue"] }]), { text: "Noted." }];
    const asked: unknown[] = [];
    const answered = await drive("go", script(), {
      allowedTools: ["AskUserQuestion"],
      canUseTool: async (tool, input) => {
        asked.push([tool, input]);
        return { behavior: "allow", updatedInput: { ...input, answers: { "Which colour?": "blue" } } };
      },
    });
    expect(asked).toEqual([["question", { question: "Which colour?", options: ["red", "blue"] }]]);
    expect([answered.failure, answered.talk(1).at(-1)]).toEqual([undefined, "tool:blue"]);
    const { results, talk } = await drive("go", script(), { allowedTools: ["AskUserQuestion"] });
    expect(talk(1).at(-1)).toMatch(/^tool:Nobody is there to answer: Which colour\?/);
    expect(results).toMatchObject([{ subtype: "error_during_execution", is_error: true, error: { code: "QUESTION_UNANSWERED" } }]);
  });

  test("gets the words as they come, sets the system prompt, and changes the model", async () => {
    let next = () => {};
    const answered = new Promise<void>((resolve) => (next = resolve));
    async function* prompts() {
      yield said("one");
      await answered;
      yield said("two");
    }
    let isFirst = true;
    const options: Options = { includePartialMessages: true, systemPrompt: "Be brief." };
    const { messages, requests, failure } = await drive(
      prompts(),
      [{ text: "Word by word by word, this is." }, { text: "Yes." }],
      options,
      async (message, running) => {
        if (message.type !== "result" || !isFirst) return;
        isFirst = false;
        await running.setModel("openrouter/acme/model-2");
        next();
      },
    );
    expect(failure).toBeUndefined();
    const deltas = messages.flatMap((message) =>
      message.type === "stream_event" && message.event.type === "content_block_delta" ? [message.event.delta] : [],
    );
    expect(deltas.map((delta) => (delta.type === "text_delta" ? delta.text : "")).join("")).toBe("Word by word by word, this is.Yes.");
    expect(requests.map(({ body }) => body.model)).toEqual(["acme/model-1", "acme/model-2"]);
    expect(JSON.stringify(requests[0]?.body.messages[0])).toContain("Be brief.");
  });

  test("takes a changed configuration from its next prompt on, survives a bad one, and is told of it", async () => {
    const servers = [await startServer([{ text: "First." }]), await startServer([{ text: "Second." }, { text: "Third." }])];
    const at = (url: string, model: string) => JSON.stringify({ model, provider: { my: { options: { baseURL: url, apiKey: false } } } });
    const home = makeHomeWith({ ".config/agent/agent.json": at(servers[0]!.url, "my/one") });
    const file = join(home, ".config/agent/agent.json");
    const waiting: (() => void)[] = [];
    const answered = () => new Promise<void>((resolve) => waiting.push(resolve));
    async function* prompts() {
      yield said("one");
      await answered();
      writeFileSync(file, at(servers[1]!.url, "my/two"));
      yield said("two");
      await answered();
      writeFileSync(file, '{ "model": 7 }');
      yield said("three");
    }
    const options: Options = { pathToClaudeCodeExecutable: LAUNCHER, cwd: join(home, "work"), env: { PATH: process.env.PATH, HOME: home } };
    const messages: SDKMessage[] = [];
    for await (const message of query({ prompt: prompts(), options })) {
      messages.push(message);
      if (message.type === "result") waiting.shift()?.();
    }
    for (const server of servers) await server.close();
    expect(messages.flatMap((message) => (message.type === "result" && message.subtype === "success" ? [message.result] : []))).toEqual([
      "First.",
      "Second.",
      "Third.",
    ]);
    expect(servers.map(({ requests }) => requests.length)).toEqual([1, 2]);
    expect(messages.filter((message) => message.type === "system" && message.subtype === "informational")).toMatchObject([
      { level: "warning", error: { code: "CONFIG_REJECTED" } },
    ]);
  });

  test("is told of a run that failed", async () => {
    const { results, failure } = await drive("hi", [{ status: 404 }]);
    expect(results).toMatchObject([{ subtype: "error_during_execution", is_error: true, error: { code: "MODEL_UNAVAILABLE" } }]);
    expect(String(failure)).toContain("returned an error result");
  });

  test("leaves no process behind when it is closed", async () => {
    const server = await startServer([{ raw: ["HANG"] }]);
    const home = makeHome();
    const env = { PATH: process.env.PATH, HOME: home, OPENROUTER_API_KEY: KEY, OPENROUTER_BASE_URL: server.url };
    const running = query({ prompt: "hi", options: { pathToClaudeCodeExecutable: LAUNCHER, cwd: join(home, "work"), model: "openrouter/acme/model-1", env } });
    const reading = (async () => {
      for await (const _ of running);
    })().catch(() => {});
    await until(() => server.requests.length > 0);
    running.close();
    await reading;
    await until(() => server.requests[0]?.closed === true);
    await server.close();
  });
});
