import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createPace } from "../../core/pace.ts";

const never = new AbortController().signal;

describe("a pace of two a minute", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** Asks for `count` turns at once, and notes when each came. */
  function ask(count: number, signals: AbortSignal[] = []) {
    const waits: number[] = [];
    const pace = createPace(2, (ms) => waits.push(ms));
    const begun = performance.now();
    const came: (number | string)[] = [];
    const turns = Array.from({ length: count }, (_, index) =>
      pace(signals[index] ?? never).then(
        () => (came[index] = Math.floor((performance.now() - begun) / 1000)),
        () => (came[index] = "gave up"),
      ),
    );
    return { waits, came, turns, pace, begun };
  }

  test("lets two through at once, and the next when a minute is over", async () => {
    const { came, waits, turns } = ask(5);
    await vi.advanceTimersByTimeAsync(59_000);
    expect(came).toEqual([0, 0]);
    await vi.advanceTimersByTimeAsync(62_000);
    await Promise.all(turns);
    expect(came).toEqual([0, 0, 60, 60, 120]);
    expect(waits.length).toBeLessThanOrEqual(3);
  });

  test("does not wait for those that were long ago", async () => {
    const { pace, begun } = ask(2);
    await vi.advanceTimersByTimeAsync(61_000);
    await pace(never);
    expect(performance.now() - begun).toBeLessThan(61_100);
  });

  test("gives the turn of who gave up to the next", async () => {
    const leaving = new AbortController();
    const { came, turns } = ask(4, [never, never, leaving.signal]);
    await vi.advanceTimersByTimeAsync(10_000);
    leaving.abort(new Error("no"));
    await vi.advanceTimersByTimeAsync(51_000);
    await Promise.all(turns);
    expect(came).toEqual([0, 0, "gave up", 60]);
  });
});
