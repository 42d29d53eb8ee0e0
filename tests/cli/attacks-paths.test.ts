import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { CANARY, expectUnharmed, makeAttackWorld, sentinelOf } from "./attack-world.ts";
import { isBuilt, ofType, removeHomes, runCommand, until } from "./command.ts";
import { byPrompt, type Call, runTools, statesOf, turn } from "./tool-runs.ts";

afterAll(removeHomes);

const ALL_TOOLS = ["--tools", "read,write,edit,multiedit,patch,list,glob,grep,bash,batch,task"];
const patchOf = (...lines: string[]): Call => ["patch", { patchText: ["*** Begin Patch", ...lines, "*** End Patch"].join("\n") }];

/** Every tool that takes a path, with this one. All of them would do harm to a file outside or tell of it. */
const callsWith = (path: string): Call[] => [
  ["read", { filePath: path }],
  ["write", { filePath: path, content: "x" }],
  ["edit", { filePath: path, oldString: "canary", newString: "x" }],
  ["edit", { filePath: path, oldString: "", newString: "x" }],
  ["multiedit", { filePath: path, edits: [{ oldString: "canary", newString: "x" }] }],
  patchOf(`*** Add File: ${path}`, "+x"),
  patchOf(`*** Update File: ${path}`, "@@", "-canary", "+x"),
  patchOf(`*** Delete File: ${path}`),
  patchOf("*** Update File: in.txt", `*** Move to: ${path}`, "@@", "-inside", "+x"),
  ["list", { path }],
  ["glob", { pattern: "**/*", path }],
  ["grep", { pattern: "canary", path }],
  ["bash", { command: "cat secret.txt other.txt; touch new.txt", workdir: path }],
];

/** Links in the workspace that lead out of it, by name, and what they lead to below the home. */
const LINKS: Record<string, string> = {
  folder: "outside",
  file: "outside/secret.txt",
  chain: "work/file",
  "chain-3": "work/chain",
  dangling: "outside/new.txt",
  "dangling-deep": "outside/none/new.txt",
  up: "",
  "out-and-in": "outside/back/in.txt/../../secret.txt",
};

function makeLinkedWorld(files: Record<string, string> = {}): string {
  const home = makeAttackWorld({ "work-twin/x.txt": `${CANARY}\n`, ...files });
  for (const [name, target] of Object.entries(LINKS)) symlinkSync(join(home, target), join(home, "work", name));
  symlinkSync("loop-2", join(home, "work/loop"));
  symlinkSync("loop", join(home, "work/loop-2"));
  return home;
}

const spellingsIn = (home: string): string[] => [
  ...["../outside/secret.txt", "../outside", "../outside/new.txt", "../outside/none/new.txt", "..", "../", "../work-twin/x.txt", "./.././outside/secret.txt"],
  ...[
    "in.txt/../../outside/secret.txt",
    "none/../../outside/secret.txt",
    ".//..//outside//secret.txt",
    "../outside/secret.txt/.",
    "../outside/./folder/other.txt",
  ],
  ...["outside", "outside/secret.txt", "work/../outside/secret.txt", "work-twin/x.txt", ".ssh/id_rsa", ".netrc"].map((path) => join(home, path)),
  ...[
    `/${home}/outside/secret.txt`,
    `/proc/self/root${home}/outside/secret.txt`,
    `/proc/self/cwd/../outside/secret.txt`,
    "/proc/self/environ",
    "/proc/self/mem",
  ],
  ...["/dev/fd/0", "/dev/stdin", "/proc/self/fd/0", "/proc/1/cwd", "/dev/zero", "/etc/passwd", "//etc/passwd", "/"],
  ...[
    "~/outside/secret.txt",
    "~",
    "~root/x",
    `file://${home}/outside/secret.txt`,
    `FILE:${home}/outside/secret.txt`,
    "a\0b",
    "../outside/secret.txt\0.txt",
    "",
  ],
  ...["x".repeat(5000), `${"../".repeat(60)}${home.slice(1)}/outside/secret.txt`, "loop", "loop/x"],
  ...Object.keys(LINKS),
  ...["folder/secret.txt", "folder/new.txt", "up/outside/secret.txt", "folder/folder/other.txt"],
];

/** What they name is inside: other characters than those of a way up, and ".." behind a link takes back the link. */
const LOOK_ALIKES = [
  ...["..\\outside\\secret.txt", "%2e%2e/outside/secret.txt", "．．/outside/secret.txt", "‥/outside/secret.txt", "..%2foutside", "../work/../work/in.txt"],
  ...["folder/../outside/secret.txt", "../outside/../work/new/secret.txt"],
];

describe.skipIf(!isBuilt)("a path that leads outside", { timeout: 180_000 }, () => {
  test.each(["auto", "yolo"])("is refused by every tool, however it is spelt, in mode %s", async (mode) => {
    const home = makeLinkedWorld();
    const sentinel = sentinelOf(home);
    const calls = spellingsIn(home).flatMap((path) => callsWith(path).filter(([name]) => mode === "auto" || name !== "bash" || path !== ""));
    const run = await runTools(calls, { home, args: [...ALL_TOOLS, "--permission-mode", mode], timeoutMs: 80_000 });
    expect([run.code, run.outputs.length]).toEqual([0, calls.length]);
    // An empty path is the workspace for those that list and search.
    const through = run.outputs.flatMap((text, index) => {
      const [name, input] = calls[index] as [string, { path?: string }];
      const isRefused = /outside the workspace|not a usable path|^Denied|is refused|No path|cannot be read|patch/i.test(text);
      return isRefused || (input.path === "" && ["list", "glob", "grep"].includes(name))
        ? []
        : [`${name} ${JSON.stringify(input).slice(0, 200)}: ${text.slice(0, 200)}`];
    });
    expect(through).toEqual([]);
    expectUnharmed(run, sentinel, ["work-twin/x.txt"]);
  });

  test("stays outside when it only looks like one that goes up", async () => {
    const home = makeLinkedWorld();
    const sentinel = sentinelOf(home);
    const run = await runTools(LOOK_ALIKES.flatMap(callsWith), { home, args: ALL_TOOLS });
    expect(run.code).toBe(0);
    expectUnharmed(run, sentinel, ["work-twin/x.txt"]);
  });

  test("is refused in a batch, in a batch within it, and in a task", async () => {
    const home = makeLinkedWorld();
    const sentinel = sentinelOf(home);
    const calls = ["../outside/secret.txt", "folder/secret.txt", join(home, ".ssh/id_rsa")].flatMap(callsWith);
    const batch = (inner: Call[]): Call => ["batch", { tool_calls: inner.map(([tool, parameters]) => ({ tool, parameters })) }];
    const inner = [...calls.slice(0, 12), batch(calls.slice(12, 24))];
    const task: Call = ["task", { description: "d", prompt: "child" }];
    const script = byPrompt({
      go: [turn(batch(inner), task), { text: "done" }],
      child: [turn(...calls.slice(24), batch(calls.slice(0, 12))), { text: "tried" }],
    });
    const run = await runCommand({
      args: ["--model", "openrouter/acme/model-1", "--output-format", "json", "-p", "go", ...ALL_TOOLS],
      script,
      home,
    });
    expect(run.code).toBe(0);
    const completed = statesOf(run).filter((state) => state.endsWith(":completed"));
    expect(completed.filter((state) => !/^(batch|task):/.test(state))).toEqual([]);
    // What a batch calls is part of it.
    expect(statesOf(run)).toHaveLength(calls.length - 24 + 3);
    expectUnharmed(run, sentinel, ["work-twin/x.txt"]);
  });

  test("is not reached by a pattern either", async () => {
    const home = makeLinkedWorld({ "work/sub/a.txt": "inside\n" });
    const sentinel = sentinelOf(home);
    const out = join(home, "outside");
    const patterns = [
      ...[
        "../**",
        "../outside/*",
        "**/../../outside/*",
        "sub/../../outside/*",
        "{..,.}/outside/*",
        "{../outside,.}/*.txt",
        "[.][.]/outside/*",
        "..*/**",
        ".?/outside/*",
      ],
      ...[
        "folder/*",
        "folder/**",
        "fold{er,}/*.txt",
        "*/secret.txt",
        "**/secret.txt",
        "up/outside/*",
        "{folder,sub}/**",
        `${out}/*`,
        `{${out},x}/*`,
        "/**/secret.txt",
      ],
      ...["!in.txt", "!../**", "\\../outside/*", "../outside/secret.txt", "folder/secret.txt", "~/outside/*", "-", "--follow", "--pre=cat", "-L"],
    ];
    const calls: Call[] = [
      ...patterns.flatMap((pattern): Call[] => [
        ["glob", { pattern }],
        ["glob", { pattern, path: "sub" }],
        ["grep", { pattern: "canary", include: pattern }],
        ["grep", { pattern: "canary", include: pattern, path: "sub" }],
        ["list", { ignore: [pattern] }],
      ]),
      ...["canary", "(?s).*", "", "--follow", "-f../outside/secret.txt", "--file=../outside/secret.txt", "--pre=cat"].map(
        (pattern): Call => ["grep", { pattern }],
      ),
    ];
    const run = await runTools(calls, { home, timeoutMs: 80_000 });
    expect([run.code, run.outputs.length]).toEqual([0, calls.length]);
    const told = run.outputs.flatMap((text) => text.split("\n")).filter((line) => /^\s*(\S*\/)?(secret|other)\.txt:?$/.test(line));
    expect(told).toEqual([]);
    expectUnharmed(run, sentinel, ["work-twin/x.txt"]);
  });

  test("is not where a command begins, and a link within the workspace is no obstacle", async () => {
    const home = makeLinkedWorld({ "work/sub/a.txt": "inside\n" });
    symlinkSync("sub", join(home, "work/near"));
    const sentinel = sentinelOf(home);
    const calls: Call[] = [
      ["bash", { command: "pwd", workdir: "near" }],
      ["bash", { command: "pwd", workdir: "near", background: true }],
      ["read", { filePath: "near/a.txt" }],
      ["write", { filePath: "near/b.txt", content: "x" }],
    ];
    const run = await runTools(calls, { home });
    expect(statesOf(run).filter((state) => state.endsWith(":error"))).toEqual([]);
    expect(run.outputs[0]).toBe(`${join(home, "work/sub")}\n`);
    expect(readFileSync(join(home, "work/sub/b.txt"), "utf8")).toBe("x");
    expectUnharmed(run, sentinel, ["work-twin/x.txt"]);
  });
});

describe.skipIf(!isBuilt)("a second name of a file that is outside", () => {
  test("is read as a file, and whatever writes to it leaves the other name as it was", async () => {
    const home = makeAttackWorld({ "outside/plain.txt": "plain\n" });
    for (const name of ["edited", "written", "patched", "deleted", "moved"]) linkSync(join(home, "outside/plain.txt"), join(home, "work", `${name}.txt`));
    const sentinel = sentinelOf(home);
    const reading: Call[] = [["read", { filePath: "written.txt" }]];
    const writing: Call[] = [
      ["edit", { filePath: "edited.txt", oldString: "plain", newString: "x" }],
      ["write", { filePath: "written.txt", content: "x" }],
      patchOf("*** Update File: patched.txt", "@@", "-plain", "+x"),
      patchOf("*** Delete File: deleted.txt"),
      patchOf("*** Update File: moved.txt", "*** Move to: elsewhere.txt", "@@", "-plain", "+x"),
    ];
    const run = await runCommand({
      args: ["--model", "openrouter/acme/model-1", "--output-format", "json", "-p", "go", ...ALL_TOOLS],
      script: [turn(...reading), turn(...writing), { text: "ok" }],
      home,
    });
    expect(statesOf(run).filter((state) => state.endsWith(":error"))).toEqual([]);
    expectUnharmed(run, sentinel);
    expectUnharmed(await runCommand({ home, args: ["session", "undo"] }), sentinel);
    expect(readFileSync(join(home, "work/edited.txt"), "utf8")).toBe("plain\n");
  });
});

describe.skipIf(!isBuilt)("what is no regular file", () => {
  test("or too large is told at once, by every tool", async () => {
    const home = makeAttackWorld({ "work/huge": "", "work/picture.bin": "\0\u0001\u0002", "work/elf": "\x7fELF\u0002\u0001\u0001\0\0" });
    const server = execFileSync("python3", ["-c", "import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", join(home, "work/socket")]);
    expect(server.length).toBe(0);
    execFileSync("mkfifo", [join(home, "work/fifo")]);
    truncateSync(join(home, "work/huge"), 5_000_000_000);
    symlinkSync("fifo", join(home, "work/to-fifo"));
    const calls: Call[] = [
      ...["fifo", "to-fifo", "socket"].flatMap(callsWith),
      ...["huge", "picture.bin", "elf"].map((filePath): Call => ["read", { filePath }]),
      ["edit", { filePath: "huge", oldString: "a", newString: "b" }],
      ["read", { filePath: "fifo/x" }],
    ];
    const run = await runTools(calls, { home, args: ALL_TOOLS });
    expect(run.code).toBe(0);
    expect(statesOf(run).filter((state) => state.endsWith(":completed"))).toEqual([]);
    expect(run.outputs.slice(-5).map((text) => text.split("\n")[0])).toEqual([
      expect.stringMatching(/binary/),
      expect.stringMatching(/binary/),
      expect.stringMatching(/binary/),
      expect.stringMatching(/at most 10 MB/),
      expect.any(String),
    ]);
    expect(Math.max(...ofType(run, "tool_use").map(({ part: { state } }) => state.time.end - state.time.start))).toBeLessThan(10_000);
    expect(lstatSync(join(home, "work/fifo")).isFIFO()).toBe(true);
  });
});

const flippers: ChildProcess[] = [];
afterEach(() => {
  for (const flipper of flippers.splice(0)) flipper.kill("SIGKILL");
});

/** Two names change places, over and over, as fast as the system takes it; neither is ever missing, but where an undo puts another thing in its place. */
const FLIPPER = `
import ctypes, os, sys
first, second = (os.fsencode(name) for name in sys.argv[1:])
exchange = ctypes.CDLL(None).renameat2
print("flips", flush=True)
while True: exchange(-100, first, -100, second, 2)
`;

/** `work/d` is a directory or a link to `outside/folder`, which has the same names and one more. */
async function makeFlippingWorld(): Promise<{ home: string; stop(): Promise<void>; whilePaused(check: () => void): Promise<void> }> {
  const home = makeAttackWorld({ "work/d/other.txt": "canary inside\n", "work/d/sub/x.txt": "canary\n", "outside/folder/only-outside.txt": `${CANARY}\n` });
  mkdirSync(join(home, "outside/folder/sub"));
  writeFileSync(join(home, "outside/folder/sub/x.txt"), `${CANARY}\n`);
  symlinkSync(join(home, "outside/folder"), join(home, "work/.link"));
  const child = spawn("python3", ["-c", FLIPPER, join(home, "work/d"), join(home, "work/.link")], { stdio: ["ignore", "pipe", "ignore"] });
  flippers.push(child);
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const stop = () =>
    new Promise<void>((resolve) => {
      expect(child.exitCode).toBe(null);
      child.once("exit", () => resolve());
      child.kill("SIGKILL");
    });
  const whilePaused = async (check: () => void) => {
    child.kill("SIGSTOP");
    await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${child.pid}/status`, "utf8")));
    check();
    child.kill("SIGCONT");
  };
  return { home, stop, whilePaused };
}

const HOLDERS = ["outside/folder/only-outside.txt", "outside/folder/sub/x.txt"];

describe.runIf(isBuilt && process.platform === "linux")("a process that flips a directory and a link", { timeout: 300_000 }, () => {
  test("lets none of 1,000 writes land outside", async () => {
    const { home, stop } = await makeFlippingWorld();
    const sentinel = sentinelOf(home);
    const calls = Array.from({ length: 1_000 }, (_, n): Call => ["write", { filePath: n % 4 === 0 ? `d/deep-${n}/new.txt` : `d/new-${n}.txt`, content: "x" }]);
    const run = await runTools(calls, { home, timeoutMs: 280_000 });
    await stop();
    expect(run.code).toBe(0);
    const states = statesOf(run);
    expect([states.length, states.includes("write:completed"), states.includes("write:error")]).toEqual([1_000, true, true]);
    expectUnharmed(run, sentinel, HOLDERS);
  });

  test("is told nothing, and changes nothing outside, by whatever tool; nor by an undo afterwards", async () => {
    const { home, stop, whilePaused } = await makeFlippingWorld();
    const sentinel = sentinelOf(home);
    const round = (n: number): Call[] => [
      ["read", { filePath: "d/other.txt" }],
      ["read", { filePath: "d" }],
      ["read", { filePath: "d/only-outsid.txt" }],
      ["edit", { filePath: "d/other.txt", oldString: n % 2 ? "canary" : "bird", newString: n % 2 ? "bird" : "canary" }],
      ["multiedit", { filePath: "d/sub/x.txt", edits: [{ oldString: n % 2 ? "bird" : "canary", newString: n % 2 ? "canary" : "bird" }] }],
      patchOf(`*** Add File: d/patched-${n}.txt`, "+x", "*** Update File: d/other.txt", "@@", "-canary inside", "+bird inside"),
      patchOf(`*** Update File: d/sub/x.txt`, `*** Move to: d/sub/y.txt`, "@@", "-canary", "+bird"),
      ["list", { path: "d" }],
      ["list", {}],
      ["glob", { pattern: "d/**" }],
      ["glob", { pattern: "*.txt", path: "d" }],
      ["grep", { pattern: "canary" }],
      ["grep", { pattern: "canary", path: "d" }],
      ["grep", { pattern: "canary", path: "d/other.txt" }],
      ["bash", { command: "cat other.txt; ls; touch touched.txt", workdir: "d" }],
    ];
    const calls = Array.from({ length: 12 }, (_, n) => round(n)).flat();
    const run = await runTools(calls, { home, args: ALL_TOOLS, timeoutMs: 280_000 });
    expect(run.code).toBe(0);
    expect(run.outputs.filter((text) => /only-outside\.txt/.test(text))).toEqual([]);
    // Who looks while names flip looks outside.
    await whilePaused(() => expectUnharmed(run, sentinel, HOLDERS));
    for (let n = 0; n < 3; n++) {
      const undo = await runCommand({ home, args: ["session", "undo", "--force"] });
      await whilePaused(() => expectUnharmed(undo, sentinel, HOLDERS));
    }
    await stop();
  });
});

describe.skipIf(!isBuilt)("what stands in the way of our own files", () => {
  test("is not followed: planted links and pipes in the places of stores, caches and recordings", async () => {
    const home = makeAttackWorld();
    const first = await runTools([["write", { filePath: "a.txt", content: "x" }]], { home, args: ["--record", "tape"] });
    expect(first.code).toBe(0);
    const sentinel = sentinelOf(home);
    const data = join(home, ".local/share/agent");
    const victims = readdirSync(data, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    for (const { parentPath, name } of victims) symlinkSync(join(home, "outside/secret.txt"), join(parentPath, `${name}.tmp`));
    // The recordings go into a directory that the model has changed for a link, and a pipe is among them.
    execFileSync("mkfifo", [join(home, "work/tape/0009-pipe.json")]);
    const swapping: Call = ["bash", { command: "mv tape tape-2; ln -s ../outside tape" }];
    const run = await runTools([swapping], { home, args: ["--record", "tape", "--permission-mode", "yolo"] });
    expect(run.code).toBe(0);
    expect(readdirSync(join(home, "work/tape-2")).length).toBeGreaterThan(3);
    expectUnharmed(run, sentinel);
    renameSync(join(home, "work/tape-2"), join(home, "work/tape-3"));
    const replay = await runTools([], { home, args: ["--replay", "tape-3"] });
    expect([replay.code, replay.ms < 10_000]).toEqual([7, true]);
  });
});
