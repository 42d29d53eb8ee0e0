import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openMemory } from "../../../plugins/memory/open-memory.ts";
import { listProjects, projectOf } from "../../../plugins/memory/project.ts";
import { type MemoryKit, makeEnd, makeItem, makeObservation, openKit, PROJECT } from "../../fixtures/memory-kit.ts";

let kit: MemoryKit;
beforeEach(async () => {
  kit = await openKit();
});
afterEach(() => kit.close());

const open = (project = PROJECT) => openMemory({ context: kit.context, cwd: kit.dataDir, project });
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

test("what is added is there after opening again, once, newest first, and narrowed by filters", async () => {
  const memory = await open();
  const gotcha = makeObservation(5, { type: "bugfix", concepts: ["gotcha"], filesRead: ["src/deep/parser.ts"], sessionId: "ses_2", trust: "untrusted" });
  expect(await memory.add([makeObservation(1), makeObservation(2), gotcha])).toEqual({
    ids: [makeObservation(1).id, makeObservation(2).id, gotcha.id],
    added: 3,
  });
  expect((await memory.add([makeObservation(2), makeObservation(3)])).added).toBe(1);
  await memory.close();
  const again = await open();
  const titles = async (filter: object) => (await again.list(filter)).map(({ title }) => title);
  expect(await titles({})).toEqual(["observation 5", "observation 3", "observation 2", "observation 1"]);
  for (const filter of [
    { type: "BugFix" },
    { concept: "Gotcha" },
    { file: "parser.ts" },
    { file: "src/deep/" },
    { session: "ses_2" },
    { trust: "untrusted" as const },
    { limit: 1 },
  ])
    expect(await titles(filter)).toEqual(["observation 5"]);
  expect(await titles({ since: makeObservation(2).createdAt, until: makeObservation(3).createdAt })).toEqual(["observation 3", "observation 2"]);
});

test("a large import goes to the archive, is found by id and by the beginning of one, and is listed with what is fresh", async () => {
  const memory = await open();
  expect((await memory.add(range(0, 2_300).map((number) => makeObservation(number)))).added).toBe(2_300);
  expect((await memory.add([makeObservation(7), makeObservation(9_000)])).added).toBe(1);
  expect(Object.keys(memory.parts.inbox.store.all("observations"))).toHaveLength(1);
  expect((await memory.list({ limit: 3 })).map(({ title }) => title)).toEqual(["observation 9000", "observation 2299", "observation 2298"]);
  const { id } = makeObservation(1_234);
  expect((await memory.get([id, "obs_none", id.slice(0, 12), makeObservation(9_000).id])).map(({ title }) => title)).toEqual([
    "observation 1234",
    "observation 1234",
    "observation 9000",
  ]);
});

test("changed ones stand in the place of the old, in the inbox, in the archive and for other processes", async () => {
  const [memory, other] = [await open(), await open()];
  await memory.add(range(0, 250).map((number) => makeObservation(number)));
  expect(await other.list({})).toHaveLength(250);
  await memory.change([{ ...makeObservation(3), importance: 1 }]);
  expect((await other.get([makeObservation(3).id]))[0]?.importance).toBe(1);
  await memory.compact();
  expect([(await other.get([makeObservation(3).id]))[0]?.importance, (await other.list({})).length]).toEqual([1, 250]);
});

test("what was forgotten since somebody read it is not brought back by a change", async () => {
  const [memory, other] = [await open(), await open()];
  await memory.add([makeObservation(1), makeObservation(2)]);
  const read = await memory.list({});
  await other.forget({ ids: [makeObservation(1).id] });
  await memory.change(read.map((each) => ({ ...each, importance: 1 })));
  expect((await other.list({})).map(({ title, importance }) => [title, importance])).toEqual([["observation 2", 1]]);
});

test("dead letters become pending again, all of them or those that are named", async () => {
  const memory = await open();
  for (const number of [1, 2, 3]) memory.parts.inbox.append(makeItem(number));
  for (const number of [1, 2]) memory.parts.inbox.setState(`ses_1/call_${number}`, { state: "dead", attempts: 3, reason: "prose" });
  await memory.parts.inbox.store.write();
  expect((await memory.queue()).map(({ state, reason }) => [state, reason])).toEqual([
    ["dead", "prose"],
    ["dead", "prose"],
    ["pending", undefined],
  ]);
  expect([await memory.retry(["ses_1/call_2", "ses_1/call_3"]), await memory.retry(), await memory.retry()]).toEqual([1, 1, 0]);
  expect((await memory.queue()).map(({ state, attempts }) => [state, attempts])).toEqual(Array(3).fill(["pending", 0]));
});

test("the numbers are those of the store", async () => {
  const memory = await open();
  await memory.add([makeObservation(1, { trust: "untrusted" }), makeObservation(2, { sessionId: "ses_2", type: "bugfix" })]);
  memory.parts.inbox.append(makeEnd(1));
  await kit.work(memory.parts);
  memory.parts.inbox.skip("excluded");
  memory.parts.inbox.append(makeItem(1));
  expect(await memory.stats()).toMatchObject({
    ...{ project: PROJECT, observations: 3, summaries: 1, sessions: 2, untrusted: 1, byType: { discovery: 1, bugfix: 1, summary: 1 } },
    ...{ queue: { pending: 1, leased: 0, dead: 0 }, skipped: { excluded: 1 }, requests: 0, tokens: { input: 0, output: 0 }, costUsd: 0 },
  });
  expect((await memory.stats()).bytes).toBeGreaterThan(1_000);
});

test("other projects are named by their id, its beginning, or * for all", async () => {
  await (await open("alpha-11111111")).add([makeObservation(1)]);
  const memory = await open("beta-22222222");
  await memory.add([makeObservation(2)]);
  const titles = async (project?: string) => (await memory.list({ project })).map(({ title }) => title);
  expect([await titles(), await titles("alpha"), await titles("*")]).toEqual([["observation 2"], ["observation 1"], ["observation 2", "observation 1"]]);
  expect(listProjects(kit.dataDir)).toEqual(["alpha-11111111", "beta-22222222"]);
  await expect(memory.list({ project: "gamma" })).rejects.toMatchObject({ code: "OPTION_INVALID" });
});

test("of hits in several projects that comes first which has more of the words, not the best of whichever project", async () => {
  const words: Record<string, number> = { alpha: 2, beta: 8 };
  const makeSearch: Parameters<typeof openMemory>[0]["makeSearch"] = async ({ project }) => ({
    search: async () => [
      { observation: makeObservation(1), project, score: project === "alpha" ? 1.1 : 1, parts: { words: words[project]!, recency: 0, importance: 0.5 } },
    ],
    reindex: async () => 0,
    close: async () => {},
  });
  for (const project of ["alpha", "beta"]) await (await open(project)).add([makeObservation(1)]);
  const memory = await openMemory({ context: kit.context, cwd: kit.dataDir, project: "alpha", makeSearch });
  const hits = await memory.search({ query: "x", project: "*" });
  expect(hits.map(({ project, score }) => [project, score])).toEqual([
    ["beta", 1],
    ["alpha", 0.275],
  ]);
});

test("what only records opens the inbox and nothing of the archive", async () => {
  const filled = await open();
  await filled.add(range(0, 300).map((number) => makeObservation(number)));
  await filled.close();
  const opened: string[] = [];
  const context = {
    ...kit.context,
    openStore: ((name: string, options: never) => {
      opened.push(name);
      return kit.context.openStore(name, options);
    }) as typeof kit.context.openStore,
  };
  const memory = await openMemory({ context, cwd: kit.dataDir, project: PROJECT });
  memory.parts.inbox.append(makeItem(1));
  await memory.close();
  expect(opened).toEqual([`projects/${PROJECT}/inbox`]);
});

test("a project is the repository a directory lies in, its worktrees included, and a directory without one itself", () => {
  const root = realpathSync(kit.dataDir.replace(/memory$/, ""));
  const main = join(root, "My Repo");
  mkdirSync(join(main, "src", "deep"), { recursive: true });
  const git = (cwd: string, ...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@example.com", ...args], { cwd, stdio: "ignore" });
  git(main, "init");
  git(main, "commit", "--allow-empty", "-m", "first");
  git(main, "worktree", "add", join(root, "tree"));
  mkdirSync(join(root, "plain"));
  writeFileSync(join(root, "plain", "a"), "");
  expect(projectOf(main)).toMatch(/^my-repo-[0-9a-f]{8}$/);
  expect([projectOf(join(main, "src", "deep")), projectOf(join(root, "tree"))]).toEqual([projectOf(main), projectOf(main)]);
  expect(projectOf(join(root, "plain"))).toMatch(/^plain-[0-9a-f]{8}$/);
  expect(readdirSync(join(root, "tree"))).toEqual([".git"]);
});
