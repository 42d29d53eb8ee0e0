import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { fileFresh, readAll } from "../../../plugins/memory/memory-parts.ts";
import { type MemoryKit, makeObservation, openKit, PROJECT } from "../../fixtures/memory-kit.ts";

let kit: MemoryKit;
beforeEach(async () => {
  kit = await openKit();
});
afterEach(() => kit.close());

const filing = (...numbers: number[]) => numbers.map((number) => ({ observation: makeObservation(number), replaces: false }));
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
const archiveDir = () => join(kit.dataDir, "projects", PROJECT, "archive");
const segmentsIn = () => readdirSync(archiveDir()).filter((name) => /^\d+$/.test(name));
const idsOf = async (project = PROJECT) => [...(await readAll(await kit.open(project))).values()].map(({ title }) => title);

test("observations are filed into segments of a thousand, the newest is filled up first", async () => {
  const { archive } = await kit.open();
  await archive.file(filing(...range(0, 900)));
  await archive.file(filing(...range(900, 2_100)));
  expect(segmentsIn().sort()).toEqual(["1", "2", "3"]);
  const counts = [];
  for await (const { observations } of archive.all()) counts.push(Object.keys(observations).length);
  expect([counts, new Set(await idsOf()).size]).toEqual([[1_000, 1_000, 100], 2_100]);
});

test("what is filed once more is there once, also when the catalogue is gone, and keeps from which calls it came", async () => {
  const { archive } = await kit.open();
  await archive.file(filing(1, 2, 3));
  await archive.file(filing(2, 3, 4));
  writeFileSync(join(archiveDir(), "catalogue", "journal.0"), "");
  const again = (await kit.open()).archive;
  await again.file([...filing(1), { observation: makeObservation(4, { callId: "call_9" }), replaces: false }]);
  expect(await idsOf()).toEqual(["observation 1", "observation 2", "observation 3", "observation 4"]);
  const [said] = await again.find(new Set([makeObservation(4).id]));
  expect(said?.merged).toEqual([{ id: said?.id, title: "observation 4", sessionId: "ses_1", callId: "call_9", createdAt: said?.createdAt }]);
});

test("what cannot be filed is refused with the place that takes nothing", async () => {
  const { archive } = await kit.open();
  mkdirSync(join(archiveDir(), "1"), { recursive: true });
  writeFileSync(join(archiveDir(), "catalogue"), "a file in the way");
  await expect(archive.file(filing(1))).rejects.toMatchObject({ code: "STORE_UNWRITABLE", message: expect.stringContaining(archiveDir()) });
});

test("one that was changed takes the place of the one with its id, in its segment", async () => {
  const { archive } = await kit.open();
  await archive.file(filing(...range(0, 1_001)));
  await archive.file([{ observation: { ...makeObservation(5), importance: 0.9 }, replaces: true }]);
  expect((await archive.segment("1"))[makeObservation(5).id]?.importance).toBe(0.9);
  expect(await idsOf()).toHaveLength(1_001);
});

test("segments are read when they are asked for and again when their files have changed", async () => {
  const [one, two] = [(await kit.open()).archive, (await kit.open()).archive];
  await one.file(filing(1));
  const before = await two.segment("1");
  expect(await two.segment("1")).toBe(before);
  await one.file(filing(2));
  expect(Object.keys(await two.segment("1"))).toHaveLength(2);
});

test("a filing that was killed between the archive and the inbox leaves nothing twice, and is done again", async () => {
  const parts = await kit.open();
  for (const number of range(0, 20)) parts.inbox.store.put("observations", makeObservation(number).id, makeObservation(number));
  await parts.inbox.store.write();
  // The archive has them, the inbox still does.
  await parts.archive.file(filing(...range(0, 20)));
  const after = await kit.open();
  expect(await idsOf()).toHaveLength(20);
  await after.change(() => fileFresh(after));
  expect([Object.keys(after.inbox.store.all("observations")), await idsOf()].map((list) => list.length)).toEqual([0, 20]);
});

test("segments whose sessions are others are not read to file or to find", async () => {
  const { archive } = await kit.open();
  await archive.file(range(0, 1_000).map((number) => ({ observation: makeObservation(number, { sessionId: "ses_old" }), replaces: false })));
  await archive.file(filing(1));
  for (const name of readdirSync(join(archiveDir(), "1"))) writeFileSync(join(archiveDir(), "1", name), "damaged");
  const again = (await kit.open()).archive;
  const damage = () => readFileSync(join(archiveDir(), "1", readdirSync(join(archiveDir(), "1"))[0] as string), "utf8");
  await again.file(filing(2));
  expect((await again.find(new Set([makeObservation(1).id]), ["ses_1"])).length).toBe(1);
  expect([damage(), readdirSync(join(archiveDir(), "1")).length]).toEqual(["damaged", 1]);
});

test("the youngest are listed from the youngest segment on", async () => {
  const { archive } = await kit.open();
  await archive.file(filing(...range(5_000, 6_000)));
  await archive.file(filing(1));
  const order = [];
  for await (const { newest } of archive.youngest()) order.push(newest);
  expect(order).toEqual([makeObservation(5_999).createdAt, makeObservation(1).createdAt]);
});
