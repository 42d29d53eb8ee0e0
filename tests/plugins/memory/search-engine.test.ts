import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Observation } from "../../../plugins/memory/observation.ts";
import type { ObservationSource } from "../../../plugins/memory/open-memory.ts";
import { type MemoryOptions, optionsSchema } from "../../../plugins/memory/options.ts";
import { createSearchEngine, type SearchNeeds } from "../../../plugins/memory/search-engine.ts";
import { NOW, observation } from "../../fixtures/memory.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Observations by part; `read` are the names of those that somebody has looked into. */
function makeSource(parts: Record<string, Observation[]>) {
  const folder = mkdtempSync(join(tmpdir(), "agent-search-"));
  folders.push(folder);
  const read: string[] = [];
  const source: ObservationSource = {
    project: "project-1",
    indexDir: join(folder, "index"),
    parts: async () => Object.entries(parts).map(([name, list]) => ({ name, mark: JSON.stringify(list) })),
    async read(name) {
      read.push(name);
      return Object.fromEntries((parts[name] ?? []).map((each) => [each.id, each]));
    },
  };
  return { source, parts, read, file: join(folder, "index", "words") };
}

const open = (source: ObservationSource, search: Partial<MemoryOptions["search"]> = {}, needs: Partial<SearchNeeds> = {}) =>
  createSearchEngine(source, {
    context: { ask: async () => Promise.reject(new Error("nobody is to be asked")), report() {}, redact: (text) => text },
    options: () => optionsSchema.parse({ search }),
    vectors: async () => Promise.reject(new Error("there are no vectors")),
    now: () => NOW,
    signal: new AbortController().signal,
    ...needs,
  });

const parser = observation({ title: "The parser skips comments" });
const lexer = observation({ title: "The lexer counts lines", sessionId: "ses_other" });
const titles = async (engine: Awaited<ReturnType<typeof open>>, query: string) => (await engine.search({ query })).map(({ observation }) => observation.title);

describe("a search", () => {
  test("shows what holds before what it replaces, though nobody has consolidated them", async () => {
    const DAY_MS = 86_400_000;
    const said = (title: string, narrative: string, days: number) =>
      observation({ title, narrative, sessionId: `ses_${days}`, createdAt: NOW - days * DAY_MS });
    const list = [
      said("Database timeout is 30 seconds", "The connection timeout of the database pool is 30 seconds.", 300),
      said("Database timeout is now 10 seconds", "The connection timeout of the database pool was changed from 30 seconds to 10 seconds.", 200),
      said("Cache directory is .cache", "We keep it in the cache directory, as ever.", 300),
      said("Cache directory is var", "It was moved.", 200),
    ];
    const engine = await open(makeSource({ "0": list }).source);
    expect(await titles(engine, "database timeout")).toEqual(["Database timeout is now 10 seconds", "Database timeout is 30 seconds"]);
    expect(await titles(engine, "cache directory")).toEqual(["Cache directory is var", "Cache directory is .cache"]);
    expect((await titles(engine, "cache directory kept as ever"))[0]).toBe("Cache directory is .cache");
  });

  test("finds what was added and does not find what was removed, without a new index", async () => {
    const { source, parts } = makeSource({ "0": [parser], inbox: [] });
    const engine = await open(source);
    expect(await titles(engine, "lexer")).toEqual([]);
    parts.inbox = [lexer];
    expect(await titles(engine, "lexer")).toEqual([lexer.title]);
    parts.inbox = [];
    parts["0"] = [];
    expect([await titles(engine, "lexer"), await titles(engine, "parser")]).toEqual([[], []]);
  });

  test("in another process reads no segment that has not changed, but for its hits", async () => {
    const first = makeSource({ "0": [parser], "1": [lexer], inbox: [] });
    await titles(await open(first.source), "parser");
    expect(existsSync(first.file)).toBe(true);
    first.read.length = 0;
    expect(await titles(await open(first.source), "nothing such")).toEqual([]);
    expect(first.read).toEqual([]);
  });

  test("finds everything where the index is damaged, or written by nobody", async () => {
    const { source, file } = makeSource({ "0": [parser], inbox: [lexer] });
    await titles(await open(source), "parser");
    writeFileSync(file, "no index");
    expect(await titles(await open(source), "parser")).toEqual([parser.title]);
    expect(await (await open(source)).reindex()).toBe(2);
  });

  test("leaves no draft of an index that cannot be put in its place", async () => {
    const { source, file } = makeSource({ "0": [parser], inbox: [] });
    mkdirSync(join(file, "in the way"), { recursive: true });
    expect(await titles(await open(source), "parser")).toEqual([parser.title]);
    expect(readdirSync(source.indexDir)).toEqual(["words"]);
  });

  test("lets time limits pass while it makes the index, part by part", async () => {
    const parts = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`${index}`, [parser]]));
    const { source, read } = makeSource(parts);
    const engine = await open(source);
    const readWhenStruck = new Promise<number>((resolve) => setImmediate(() => setImmediate(() => resolve(read.length))));
    const found = engine.search({ query: "parser" });
    expect(await readWhenStruck).toBeLessThan(20);
    expect(await found).toHaveLength(1);
  });

  test("gives each hit its project, its score and the parts of that", async () => {
    const { source } = makeSource({ "0": [parser], inbox: [] });
    const [hit] = await (await open(source)).search({ query: "parser" });
    expect(hit).toMatchObject({
      project: "project-1",
      score: expect.any(Number),
      parts: { words: expect.any(Number), recency: expect.any(Number), importance: 0.5 },
    });
  });

  test("keeps to the filters and the limit", async () => {
    const outside = observation({ title: "The parser of strangers", trust: "untrusted" });
    const { source } = makeSource({ "0": [parser, outside], inbox: [] });
    const engine = await open(source);
    expect((await engine.search({ query: "parser", trust: "trusted" })).map(({ observation }) => observation.id)).toEqual([parser.id]);
    expect(await engine.search({ query: "parser", limit: 1 })).toHaveLength(1);
  });

  test("by meaning finds what has none of the words, with both lists fused", async () => {
    const { source } = makeSource({ "0": [parser, lexer], inbox: [] });
    const nearest = async () => [{ id: lexer.id, cosine: 0.9 }];
    const engine = await open(source, { embeddings: "acme/vectors" }, { vectors: async () => ({ nearest }) as never });
    const [hit] = await engine.search({ query: "tokeniser" });
    expect(hit).toMatchObject({ observation: { id: lexer.id }, parts: { vector: 0.9, fused: expect.any(Number) } });
  });

  test("puts the hits in the order that a model says; an answer that cannot be read changes nothing", async () => {
    const other = observation({ title: "The parser is written by hand" });
    const { source } = makeSource({ "0": [parser, other], inbox: [] });
    const reports: string[] = [];
    let asked = 0;
    const answer = (text: string): Partial<SearchNeeds> => ({
      context: {
        async ask() {
          asked++;
          return { text, reason: "stop", model: "acme/rank", tokens: {} } as never;
        },
        report: (message) => void reports.push(message),
        redact: (text) => text,
      },
    });
    const before = await titles(await open(source), "parser comments");
    expect(before).toEqual([parser.title, other.title]);
    expect(await titles(await open(source, { rerank: "acme/rank" }, answer('{"order":["n2","n1"]}')), "parser comments")).toEqual([other.title, parser.title]);
    expect(await titles(await open(source, { rerank: "acme/rank" }, answer('{"order":[]}')), "parser comments")).toEqual(before);
    expect([reports, asked]).toEqual([[], 2]);
    const engine = await open(source, { rerank: "acme/rank" }, answer("I cannot"));
    for (const _ of [1, 2]) expect(await titles(engine, "parser comments")).toEqual(before);
    // It is told once, and left alone for a while.
    expect([reports, asked]).toEqual([[expect.stringContaining("reranking fails")], 3]);
  });
});
