import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { frames, type Script } from "../fixtures/server.ts";
import { isBuilt, JSON_OUT, KEY, MODEL, makeHomeWith, ofType, removeHomes, runCommand, talkOf } from "./command.ts";
import { CLAUDE_BOTH, CLAUDE_OUT, kindsOf, resultsOf, talk, toLines, user } from "./stream-json.ts";
import { byPrompt, type Call, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

/** A model that waits for ever with the prompt that holds the word, and answers every other. */
const hangAt =
  (word: string): Script =>
  ({ body }) =>
    JSON.stringify(body.messages.at(-1)).includes(word) ? { raw: ["HANG"] } : { text: "Here." };

describe.runIf(isBuilt)("output as stream-json", () => {
  test("holds the session's start, each answer, each result of a tool, and the end", async () => {
    const run = await runCommand({ args: [...CLAUDE_OUT, "-p", "go"], script: [turn(["list", {}]), { text: "Done." }] });
    expect(kindsOf(run)).toEqual(["system/init", "assistant", "user", "assistant", "result/success"]);
    const [init, asked, told, , result] = run.events;
    expect(init).toMatchObject({ model: "openrouter/acme/model-1", permissionMode: "auto", apiKeySource: "none", mcp_servers: [] });
    expect(init.tools).toContain("read");
    expect(asked.message).toMatchObject({ type: "message", role: "assistant", stop_reason: "tool_use", content: [{ type: "tool_use", name: "list" }] });
    expect(told.message.content).toMatchObject([{ type: "tool_result", tool_use_id: asked.message.content[0].id }]);
    expect(result).toMatchObject({ result: "Done.", num_turns: 2, is_error: false, usage: { input_tokens: 200, output_tokens: 20 }, cost_source: "provider" });
    expect(new Set(run.events.map(({ session_id }) => session_id)).size).toBe(1);
    expect(new Set(run.events.map(({ uuid }) => uuid)).size).toBe(5);
  });

  test("is what --json-standard claude, AGENT_OUTPUT_FORMAT and the configuration mean", async () => {
    const first = async (args: string[], env = {}) => (await runCommand({ args: [...MODEL, ...args, "-p", "hi"], env })).events[0]?.subtype;
    expect(await first(["--json-standard", "claude"])).toBe("init");
    expect(await first([], { AGENT_OUTPUT_FORMAT: "stream-json" })).toBe("init");
    expect(await first([], { AGENT_CONFIG_CONTENT: '{"outputFormat":"stream-json"}' })).toBe("init");
  });

  test("says that a cost is not known", async () => {
    const [told] = resultsOf(await runCommand({ args: [...CLAUDE_OUT, "-p", "hi"], script: [{ text: "Hi.", usage: { cost: undefined } }] }));
    expect(told).toMatchObject({ total_cost_usd: 0, cost_source: "unknown", modelUsage: { "openrouter/acme/model-1": { costUSD: 0, costBasis: "unknown" } } });
  });

  test.each([
    [["--max-steps", "1"], "error_max_turns", "max_turns", 3],
    [["--max-cost", "0.001"], "error_max_budget_usd", "budget_exhausted", 3],
    [["--max-turns", "1"], "error_max_turns", "max_turns", 3],
    [["--max-budget-usd", "0.001"], "error_max_budget_usd", "budget_exhausted", 3],
  ])("tells which limit of %j ended the run", async (limits, subtype, terminal_reason, code) => {
    const run = await runCommand({ args: [...CLAUDE_OUT, ...limits, "-p", "go"], script: [turn(["list", {}])] });
    expect(resultsOf(run)).toMatchObject([{ subtype, terminal_reason, is_error: true, errors: [expect.stringContaining("limit")] }]);
    expect(run.code).toBe(code);
  });

  test("streams words and calls with --include-partial-messages", async () => {
    const script = [{ text: "Let me look.", tools: [{ name: "list", args: { path: "." } }] }, { text: "Done." }];
    const run = await runCommand({ args: [...CLAUDE_OUT, "--include-partial-messages", "-p", "go"], script });
    const events = run.events.flatMap(({ type, event }) => (type === "stream_event" ? [event] : []));
    const types = ["message_start", "content_block_start", "content_block_delta", "content_block_stop"];
    expect(events.map(({ type }) => type).filter((type, index, all) => type !== all[index - 1])).toEqual([
      ...types,
      ...types.slice(1),
      "message_delta",
      "message_stop",
      ...types,
      "message_delta",
      "message_stop",
    ]);
    const words = events.flatMap(({ delta }) => (delta?.type === "text_delta" ? [delta.text] : []));
    expect(words.join("")).toBe("Let me look.Done.");
    expect(JSON.parse(events.find(({ delta }) => delta?.type === "input_json_delta").delta.partial_json)).toEqual({ path: "." });
    expect(events.filter(({ type }) => type === "message_delta").map(({ delta }) => delta.stop_reason)).toEqual(["tool_use", "end_turn"]);
  });

  test("gives up a streamed message that a retry voids, and shows the answer once", async () => {
    const cut = { raw: frames({ text: "Half of an answer that" }).slice(0, -3) };
    const args = [...CLAUDE_OUT, "--include-partial-messages", "-p", "go"];
    const run = await runCommand({ args, script: [cut, { text: "Whole." }] });
    const starts = run.events.filter(({ event }) => event?.type === "message_start" || event?.type === "message_stop");
    expect(starts.map(({ event }) => event.type)).toEqual(["message_start", "message_stop", "message_start", "message_stop"]);
    expect(kindsOf(run)).toContain("system/api_retry");
    expect(run.events.filter(({ type }) => type === "assistant").map(({ message }) => message.content[0].text)).toEqual(["Whole."]);
    expect(run.events.find(({ content }) => content?.includes("does not count"))).toBeDefined();
  });

  test("shows the messages of a task with the call that started it", async () => {
    const script = byPrompt({ go: [turn(["task", { description: "look", prompt: "look" }]), { text: "ok" }], look: [turn(["list", {}]), { text: "seen" }] });
    const run = await runCommand({ args: [...CLAUDE_OUT, "-p", "go"], script });
    const call = run.events.find(({ type }) => type === "assistant").message.content[0].id;
    const shown = run.events.filter(({ type }) => type === "assistant" || type === "user").map(({ type, parent_tool_use_id: parent }) => [type, parent]);
    expect(shown).toEqual([
      ["assistant", null],
      ["assistant", call],
      ["user", call],
      ["assistant", call],
      ["user", null],
      ["assistant", null],
    ]);
    expect(kindsOf(run).filter((kind) => kind.startsWith("result"))).toHaveLength(1);
    const [{ usage, modelUsage, total_cost_usd }] = resultsOf(run);
    expect([usage.input_tokens, modelUsage["openrouter/acme/model-1"].inputTokens, total_cost_usd]).toEqual([200, 400, 0.006]);
  });

  test("lists the calls that were not allowed", async () => {
    const run = await runCommand({ args: [...CLAUDE_OUT, "-p", "go"], script: [turn(["bash", { command: "cat /etc/passwd" }]), { text: "ok" }] });
    expect(resultsOf(run)[0].permission_denials).toMatchObject([{ tool_name: "bash", tool_input: { command: "cat /etc/passwd" } }]);
  });

  test("tells of a wrong option, too, and holds no key", async () => {
    const wrong = await runCommand({ args: [...CLAUDE_OUT, "--nonsense"] });
    expect(wrong.events).toMatchObject([{ type: "system", subtype: "informational", error: { code: "OPTION_UNKNOWN" } }]);
    const run = await runCommand({ args: [...CLAUDE_OUT, "--include-partial-messages", "-p", "go"], script: [{ text: `The key is ${KEY}.` }] });
    expect(run.stdout).not.toContain(KEY);
  });
});

describe.runIf(isBuilt)("input as stream-json", () => {
  test("answers frame after frame in one session, and in the frames' format", async () => {
    const stdin = toLines(user("one"), { type: "user_prompt", content: "two" }, user([{ type: "text", text: "three" }]));
    const run = await runCommand({ args: [...MODEL, "--input-format", "stream-json"], stdin, script: [{ text: "A." }, { text: "B." }, { text: "C." }] });
    expect(resultsOf(run).map(({ result }) => result)).toEqual(["A.", "B.", "C."]);
    expect(talkOf(run, 2)).toEqual(["user:one", "assistant:A.", "user:two", "assistant:B.", "user:three"]);
    expect(run.code).toBe(0);
  });

  test("goes on after a frame that cannot be read, and says which line it was", async () => {
    const image = user([{ type: "image", source: { type: "base64", media_type: "image/png", data: "" } }]);
    const stdin = toLines(
      user("one"),
      "nonsense",
      { type: "unheard" },
      image,
      { type: "permission_response", id: "per_1", response: "maybe" },
      user(""),
      user("two"),
    );
    const run = await runCommand({ args: CLAUDE_BOTH, stdin });
    const errors = run.events.flatMap(({ error }) => (error ? [error] : []));
    expect(errors.map(({ code, data }) => [code, data.line])).toEqual([
      ["INPUT_INVALID", 2],
      ["INPUT_INVALID", 3],
      ["INPUT_INVALID", 4],
      ["INPUT_INVALID", 5],
      ["INPUT_EMPTY", 6],
    ]);
    expect(resultsOf(run)).toHaveLength(2);
    expect(run.code).toBe(2);
  });

  test("goes on after a line that is too long, one that is not UTF-8, keys that are not allowed, and says where it was cut", async () => {
    const stdin = Buffer.concat([
      Buffer.from(toLines(user("x".repeat(17 * 1024 * 1024)))),
      Buffer.from('{"type":"user_prompt","content":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}\n'),
      Buffer.from(toLines('{"type":"user_prompt","content":"a","__proto__":{}}', user("good"), '{"type":"user_pr').trimEnd()),
    ]);
    const run = await runCommand({ args: CLAUDE_BOTH, stdin });
    expect(run.events.flatMap(({ error }) => (error ? [[error.code, error.data.line]] : []))).toEqual([
      ["INPUT_TOO_LONG", 1],
      ["INPUT_ENCODING", 2],
      ["INPUT_INVALID", 3],
      ["INPUT_TRUNCATED", 5],
    ]);
    expect([run.code, resultsOf(run).length, talkOf(run)]).toEqual([2, 1, ["user:good"]]);
  });

  test("is read by parts that no other run loads", async () => {
    const loadedBy = async (args: string[], stdin: string) => {
      const home = makeHomeWith({
        "loaded.cjs": 'process.on("exit", () => require("node:fs").writeSync(2, Object.keys(require.cache).join("\\n")));',
      });
      const { stderr } = await runCommand({ args: [...MODEL, ...args], stdin, home, env: { NODE_OPTIONS: `--require ${home}/loaded.cjs` } });
      return stderr.split("\n").filter((line) => line.includes("claude")).length;
    };
    expect(await loadedBy(["--output-format", "text"], "Hi")).toBe(0);
    expect(await loadedBy(["--output-format", "json"], '{"message":"Hi"}')).toBe(0);
    expect(await loadedBy(CLAUDE_BOTH.slice(MODEL.length), toLines(user("Hi")))).toBeGreaterThan(0);
  });

  test("tells of them as error events where the output is json", async () => {
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "--input-format", "stream-json"], stdin: toLines("nonsense", user("two")) });
    expect(ofType(run, "error")).toMatchObject([{ error: { code: "INPUT_INVALID", data: { line: 1 } } }]);
    expect(ofType(run, "result")).toHaveLength(1);
  });

  test("without any frame is empty", async () => {
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: "" });
    expect(run.events).toMatchObject([{ error: { code: "INPUT_EMPTY" } }]);
    expect([run.code, run.requests.length]).toEqual([2, 0]);
  });

  test("takes a system frame as the system prompt of the prompts after it", async () => {
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(user("one"), { type: "system", content: "Speak French." }, user("two")) });
    expect(run.requests.map(({ text }) => text.includes("Speak French."))).toEqual([false, true]);
  });

  test("interrupts what runs, and goes on with what waits; that is no failure", async () => {
    let isInterrupted = false;
    const run = await talk({
      script: hangAt("one"),
      onStart: ({ send }) => {
        send(user("one"));
        send(user("two"));
      },
      onLine(line, { send, end }) {
        if (line.subtype === "init" && !isInterrupted) send({ type: "interrupt" });
        isInterrupted ||= line.subtype === "init";
        if (line.subtype === "success") end();
      },
    });
    expect(resultsOf(run)).toMatchObject([{ subtype: "error_during_execution", error: { code: "INTERRUPTED" } }, { result: "Here." }]);
    expect(run.code).toBe(0);
  });

  test("interrupts a prompt that has not begun", async () => {
    const run = await runCommand({ args: CLAUDE_BOTH, script: hangAt("one"), stdin: toLines(user("one"), { type: "interrupt" }) });
    expect(resultsOf(run)).toMatchObject([{ error: { code: "INTERRUPTED" } }]);
  });

  test("reads an interrupt behind more prompts than may wait; those that find no room share an error", async () => {
    const half = user("x".repeat(8 * 1024 * 1024), { shouldQuery: false });
    const ask = { type: "control_request", request_id: "1", request: { subtype: "interrupt" } };
    const run = await talk({
      script: hangAt("one"),
      timeoutMs: 150_000,
      onStart({ send }) {
        send(user("one"));
        for (let n = 0; n < 7; n++) send(half);
        for (let n = 0; n < 50; n++) send(user(`more ${n}`, { shouldQuery: false }));
        for (let n = 0; n < 5; n++) send(half);
        send(ask);
      },
      onLine: (line, { end }) => line.type === "result" && end(),
    });
    expect(resultsOf(run)[0]).toMatchObject({ error: { code: "INTERRUPTED" } });
    const crowded = run.events.flatMap(({ error }) => (error?.code === "INPUT_CROWDED" ? [error] : []));
    expect(crowded).toMatchObject([{ message: expect.stringContaining("lines 59 to 63"), data: { line: 59 } }]);
    expect([run.code, resultsOf(run).length]).toEqual([2, 58]);
  }, 180_000);

  test("takes every prompt of a file, however long it is", async () => {
    const home = makeHomeWith({ "frames.jsonl": toLines(...Array.from({ length: 9 }, () => user("x".repeat(8 * 1024 * 1024), { shouldQuery: false }))) });
    const run = await runCommand({ args: CLAUDE_BOTH, home, stdinFile: join(home, "frames.jsonl"), timeoutMs: 150_000 });
    expect([run.code, resultsOf(run).length]).toEqual([0, 9]);
  }, 180_000);

  test("lets a frame with steer join the run at its next step", async () => {
    const run = await talk({
      args: [...CLAUDE_BOTH, "--permission-prompt-tool", "stdio"],
      script: [turn(["bash", { command: "echo hi" }]), { text: "Turned." }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "control_request") {
          send(user("rather turn left", { steer: true }));
          send({ type: "permission_response", id: line.request_id, response: "once" });
        }
        if (line.type === "result") end();
      },
    });
    expect(talkOf(run, 1).at(-1)).toBe("user:rather turn left");
    expect(resultsOf(run)).toMatchObject([{ result: "Turned.", num_turns: 2 }]);
  });

  test("lets a frame with steer be heard by a run that waits for a background task", async () => {
    let release = () => {};
    const isHeard = new Promise<void>((resolve) => (release = resolve));
    const answer = byPrompt({
      go: [turn(["task", { description: "d", prompt: "child", background: true }]), { text: "Waiting." }, { text: "I hurry." }, { text: "All is done." }],
      child: [{ text: "Child is done." }],
    });
    const run = await talk({
      async script(request) {
        const reply = await answer(request);
        if (reply.text === "Child is done.") await isHeard;
        return reply;
      },
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        const text = line.type === "assistant" ? line.message.content[0].text : undefined;
        if (text === "Waiting.") send(user("hurry up", { steer: true }));
        if (text === "I hurry.") release();
        if (line.type === "result") end();
      },
    });
    expect(resultsOf(run)).toMatchObject([{ result: "All is done.", num_turns: 4 }]);
    expect(talkOf(run, run.requests.length - 1).filter((said) => said.startsWith("user:"))).toEqual([
      "user:go",
      "user:hurry up",
      expect.stringContaining("has ended: success"),
    ]);
  });

  test("answers words that came too late for any step as a prompt of their own", async () => {
    let release = () => {};
    const isRead = new Promise<void>((resolve) => (release = resolve));
    let begin = () => {};
    const script: Script = async (_, n) => {
      if (n > 0) return { text: "Second." };
      begin();
      await isRead;
      return { text: "First." };
    };
    const run = await talk({
      script,
      onStart({ send }) {
        send(user("go"));
        begin = () => {
          send(user("and one more", { steer: true }));
          send({ type: "control_request", request_id: "1", request: { subtype: "mcp_status" } });
        };
      },
      onLine(line, { end }) {
        if (line.type === "control_response") release();
        if (line.result === "Second.") end();
      },
    });
    expect(resultsOf(run).map(({ result }) => result)).toEqual(["First.", "Second."]);
    expect(talkOf(run, 1)).toEqual(["user:go", "assistant:First.", "user:and one more"]);
  });

  const switchTo = (mode: string) => ({ type: "control_request", request_id: mode, request: { subtype: "set_permission_mode", mode } });

  test("takes a changed mode for the next call of the prompt that runs, of its tasks, and for prompts that wait", async () => {
    const write = (filePath: string): Call => ["write", { filePath, content: "x" }];
    const task: Call = ["task", { description: "d", prompt: "child", subagent_type: "build" }];
    const answers = [turn(write("a")), turn(write("b"), task), turn(write("c")), { text: "Done." }, turn(write("d")), { text: "First." }, turn(write("e"))];
    const modes: Record<number, string> = { 1: "plan", 4: "acceptEdits", 5: "dontAsk" };
    let set = async (_: string) => {};
    let isSet = () => {};
    const run = await talk({
      async script(_, n) {
        if (modes[n] !== undefined) await set(modes[n]);
        return answers[n] ?? { text: "Second." };
      },
      onStart({ send }) {
        set = (mode) =>
          new Promise((resolve) => {
            isSet = resolve;
            send(switchTo(mode));
          });
        send(user("go"));
        send(user("wait"));
      },
      onLine(line, { end }) {
        if (line.type === "control_response") isSet();
        if (line.result === "Second.") end();
      },
    });
    expect(readdirSync(join(run.home, "work")).sort()).toEqual(["a", "d"]);
    const denied = run.requests.map((request) => toolOutputsOf(request).filter((text) => text.includes("Denied")).length);
    expect(denied).toEqual([0, 0, 0, 1, 1, 1, 1, 2]);
    expect(run.events.filter(({ subtype }) => subtype === "init").map(({ permissionMode }) => permissionMode)).toEqual(["auto", "dontAsk"]);
  });

  const BOUNDS = ["--permission-mode readonly", "--read-only", "--agent plan", "--disable-tools write"];

  test.each(BOUNDS)("leads a prompt that runs out of no bound that %s has set", async (bound) => {
    let sendMode = () => {};
    let go = () => {};
    const isSwitched = new Promise<void>((resolve) => (go = resolve));
    const run = await talk({
      args: [...CLAUDE_BOTH, ...bound.split(" "), "--allow-dangerously-skip-permissions"],
      async script(_, n) {
        if (n > 0) return { text: "ok" };
        sendMode();
        await isSwitched;
        return turn(["write", { filePath: "a", content: "x" }]);
      },
      onStart({ send }) {
        sendMode = () => send(switchTo("bypassPermissions"));
        send(user("hi"));
      },
      onLine(line, { end }) {
        if (line.type === "control_response") go();
        if (line.type === "result") end();
      },
    });
    expect([run.requests.length, readdirSync(join(run.home, "work"))]).toEqual([2, []]);
  });

  test("switches model and mode by control requests, but never out of read-only", async () => {
    const control = (request_id: string, request: object) => ({ type: "control_request", request_id, request });
    const stdin = toLines(
      control("1", { subtype: "set_model", model: "openrouter/acme/model-2" }),
      control("2", { subtype: "set_permission_mode", mode: "bypassPermissions" }),
      control("3", { subtype: "set_permission_mode", mode: "plan" }),
      user("hi"),
    );
    const script = [turn(["write", { filePath: "a", content: "b" }]), { text: "ok" }];
    const run = await runCommand({ args: CLAUDE_BOTH, stdin, script });
    expect(ofType(run, "control_response").map(({ response }) => [response.request_id, response.subtype])).toEqual([
      ["1", "success"],
      ["2", "error"],
      ["3", "success"],
    ]);
    expect(run.requests[0]?.body.model).toBe("acme/model-2");
    expect(run.events.find(({ subtype }) => subtype === "init").permissionMode).toBe("plan");
    expect(toolOutputsOf(run.requests[1])[0]).toContain("Denied");
    const fixed = await runCommand({
      args: [...CLAUDE_BOTH, "--permission-mode", "readonly"],
      stdin: toLines(control("1", { subtype: "set_permission_mode", mode: "auto" }), user("hi")),
    });
    expect(ofType(fixed, "control_response")[0].response.error).toContain("read only");
  });
});

describe.runIf(isBuilt)("a client", () => {
  test("is told at once that its hooks would not be asked", async () => {
    const request = { subtype: "initialize", hooks: { PreToolUse: [{ matcher: "*", hookCallbackIds: ["hook_0"] }] } };
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines({ type: "control_request", request_id: "1", request }) });
    expect(ofType(run, "control_response")).toMatchObject([{ response: { subtype: "error", error: expect.stringContaining("hooks") } }]);
  });

  test("keeps words in the session without an answer to them", async () => {
    const run = await runCommand({ args: CLAUDE_BOTH, stdin: toLines(user("Remember 7.", { shouldQuery: false }), user("Which?")), script: [{ text: "7." }] });
    expect(run.requests).toHaveLength(1);
    expect(talkOf(run)).toEqual(["user:Remember 7.", "user:Which?"]);
  });
});

describe.runIf(isBuilt)("a call that needs permission", () => {
  const ASKING = ["--permission-mode", "ask", "--input-format", "stream-json"];
  const script = () => [turn(["bash", { command: "echo yes" }]), turn(["bash", { command: "echo yes" }]), { text: "ok" }];
  const answering = (response: string, args: string[]) =>
    talk({
      args,
      script: script(),
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "permission_request" || line.type === "control_request")
          send({ type: "permission_response", id: line.id ?? line.request_id, response });
        if (line.type === "result") end();
      },
    });
  const outputs = (run: Parameters<typeof toolOutputsOf>[0]) => toolOutputsOf(run).map((text) => (text.startsWith("yes") ? "ran" : text));

  test.each(["json", "stream-json"])("is asked about as %s, once for each where the answer is once", async (format) => {
    const run = await answering("once", [...MODEL, ...ASKING, "--output-format", format]);
    expect(outputs(run.requests.at(-1))).toEqual(["ran", "ran"]);
    const asked = run.events.filter(({ type }) => type === "permission_request" || type === "control_request");
    expect(asked).toHaveLength(2);
    expect(asked[0]).toMatchObject(
      format === "json"
        ? { tool: "bash", patterns: expect.any(Array), id: expect.stringMatching(/^per_/) }
        : { request: { subtype: "can_use_tool", tool_name: "bash", input: { command: "echo yes" } } },
    );
  });

  test("is asked about once where the answer is always", async () => {
    const run = await answering("always", [...MODEL, ...ASKING, ...JSON_OUT]);
    expect(outputs(run.requests.at(-1))).toEqual(["ran", "ran"]);
    expect(ofType(run, "permission_request")).toHaveLength(1);
  });

  test("does not run where the answer is reject", async () => {
    const run = await answering("reject", [...MODEL, ...ASKING, ...JSON_OUT]);
    expect(outputs(run.requests.at(-1))).toEqual([expect.stringContaining("a person rejected"), expect.stringContaining("a person rejected")]);
    expect(run.code).toBe(0);
  });

  test("is denied, and nobody is asked, once the input has ended", async () => {
    const run = await runCommand({ args: [...MODEL, ...ASKING, ...JSON_OUT], stdin: toLines(user("go")), script: script() });
    expect(ofType(run, "permission_request")).toEqual([]);
    expect(outputs(run.requests.at(-1))[0]).toContain("nobody can be asked");
  });

  test("runs though its answer stands behind more prompts than are kept waiting", async () => {
    let answered = 0;
    const run = await talk({
      args: [...MODEL, ...ASKING, "--output-format", "stream-json"],
      script: script(),
      onStart({ send }) {
        send(user("go"));
        for (let n = 0; n < 1100; n++) send(user(`more ${n}`, { shouldQuery: false }));
      },
      onLine(line, { send, end }) {
        if (line.type !== "control_request") return;
        send({ type: "permission_response", id: line.request_id, response: "once" });
        if (++answered === 2) end();
      },
    });
    expect(outputs(run.requests.at(-1))).toEqual(["ran", "ran"]);
    expect([run.code, resultsOf(run).length]).toEqual([0, 1101]);
  });

  test("asks about two calls at once, takes each answer for its own, and tells of one that nobody waits for", async () => {
    const asked: string[] = [];
    const run = await talk({
      args: [...MODEL, ...ASKING, "--output-format", "stream-json"],
      script: [turn(["bash", { command: "echo first" }], ["bash", { command: "echo second" }]), { text: "ok" }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "control_request") {
          asked.push(line.request_id);
          send({ type: "permission_response", id: "per_nobody", response: "once" });
          if (asked.length === 2) for (const [n, id] of asked.entries()) send({ type: "permission_response", id, response: n === 0 ? "reject" : "once" });
        }
        if (line.type === "result") end();
      },
    });
    expect(toolOutputsOf(run.requests[1])).toEqual([expect.stringContaining("a person rejected"), "second\n"]);
    const told = run.events.filter(({ subtype }) => subtype === "informational");
    expect(told.map(({ error }) => [error.code, error.data.line])).toEqual([
      ["INPUT_INVALID", 2],
      ["INPUT_INVALID", 3],
    ]);
  });

  test("is denied where the input ends while it is asked about", async () => {
    const run = await talk({
      args: [...MODEL, ...ASKING, "--output-format", "stream-json"],
      script: script(),
      onStart: ({ send }) => send(user("go")),
      onLine: (line, { end }) => line.type === "control_request" && end(),
    });
    expect(outputs(run.requests.at(-1))[0]).toContain("nobody can be asked");
    expect(run.code).toBe(0);
  });

  test("is taken back when its run is interrupted", async () => {
    const run = await talk({
      args: [...MODEL, ...ASKING, "--output-format", "stream-json"],
      script: script(),
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        if (line.type === "control_request") send({ type: "interrupt" });
        if (line.type === "result") end();
      },
    });
    const [asked] = ofType(run, "control_request");
    expect(ofType(run, "control_cancel_request")).toEqual([{ type: "control_cancel_request", request_id: asked.request_id }]);
    expect(resultsOf(run)).toMatchObject([{ terminal_reason: "aborted_tools" }]);
  });

  test("runs where the answer gives back an input whose key was hidden", async () => {
    const run = await talk({
      args: [...CLAUDE_BOTH, "--permission-prompt-tool", "stdio"],
      script: [turn(["bash", { command: `echo yes ${KEY}` }]), { text: "ok" }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        const response = { behavior: "allow", updatedInput: line.request?.input };
        if (line.type === "control_request") send({ type: "control_response", response: { subtype: "success", request_id: line.request_id, response } });
        if (line.type === "result") end();
      },
    });
    expect(run.stdout).not.toContain(KEY);
    expect(toolOutputsOf(run.requests[1])[0]).toContain("yes");
  });

  test("is made again by the model where the answer changes its input", async () => {
    const run = await talk({
      args: [...CLAUDE_BOTH, "--permission-prompt-tool", "stdio"],
      script: [turn(["bash", { command: "echo no" }]), { text: "ok" }],
      onStart: ({ send }) => send(user("go")),
      onLine(line, { send, end }) {
        const response = { behavior: "allow", updatedInput: { command: "echo other" } };
        if (line.type === "control_request") send({ type: "control_response", response: { subtype: "success", request_id: line.request_id, response } });
        if (line.type === "result") end();
      },
    });
    expect(toolOutputsOf(run.requests[1])[0]).toContain('{"command":"echo other"}');
  });
});
