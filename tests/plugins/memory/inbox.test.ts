import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openParts } from "../../../plugins/memory/memory-parts.ts";
import { type MemoryKit, makeItem, makeObservation, openKit, PROJECT } from "../../fixtures/memory-kit.ts";

let kit: MemoryKit;
beforeEach(async () => {
  kit = await openKit();
});
afterEach(() => kit.close());

const journal = () => {
  const dir = join(kit.dataDir, "projects", PROJECT, "inbox");
  return readdirSync(dir)
    .map((name) => readFileSync(join(dir, name), "utf8"))
    .join("");
};

test("an item is on disk when append returns, and the same call is taken once: while it waits, and after it was worked on", async () => {
  const parts = await kit.open();
  expect([parts.inbox.append(makeItem(1)), parts.inbox.append(makeItem(1)), parts.inbox.append(makeItem(2))]).toEqual([true, false, true]);
  expect(journal()).toContain("ses_1/call_2");
  const other = await kit.open();
  expect(other.inbox.items().map(({ id }) => id)).toEqual(["ses_1/call_1", "ses_1/call_2"]);
  await kit.work(other);
  await parts.refresh();
  expect([parts.inbox.items(), parts.inbox.append(makeItem(1))]).toEqual([[], false]);
});

test("an append writes as much as the item is long, whatever the store holds", async () => {
  const parts = await kit.open();
  for (let number = 0; number < 50; number++) parts.inbox.store.put("observations", `o${number}`, makeObservation(number));
  await parts.inbox.store.sync();
  const dir = join(kit.dataDir, "projects", PROJECT, "inbox");
  const sizeOf = () => readdirSync(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
  const before = sizeOf();
  parts.inbox.append(makeItem(1));
  expect(sizeOf() - before).toBeLessThan(JSON.stringify(makeItem(1)).length + 200);
});

test("skipped calls are counted by reason, of several processes at once, and are folded without losing one", async () => {
  const [one, two] = [await kit.open(), await kit.open()];
  for (const [parts, number] of [
    [one, 1],
    [two, 2],
  ] as const) {
    parts.inbox.skip("excluded");
    parts.inbox.skip("private");
    parts.inbox.append(makeItem(number));
  }
  await one.refresh({ force: true });
  expect(one.inbox.skipped()).toEqual({ excluded: 2, private: 2 });
  one.inbox.prune();
  await one.inbox.store.write();
  two.inbox.skip("private");
  await two.inbox.close();
  const three = await kit.open();
  expect(three.inbox.skipped()).toEqual({ excluded: 2, private: 3 });
});

test("of sessions, uses and keys of done work the youngest are kept, so that the inbox stays small", async () => {
  const { inbox } = await kit.open();
  for (let number = 0; number < 2_100; number++) inbox.store.put("done", `ses_1/call_${number}`, number);
  for (let number = 0; number < 210; number++) inbox.store.put("sessions", `ses_${number}`, { first: "", prompts: 1, tainted: false, at: number });
  inbox.prune();
  expect([Object.keys(inbox.store.all("done")).length, inbox.store.get("done", "ses_1/call_99"), inbox.store.get("done", "ses_1/call_100")]).toEqual([
    2_000,
    undefined,
    100,
  ]);
  expect([Object.keys(inbox.store.all("sessions")).length, inbox.session("ses_9"), inbox.session("ses_209")?.at]).toEqual([200, undefined, 209]);
});

test("what is put while another process has the lock of changes waits for it, and sees what that one has done", async () => {
  const [one, two] = [await kit.open(), await kit.open()];
  const order: string[] = [];
  let release = () => {};
  const held = one.change(async () => {
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    one.inbox.store.put("uses", "o", { count: 1, at: 1 });
    await one.inbox.store.write();
    order.push("one");
  });
  const waiting = two.change(async () => order.push(`two ${two.inbox.store.get("uses", "o")?.count}`));
  await new Promise((resolve) => setImmediate(resolve));
  while (String(release) === "() => {}") await new Promise((resolve) => setImmediate(resolve));
  release();
  await Promise.all([held, waiting]);
  expect(order).toEqual(["one", "two 1"]);
});

test("a change that another process never ends is refused with its number, and nothing has happened", async () => {
  const parts = await openParts({ ...kit.context, lock: async () => ({ busy: 4711 }) }, PROJECT);
  let hasRun = false;
  const change = parts.change(async () => {
    hasRun = true;
  });
  await expect(change).rejects.toMatchObject({ code: "MEMORY_BUSY", message: expect.stringContaining("4711") });
  expect(hasRun).toBe(false);
});
