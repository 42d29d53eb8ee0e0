import { randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomLetters } from "./id.ts";

export type LockFs = Pick<typeof nodeFs, "openSync" | "closeSync" | "readdirSync" | "unlinkSync">;

export interface Lock {
  release(): void;
}

/** Somebody else holds it: the process `busy`. */
export interface Busy {
  busy: number;
}

const LOCK_FILE = /^lock\.(\d+)\.(\d+)\.[0-9A-Za-z]+$/;

/**
 * Takes the exclusive lock of an existing directory, or says who has it. A contender first creates its file and then
 * looks for others: of two that come at once, at least one sees the other. A lock is as alive as its process, whatever
 * the clock says; files of dead processes are removed by whoever finds them. Throws what the file system throws.
 */
export function tryLock(dir: string, fs: LockFs = nodeFs): Lock | Busy {
  const name = `lock.${process.pid}.${ownStart()}.${randomLetters(8, randomBytes)}`;
  const path = join(dir, name);
  const { O_CREAT, O_EXCL, O_WRONLY } = nodeFs.constants;
  fs.closeSync(fs.openSync(path, O_CREAT | O_EXCL | O_WRONLY, 0o600));
  try {
    const busy = findHolder(dir, name, fs);
    if (busy === undefined) return { release: () => removeFile(path, fs) };
    removeFile(path, fs);
    return { busy };
  } catch (error) {
    removeFile(path, fs);
    throw error;
  }
}

/** As `tryLock`, again and again with random pauses for `waitMs`. */
export async function acquireLock(options: { dir: string; waitMs: number; fs?: LockFs }): Promise<Lock | Busy> {
  const deadline = performance.now() + options.waitMs;
  for (;;) {
    const outcome = tryLock(options.dir, options.fs);
    if (!("busy" in outcome) || performance.now() >= deadline) return outcome;
    await sleep(5 + Math.random() * 45);
  }
}

/** Whether that very process still runs: a process id that was given to another since does not count. */
export function isRunning(pid: number, start: string): boolean {
  if (start !== "0") return readStart(pid) === start;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

let start: string | undefined;

/** When this process started, in clock ticks since boot; "0" where the system does not tell. */
export function ownStart(): string {
  start ??= readStart(process.pid) ?? "0";
  return start;
}

function readStart(pid: number): string | undefined {
  try {
    const stat = nodeFs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name in brackets may hold anything; what follows it starts with field 3, the state. Field 22 is the start.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function findHolder(dir: string, own: string, fs: LockFs): number | undefined {
  for (const name of fs.readdirSync(dir)) {
    const match = LOCK_FILE.exec(name);
    if (!match || name === own) continue;
    const pid = Number(match[1]);
    if (isRunning(pid, match[2] as string)) return pid;
    removeFile(join(dir, name), fs);
  }
  return undefined;
}

function removeFile(path: string, fs: LockFs): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // Somebody else removed it, or it stays until its process has ended: both are harmless.
  }
}
