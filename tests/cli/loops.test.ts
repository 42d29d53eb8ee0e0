import { afterAll, describe, expect, test } from "vitest";
import type { SeenRequest } from "../fixtures/server.ts";
import { type CommandRun, isBuilt, JSON_OUT, MODEL, makeHomeWith, ofType, removeHomes, resultOf, runCommand } from "./command.ts";
import { byPrompt, type Call, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const read = (filePath: string): Call => ["read", { filePath }];
const bash = (command: string): Call => ["bash", { command }];
const makeHome = () => makeHomeWith({ "work/a.txt": "a\n", "work/b.txt": "b\n", "work/c.txt": "c\n", "work/d.txt": "d\n" });

/** Runs `agent` with a model that makes the steps again and again, `rounds` times. */
const repeat = (steps: Call[][], { rounds = 8, home = makeHome(), args = [], ...options }: CommandRun & { rounds?: number } = {}) =>
  runCommand({
    home,
    args: [...MODEL, ...JSON_OUT, ...args, "-p", "go"],
    script: [...Array.from({ length: rounds }, () => steps.map((calls) => turn(...calls))).flat(), { text: "ok" }],
    ...options,
  });

const warningsIn = (request: SeenRequest | undefined): number => (request?.text.match(/came \d times in a row with the same result/g) ?? []).length;
const endOf = (run: Awaited<ReturnType<typeof repeat>>) => [
  run.code,
  resultOf(run).status,
  run.requests.length,
  ofType(run, "loop_warning").map(({ times }) => times),
];

describe.skipIf(!isBuilt)("a model that repeats itself", () => {
  test("reads a warning after the third time, one for each further time, and is stopped before the sixth request", async () => {
    const run = await repeat([[read("a.txt")]]);
    expect(endOf(run)).toEqual([3, "limit", 5, [3, 4]]);
    expect(run.requests.map(warningsIn)).toEqual([0, 0, 0, 1, 2]);
    expect(resultOf(run).error ?? ofType(run, "error")[0].error).toMatchObject({ code: "LOOP_DETECTED" });
  });

  test.each([2, 3, 4])("in a cycle of %i steps is warned once for each round, and stopped", async (length) => {
    const steps = ["a.txt", "b.txt", "c.txt", "d.txt"].slice(0, length).map((path) => [read(path)]);
    expect(endOf(await repeat(steps))).toEqual([3, "limit", 5 * length, [3, 4]]);
  });

  test("is seen through: failures, parallel calls in another order, times, durations, processes and temporary files", async () => {
    expect(endOf(await repeat([[read("none.txt")]]))).toEqual([3, "limit", 5, [3, 4]]);
    expect(
      endOf(
        await repeat([
          [read("a.txt"), read("b.txt")],
          [read("b.txt"), read("a.txt")],
        ]),
      ),
    ).toEqual([3, "limit", 5, [3, 4]]);
    const chance = 'echo "1 failed (pid $$) in $((RANDOM % 9000)) ms, $(date +%T.%N) $(date -Is) /tmp/run-$RANDOM/x 0.$RANDOM s"';
    expect(endOf(await repeat([[bash(chance)]]))).toEqual([3, "limit", 5, [3, 4]]);
  });

  test("in a task ends the task, not the run that gave it", async () => {
    const script = byPrompt({ go: [turn(["task", { description: "d", prompt: "child" }]), { text: "ok" }], child: [turn(read("a.txt"))] });
    const run = await repeat([], { script });
    expect(run.code).toBe(0);
    expect(toolOutputsOf(run.requests.at(-1))[0]).toMatch(/^The task ended as limit: The model repeats itself/);
  });
});

describe.skipIf(!isBuilt)("what is no repetition", () => {
  test("is a call whose result goes on: a count, an age, a file that grows", async () => {
    const run = await repeat([[bash('echo x >> n; echo "job: $(wc -l < n) of 9, age $(wc -l < n)m3s"')]]);
    expect(endOf(run)).toEqual([0, "success", 9, []]);
  });

  test("is the same call in the next prompt: somebody asked for it again", async () => {
    const home = makeHome();
    const first = await repeat([[read("a.txt")]], { home, rounds: 2 });
    const second = await repeat([[read("a.txt")]], { home, rounds: 2, args: ["--continue"] });
    expect([endOf(first), endOf(second)]).toEqual([
      [0, "success", 3, []],
      [0, "success", 3, []],
    ]);
  });
});
