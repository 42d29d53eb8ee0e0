import { describe, expect, test } from "vitest";
import type { Message } from "../../core/message.ts";
import { charactersOf, createTokenEstimator, estimateTokens } from "../../core/token-estimate.ts";

describe("the estimate of tokens", () => {
  test.each([
    ["", 0],
    ["a", 1],
    ["abcd", 1],
    ["abcde", 2],
    ["漢字仮名交じり文", 2],
    ["🙂🙂", 1],
    ["👨‍👩‍👧‍👦", 3],
    ["x".repeat(400_000), 100_000],
  ])("takes four characters for a token, rounded up: %#", (text, tokens) => expect(estimateTokens(text.length)).toBe(tokens));

  test("counts what a model reads of a message: texts, calls, results; a file as 1,000 tokens", () => {
    const messages: Message[] = [
      { role: "system", content: "abc" },
      { role: "user", content: [{ type: "text", text: "hello" }] },
      { role: "user", content: [{ type: "file", mediaType: "image/png", data: "A".repeat(100_000) }] },
      { role: "assistant", content: [{ type: "tool-call", toolCallId: "1", toolName: "read", input: { a: 1 } }] },
      { role: "tool", content: [{ type: "tool-result", toolCallId: "1", toolName: "read", output: { type: "text", value: "twelve chars" } }] },
    ];
    expect(messages.map(charactersOf)).toEqual([3, 5, 4_000, 11, 12]);
  });
});

describe("the ratio of a model", () => {
  test("is four until the provider has counted a request, then what it counted", () => {
    const estimator = createTokenEstimator();
    expect(estimator.ratio("p/m")).toBe(4);
    estimator.calibrate("p/m", { characters: 10_000, tokens: 5_000 });
    expect(estimator.ratio("p/m")).toBe(2);
    expect(estimator.ratio("p/other")).toBe(4);
  });

  test("moves slowly afterwards, and comes to rest at what is true", () => {
    const estimator = createTokenEstimator();
    estimator.calibrate("p/m", { characters: 4_000, tokens: 1_000 });
    estimator.calibrate("p/m", { characters: 3_000, tokens: 1_000 });
    expect(estimator.ratio("p/m")).toBeCloseTo(3.7);
    for (let i = 0; i < 30; i++) estimator.calibrate("p/m", { characters: 3_000, tokens: 1_000 });
    expect(estimator.ratio("p/m")).toBeCloseTo(3, 3);
  });

  test.each([
    ["no count", 5_000, 0],
    ["a tiny request", 100, 100],
    ["a count ten times too high", 500, 5_000],
    ["a count without end", 5_000, Number.POSITIVE_INFINITY],
    ["one that leaves out what was cached", 50_000, 100],
    ["one that is no number", 5_000, Number.NaN],
  ])("learns nothing from %s", (_, characters, tokens) => {
    const estimator = createTokenEstimator();
    estimator.calibrate("p/m", { characters, tokens });
    expect(estimator.ratio("p/m")).toBe(4);
    estimator.calibrate("p/m", { characters: 3_000, tokens: 1_000 });
    estimator.calibrate("p/m", { characters, tokens });
    expect(estimator.ratio("p/m")).toBe(3);
  });

  test("is believed from half a character to eight", () => {
    const estimator = createTokenEstimator();
    estimator.calibrate("p/m", { characters: 5_000, tokens: 10_000 });
    estimator.calibrate("p/n", { characters: 8_000, tokens: 1_000 });
    expect([estimator.ratio("p/m"), estimator.ratio("p/n")]).toEqual([0.5, 8]);
  });
});
