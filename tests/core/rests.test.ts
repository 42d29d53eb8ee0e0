import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createRests } from "../../core/rests.ts";
import type { Rest } from "../../core/route.ts";
import { openStore } from "../../core/store.ts";
import { readAll } from "../cli/command.ts";

const scratches: string[] = [];
afterEach(() => {
  for (const scratch of scratches.splice(0)) rmSync(scratch, { recursive: true, force: true });
});

function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), "agent-rests-"));
  scratches.push(path);
  return path;
}

const NOW = 1_000_000;
const open = (dir: string, now = NOW) => createRests({ dir, redact: (text) => text.replaceAll("sk-secret", "[redacted]"), now: () => now });
const rest = (over: Partial<Rest> = {}): Rest => ({ until: NOW + 30_000, at: NOW, failures: 1, error: { code: "OVERLOADED", message: "busy" }, ...over });

test("a rest is known to the runs that follow and to those that run already", async () => {
  const dir = join(scratch(), "routes");
  const [first, other] = [open(dir), open(dir)];
  expect(await other.get("p/b")).toBeUndefined();
  await first.put("p/a", () => rest());
  await other.put("p/a", (last) => rest({ failures: (last?.failures ?? 0) + 1 }));
  await Promise.all([first.close(), other.close()]);
  const next = open(dir);
  expect(await next.get("p/a")).toEqual(rest({ failures: 2 }));
  await next.clear("p/a", NOW - 1);
  expect(await next.get("p/a")).toBeDefined();
  await next.clear("p/a", NOW);
  await next.close();
  expect(await open(dir).get("p/a")).toBeUndefined();
});

test("what other runs note is known a second later to one that has read before, and is read once a second at most", async () => {
  const dir = join(scratch(), "routes");
  const clock = { now: NOW };
  const long = createRests({ dir, redact: (text) => text, now: () => clock.now });
  expect(await long.get("p/a")).toBeUndefined();
  const other = open(dir);
  await other.put("p/a", () => rest());
  clock.now += 999;
  expect(await long.get("p/a")).toBeUndefined();
  clock.now += 1;
  expect(await long.get("p/a")).toEqual(rest());
  await other.clear("p/a", NOW);
  clock.now += 1000;
  expect(await long.get("p/a")).toBeUndefined();
  await Promise.all([long.close(), other.close()]);
});

test("an answer does not end the row where another run has failed since it was asked", async () => {
  const dir = join(scratch(), "routes");
  const [first, other] = [open(dir), open(dir)];
  await first.put("p/a", () => rest());
  await other.put("p/a", () => rest({ at: NOW + 2, failures: 2 }));
  await first.clear("p/a", NOW + 1);
  expect(await other.get("p/a")).toMatchObject({ failures: 2 });
  await Promise.all([first.close(), other.close()]);
  expect(await open(dir).get("p/a")).toMatchObject({ failures: 2 });
});

test("an answer ends the row that another run has noted, though nothing was asked before", async () => {
  const dir = join(scratch(), "routes");
  const first = open(dir);
  await first.put("p/a", () => rest());
  await first.close();
  const alone = open(dir);
  await alone.clear("p/a", NOW);
  await alone.close();
  expect(await open(dir).get("p/a")).toBeUndefined();
});

test("where nothing fails nothing is written, and an answer alone reads nothing", async () => {
  const dir = join(scratch(), "routes");
  const rests = open(dir);
  await rests.clear("p/a", NOW);
  await rests.get("p/a");
  await rests.clear("p/a", NOW);
  await rests.close();
  expect(existsSync(dir)).toBe(false);
});

test("what is stored holds no secret and is not longer than it need be", async () => {
  const dir = join(scratch(), "routes");
  const rests = open(dir);
  await rests.put("p/a", () => rest({ error: { code: "OVERLOADED", message: `sk-secret ${"x".repeat(100_000)}` } }));
  await rests.close();
  expect(readAll(dir)).not.toContain("sk-secret");
  expect(readAll(dir).length).toBeLessThan(2000);
});

test("a row of failures is forgotten an hour after its last rest, and what is long over leaves the store", async () => {
  const dir = join(scratch(), "routes");
  const first = open(dir);
  await first.put("p/a", () => rest());
  await first.close();
  expect(await open(dir, NOW + 3_600_000).get("p/a")).toBeDefined();
  const later = open(dir, NOW + 3_630_001);
  expect(await later.get("p/a")).toBeUndefined();
  await later.put("p/b", () => rest({ until: NOW + 4_000_000 }));
  await later.close();
  expect(Object.keys((await openStore<{ rests: Rest }>({ dir, version: 1, defaults: { rests: {} } })).all("rests"))).toEqual(["p/b"]);
});

test("a rest that no run can have noted is none", async () => {
  const dir = join(scratch(), "routes");
  const store = await openStore<{ rests: unknown }>({ dir, version: 1, defaults: { rests: {} } });
  const strange = [rest({ until: NOW + 86_400_001 }), null, "x", [], { until: NOW + 1 }, { ...rest(), error: "x" }, { ...rest(), failures: "9" }];
  for (const [index, value] of strange.entries()) store.put("rests", `p/${index}`, value);
  await store.close();
  const rests = open(dir);
  for (const index of strange.keys()) expect(await rests.get(`p/${index}`)).toBeUndefined();
});

test("a store that cannot be read or written costs the memory of it and nothing else", async () => {
  const folder = scratch();
  writeFileSync(join(folder, "file"), "no directory");
  mkdirSync(join(folder, "newer"));
  const newer = await openStore<{ rests: Rest }>({ dir: join(folder, "newer"), version: 2, defaults: { rests: {} } });
  newer.put("rests", "p/a", rest());
  await newer.close();
  const before = readAll(join(folder, "newer"));
  for (const dir of [join(folder, "file"), join(folder, "newer")]) {
    const rests = open(dir);
    expect(await rests.get("p/b")).toBeUndefined();
    await rests.put("p/b", () => rest());
    expect(await rests.get("p/b")).toEqual(rest());
    await rests.clear("p/b", NOW);
    await rests.close();
  }
  expect([readFileSync(join(folder, "file"), "utf8"), readAll(join(folder, "newer"))]).toEqual(["no directory", before]);
});
