import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Reply } from "../fixtures/server.ts";
import { type CommandRun, isBuilt, JSON_OUT, MODEL, makeHomeWith, removeHomes, runCommand, talkOf, until } from "./command.ts";
import { byPrompt, type Call, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const bash = (command: string): Call => ["bash", { command }];
const write = (filePath: string, content: string): Call => ["write", { filePath, content }];
const sessionsIn = (home: string) => join(home, ".local/share/agent/sessions");

const makeWork = (config: object = {}) => makeHomeWith({ ".config/agent/agent.json": config, "work/a.txt": "a, old\n", "work/b.txt": "b, old\n" });
const read = (home: string, path: string) => readFileSync(join(home, "work", path), "utf8");
const filesOf = (home: string): string[] => readdirSync(join(home, "work"), { recursive: true }).map(String).sort();

/** One prompt that makes these calls, each inner list a step. */
function prompt(home: string, steps: Call[][], { args = [], ...more }: CommandRun = {}) {
  const script: Reply[] = [...steps.map((calls) => turn(...calls)), { text: "done" }];
  return runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "go", ...args], script, ...more });
}

async function undo(home: string, ...args: string[]) {
  const { code, stdout, stderr } = await runCommand({ home, args: ["session", "undo", ...args] });
  return { code, lines: stdout.split("\n").slice(0, -1), stderr };
}

/** Two prompts: step 1 writes and changes, step 2 is a command, 3 answers; step 4 edits, 5 answers. */
async function makeSession() {
  const home = makeWork();
  chmodSync(join(home, "work/b.txt"), 0o640);
  const first = await prompt(home, [
    [write("new/deep/c.txt", "c\n"), ["edit", { filePath: "a.txt", oldString: "old", newString: "edited" }]],
    [bash("rm b.txt; mkdir made; echo x > made/x; sed -i s/edited/changed/ a.txt")],
  ]);
  const id: string = first.events[0].sessionID;
  const second = await prompt(home, [[["edit", { filePath: "a.txt", oldString: "changed", newString: "last" }]]], {
    args: ["--continue"],
  });
  expect([first.code, second.code, read(home, "a.txt")]).toEqual([0, 0, "a, last\n"]);
  return { home, id };
}

describe.skipIf(!isBuilt)("session undo", { concurrent: true, timeout: 180_000 }, () => {
  test("takes back what tools and commands changed, to a step, to a message and altogether, without git", async () => {
    const { home, id } = await makeSession();
    expect(await undo(home, "--dry-run", "--to", "2")).toMatchObject({ code: 0, lines: ["would be restored a.txt", "Would restore 1 and remove 0."] });
    expect(read(home, "a.txt")).toBe("a, last\n");
    expect(await undo(home, "--to", "2")).toMatchObject({ code: 0, lines: ["restored a.txt", "Restored 1 and removed 0."] });
    expect([read(home, "a.txt"), read(home, "made/x")]).toEqual(["a, changed\n", "x\n"]);

    const shown = await runCommand({ home, args: ["session", "show", id] });
    expect(shown.stdout).toContain("assistant (openrouter/acme/model-1), step 2\n[bash");
    const exported = JSON.parse((await runCommand({ home, args: ["session", "export", id] })).stdout);
    const message = exported.messages.find((message: any) => message.info.role === "assistant").info.id;
    expect(await undo(home, `--to=${message}`)).toMatchObject({ code: 0, lines: expect.arrayContaining(["restored b.txt", "removed made/x"]) });
    expect([read(home, "a.txt"), read(home, "b.txt"), read(home, "new/deep/c.txt")]).toEqual(["a, edited\n", "b, old\n", "c\n"]);
    expect(statSync(join(home, "work/b.txt")).mode & 0o777).toBe(0o640);

    expect((await undo(home, id)).lines).toEqual(["restored a.txt", "removed new/deep/c.txt", "Restored 1 and removed 1."]);
    expect([filesOf(home), read(home, "a.txt")]).toEqual([["a.txt", "b.txt"], "a, old\n"]);
    expect(await undo(home, id)).toEqual({ code: 0, lines: ["Nothing to undo."], stderr: "" });
  });

  test("is known to the model that goes on, and has to read a file again before it writes it", async () => {
    const home = makeWork();
    await prompt(home, [[["read", { filePath: "a.txt" }]], [write("a.txt", "new\n")]]);
    await undo(home);
    const next = await prompt(home, [[write("a.txt", "x")]], { args: ["-c"] });
    expect(talkOf(next).at(-2)).toMatch(/^user:\(The user has undone your changes.*restored: a\.txt/);
    expect(toolOutputsOf(next.requests.at(-1)).at(-1)).toContain("was not read in this session");
  });

  test("refuses all where somebody has changed a file since, and says which; with --force it goes on", async () => {
    const home = makeWork();
    await prompt(home, [[bash("echo x > a.txt; echo x > b.txt; echo x > c.txt")]]);
    writeFileSync(join(home, "work/a.txt"), "by hand\n");
    rmSync(join(home, "work/c.txt"));
    const refused = await undo(home);
    expect(refused).toMatchObject({ code: 1, lines: ["changed since: a.txt"], stderr: expect.stringMatching(/Nothing was undone: 1 .*\n.*--force/) });
    expect([read(home, "a.txt"), read(home, "b.txt")]).toEqual(["by hand\n", "x\n"]);
    expect(await undo(home, "--force")).toMatchObject({ code: 0, lines: ["restored a.txt", "restored b.txt", "Restored 2 and removed 0."] });
    expect([filesOf(home), read(home, "a.txt"), read(home, "b.txt")]).toEqual([["a.txt", "b.txt"], "a, old\n", "b, old\n"]);
  });

  test("takes back what a command did that was killed with the agent, or interrupted", async () => {
    const half = "echo half > a.txt; rm b.txt; touch begun; sleep 20";
    const check = async (signal: "SIGKILL" | "SIGINT") => {
      const home = makeWork();
      const begun = () => existsSync(join(home, "work/begun"));
      const run = await prompt(home, [[bash("echo one > c.txt")], [bash(half)]], { onSpawn: (child) => void until(begun).then(() => child.kill(signal)) });
      expect([run.signal, run.code]).toEqual(signal === "SIGKILL" ? ["SIGKILL", null] : [null, 130]);
      expect(read(home, "a.txt")).toBe("half\n");
      expect(await undo(home, "--to", "1")).toMatchObject({
        code: 0,
        lines: ["restored a.txt", "restored b.txt", "removed begun", "Restored 2 and removed 1."],
      });
      expect([filesOf(home), read(home, "a.txt")]).toEqual([["a.txt", "b.txt", "c.txt"], "a, old\n"]);
      await undo(home);
      expect(filesOf(home)).toEqual(["a.txt", "b.txt"]);
    };
    await Promise.all([check("SIGKILL"), check("SIGINT")]);
  });

  test("knows of a killed command what it was before it, and keeps no more than it needs; without that it says so", async () => {
    const killed = async () => {
      const home = makeWork();
      const begun = () => existsSync(join(home, "work/begun"));
      const run = await prompt(home, [[bash("echo half > a.txt; touch begun; sleep 20")]], {
        onSpawn: (child) => void until(begun).then(() => child.kill("SIGKILL")),
      });
      return { home, files: join(sessionsIn(home), run.events[0].sessionID, "files") };
    };
    const { home, files } = await killed();
    expect(readdirSync(join(files, "look")).sort()).toEqual(["pack", "seen"]);
    expect((await undo(home, "--dry-run")).lines.slice(0, 2)).toEqual(["would be restored a.txt", "would be removed begun"]);
    expect(readdirSync(files).map((name) => readFileSync(join(files, name), "utf8"))).toEqual(["a, old\n"]);
    expect((await undo(home)).code).toBe(0);
    expect([filesOf(home), read(home, "a.txt")]).toEqual([["a.txt", "b.txt"], "a, old\n"]);

    const poor = await killed();
    rmSync(join(poor.files, "look"), { recursive: true });
    expect(await undo(poor.home)).toMatchObject({ code: 1, lines: expect.arrayContaining([expect.stringContaining("what was there before it is lost")]) });
    expect(filesOf(poor.home)).toEqual(["a.txt", "b.txt", "begun"]);
  });

  test("need not watch commands that provably only read, whatever the permission mode", async () => {
    const home = makeWork();
    for (const mode of ["auto", "yolo"]) {
      const run = await prompt(home, [[bash("cat a.txt | head -1; ls -la"), bash("git status || true")]], { args: ["--permission-mode", mode] });
      expect(toolOutputsOf(run.requests.at(-1)).join()).toContain("a, old");
      expect(existsSync(join(sessionsIn(home), run.events[0].sessionID, "files"))).toBe(false);
    }
    await prompt(home, [[bash("ls > c.txt")]]);
    expect((await undo(home)).lines).toEqual(["removed c.txt", "Restored 0 and removed 1."]);
  });

  test("of a session takes back what its tasks did, and that of a task says where to look", async () => {
    const home = makeWork();
    const task: Call = ["task", { description: "a task", prompt: "change" }];
    const script = byPrompt({
      go: [turn(write("c.txt", "c")), turn(task), { text: "done" }],
      change: [turn(["batch", { tool_calls: [{ tool: "bash", parameters: { command: "echo x > a.txt" } }] }], write("d.txt", "d")), { text: "ok" }],
    });
    const run = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "go"], script });
    expect([run.code, read(home, "a.txt")]).toEqual([0, "x\n"]);
    const root: string = run.events[0].sessionID;
    const child = run.events.find(({ sessionID }) => sessionID !== root).sessionID;
    expect(await undo(home, child)).toMatchObject({ code: 2, stderr: expect.stringContaining(`a task of ${root}`) });
    expect(await undo(home, "--to", "1")).toMatchObject({ code: 0, lines: ["restored a.txt", "removed d.txt", "Restored 1 and removed 1."] });
    expect(filesOf(home)).toEqual(["a.txt", "b.txt", "c.txt"]);
  });

  test("is of this workspace's newest session, and of another's where it is named", async () => {
    const home = makeWork();
    mkdirSync(join(home, "other"));
    const there = realpathSync(join(home, "other"));
    const run = await prompt(home, [[write("o.txt", "o")]], { args: ["--cwd", there] });
    expect(await undo(home)).toMatchObject({ code: 2, stderr: expect.stringContaining("no session of this workspace") });
    expect(await undo(home, run.events[0].sessionID)).toMatchObject({ code: 0, lines: ["removed o.txt", "Restored 0 and removed 1."] });
    expect(readdirSync(there)).toEqual([]);
  });

  test("reaches an extra directory that the run had", async () => {
    const home = makeWork();
    mkdirSync(join(home, "extra"));
    const extra = realpathSync(join(home, "extra"));
    await prompt(home, [[bash(`echo x > ${extra}/x.txt`), write(`${extra}/y.txt`, "y")]], { args: ["--add-dir", extra] });
    expect(readdirSync(extra)).toEqual(["x.txt", "y.txt"]);
    expect((await undo(home)).code).toBe(0);
    expect(readdirSync(extra)).toEqual([]);
  });

  test("waits for no run: a session in use is refused", async () => {
    const home = makeWork();
    const begun = () => existsSync(join(home, "work/begun"));
    let refused: Awaited<ReturnType<typeof undo>> | undefined;
    const run = await prompt(home, [[bash("echo x > a.txt; touch begun; until [ -e release ]; do sleep 0.05; done")]], {
      onSpawn: () =>
        void until(begun).then(async () => {
          refused = await undo(home);
          writeFileSync(join(home, "work/release"), "");
        }),
    });
    expect([run.code, refused?.code, refused?.stderr.includes("in use by process")]).toEqual([0, 7, true]);
    expect(read(home, "a.txt")).toBe("x\n");
  });

  test("changes nothing where a kept content is missing or damaged, and with --force does the rest", async () => {
    const home = makeWork();
    const run = await prompt(home, [[bash("echo x > a.txt; echo x > b.txt")]]);
    const folder = join(sessionsIn(home), run.events[0].sessionID, "files");
    const [old] = readdirSync(folder).filter((name) => readFileSync(join(folder, name), "utf8") === "a, old\n");
    for (const damage of [() => writeFileSync(join(folder, old ?? ""), "a, odd\n"), () => rmSync(join(folder, old ?? ""))]) {
      damage();
      expect(await undo(home)).toMatchObject({ code: 7, lines: [], stderr: expect.stringMatching(/a\.txt cannot be restored: .*(damaged|missing)/) });
      expect([read(home, "a.txt"), read(home, "b.txt")]).toEqual(["x\n", "x\n"]);
    }
    expect(await undo(home, "--force")).toMatchObject({
      code: 1,
      lines: ["restored b.txt", "left as it is: a.txt (the content that was kept is missing)", "Restored 1 and removed 0."],
    });
  });

  test("says what it cannot take back: files over 2 MiB", async () => {
    const home = makeWork();
    writeFileSync(join(home, "work/large"), Buffer.alloc(2 * 1024 * 1024 + 1));
    await prompt(home, [[bash("echo x > large; echo x > a.txt")]]);
    expect(await undo(home)).toMatchObject({
      code: 1,
      lines: ["restored a.txt", "left as it is: large (it is larger than 2 MiB)", "Restored 1 and removed 0."],
    });
  });

  test("leads nowhere through a link that was put there meanwhile", async () => {
    const home = makeWork();
    mkdirSync(join(home, "outside"));
    await prompt(home, [[write("d/x.txt", "made")], [bash("echo x > d/y.txt")]]);
    rmSync(join(home, "work/d"), { recursive: true });
    symlinkSync(join(home, "outside"), join(home, "work/d"));
    for (const name of ["x.txt", "y.txt"]) writeFileSync(join(home, "outside", name), "made");
    await undo(home);
    await undo(home, "--force");
    expect(readdirSync(join(home, "outside"))).toEqual(["x.txt", "y.txt"]);
  });

  test("has nothing to do where nothing is kept: snapshot is off, the session is not kept, a call was refused", async () => {
    const home = makeWork({ snapshot: false, permission: { bash: { "*": "allow", "rm *": "deny" } } });
    const off = await prompt(home, [[bash("echo x > a.txt"), write("c.txt", "c")]]);
    expect(existsSync(join(sessionsIn(home), off.events[0].sessionID, "files"))).toBe(false);
    expect(await undo(home)).toMatchObject({ code: 0, lines: ["Nothing to undo."] });
    await prompt(home, [[bash("echo x > b.txt")]], { args: ["--no-session"] });
    const refused = await prompt(home, [[bash("rm a.txt")]], { env: { AGENT_CONFIG: makeHomeFile(home, { permission: { bash: { "rm *": "deny" } } }) } });
    expect(existsSync(join(sessionsIn(home), refused.events[0].sessionID, "files"))).toBe(false);
    expect(await undo(home)).toMatchObject({ code: 0, lines: ["Nothing to undo."] });
  });

  test("says what is wrong with its words", async () => {
    const home = makeWork();
    await prompt(home, [[write("c.txt", "c")]]);
    expect(await undo(home, "--to", "9")).toMatchObject({ code: 2, stderr: expect.stringContaining("no step or message 9") }); // STEP_NOT_FOUND
    for (const to of [["--to"], ["--to="], ["--to", ""]])
      expect(await undo(home, ...to)).toMatchObject({ code: 2, stderr: expect.stringContaining("--to: it needs a value.") });
    expect(await undo(home, "--loud")).toMatchObject({ code: 2, stderr: expect.stringContaining("--loud") });
    expect(await undo(home, "ses_none")).toMatchObject({ code: 2, stderr: expect.stringContaining("no session ses_none") });
    expect((await runCommand({ home, args: ["session", "undo", "--help"] })).stdout).toContain(
      "session undo [ID] [--to STEP|MESSAGE_ID] [--dry-run] [--force]",
    );
    expect(read(home, "c.txt")).toBe("c");
  });

  test("says that the workspace is gone, and makes no other", async () => {
    const home = makeWork();
    const { events } = await prompt(home, [[write("c.txt", "c")]]);
    renameSync(join(home, "work"), join(home, "moved"));
    mkdirSync(join(home, "new/work"), { recursive: true });
    for (const args of [[], ["--force"]]) {
      const run = await runCommand({ home: join(home, "new"), env: { HOME: home }, args: ["session", "undo", events[0].sessionID, ...args] });
      expect([run.code, run.stderr]).toEqual([2, expect.stringMatching(/The file .*\/work of the session cannot be read: it does not exist\./)]);
    }
    expect([existsSync(join(home, "work")), readFileSync(join(home, "moved/c.txt"), "utf8")]).toEqual([false, "c"]);
  });
});

function makeHomeFile(home: string, config: object): string {
  const path = join(home, "other.json");
  writeFileSync(path, JSON.stringify(config));
  return path;
}
