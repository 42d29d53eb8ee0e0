import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { createCommandOutput } from "../../core/command-output.ts";
import { AgentError } from "../../core/errors.ts";
import { CHILD_ENVIRONMENT, createExec, type Exec, type ExecOptions, type ExecSetup } from "../../core/exec.ts";
import { createRunMark, hasMark, MARK } from "../../core/processes.ts";
import { createRedactor } from "../../core/redact.ts";
import { makeSandbox } from "../fixtures/sandboxed.ts";
import { timeBeside } from "../fixtures/timing.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "exec-")));
const open: { close(): Promise<void> }[] = [];
const { PATH, HOME } = process.env;
/** Set by exec-sandbox.test.ts, which runs all of this once more. */
const isSandboxed = process.env.AGENT_TEST_SANDBOX === "1";
const never = () => new AbortController().signal;
let marks = 0;

const fail = () => {
  throw new Error("there is no sandbox");
};

/** A duration for `sleep` that no other process on the machine has. */
const uniqueDuration = () => `9${process.pid}${String(++marks).padStart(3, "0")}`;

const listProcesses = (columns: string) => execFileSync("ps", ["-eo", columns], { encoding: "utf8" }).split("\n");
const survivors = (duration: string) => listProcesses("args").filter((line) => /^\S*sleep \d+$/.test(line.trim()) && line.trim().endsWith(` ${duration}`));

function makeExec(setup: Partial<ExecSetup> = {}) {
  const made = createExec({ env: { PATH, HOME }, ...setup });
  open.push(made);
  if (!isSandboxed) return made;
  const confinement = makeSandbox(made.exec, { cwd: folder });
  const exec: Exec = async (file, args, options) => made.exec(file, args, { ...options, confine: (await confinement()).confine ?? fail() });
  return { ...made, exec };
}

/** Kills the launcher of a command that has ended. Where another process of the machine came in between it is gone already. */
async function killLauncher(bash: (command: string) => Promise<{ head: string }>): Promise<number> {
  for (;;) {
    const launcher = Number((await bash("echo $PPID")).head);
    try {
      process.kill(launcher, "SIGKILL");
      return launcher;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

function run(command: string, options: Partial<ExecOptions> = {}, setup: Partial<ExecSetup> = {}) {
  return makeExec(setup).exec("bash", ["-c", command], { cwd: folder, signal: never(), ...options });
}

async function until(condition: () => boolean): Promise<boolean> {
  const deadline = performance.now() + 45_000;
  while (!condition()) {
    if (performance.now() > deadline) return false;
    await delay(20);
  }
  return true;
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; ms: number }> {
  const started = performance.now();
  const value = await work();
  return { value, ms: performance.now() - started };
}

afterEach(async () => {
  for (const made of open.splice(0)) await made.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a command", () => {
  test("gives its output and its exit status", async () => {
    const result = await run("echo out; echo err >&2; exit 3");
    expect(result).toMatchObject({ end: "exit", exitCode: 3, tail: "", totalBytes: 8 });
    expect(result.head.split("\n").sort()).toEqual(["", "err", "out"]);
  });

  test("that a signal ended has the status that shells give it", async () => {
    expect(await run("kill -KILL $$")).toMatchObject({ end: "exit", exitCode: 137 });
  });

  test("can open its own outputs, and loses nothing at its exit", async () => {
    expect((await run("echo one > /dev/stderr; echo two | tee /dev/stderr > /dev/null; echo three > /dev/stdout")).head).toBe("one\ntwo\nthree\n");
    const lines = 'for (let i = 0; i < 50000; i++) console.log("line " + i); process.exitCode = 3';
    const result = await makeExec().exec(process.execPath, ["-e", lines], { cwd: folder, signal: never() });
    expect([result.exitCode, result.totalBytes, result.tail.endsWith("line 49999\n")]).toEqual([3, 538_890, true]);
  });

  test("runs in the given directory, which PWD names", async () => {
    expect((await run("pwd -P; echo $PWD")).head).toBe(`${folder}\n${folder}\n`);
  });

  test("reads nothing from its standard input, and has no terminal", async () => {
    const { value, ms } = await timed(() => run("read x; cat; (: < /dev/tty) 2>/dev/null || echo no terminal"));
    expect(value.head).toBe("no terminal\n");
    // It would wait for ever.
    expect(ms).toBeLessThan(30_000);
  });

  test("reads the input it is given, and may leave it unread", async () => {
    expect((await run("cat", { input: "héllo" })).head).toBe("héllo");
    expect((await run("exit 0", { input: "x".repeat(1_000_000) })).exitCode).toBe(0);
  });

  test("gets its arguments as they are", async () => {
    const words = ["", "-n", "a 'b' \"c\"", "two\nlines\n", "$HOME \\ `id`", "āĈ😀…\u0081\u0088", "*", "x".repeat(100_000)];
    const { head } = await makeExec().exec("printf", ["%s\\n", ...words], { cwd: folder, signal: never() });
    expect(head).toBe(words.map((word) => `${word}\n`).join(""));
    await expect(makeExec().exec("printf", ["a\0b"], { cwd: folder, signal: never() })).rejects.toThrow("has a NUL character");
  });

  // There its parent is out of its reach.
  test.skipIf(isSandboxed)("that ends its parent is waited for, and ended in time", async () => {
    const duration = uniqueDuration();
    const { exec } = makeExec();
    const bash = (command: string, timeoutMs = 60_000) => exec("bash", ["-c", command], { cwd: folder, signal: never(), timeoutMs });
    expect(await bash("kill -9 $PPID; sleep 0.2; echo on")).toMatchObject({ end: "exit", exitCode: 137, head: "on\n" });
    expect(await bash(`kill -9 $PPID; sleep ${duration}; echo on`, 2_000)).toMatchObject({ end: "timeout", head: "" });
    expect(survivors(duration)).toEqual([]);
    expect((await bash("echo next")).head).toBe("next\n");
  });

  test("is shown all of its output soon after it has written it, though its end be like the beginning of a secret", async () => {
    const redactor = createRedactor(["93217-of-the-secret"]);
    let shown = "";
    const abort = new AbortController();
    const going = run("echo port 93; sleep 60", { onOutput: (piece) => (shown += piece), signal: abort.signal }, { redactor });
    expect(await until(() => shown === "port 93\n")).toBe(true);
    abort.abort();
    await going;
    let split = "";
    await run("printf 'x 932'; sleep 1; echo 17-of-the-secret y", { onOutput: (piece) => (split += piece) }, { redactor });
    expect(split).not.toContain("17-of-the-secret");
  });

  test("may send its whole group a signal, which is for it alone", async () => {
    const duration = uniqueDuration();
    expect(await run("trap 'echo got' USR1 TERM; kill -USR1 0; kill -TERM 0; echo done")).toMatchObject({ exitCode: 0, head: "got\ngot\ndone\n" });
    expect((await run(`sleep ${duration} & kill -TERM 0; sleep ${duration}`)).exitCode).toBe(143);
    expect((await run(`sleep ${duration} & kill -KILL 0; sleep ${duration}`)).exitCode).toBe(137);
    expect(survivors(duration)).toEqual([]);
  });

  test.skipIf(isSandboxed)("needs a shell to be started", async () => {
    const { exec } = makeExec({ env: { PATH: folder } });
    await expect(exec("/bin/true", [], { cwd: folder, signal: never() })).rejects.toMatchObject({
      code: "TOOL_FAILED",
      message: expect.stringContaining("sh failed"),
    });
  });

  test("that does not exist is refused with the fact", async () => {
    const failure = makeExec().exec("no-such-program-here", [], { cwd: folder, signal: never() });
    await expect(failure).rejects.toThrow('no-such-program-here failed: there is no program "no-such-program-here"');
    await expect(failure).rejects.toMatchObject({ code: "TOOL_FAILED", data: { systemCode: "ENOENT" } });
  });

  test("is refused where the directory is missing or a file", async () => {
    writeFileSync(join(folder, "file"), "");
    for (const cwd of [join(folder, "missing"), join(folder, "file")]) await expect(run("true", { cwd })).rejects.toThrow(`there is no directory ${cwd}`);
  });

  test("that is too long for the system is refused with the fact", async () => {
    const failure = run(`: ${"x".repeat(3_000_000)}`);
    await expect(failure).rejects.toThrow(/too long for the system/);
    await expect(failure).rejects.toBeInstanceOf(AgentError);
  });

  test("costs little", async () => {
    const { exec } = makeExec();
    await exec("true", [], { cwd: folder, signal: never() });
    const { ms } = await timed(async () => {
      for (let n = 0; n < 10; n++) await exec("true", [], { cwd: folder, signal: never() });
    });
    expect(ms / 10).toBeLessThan(200);
  });
});

describe("the environment of a child", () => {
  const hostile = {
    PATH,
    HOME,
    OPENROUTER_API_KEY: "canary",
    NODE_OPTIONS: "--no-warnings",
    BASH_ENV: "/x",
    LD_PRELOAD: "",
    SSH_AUTH_SOCK: "/s",
    LC_TIME: "C",
    MY_ONE: "1",
    MY_TWO: "2",
    MINE: "3",
  };
  const names = async (setup: Partial<ExecSetup>, inherit: string[] = []) =>
    (await run("env", { inherit }, setup)).head
      .split("\n")
      .map((line) => line.split("=")[0] as string)
      .filter(Boolean)
      .sort();

  test("holds what the allow-list names and nothing else of the host", async () => {
    const expected = ["GIT_EDITOR", "GIT_PAGER", "GIT_TERMINAL_PROMPT", "HOME", "LC_TIME", "NO_COLOR", "PAGER", "PATH", "PWD", "SHLVL", "_", MARK];
    if (isSandboxed) expected.push("TMPDIR", "XDG_CACHE_HOME", "npm_config_cache");
    expect(await names({ env: hostile })).toEqual(expected.sort());
    expect(CHILD_ENVIRONMENT).toContain("PATH");
  });

  test("is widened by names and prefixes", async () => {
    const given = await names({ env: hostile }, ["MY_*"]);
    expect(given).toEqual(expect.arrayContaining(["MY_ONE", "MY_TWO"]));
    expect(given).not.toContain("MINE");
  });

  test("holds names that a shell does not know, too", async () => {
    const odd = await run("env", { inherit: ["npm_config_*"], env: { "A.B": "1 2" } }, { env: { PATH, "npm_config_@acme:registry": "https://x" } });
    expect(odd.head).toContain("npm_config_@acme:registry=https://x\n");
    expect(odd.head).toContain("A.B=1 2\n");
  });

  test("holds no proxy address with a password in it", async () => {
    const given = await run("env", {}, { env: { PATH, HTTPS_PROXY: "http://user:canary@proxy:80", http_proxy: "http://proxy:80" } });
    expect(given.head).toContain("http_proxy=http://proxy:80");
    expect(given.head).not.toContain("canary");
  });

  test("cannot be given another mark", async () => {
    const result = await run(`echo $A \${#${MARK}}`, { env: { A: "option", [MARK]: "" } });
    expect(result.head).toBe("option 34\n");
  });
});

describe("marks", () => {
  const block = (...entries: string[]) => Buffer.from(`${entries.join("\0")}\0`);

  test("match whole entries and those below them only", () => {
    const entry = Buffer.from(`${MARK}=ab.1`);
    expect(hasMark(block("A=1", `${MARK}=ab.1`), entry)).toBe(true);
    expect(hasMark(block(`${MARK}=ab.1/cd.5`), entry)).toBe(true);
    for (const other of [`${MARK}=ab.11`, `${MARK}=ab.1.2`, `X${MARK}=ab.1`, `NOTE=${MARK}=ab.1`, `${MARK}=ab`, ""])
      expect(hasMark(block("A=1", other), entry), other).toBe(false);
  });

  test("of a run inside a run lie below the outer one", () => {
    expect(createRunMark("ab.3")).toMatch(/^ab\.3\/[0-9a-f]{32}$/);
    expect(createRunMark("evil.*\n")).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("no process is left", () => {
  const everyKind = (duration: string) =>
    `sleep ${duration} & setsid sleep ${duration} & nohup sleep ${duration} >/dev/null 2>&1 & (trap '' TERM; sleep ${duration}; sleep ${duration}) &`;

  test("after a timeout, whatever it did to stay", async () => {
    const duration = uniqueDuration();
    const { value, ms, hopMs } = await timeBeside(() => run(`${everyKind(duration)} echo started; sleep ${duration}`, { timeoutMs: 2000 }));
    expect(value).toMatchObject({ end: "timeout", exitCode: null, head: "started\n" });
    expect(ms).toBeGreaterThan(1990);
    expect(ms).toBeLessThan(4000 + 10 * hopMs);
    expect(survivors(duration)).toEqual([]);
  });

  test("after an abort", async () => {
    const duration = uniqueDuration();
    const abort = new AbortController();
    const running = run(`${everyKind(duration)} sleep ${duration}`, { signal: abort.signal });
    expect(await until(() => survivors(duration).length >= 5)).toBe(true);
    const { value, ms, hopMs } = await timeBeside(() => {
      abort.abort();
      return running;
    });
    expect(value.end).toBe("abort");
    expect(ms).toBeLessThan(2000 + 10 * hopMs);
    expect(survivors(duration)).toEqual([]);
  });

  test("after a normal end, though a grandchild holds the pipes", async () => {
    const duration = uniqueDuration();
    const { value, ms, hopMs } = await timeBeside(() => run(`${everyKind(duration)} echo done`));
    expect(value).toMatchObject({ end: "exit", exitCode: 0, head: "done\n" });
    expect(ms).toBeLessThan(2000 + 10 * hopMs);
    expect(survivors(duration)).toEqual([]);
  });

  test("after close, and what is asked for afterwards ends as aborted", async () => {
    const duration = uniqueDuration();
    const { exec, close } = makeExec();
    const running = exec("sleep", [duration], { cwd: folder, signal: never() });
    expect(await until(() => survivors(duration).length === 1)).toBe(true);
    await close();
    expect((await running).end).toBe("abort");
    expect(survivors(duration)).toEqual([]);
    expect((await exec("sleep", [duration], { cwd: folder, signal: never() })).end).toBe("abort");
    await close();
  });

  test("of a command that was aborted before it began", async () => {
    expect((await run("touch began", { signal: AbortSignal.abort() })).end).toBe("abort");
    expect(existsSync(join(folder, "began"))).toBe(false);
  });

  test("while the neighbours' processes go on", async () => {
    const [mine, other] = [uniqueDuration(), uniqueDuration()];
    const foreign = spawn("sleep", [other], { env: { PATH, NOTE: `${MARK}=x`, [MARK]: "0123.1" } });
    const neighbour = run(`sleep 1.5; echo neighbour`);
    await run(`setsid sleep ${mine} & sleep ${mine}`, { timeoutMs: 200 });
    expect(survivors(mine)).toEqual([]);
    expect(survivors(other)).toHaveLength(1);
    expect((await neighbour).head).toBe("neighbour\n");
    foreign.kill("SIGKILL");
  });

  test("of thirty commands at once, each with its own output", async () => {
    const { exec } = makeExec();
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on("warning", note);
    const signal = never();
    const results = await Promise.all(Array.from({ length: 30 }, (_, n) => exec("bash", ["-c", `sleep 0.2; echo ${n}`], { cwd: folder, signal })));
    expect(results.map((result) => result.head)).toEqual(Array.from({ length: 30 }, (_, n) => `${n}\n`));
    await delay(0);
    process.off("warning", note);
    expect(warnings).toEqual([]);
  });
});

describe("an agent", () => {
  const parents: ChildProcess[] = [];
  const startParent = async (command: string) => {
    const fixture = new URL("../fixtures/exec-parent.ts", import.meta.url).pathname;
    const parent = spawn(process.execPath, ["--import", "tsx", fixture, command], { stdio: ["ignore", "pipe", "inherit"] });
    parents.push(parent);
    let output = "";
    parent.stdout.on("data", (chunk) => {
      output += chunk;
    });
    expect(await until(() => output.includes("ready"))).toBe(true);
    return parent;
  };
  const listWatchers = () =>
    listProcesses("pid=,ppid=,args=")
      .filter((line) => line.includes("agent-watch"))
      .map((line) => line.trim().split(/\s+/).slice(0, 2).map(Number) as [pid: number, parent: number]);
  const findWatcher = (parent: ChildProcess) => listWatchers().find(([, ppid]) => ppid === parent.pid)?.[0];
  const isWatching = (watcher: number | undefined) => listWatchers().some(([pid]) => pid === watcher);

  afterAll(() => {
    for (const parent of parents) parent.kill("SIGKILL");
  });

  test("that is killed leaves no process behind, setsid and nohup included, and no watcher", async () => {
    const duration = uniqueDuration();
    const parent = await startParent(`sleep ${duration} & setsid sleep ${duration} & nohup sleep ${duration} >/dev/null 2>&1 & sleep ${duration}`);
    expect(await until(() => survivors(duration).length === 4)).toBe(true);
    const watcher = findWatcher(parent);
    expect(watcher).toBeTypeOf("number");
    parent.kill("SIGKILL");
    const { value, ms, hopMs } = await timeBeside(() => until(() => survivors(duration).length === 0 && !isWatching(watcher)));
    expect(value).toBe(true);
    expect(ms).toBeLessThan(2000 + 10 * hopMs);
  });

  test("that is killed together with its watcher leaves no launcher behind either, once the command has ended", async () => {
    const parent = await startParent("sleep 0.5; echo unheard");
    const childrenOf = (pid: number) =>
      listProcesses("pid=,ppid=")
        .map((line) => line.trim().split(/\s+/).map(Number))
        .filter(([, parentPid]) => parentPid === pid)
        .map(([child]) => child as number);
    const launchers = childrenOf(parent.pid as number).flatMap((pid) => [pid, ...childrenOf(pid)]);
    process.kill(findWatcher(parent) as number, "SIGKILL");
    parent.kill("SIGKILL");
    const left = () => listProcesses("pid=").filter((pid) => launchers.includes(Number(pid)));
    expect(await until(() => left().length === 0)).toBe(true);
  });

  test("that closes is not kept alive by its watcher, which ends with it", async () => {
    const parent = await startParent("close");
    const watcher = findWatcher(parent);
    expect(watcher).toBeTypeOf("number");
    parent.kill("SIGTERM");
    expect(await until(() => parent.exitCode === 0)).toBe(true);
    expect(await until(() => !isWatching(watcher))).toBe(true);
  });
});

describe("the output", () => {
  test("of a flood is head and tail, the whole of it in a private file", async () => {
    const spillPath = join(folder, "flood.txt");
    const result = await run("seq 1 200000", { keepBytes: 1000, spillPath });
    expect(result.head).toHaveLength(1000);
    expect(result.head.startsWith("1\n2\n")).toBe(true);
    expect(result.tail).toHaveLength(1000);
    expect(result.tail.endsWith("199999\n200000\n")).toBe(true);
    expect(result.spillPath).toBe(spillPath);
    const whole = readFileSync(spillPath, "utf8");
    expect(whole).toBe(`${Array.from({ length: 200_000 }, (_, n) => n + 1).join("\n")}\n`);
    expect(result.totalBytes).toBe(whole.length);
    expect(statSync(spillPath).mode & 0o777).toBe(0o600);
  });

  test("may be kept in nothing, or for as long as it takes", async () => {
    expect(await run("seq 1 100", { keepBytes: 0 })).toMatchObject({ end: "exit", totalBytes: 292 });
    for (const timeoutMs of [Number.POSITIVE_INFINITY, 2 ** 31]) expect((await run("sleep 0.05; echo x", { timeoutMs })).head).toBe("x\n");
  });

  test("is the same head and tail, in whatever pieces it comes", () => {
    const whole = Array.from({ length: 200 }, (_, n) => String.fromCharCode(97 + (n % 26))).join("");
    for (const size of [1, 2, 3, 5, 7, 8, 13, 50, 200]) {
      const output = createCommandOutput({ keepBytes: 5 });
      for (let at = 0; at < whole.length; at += size) output.push(Buffer.from(whole.slice(at, at + size)));
      expect([size, output.finish()]).toEqual([size, { head: whole.slice(0, 5), tail: whole.slice(-5), totalBytes: 200 }]);
    }
  });

  test("that fits makes no file", async () => {
    const spillPath = join(folder, "small.txt");
    const result = await run("head -c 2000 /dev/zero | tr '\\0' x", { keepBytes: 1000, spillPath });
    expect(result).toMatchObject({ head: "x".repeat(2000), tail: "", totalBytes: 2000 });
    expect(result.spillPath).toBeUndefined();
    expect(existsSync(spillPath)).toBe(false);
  });

  test("is never written over a file or through a link that is there already", async () => {
    const spillPath = join(folder, "planted.txt");
    writeFileSync(spillPath, "keep");
    const result = await run("seq 1 20000", { keepBytes: 100, spillPath });
    expect(result).toMatchObject({ end: "exit", exitCode: 0 });
    expect(result.spillPath).toBeUndefined();
    expect(readFileSync(spillPath, "utf8")).toBe("keep");
  });

  test("keeps characters whole when they come in pieces", async () => {
    const command = String.raw`for n in 1 2 3; do printf '\360\237'; sleep 0.05; printf '\230\200'; sleep 0.05; echo -n e >&2; done`;
    const pieces: string[] = [];
    const result = await run(command, { onOutput: (piece) => pieces.push(piece) });
    expect(result.head).toBe("😀e😀e😀e");
    expect(pieces.join("")).toBe("😀e😀e😀e");
  });

  test("keeps characters whole at the cut", async () => {
    const result = await run("for n in $(seq 500); do printf '😀é'; done", { keepBytes: 101 });
    expect(result.head + result.tail).not.toContain("\uFFFD");
    expect(result.head.startsWith("😀é😀é")).toBe(true);
    expect(result.tail.endsWith("😀é😀é")).toBe(true);
  });

  test("is shown at most ten times a second, and its end always", async () => {
    const pieces: string[] = [];
    const { ms } = await timed(() => run("for n in $(seq 1 100); do echo $n; sleep 0.01; done; printf end", { onProgress: (piece) => pieces.push(piece) }));
    expect(pieces.length).toBeGreaterThan(2);
    expect(pieces.length).toBeLessThan(ms / 100 + 3);
    expect(pieces.join("")).toMatch(/\n100\nend$/);
  });

  test("does not matter to the command when showing it fails", async () => {
    const onProgress = () => {
      throw new Error("screen is gone");
    };
    expect((await run("echo x", { onProgress })).head).toBe("x\n");
  });

  test("is each command's own, whatever the one before left behind", async () => {
    const { exec } = makeExec();
    const bash = (command: string, options: Partial<ExecOptions> = {}) => exec("bash", ["-c", command], { cwd: folder, signal: never(), ...options });
    expect((await bash("echo one")).head).toBe("one\n");
    expect((await bash("printf 'no end of line\\0'")).head).toBe("no end of line\0");
    expect((await bash("(sleep 0.1; echo late) & echo soon")).head).toBe("soon\nlate\n");
    expect((await bash("echo $A; cd /; A=2", { env: { A: "1" } })).head).toBe("1\n");
    expect((await bash("echo ${A-none} $PWD; exit 4")).head).toBe(`none ${folder}\n`);
    expect((await bash("yes | head -c 300000")).totalBytes).toBe(300_000);
    expect((await bash("true")).head).toBe("");
  });

  test("is whole though the command before left the pipe in non-blocking mode", async () => {
    const { exec } = makeExec();
    const leave = [process.execPath, ["-e", 'process.stdout.write("x"); process.kill(process.pid, "SIGKILL")']] as const;
    const fill = [process.execPath, ["-e", 'process.stdout.write("x".repeat(1e6), () => process.kill(process.pid, "SIGKILL"))']] as const;
    for (const [file, args] of [leave, fill, leave]) {
      expect((await exec(file, [...args], { cwd: folder, signal: never(), timeoutMs: 60_000 })).exitCode).toBe(137);
      expect((await exec("head", ["-c", "3000000", "/dev/zero"], { cwd: folder, signal: never() })).totalBytes).toBe(3_000_000);
    }
  });

  test.runIf(existsSync("/proc/self/fdinfo") && !isSandboxed)("is started by the launcher of the one before, unless that left somebody behind", async () => {
    const { exec } = makeExec();
    const launcherOf = async (command: string) => Number((await exec("bash", ["-c", `${command}; echo $PPID >&2`], { cwd: folder, signal: never() })).head);
    // Other processes of the machine may come in between and stay: then it is a new one, which is only slower. There are moments without.
    const isKept = async () => (await launcherOf("ls / | sort | tail -1 >/dev/null; (true; true) & wait")) === (await launcherOf("true"));
    let kept = false;
    for (const end = performance.now() + 45_000; !kept && performance.now() < end; ) kept = await isKept();
    expect(kept).toBe(true);
    for (let round = 0; round < 3; round++) {
      const before = await launcherOf(`(setsid sleep ${uniqueDuration()} >/dev/null 2>&1 &)`);
      expect(before).toBeGreaterThan(0);
      expect(await launcherOf("true")).not.toBe(before);
    }
  });

  test.skipIf(isSandboxed)("is the next command's also when the shell that waited for it was killed", async () => {
    const { exec } = makeExec();
    const bash = (command: string) => exec("bash", ["-c", command], { cwd: folder, signal: never() });
    const launcher = await killLauncher(bash);
    expect(await until(() => !listProcesses("pid=").some((pid) => Number(pid) === launcher))).toBe(true);
    expect((await bash("echo again")).head).toBe("again\n");
  });

  test("comes to the caller piece by piece, nothing left out", async () => {
    let seen = "";
    const result = await run("seq 1 300000", { keepBytes: 10, onOutput: (piece) => (seen += piece) });
    expect(seen).toBe(`${Array.from({ length: 300_000 }, (_, n) => n + 1).join("\n")}\n`);
    expect(seen).toHaveLength(result.totalBytes);
  });

  test("that the caller cannot take ends the command with the caller's error", async () => {
    const duration = uniqueDuration();
    const onOutput = () => {
      throw new Error("no more of this");
    };
    await expect(run(`echo x; sleep ${duration}`, { onOutput })).rejects.toThrow("no more of this");
    expect(survivors(duration)).toEqual([]);
  });

  test("that never ends is capped, in little memory", async () => {
    const fixture = new URL("../fixtures/exec-parent.ts", import.meta.url).pathname;
    const spillPath = join(folder, "endless.txt");
    const printed = execFileSync(process.execPath, ["--import", "tsx", fixture, "flood", spillPath], { encoding: "utf8", timeout: 80_000 });
    const report = JSON.parse(printed.trim().split("\n").at(-1) as string);
    expect(report.end).toBe("output-limit");
    expect(report.totalBytes).toBe(64 * 1024 * 1024);
    expect(statSync(spillPath).size).toBe(64 * 1024 * 1024);
    expect(report.grownMb).toBeLessThan(64);
    expect(report.pieces).toBeLessThan(10 * report.seconds + 3);
  });
});
