import { PassThrough } from "node:stream";
import { AgentError, type AgentEvent, type PromptOptions, type PromptRequest, type RunResult, type Runtime, type RuntimeOptions } from "agent-runtime";
import { describe, expect, test } from "vitest";
import { parseArgs, type RunInvocation } from "../../cli/args.ts";
import { openStreams } from "../../cli/output.ts";
import { runPrompts } from "../../cli/run.ts";
import type { Stdin } from "../../cli/stdin.ts";
import { timeBeside } from "../fixtures/timing.ts";

const tokens = { input: 0, output: 0, reasoning: 0, cache: { read: 0, write: 0 } };
const resultOf = (sessionId: string, more: Partial<RunResult> = {}): RunResult => ({
  sessionId,
  status: "success",
  text: "",
  steps: 1,
  costSource: "unknown",
  tokens,
  durationMs: 1,
  exitCode: 0,
  persisted: true,
  ...more,
});

interface Asked {
  request: PromptRequest;
  options: PromptOptions;
}

/** A runtime that answers each prompt with what `answer` gives: the end of its run. */
function fakeRuntime(answer: (asked: Asked, n: number) => AsyncIterable<AgentEvent> | RunResult, more: Partial<Runtime> = {}) {
  const asked: Asked[] = [];
  async function* finish(result: RunResult): AsyncGenerator<AgentEvent> {
    if (result.error) yield { type: "error", sessionId: result.sessionId, at: 1, error: result.error };
    yield { type: "session.finish", sessionId: result.sessionId, at: 1, result };
  }
  const runtime = {
    cwd: "/",
    config: {},
    tools: async () => [],
    command: async () => undefined,
    redact: (text: string) => text.replaceAll("SECRET", "[redacted]"),
    close: async () => {},
    prompt(request: PromptRequest, options: PromptOptions) {
      asked.push({ request, options });
      const end = answer({ request, options }, asked.length - 1);
      const events = Symbol.asyncIterator in end ? end : finish(end);
      return Object.assign(events, { result: new Promise<RunResult>(() => {}) });
    },
    ...more,
  } as unknown as Runtime;
  return { asked, runtime };
}

async function run(args: string[], { stdin = "", runtime, fail, abort }: { stdin?: string; runtime?: Runtime; fail?: AgentError; abort?: AbortController }) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  const text = { out: "", err: "" };
  out.on("data", (part) => (text.out += part));
  err.on("data", (part) => (text.err += part));
  const ending = abort ?? new AbortController();
  const source: Stdin = {
    kind: "stream",
    async *read() {
      yield Buffer.from(stdin);
    },
    hasWaiting: async () => false,
  };
  let given: RuntimeOptions | undefined;
  const makeRuntime = async (options?: RuntimeOptions) => {
    given = options;
    if (runtime === undefined) throw fail;
    return runtime;
  };
  const streams = openStreams(out, err, (error) => ending.abort(error));
  const code = await runPrompts(parseArgs(args, {}) as RunInvocation, {
    streams,
    signal: ending.signal,
    abort: (error) => ending.abort(error),
    stdin: source,
    makeRuntime,
  });
  await streams.flush();
  const events = text.out
    .split("\n")
    .filter(Boolean)
    .map((line) => (line.startsWith("{") ? JSON.parse(line) : line));
  return { code, events, stdout: text.out, stderr: text.err, given };
}

describe("requests of one stdin", () => {
  test("share the session of the first, unless one names another", async () => {
    const { asked, runtime } = fakeRuntime((_, n) => resultOf(n === 1 ? "ses_other" : "ses_1"));
    const stdin = '{"message":"a"}{"message":"b","session":"ses_other"}{"message":"c"}';
    const { code } = await run(["-c", "--fork", "--title", "T"], { stdin, runtime });
    expect(code).toBe(0);
    expect(asked.map(({ request }) => request.session)).toEqual([undefined, "ses_other", "ses_1"]);
    expect(asked.map(({ options }) => [options.continueNewest, options.fork, options.title])).toEqual([
      [true, true, "T"],
      [undefined, undefined, undefined],
      [undefined, undefined, undefined],
    ]);
  });

  test("are run to the end; the exit code is that of the first that failed", async () => {
    const failing = (error: AgentError) => resultOf("ses_1", { status: "error", exitCode: error.exit, error });
    const { runtime } = fakeRuntime(
      (_, n) => [resultOf("ses_1"), failing(new AgentError("LIMIT_STEPS", { limit: 1 })), failing(new AgentError("KEY_MISSING"))][n] as RunResult,
    );
    const { code, events } = await run([], { stdin: '{"message":"a"}{"message":"b"}{"message":"c"}', runtime });
    expect(code).toBe(3);
    expect(events.filter(({ type }) => type === "result").map(({ exitCode }) => exitCode)).toEqual([0, 3, 5]);
  });

  test("say more than the command line does", async () => {
    const { asked, runtime } = fakeRuntime(() => resultOf("ses_1"));
    await run(["--agent", "plan", "-s", "ses_9"], { stdin: '{"message":"a"}{"message":"b","agent":"build"}', runtime });
    expect(asked.map(({ request }) => [request.agent, request.session])).toEqual([
      ["plan", "ses_9"],
      ["build", "ses_1"],
    ]);
  });
});

describe("the format of the answer", () => {
  test("is that of the prompt, of the configuration, or of the command line, the last the strongest", async () => {
    const isJson = async (args: string[], stdin: string, config = {}) => {
      const { stdout } = await run(args, { stdin, runtime: fakeRuntime(() => resultOf("ses_1"), { config }).runtime });
      return stdout.startsWith("{");
    };
    expect(await isJson([], "text")).toBe(false);
    expect(await isJson([], '{"message":"a"}')).toBe(true);
    expect(await isJson([], "text", { outputFormat: "json" })).toBe(true);
    expect(await isJson(["--output-format", "text"], '{"message":"a"}', { outputFormat: "json" })).toBe(false);
  });

  test("of an error of the input is the same", async () => {
    const { runtime } = fakeRuntime(() => resultOf("ses_1"));
    expect((await run(["--output-format", "json"], { runtime })).events).toMatchObject([{ type: "error", error: { code: "INPUT_EMPTY" } }]);
    expect((await run([], { runtime })).stderr).toContain("[INPUT_EMPTY]");
  });
});

test("a runtime that cannot start ends the request in one error and one result, and no other is taken", async () => {
  const { code, events } = await run([], {
    stdin: '{"message":"a"}{"message":"b"}',
    fail: new AgentError("CONFIG_INVALID", { file: "agent.json", position: ":1", reason: "no" }),
  });
  expect(code).toBe(2);
  expect(events.map(({ type, sessionID }) => [type, sessionID])).toEqual([
    ["error", ""],
    ["result", ""],
  ]);
});

test("everything that is printed is redacted", async () => {
  const { runtime } = fakeRuntime(() => resultOf("ses_1", { text: "a SECRET" }));
  const { stdout } = await run(["--output-format", "json", "-p", "x"], { runtime });
  expect(stdout).toContain("[redacted]");
  expect(stdout).not.toContain("SECRET");
});

test("a run that hangs after an abort is ended with an interrupted result within 3 s", async () => {
  const abort = new AbortController();
  async function* hang(): AsyncGenerator<AgentEvent> {
    yield { type: "text", sessionId: "ses_1", at: 1, messageId: "msg_1", partId: "prt_1", text: "half", startedAt: 1, endedAt: 1 };
    abort.abort(new AgentError("INTERRUPTED", { exit: 143 }));
    await new Promise(() => {});
  }
  const { value, ms, hopMs } = await timeBeside(() => run(["--output-format", "json", "-p", "x"], { runtime: fakeRuntime(hang).runtime, abort }));
  const { code, events } = value;
  expect(code).toBe(143);
  expect(ms).toBeLessThan(3000 + 10 * hopMs);
  expect(events.at(-1)).toMatchObject({ type: "result", status: "interrupted", exitCode: 143 });
});

test("the first word of a prompt may be a command that a plugin brings", async () => {
  const command = async (name: string) =>
    name === "greet"
      ? { name, description: "", run: (words: string[], { write }: { write(text: string): void }) => void write(`hello ${words.join(" ")}\n`) }
      : undefined;
  const { asked, runtime } = fakeRuntime(() => resultOf("ses_1"), { command });
  expect(await run(["greet", "Ada"], { runtime })).toMatchObject({ code: 0, stdout: "hello Ada\n" });
  await run(["-p", "greet Ada"], { runtime });
  expect(asked.map(({ request }) => request.message)).toEqual(["greet Ada"]);
});
