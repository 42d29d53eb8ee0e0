import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openStore, type Store, type StoreFs, type StoreOptions, type StoreRecovery } from "../../core/store.ts";

type Items = { item: unknown; hot: string };

let root: string;
let dir: string;
const children = new Set<ChildProcess>();

beforeEach(() => {
  root = fs.mkdtempSync(join(tmpdir(), "store-"));
  dir = join(root, "a", "store");
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
  fs.rmSync(root, { recursive: true, force: true });
});

const open = (options: Partial<StoreOptions<Items>> = {}): Promise<Store<Items>> =>
  openStore<Items>({ dir, version: 1, defaults: { item: {}, hot: {} }, ...options });

async function openReported(options: Partial<StoreOptions<Items>> = {}): Promise<{ store: Store<Items>; reports: StoreRecovery[] }> {
  const reports: StoreRecovery[] = [];
  return { store: await open({ ...options, onRecovered: (recovery) => reports.push(recovery) }), reports };
}

async function fill(count: number, options: Partial<StoreOptions<Items>> = {}): Promise<void> {
  const store = await open(options);
  for (let index = 0; index < count; index++) {
    store.put("item", `k${index}`, { index, text: `value ${index} äöü` });
    await store.write();
  }
  await store.close();
}

/** More garbage than a small journal may have, so the next sync compacts. */
async function compact(store: Store<Items>): Promise<void> {
  for (let round = 0; round < 40; round++) {
    store.put("hot", "h", String(round).padEnd(4000, "x"));
    await store.write();
  }
  await store.sync();
}

const contentOf = (path: string) => new Map(fs.readdirSync(path).map((name) => [name, fs.readFileSync(join(path, name), "base64")]));
const namesIn = (path: string, pattern: RegExp) => fs.readdirSync(path).filter((name) => pattern.test(name));

test("what was put and written is there after opening again, in order", async () => {
  await fill(3);
  const store = await open();
  store.remove("item", "k1");
  await store.close();
  expect(Object.keys((await open()).all("item"))).toEqual(["k0", "k2"]);
});

test("opening and reading make no directory; the first write does, for nobody else to read", async () => {
  const store = await open();
  store.put("item", "a", 1);
  expect(store.get("item", "a")).toBe(1);
  expect(fs.existsSync(join(root, "a"))).toBe(false);
  await compact(store);
  await store.close();
  for (const path of [join(root, "a"), dir]) expect(fs.statSync(path).mode & 0o777).toBe(0o700);
  for (const name of fs.readdirSync(dir)) expect(fs.statSync(join(dir, name)).mode & 0o777).toBe(0o600);
});

test("what is too deep, too long, not JSON or reaches for a prototype is refused at the door, and the next save still works", async () => {
  const store = await open();
  let deep: unknown = 1;
  for (let level = 0; level < 201; level++) deep = [deep];
  const circle: unknown[] = [];
  circle.push(circle);
  for (const value of [
    deep,
    circle,
    "x".repeat(8 * 1024 * 1024),
    JSON.parse('{"a":{"__proto__":{"b":1}}}'),
    { constructor: 1 },
    undefined,
    1n,
    new Uint8Array(1),
  ]) {
    expect(() => store.put("item", "bad", value)).toThrow(expect.objectContaining({ code: "STORE_REFUSED" }));
  }
  expect(() => store.put("item", "__proto__", 1)).toThrow(expect.objectContaining({ code: "STORE_REFUSED" }));
  store.put("item", "good", "x".repeat(7 * 1024 * 1024));
  await store.close();
  expect(Object.keys((await open()).all("item"))).toEqual(["good"]);
});

test("a journal is compacted when half of it is out of date, and then three journals and two snapshots are kept at most", async () => {
  const store = await open();
  store.put("item", "keep", { deep: ["ä"] });
  for (let round = 0; round < 5; round++) await compact(store);
  await store.close();
  expect(namesIn(dir, /^snapshot/).sort()).toEqual(["snapshot.4", "snapshot.5"]);
  expect(namesIn(dir, /^journal/).length).toBeLessThanOrEqual(3);
  expect(namesIn(dir, /tmp|lock|corrupt/)).toEqual([]);
  const again = await open();
  expect([again.get("item", "keep"), again.get("hot", "h")?.slice(0, 2)]).toEqual([{ deep: ["ä"] }, "39"]);
});

test("a journal without garbage is compacted at 4 MB, and after that only when it is larger than its snapshot", async () => {
  const store = await open();
  const text = "x".repeat(100_000);
  const snapshots: number[] = [];
  for (let index = 0; index < 130; index++) {
    store.put("item", `k${index}`, text);
    await store.sync();
    snapshots.push(Math.max(0, ...namesIn(dir, /^snapshot/).map((name) => Number(name.split(".")[1]))));
  }
  await store.close();
  expect([snapshots[40], snapshots[42], snapshots[80], snapshots.at(-1)]).toEqual([0, 1, 1, 2]);
});

test("a journal that ends in the middle of a record, at whatever byte, gives all records before it, and is reported once", async () => {
  await fill(8);
  const bytes = fs.readFileSync(join(dir, "journal.0"));
  for (let cut = 0; cut < bytes.length; cut++) {
    fs.rmSync(dir, { recursive: true });
    fs.mkdirSync(dir);
    fs.writeFileSync(join(dir, "journal.0"), bytes.subarray(0, cut));
    const { store, reports } = await openReported({ access: "exclusive" });
    const kept = Object.keys(store.all("item"));
    const complete = bytes
      .subarray(0, cut)
      .toString("latin1")
      .split("\n")
      .filter((line) => line.endsWith("]]}")).length;
    expect(kept).toEqual(Array.from({ length: complete }, (_, index) => `k${index}`));
    expect(reports.map(({ kept, lost, quarantine }) => ({ kept, lost, quarantine }))).toEqual(
      reports.length ? [{ kept: complete, lost: 1, quarantine: undefined }] : [],
    );
    store.put("item", "next", cut);
    await store.write();
    await store.close();
    if (cut % 5 > 0) continue;
    const again = await openReported({ access: "exclusive" });
    expect([again.reports, Object.keys(again.store.all("item"))]).toEqual([[], [...kept, "next"]]);
  }
});

test("a flipped bit costs the records it stands in and no other, is reported once and kept once", async () => {
  await fill(8);
  const bytes = fs.readFileSync(join(dir, "journal.0"));
  for (let at = 0; at < bytes.length; at += 3) {
    fs.rmSync(dir, { recursive: true });
    fs.mkdirSync(dir);
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] as number) ^ (1 << (at % 8));
    fs.writeFileSync(join(dir, "journal.0"), flipped);
    const { store, reports } = await openReported();
    const items = Object.entries(store.all("item"));
    for (const [id, value] of items) expect(value).toMatchObject({ index: Number(id.slice(1)), text: `value ${id.slice(1)} äöü` });
    expect([items.length, reports.length]).toEqual([7, 1]);
    const copy = reports[0]?.quarantine;
    if (copy) expect(fs.readFileSync(copy)).toEqual(flipped);
    await store.close();
    const again = await openReported();
    expect([again.reports, Object.keys(again.store.all("item")).length]).toEqual([[], items.length]);
    expect(namesIn(dir, /corrupt/).length).toBeLessThanOrEqual(1);
  }
});

test.each([
  ["empty", ""],
  ["zeros", "\0".repeat(500)],
  ["a web page", "<html>\n<body>\nJust a moment…\n</body>\n</html>\n"],
  ["a byte order mark", "\ufeff"],
  ["bytes that are not UTF-8", Buffer.from([10, 0xff, 0xfe, 10])],
])("a store whose journal is %s starts and can be used", async (_, content) => {
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(join(dir, "journal.0"), content);
  const store = await open();
  store.put("item", "a", 1);
  await store.close();
  expect((await open()).get("item", "a")).toBe(1);
});

test("at most three damaged files are kept aside", async () => {
  for (let round = 0; round < 5; round++) {
    await fill(1);
    fs.appendFileSync(join(dir, "journal.0"), `\ndamage ${round}\n`);
    await (await open()).close();
  }
  expect(namesIn(dir, /^journal\.0\.corrupt-[0-9a-f]{8}$/)).toHaveLength(3);
});

test("a damaged newest snapshot costs nothing: the one before and the journals have it all", async () => {
  const store = await open();
  store.put("item", "first", 1);
  await compact(store);
  store.put("item", "second", 2);
  store.remove("item", "first");
  await compact(store);
  store.put("item", "third", 3);
  await store.close();
  const path = join(dir, "snapshot.2");
  for (const damage of [(bytes: Buffer) => bytes.subarray(0, bytes.length / 2), () => Buffer.alloc(0), (bytes: Buffer) => bytes.fill(0, 20, 24)]) {
    const good = fs.readFileSync(path);
    fs.writeFileSync(path, damage(Buffer.from(good)));
    const { store: mended, reports } = await openReported({ access: "read" });
    expect(mended.all("item")).toEqual({ second: 2, third: 3 });
    expect(reports.map(({ lost }) => lost)).toEqual([0]);
    fs.writeFileSync(path, good);
  }
});

test.each(["journal", "snapshot"])("a store whose %s is of a newer version is refused and stays as it is", async (kind) => {
  const newer = await open({ version: 2 });
  newer.put("item", "a", 1);
  if (kind === "snapshot") await compact(newer);
  await newer.close();
  if (kind === "snapshot") for (const name of namesIn(dir, /^journal/)) fs.rmSync(join(dir, name));
  fs.appendFileSync(join(dir, "journal.1"), "\ndamage\n");
  const before = contentOf(dir);
  await expect(open()).rejects.toMatchObject({ code: "STORE_NEWER", exit: 7, data: { version: 2 } });
  expect(contentOf(dir)).toEqual(before);
});

/** `node:fs` whose every call may be watched, and fail, before it happens. */
function watchedFs(watch: (name: string, args: unknown[]) => void): StoreFs {
  return new Proxy(fs, {
    get(target, name: string) {
      const original = target[name as keyof typeof fs];
      if (typeof original !== "function") return original;
      return (...args: unknown[]) => {
        watch(name, args);
        return (original as (...args: unknown[]) => unknown)(...args);
      };
    },
  }) as unknown as StoreFs;
}

const failure = (code: string) => Object.assign(new Error(`${code}: made up`), { code });

/** Opens, writes, compacts, writes; returns what was acknowledged: written while the store said that it is persisted. */
async function runScenario(fake: StoreFs): Promise<string[]> {
  const acknowledged: string[] = [];
  const store = await open({ fs: fake });
  for (let round = 0; round < 4; round++) {
    store.put("item", `r${round}`, round);
    await store.write();
    if (store.persisted) for (let earlier = 0; earlier <= round; earlier++) acknowledged.push(`r${earlier}`);
    if (round === 1) await compact(store);
    else await store.sync();
  }
  await store.close();
  return acknowledged;
}

test.each([
  "once",
  "from then on",
])("whichever call to the disk fails %s, nothing is thrown, nothing acknowledged is lost, no temporary file stays", async (mode) => {
  let calls = 0;
  await runScenario(watchedFs(() => calls++));
  expect(calls).toBeGreaterThan(100);
  for (let failing = 0; failing < calls; failing += failing < 60 || failing > calls - 60 ? 1 : 7) {
    fs.rmSync(join(root, "a"), { recursive: true, force: true });
    let call = 0;
    const acknowledged = await runScenario(
      watchedFs(() => {
        if (call++ === failing || (mode !== "once" && call > failing)) throw failure("EIO");
      }),
    );
    const items = (await open()).all("item");
    expect(acknowledged.filter((id) => !(id in items))).toEqual([]);
    if (fs.existsSync(dir)) {
      if (mode === "once") expect(Object.keys(items)).toEqual(["r0", "r1", "r2", "r3"]);
      expect(namesIn(dir, /tmp$/).filter((name) => !name.includes(`.${process.pid}.`))).toEqual([]);
    }
  }
});

test("a full disk is said once, the store goes on in memory, and writes what is missing as soon as it can", async () => {
  let isFull = false;
  const degraded: string[] = [];
  const recovered: StoreRecovery[] = [];
  const full = new Proxy(fs, {
    get(target, name: keyof typeof fs) {
      if (name !== "writeSync" || !isFull) return target[name];
      return (fd: number, bytes: Buffer) => {
        if (degraded.length > 0) throw failure("ENOSPC");
        // As a disk does it: what still fits is written, then nothing.
        return fs.writeSync(fd, bytes, 0, 20);
      };
    },
  }) as unknown as StoreFs;
  const store = await open({ fs: full, onDegraded: ({ reason }) => degraded.push(reason), onRecovered: (recovery) => recovered.push(recovery) });
  store.put("item", "before", 0);
  await store.write();
  isFull = true;
  for (let index = 0; index < 3; index++) {
    store.put("item", `during${index}`, index);
    await store.write();
  }
  expect([degraded.length, store.persisted, store.get("item", "during2")]).toEqual([1, false, 2]);
  isFull = false;
  store.put("item", "after", 1);
  await store.write();
  expect([store.persisted, recovered]).toEqual([true, [{ path: dir, kept: 4, lost: 0 }]]);
  await store.close();
  const again = await openReported();
  expect([Object.keys(again.store.all("item")), again.reports]).toEqual([["before", "during0", "during1", "during2", "after"], []]);
});

test("after a sync that failed everything since the last good one is written again", async () => {
  let failing = false;
  const store = await open({
    fs: watchedFs((name) => {
      if (failing && name.startsWith("fdatasync")) throw failure("EIO");
    }),
  });
  store.put("item", "a", 1);
  failing = true;
  await store.sync();
  expect(store.persisted).toBe(false);
  fs.truncateSync(join(dir, "journal.0"), 0);
  failing = false;
  await store.sync();
  expect([store.persisted, (await open()).get("item", "a")]).toEqual([true, 1]);
  await store.close();
});

test("links that were planted where the store writes are not followed", async () => {
  const victim = join(root, "victim");
  fs.writeFileSync(victim, "untouched");
  fs.mkdirSync(dir, { recursive: true });
  fs.symlinkSync(victim, join(dir, "journal.0"));
  const degraded: unknown[] = [];
  const store = await open({ onDegraded: (event) => degraded.push(event) });
  expect(store.unreadable).toContain("ELOOP");
  store.put("item", "a", 1);
  await store.close();
  expect([degraded.length, store.persisted]).toEqual([1, false]);

  fs.unlinkSync(join(dir, "journal.0"));
  let planted = 0;
  const planting = watchedFs((name, [path]) => {
    if (name !== "openSync" || !String(path).endsWith(".tmp")) return;
    fs.symlinkSync(victim, String(path));
    planted++;
  });
  const other = await open({ fs: planting });
  other.put("item", "b", 2);
  await compact(other);
  await other.close();
  expect([planted, namesIn(dir, /^snapshot\.1$/)]).toEqual([1, []]);
  expect(fs.readFileSync(victim, "utf8")).toBe("untouched");
  expect((await open()).get("item", "b")).toBe(2);
});

test("an unfinished snapshot of a process that is gone is removed at the next start", async () => {
  await fill(1);
  fs.writeFileSync(join(dir, "snapshot.1.4194305.77.abcdefgh.tmp"), "half");
  const store = await open();
  expect(namesIn(dir, /tmp$/)).toEqual([]);
  expect(Object.keys(store.all("item"))).toEqual(["k0"]);
});

test("a reader writes nothing, whatever it finds", async () => {
  await fill(2);
  fs.appendFileSync(join(dir, "journal.0"), "\ndamage\n\nhalf a rec");
  const before = contentOf(dir);
  const { store, reports } = await openReported({ access: "read" });
  store.put("item", "x", 1);
  await store.close();
  expect(reports).toMatchObject([{ kept: 2 }]);
  expect(contentOf(dir)).toEqual(before);
});

test("a store that compacts loses nothing of another that appends: before, in the middle, and generations later", async () => {
  const slow = await open();
  slow.put("item", "early", 1);
  await slow.write();
  let met = 0;
  const busy = await open({
    fs: watchedFs((name) => {
      // The snapshot has been made from what was read; this record comes too late for it.
      if (name !== "renameSync") return;
      slow.put("item", `late${met++}`, met);
      void slow.write();
    }),
  });
  for (let round = 0; round < 4; round++) await compact(busy);
  expect(met).toBe(4);
  const quiet = await open();
  for (let round = 0; round < 4; round++) await compact(busy);
  quiet.put("item", "quiet", 1);
  await quiet.write();
  await busy.refresh();
  const expected = ["early", ...Array.from({ length: 8 }, (_, index) => `late${index}`), "quiet"].sort();
  expect(Object.keys(busy.all("item")).sort()).toEqual(expected);
  for (const store of [slow, busy, quiet]) await store.close();
  const { store, reports } = await openReported();
  expect([Object.keys(store.all("item")).sort(), reports]).toEqual([expected, []]);
});

test("files that are removed under a running store are written again", async () => {
  const store = await open();
  store.put("item", "a", 1);
  await store.write();
  fs.rmSync(dir, { recursive: true });
  store.put("item", "b", 2);
  await store.write();
  expect(store.persisted).toBe(true);
  await store.close();
  expect((await open()).all("item")).toEqual({ a: 1, b: 2 });
});

const writer = fileURLToPath(new URL("../fixtures/store-writer.ts", import.meta.url));

/** Four processes write to one place until they are killed, some moments after they have saved enough; returns what they said was saved. */
async function writeUntilKilled(kind: "journal" | "lowdb", path: string, isEnough: (saved: number) => boolean): Promise<string[]> {
  const acknowledged: string[] = [];
  const name = `${kind}-${Math.random().toString(36).slice(2)}`;
  const running = Array.from({ length: 4 }, (_, index) => {
    const child = spawn(process.execPath, ["--import", "tsx", writer, kind, path, `${name}-${index}`], { stdio: ["ignore", "pipe", "inherit"] });
    children.add(child);
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    const first = once(child.stdout, "data");
    const ended = once(child, "close").then(() => acknowledged.push(...text.split("\n").slice(0, -1)));
    return { child, first, ended, countSaved: () => text.split("\n").length - 1 };
  });
  await Promise.all(running.map(({ first }) => first));
  const countSaved = () => running.reduce((sum, each) => sum + each.countSaved(), 0);
  while (!isEnough(countSaved())) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const { child } of running) {
    await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 150));
    child.kill("SIGKILL");
  }
  await Promise.all(running.map(({ ended }) => ended));
  return acknowledged;
}

test("four processes write to one store and are killed at any moment: all that was acknowledged is there", async () => {
  const acknowledged: string[] = [];
  const newest = () => Math.max(0, ...namesIn(dir, /^snapshot\.\d+$/).map((name) => Number(name.split(".")[1])));
  for (const compactions of [1, 3]) acknowledged.push(...(await writeUntilKilled("journal", dir, (saved) => saved > 100 && newest() >= compactions)));
  const items = (await open()).all("item");
  expect(acknowledged.length).toBeGreaterThan(200);
  expect(acknowledged.filter((id) => !(id in items))).toEqual([]);
  expect(newest()).toBeGreaterThan(2);
  expect(namesIn(dir, /tmp$/)).toEqual([]);
});

test("plain lowdb in the same place loses what it acknowledged, which is why there is a store", async () => {
  const path = join(root, "lowdb.json");
  const acknowledged = await writeUntilKilled("lowdb", path, (saved) => saved > 100);
  let items: Record<string, number> = {};
  try {
    items = JSON.parse(fs.readFileSync(path, "utf8")).item;
  } catch {
    // Torn: nothing at all is left.
  }
  expect(acknowledged.filter((id) => !(id in items)).length).toBeGreaterThan(0);
});

test("directories are made one by one: where a file system takes none, the store gives up at once", async () => {
  const noEntry = Object.assign(new Error("ENOENT: no such file or directory, mkdir"), { code: "ENOENT" });
  const refusing = watchedFs((name, [, options]) => {
    // With `recursive` Node 20 asks /proc again and again, without end.
    if (name === "mkdirSync") throw (options as { recursive?: boolean }).recursive ? new Error("recursive") : noEntry;
  });
  const degraded: string[] = [];
  const store = await open({ fs: refusing, onDegraded: ({ reason }) => degraded.push(reason) });
  store.put("item", "a", 1);
  await store.close();
  expect(degraded).toEqual([noEntry.message]);
});

const holdsSecret = (path: string) => fs.readdirSync(path).some((name) => fs.readFileSync(join(path, name)).includes("tell-nobody"));

test("what was removed or replaced stands in no file any more when a store has been erased: no generation, no copy, no leftover", async () => {
  await fill(3);
  fs.appendFileSync(join(dir, "journal.0"), "\ndamaged tell-nobody\n");
  const { store, reports } = await openReported();
  expect(reports[0]?.quarantine).toBeDefined();
  for (let round = 0; round < 3; round++) {
    store.put("item", "private", `tell-nobody ${round}`);
    store.put("item", "k1", `tell-nobody ${round}`);
    await compact(store);
  }
  fs.writeFileSync(join(dir, `snapshot.9.${process.pid}.1.abcdefgh.tmp`), "half of tell-nobody");
  store.remove("item", "private");
  store.put("item", "k1", "open");
  expect(holdsSecret(dir)).toBe(true);
  expect(await store.erase()).toBe(true);
  expect([holdsSecret(dir), namesIn(dir, /tmp|lock|corrupt/)]).toEqual([false, []]);
  store.put("item", "after", 1);
  await store.close();
  const again = await openReported();
  expect([Object.keys(again.store.all("item")), again.store.get("item", "k1"), again.reports]).toEqual([["k0", "k1", "k2", "after"], "open", []]);
});

test("what other processes append while a store is erased is kept", async () => {
  const other = await open();
  other.put("item", "private", "tell-nobody");
  await other.write();
  let met = 0;
  const erasing = await open({
    fs: watchedFs((name) => {
      // Before each snapshot takes its place, and before each file of old is gone: too late for what was read.
      if (name !== "renameSync" && name !== "unlinkSync") return;
      other.put("item", `late${met++}`, met);
      void other.write();
    }),
  });
  erasing.remove("item", "private");
  expect(await erasing.erase()).toBe(true);
  expect(met).toBeGreaterThan(5);
  const late = Array.from({ length: met }, (_, index) => `late${index}`).sort();
  for (const store of [other, erasing]) await store.close();
  const { store, reports } = await openReported();
  expect([Object.keys(store.all("item")).sort(), reports, holdsSecret(dir)]).toEqual([late, [], false]);
});

test("a store that is killed at any step of erasing has what it had, and can be erased again", async () => {
  const killed = new Error("killed");
  for (let step = 0; ; step++) {
    fs.rmSync(dir, { recursive: true, force: true });
    await fill(3);
    let steps = -1;
    const store = await open({
      fs: watchedFs((name) => {
        if (steps >= 0 && ["openSync", "writeSync", "fsyncSync", "renameSync", "unlinkSync"].includes(name) && steps++ >= step) throw killed;
      }),
    });
    store.put("item", "private", "tell-nobody");
    await store.sync();
    store.remove("item", "private");
    await store.sync();
    steps = 0;
    const erased = await store.erase();
    // What a dead process leaves; that of a living one is somebody's.
    for (const name of namesIn(dir, /^lock/)) fs.unlinkSync(join(dir, name));
    const { store: again, reports } = await openReported();
    expect([Object.keys(again.all("item")), reports.map(({ lost }) => lost)]).toEqual([["k0", "k1", "k2"], []]);
    expect([await again.erase(), holdsSecret(dir)]).toEqual([true, false]);
    await again.close();
    if (!erased) continue;
    expect(step).toBeGreaterThan(20);
    break;
  }
});

test("a store without files has nothing to erase, one that may not write or whose disk takes nothing says that it has not", async () => {
  expect([await (await open()).erase(), fs.existsSync(dir)]).toEqual([true, false]);
  await fill(1);
  expect(await (await open({ access: "read" })).erase()).toBe(false);
  const full = await open({
    fs: watchedFs((name, [path]) => {
      if (name === "openSync" && String(path).endsWith(".tmp")) throw failure("ENOSPC");
    }),
  });
  expect(await full.erase()).toBe(false);
  expect(Object.keys((await open()).all("item"))).toEqual(["k0"]);
});
