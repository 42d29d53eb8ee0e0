import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { definePlugin, type PluginContext } from "agent-runtime";
import { boot } from "agent-runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { type MemoryOptions, optionsSchema } from "../../../plugins/memory/options.ts";
import { openWholeMemory } from "../../../plugins/memory/whole-memory.ts";
import compatible from "../../../plugins/openai-compatible/index.ts";
import { DAY, NOW, observation } from "../../fixtures/memory.ts";
import { type Reply, type SeenRequest, startServer } from "../../fixtures/server.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** Words that mean the same stand at the same place of a vector. */
const MEANINGS = [/lock|mutex/gi, /slow|latency/gi, /colou?r|theme/gi, /retry|again/gi];
const vectorOf = (text: string) => MEANINGS.map((words) => (text.match(words) ?? []).length || 0.01);
const embedding = ({ body }: SeenRequest): Reply => ({
  body: { data: body.input.map((text: string, index: number) => ({ index, embedding: vectorOf(text) })) },
});

async function prepare(reply: (request: SeenRequest) => Reply, search: object = {}) {
  const server = await startServer(reply);
  open.push(server.close);
  const dataDir = await mkdtemp(join(tmpdir(), "care-"));
  open.push(() => rm(dataDir, { recursive: true, force: true }));
  let context: PluginContext | undefined;
  const faults: string[] = [];
  const plugin = definePlugin({
    name: "keeping",
    setup(given) {
      context = { ...given, report: (message) => void faults.push(message) };
      return {};
    },
  });
  const config = { provider: { ollama: { options: { baseURL: server.url } } }, retry: { maxRetries: 0 } };
  const agent = await boot({ plugins: [plugin, compatible], dataDir, config });
  open.push(agent.close);
  const options = optionsSchema.parse({ search });
  const memory = await openWholeMemory(() => ({ ...context!, options }) as PluginContext<MemoryOptions>);
  open.push(() => memory.close());
  return { memory, server, faults, dataDir };
}

const note = (title: string, day: number) => observation({ title, createdAt: NOW + day * DAY, sessionId: `ses_${day}` });
const titlesOf = (hits: { observation: { title: string } }[]) => hits.map((hit) => hit.observation.title);

async function textsIn(dir: string): Promise<string> {
  const names = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(files.map((file) => readFile(file, "latin1")))).join("\n");
}

describe("a memory that takes care", () => {
  const all = [
    note("The lock is taken before the journal is read", 1),
    note("The lock is taken before the journal is read.", 2),
    note("The default port is 8080", 3),
    note("The default port is now 9090", 4),
    note("Colours are enabled in CI", 5),
    note("Colours are disabled in CI", 6),
  ];

  test("does what the dry run says, once, and loses nothing", async () => {
    const { memory } = await prepare(() => ({ status: 500 }));
    await memory.add(all);
    const announced = await memory.consolidate({ dryRun: true });
    expect((await memory.list({})).every(({ supersededBy, merged, conflictsWith }) => !supersededBy && !merged && !conflictsWith)).toBe(true);
    expect(await memory.consolidate()).toEqual(announced);
    expect(announced).toEqual({
      merged: [[all[1]!.id, [all[0]!.id]]],
      superseded: [[all[2]!.id, all[3]!.id]],
      conflicts: [[all[4]!.id, all[5]!.id]],
    });
    expect(await memory.consolidate()).toEqual({ merged: [], superseded: [], conflicts: [] });
    expect(await memory.list({})).toHaveLength(all.length);
    expect(titlesOf(await memory.search({ query: "default port" }))).toEqual(["The default port is now 9090", "The default port is 8080"]);
  });

  test("finds by meaning what shares no word with the query, and shows the parts of the score", async () => {
    const { memory } = await prepare(embedding, { embeddings: "ollama/m" });
    await memory.add([note("A mutex guards the file", 1), note("The theme is dark", 2)]);
    const [first] = await memory.search({ query: "lock" });
    expect(first!.observation.title).toBe("A mutex guards the file");
    expect(first!.parts).toMatchObject({ vector: expect.closeTo(1, 2), fused: expect.any(Number) });
  });

  test("searches by words alone where embeddings fail, and says so once", async () => {
    const { memory, faults } = await prepare(() => ({ status: 503 }), { embeddings: "ollama/m" });
    await memory.add([note("A mutex guards the file", 1), note("The lock is held", 2)]);
    for (const _ of [1, 2]) expect(titlesOf(await memory.search({ query: "lock" }))).toEqual(["The lock is held"]);
    expect(faults).toEqual([expect.stringContaining("by words alone")]);
  });

  test("lets a model put the hits in order, and keeps its own order where that fails", async () => {
    let answer: Reply = { text: '{"order":["n2"]}' };
    const { memory } = await prepare(() => answer, { rerank: "ollama/judge" });
    await memory.add([note("The lock of the journal", 1), note("The lock of the door", 2)]);
    const asked = await memory.search({ query: "lock" });
    answer = { status: 500 };
    const own = titlesOf(await memory.search({ query: "lock" }));
    expect(asked[0]!.parts.rerank).toBe(1);
    expect(titlesOf(asked)).toEqual([...own].reverse());
  });

  test("forgets vectors, too", async () => {
    const { memory, dataDir } = await prepare(embedding, { embeddings: "ollama/m" });
    const [kept, gone] = [note("A mutex guards the file", 1), note("The theme is dark", 2)];
    await memory.add([kept, gone]);
    await memory.tend([kept, gone], new AbortController().signal);
    expect(await textsIn(dataDir)).toContain(gone.id);
    await memory.forget({ ids: [gone.id] });
    const left = await textsIn(dataDir);
    expect(left).not.toContain(gone.id);
    expect(left).toContain(kept.id);
  });
});
