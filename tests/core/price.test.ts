import { expect, test } from "vitest";
import { NO_TOKENS } from "../../core/message.ts";
import { costOf } from "../../core/price.ts";

const used = { input: 1_000_000, output: 100_000, reasoning: 50_000, cache: { read: 200_000, write: 10_000 } };

test("prices are USD per million tokens; reasoning is part of the output", () => {
  expect(costOf({ ...NO_TOKENS, input: 1_000_000 }, { input: 3, output: 15 })).toBe(3);
  expect(costOf(used, { input: 3, output: 15, cache_read: 0.3, cache_write: 3.75 })).toBeCloseTo(3 + 1.5 + 0.06 + 0.0375);
});

test("cached tokens cost what input costs where no price of their own is given", () => {
  expect(costOf(used, { input: 3, output: 15 })).toBeCloseTo((1.21 * 3 + 1.5) * 1);
});

test("a request of more than 200,000 input tokens has prices of its own", () => {
  const price = { input: 1, output: 1, context_over_200k: { input: 2, output: 3 } };
  expect(costOf({ ...NO_TOKENS, input: 200_000 }, price)).toBeCloseTo(0.2);
  expect(costOf({ ...NO_TOKENS, input: 200_001, output: 1_000_000 }, price)).toBeCloseTo(3.400002);
});

test.each([
  [{ input: 3 }],
  [{ output: 3 }],
  [{}],
  [{ input: -1, output: -1 }],
  [{ input: Number.NaN, output: 1 }],
])("a price that is missing or varies makes the cost unknown, never 0: %j", (price) => expect(costOf(used, price)).toBeUndefined());

test("tokens that nobody has counted cost something unknown, and nothing of a free model", () => {
  expect(costOf(NO_TOKENS, { input: 3, output: 15 })).toBeUndefined();
  expect(costOf(NO_TOKENS, { input: 0, output: 0 })).toBe(0);
});
