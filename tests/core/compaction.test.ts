import { afterEach, describe, expect, test } from "vitest";
import { AgentError } from "../../core/errors.ts";
import type { Hooks } from "../../core/hooks.ts";
import type { Entry } from "../../core/message.ts";
import { definePlugin } from "../../core/plugin.ts";
import { type BootedAgent, type BootOptions, boot, call, fail, type PromptReport, say } from "../../core/testing/index.ts";
import { tool } from "../../core/tool.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const noop = tool({ name: "noop", description: "d", effect: "read", input: { type: "object" }, run: () => "x".repeat(400) });

async function start(hooks: Hooks, options: BootOptions): Promise<BootedAgent> {
  const agent = await boot({ ...options, plugins: [definePlugin({ name: "own", setup: () => ({ hooks, tools: [noop] }) })] });
  ends.push(() => agent.close());
  return agent;
}

const said = (text: string, id = "msg_s"): Entry => ({ id, at: 0, message: { role: "user", content: [{ type: "text", text }] } });
const compactionsOf = ({ events }: PromptReport): any[] => events.filter(({ type }) => type === "compaction");
const overflow = fail(new AgentError("CONTEXT_OVERFLOW", { model: "m", reason: "r" }));
const question = { system: "Sum up.", messages: [said("all of it").message] };

describe("a plugin that judges how full the context is", () => {
  test("is told the tokens of the last answer and an estimate of what came since", async () => {
    const told: number[] = [];
    const usage = { input: 5_000, output: 100, cacheRead: 2_000 };
    const script = [
      { ...call("noop"), usage },
      { ...say("Done."), usage },
    ];
    const agent = await start({ shouldCompact: ({ tokens }) => told.push(tokens) === 0 }, { script });
    await agent.prompt("x".repeat(20_000));
    expect(told[0]).toBeGreaterThan(5_000);
    expect(told[1]).toBeGreaterThan(5_100 + 90);
    expect(told[1]).toBeLessThan(5_100 + 130);
  });

  test.each([
    ["far too many", 5_000, 400],
    ["without end", 1e300, 400],
    ["far too few", 1, 400],
  ])("is told an estimate where the provider's count cannot be: %s", async (_, input, most) => {
    const told: number[] = [];
    const script = [{ ...call("noop"), usage: { input, output: 0 } }, say("Done.")];
    const agent = await start({ shouldCompact: ({ tokens }) => told.push(tokens) === 0 }, { script });
    await agent.prompt("go");
    expect(told[1]).toBeGreaterThan((told[0] as number) + 99);
    expect(told[1]).toBeLessThan(most);
  });

  test("is told the provider's count where a file is in the conversation: it may be a book", async () => {
    const told: number[] = [];
    const script = [{ ...call("noop"), usage: { input: 90_000, output: 0 } }, say("Done.")];
    const agent = await start({ shouldCompact: ({ tokens }) => told.push(tokens) === 0 }, { script, files: { "book.pdf": "%PDF-1.7" } });
    await agent.prompt({ message: "go", files: ["book.pdf"] });
    expect(told[1]).toBeGreaterThan(90_000);
  });

  test("is asked no more after two compactions that gain little, and what is not smaller is not taken", async () => {
    let asked = 0;
    const lengthen: Hooks["compact"] = (entries) => {
      asked++;
      return [...entries, said("more")];
    };
    const agent = await start({ shouldCompact: () => true, compact: lengthen }, { script: (_, n) => (n < 6 ? call("noop", { n }) : say("Done.")) });
    const answer = await agent.prompt("go");
    expect([answer.text, asked, compactionsOf(answer).length]).toEqual(["Done.", 2, 0]);
    const nothing = await start({ shouldCompact: () => true, compact: () => [] }, { script: [say("Done.")] });
    expect((await nothing.prompt("go")).text).toBe("Done.");
  });

  test("compacts again and again where that gains something", async () => {
    const agent = await start(
      { shouldCompact: ({ tokens }) => tokens > 300, compact: (entries) => [entries[0] as Entry] },
      { script: (_, n) => (n < 9 ? { ...call("noop", { n }), usage: { input: 150, output: 250 } } : say("Done.")) },
    );
    const answer = await agent.prompt("go");
    expect([answer.text, compactionsOf(answer).length]).toEqual(["Done.", 9]);
    expect(agent.requests.at(-1)?.prompt.map(({ role }) => role)).toEqual(["system", "user"]);
  });
});

describe("a plugin that compacts", () => {
  test("asks the run's own model or another, and what these use counts for the run without being a step", async () => {
    const texts: string[] = [];
    const compact: Hooks["compact"] = async (entries, { ask, reason, promptId }) => {
      texts.push(reason, (await ask(question)).text, (await ask({ ...question, model: ["scripted/other"], maxOutputTokens: 50 })).model);
      expect(entries.find(({ id }) => id === promptId)?.message).toEqual(said("go").message);
      return [said("s")];
    };
    const script = [
      { ...call("noop"), costUsd: 1 },
      overflow,
      { ...say("Summary."), costUsd: 2 },
      { ...say("Other."), costUsd: 4 },
      { ...say("Done."), costUsd: 8 },
    ];
    const agent = await start({ compact }, { script, config: { temperature: 0.5, maxOutputTokens: 9, stop: "x" } });
    const answer = await agent.prompt("go");
    expect(texts).toEqual(["overflow", "Summary.", "scripted/other"]);
    expect(answer.result).toMatchObject({ text: "Done.", steps: 2, costUsd: 15, model: "scripted/model" });
    expect(compactionsOf(answer)).toMatchObject([{ reason: "overflow", before: 3, after: 1, model: "scripted/other", costUsd: 6 }]);
    const [, , own, other, last] = agent.requests;
    expect([own?.temperature, own?.maxOutputTokens, own?.stopSequences, own?.tools]).toEqual([0.5, undefined, undefined, undefined]);
    expect([other?.temperature, other?.maxOutputTokens]).toEqual([undefined, 50]);
    expect([last?.temperature, last?.maxOutputTokens, last?.stopSequences]).toEqual([0.5, 9, ["x"]]);
    expect(answer.events.filter(({ type }) => type === "text").map((event) => (event as { text: string }).text)).toEqual(["Done."]);
  });

  test("may leave a call without its result: it gets one, since providers demand it", async () => {
    const agent = await start({ compact: (entries) => entries.slice(0, 2) }, { script: [call("noop"), overflow, say("Done.")] });
    expect((await agent.prompt("go")).text).toBe("Done.");
    expect(agent.requests.at(-1)?.prompt.map(({ role }) => role)).toEqual(["system", "user", "assistant", "tool"]);
  });

  test("sends nothing once a limit is reached", async () => {
    const errors: unknown[] = [];
    const compact: Hooks["compact"] = async (entries, { ask }) => {
      for (let n = 0; n < 3; n++) await ask(question).catch((error) => errors.push(error.code));
      return entries.slice(0, 1);
    };
    const script = [{ ...call("noop"), costUsd: 0.1 }, overflow, { ...say("Dear."), costUsd: 9 }];
    const agent = await start({ compact }, { script, limits: { costUsd: 1 } });
    const answer = await agent.prompt("go");
    expect(answer.result).toMatchObject({ exitCode: 3, error: { code: "LIMIT_COST" }, costUsd: 9.1 });
    expect([errors, agent.requests.length]).toEqual([["LIMIT_COST", "LIMIT_COST"], 3]);
    // Without the model there is nothing worth putting in the place of the conversation.
    expect(compactionsOf(answer)).toEqual([]);
  });

  test("has the room of the request that waits for it: that one does not count twice", async () => {
    const compact: Hooks["compact"] = async (entries, { ask }) => [entries[0] as Entry, said((await ask(question)).text)];
    const usage = { input: 100, output: 0 };
    const script = [
      { ...call("noop"), usage, costUsd: 1 },
      { ...say("Sum."), usage, costUsd: 1 },
      { ...say("Done."), usage, costUsd: 1 },
    ];
    for (const limits of [{ tokens: 201 }, { costUsd: 3 }]) {
      let asked = 0;
      const agent = await start({ shouldCompact: () => ++asked === 2, compact }, { script, limits });
      const answer = await agent.prompt("go");
      expect([answer.text, compactionsOf(answer).length, agent.requests.length]).toEqual(["Done.", 1, 3]);
    }
    let asked = 0;
    const agent = await start({ shouldCompact: () => ++asked === 2, compact }, { script, limits: { tokens: 200 } });
    expect((await agent.prompt("go")).result).toMatchObject({ exitCode: 3, error: { code: "LIMIT_TOKENS" }, tokens: { input: 200 } });
  });

  test("is asked about what a window leaves of the conversation", async () => {
    const told: number[] = [];
    const usage = { input: 150, output: 60_000 };
    const script = (_: unknown, n: number) => (n < 6 ? { ...call("noop", { n }), usage } : say("Done."));
    const agent = await start({ shouldCompact: ({ tokens }) => told.push(tokens) === 0 }, { script, config: { window: { messages: 4 } } });
    expect((await agent.prompt("go")).text).toBe("Done.");
    expect(told[1]).toBeGreaterThan(60_000);
    expect(Math.max(...told.slice(2))).toBeLessThan(2_000);
  });
});
