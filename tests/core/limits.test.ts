import { expect, test } from "vitest";
import { createSpending, DEFAULT_STEPS, limitsOf } from "../../core/limits.ts";
import { NO_TOKENS } from "../../core/message.ts";

const used = (input: number, costUsd?: number) => ({ tokens: { ...NO_TOKENS, input }, ...(costUsd !== undefined && { costUsd }) });

test("a prompt has 100 steps when nothing else is said", () => {
  expect(DEFAULT_STEPS).toBe(100);
  expect(() => createSpending({}).check(100)).not.toThrow();
  expect(() => createSpending({}).check(101)).toThrow("The limit of 100 steps is reached.");
});

test("the step after the last one allowed is refused", () => {
  const spending = createSpending({ steps: 2 });
  expect(() => spending.check(2)).not.toThrow();
  expect(() => spending.check(3)).toThrow("limit of 2 steps");
});

test("a request that would likely pass the limit of cost is not sent", () => {
  const spending = createSpending({ costUsd: 0.05 });
  spending.check(1);
  spending.add(used(10, 0.02));
  spending.check(2);
  spending.add(used(10, 0.02));
  expect(() => spending.check(3)).toThrow("The limit of 0.05 USD is reached (0.04 spent).");
});

test("a limit of cost that is met exactly allows no further request", () => {
  const spending = createSpending({ costUsd: 0.1 });
  spending.add(used(1, 0.1));
  expect(() => spending.check(2)).toThrow(/LIMIT|limit of 0.1 USD/);
});

test("a limit of cost ends a run whose cost nobody says", () => {
  const spending = createSpending({ costUsd: 1 });
  spending.add(used(1));
  expect(() => spending.check(2)).toThrow("The limit of 1 USD cannot be kept");
});

test("all tokens that passed count for the limit, cached ones too", () => {
  const spending = createSpending({ tokens: 100 });
  spending.add({ tokens: { input: 30, output: 20, reasoning: 20, cache: { read: 40, write: 9 } } });
  expect(() => spending.check(2)).not.toThrow();
  spending.add(used(1));
  expect(() => spending.check(3)).toThrow("The limit of 100 tokens is reached (100 used).");
});

test("requests that could pass a limit together take turns, in order; where nothing is limited they do not wait", async () => {
  const { signal } = new AbortController();
  const free = createSpending({ steps: 3 });
  await Promise.all([free.takeTurn(signal), free.takeTurn(signal)]);
  for (const limits of [{ costUsd: 1 }, { tokens: 1 }]) {
    const spending = createSpending(limits);
    const order: string[] = [];
    const endFirst = await spending.takeTurn(signal);
    const leaving = new AbortController();
    const left = spending.takeTurn(leaving.signal).catch((error: unknown) => order.push(`left: ${error}`));
    const last = spending.takeTurn(signal).then(() => order.push("last"));
    leaving.abort("gone");
    await left;
    order.push("first ends");
    endFirst();
    await last;
    expect(order).toEqual(["left: gone", "first ends", "last"]);
  }
});

test("a step of unknown cost makes the cost of the whole unknown, never zero", () => {
  const spending = createSpending({});
  spending.add(used(1, 0.5));
  expect([spending.costUsd, spending.costSource]).toEqual([0.5, "provider"]);
  spending.add(used(1));
  expect([spending.costUsd, spending.costSource]).toEqual([undefined, "unknown"]);
});

test("the host's limits come before the configuration's, one by one", () => {
  const config = { limits: { steps: 50, costUsd: 2, tokens: 1000, timeoutSeconds: 30 } };
  expect(limitsOf({ steps: 5, costUsd: 1 }, config)).toEqual({ steps: 5, costUsd: 1, tokens: 1000, timeoutMs: 30_000 });
  expect(limitsOf(undefined, {})).toEqual({});
});

test("a profile's steps never pass those of host and configuration", () => {
  expect(limitsOf({ steps: 5 }, {}, { steps: 50 }).steps).toBe(5);
  expect(limitsOf({ steps: 50 }, {}, { steps: 5 }).steps).toBe(5);
  expect(limitsOf({}, { limits: { steps: 7 } }, { steps: 9 }).steps).toBe(7);
  expect(limitsOf({}, {}, { steps: 200 }).steps).toBe(200);
});
