import { expect, test } from "vitest";
import { makeObservation } from "../../../bench/memory-measure.ts";
import type { Filter } from "../../../plugins/memory/memory.ts";
import type { Observation } from "../../../plugins/memory/observation.ts";
import { parseQuery } from "../../../plugins/memory/query.ts";
import { rankCandidates } from "../../../plugins/memory/rank.ts";
import { openSearchIndex } from "../../../plugins/memory/search-index.ts";

const NOW = Date.UTC(2026, 5, 15);
const DAY_MS = 86_400_000;

function keepFile() {
  const kept: { bytes?: Uint8Array | undefined } = {};
  return {
    kept,
    file: {
      read: async () => kept.bytes,
      write: async (bytes: Uint8Array) => {
        kept.bytes = bytes;
      },
    },
  };
}

async function searchIn(observations: Observation[]) {
  const index = await openSearchIndex({ project: "p", file: keepFile().file });
  index.sync("all", "1", observations);
  const read = async (ids: string[]) => observations.filter(({ id }) => ids.includes(id));
  const rank = async (text: string, { filter = {}, vectors = new Map<string, number>() }: { filter?: Filter; vectors?: Map<string, number> } = {}) => {
    const query = parseQuery(text, NOW);
    return rankCandidates(await index.search(query, { filter, read, vectors }), { query, now: NOW, halfLifeDays: 30 });
  };
  return { index, rank, ids: async (text: string, filter: Filter = {}) => (await rank(text, { filter })).map(({ id }) => id) };
}

const FIXTURES = [
  makeObservation({
    id: "login",
    type: "bugfix",
    title: "Login keeps the token",
    narrative: "The token refresh failed after a login.",
    concepts: ["gotcha"],
    filesModified: ["src/auth/login.ts"],
  }),
  makeObservation({ id: "logout", type: "bugfix", title: "Logout", narrative: "The refresh of a token is stopped.", filesRead: ["src/auth/logout.ts"] }),
  makeObservation({
    id: "cache",
    type: "decision",
    title: "Cache by tenant",
    narrative: "openStore keeps what a tenant reads.",
    filesModified: ["core/store.ts"],
  }),
  makeObservation({ id: "never", type: "discovery", title: "Retries", narrative: "A payment is never retried.", sessionId: "ses_2" }),
];

test.each([
  ["token AND refresh", ["login", "logout"]],
  ["token AND login", ["login"]],
  ["token OR cache", ["cache", "login", "logout"]],
  ["token NOT login", ["logout"]],
  ["payment refresh NOT login", []],
  ["payment refresh -login", ["logout", "never"]],
  ["token AND NOT login", ["logout"]],
  ["token -login", ["logout"]],
  ['"token refresh"', ["login"]],
  ['"tokens refreshed"', ["login"]],
  ['"refresh of a token"', ["logout"]],
  ['-"token refresh" token', ["logout"]],
  ["(login OR cache) AND (token OR tenant)", ["cache", "login"]],
  ["(login OR cache) NOT token", ["cache"]],
  ["title:logout", ["logout"]],
  ['title:"cache by"', ["cache"]],
  ["title:token", ["login"]],
  ["narrative:login OR subtitle:cache", ["login"]],
  ['narrative:"the refresh" AND type:bugfix', ["logout"]],
  ["facts:token", []],
  ["concepts:gotcha OR files:core", ["cache", "login"]],
  ["type:bugfix", ["login", "logout"]],
  ["type:bugfix -logout", ["login"]],
  ["type:decision OR concept:gotcha", ["cache", "login"]],
  ["file:src/auth", ["login", "logout"]],
  ["file:login.ts", ["login"]],
  ["file:auth/logout.ts token", ["logout"]],
  ["session:ses_2", ["never"]],
  ["id:cach", ["cache"]],
  ["never AND retried", ["never"]],
  ["openStore AND tenant", ["cache"]],
  ["banana AND token", []],
  ["type:bugfix banana", []],
])("the query %s finds exactly what it says", async (text, expected) => {
  const { ids } = await searchIn(FIXTURES);
  expect((await ids(text)).sort()).toEqual(expected);
});

test.each([
  '"token',
  "token AND",
  "AND OR NOT",
  "(token",
  "token)",
  "to(ken",
  "token OR OR login",
  "NOT",
  "-",
  '""',
  ":",
  "foo:token",
  "date:soon token",
  "https://x.y/token?a=(b",
  "a".repeat(10_000),
])("what is no query is plain words: %s", async (text) => {
  const { ids } = await searchIn(FIXTURES);
  const found = await ids(text);
  if (/(?:^|[\s("])token/.test(text)) expect(found).toContain("login");
});

test.each([
  ["date:2025-03", ["march"]],
  ["date:2025-03-09 note", ["march"]],
  ["since:2025-03-09", ["april", "march"]],
  ["note until:2025-03", ["january", "march"]],
  ["note NOT date:2025-03", ["april", "january"]],
  ["date:2025-01 OR date:2025-04", ["april", "january"]],
])("the query %s finds what is of that time", async (text, expected) => {
  const at = (id: string, month: number) => makeObservation({ id, title: `A note of ${id}`, createdAt: Date.UTC(2025, month - 1, 9, 12) });
  const { ids } = await searchIn([at("january", 1), at("march", 3), at("april", 4)]);
  expect((await ids(text)).sort()).toEqual(expected);
});

test("filters hold together, and none of them cuts by age", async () => {
  const old = makeObservation({ id: "old", type: "bugfix", narrative: "token of long ago", createdAt: Date.UTC(1999, 1, 1), trust: "untrusted" });
  const { ids } = await searchIn([...FIXTURES, old]);
  expect(await ids("token", { until: Date.UTC(2000, 0, 1), since: Date.UTC(1999, 0, 1) })).toEqual(["old"]);
  expect(await ids("token", { trust: "untrusted" })).toEqual(["old"]);
  expect(await ids("token", { type: "bugfix", file: "src" })).toEqual(["login", "logout"]);
  expect(await ids("token", { concept: "gotcha", session: "ses" })).toEqual(["login"]);
  expect(await ids("token")).toContain("old");
});

test("the exact identifier comes before those that share its parts", async () => {
  const { ids } = await searchIn([
    makeObservation({ id: "parts", title: "open the store", narrative: "open store, open store, store is open" }),
    makeObservation({ id: "other", narrative: "openStoreFile opens a store" }),
    makeObservation({ id: "exact", narrative: "A long text about many other things in which openStore is named once, among the rest of it." }),
  ]);
  expect((await ids("openStore"))[0]).toBe("exact");
  expect((await ids("open_store"))[0]).toBe("exact");
});

test("a slip of the keyboard and a beginning of a word find something; a word that is known is taken as it is", async () => {
  const { ids } = await searchIn([
    makeObservation({ id: "pottery", narrative: "the pottery class" }),
    makeObservation({ id: "class", narrative: "classes of code" }),
  ]);
  expect(await ids("potery")).toEqual(["pottery"]);
  expect(await ids("potte")).toEqual(["pottery"]);
  expect(await ids("xylophone")).toEqual([]);
});

test("what a person says comes before what others say of them, and an answer stands beside its question", async () => {
  const turns = [
    "Bo: Ada is great at pottery, I hear.",
    "Ada: I went to the pottery class yesterday!",
    "Bo: What did you make?",
    "Ada: A blue bowl.",
    "Bo: Good night.",
  ];
  const { ids } = await searchIn(turns.map((narrative, i) => makeObservation({ id: String(i), narrative })));
  const found = await ids("What did Ada make in the pottery class?");
  expect(found[0]).toBe("1");
  expect(found.indexOf("3")).toBeLessThan(found.indexOf("4"));
  expect(found.slice(0, 4)).toContain("3");
});

test("a title that repeats the narrative, or is all there is, distorts nothing", async () => {
  const score = async (fields: Partial<Observation>) => {
    const { rank } = await searchIn([makeObservation({ id: "a", ...fields }), makeObservation({ id: "b", narrative: "nothing of it" })]);
    return (await rank("pottery class"))[0]!.parts.words;
  };
  const plain = await score({ narrative: "the pottery class on the hill" });
  expect(await score({ title: "the pottery class", narrative: "the pottery class on the hill" })).toBe(plain);
  expect(await score({ title: "the pottery class…", narrative: "the pottery class on the hill" })).toBe(plain);
  expect(await score({ title: "the pottery class on the hill" })).toBe(plain);
});

test("a time in a question finds the records of it", async () => {
  const { ids } = await searchIn([
    makeObservation({ id: "march", narrative: "the deploy failed", createdAt: Date.UTC(2026, 2, 3) }),
    makeObservation({ id: "april", narrative: "the deploy failed", createdAt: Date.UTC(2026, 3, 3) }),
    makeObservation({ id: "week", narrative: "the deploy failed", createdAt: NOW - 6 * DAY_MS }),
  ]);
  expect((await ids("why did the deploy fail in March 2026"))[0]).toBe("march");
  expect((await ids("deploy in April"))[0]).toBe("april");
  expect((await ids("deploy last week"))[0]).toBe("week");
  expect((await ids("deploy 2026-03-03"))[0]).toBe("march");
});

test("what is superseded stands behind what has taken its place, and still is found", async () => {
  const { ids } = await searchIn([
    makeObservation({ id: "old", title: "lowdb for sessions", narrative: "lowdb keeps sessions lowdb", supersededBy: "middle" }),
    makeObservation({ id: "middle", title: "another for sessions", narrative: "files", supersededBy: "new" }),
    makeObservation({ id: "new", title: "sqlite", narrative: "changed" }),
    makeObservation({ id: "other", title: "sessions", narrative: "expire" }),
  ]);
  expect((await ids("lowdb sessions")).slice(0, 3)).toEqual(["new", "middle", "old"]);
});

test("a circle of superseded entries ends", async () => {
  const { ids } = await searchIn([
    makeObservation({ id: "a", narrative: "token", supersededBy: "b" }),
    makeObservation({ id: "b", narrative: "token", supersededBy: "a" }),
  ]);
  expect(await ids("token")).toHaveLength(2);
});

test("age tips the scales only: a much better match that is old comes first, and the newest where it is asked for", async () => {
  const { ids, rank } = await searchIn([
    makeObservation({ id: "old", title: "Token refresh in the login", narrative: "The token refresh of the login", createdAt: NOW - 900 * DAY_MS }),
    makeObservation({ id: "new", narrative: "Something about a token, and other things that were seen today", createdAt: NOW }),
    makeObservation({ id: "5", narrative: "the timeout is 5 s", createdAt: NOW - 400 * DAY_MS }),
    makeObservation({ id: "9", narrative: "the timeout is 9 s", createdAt: NOW - 300 * DAY_MS }),
  ]);
  expect((await ids("token refresh login"))[0]).toBe("old");
  expect((await ids("what is the current timeout"))[0]).toBe("9");
  expect((await rank("token")).find(({ id }) => id === "new")!.parts.recency).toBe(1);
  expect((await rank("timeout")).every(({ parts: { recency } }) => recency < 0.01)).toBe(true);
});

test("words and vectors are fused by their ranks, and every hit says why", async () => {
  const { rank } = await searchIn(FIXTURES);
  const hits = await rank("token refresh", {
    vectors: new Map([
      ["cache", 0.9],
      ["logout", 0.8],
      ["gone", 1],
    ]),
  });
  expect(hits[0]).toMatchObject({ id: "logout", parts: { vector: 0.8, recency: expect.any(Number), importance: 0.5 } });
  expect(hits.map(({ id }) => id).sort()).toEqual(["cache", "login", "logout"]);
  // Second of two lists: 61 / 62 of the best there can be.
  expect(hits[0]!.parts.fused).toBeCloseTo(61 / 62);
});

test("the index is kept, and used only when it is whole, of this version and of this project", async () => {
  const { kept, file } = keepFile();
  const first = await openSearchIndex({ project: "p", file });
  expect(first.rebuilt).toBe("missing");
  expect(first.sync("segment-1", "7", FIXTURES)).toBe(true);
  await first.save();
  const again = await openSearchIndex({ project: "p", file });
  expect([again.rebuilt, again.size, again.markOf("segment-1")]).toEqual([undefined, 4, "7"]);
  expect((await openSearchIndex({ project: "q", file })).rebuilt).toBe("outdated");
  const whole = kept.bytes!;
  for (const bytes of [
    whole.subarray(0, whole.length - 9),
    Buffer.from("{}"),
    Buffer.from(""),
    Buffer.from(Buffer.from(whole).toString().replace("login", "logon")),
  ]) {
    kept.bytes = bytes;
    const index = await openSearchIndex({ project: "p", file });
    expect([index.rebuilt, index.size]).toEqual(["damaged", 0]);
  }
});

test("it is brought up to date part by part, and what is forgotten is in no byte of the file", async () => {
  const { kept, file } = keepFile();
  const index = await openSearchIndex({ project: "p", file });
  index.sync("inbox", "1", FIXTURES);
  expect(index.sync("inbox", "1", FIXTURES)).toBe(false);
  await index.save();
  expect(Buffer.from(kept.bytes!).toString()).toContain("tenant");
  // Filed: the archive has them now, the inbox no more.
  index.sync("segment", "1", FIXTURES.slice(0, 3));
  index.sync("inbox", "2", [{ ...FIXTURES[3]!, title: "Refunds", narrative: "A payment is refunded." }]);
  index.remove(["cache"]);
  await index.save();
  const text = Buffer.from(kept.bytes!).toString();
  expect([index.size, text.includes("tenant"), text.includes("refund"), text.includes("retri")]).toEqual([3, false, true, false]);
  index.dropParts(["segment"]);
  expect([index.size, index.parts]).toEqual([1, ["inbox"]]);
});

test("an index that took changes one by one finds what one that was made at once finds", async () => {
  const changed = { ...FIXTURES[1]!, narrative: "The token of a guest." };
  const grown = await searchIn([]);
  grown.index.sync("all", "1", FIXTURES.slice(0, 2));
  grown.index.sync("all", "2", FIXTURES);
  grown.index.sync("all", "3", [FIXTURES[0]!, changed, FIXTURES[2]!, FIXTURES[3]!]);
  const whole = await searchIn([FIXTURES[0]!, changed, FIXTURES[2]!, FIXTURES[3]!]);
  const read = async () => [];
  const query = parseQuery("token guest", NOW);
  const parts = async ({ index }: typeof whole) => (await index.search(query, { read })).map(({ id, words }) => [id, words.toFixed(6)]);
  expect(await parts(grown)).toEqual(await parts(whole));
});
