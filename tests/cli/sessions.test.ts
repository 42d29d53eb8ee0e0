import { appendFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import {
  type CommandRun,
  errorOf,
  isBuilt,
  JSON_OUT,
  MODEL,
  makeHome,
  makeHomeWith,
  ofType,
  readAll,
  removeHomes,
  resultOf,
  runCommand,
  talkOf,
  until,
} from "./command.ts";
import { runTools, toolOutputsOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const prompt = (home: string, text: string, args: string[] = [], more: CommandRun = {}) =>
  runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", text, ...args], ...more });
const bash = (command: string) => turn(["bash", { command }]);
const sessionsIn = (home: string) => join(home, ".local/share/agent/sessions");
const journalOf = (home: string, id: string) => join(sessionsIn(home), id, "journal.0");

/** A home with one session: a question, a call, an answer. */
async function makeSession() {
  const home = makeHome();
  const run = await prompt(home, "first", [], { script: [bash("echo 1"), { text: "one" }] });
  return { home, id: run.events[0].sessionID as string };
}

describe.skipIf(!isBuilt)("a run that is killed", { concurrent: true }, () => {
  const STEPS = 30;
  const ROUNDS = 20;

  /** Kills the agent some milliseconds after it has asked for a step, and goes on with the session. */
  async function killAndContinue(round: number) {
    const home = makeHome();
    const edit = (step: number) => `echo ${step} >> log.txt; printf '%01000d' ${step} > made.tmp && mv made.tmp made.txt`;
    const script = [...Array.from({ length: STEPS }, (_, step) => bash(edit(step))), { delayMs: 60_000, text: "late" }];
    const killed = await prompt(home, "go", [], {
      script,
      onSpawn: (child, server) =>
        void until(() => server.requests.length > (round * 13) % (STEPS - 2)).then(() => setTimeout(() => child.kill("SIGKILL"), (round * 7) % 40)),
    });
    const log = existsSync(join(home, "work/log.txt")) ? readFileSync(join(home, "work/log.txt"), "utf8") : "";
    const resumed = await prompt(home, "and now?", ["--continue"], { script: [{ text: "resumed" }] });
    return { home, killed, log, resumed };
  }

  test("goes on with every step that was told, repeats no call and leaves no half of a file", async () => {
    const waiting = Array.from({ length: ROUNDS }, (_, round) => round);
    const check = async (round: number) => {
      const { home, killed, log, resumed } = await killAndContinue(round);
      expect(killed.signal).toBe("SIGKILL");
      expect([resumed.code, resultOf(resumed).text]).toEqual([0, "resumed"]);
      const messages: any[] = resumed.requests[0]?.body.messages;
      const calls = messages.flatMap((message) => message.tool_calls ?? []).map(({ id }) => id);
      expect(messages.filter(({ role }) => role === "assistant").length).toBeGreaterThanOrEqual(ofType(killed, "step_finish").length);
      expect(messages.filter(({ role }) => role === "tool").map((message) => message.tool_call_id)).toEqual(calls);
      expect(talkOf(resumed).filter((line) => line.startsWith("user:"))).toEqual(["user:go", "user:and now?"]);
      const after = existsSync(join(home, "work/log.txt")) ? readFileSync(join(home, "work/log.txt"), "utf8") : "";
      // The command that ran when the agent was killed may have come to its end.
      expect(after.startsWith(log)).toBe(true);
      expect(new Set(after.split("\n")).size).toBe(after.split("\n").length);
      if (existsSync(join(home, "work/made.txt"))) expect(readFileSync(join(home, "work/made.txt"), "utf8")).toMatch(/^\d{1000}$/);
      expect(ofType(resumed, "store_recovered")).toEqual([]);
    };
    const work = async () => {
      for (let round = waiting.shift(); round !== undefined; round = waiting.shift()) await check(round);
    };
    await Promise.all([work(), work(), work()]);
  }, 120_000);

  test("tells the model that a call was interrupted", async () => {
    const home = makeHome();
    const ready = () => existsSync(join(home, "work/begun"));
    await prompt(home, "go", [], { script: [bash("touch begun; sleep 20")], onSpawn: (child) => void until(ready).then(() => child.kill("SIGKILL")) });
    const resumed = await prompt(home, "and now?", ["-c"]);
    expect(toolOutputsOf(resumed.requests[0])).toEqual([expect.stringMatching(/^Interrupted: .*check before you repeat it/)]);
  });
});

describe.skipIf(!isBuilt)("a damaged session", { concurrent: true }, () => {
  test.each<[string, (journal: string) => void, number]>([
    ["a record cut at its end", (journal) => truncateSync(journal, readFileSync(journal).length - 60), 4],
    ["a tail that is no record", (journal) => appendFileSync(journal, "garbage"), 5],
    [
      "a flipped bit",
      (journal) =>
        writeFileSync(
          journal,
          readFileSync(journal).map((byte, index, all) => (index === all.length >> 1 ? byte ^ 1 : byte)),
        ),
      3,
    ],
    ["nothing but NULs", (journal) => writeFileSync(journal, Buffer.alloc(2000)), 1],
  ])("by %s goes on with what is whole, and says once what was lost", async (_, damage, messages) => {
    const { home, id } = await makeSession();
    damage(journalOf(home, id));
    const run = await prompt(home, "next", ["-s", id]);
    expect([run.code, talkOf(run).length, resultOf(run).persisted]).toEqual([0, messages, true]);
    expect(ofType(run, "store_recovered")).toEqual([expect.objectContaining({ sessionID: id, kept: expect.any(Number), lost: expect.any(Number) })]);
    const again = await prompt(home, "once more", ["-s", id]);
    expect([again.code, ofType(again, "store_recovered")]).toEqual([0, []]);
  });

  test("or rather one of a newer version is left alone: exit 7, not a byte changed", async () => {
    const { home, id } = await makeSession();
    const journal = journalOf(home, id);
    const renew = (line: string) => {
      const json = JSON.stringify({ ...JSON.parse(line.slice(9)), v: 99 });
      return `${crc32(json).toString(16).padStart(8, "0")} ${json}`;
    };
    const newer = readFileSync(journal, "utf8")
      .split("\n")
      .map((line) => (line === "" ? line : renew(line)))
      .join("\n");
    writeFileSync(journal, newer);
    for (const args of [["-s", id], ["-c"]]) {
      const run = await prompt(home, "next", args);
      expect([run.code, errorOf(run).code, run.requests.length]).toEqual([7, "STORE_NEWER", 0]);
    }
    expect((await runCommand({ home, args: ["session", "show", id] })).code).toBe(7);
    expect([readFileSync(journal, "utf8"), readdirSync(join(sessionsIn(home), id))]).toEqual([newer, ["journal.0"]]);
  });
});

describe.skipIf(!isBuilt)("one session and two processes", { concurrent: true }, () => {
  test("is refused to the second one, which may read it and work on a copy", async () => {
    const { home, id } = await makeSession();
    const others: Promise<unknown>[] = [];
    const begun = () => existsSync(join(home, "work/begun"));
    const release = () => writeFileSync(join(home, "work/release"), "");
    const long = await prompt(home, "long", ["-s", id], {
      script: [bash("touch begun; until [ -e release ]; do sleep 0.05; done"), { text: "done" }],
      onSpawn: () =>
        void until(begun).then(async () => {
          others.push(
            prompt(home, "second", ["-s", id]),
            prompt(home, "copy", ["-s", id, "--fork"]),
            runCommand({ home, args: ["session", "show", id] }),
            runCommand({ home, args: ["session", "delete", id] }),
          );
          await Promise.allSettled(others);
          release();
        }),
    });
    const [second, copy, shown, deleted] = (await Promise.all(others)) as Awaited<ReturnType<typeof prompt>>[];
    expect([second?.code, errorOf(second!).code]).toEqual([7, "SESSION_BUSY"]);
    expect([copy?.code, talkOf(copy!)[0], copy?.events[0].sessionID === id]).toEqual([0, "user:first", false]);
    expect([shown?.code, deleted?.code]).toEqual([0, 7]);
    expect([long.code, resultOf(long).text]).toEqual([0, "done"]);
  });

  test("a copy leaves its original alone", async () => {
    const { home, id } = await makeSession();
    const before = readFileSync(journalOf(home, id), "utf8");
    const copy = await prompt(home, "elsewhere", ["-s", id, "--fork"]);
    expect(talkOf(copy).at(-1)).toBe("user:elsewhere");
    expect(readFileSync(journalOf(home, id), "utf8")).toBe(before);
  });
});

describe.skipIf(!isBuilt)("agent session", { concurrent: true }, () => {
  const session = async (home: string, ...words: string[]) => runCommand({ home, args: ["session", ...words] });

  test("lists, shows, exports and deletes", async () => {
    const { home, id } = await makeSession();
    await prompt(home, "second");
    const list = JSON.parse((await session(home, "list", "--json")).stdout);
    expect(list.map(({ title }: any) => title)).toEqual(["second", "first"]);
    expect(list[1]).toEqual({
      id,
      title: "first",
      createdAt: expect.any(Number),
      updatedAt: expect.any(Number),
      cwd: join(home, "work"),
      steps: 2,
      cost: 0.003,
    });
    expect((await session(home, "list")).stdout).toMatch(new RegExp(`^ses_\\w+ .*second.*\\n${id} .*first.*\\n$`));
    expect((await session(home, "show", id)).stdout).toMatch(/user\nfirst[\s\S]*\[bash \{"command":"echo 1"\}\][\s\S]*one/);
    const exported = JSON.parse((await session(home, "export", id)).stdout);
    expect(exported.info).toMatchObject({ id, title: "first", directory: join(home, "work") });
    expect(exported.messages[1].parts[0]).toMatchObject({ type: "tool", tool: "bash", state: { status: "completed", output: "1\n" } });
    expect((await session(home, "delete", id)).code).toBe(0);
    expect((await session(home, "show", id)).code).toBe(2);
    expect(readdirSync(sessionsIn(home)).filter((name) => name.includes(id))).toEqual([]);
  });

  test.each([
    ["show", "ses_nope"],
    ["show", "../../etc"],
    ["show", "index"],
    ["show", "afile"],
    ["delete", "index"],
    ["show"],
    ["bogus"],
    ["list", "--bogus"],
  ])("%s %s is refused", async (...words) => {
    expect((await session(makeHomeWith({ ".local/share/agent/sessions/afile": "x" }), ...words)).code).toBe(2);
  });

  test("keeps no key and is closed to others", async () => {
    const { home, id } = await makeSession();
    expect(readAll(sessionsIn(home))).not.toContain("CANARY");
    expect(readdirSync(join(sessionsIn(home), id))).toEqual(["journal.0"]);
  });
});

describe.skipIf(!isBuilt)("a data directory that takes nothing", { concurrent: true }, () => {
  test("does not stop the run: tools work, one event says so, and the result is not persisted", async () => {
    const home = makeHomeWith({ ".local": "a file where a folder should be" });
    const run = await runTools(
      [
        ["bash", { command: "echo hi" }],
        ["bash", { command: "seq 1 20000" }],
        ["grep", { pattern: "x" }],
      ],
      { home },
    );
    expect([run.code, resultOf(run).status, resultOf(run).persisted]).toEqual([0, "success", false]);
    expect(ofType(run, "store_degraded").length).toBe(1);
    expect(run.outputs).toEqual(["hi\n", expect.stringMatching(/^1\n2\n[\s\S]*could not be kept[\s\S]*20000\n$/), "No matches found"]);
    const next = await prompt(home, "next", ["-c"]);
    expect([next.code, errorOf(next).code]).toEqual([2, "SESSION_NOT_FOUND"]);
    expect((await runCommand({ home, args: ["session", "list"] })).code).toBe(0);
  });

  test.skipIf(!existsSync("/proc/self"))("is given up at once where no directory can ever be made", async () => {
    const env = { AGENT_DATA_DIR: "/proc/self/none/data" };
    const run = await prompt(makeHome(), "hi", [], { env });
    expect([run.code, resultOf(run).persisted, ofType(run, "store_degraded").length]).toEqual([0, false, 1]);
    expect((await runCommand({ args: ["trust"], env })).signal).toBeNull();
  });
});
