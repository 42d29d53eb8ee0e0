import { describe, expect, test } from "vitest";
import type { Entry, Message } from "../../core/message.ts";
import { messageText } from "../../core/message.ts";
import { charactersOf } from "../../core/token-estimate.ts";
import { CHAT_WINDOW, elideMiddle, slideWindow, type WindowLimits, type WindowOptions } from "../../core/window.ts";

const user = (text: string): Message => ({ role: "user", content: [{ type: "text", text }] });
const say = (text: string): Message => ({ role: "assistant", content: [{ type: "text", text }] });
const call = (id: string): Message => ({ role: "assistant", content: [{ type: "tool-call", toolCallId: id, toolName: "t", input: {} }] });
const result = (id: string, text = "ok"): Message => ({
  role: "tool",
  content: [{ type: "tool-result", toolCallId: id, toolName: "t", output: { type: "text", value: text } }],
});
const step = (id: number, text?: string): Message[] => [call(`c${id}`), result(`c${id}`, text)];
const steps = (count: number, text?: string): Message[] => Array.from({ length: count }, (_, i) => step(i, text)).flat();
const entriesOf = (messages: Message[]): Entry[] => messages.map((message, i) => ({ id: `msg_${i}`, at: 0, message }));
const see = (messages: Message[], limits: WindowLimits, more: Partial<WindowOptions> = {}) =>
  slideWindow(entriesOf(messages), { limits, fixedCharacters: 0, charactersPerToken: 4, ...more });
const idsOf = (entries: readonly Entry[]) => entries.map(({ id }) => Number(id.slice(4)));

/** Calls without a result, and results without a call. */
function looseEnds(entries: readonly Entry[]): string[] {
  const open = new Set<string>();
  const loose: string[] = [];
  for (const { message } of entries) {
    if (typeof message.content === "string") continue;
    for (const part of message.content) {
      if (part.type === "tool-call") open.add(part.toolCallId);
      if (part.type === "tool-result" && !open.delete(part.toolCallId)) loose.push(part.toolCallId);
    }
  }
  return [...loose, ...open];
}

describe("a window of messages", () => {
  test("is 20 messages and 100,000 tokens for a chat", () => expect(CHAT_WINDOW).toEqual({ messages: 20, tokens: 100_000 }));

  test("leaves alone what fits", () => {
    const messages = [user("1"), ...steps(9), say("done")];
    const view = see(messages, { messages: 20 });
    expect(view).toMatchObject({ original: 20, kept: 20, dropped: 0, elided: 0, from: undefined });
    expect(view.entries.map(({ message }) => message)).toEqual(messages);
  });

  test("keeps the first prompt and a suffix, never more than the limit", () => {
    for (let count = 1; count < 60; count++) {
      const entries = entriesOf([user("first"), ...steps(count)]);
      const { entries: kept, ...counts } = slideWindow(entries, { limits: { messages: 20 }, fixedCharacters: 0, charactersPerToken: 4 });
      expect(kept.length).toBeLessThanOrEqual(20);
      expect(kept[0]).toBe(entries[0]);
      expect(kept.slice(1)).toEqual(entries.slice(entries.length - kept.length + 1));
      expect(looseEnds(kept)).toEqual([]);
      expect(counts.dropped + counts.kept).toBe(entries.length);
    }
  });

  test("begins with a prompt where the newest prompt is in it, so that no answer stands under another question", () => {
    const chat = Array.from({ length: 12 }, (_, i) => [user(`q${i}`), say(`a${i}`)]).flat();
    const view = see([...chat, user("newest")], { messages: 20 });
    const texts = view.entries.map(({ message }) => messageText(message));
    expect(texts[0]).toBe("q0");
    for (const [i, text] of texts.entries()) if (text.startsWith("a")) expect(texts[i - 1]).toBe(`q${text.slice(1)}`);
    expect(texts.at(-1)).toBe("newest");
  });

  test("keeps the prompt of the step that it begins with", () => {
    const view = see([user("first"), say("yes"), user("second"), ...steps(30)], { messages: 10 });
    expect(view.entries.slice(0, 3).map(({ message }) => message.role)).toEqual(["user", "user", "assistant"]);
    expect(messageText(view.entries[1]!.message)).toBe("second");
  });

  test("does not take for a prompt what tools have left, unless it is said to be one", () => {
    const messages = [user("first"), ...step(0), user("Files that the tools above have read:"), ...steps(30)];
    expect(idsOf(see(messages, { messages: 10 }).entries).slice(0, 2)).not.toContain(3);
    expect(idsOf(see(messages, { messages: 10 }, { promptId: "msg_3" }).entries).slice(0, 2)).toEqual([0, 3]);
  });

  test("jumps seldom: most requests begin where the one before began", () => {
    let from: string | undefined;
    const begins: (string | undefined)[] = [];
    for (let count = 1; count <= 100; count++) {
      const view = see([user("first"), ...steps(count)], { messages: 20 }, { from });
      from = view.from;
      begins.push(from);
    }
    expect(new Set(begins).size).toBeLessThanOrEqual(100 / 5 + 1);
  });

  test.each([1, 2, 3])("of %i keeps the newest step with its prompt, and is never empty", (messages) => {
    expect(idsOf(see([user("first"), ...steps(5)], { messages }).entries)).toEqual([0, 9, 10]);
    expect(idsOf(see([user("first"), say("a"), user("second"), ...steps(5)], { messages }).entries)).toEqual([2, 11, 12]);
    expect(idsOf(see([user("first"), say("a"), user("second")], { messages }).entries)).toEqual(messages === 1 ? [2] : messages === 2 ? [0, 2] : [0, 1, 2]);
  });

  test("begins anew where its beginning is gone", () => {
    expect(see([user("first"), ...steps(30)], { messages: 10 }, { from: "msg_gone" }).kept).toBeLessThanOrEqual(10);
  });
});

describe("a window of tokens", () => {
  test("holds what is estimated at no more, system prompt and tools included", () => {
    for (const tokens of [2_000, 10_000, 100_000])
      for (const fixedCharacters of [0, 4_000]) {
        const view = see([user("first"), ...steps(300, "x".repeat(2_000))], { tokens }, { fixedCharacters });
        expect(view.estimatedTokens).toBeLessThanOrEqual(tokens);
        expect(view.entries.length).toBeGreaterThan(2);
        expect(looseEnds(view.entries)).toEqual([]);
      }
  });

  test("fits three messages of 200,000 characters into 100,000 tokens by leaving out middles, not messages", () => {
    const long = (mark: string) => `${mark} head ${"x".repeat(200_000)} tail ${mark}`;
    const view = see([user(long("1")), say(long("2")), user(long("3"))], { tokens: 100_000 });
    expect(view).toMatchObject({ original: 3, kept: 3, dropped: 0, elided: 3 });
    expect(view.estimatedTokens).toBeLessThanOrEqual(100_000);
    for (const [i, { message }] of view.entries.entries())
      expect(messageText(message)).toMatch(new RegExp(`^${i + 1} head x+\\n\\[… \\d+ characters left out …\\]\\nx+ tail ${i + 1}$`));
  });

  test("never sends an empty request, however small it is", () => {
    const view = see([user("y".repeat(100_000)), ...steps(3, "x".repeat(100_000))], { tokens: 100 }, { fixedCharacters: 8_000 });
    expect(view.entries.map(({ message }) => message.role)).toEqual(["user", "assistant", "tool"]);
    for (const { message } of view.entries) expect(charactersOf(message)).toBeGreaterThan(0);
  });

  test("goes by the measured ratio of the model", () => {
    const messages = [user("first"), ...steps(40, "漢".repeat(1_000))];
    const [few, many] = [1, 4].map((charactersPerToken) => see(messages, { tokens: 10_000 }, { charactersPerToken }).kept);
    expect(few).toBeLessThan(many as number);
  });

  test("keeps the total linear in the number of steps", () => {
    let from: string | undefined;
    let total = 0;
    for (let count = 1; count <= 200; count++) {
      const view = see([user("first"), ...steps(count, "x".repeat(2_000))], { tokens: 10_000 }, { from });
      from = view.from;
      expect(view.estimatedTokens).toBeLessThanOrEqual(10_000);
      total += view.estimatedTokens;
    }
    expect(total).toBeLessThan(200 * 10_000);
  });
});

describe("the middle of a text", () => {
  test("is left out between whole characters, with a note of how much", () => {
    for (const most of [60, 61, 62, 63]) {
      const short = elideMiddle("🙂".repeat(200), most);
      expect(short.length).toBeLessThanOrEqual(most);
      expect(Buffer.from(short).toString()).toBe(short);
    }
    expect(elideMiddle("short", 60)).toBe("short");
  });
});
