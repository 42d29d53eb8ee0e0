import type { ChildProcess, SpawnOptions } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";

/** Variable that marks every process that a run started, however it has detached itself. */
export const MARK = "AGENT_RUN_MARK";

/** Starts a program in a session of its own, without a terminal. The module that starts processes is loaded with the first one. */
export const spawnDetached = (file: string, args: string[], options: Pick<SpawnOptions, "env" | "stdio" | "cwd">): ChildProcess =>
  process.getBuiltinModule("node:child_process").spawn(file, args, { ...options, detached: true });

/** The same for a small `sh`. */
export const spawnShell = (args: string[], options: Pick<SpawnOptions, "env" | "stdio">): ChildProcess => spawnDetached("sh", args, { ...options, cwd: "/" });

export const TERM_GRACE_MS = 500;
const KILL_WAIT_MS = 500;
const POLL_MS = 10;
const SWEEP_ROUNDS = 10;
/** In this time only the mark tells what a command has started. */
const TELL_DELAY_MS = 100;
/** Processes that are looked at in one turn of the event loop; about 20 µs each. */
const SWEEP_BATCH = 256;

/** Mark of a run: 128 random bits, behind the mark of the run that this process is itself a child of. */
export function createRunMark(outer: string | undefined): string {
  const own = randomBytes(16).toString("hex");
  return outer !== undefined && /^[0-9a-f./]{1,400}$/.test(outer) ? `${outer}/${own}` : own;
}

/** Ends a process group: SIGTERM, 500 ms, SIGKILL. Resolves when it is gone, at most 1 s later; never rejects. */
export async function endGroup(group: number): Promise<void> {
  if (!signalGroup(group, "SIGTERM") || (await isGroupGone(group, TERM_GRACE_MS))) return;
  signalGroup(group, "SIGKILL");
  await isGroupGone(group, KILL_WAIT_MS);
}

const signalGroup = (group: number, signal: NodeJS.Signals | 0) => signalProcess(-group, signal);

/** False when there is nobody left to signal. */
function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

async function isGroupGone(group: number, waitMs: number): Promise<boolean> {
  const deadline = performance.now() + waitMs;
  while (signalGroup(group, 0) && hasLiveMember(group)) {
    if (performance.now() >= deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** Where nobody reaps orphans (a container without an init), the dead stay in their group as zombies. */
function hasLiveMember(group: number): boolean {
  const pids = listProcesses();
  if (pids.length === 0) return true;
  return pids.some((pid) => {
    const [state, , processGroup] = readStatus(pid);
    return Number(processGroup) === group && state !== "Z" && state !== "X";
  });
}

/** "pid (name) state parent group …", from the state on; the name may hold spaces and parentheses. */
const readStatus = (pid: number): string[] => readProcessFile(pid, "stat").toString("latin1").split(") ").at(-1)?.split(" ") ?? [];

const groupOf = (pid: number): number => Number(readStatus(pid)[2]);

/** None where there is no /proc. */
function listProcesses(): number[] {
  return existsSync("/proc/self/stat")
    ? readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name))
        .map(Number)
    : [];
}

/** Empty when the process has ended meanwhile or belongs to another user. */
function readProcessFile(pid: number, name: "stat" | "environ"): Buffer {
  try {
    return readFileSync(`/proc/${pid}/${name}`);
  } catch {
    return Buffer.alloc(0);
  }
}

/**
 * True in a process that a run has started: by its own environment, and, because a command may take the mark off, by that of
 * the processes it comes from (where there is /proc).
 */
export function isStartedByRun(env: Record<string, string | undefined>): boolean {
  if (env[MARK] !== undefined) return true;
  const entry = Buffer.from(`${MARK}=`);
  for (let pid = process.ppid; pid > 1; pid = parentOf(pid)) if (startsVariable(readProcessFile(pid, "environ"), entry)) return true;
  return false;
}

const parentOf = (pid: number): number => Number(readProcessFile(pid, "stat").toString("latin1").split(") ").at(-1)?.split(" ")[1] ?? 0);

const startsVariable = (environment: Buffer, entry: Buffer): boolean => {
  const at = environment.indexOf(entry);
  return at === 0 || (at > 0 && environment.includes(Buffer.concat([Buffer.from([0]), entry])));
};

/** Where in the order of process ids a command was started: it and what it started itself come after it. */
export interface Birth {
  /** The last id that was given before. */
  pid: number;
  /** `performance.now()` */
  at: number;
}

/**
 * Kills every process whose environment has the mark `mark` or one below it (`mark/…`), until none is found. So it
 * reaches what left its process group (`setsid`, `nohup`). Looks at the processes that are younger than the command,
 * which are few. Without /proc it does nothing; never rejects.
 */
export async function killMarked(mark: string, birth?: Birth): Promise<void> {
  const entry = Buffer.from(`${MARK}=${mark}`);
  for (let round = 0; round < SWEEP_ROUNDS; round++) {
    if ((await killRound(entry, birth)) === 0) return;
    await delay(POLL_MS);
  }
}

/**
 * Asks what has the mark to end: what a sandbox runs is no member of the group that it was started in, and a signal to that
 * group ends the sandbox, which leaves what it runs no time.
 */
export async function termMarked(mark: string, group: number): Promise<void> {
  await signalMarked(Buffer.from(`${MARK}=${mark}`), undefined, { signal: "SIGTERM", isMeant: (pid) => groupOf(pid) !== group });
}

const killRound = (entry: Buffer, birth: Birth | undefined) => signalMarked(entry, birth, { signal: "SIGKILL", isMeant: () => true });

/** How many there were. */
async function signalMarked(
  entry: Buffer,
  birth: Birth | undefined,
  { signal, isMeant }: { signal: NodeJS.Signals; isMeant(pid: number): boolean },
): Promise<number> {
  let count = 0;
  for (const [index, pid] of listYounger(birth).entries()) {
    if (index % SWEEP_BATCH === SWEEP_BATCH - 1) await nextTurn();
    if (pid !== process.pid && hasMark(readProcessFile(pid, "environ"), entry) && isMeant(pid) && signalProcess(pid, signal)) count++;
  }
  return count;
}

/** More ids than this, or a longer life, and all processes are looked at: the ids may have wrapped. */
const FEW_PROCESSES = 64;
const SHORT_LIFE_MS = 1_000;

/**
 * Process ids are given in order, and /proc/loadavg ends with the last one (proc(5)): what a short-lived command has
 * started stands between its own id and that one.
 */
function listYounger(birth: Birth | undefined): number[] {
  if (birth === undefined || performance.now() - birth.at > SHORT_LIFE_MS) return listProcesses();
  const last = readLastPid();
  const count = last - birth.pid;
  if (!(count >= 0 && count <= FEW_PROCESSES)) return listProcesses();
  return Array.from({ length: count }, (_, index) => birth.pid + 1 + index).filter((pid) => existsSync(`/proc/${pid}`));
}

/** The last process id that was given. NaN where there is no /proc. */
function readLastPid(): number {
  try {
    return Number(readFileSync("/proc/loadavg", "latin1").trim().split(" ").at(-1));
  } catch {
    return Number.NaN;
  }
}

/** Whether one whole entry of the environment block is the mark, or begins with it and "/". */
export function hasMark(environment: Buffer, entry: Buffer): boolean {
  for (let at = environment.indexOf(entry); at !== -1; at = environment.indexOf(entry, at + 1)) {
    const before = at === 0 ? 0 : environment[at - 1];
    const after = environment[at + entry.length] ?? 0;
    if (before === 0 && (after === 0 || after === "/".charCodeAt(0))) return true;
  }
  return false;
}

/**
 * Waits for the end of its input. Each line is the list of live groups, the last one counts; "end" means that all went
 * well. Without it the agent has died: kill the groups, then what has the run's mark (none where there is no /proc).
 * $1 is the marks' common beginning, $2 the same as a regular expression.
 */
const WATCH_SCRIPT = `groups=
while read -r line; do
  [ "$line" = end ] && exit
  groups=$line
done
for group in $groups; do kill -s KILL -- "-$group"; done
for round in 1 2 3 4 5; do
  found=
  for file in $(grep -lF -e "$1" /proc/[0-9]*/environ); do
    tr '\\0' '\\n' < "$file" | grep -q -e "^$2" || continue
    pid=\${file#/proc/}
    kill -s KILL "\${pid%/environ}" && found=yes
  done
  [ "$found" ] || exit
done`;

export interface Watch {
  /** Starts the watching process unless it runs. */
  start(): void;
  /** The process groups that are alive have changed. Told a little later, so that short commands cost nothing. */
  changed(groups: () => Iterable<number>): void;
  /** The run is over and has ended its processes itself. */
  end(): void;
}

/**
 * A small `sh` beside the agent that outlives it, even after SIGKILL, and then ends what the run has left. It has a
 * session of its own, no mark and nothing but PATH in its environment, and does not keep the agent alive.
 */
export function createWatch(runMark: string, path: string | undefined): Watch {
  let watcher: ChildProcess | undefined;
  let late: NodeJS.Timeout | undefined;
  const write = (line: string) => watcher?.stdin?.write(`${line}\n`);
  return {
    start: () => {
      if (watcher !== undefined) return;
      const started = spawnWatcher(runMark, path);
      const forget = () => {
        if (watcher === started) watcher = undefined;
      };
      watcher = started.once("error", forget).once("exit", forget);
    },
    changed: (groups) => {
      late ??= setTimeout(() => {
        late = undefined;
        write([...groups()].join(" "));
      }, TELL_DELAY_MS).unref();
    },
    end: () => {
      clearTimeout(late);
      write("end");
      watcher?.stdin?.end();
      watcher = undefined;
    },
  };
}

function spawnWatcher(runMark: string, path: string | undefined): ChildProcess {
  const beginning = `${MARK}=${runMark}.`;
  const watcher = spawnShell(["-c", WATCH_SCRIPT, "agent-watch", beginning, beginning.replaceAll(".", "[.]")], {
    env: path === undefined ? {} : { PATH: path },
    stdio: ["pipe", "ignore", "ignore"],
  });
  watcher.unref();
  const stdin = watcher.stdin as Socket | null;
  stdin?.unref();
  stdin?.on("error", () => {}); // It was killed; the next start replaces it.
  return watcher;
}
