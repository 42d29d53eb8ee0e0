import { readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { AgentError, type AgentEvent } from "agent-runtime";
import type { EventOf, EventType } from "agent-runtime/host";
import { describe, expect, test } from "vitest";
import type { LogChoice } from "../../cli/args.ts";
import { eventSchema, makeEventsSchema } from "../../cli/events-schema.ts";
import { toJsonLine } from "../../cli/json-line.ts";
import { createJsonOutput, createTextOutput, openStreams } from "../../cli/output.ts";
import { projectJson } from "../../cli/output-json.ts";
import { createTextProjection, type TextOptions } from "../../cli/output-text.ts";

const tokens = { input: 1, output: 2, reasoning: 0, cache: { read: 0, write: 0 } };
const state = { status: "completed" as const, output: "out", title: "a.txt", metadata: {}, startedAt: 1, endedAt: 2 };
const result = {
  sessionId: "ses_1",
  status: "success" as const,
  text: "hi",
  model: "p/m",
  steps: 1,
  costUsd: 0.5,
  costSource: "provider" as const,
  tokens,
  durationMs: 5,
  exitCode: 0,
  persisted: true,
};
const ids = { messageId: "msg_1", partId: "prt_1" };

/** One event of every type: the compiler sees to it that none is missing. */
const FACTS: { [T in EventType]: Omit<EventOf<T>, "type" | "sessionId" | "at" | "parentId"> } = {
  "session.start": { cwd: "/", resumed: false, title: "" },
  prompt: { messageId: "msg_1", text: "hi" },
  "model.resolved": { requested: null, selector: "p/m", providerId: "p", modelId: "m", source: "default", matchesRequest: true },
  "step.start": { step: 1, messageId: "msg_1" },
  "text.delta": { ...ids, delta: "hi" },
  text: { ...ids, text: "hi", startedAt: 1, endedAt: 2 },
  "reasoning.delta": { ...ids, delta: "hm" },
  reasoning: { ...ids, text: "hm", startedAt: 1, endedAt: 2 },
  "text.void": { messageId: "msg_1", reason: "the stream was cut" },
  message: { messageId: "msg_1", message: { role: "assistant", content: [{ type: "text", text: "hi" }] }, model: "p/m", reason: "stop", tokens },
  "tool.start": { ...ids, callId: "call_1", tool: "read", input: { filePath: "a.txt" } },
  "tool.progress": { ...ids, callId: "call_1", tool: "read", output: "half" },
  "tool.finish": { ...ids, callId: "call_1", tool: "read", input: { filePath: "a.txt" }, state },
  "step.finish": {
    step: 1,
    ...ids,
    reason: "stop",
    tokens,
    costUsd: 0.5,
    costSource: "provider",
    model: { providerId: "p", requestedModelId: "m", respondedModelId: "m-1" },
  },
  retry: { attempt: 1, delayMs: 500, error: { code: "RATE_LIMITED", message: "slow down" }, model: "p/m" },
  fallback: { from: "p/m", to: "p/n", error: { code: "OVERLOADED", message: "down" } },
  "permission.request": { id: "per_1", callId: "call_1", tool: "bash", patterns: ["ls"], title: "ls" },
  compaction: { reason: "overflow", before: 10, after: 2, tokensBefore: 9000, tokensAfter: 800 },
  "cache.broken": { by: "clock", part: "system" },
  "loop.warning": { calls: "read", times: 3 },
  "plugin.error": { plugin: "x", message: "kaput" },
  "config.untrusted": { keys: ["plugin"], files: ["/w/opencode.json"] },
  "sandbox.unavailable": { reason: "no bwrap" },
  "store.degraded": { path: "/s", reason: "disk full" },
  "store.recovered": { path: "/s", kept: 2, lost: 1 },
  error: { error: new AgentError("LIMIT_STEPS", { limit: 3 }) },
  "session.finish": { result },
};

const make = <T extends EventType>(type: T, facts: Partial<(typeof FACTS)[T]> = {}, base: { parentId?: string } = {}) =>
  ({ type, sessionId: "ses_1", at: 7, ...base, ...FACTS[type], ...facts }) as unknown as AgentEvent;
const types = Object.keys(FACTS) as EventType[];

describe("events as JSON", () => {
  test("fit the published schema, every one of them", () => {
    for (const type of types) {
      const line = projectJson(make(type), { deltas: true });
      if (type === "session.start" || type === "prompt" || type === "message") expect(line).toBeUndefined();
      else expect(() => eventSchema.parse(JSON.parse(toJsonLine(line))), type).not.toThrow();
    }
    const failed = make("tool.finish", { state: { status: "error", error: "no", startedAt: 1, endedAt: 2 } });
    const unknownCost = make("session.finish", {
      result: { ...result, costUsd: undefined, costSource: "unknown", status: "error", error: new AgentError("INTERRUPTED", { exit: 130 }) } as never,
    });
    for (const event of [failed, unknownCost]) expect(() => eventSchema.parse(JSON.parse(toJsonLine(projectJson(event, { deltas: false }))))).not.toThrow();
  });

  test("are described by docs/events.schema.json", () => {
    expect(readFileSync(new URL("../../docs/events.schema.json", import.meta.url), "utf8")).toBe(makeEventsSchema());
  });

  test("a tool call is one tool_use with opencode's state", () => {
    expect(projectJson(make("tool.finish"), { deltas: false })).toEqual({
      type: "tool_use",
      timestamp: 7,
      sessionID: "ses_1",
      part: {
        id: "prt_1",
        messageID: "msg_1",
        sessionID: "ses_1",
        type: "tool",
        callID: "call_1",
        tool: "read",
        state: { status: "completed", input: { filePath: "a.txt" }, output: "out", title: "a.txt", metadata: {}, time: { start: 1, end: 2 } },
      },
    });
  });

  test("deltas and the course of tools come only with --stream", () => {
    for (const type of ["text.delta", "reasoning.delta", "tool.start", "tool.progress"] as const) {
      expect(projectJson(make(type), { deltas: false })).toBeUndefined();
      expect(projectJson(make(type), { deltas: true })).toBeDefined();
    }
  });

  test("a child session's events name their parent; it has no result and no model of its own", () => {
    expect(projectJson(make("text", {}, { parentId: "ses_0" }), { deltas: false })).toMatchObject({
      type: "text",
      sessionID: "ses_1",
      parentSessionID: "ses_0",
    });
    for (const type of ["session.finish", "model.resolved"] as const)
      expect(projectJson(make(type, {}, { parentId: "ses_0" }), { deltas: false })).toBeUndefined();
  });

  test("an unknown cost is null, never 0", () => {
    const event = make("session.finish", { result: { ...result, costUsd: undefined, costSource: "unknown" } as never });
    expect(projectJson(event, { deltas: false })).toMatchObject({ cost: null, costSource: "unknown" });
  });

  test("no value breaks a line", () => {
    const cycle: Record<string, unknown> = { at: Number.NaN, big: 10n, nothing: undefined };
    cycle.self = cycle;
    const line = toJsonLine({
      list: [cycle],
      bad: {
        toJSON: () => {
          throw new Error("no");
        },
      },
      end: "a\nb\ud800",
    });
    expect(line).not.toContain("\n");
    expect(JSON.parse(line)).toEqual({ list: [{ at: null, big: "10", self: "[circular]" }], bad: "[unreadable]", end: "a\nb\ud800" });
  });
});

describe("a key that is streamed in pieces", () => {
  const KEY = "sk-or-v1-0123456789abcdef";
  const redact = (text: string) => text.replaceAll(KEY, "[redacted]");
  const pieces = ["The key is ", KEY.slice(0, 9), KEY.slice(9), " and 😀".slice(0, 6), "\ude00 thät's áll."];
  const events = (type: "text" | "reasoning") => [
    ...pieces.map((delta) => make(`${type}.delta`, { delta })),
    make(type, { text: "The key is [redacted] and 😀 thät's áll." }),
    make("step.finish"),
  ];
  const write = (create: typeof createJsonOutput, list: AgentEvent[]) => {
    const written: string[] = [];
    const streams = {
      write: (text: string) => void written.push(text),
      say: (text: string) => void written.push(text),
      isTerminal: false,
      isErrorTerminal: false,
    };
    const output = create({ streams: { ...streams, flush: async () => {} }, log: {} as LogChoice, stream: true, redact });
    for (const event of list) void output.event(event);
    return written;
  };

  test("is in no event", () => {
    for (const type of ["text", "reasoning"] as const) {
      const lines = write(createJsonOutput, events(type)).map((line) => JSON.parse(line));
      const deltas = lines.filter((line) => line.type === `${type}_delta`).map(({ delta }) => delta);
      expect(deltas.join("")).toBe("The key is [redacted] and 😀 thät's áll.");
    }
  });

  test("is not in a text that is printed as it comes, nor in the progress of a tool", () => {
    expect(write(createTextOutput, events("text")).join("")).toBe("The key is [redacted] and 😀 thät's áll.\n");
    const progress = [...pieces, "\n"].map((output) => make("tool.progress", { output }));
    const lines = write(createJsonOutput, progress).map((line) => JSON.parse(line));
    expect(JSON.stringify(lines)).not.toContain("0123456789");
  });

  test("that has no end is not held back for ever", () => {
    const long = Array.from({ length: 100 }, () => make("text.delta", { delta: "x".repeat(100) }));
    expect(write(createJsonOutput, long).length).toBeGreaterThan(1);
  });
});

describe("events as text", () => {
  const print = (events: AgentEvent[], options: Partial<TextOptions> = {}) => {
    const project = createTextProjection({ deltas: false, terminal: false, ...options });
    const pieces = events.flatMap(project);
    const of = (to: string) =>
      pieces
        .filter((piece) => piece.to === to)
        .map(({ text }) => text)
        .join("");
    return { answer: of("answer"), progress: of("progress"), error: of("error") };
  };
  const step = (text: string) => [make("step.start"), make("text.delta", { delta: text }), make("text", { text })];

  test("a step's text is printed when the step is complete, and never what was made void", () => {
    expect(print(step("half")).answer).toBe("");
    expect(print([...step("half"), make("text.void"), ...step("whole"), make("step.finish")]).answer).toBe("whole\n");
    expect(print([...step("one"), make("step.finish"), ...step("two\n"), make("step.finish")]).answer).toBe("one\ntwo\n");
  });

  test("with deltas the answer is printed as it comes, and a void one is told of", () => {
    const { answer, progress } = print([...step("half"), make("text.void"), make("retry"), ...step("whole"), make("step.finish")], { deltas: true });
    expect(answer).toBe("half\nwhole\n");
    expect(progress).toMatch(/^-- answer restarted --\nretry 1/);
    expect(print([...step("half"), make("text.void"), make("error")], { deltas: true }).progress).not.toContain("restarted");
    expect(print([make("text", { text: "no deltas" }), make("step.finish")], { deltas: true }).answer).toBe("no deltas\n");
  });

  test("an answer that a limit cut is kept", () => {
    expect(print([...step("cut"), make("session.finish", { result: { ...result, status: "limit" } })]).answer).toBe("cut\n");
  });

  test("a terminal gets no control characters, a file gets every byte", () => {
    const text = "a\u001b[31mred\u0007\u009b2J\tb\u202e\r\n";
    expect(print([...step(text), make("step.finish")], { terminal: true }).answer).toBe("a[31mred2J\tb\n");
    expect(print([...step(text), make("step.finish")]).answer).toBe(text);
    expect(print([make("tool.finish", { state: { ...state, title: "x\u001b]0;evil\u0007\ny" } })]).progress).toBe("→ read x]0;evil y\n");
  });

  test("progress names tools, retries and the cost; an error has fact, way out and code", () => {
    const { progress, error, answer } = print(types.map((type) => make(type)));
    for (const text of ["→ read a.txt", "retry 1 of p/m in 0.5 s: slow down", "fallback from p/m to p/n", "$0.5000", "not trusted; ignored: plugin"])
      expect(progress).toContain(text);
    expect(error).toBe("error: The limit of 3 steps is reached.\nRaise --max-steps, or go on with --continue.\n[LIMIT_STEPS]\n");
    expect(answer).toBe("");
  });

  test("of a child session only its tools are shown", () => {
    expect(print([make("text", {}, { parentId: "p" }), make("tool.finish", {}, { parentId: "p" }), make("session.finish", {}, { parentId: "p" })])).toEqual({
      answer: "",
      progress: "  → read a.txt\n",
      error: "",
    });
  });
});

describe("the streams", () => {
  test("hold the writer back while the reader is behind, and diverts what others print", async () => {
    const [out, err] = [new PassThrough({ highWaterMark: 10 }), new PassThrough()];
    const streams = openStreams(out, err, () => {});
    expect(streams.write("short")).toBeUndefined();
    const behind = streams.write("x".repeat(100));
    expect(behind).toBeInstanceOf(Promise);
    out.write("a plugin's console.log");
    out.resume();
    await behind;
    await streams.flush();
    expect(String(err.read())).toBe("a plugin's console.log");
  });

  test("tell once when nobody reads any more, and then drop everything", async () => {
    const [out, err] = [new PassThrough(), new PassThrough()];
    const closed: AgentError[] = [];
    const streams = openStreams(out, err, (error) => closed.push(error));
    out.emit("error", Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    out.emit("error", Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    expect(closed.map(({ code, exit }) => [code, exit])).toEqual([["OUTPUT_CLOSED", 141]]);
    expect(streams.write("more")).toBeUndefined();
    await streams.flush();
  });
});
