import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sqlite from "node-sqlite3-wasm";
import { afterAll, describe, expect, test } from "vitest";
import type { Script } from "../fixtures/server.ts";
import { isBuilt, KEY, LAUNCHER, makeConfiguredHome, makeHome, makeHomeWith, readAll, removeHomes, runCommand } from "./command.ts";
import { runTools } from "./tool-runs.ts";

afterAll(removeHomes);

const ENTRIES = [
  { type: "bugfix", title: "Retry loop stops at five", facts: ["max 5"], files: ["src/retry.ts"], session: "s1", createdAt: "2026-05-01T10:00:00Z", ticket: 7 },
  { narrative: `Cart totals are kept in cents. <private>hush-hush-1</private> The key was ${KEY}.`, session: "s1", createdAt: "2026-05-02T10:00:00Z" },
];

const memory = (home: string, ...words: string[]) => runCommand({ home, args: ["memory", ...words] });
const json = async (home: string, ...words: string[]) => {
  const run = await memory(home, ...words, "--json");
  expect([run.code, run.stderr]).toEqual([0, ""]);
  return JSON.parse(run.stdout);
};
const makeFilled = async (entries: object[] = ENTRIES): Promise<string> => {
  const home = makeHomeWith({ "work/entries.json": entries });
  expect((await json(home, "import", "entries.json")).imported).toBe(entries.length);
  return home;
};

describe.skipIf(!isBuilt)("agent memory", { timeout: 180_000 }, () => {
  test("imports, lists, finds and shows, with the plugin off for runs", async () => {
    const home = await makeFilled();
    const listed = await json(home, "list");
    expect(listed.map(({ title, type, createdAt }: any) => [title, type, createdAt])).toEqual([
      ["Cart totals are kept in cents.  The key was [redacted].", "discovery", Date.UTC(2026, 4, 2, 10)],
      ["Retry loop stops at five", "bugfix", Date.UTC(2026, 4, 1, 10)],
    ]);
    const hits = await json(home, "search", "how often does it retry", "--limit", "1");
    expect(hits).toEqual([
      { ...listed[1], score: expect.any(Number), parts: expect.objectContaining({ words: expect.any(Number), recency: expect.any(Number) }) },
    ]);
    const shown = await memory(home, "show", hits[0].id.slice(0, 10));
    expect(shown.stdout).toMatch(/^obs_[0-9a-f]{16} {2}bugfix {2}2026-05-01 10:00\n\nRetry loop stops at five\n\n- max 5\n[\s\S]*source +import entries\.json/);
    expect(await json(home, "search", "zebra")).toEqual([]);
    expect((await memory(home, "search", "zebra")).stdout).toContain("Nothing in the memory fits");
  });

  test("stores neither private text nor secrets, and nothing where an entry is bad", async () => {
    const home = await makeFilled();
    expect(readAll(join(home, ".local"))).not.toMatch(/hush-hush|CANARY7f3a9c/);
    writeFileSync(join(home, "work/bad.json"), JSON.stringify([{ title: "Good one" }, { title: 5 }]));
    const run = await memory(home, "import", "bad.json");
    expect([run.code, run.stderr]).toEqual([2, expect.stringContaining("entry 1: its title is no text.")]);
    expect(await json(home, "list")).toHaveLength(2);
    expect(await json(home, "import", "bad.json", "--skip-bad")).toMatchObject({ imported: 1, bad: [{ index: 1 }] });
  });

  test.each([
    ["JSON", "memory.json"],
    ["Markdown", "memory.md"],
  ])("is the same when it was carried over as %s", async (_, name) => {
    const [home, other] = [await makeFilled(), makeHome()];
    await memory(home, "save", "Deploys go through", "the queue.", "--title", "Deploy queue", "--type", "decision");
    await memory(home, "export", name);
    expect(statSync(join(home, "work", name)).mode & 0o777).toBe(0o600);
    copyFileSync(join(home, "work", name), join(other, "work/taken"));
    expect(await json(other, "import", "taken")).toMatchObject({ kind: "agent-memory", imported: 3 });
    expect(await json(other, "import", "taken")).toMatchObject({ imported: 0, known: 3 });
    await memory(other, "export", name);
    expect(readFileSync(join(other, "work", name), "utf8")).toBe(readFileSync(join(home, "work", name), "utf8"));
    expect((await memory(other, "export", name)).code).toBe(2);
    expect(await json(other, "search", "deploy queue", "--limit", "1")).toMatchObject([{ title: "Deploy queue", source: { kind: "save" } }]);
  });

  test("imports what claude-mem has kept", async () => {
    const home = makeHome();
    const database = new sqlite.Database(join(home, "work/claude-mem.db"));
    database.exec(`CREATE TABLE observations (id INTEGER PRIMARY KEY, memory_session_id TEXT, project TEXT, type TEXT, title TEXT, narrative TEXT, facts TEXT, created_at_epoch INTEGER);
      INSERT INTO observations VALUES (1, 'm1', 'shop', 'decision', 'SQLite is enough', 'One file.', '["one file"]', 1777629600000);`);
    database.close();
    expect(await json(home, "import", "claude-mem.db")).toMatchObject({ kind: "claude-mem", imported: 1 });
    expect(await json(home, "search", "SQLite", "--type", "decision")).toMatchObject([{ title: "SQLite is enough", facts: ["one file"], sessionId: "m1" }]);
  });

  test("forgets so that no byte is left", async () => {
    const home = await makeFilled();
    await json(home, "search", "cents");
    expect(readAll(join(home, ".local"))).toContain("cents");
    expect(await json(home, "forget", "--match", "in cents")).toMatchObject({ observations: [expect.stringMatching(/^obs_/)], dryRun: false });
    expect(readAll(join(home, ".local"))).not.toMatch(/cents/i);
    expect((await json(home, "list")).map(({ title }: any) => title)).toEqual(["Retry loop stops at five"]);
    await json(home, "forget", "--source", "entries.json");
    expect(await json(home, "list")).toEqual([]);
  });

  test("edits, and takes what it reads from stdin", async () => {
    const home = await makeFilled();
    const { stdout } = await runCommand({ home, args: ["memory", "save", "-", "--title", "Piped", "--json"], stdin: "From a pipe.\n" });
    const { id } = JSON.parse(stdout);
    const edited = await runCommand({ home, args: ["memory", "edit", id, "--json", "-"], stdin: '{"narrative":"Changed by hand.","importance":1}' });
    expect(JSON.parse(edited.stdout)).toMatchObject({ id, narrative: "Changed by hand.", importance: 1 });
    expect(await json(home, "search", "changed by hand", "--limit", "1")).toMatchObject([{ id, narrative: "Changed by hand." }]);
  });

  test("takes care of itself", async () => {
    const home = await makeFilled();
    expect(await json(home, "stats")).toMatchObject({ observations: 2, byType: { bugfix: 1, discovery: 1 }, queue: { pending: 0, leased: 0, dead: 0 } });
    expect(await json(home, "queue")).toEqual([]);
    expect(await json(home, "work")).toEqual({ stored: [], left: 0, failure: null, busy: null });
    expect(await json(home, "retry")).toEqual({ revived: 0 });
    expect(await json(home, "reindex")).toMatchObject({ observations: 2 });
    expect(await json(home, "consolidate")).toMatchObject({ merged: [] });
    expect(await json(home, "compact")).toMatchObject({ before: expect.any(Number), after: expect.any(Number) });
    expect(await json(home, "list")).toHaveLength(2);
  });

  test("knows the other projects", async () => {
    const home = await makeFilled();
    const other = (await runCommand({ home, args: ["--cwd", join(home, ".local"), "memory", "save", "Of another project", "--json"] })).stdout;
    const { project } = JSON.parse(other);
    expect(await json(home, "list")).toHaveLength(2);
    expect(await json(home, "list", "--project", project)).toMatchObject([{ title: "Of another project", project }]);
    expect(await json(home, "list", "--project", "*")).toHaveLength(3);
    expect((await json(home, "stats", "--project", "*")).map(({ observations }: any) => observations).sort()).toEqual([1, 2]);
    expect((await json(home, "search", "another project", "--project", "*"))[0]).toMatchObject({ project });
  });

  test.each([
    [["serch", "x"], "unknown memory command 'serch'"],
    [["list", "--sinse", "7d"], "--since"],
    [["--json", "list"], "name an action first"],
    [["show", "obs_0000000000000000"], "There is no observation obs_0000000000000000"],
    [["import", "none.json"], "none.json"],
  ])("refuses %j with the way out", async (words, way) => {
    const run = await memory(makeHome(), ...words);
    expect([run.code, run.stdout, run.stderr]).toEqual([2, "", expect.stringContaining(way)]);
  });

  test("explains itself, and makes nothing", async () => {
    const home = makeHome();
    expect((await memory(home, "--help")).stdout).toMatch(/^Usage: agent memory search/);
    expect((await memory(home, "forget", "--help")).stdout).toMatch(/^Usage: agent memory forget[\s\S]*--dry-run/);
    expect(existsSync(join(home, ".local/share/agent/memory/projects"))).toBe(false);
  });

  test("is for a person where it writes or carries off; an agent may look", async () => {
    const home = await makeFilled();
    const agent = `${process.execPath} ${LAUNCHER}`;
    const words = [
      "save evil",
      "edit obs_ --title evil",
      "forget --match e",
      "import entries.json",
      "export",
      "work",
      "forget --help",
      "-- save evil",
      "list --json",
    ];
    const run = await runTools(
      words.map((each) => ["bash", { command: `${agent} memory ${each}` }]),
      { home, args: ["--permission-mode", "yolo"] },
    );
    expect(run.outputs.slice(0, 7)).toEqual(Array(7).fill(expect.stringMatching(/is for a person to do\.[\s\S]*PERSON_NEEDED/)));
    expect(run.outputs[7]).toContain("name an action first");
    expect(run.outputs[8]).toContain("Retry loop stops at five");
    expect((await json(home, "list")).map(({ title }: any) => title)).not.toContain("evil");
  });

  test("is a prompt behind run and --, as contract and help say", async () => {
    for (const args of [
      ["run", "memory", "save", "evil"],
      ["--", "memory", "save", "evil"],
    ]) {
      const run = await runCommand({ args: ["--model", "demo/echo", ...args] });
      expect([run.code, run.stdout]).toEqual([0, expect.stringContaining("memory save evil")]);
    }
  });
});

describe.skipIf(!isBuilt)("agent memory work", { timeout: 180_000 }, () => {
  /** A home where a run has left a call and its end in the queue. */
  const makeQueued = async (): Promise<string> => {
    const options = { model: "openrouter/acme/model-1", drainSeconds: 0, maxAttempts: 1 };
    const home = makeConfiguredHome({ plugin: [["memory", options]], retry: { maxRetries: 0 } });
    const run = await runTools([["write", { filePath: "port.ts", content: "export const port = 8080;\n" }]], { home });
    expect([run.code, run.stderr]).toEqual([0, ""]);
    return home;
  };
  const run = (home: string, words: string[], script?: Script) => runCommand({ home, args: ["memory", ...words, "--json"], ...(script && { script }) });
  const states = async (home: string) => JSON.parse((await run(home, ["queue"])).stdout).map(({ state, tool, reason }: any) => [state, tool, reason]);
  const reply = (body: any): string =>
    JSON.stringify(body).includes("port.ts")
      ? JSON.stringify({
          observations: [{ type: "change", title: "The port is 8080", narrative: "port.ts exports it.", facts: [], concepts: [], files_read: [] }],
        })
      : JSON.stringify({ skip_summary: true });

  test("works off what a run has left, and says what came of it", async () => {
    const home = await makeQueued();
    expect(await states(home)).toEqual([
      ["pending", "write", null],
      ["pending", null, null],
    ]);
    const failed = await run(home, ["work"], () => ({ status: 503, body: { error: { message: "down" } } }));
    expect([failed.code, JSON.parse(failed.stdout)]).toEqual([4, { stored: [], left: 2, failure: expect.stringMatching(/\w/), busy: null }]);
    const one = await run(home, ["work", "--limit", "1"], ({ body }) => ({ text: reply(body) }));
    expect([one.code, JSON.parse(one.stdout)]).toEqual([0, { stored: [expect.stringMatching(/^obs_/)], left: 1, failure: null, busy: null }]);
    const rest = await run(home, ["work"], ({ body }) => ({ text: reply(body) }));
    expect([rest.code, JSON.parse(rest.stdout).left]).toEqual([0, 0]);
    expect(JSON.parse((await run(home, ["list", "--type", "change"])).stdout)).toMatchObject([{ title: "The port is 8080", filesModified: ["port.ts"] }]);
  });

  test("leaves the work to a process that is at it, and says which", async () => {
    const home = await makeQueued();
    let goOn = () => {};
    const ended = new Promise<void>((resolve) => (goOn = resolve));
    let isAsked = () => {};
    const asked = new Promise<void>((resolve) => (isAsked = resolve));
    const first = run(home, ["work"], async ({ body }) => {
      isAsked();
      await ended;
      return { text: reply(body) };
    });
    await asked;
    const second = await run(home, ["work"]);
    goOn();
    expect([second.code, JSON.parse(second.stdout)]).toEqual([0, { stored: [], left: 2, failure: null, busy: expect.any(Number) }]);
    expect([(await first).code, JSON.parse((await first).stdout)]).toMatchObject([0, { left: 0, busy: null }]);
  });

  test("shows what was given up and why, and revives it", async () => {
    const home = await makeQueued();
    expect((await run(home, ["work"], () => ({ text: "I would rather not say." }))).code).toBe(0);
    expect((await states(home))[0]).toEqual(["dead", "write", expect.stringMatching(/\w/)]);
    const [{ id }] = JSON.parse((await run(home, ["queue"])).stdout);
    expect(JSON.parse((await run(home, ["retry", id])).stdout)).toEqual({ revived: 1 });
    expect((await states(home))[0]).toEqual(["pending", "write", null]);
    expect((await run(home, ["retry", id])).code).toBe(2);
  });
});
