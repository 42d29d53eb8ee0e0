import { expect, test } from "vitest";
import { newId } from "../../core/id.ts";
import { createLoopGuard } from "../../core/loop-guard.ts";
import type { Message } from "../../core/message.ts";
import type { AskedCall } from "../../core/turn.ts";

let made = 0;

/** A step that calls one tool; ids differ each time, as they do in life. */
function step(input: string, value = "same"): [AskedCall[], Message[]] {
  const id = `call_${++made}`;
  const results: Message[] = [{ role: "tool", content: [{ type: "tool-result", toolCallId: id, toolName: "read", output: { type: "text", value } }] }];
  return [[{ id, tool: "read", input }], results];
}

const watchAll = (steps: (readonly [input: string, value?: string])[]) => {
  const guard = createLoopGuard();
  return { guard, times: steps.map(([input, value]) => guard.watch(...step(input, value))) };
};

test("the same call with the same result is counted, warned of at three and stopped at five", () => {
  const { guard, times } = watchAll([["a"], ["a"], ["a"], ["a"]]);
  expect(times).toEqual([1, 2, 3, 4]);
  expect(times.map(guard.claimWarning)).toEqual([false, false, true, true]);
  expect(() => guard.check()).not.toThrow();
  expect(guard.watch(...step("a"))).toBe(5);
  expect(() => guard.check()).toThrow("The model repeats itself: read came 5 times");
});

test("a call whose result changes is polling, not a repetition", () => {
  expect(watchAll(["1", "2", "3", "4", "5", "6"].map((value) => ["a", value] as const)).times).toEqual([1, 1, 1, 1, 1, 1]);
});

test("ids that differ each time, as a task's or a file's of a long output, do not hide a repetition", () => {
  const results = Array.from({ length: 5 }, () => `It failed.\n(task_id: ${newId("ses")})\nThe whole is in /tmp/${newId("call")}.txt`);
  expect(watchAll(results.map((value) => ["a", value] as const)).times.at(-1)).toBe(5);
});

test("a call with another input breaks the row", () => {
  expect(watchAll([["a"], ["a"], ["b"], ["a"], ["a"]]).times).toEqual([1, 2, 1, 1, 2]);
});

test.each([2, 3, 4])("a cycle of %i steps is a repetition", (length) => {
  const cycle = ["a", "b", "c", "d"].slice(0, length).map((input) => [input] as const);
  const { guard, times } = watchAll(Array(5).fill(cycle).flat());
  expect(times[3 * length - 1]).toBe(3);
  expect(times.at(-1)).toBe(5);
  expect(() => guard.check()).toThrow(/repeats itself/);
});

test("a cycle of five steps is none", () => {
  const cycle = ["a", "b", "c", "d", "e"].map((input) => [input] as const);
  const { guard } = watchAll(Array(8).fill(cycle).flat());
  expect(() => guard.check()).not.toThrow();
});
