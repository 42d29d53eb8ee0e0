import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sqlite from "node-sqlite3-wasm";
import { afterAll, describe, expect, test } from "vitest";
import { type ImportRequest, readImport } from "../../../plugins/memory/import.ts";
import type { Observation } from "../../../plugins/memory/observation.ts";
import { withoutPrivateIn } from "../../../plugins/memory/private-text.ts";

const dir = mkdtempSync(join(tmpdir(), "agent-import-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const NOW = 1_790_000_000_000;
const untouched = (value: unknown) => value;
const read = (value: unknown, changes: Partial<ImportRequest> = {}) =>
  readImport({ path: "f", from: "f", text: typeof value === "string" ? value : JSON.stringify(value), now: NOW, clean: untouched, ...changes });

describe("an array of entries", () => {
  test("needs a title or a narrative, and nothing else", async () => {
    const { kind, observations, bad } = await read([{ title: "Only a title" }, { narrative: "Only a narrative.\nIn two lines." }]);
    expect([kind, bad]).toEqual(["entries", []]);
    expect(
      observations.map(({ title, narrative, type, sessionId, trust, by, importance, source }) => ({
        title,
        narrative,
        type,
        sessionId,
        trust,
        by,
        importance,
        source,
      })),
    ).toEqual([
      {
        title: "Only a title",
        narrative: "",
        type: "discovery",
        sessionId: "import",
        trust: "trusted",
        by: "import",
        importance: 0.5,
        source: { kind: "import", from: "f" },
      },
      expect.objectContaining({ title: "Only a narrative.", narrative: "Only a narrative.\nIn two lines." }),
    ]);
  });

  test("gives every field that it may have, and keeps what is unknown", async () => {
    const entry = {
      type: "bugfix",
      title: "T",
      subtitle: "S",
      facts: ["a", "b"],
      narrative: "N",
      concepts: ["gotcha"],
      files: ["src/a.ts"],
      session: "s1",
      createdAt: "2026-05-01T00:00:00Z",
    };
    const { observations } = await read([{ ...entry, ticket: 7, tags: ["x"], nothing: null }]);
    expect(observations[0]).toMatchObject({
      type: "bugfix",
      title: "T",
      subtitle: "S",
      facts: ["a", "b"],
      narrative: "N",
      concepts: ["gotcha"],
      filesRead: ["src/a.ts"],
      filesModified: [],
    });
    expect(observations[0]).toMatchObject({ sessionId: "s1", createdAt: Date.parse("2026-05-01T00:00:00Z"), extra: { ticket: 7, tags: ["x"] } });
  });

  test.each([
    ["2026-05-01T10:00:00.000Z", Date.parse("2026-05-01T10:00:00Z")],
    [1_777_629_600_000, 1_777_629_600_000],
    [1_777_629_600, 1_777_629_600_000],
    [1_777_629_600.5, 1_777_629_600_500],
    ["1777629600", 1_777_629_600_000],
    ["2026-05-01", Date.parse("2026-05-01")],
    ["1969-07-20T20:17:00Z", undefined],
    ["last week", undefined],
  ])("takes the time %s", async (createdAt, expected) => {
    const { observations, bad } = await read([{ title: "T", createdAt }]);
    expect(observations[0]?.createdAt).toBe(expected);
    expect(bad.length).toBe(expected === undefined ? 1 : 0);
  });

  test("takes texts in the place of lists", async () => {
    const { observations } = await read([
      { title: "A", facts: "one, and only", files: "src/a.ts, src/b.ts", concepts: "gotcha,pattern" },
      { title: "B", facts: '["one","two"]', files: '["c d.ts"]' },
    ]);
    expect(observations.map(({ facts, filesRead, concepts }) => [facts, filesRead, concepts])).toEqual([
      [["one, and only"], ["src/a.ts", "src/b.ts"], ["gotcha", "pattern"]],
      [["one", "two"], ["c d.ts"], []],
    ]);
  });

  test("names each entry that cannot be used, by its place and why", async () => {
    const entries = [
      { title: "Good" },
      "text",
      {},
      { title: 5 },
      { title: "T", facts: [1] },
      { title: "T", createdAt: "never" },
      { title: "T", importance: "much" },
    ];
    const { observations, bad } = await read([...entries, JSON.parse('{"title":"T","x":{"__proto__":1}}'), JSON.parse('{"title":"T","__proto__":{}}')]);
    expect(observations.map(({ title }) => title)).toEqual(["Good"]);
    expect(bad).toEqual([
      { index: 1, reason: "it is no object." },
      { index: 2, reason: "it has neither a title nor a narrative." },
      { index: 3, reason: "its title is no text." },
      { index: 4, reason: "its facts are neither a text nor a list of texts." },
      { index: 5, reason: 'its createdAt "never" is no time.' },
      { index: 6, reason: "its importance is no number." },
      { index: 7, reason: 'it has the key "__proto__".' },
      { index: 8, reason: 'it has the key "__proto__".' },
    ]);
  });

  test("stays in its order where times are the same or missing", async () => {
    const session = (name: string, createdAt?: number) => (title: string) => ({ title, session: name, ...(createdAt && { createdAt }) });
    const entries = [
      ...["a", "b", "c"].map(session("one", 1_777_000_000_000)),
      ...["d", "e"].map(session("two", 1_777_000_000_000)),
      ...["f", "g"].map(session("one")),
    ];
    const { observations } = await read(entries);
    const at = (title: string) => (observations.find((item) => item.title === title)?.createdAt ?? 0) - 1_777_000_000_000;
    expect(["a", "b", "c", "d", "e", "f", "g"].map(at)).toEqual([0, 1, 2, 0, 1, 3, 4]);
    const { observations: timeless } = await read(["x", "y", "z"].map((title) => ({ title })));
    expect(timeless.map(({ createdAt }) => createdAt)).toEqual([NOW - 3, NOW - 2, NOW - 1]);
  });

  test("has the same ids each time; the same words twice are one, other facts under the same words another one", async () => {
    const entries = [
      { title: "T", narrative: "N" },
      { title: "T", narrative: "N" },
      { title: "T", narrative: "N", facts: ["more"] },
    ];
    const [first, second] = [await read(entries), await read(entries, { now: NOW + 1000 })];
    expect([first.observations.length, first.repeated]).toEqual([2, 1]);
    expect(second.observations.map(({ id }) => id)).toEqual(first.observations.map(({ id }) => id));
    expect(new Set(first.observations.map(({ id }) => id)).size).toBe(2);
  });

  test("is cleaned before anything else sees it; an entry of which nothing is left is none", async () => {
    const hide = (value: unknown): unknown => JSON.parse(JSON.stringify(value).replaceAll("SECRET", ""));
    const { observations, ...counts } = await read(
      [{ title: "SECRET" }, { title: "a SECRET b", facts: ["SECRET", "x"], files: ["SECRET/f"], kept: { deep: "SECRET!" } }],
      { clean: hide },
    );
    expect([counts.private, JSON.stringify(observations)]).toEqual([1, expect.not.stringContaining("SECRET")]);
    expect(observations[0]).toMatchObject({ title: "a  b", facts: ["x"], filesRead: ["/f"], extra: { kept: { deep: "!" } } });
  });

  test("hides what stands between tags that open in one text and close in another, or never", async () => {
    const clean = (value: unknown) => withoutPrivateIn(value).value;
    const across = { title: "Open <private>one", facts: ["two"], narrative: "three</private> kept", concepts: ["gotcha"] };
    const { observations, private: hidden } = await read([across, { title: "Half <PRIVATE>four", narrative: "five" }, { narrative: "<private>six" }], {
      clean,
    });
    expect([hidden, JSON.stringify(observations)]).toEqual([1, expect.not.stringMatching(/one|two|three|four|five|six/)]);
    expect(observations.map(({ title, source }) => [title.trim(), source.from])).toEqual([
      ["Open", "f"],
      ["Half", "f"],
    ]);
  });

  test("may be one object a line, and none may be an archive of its own", async () => {
    const { observations, bad } = await read(`{"title":"A"}\n\n{"title":"B","narrative":"${"x".repeat(1_000_000)}"}\n`);
    expect([observations.map(({ title }) => title), bad]).toEqual([["A"], [{ index: 1, reason: "it is larger than 1 million characters." }]]);
  });

  test("can be marked as text from outside", async () => {
    const { observations } = await read([{ title: "T" }], { trust: "untrusted" });
    expect(observations[0]?.trust).toBe("untrusted");
  });

  test("of 10,000 entries is read in seconds", async () => {
    const { observations } = await read(
      Array.from({ length: 10_000 }, (_, index) => ({ title: `Entry ${index}`, session: "one", createdAt: 1_777_000_000_000, facts: ["a"] })),
    );
    expect(new Set(observations.map(({ createdAt }) => createdAt)).size).toBe(10_000);
  });

  test.each(["[1, 2", '{"a": 1}', '{"a": '])("that is none is refused: %s", async (text) => {
    await expect(read(text)).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
  });

  test("that is neither text nor a database is refused, and so is a file that is not there", async () => {
    writeFileSync(join(dir, "bytes"), Buffer.from([0x89, 0x50, 0xff, 0xfe]));
    const request = { from: "f", now: NOW, clean: untouched };
    await expect(readImport({ ...request, path: join(dir, "bytes") })).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
    await expect(readImport({ ...request, path: join(dir, "none") })).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
    execFileSync("mkfifo", [join(dir, "pipe")]);
    await expect(readImport({ ...request, path: join(dir, "pipe") })).rejects.toThrow("import -");
    writeFileSync(join(dir, "broken.json"), "title: no JSON");
    await expect(readImport({ ...request, path: join(dir, "broken.json") })).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
  });
});

const TABLES = `
  CREATE TABLE sdk_sessions (id INTEGER PRIMARY KEY, content_session_id TEXT, memory_session_id TEXT, project TEXT);
  CREATE TABLE observations (id INTEGER PRIMARY KEY, memory_session_id TEXT, project TEXT, text TEXT, type TEXT, title TEXT, subtitle TEXT, facts TEXT,
    narrative TEXT, concepts TEXT, files_read TEXT, files_modified TEXT, prompt_number INTEGER, discovery_tokens INTEGER, created_at TEXT, created_at_epoch INTEGER);
  CREATE TABLE session_summaries (id INTEGER PRIMARY KEY, memory_session_id TEXT, project TEXT, request TEXT, investigated TEXT, learned TEXT, completed TEXT,
    next_steps TEXT, notes TEXT, files_edited TEXT, prompt_number INTEGER, created_at TEXT, created_at_epoch INTEGER);
  CREATE TABLE user_prompts (id INTEGER PRIMARY KEY, content_session_id TEXT, prompt_number INTEGER, prompt_text TEXT, created_at TEXT, created_at_epoch INTEGER);
  INSERT INTO sdk_sessions VALUES (1, 'host-1', 'mem-1', 'shop');
  INSERT INTO observations VALUES (1, 'mem-1', 'shop', NULL, 'bugfix', 'Cart total', 'Rounding', '["Sums are in cents"]', 'It rounded twice.', '["gotcha"]', '["src/cart.ts"]', '["src/sum.ts"]', 1, 900, '2026-05-01T10:00:00.000Z', 1777629600000);
  INSERT INTO observations VALUES (2, 'mem-1', 'shop', NULL, 'change', 'Same reply', NULL, NULL, 'Two.', NULL, NULL, NULL, 1, 900, '2026-05-01T10:00:00.000Z', 1777629600000);
  INSERT INTO observations VALUES (3, 'mem-2', 'blog', 'Old text.', 'discovery', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, 0, '2026-04-01T10:00:00.000Z', NULL);
  INSERT INTO observations VALUES (4, 'mem-2', 'blog', NULL, 'discovery', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, 0, '2026-04-01T10:00:00.000Z', 1775037600000);
  INSERT INTO session_summaries VALUES (1, 'mem-1', 'shop', 'Fix the total', 'cart', 'cents', 'done', 'ship', NULL, '["src/sum.ts"]', 1, '2026-05-01T11:00:00.000Z', 1777633200000);
  INSERT INTO user_prompts VALUES (1, 'host-1', 1, 'Why is the total wrong?', '2026-05-01T09:00:00.000Z', 1777626000000);
`;

/** A database as claude-mem leaves it while it runs: the rows stand in its write-ahead log. */
function makeDatabase(name: string, options: { log: boolean; tables?: string }): string {
  const [path, live] = [join(dir, `${name}.db`), join(dir, `${name}-live.db`)];
  const database = new sqlite.Database(live);
  if (options.log) database.exec("PRAGMA locking_mode = exclusive; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  database.exec(options.tables ?? TABLES);
  for (const end of options.log ? ["", "-wal"] : [""]) copyFileSync(live + end, path + end);
  database.close();
  return path;
}

const readFile = (path: string, changes: Partial<ImportRequest> = {}) => readImport({ path, from: "claude-mem.db", now: NOW, clean: untouched, ...changes });

describe("claude-mem's database", () => {
  const told = (observations: Observation[]) => observations.map(({ type, title, sessionId, createdAt }) => [type, title, sessionId, createdAt]);

  test.each([false, true])("gives observations and summaries in the order of time, its log read too: %s", async (log) => {
    const path = makeDatabase(`plain-${log}`, { log });
    const { kind, observations, bad, repeated, prompts, projects } = await readFile(path);
    expect({ kind, bad, repeated, prompts, projects }).toEqual({ kind: "claude-mem", bad: [], repeated: 1, prompts: 1, projects: { shop: 3, blog: 2 } });
    expect(told(observations)).toEqual([
      ["discovery", "Old text.", "mem-2", 1_775_037_600_000],
      ["bugfix", "Cart total", "host-1", 1_777_629_600_000],
      ["change", "Same reply", "host-1", 1_777_629_600_001],
      ["summary", "done", "host-1", 1_777_633_200_000],
    ]);
    expect(observations[1]).toMatchObject({
      facts: ["Sums are in cents"],
      concepts: ["gotcha"],
      filesRead: ["src/cart.ts"],
      filesModified: ["src/sum.ts"],
      prompt: 1,
    });
    expect(observations[1]?.extra).toMatchObject({ request: "Why is the total wrong?", project: "shop", discovery_tokens: 900, id: 1 });
    expect(observations[3]?.summary).toEqual({
      request: "Fix the total",
      investigated: "cart",
      learned: "cents",
      completed: "done",
      nextSteps: "ship",
      notes: "",
    });
    expect(observations[3]?.filesModified).toEqual(["src/sum.ts"]);
  });

  test("stays as it is, and so does what lies beside it", async () => {
    const path = makeDatabase("quiet", { log: true });
    const stateOf = () =>
      readdirSync(dir)
        .filter((name) => name.startsWith("quiet.db"))
        .map((name) => [name, statSync(join(dir, name)).mtimeMs, readFileSync(join(dir, name)).toString("base64")]);
    const before = stateOf();
    expect(before.map(([name]) => name)).toEqual(["quiet.db", "quiet.db-wal"]);
    await readFile(path);
    expect(stateOf()).toEqual(before);
  });

  test("can be narrowed to one of its projects, and its prompts taken in", async () => {
    const path = makeDatabase("narrow", { log: false });
    const { observations } = await readFile(path, { project: "shop", prompts: true });
    expect(told(observations).map(([type]) => type)).toEqual(["prompt", "bugfix", "change", "summary"]);
    expect(observations[0]).toMatchObject({ title: "Why is the total wrong?", sessionId: "host-1", importance: 0.2 });
  });

  test("of an early version is read with the columns that it has", async () => {
    const tables = `CREATE TABLE observations (id INTEGER PRIMARY KEY, sdk_session_id TEXT, text TEXT, type TEXT, created_at TEXT);
      INSERT INTO observations VALUES (1, 's-1', 'It works.', 'discovery', '2026-01-01T00:00:00Z');`;
    const { observations } = await readFile(makeDatabase("early", { log: false, tables }));
    expect(told(observations)).toEqual([["discovery", "It works.", "s-1", Date.UTC(2026, 0, 1)]]);
  });

  test("that is another one, or is damaged, is refused", async () => {
    await expect(readFile(makeDatabase("other", { log: false, tables: "CREATE TABLE songs (id)" }))).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
    const path = join(dir, "damaged.db");
    writeFileSync(path, Buffer.concat([Buffer.from("SQLite format 3\0"), Buffer.alloc(5000, 7)]));
    await expect(readFile(path)).rejects.toMatchObject({ code: "IMPORT_REFUSED" });
  });
});

test("claude-mem's export is read as its database is", async () => {
  const row = { memory_session_id: "mem-1", project: "shop", created_at_epoch: 1_777_629_600_000, prompt_number: 1 };
  const { kind, observations } = await read({
    ...{ exportedAt: "2026-05-01", totalObservations: 1, query: "*" },
    observations: [{ ...row, id: 1, type: "bugfix", title: "Cart total", facts: '["a"]', text: null }],
    sessions: [{ memory_session_id: "mem-1", content_session_id: "host-1", project: "shop" }],
    summaries: [{ ...row, request: null, learned: "Cents", created_at_epoch: 1_777_629_700_000 }],
    prompts: [{ content_session_id: "host-1", prompt_number: 1, prompt_text: "Why?" }],
  });
  expect([kind, observations.map(({ title, sessionId }) => [title, sessionId])]).toEqual([
    "claude-mem",
    [
      ["Cart total", "host-1"],
      ["Cents", "host-1"],
    ],
  ]);
  expect(observations[0]).toMatchObject({ facts: ["a"], extra: { request: "Why?" } });
});

const NOTES = `---
owner: me
---
# Shop

An online shop in \`src/shop\`.

<!-- a comment -->
## Gotchas
- **Totals**: sums are in cents, see \`src/cart.ts\`
  and src/sum.ts:12
  - never floats
- The tests need \`TZ=UTC\`

## Decisions
1. We use SQLite because it is one file

\`\`\`sh
# not a heading
- not an item
\`\`\`

## Code style
* Two spaces
`;

describe("notes such as CLAUDE.md", () => {
  test("are an entry for each item and each paragraph, after what their heading says", async () => {
    const { kind, observations } = await read(NOTES);
    expect(kind).toBe("notes");
    expect(observations.map(({ type, title, subtitle, concepts }) => [type, title, subtitle, concepts])).toEqual([
      ["discovery", "Shop", "Shop", ["how-it-works"]],
      ["discovery", "Totals", "Shop › Gotchas", ["gotcha"]],
      ["discovery", "The tests need `TZ=UTC`", "Shop › Gotchas", ["gotcha"]],
      ["decision", "We use SQLite because it is one file", "Shop › Decisions", ["why-it-exists"]],
      ["discovery", "Two spaces", "Shop › Code style", ["pattern"]],
    ]);
    expect(observations[1]).toMatchObject({
      filesRead: ["src/cart.ts", "src/sum.ts"],
      narrative: expect.stringContaining("- never floats"),
      trust: "trusted",
      importance: 0.7,
    });
    expect(observations[3]?.narrative).toContain("# not a heading");
    expect(JSON.stringify(observations)).not.toMatch(/a comment|owner/);
  });

  test("are of the time when the file was written, in its order", async () => {
    const path = join(dir, "CLAUDE.md");
    writeFileSync(path, NOTES);
    utimesSync(path, 1_700_000_000, 1_700_000_000);
    const { observations } = await readFile(path);
    expect(observations.map(({ createdAt }) => createdAt - 1_700_000_000_000)).toEqual([-5, -4, -3, -2, -1]);
  });

  test("of plain text are notes, too; an empty file has none", async () => {
    expect((await read("Use tabs.\n")).observations.map(({ title }) => title)).toEqual(["Use tabs."]);
    expect((await read("\n")).observations).toEqual([]);
  });
});
