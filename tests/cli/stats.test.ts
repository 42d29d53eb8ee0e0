import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Reply } from "../fixtures/server.ts";
import { isBuilt, MODEL, makeHome, removeHomes, runCommand } from "./command.ts";
import { turn } from "./tool-runs.ts";

afterAll(removeHomes);

const cached = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110, cost: 0.25, prompt_tokens_details: { cached_tokens: 60 } };
const ask = (home: string, script: Reply[], args: string[] = []) => runCommand({ home, args: [...MODEL, "-q", "-p", "Hi", ...args], script });
const stats = async (home: string, ...words: string[]) => runCommand({ home, args: ["stats", ...words] });
const numbers = async (home: string, ...words: string[]) => JSON.parse((await stats(home, ...words, "--json")).stdout);

describe.skipIf(!isBuilt)("agent stats", () => {
  test("adds up steps, tokens, the share of cached ones and cost, tasks included and each once", async () => {
    const home = makeHome();
    await ask(home, [{ text: "One.", usage: cached }]);
    const task = turn(["task", { description: "d", prompt: "Look." }]);
    await ask(home, [
      { ...task, usage: cached },
      { text: "Looked.", usage: cached },
      { text: "Two.", usage: cached },
    ]);
    expect(await numbers(home)).toEqual({
      sessions: 3,
      children: 1,
      steps: 4,
      tokens: { input: 160, output: 40, reasoning: 0, cache: { read: 240, write: 0 } },
      cacheHitRate: 0.6,
      cost: 1,
      unknownCost: 0,
    });
    const { stdout, code } = await stats(home);
    expect(code).toBe(0);
    expect(stdout).toContain("sessions        3, 1 of them by a task\n");
    expect(stdout).toContain("cached          240 tokens (60 % of the input)\n");
    expect(stdout).toContain("cost            $1.0000\n");
  });

  test("says how many sessions have a cost that nobody knows, instead of counting them as free", async () => {
    const home = makeHome();
    await ask(home, [{ text: "One.", usage: { ...cached, cost: undefined } }]);
    expect(await numbers(home)).toMatchObject({ sessions: 1, cost: 0, unknownCost: 1 });
    expect((await stats(home)).stdout).toContain("$0.0000, and what 1 session cost that nobody knows of");
  });

  test("counts those of this workspace, or of the last days, where that is asked for", async () => {
    const home = makeHome();
    mkdirSync(join(home, "other"));
    await ask(home, [{ text: "One." }]);
    await ask(home, [{ text: "Two." }], ["--cwd", join(home, "other")]);
    expect((await numbers(home)).sessions).toBe(2);
    expect((await numbers(home, "--here")).sessions).toBe(1);
    expect((await numbers(home, "--days", "1")).sessions).toBe(2);
    expect((await numbers(home, "--days", "0.0000001")).sessions).toBe(0);
  });

  test("is all zeros where there is no session, with a share that is not known", async () => {
    expect(await numbers(makeHome())).toMatchObject({ sessions: 0, steps: 0, cost: 0, cacheHitRate: null });
  });

  test.each([["--what"], ["--days"], ["--days", "x"], ["--days", "0"], ["more"]])("refuses %s %s", async (...words) => {
    expect((await stats(makeHome(), ...words)).code).toBe(2);
  });
});
