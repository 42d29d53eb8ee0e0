import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { acquireLock, isRunning, type Lock, ownStart, tryLock } from "../../core/lock.ts";

let dir: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "lock-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

function held(outcome: Lock | { busy: number }): Lock {
  if ("busy" in outcome) throw new Error(`busy: ${outcome.busy}`);
  return outcome;
}

const startOf = (pid: number) => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] as string;
};

test("a lock is free again after its release, and leaves nothing behind", () => {
  held(tryLock(dir)).release();
  held(tryLock(dir)).release();
  expect(readdirSync(dir)).toEqual([]);
});

test("a second contender of the same process is busy, and withdraws its file", () => {
  const lock = held(tryLock(dir));
  expect(tryLock(dir)).toEqual({ busy: process.pid });
  expect(readdirSync(dir)).toHaveLength(1);
  lock.release();
});

test("who waits gets the lock when it is released", async () => {
  const lock = held(tryLock(dir));
  const waiting = acquireLock({ dir, waitMs: 5_000 });
  setTimeout(() => lock.release(), 60);
  held(await waiting).release();
});

test("who has waited long enough learns who holds the lock", async () => {
  const lock = held(tryLock(dir));
  expect(await acquireLock({ dir, waitMs: 100 })).toEqual({ busy: process.pid });
  lock.release();
});

test("the lock of a process that was killed is taken over at once, and its file is gone", async () => {
  const child = spawn("sleep", ["60"]);
  children.push(child);
  const pid = child.pid as number;
  writeFileSync(join(dir, `lock.${pid}.${startOf(pid)}.abc`), "");
  expect(tryLock(dir)).toEqual({ busy: pid });
  child.kill("SIGKILL");
  await once(child, "exit");
  const lock = held(tryLock(dir));
  expect(readdirSync(dir)).toHaveLength(1);
  lock.release();
});

test("a process that got the id of a dead one does not hold its lock", () => {
  writeFileSync(join(dir, `lock.${process.pid}.${Number(ownStart()) + 1}.abc`), "");
  held(tryLock(dir)).release();
});

test("the age of a lock file says nothing: neither a year back nor ahead", () => {
  const lock = held(tryLock(dir));
  const file = join(dir, readdirSync(dir)[0] as string);
  for (const year of [-1, 1]) {
    const at = new Date(Date.now() + year * 365 * 86_400_000);
    utimesSync(file, at, at);
    expect(tryLock(dir)).toEqual({ busy: process.pid });
  }
  lock.release();
});

test("of many contenders at once never two hold the lock", async () => {
  let holders = 0;
  let most = 0;
  const contend = async () => {
    for (let round = 0; round < 5; round++) {
      const lock = held(await acquireLock({ dir, waitMs: 20_000 }));
      most = Math.max(most, ++holders);
      await new Promise((resolve) => setImmediate(resolve));
      holders--;
      lock.release();
    }
  };
  await Promise.all(Array.from({ length: 4 }, contend));
  expect(most).toBe(1);
});

test("a process without a known start counts by its id alone", () => {
  expect(isRunning(process.pid, "0")).toBe(true);
  expect(isRunning(2 ** 22 + 1, "0")).toBe(false);
});
