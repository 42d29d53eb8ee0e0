import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { timeBeside } from "../fixtures/timing.ts";
import { errorOf, isBuilt, JSON_OUT, MODEL, makeHomeWith, ofType, readAll, removeHomes, resultOf, runCommand, until } from "./command.ts";
import { byPrompt, type Call, processesWith, runTools, statesOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const SECRET = "OUTSIDE-SECRET";
const makeWorld = (files: Record<string, string | object> = {}) => makeHomeWith({ "outside/secret.txt": SECRET, "work/in.txt": "inside\n", ...files });
const bash = (command: string, more: object = {}): Call => ["bash", { command, ...more }];
/** A number of seconds to sleep that no other process sleeps. */
let sleeps = 70_000 + (process.pid % 10_000) * 3;
const nextSleep = () => `sleep ${++sleeps}`;

describe.skipIf(!isBuilt)("files", () => {
  test("keep the bytes that an edit does not touch", async () => {
    const home = makeWorld();
    writeFileSync(join(home, "work/old.txt"), Buffer.from("caf\xe9\r\nb\r\n", "latin1"));
    await runTools([["edit", { filePath: "old.txt", oldString: "b", newString: "c" }]], { home });
    expect(readFileSync(join(home, "work/old.txt"), "latin1")).toBe("caf\xe9\r\nc\r\n");
  });

  test("of an extra root are like those of the workspace, for bash too, and nothing beside it is", async () => {
    const home = makeWorld({ "extra/x.txt": "EXTRA\n" });
    const calls: Call[] = [
      ["read", { filePath: "../extra/x.txt" }],
      bash("cat ../extra/x.txt > ../extra/y.txt; cat ../extra/y.txt"),
      bash("pwd", { workdir: join(home, "extra") }),
      bash("cd ../extra && cat ../outside/secret.txt"),
    ];
    const run = await runTools(calls, { home, args: ["--add-dir", "../extra"] });
    expect(run.outputs).toEqual([expect.stringContaining("EXTRA"), "EXTRA\n", `${join(home, "extra")}\n`, expect.stringMatching(/outside the workspace/)]);
    expect((await runTools(calls, { home })).outputs.every((text) => /outside the workspace/.test(text))).toBe(true);
  });
});

describe.skipIf(!isBuilt)("a batch", () => {
  test("goes the way of every call: same permissions, also within a batch, and not deeper than three", async () => {
    const home = makeWorld();
    const inner = (...calls: Call[]): Call => ["batch", { tool_calls: calls.map(([tool, parameters]) => ({ tool, parameters })) }];
    const reaching: Call[] = [
      ["read", { filePath: "../outside/secret.txt" }],
      bash("cat ../outside/secret.txt"),
      bash("rm in.txt"),
      ["write", { filePath: "n.txt", content: "x" }],
    ];
    const run = await runTools([inner(...reaching, inner(...reaching, inner(inner(["read", { filePath: "in.txt" }]))))], {
      home,
      args: ["--permission-mode", "readonly"],
    });
    expect(run.code).toBe(0);
    expect(run.outputs[0]).toContain("nested deeper");
    expect(run.requests[1]?.text).not.toContain(SECRET);
    expect(readdirSync(join(home, "work"))).toEqual(["in.txt"]);
  });
});

describe.skipIf(!isBuilt)("bash", () => {
  test("leaves nothing running after its timeout: not in the background, not detached, not deaf to SIGTERM", async () => {
    const sleep = nextSleep();
    const run = await runTools([bash(`${sleep} & setsid ${sleep} & nohup ${sleep} >/dev/null 2>&1 & (trap '' TERM; ${sleep})`, { timeout: 500 })]);
    expect(run.outputs[0]).toContain("timed out after 500 ms");
    expect(processesWith(sleep)).toEqual([]);
  });

  test("leaves nothing running when the agent is killed", async () => {
    const sleep = nextSleep();
    const run = await runTools([bash(`${sleep} & setsid ${sleep} & nohup ${sleep} & ${sleep}`)], {
      onSpawn: (child) => void until(() => processesWith(sleep).length >= 4).then(() => child.kill("SIGKILL")),
    });
    expect(run.signal).toBe("SIGKILL");
    const { ms, hopMs } = await timeBeside(() => until(() => processesWith(sleep).length === 0));
    expect(ms).toBeLessThan(2000 + 10 * hopMs);
  });

  test("gives commands an allow-listed environment, and what its options add", async () => {
    const env = { MY_SECRET: "CANARY-TWO", AWS_SECRET_ACCESS_KEY: "CANARY-THREE", NODE_OPTIONS: "--no-warnings", TEAM_A: "a", TEAM_B: "b", ONE: "1" };
    const plain = await runTools([bash("env; cat /proc/self/environ")], { env, args: ["--permission-mode", "yolo"] });
    expect(plain.outputs[0]).toMatch(/^PATH=/m);
    expect(plain.stdout + readAll(plain.home)).not.toMatch(/CANARY|NODE_OPTIONS=|TEAM_A=/);
    const widened = await runTools([bash("echo $TEAM_A$TEAM_B$ONE$MY_SECRET")], { env, args: ["--plugin", '["bash",{"env":["TEAM_*","ONE"]}]'] });
    expect(widened.outputs[0]).toBe("ab1\n");
    const wrong = await runTools([], { env, args: ["--plugin", '["bash",{"env":["*"]}]'] });
    expect([wrong.code, errorOf(wrong).code]).toEqual([2, "PLUGIN_BROKEN"]);
  });

  test("ends a flood without growing with it, and says where the rest is", async () => {
    let peakKb = 0;
    const run = await runTools([bash("yes")], {
      onSpawn(child) {
        const timer = setInterval(() => {
          const status = existsSync(`/proc/${child.pid}/status`) ? readFileSync(`/proc/${child.pid}/status`, "utf8") : "";
          peakKb = Math.max(peakKb, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
        }, 20);
        child.once("exit", () => clearInterval(timer));
      },
    });
    expect(run.outputs[0]?.length).toBeLessThan(31_000);
    expect(run.outputs[0]).toMatch(/^y\ny\n[\s\S]*the whole output is in \/[\s\S]*more than 64 MiB/);
    expect(peakKb).toBeLessThan(160_000);
  });

  test("works and waits only in the workspace, without a terminal", async () => {
    const run = await runTools(
      [
        bash("pwd", { workdir: ".." }),
        bash("pwd", { workdir: "nowhere" }),
        bash("read x; echo got:$x; tty"),
        bash("echo $("),
        bash("cat ../outside/secret.txt"),
      ],
      { home: makeWorld() },
    );
    expect(run.outputs).toEqual([
      expect.stringContaining("outside the workspace"),
      expect.stringContaining("there is no directory"),
      expect.stringContaining("got:\nnot a tty"),
      expect.stringContaining("cannot be parsed"),
      expect.stringContaining("outside the workspace"),
    ]);
  });
});

describe.skipIf(!isBuilt)("bash", () => {
  test("in mode auto deletes and reads nothing outside, whether a cd works or not", async () => {
    const home = makeWorld({ "victim/x.txt": "x" });
    symlinkSync(join(home, "outside"), join(home, "work/link"));
    const commands = [
      "cd build; rm -rf ../victim",
      "cd build || true; cat ../outside/secret.txt",
      "cat */secret.txt",
      "cat .{.,}/outside/secret.txt",
      "grep -R SECRET .",
    ];
    const run = await runTools([...commands.map((command) => bash(command)), bash("mkdir -p build; cd build; cat ../in.txt")], { home });
    expect(run.outputs.slice(0, -1).filter((text) => !text.includes("outside the workspace"))).toEqual([]);
    expect([run.outputs.at(-1), existsSync(join(home, "victim/x.txt"))]).toEqual(["inside\n", true]);
    expect(run.requests[1]?.text).not.toContain(SECRET);
  });
});

describe.skipIf(!isBuilt)("permissions", { concurrent: true }, () => {
  const calls: Call[] = [["read", { filePath: "in.txt" }], ["write", { filePath: "new.txt", content: "x" }], bash("cat in.txt"), bash("echo x > out.txt")];
  const allowed = async (args: string[], options: { env?: Record<string, string>; home?: string; stdin?: string } = {}) => {
    const { stdin, ...rest } = options;
    const run = stdin
      ? await runCommand({ args: [...MODEL, ...JSON_OUT, ...args], stdin, script: [turn(...calls), { text: "ok" }], home: makeWorld(), ...rest })
      : await runTools(calls, { args, home: makeWorld(), ...rest });
    expect([run.code, resultOf(run)?.status]).toEqual([0, "success"]);
    return calls.map((_, index) => ofType(run, "tool_use").find(({ part }) => part.callID.startsWith(`call_${index}_`))?.part.state.status === "completed");
  };

  test.each([
    ["auto", [true, true, true, true]],
    ["ask", [true, false, false, false]],
    ["plan", [true, false, true, false]],
    ["readonly", [true, false, true, false]],
    ["yolo", [true, true, true, true]],
  ])("of mode %s hold, and a denied call does not end the run", async (mode, expected) => {
    expect(await allowed(["--permission-mode", mode])).toEqual(expected);
  });

  test("come from the map, the environment and the profile; of the rules that match, the last counts", async () => {
    expect(await allowed(["--permission", '{"*":"deny","read":"allow"}'])).toEqual([true, false, false, false]);
    expect(await allowed(["--permission", '{"edit":{"*":"deny","new.*":"allow"},"bash":{"*":"deny","cat *":"allow"}}'])).toEqual([true, true, true, false]);
    expect(await allowed([], { env: { AGENT_PERMISSION: '{"edit":"ask"}' } })).toEqual([true, false, true, false]);
    expect(await allowed(["--agent", "careful"], { home: makeProfiles() })).toEqual([true, false, false, false]);
  });

  test("of the command line hold for every profile that a request names", async () => {
    const ask = (args: string[], env: Record<string, string> = {}) => allowed(args, { home: makeProfiles(), stdin: '{"message":"go","agent":"wide"}', env });
    expect(await ask([])).toEqual([true, true, true, true]);
    expect(await ask(["--permission", '{"edit":"deny"}'])).toEqual([true, false, true, false]);
    expect(await ask([], { AGENT_PERMISSION: '{"edit":"deny"}' })).toEqual([true, false, true, false]);
    expect(await ask(["--permission-mode", "readonly"])).toEqual([true, false, true, false]);
    expect(await ask(["--disable-tools", "bash"])).toEqual([true, true, false, false]);
  });
});

const makeProfiles = () =>
  makeWorld({
    ".config/agent/agent.json": {
      agent: { careful: { permission: { edit: "deny" }, tools: { bash: false } }, wide: { permission: "allow", tools: { bash: true } } },
    },
  });

describe.skipIf(!isBuilt)("a task", { concurrent: true }, () => {
  const task = (prompt: string, more: object = {}): Call => ["task", { description: "d", prompt, ...more }];
  const runTask = (turns: Parameters<typeof byPrompt>[0], args: string[] = [], home = makeProfiles()) =>
    runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "top", ...args], script: byPrompt({ top: [turn(task("child")), { text: "done" }], ...turns }), home });

  test("is a session of its own under its parent: one result, one announcement, all costs together, three levels", async () => {
    const deeper = (prompt: string) => [turn(task(prompt)), { text: `from above ${prompt}` }];
    const run = await runTask({ child: deeper("grandchild"), grandchild: deeper("great"), great: deeper("too deep") });
    expect([run.code, run.requests.length]).toEqual([0, 8]);
    expect([ofType(run, "result"), ofType(run, "model_resolved")].map(({ length }) => length)).toEqual([1, 1]);
    expect(resultOf(run)).toMatchObject({ text: "done", steps: 2, cost: 0.012, tokens: { input: 800 } });
    const parents = new Map(run.events.map(({ sessionID, parentSessionID }) => [sessionID, parentSessionID]));
    const chain = [...parents].map(([id, parent]) => [id, parent]);
    expect(chain.slice(1).map(([, parent]) => parent)).toEqual(chain.slice(0, -1).map(([id]) => id));
    expect(ofType(run, "tool_use").map(({ part }) => part.state.status)).toEqual(["error", "completed", "completed", "completed"]);
    expect(ofType(run, "tool_use")[0].part.state.error).toContain("nested deeper than 3 levels");
  });

  test.each([
    ["the profile of its parent, whatever profile it is given", ["--agent", "careful"], "wide"],
    ["the built-in profile plan", ["--agent", "plan"], "wide"],
    ["the mode ask", ["--permission-mode", "ask"], "wide"],
    ["the mode readonly", ["--permission-mode", "readonly"], "build"],
  ])("does not leave %s", async (_, args, subagent_type) => {
    const home = makeProfiles();
    const top = [turn(task("child", { subagent_type })), { text: "done" }];
    const run = await runTask({ top, child: [turn(bash("touch made.txt"), ["write", { filePath: "new.txt", content: "x" }]), { text: "tried" }] }, args, home);
    expect(statesOf(run).sort()).toEqual(["bash:error", "task:completed", "write:error"]);
    expect(readdirSync(join(home, "work"))).toEqual(["in.txt"]);
  });

  test("that cannot start is a failed call, not a failed run", async () => {
    const calls = [
      task("child", { model: "nope/x" }),
      task("child", { subagent_type: "nope" }),
      task("child", { task_id: "ses_nope" }),
      task("child", { model: "openrouter/other/m" }),
    ];
    const run = await runTask({ top: [turn(...calls), { text: "done" }], child: [{ text: "hello" }] });
    expect([run.code, statesOf(run).sort()]).toEqual([0, ["task:completed", "task:error", "task:error", "task:error"]]);
    expect(JSON.stringify(run.events)).not.toContain("(task_id: )");
  });
});
