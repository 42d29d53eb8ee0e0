import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { say } from "../../../core/testing/script.ts";
import { openMemory } from "../../../plugins/memory/open-memory.ts";
import { type MemoryKit, makeItem, makeObservation, openKit, PROJECT, reply } from "../../fixtures/memory-kit.ts";

let kit: MemoryKit;
beforeEach(async () => {
  kit = await openKit({ script: (_, index) => say(reply(`canary reply ${index}`)) });
});
afterEach(() => kit.close());

const open = () => openMemory({ context: kit.context, cwd: kit.dataDir, project: PROJECT });
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

/** Files of the memory that hold the word. */
function filesWith(word: string, dir = kit.dataDir): string[] {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    if (statSync(path).isDirectory()) return filesWith(word, path);
    return readFileSync(path, "latin1").toLowerCase().includes(word) ? [path] : [];
  });
}

test("what matches is gone everywhere, byte for byte: archive, inbox, queue, turns, texts of sessions, index, copies of damaged files", async () => {
  const memory = await open();
  await memory.add(range(0, 300).map((number) => makeObservation(number, number % 50 === 0 ? { narrative: `the Canary ${number}` } : {})));
  await memory.add([makeObservation(900, { facts: ["a canary sang"] })]);
  memory.parts.inbox.append(makeItem(1));
  await kit.work(memory.parts, { model: "scripted/model" });
  memory.parts.inbox.append(makeItem(2, { request: "find the canary" }));
  memory.parts.inbox.putSession("ses_7", { first: "where is the canary", prompts: 1, tainted: false, at: 1 });
  const segment = join(memory.parts.dir, "archive", "1");
  writeFileSync(join(segment, "journal.0.corrupt-12345678"), "canary");
  mkdirSync(join(memory.parts.dir, "index"), { recursive: true });
  writeFileSync(join(memory.parts.dir, "index", "words.json"), "canary");
  expect(filesWith("canary").length).toBeGreaterThan(3);
  const planned = await memory.forget({ match: "CANARY" }, { dryRun: true });
  expect([planned.observations.length, planned.others, filesWith("canary").length > 3]).toEqual([8, 3, true]);
  expect(await memory.forget({ match: "CANARY" })).toEqual(planned);
  expect([filesWith("canary"), existsSync(join(memory.parts.dir, "index"))]).toEqual([[], false]);
  expect(await memory.list({})).toHaveLength(294);
  expect(await memory.forget({ match: "canary" })).toEqual({ observations: [], others: 0 });
});

test("a session is forgotten whole", async () => {
  const memory = await open();
  await memory.add([makeObservation(1), makeObservation(2, { sessionId: "ses_2" })]);
  for (const number of [1, 2]) memory.parts.inbox.append(makeItem(number));
  memory.parts.inbox.append(makeItem(3, { id: "ses_2/call_3", sessionId: "ses_2" }));
  await kit.work(memory.parts, { model: "scripted/model" }, { limit: 1 });
  memory.parts.inbox.putSession("ses_1", { first: "mend", prompts: 1, tainted: false, at: 1 });
  await memory.forget({ session: "ses_1" });
  expect([filesWith("ses_1"), (await memory.list({})).map(({ sessionId }) => sessionId)]).toEqual([[], ["ses_2"]]);
  expect((await memory.queue()).map(({ id }) => id)).toEqual(["ses_2/call_3"]);
});

test.each([
  ["webfetch", 1],
  ["https://bad.example", 1],
  ["src", 1],
  ["src/a.ts", 1],
  ["npm", 1],
  ["np", 0],
  ["https://other.example", 0],
])("the source %s: a tool, the beginning of a URL, a path or its folder, a command", async (source, count) => {
  const memory = await open();
  const from = (tool: string, text: string) => ({ source: { kind: "call" as const, tool, from: text } });
  await memory.add([
    makeObservation(1, from("webfetch", "https://bad.example/page")),
    makeObservation(2, { ...from("edit", "src/a.ts"), filesModified: ["src/a.ts"] }),
    makeObservation(3, from("bash", "npm test\ncd /x")),
  ]);
  expect((await memory.forget({ source })).observations).toHaveLength(count);
});

test("all of what is named must hold, ids may be shortened, and nothing named is refused", async () => {
  const memory = await open();
  await memory.add([makeObservation(1), makeObservation(2)]);
  expect((await memory.forget({ session: "ses_1", match: "number 2" })).observations).toEqual([makeObservation(2).id]);
  expect((await memory.forget({ ids: [makeObservation(1).id.slice(0, 10)] })).observations).toEqual([makeObservation(1).id]);
  await expect(memory.forget({})).rejects.toMatchObject({ code: "OPTION_INVALID" });
  await expect(memory.forget({ ids: [] })).rejects.toMatchObject({ code: "OPTION_INVALID" });
});

test("those that stay no longer speak of those that go", async () => {
  const memory = await open();
  const gone = makeObservation(1, { title: "secret plan" });
  const merged = [{ id: gone.id, title: gone.title, sessionId: "ses_1", createdAt: 1 }];
  await memory.add([gone, makeObservation(2, { merged, supersededBy: gone.id, conflictsWith: [gone.id] })]);
  await memory.forget({ ids: [gone.id] });
  const [left] = await memory.list({});
  expect([left?.merged, left?.supersededBy, left?.conflictsWith, filesWith("secret plan"), filesWith(gone.id)]).toEqual([
    undefined,
    undefined,
    undefined,
    [],
    [],
  ]);
});

test("a forgetting that was killed before the files were rewritten is gone on with by the next worker", async () => {
  const memory = await open();
  await memory.add([...range(0, 250).map((number) => makeObservation(number)), makeObservation(900, { narrative: "canary" })]);
  const { archive } = memory.parts;
  archive.erase = async () => false;
  await expect(memory.forget({ match: "canary" })).rejects.toMatchObject({ code: "MEMORY_NOT_ERASED" });
  expect([filesWith("canary").length > 0, await memory.list({})]).toEqual([true, expect.objectContaining({ length: 250 })]);
  await kit.work(await kit.open());
  expect(filesWith("canary")).toEqual([]);
});

test("words that were edited out before are taken out of the files, too", async () => {
  const memory = await open();
  await memory.add(range(0, 250).map((number) => makeObservation(number, number === 7 ? { id: "obs_0000000000000007", narrative: "canary" } : {})));
  await memory.change([makeObservation(7, { id: "obs_0000000000000007", narrative: "harmless" })]);
  expect(filesWith("canary").length).toBeGreaterThan(0);
  expect(await memory.forget({ match: "Canary" })).toEqual({ observations: [], others: 0 });
  expect([filesWith("canary"), (await memory.list({})).length]).toEqual([[], 250]);
});
