import { mkdtemp, readdir, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { definePlugin, type PluginContext } from "agent-runtime";
import { boot } from "agent-runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { createVectors, type VectorNeeds } from "../../../plugins/memory/vectors.ts";
import compatible from "../../../plugins/openai-compatible/index.ts";
import { NOW, observation } from "../../fixtures/memory.ts";
import { type Reply, type SeenRequest, startServer } from "../../fixtures/server.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

const never = new AbortController().signal;
const WORDS = ["lock", "journal", "retry", "token", "cache", "model", "screen", "colour"];
/** How often each of a few words stands in a text. */
const vectorOf = (text: string, dimensions = WORDS.length): number[] =>
  Array.from({ length: dimensions }, (_, index) => text.toLowerCase().split(WORDS[index] ?? "\0").length - 1 || 0.01);
const answer = ({ body }: SeenRequest, dimensions?: number): Reply => ({
  body: { data: body.input.map((text: string, index: number) => ({ index, embedding: vectorOf(text, dimensions) })) },
});

/** A plugin's context as it is in a run, against a server that embeds. */
async function prepare(reply: (request: SeenRequest, n: number) => Reply = (request) => answer(request)) {
  const server = await startServer(reply);
  open.push(server.close);
  const dataDir = await mkdtemp(join(tmpdir(), "vectors-"));
  open.push(() => rm(dataDir, { recursive: true, force: true }));
  let context: PluginContext | undefined;
  const plugin = definePlugin({
    name: "keeping",
    setup: (given) => {
      context = given;
      return {};
    },
  });
  const agent = await boot({
    plugins: [plugin, compatible],
    dataDir,
    config: { provider: { ollama: { options: { baseURL: server.url } } }, retry: { maxRetries: 0 } },
  });
  open.push(agent.close);
  const reports: string[] = [];
  const clock = { now: NOW, model: "ollama/embedder" as string | undefined };
  const { openStore, embed } = context!;
  const needs: VectorNeeds = {
    openStore,
    embed,
    report: (message) => void reports.push(message),
    project: "work-1",
    model: () => clock.model,
    now: () => clock.now,
  };
  const place = join(dataDir, "plugins", "keeping", "projects", "work-1", "vectors");
  const texts = () => server.requests.flatMap(({ body }) => body.input as string[]);
  return { needs, server, reports, clock, place, texts, vectors: createVectors(needs) };
}

const all = ["The lock is taken", "The journal is synced", "A retry waits", "The cache of the model", "Nothing of all that"].map((title) =>
  observation({ title }),
);
const titles = (found: { id: string }[] | undefined) => found?.map(({ id }) => all.find((one) => one.id === id)?.title);

describe("vectors of observations", () => {
  test("find the nearest, best first, and embed those that are missing", async () => {
    const { vectors, texts } = await prepare();
    const found = await vectors.nearest("a cache for every model", { among: all, limit: 2, signal: never });
    expect(titles(found)).toEqual(["The cache of the model", "Nothing of all that"]);
    expect(found![0]!.cosine).toBeCloseTo(1, 2);
    expect(texts()).toEqual(["a cache for every model", ...all.map(({ title }) => title)]);
  });

  test("are kept: the next process sends the query alone", async () => {
    const { vectors, needs, texts } = await prepare();
    expect(await vectors.fill(all, { signal: never })).toBe(all.length);
    expect(await vectors.fill(all, { signal: never })).toBe(0);
    const later = createVectors(needs);
    expect(titles(await later.nearest("retry", { among: all, limit: 1, signal: never }))).toEqual(["A retry waits"]);
    expect(texts()).toHaveLength(all.length + 1);
  });

  test("are found among those that may be found only", async () => {
    const { vectors } = await prepare();
    expect(titles(await vectors.nearest("lock", { among: all.slice(1, 3), limit: 9, signal: never }))).not.toContain("The lock is taken");
  });

  test("are made anew, little by little, when the model is another one", async () => {
    const { vectors, clock, server } = await prepare();
    await vectors.fill(all, { signal: never });
    clock.model = "ollama/other";
    expect(await vectors.fill(all, { signal: never, limit: 2 })).toBe(2);
    expect(titles(await vectors.nearest("journal", { among: all.slice(0, 2), limit: 1, signal: never }))).toEqual(["The journal is synced"]);
    expect(server.requests.map(({ body }) => [body.model, body.input.length])).toEqual([
      ["embedder", 5],
      ["other", 2],
      ["other", 1],
    ]);
  });

  test("are made anew when the text is another one, or the same name gives other lengths", async () => {
    let dimensions = 8;
    const { vectors, texts } = await prepare((request) => answer(request, dimensions));
    await vectors.fill(all, { signal: never });
    const edited = { ...all[0]!, narrative: "The token counts." };
    expect(await vectors.fill([edited, ...all.slice(1)], { signal: never })).toBe(1);
    dimensions = 6;
    const found = await vectors.nearest("journal", { among: all.slice(1), limit: 1, signal: never });
    expect(titles(found)).toEqual(["The journal is synced"]);
    expect(texts()).toHaveLength(5 + 1 + 1 + 4);
  });

  test("lie in stores of a thousand, and go in batches of 96", async () => {
    const { vectors, needs, place, server } = await prepare();
    const many = Array.from({ length: 1_050 }, (_, index) => observation({ title: `note ${index}` }));
    expect(await vectors.fill(many, { signal: never })).toBe(1_050);
    expect((await readdir(place)).sort()).toEqual(["0", "1"]);
    expect(Math.max(...server.requests.map(({ body }) => body.input.length))).toBe(96);
    expect(await createVectors(needs).fill(many, { signal: never })).toBe(0);
  });

  test("give the cosine of two observations without asking anybody", async () => {
    const { vectors, server } = await prepare();
    await vectors.fill(all.slice(0, 2), { signal: never });
    const asked = server.requests.length;
    const cosine = await vectors.cosines();
    expect(cosine(all[0]!.id, all[0]!.id)).toBeCloseTo(1);
    expect(cosine(all[0]!.id, all[1]!.id)).toBeLessThan(0.1);
    expect(cosine(all[0]!.id, all[4]!.id)).toBeUndefined();
    expect(server.requests).toHaveLength(asked);
  });

  test("leave nothing behind where they are forgotten, also those that another process has written", async () => {
    const { vectors, needs, place } = await prepare();
    await vectors.cosines();
    await createVectors(needs).fill(all, { signal: never });
    await vectors.forget([all[0]!.id, "obs_unknown"]);
    const texts = await Promise.all((await readdir(join(place, "0"))).map((name) => readFile(join(place, "0", name), "utf8")));
    expect(texts.join("")).not.toContain(all[0]!.id);
    expect(texts.join("")).toContain(all[1]!.id);
    expect(await createVectors(needs).fill(all, { signal: never })).toBe(1);
  });

  test("are nothing where there is no model of embeddings: no store, no request", async () => {
    const { vectors, clock, place, server } = await prepare();
    clock.model = undefined;
    expect(await vectors.nearest("lock", { among: all, limit: 3, signal: never })).toBeUndefined();
    expect(await vectors.fill(all, { signal: never })).toBe(0);
    expect((await vectors.cosines())(all[0]!.id, all[1]!.id)).toBeUndefined();
    expect(server.requests).toEqual([]);
    await expect(readdir(place)).rejects.toThrow("ENOENT");
  });

  test("that cannot be had are told of once, and asked for again after a minute", async () => {
    let works = false;
    const { vectors, clock, reports, server } = await prepare((request) => (works ? answer(request) : { status: 503 }));
    const find = () => vectors.nearest("lock", { among: all, limit: 1, signal: never });
    expect(await find()).toBeUndefined();
    expect(await find()).toBeUndefined();
    expect(await vectors.fill(all, { signal: never })).toBe(0);
    expect(server.requests).toHaveLength(1);
    clock.now += 61_000;
    expect(await find()).toBeUndefined();
    expect(reports).toEqual([expect.stringContaining("by words alone")]);
    works = true;
    clock.now += 61_000;
    expect(titles(await find())).toEqual(["The lock is taken"]);
    works = false;
    await vectors.nearest("x", { among: all, limit: 1, signal: never });
    expect(reports).toHaveLength(2);
  });

  test("that can be had only of the query still give what is there", async () => {
    const { vectors, server } = await prepare((request) => (request.body.input.length > 1 ? { status: 500 } : answer(request)));
    await vectors.fill(all.slice(0, 1), { signal: never });
    for (const _ of [1, 2]) expect(titles(await vectors.nearest("lock", { among: all, limit: 9, signal: never }))).toEqual(["The lock is taken"]);
    expect(server.requests.map(({ body }) => body.input.length)).toEqual([1, 1, 4, 1]);
  });

  test("end with the signal", async () => {
    const { vectors, reports } = await prepare();
    await expect(vectors.fill(all, { signal: AbortSignal.abort(new Error("stopped")) })).rejects.toThrow("stopped");
    expect(reports).toEqual([]);
  });

  test("that were damaged are made anew", async () => {
    const { vectors, needs, place } = await prepare();
    await vectors.fill(all, { signal: never });
    for (const name of await readdir(join(place, "0"))) await truncate(join(place, "0", name), 40);
    const later = createVectors(needs);
    expect(titles(await later.nearest("journal", { among: all, limit: 1, signal: never }))).toEqual(["The journal is synced"]);
  });
});
