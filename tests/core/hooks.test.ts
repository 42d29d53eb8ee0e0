import { describe, expect, test } from "vitest";
import type { AgentEvent } from "../../core/events.ts";
import { type CompactContext, createHookRunner, type HookContext, type Hooks, type PermissionRequest, within } from "../../core/hooks.ts";
import { NO_TOKENS } from "../../core/message.ts";

const context: HookContext = { cwd: "/", sessionId: "ses_1", model: "p/m", config: {}, signal: new AbortController().signal };
const request: PermissionRequest = { tool: "bash", permission: "bash", effect: "run", input: {}, patterns: ["*"], callId: "call_1" };
const event = (delta: string): AgentEvent => ({ type: "text.delta", messageId: "m", partId: "p", delta, sessionId: "ses_1", at: 0 });
const never = new Promise<never>(() => {});
const answer = { text: "short", reason: "stop" as const, model: "p/m", tokens: NO_TOKENS };
const ask = () => new Promise<typeof answer>((resolve) => setTimeout(() => resolve(answer), 60));
const compactContext: CompactContext = {
  ...context,
  reason: "overflow",
  usedTokens: 9,
  promptId: "msg_1",
  charactersPerToken: 4,
  estimateTokens: () => 9,
  ask,
};

function runner(plugins: Record<string, Hooks>, limits = { hookMs: 20, drainMs: 40 }) {
  const faults: string[] = [];
  const list = Object.entries(plugins).map(([plugin, hooks]) => ({ plugin, hooks }));
  return { faults, list, hooks: createHookRunner(list, ({ plugin, hook, message }) => faults.push(`${plugin} ${hook}: ${message}`), limits) };
}

describe("observers", () => {
  test("get their events one after the other, in order, and nobody waits for them", async () => {
    const seen: string[] = [];
    const note = async ({ delta }: { delta: string }) => {
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(delta);
    };
    const { hooks } = runner({ slow: { on: { "text.delta": note } } }, { hookMs: 5000, drainMs: 5000 });
    for (const delta of ["a", "b", "c"]) hooks.observe(event(delta));
    expect(seen).toEqual([]);
    await hooks.drain();
    expect(seen).toEqual(["a", "b", "c"]);
  });

  test("that fail are reported, and neither the others nor their own next event suffer", async () => {
    const seen: string[] = [];
    const { hooks, faults } = runner({
      bad: {
        on: {
          "text.delta": ({ delta }) => {
            if (delta === "a") throw new Error("oops");
            seen.push(`bad ${delta}`);
          },
        },
      },
      good: { on: { "text.delta": ({ delta }) => void seen.push(`good ${delta}`) } },
    });
    hooks.observe(event("a"));
    hooks.observe(event("b"));
    await hooks.drain();
    expect(faults).toEqual(["bad on.text.delta: oops"]);
    expect(seen.sort()).toEqual(["bad b", "good a", "good b"]);
  });

  test("that hang are given up after their limit, and draining has a limit of its own", async () => {
    const { hooks, faults } = runner({ stuck: { on: { "text.delta": () => never } } });
    hooks.observe(event("a"));
    await hooks.drain();
    expect(faults).toEqual(["stuck on.text.delta: it took longer than 0.02 s."]);
    const slower = runner({ stuck: { on: { "text.delta": () => never } } }, { hookMs: 20_000, drainMs: 20 });
    slower.hooks.observe(event("b"));
    await slower.hooks.drain();
    expect(slower.faults).toEqual([]);
  });
});

describe("transforms", () => {
  test("run in the order of the plugins, a value or nothing", async () => {
    const { hooks } = runner({ one: { system: (text) => `${text}1` }, two: { system: () => undefined }, three: { system: async (text) => `${text}3` } });
    expect(await hooks.transform("system", "0", context)).toBe("013");
    expect([hooks.has("system"), hooks.has("messages")]).toEqual([true, false]);
  });

  test("that fail name plugin and hook", async () => {
    const { hooks } = runner({
      bad: {
        system: () => {
          throw new Error("oops");
        },
      },
    });
    await expect(hooks.transform("system", "", context)).rejects.toMatchObject({
      code: "HOOK_FAILED",
      message: "The hook system of the plugin bad failed: oops",
    });
  });

  test.each<[keyof Hooks & ("tools" | "messages" | "toolAfter"), unknown, string]>([
    ["tools", [{ name: "x" }], 'the tool "x" has no description.'],
    ["tools", [null], '"undefined" is not a tool name'],
    ["messages", [{}], "a message has no role: system, user, assistant or tool."],
    ["messages", [{ role: "user", content: "text" }], "the content of a message of the role user is not a list of parts."],
    ["messages", [{ role: "system", content: [] }], "the content of a system message is not a string."],
    ["toolAfter", { output: "x", attachments: [null] }, "the attachments that it returned are not a list of { mediaType, data }."],
  ])("that answer %s with %j are at fault, not who uses it", async (hook, answer, reason) => {
    const { hooks } = runner({ bad: { [hook]: () => answer } });
    const said = hooks.transform(hook, Array.isArray(answer) ? [] : { output: "" }, context);
    await expect(said).rejects.toMatchObject({
      code: "HOOK_FAILED",
      message: expect.stringContaining(`The hook ${hook} of the plugin bad failed: its answer cannot be used: ${reason}`),
    });
  });

  test("that hang fail after their limit", async () => {
    const { hooks } = runner({ stuck: { request: () => never } });
    await expect(hooks.transform("request", {}, context)).rejects.toThrow("stuck failed: it took longer than 0.02 s.");
  });

  test("of a plugin that is loaded later take part from then on", async () => {
    const { hooks, list } = runner({});
    expect(await hooks.transform("system", "0")).toBe("0");
    list.push({ plugin: "late", hooks: { system: (text) => `${text}!` } });
    expect(await hooks.transform("system", "0")).toBe("0!");
  });
});

describe("the verdict on a call", () => {
  const verdict = (...answers: unknown[]) =>
    runner(Object.fromEntries(answers.map((answer, index) => [`p${index}`, { permission: () => answer as never }]))).hooks.permission(request, context);

  test("is the strictest of all plugins", async () => {
    expect(await verdict("allow", "ask", "allow")).toEqual({ decision: "ask" });
    expect(await verdict("ask", { decision: "deny", reason: "no" }, "allow")).toEqual({ decision: "deny", reason: "no" });
  });

  test("is none where nobody says anything", async () => {
    expect(await verdict()).toBeUndefined();
    expect(await verdict(undefined, null)).toBeUndefined();
  });

  test.each(["denied", "", false, true, {}, { decision: "toString" }, 7])("is a deny where a plugin answers %j", async (answer) => {
    expect((await verdict("allow", answer))?.decision).toBe("deny");
  });

  test("is a deny where a plugin fails or hangs, and says which", async () => {
    const failing = runner({
      bad: {
        permission: () => {
          throw new Error("oops");
        },
      },
    });
    expect(await failing.hooks.permission(request, context)).toEqual({ decision: "deny", reason: "the permission hook of the plugin bad failed: oops" });
    expect((await runner({ stuck: { permission: () => never } }).hooks.permission(request, context))?.decision).toBe("deny");
  });
});

test("the first plugin that compacts is the one that counts", async () => {
  const entry = { id: "msg_1", at: 0, message: { role: "system" as const, content: "short" } };
  const { hooks } = runner({ none: { compact: () => undefined }, first: { compact: () => [entry] }, second: { compact: () => [] } });
  expect(await hooks.compact([], compactContext)).toEqual([entry]);
  expect(await runner({}).hooks.compact([], compactContext)).toBeUndefined();
  await expect(
    runner({
      bad: {
        compact: () => {
          throw new Error("oops");
        },
      },
    }).hooks.compact([], compactContext),
  ).rejects.toMatchObject({ code: "HOOK_FAILED" });
});

test.each<[unknown, string]>([
  [7, "its answer is of the type number, not list."],
  [[{}], "its answer cannot be used: an entry is not { id, at, message }."],
  [[{ id: "msg_1", at: 0, message: {} }], "its answer cannot be used: a message has no role: system, user, assistant or tool."],
])("a plugin that compacts to %j is at fault", async (answer, reason) => {
  await expect(runner({ bad: { compact: () => answer as never } }).hooks.compact([], compactContext)).rejects.toMatchObject({
    code: "HOOK_FAILED",
    message: `The hook compact of the plugin bad failed: ${reason}`,
  });
});

test("a plugin that compacts may wait for a model as long as that takes, but not for itself", async () => {
  const said = (id: string) => ({ id, at: 0, message: { role: "system" as const, content: "short" } });
  const waits: Hooks["compact"] = async (_, { ask }) => [said((await Promise.all([ask({ messages: [] }), ask({ messages: [] })]))[0].text)];
  expect(await runner({ waits: { compact: waits } }, { hookMs: 40, drainMs: 40 }).hooks.compact([], compactContext)).toEqual([said("short")]);
  const idles: Hooks["compact"] = async (_, { ask }) => (await ask({ messages: [] })) && never;
  await expect(runner({ idles: { compact: idles } }).hooks.compact([], compactContext)).rejects.toMatchObject({ code: "HOOK_FAILED" });
});

test("one plugin that finds the context full is enough, and one that fails is named", async () => {
  const full: Hooks = { shouldCompact: ({ tokens }) => tokens > 100 };
  const { hooks } = runner({ none: {}, never: { shouldCompact: () => false }, full });
  expect([hooks.has("shouldCompact"), hooks.has("compact")]).toEqual([true, false]);
  expect([await hooks.shouldCompact({ tokens: 101 }, context), await hooks.shouldCompact({ tokens: 100 }, context)]).toEqual([true, false]);
  await expect(runner({ stuck: { shouldCompact: () => never } }).hooks.shouldCompact({ tokens: 1 }, context)).rejects.toMatchObject({
    message: "The hook shouldCompact of the plugin stuck failed: it took longer than 0.02 s.",
  });
});

test("a time limit leaves no rejection behind when the promise fails after it", async () => {
  let fail = (_: Error) => {};
  const late = new Promise<never>((_, reject) => (fail = reject));
  await expect(within(1, late)).rejects.toThrow("longer than");
  fail(new Error("too late to matter"));
  await new Promise((resolve) => setImmediate(resolve));
});
