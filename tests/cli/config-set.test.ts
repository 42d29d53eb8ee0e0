import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { isBuilt, makeHome, makeHomeWith, removeHomes, runCommand } from "./command.ts";

afterAll(removeHomes);

const userFile = (home: string, name = "agent.json") => join(home, ".config/agent", name);
const config = (home: string, ...words: string[]) => runCommand({ home, args: ["config", ...words] });
const readJson = (file: string) => JSON.parse(readFileSync(file, "utf8"));

const COMMENTED = `{
	// What we ask.
	"model": "a/b", // for now
	"unknown": 1,
	"provider": {
		"p": { "options": { "timeout": 5 } }, /* slow */
	},
}
`;

describe.skipIf(!isBuilt).concurrent("agent config set", () => {
  test("makes the user's file for its owner alone, and what it sets is in force", async () => {
    const home = makeHome();
    const run = await config(home, "set", "model", "demo/echo");
    expect([run.code, run.stdout]).toEqual([0, `model is set in ${userFile(home)}\n`]);
    expect(statSync(userFile(home)).mode & 0o777).toBe(0o600);
    expect((await config(home, "get", "model")).stdout).toBe("demo/echo\n");
    expect((await runCommand({ home, args: ["-p", "hallo"] })).stdout).toBe("hallo\n");
  });

  test("keeps comments, order, indentation, mode and what it does not know", async () => {
    const home = makeHomeWith({ ".config/agent/agent.jsonc": COMMENTED });
    const file = userFile(home, "agent.jsonc");
    expect((await config(home, "set", "model", "c/d")).code).toBe(0);
    expect((await config(home, "set", 'provider.p.models."gpt-4.1".fallback', '["x/y"]')).code).toBe(0);
    const text = readFileSync(file, "utf8");
    expect(text).toContain('\t// What we ask.\n\t"model": "c/d", // for now\n\t"unknown": 1,\n');
    expect(text).toContain("/* slow */");
    expect(text).toContain('"gpt-4.1"');
    expect((await config(home, "get", 'provider.p.models."gpt-4.1".fallback')).stdout).toBe('[\n  "x/y"\n]\n');
    expect((await config(home, "unset", "provider.p.models")).code).toBe(0);
    expect((await config(home, "set", "model", "a/b")).code).toBe(0);
    expect(JSON.stringify(readFileSync(file, "utf8").split("\n").slice(0, 4))).toBe(JSON.stringify(COMMENTED.split("\n").slice(0, 4)));
    expect(statSync(file).mode & 0o777).toBe(statSync(join(home, ".config")).mode & 0o666);
  });

  test.each([
    ["a value of the wrong type", ["limits.freeOnly", "yes"], "expected true or false"],
    ["a key that is unknown", ["limts.steps", "1"], "Did you mean limits?"],
    ["a key that is none", ["a..b", "1"], "is no key"],
    ["__proto__", ["__proto__.x", "1"], "is no key"],
    ["a missing value", ["model"], "a KEY and a VALUE"],
  ])("refuses %s and changes nothing", async (_, words, reason) => {
    const home = makeHomeWith({ ".config/agent/agent.json": '{"model":"a/b"}' });
    const run = await config(home, "set", ...words);
    expect([run.code, readFileSync(userFile(home), "utf8")]).toEqual([2, '{"model":"a/b"}']);
    expect(run.stderr).toContain(reason);
  });

  test("never replaces a file that is damaged, and leaves no draft", async () => {
    const home = makeHomeWith({ ".config/agent/agent.json": '{"model": "a/b"' });
    const run = await config(home, "set", "model", "c/d");
    expect([run.code, readFileSync(userFile(home), "utf8"), readdirSync(join(home, ".config/agent"))]).toEqual([2, '{"model": "a/b"', ["agent.json"]]);
    expect(run.stderr).toContain("[CONFIG_INVALID]");
  });

  test("says what is in the way of a key, and takes out nothing that is not there", async () => {
    const home = makeHomeWith({ ".config/agent/agent.json": '{"limits": 5, "model": "a/b"}' });
    const set = await config(home, "set", "limits.steps", "3");
    expect([set.code, set.stderr]).toEqual([2, expect.stringContaining("limits is no object there")]);
    const unset = await config(home, "unset", "model.x");
    expect([unset.code, unset.stdout]).toEqual([0, expect.stringContaining("model.x was not set")]);
    expect(readFileSync(userFile(home), "utf8")).toBe('{"limits": 5, "model": "a/b"}');
    expect((await config(home, "set", "limits", '{"steps": 3}')).code).toBe(0);
    expect(readJson(userFile(home))).toEqual({ limits: { steps: 3 }, model: "a/b" });
  });

  test("loses nothing of edits that are made at once", async () => {
    const home = makeHome();
    const keys = ["temperature", "topP", "limits.steps", "limits.tokens", "retry.maxRetries", "maxOutputTokens"];
    const runs = await Promise.all(keys.map((key) => config(home, "set", key, "1")));
    expect(runs.map(({ code }) => code)).toEqual(keys.map(() => 0));
    expect(readJson(userFile(home))).toEqual({ temperature: 1, topP: 1, limits: { steps: 1, tokens: 1 }, retry: { maxRetries: 1 }, maxOutputTokens: 1 });
  });

  test("changes the workspace's file with --project, and says that its trust has ended", async () => {
    const home = makeHomeWith({ "work/agent.json": '{\n  "model": "demo/echo"\n}\n' });
    const file = join(home, "work/agent.json");
    expect((await runCommand({ home, args: ["trust"] })).code).toBe(0);
    const run = await config(home, "set", "temperature", "0.5", "--project");
    expect([run.code, readJson(file)]).toEqual([0, { model: "demo/echo", temperature: 0.5 }]);
    expect(run.stdout).toContain("agent trust");
  });

  test("says what comes before the value that it has set", async () => {
    const home = makeHome();
    const run = await runCommand({ home, args: ["config", "set", "model", "demo/echo"], env: { AGENT_MODEL: "demo/tour" } });
    expect(run.stdout).toContain("Another value comes before it: environment AGENT_MODEL");
  });
});

test.skipIf(!isBuilt)("agent config unset takes a value out, and says where there was none", async () => {
  const home = makeHome();
  expect((await config(home, "unset", "model")).stdout).toContain("model was not set");
  await config(home, "set", "model", "demo/echo");
  expect((await config(home, "unset", "model")).stdout).toContain("model is no longer set");
  expect(readJson(userFile(home))).toEqual({});
  const get = await config(home, "get", "model");
  expect([get.code, get.stderr.includes("is not set")]).toEqual([2, true]);
});
