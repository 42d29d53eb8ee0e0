import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { HAS_SANDBOX } from "../fixtures/sandboxed.ts";
import { CANARY, expectUnharmed, makeAttackWorld, sentinelOf } from "./attack-world.ts";
import { type CommandResult, isBuilt, JSON_OUT, KEY, MODEL, ofType, removeHomes, runCommand, typesOf, until } from "./command.ts";
import { type Call, processesWith, runTools, statesOf, toolOutputsOf, turn } from "./tool-runs.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});
afterAll(removeHomes);

const bash = (command: string, more: object = {}): Call => ["bash", { command, ...more }];
let sleeps = 40_000 + (process.pid % 10_000) * 3;
const nextSleep = () => `sleep ${++sleeps}`;
const reasonsOf = (run: CommandResult): string[] => ofType(run, "sandbox_unavailable").map(({ reason }) => reason);

/** A program of the workspace: what it does no reading of its command line can tell. */
const program = (body: string) => `const fs = require("node:fs"), { join } = require("node:path"), home = process.env.HOME;
const attempt = (name, work) => { try { console.log(name, "DONE", String(work() ?? "").slice(0, 300)); } catch (error) { console.log(name, error.code); } };
${body}`;

/** Programs that a command needs, without bwrap, in a folder of their own. */
function makePath(home: string, name = "bin"): string {
  const folder = join(home, name);
  mkdirSync(folder, { recursive: true });
  for (const tool of ["sh", "bash", "cat", "ls", "grep", "sleep", "env", "touch", "tr"]) {
    symlinkSync(
      execFileSync("sh", ["-c", `command -v ${tool}`])
        .toString()
        .trim(),
      join(folder, tool),
    );
  }
  return folder;
}

function plant(path: string, script: string): void {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

if (!HAS_SANDBOX) describe("the sandbox", () => test.skip("needs bubblewrap, which is not there or does not work", () => {}));

describe.skipIf(!isBuilt || !HAS_SANDBOX)("a program that a command runs", () => {
  test("writes nothing outside of the workspace, whatever way it takes", async () => {
    const attack = program(`
      attempt("above", () => fs.writeFileSync("../outside/secret.txt", "x"));
      attempt("new", () => fs.writeFileSync(join(home, "outside/new.txt"), "x"));
      attempt("home", () => fs.writeFileSync(join(home, ".bashrc"), "x"));
      fs.symlinkSync(join(home, "outside"), "out");
      attempt("link", () => fs.writeFileSync("out/secret.txt", "x"));
      attempt("remove", () => fs.rmSync(join(home, "outside"), { recursive: true }));
      attempt("hard link", () => fs.linkSync(join(home, "outside/secret.txt"), "twin"));
      attempt("workspace", () => fs.renameSync(home + "/work", home + "/elsewhere"));
      attempt("inside", () => fs.writeFileSync("inside.txt", "x"));`);
    const home = makeAttackWorld({ "work/attack.cjs": attack });
    const sentinel = sentinelOf(home);
    const run = await runTools([bash("node attack.cjs")], { home });
    expect(run.outputs[0]).toContain("inside DONE");
    expect(run.outputs[0]?.match(/DONE/g)).toHaveLength(1);
    expect(existsSync(join(home, "work/inside.txt"))).toBe(true);
    expect(readdirSync(home)).not.toContain(".bashrc");
    expect(reasonsOf(run)).toEqual([]);
    expectUnharmed(run, sentinel);
  });

  test("sees no key and no secret file, of the home, of the agent or of the workspace", async () => {
    const files = [".ssh/id_rsa", ".aws/credentials", ".netrc", ".npmrc", ".config/gh/hosts.yml", ".docker/config.json", ".kube/config"];
    const own = [".local/share/agent/auth.json", ".config/agent/agent.json", "work/.env", "work/packages/app/.env.local", "work/.npmrc"];
    const attack = program(`
      for (const file of ${JSON.stringify([...files, ...own, "work/.env.example"])}) attempt(file, () => fs.readFileSync(join(home, file), "utf8"));
      attempt("sessions", () => fs.readdirSync(join(home, ".local/share/agent/sessions")));`);
    const home = makeAttackWorld({
      ...Object.fromEntries(files.slice(4).map((file) => [file, CANARY])),
      ".local/share/agent/auth.json": { openrouter: { type: "api", key: `sk-${CANARY}` } },
      ".config/agent/agent.json": { provider: { acme: { options: { apiKey: `sk-${CANARY}` } } } },
      "work/.env": `TOKEN=${CANARY}`,
      "work/packages/app/.env.local": `TOKEN=${CANARY}`,
      "work/.npmrc": `//registry.invalid/:_authToken=${CANARY}`,
      "work/.env.example": "TOKEN=here",
      "work/attack.cjs": attack,
    });
    const sentinel = sentinelOf(home);
    const run = await runTools([bash("node attack.cjs"), bash("grep -r canary . ; true")], { home });
    expect(run.outputs[0]).toContain("work/.env.example DONE TOKEN=here");
    for (const file of own.slice(2)) expect(run.outputs[0]).toContain(`${file} EACCES`);
    expect(run.outputs[0]).toMatch(/sessions ENOENT/);
    expectUnharmed(run, sentinel, [...files, ...own]);
    // Where the redactor would have helped nobody can tell: the length says that nothing was read.
    for (const file of files) expect(run.outputs[0]).toMatch(new RegExp(`${file.replaceAll(".", "\\.")} (ENOENT|DONE *$)`, "m"));
  });

  test("sees what a person's rule for read allows", async () => {
    const home = makeAttackWorld({
      ".config/agent/agent.json": { permission: { read: { ".env.test": "allow" } } },
      "work/.env.test": "MODE=test",
      "work/.env": `TOKEN=${CANARY}`,
    });
    const run = await runTools([bash('node -p \'fs.readFileSync(".env.test", "utf8")\'')], { home });
    expect(run.outputs[0]).toContain("MODE=test");
  });

  test("changes neither what makes git run programs nor the agent's own configuration, and commits all the same", async () => {
    const attack = program(`
      attempt("hook", () => fs.writeFileSync(".git/hooks/pre-commit", "x"));
      attempt("config", () => fs.appendFileSync(".git/config", "[core]\\nfsmonitor = x"));
      attempt("replaced config", () => fs.renameSync("in.txt", ".git/config"));
      attempt("replaced repository", () => fs.renameSync(".git", ".git2"));
      attempt("folder", () => fs.writeFileSync(".agent/tool/x.js", "x"));
      attempt("own", () => fs.writeFileSync("agent.json", "{}"));
      attempt("own removed", () => fs.rmSync("agent.json"));`);
    const home = makeAttackWorld({ "work/agent.json": { temperature: 0.5 }, "work/.agent/tool/.keep": "", "work/attack.cjs": attack });
    const git = (...args: string[]) => execFileSync("git", args, { cwd: join(home, "work"), env: { PATH: process.env.PATH, HOME: home } }).toString();
    git("init", "-q");
    git("config", "user.name", "Ada");
    git("config", "user.email", "ada@example.invalid");
    const config = readFileSync(join(home, "work/.git/config"), "utf8");
    const hooks = readdirSync(join(home, "work/.git/hooks"));
    const run = await runTools([bash("node attack.cjs"), bash("git add in.txt && git commit -q -m one && git checkout -q -b two && git log --oneline")], {
      home,
    });
    expect(run.outputs[0]).not.toContain("DONE");
    expect(run.outputs[1]).toMatch(/^[0-9a-f]{7,} one$/m);
    expect(readFileSync(join(home, "work/.git/config"), "utf8")).toBe(config);
    expect(readdirSync(join(home, "work/.git/hooks"))).toEqual(hooks);
    expect(git("branch", "--show-current").trim()).toBe("two");
  });

  test("finds the environment of no process that has a key", async () => {
    const attack = program(`
      const processes = fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name));
      console.log("processes", processes.length);
      for (const id of [process.ppid, ...processes]) attempt(id, () => fs.readFileSync("/proc/" + id + "/environ", "utf8").includes("OPENROUTER"));`);
    const run = await runTools([bash("node attack.cjs")], { home: makeAttackWorld({ "work/attack.cjs": attack }) });
    expect(Number(/processes (\d+)/.exec(run.outputs[0] ?? "")?.[1])).toBeLessThan(10);
    expect(run.outputs[0]).toMatch(/DONE false/);
    expect(run.outputs[0]).not.toMatch(/DONE true/);
    expect(run.stdout).not.toContain(KEY);
  });

  test("has no network where the configuration takes it away, and has it otherwise", async () => {
    let connections = 0;
    const server = createServer((_, response) => {
      connections++;
      response.end("reached");
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const call = bash("node call.cjs");
    const files = { "work/call.cjs": `fetch("http://127.0.0.1:${port}").then((r) => r.text()).then(console.log, (e) => console.log(e.cause.code));` };
    const open = await runTools([call], { home: makeAttackWorld(files) });
    expect([open.outputs[0]?.trim(), connections]).toEqual(["reached", 1]);
    const closed = await runTools([call], { home: makeAttackWorld({ ...files, ".config/agent/agent.json": { sandbox: { network: false } } }) });
    expect([closed.outputs[0]?.trim(), connections]).toEqual(["ECONNREFUSED", 1]);
  });

  test("ends as it would without a sandbox: status, signal, timeout", async () => {
    const run = await runTools([bash("exit 7"), bash("kill -KILL $$"), bash(nextSleep(), { timeout: 300 })], { home: makeAttackWorld() });
    expect(run.outputs.map((output) => output.trim().split("\n").at(-1))).toEqual(["(Exit code: 7)", "(Exit code: 137)", "(Command timed out after 300 ms)"]);
  });

  test("leaves no process, even one without the mark of the run, at its end and when the agent is killed", async () => {
    const sleep = nextSleep();
    const leave = `(env -i setsid ${sleep} >/dev/null 2>&1 &)`;
    await runTools([bash(`${leave}; true`), bash(leave, { background: true })], { home: makeAttackWorld() });
    expect(processesWith(sleep)).toEqual([]);
    const killed = await runTools([bash(`${leave}; ${sleep}`, { background: true }), bash(`${leave}; ${sleep}`)], {
      home: makeAttackWorld(),
      onSpawn: (child) => void until(() => processesWith(sleep).filter((line) => line.trim().endsWith(sleep)).length >= 4).then(() => child.kill("SIGKILL")),
    });
    expect(killed.signal).toBe("SIGKILL");
    await until(() => processesWith(sleep).length === 0);
  });

  test("may serve on 127.0.0.1 in the background, for other commands and for people", async () => {
    const server =
      'const s = require("node:http").createServer((_, r) => r.end("served")).listen(0, "127.0.0.1", () => require("node:fs").writeFileSync("port", String(s.address().port)))';
    const ask =
      'const look = () => { try { fetch("http://127.0.0.1:" + require("node:fs").readFileSync("port", "utf8")).then((r) => r.text()).then(console.log, console.log) } catch { setTimeout(look, 20) } }; look()';
    const home = makeAttackWorld({ "work/server.cjs": server, "work/ask.cjs": ask });
    const script = [turn(bash("node server.cjs", { background: true })), turn(bash("node ask.cjs")), { text: "ok" }];
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "go"], script, home });
    expect(run.requests.at(-1)?.text).toContain("served");
    const port = Number(readFileSync(join(home, "work/port"), "utf8"));
    await expect(new Promise((resolve, reject) => connect(port, "127.0.0.1").once("connect", resolve).once("error", reject))).rejects.toThrow("ECONNREFUSED");
  });

  test("works offline as people work: npm, git, node, python, temporary files", async () => {
    const home = makeAttackWorld({ "work/dep/package.json": { name: "dep", version: "1.0.0" } });
    const commands = [
      "npm init -y >/dev/null && npm pkg set dependencies.dep=file:./dep && npm install --offline --no-audit --no-fund && npm ls dep",
      "git init -q . && git add package.json && git -c user.name=A -c user.email=a@b.invalid commit -q -m first && git log --oneline",
      "printf x | tee /dev/stderr >/dev/null; cat /dev/stdin < package.json >/dev/null && file=$(mktemp) && echo y > $file && cat $file",
      "python3 -c 'import multiprocessing, tempfile; multiprocessing.Lock(); print(tempfile.TemporaryFile())'",
    ];
    const script = [...commands.map((command) => turn(bash(command))), { text: "ok" }];
    const last = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "go"], script, home, timeoutMs: 150_000 });
    const run = { outputs: toolOutputsOf(last.requests.at(-1)) };
    expect(run.outputs[0]).toContain("dep@1.0.0");
    expect(run.outputs[1]).toMatch(/first$/m);
    expect(run.outputs[2]?.replaceAll("\n", "")).toBe("xy");
    expect(run.outputs[3]).not.toContain("Error");
    expect(readdirSync(home)).not.toContain(".npm");
  }, 180_000);
});

describe.skipIf(!isBuilt || !HAS_SANDBOX)("the bwrap that is used", () => {
  test("is none that the workspace brings", async () => {
    const home = makeAttackWorld();
    plant(join(home, "work/bin/bwrap"), 'touch planted; exec "$@"');
    symlinkSync(join(home, "work/bin"), join(home, "linked"));
    const own = [join(home, "work/bin"), join(home, "linked"), "./bin"].join(":");
    const run = await runTools([bash("node -p 'process.ppid'")], { home, env: { PATH: `${own}:${process.env.PATH}` } });
    expect(reasonsOf(run)).toEqual([]);
    expect(Number(run.outputs[0])).toBeLessThan(10);
    const alone = await runTools([bash("echo on")], { home, env: { PATH: `${own}:${makePath(home)}` } });
    expect(reasonsOf(alone)).toEqual([expect.stringContaining("lies in the workspace")]);
    expect(existsSync(join(home, "work/planted"))).toBe(false);
  });

  test("is started once: what it is tried with serves for the commands, too", async () => {
    const home = makeAttackWorld();
    plant(join(home, "programs/bwrap"), `echo started >> ${join(home, "starts")}; PATH=${process.env.PATH} exec bwrap "$@"`);
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT, "-p", "go"],
      script: [turn(bash("echo a")), turn(bash("node -p 'process.ppid'")), { text: "ok" }],
      home,
      env: { PATH: `${join(home, "programs")}:${process.env.PATH}` },
    });
    expect(toolOutputsOf(run.requests.at(-1))).toEqual(["a\n", expect.stringMatching(/^\d\n$/)]);
    expect(readFileSync(join(home, "starts"), "utf8")).toBe("started\n");
  });
});

describe.skipIf(!isBuilt)("where there is no sandbox", () => {
  const lines = (...prompts: string[]) => prompts.map((message) => `${JSON.stringify({ message })}\n`).join("");

  test("each prompt says so once, before its first command has run", async () => {
    const home = makeAttackWorld();
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT],
      stdin: lines("one", "two"),
      script: [turn(bash("echo a"), bash("echo b")), turn(bash("echo c")), { text: "ok" }, turn(bash("echo d")), { text: "ok" }],
      home,
      env: { PATH: makePath(home) },
    });
    const told = typesOf(run).filter((type) => type === "sandbox_unavailable" || type === "tool_use" || type === "result");
    expect(told.join(" ").replaceAll("result", "").split(/\s+/).filter(Boolean)).toEqual([
      "sandbox_unavailable",
      ...["tool_use", "tool_use", "tool_use"],
      "sandbox_unavailable",
      "tool_use",
    ]);
    expect(new Set(reasonsOf(run))).toEqual(new Set([expect.stringMatching(/bubblewrap is not installed.*apt install bubblewrap/)]));
    expect(new Set(statesOf(run))).toEqual(new Set(["bash:completed"]));
  });

  test("it says why one that is installed does not work, and tries it before the first command alone", async () => {
    const triesFor = async (commands: string[]): Promise<string> => {
      const home = makeAttackWorld();
      const path = makePath(home);
      plant(join(path, "bwrap"), `echo tried >> ${join(home, "tries")}; echo "bwrap: No permissions to create new namespace" >&2; exit 1`);
      const run = await runTools(
        commands.map((command) => bash(`echo ${command}`)),
        { home, env: { PATH: path } },
      );
      expect(reasonsOf(run)).toEqual([expect.stringMatching(/No permissions to create new namespace.*unprivileged user namespaces/)]);
      expect(run.outputs).toEqual(commands.map((command) => `${command}\n`));
      return readFileSync(join(home, "tries"), "utf8");
    };
    expect(await triesFor(["a", "b", "c"])).toBe(await triesFor(["a"]));
  });

  test("commands are refused if the configuration wants one, also in the mode that wants none", async () => {
    for (const args of [[], ["--permission-mode", "yolo"]]) {
      const home = makeAttackWorld({ ".config/agent/agent.json": { sandbox: { enabled: true } } });
      const run = await runTools([bash("touch ran")], { home, args, env: { PATH: makePath(home) } });
      expect(run.outputs[0]).toContain("Nothing runs here without a sandbox, and there is none: bubblewrap is not installed");
      expect(statesOf(run)).toEqual(["bash:error"]);
      expect(existsSync(join(home, "work/ran"))).toBe(false);
    }
  });

  test("the modes that only read run nothing that may write", async () => {
    const home = makeAttackWorld();
    const run = await runTools([bash("touch ran"), bash("cat in.txt")], { home, args: ["--permission-mode", "readonly"], env: { PATH: makePath(home) } });
    expect(statesOf(run).sort()).toEqual(["bash:completed", "bash:error"]);
    expect(existsSync(join(home, "work/ran"))).toBe(false);
    expect(reasonsOf(run)).toHaveLength(1);
  });

  test("because it is switched off, that is said; the mode that wants none says nothing", async () => {
    const off = await runTools([bash("echo a")], { home: makeAttackWorld({ ".config/agent/agent.json": { sandbox: { enabled: false } } }) });
    expect(reasonsOf(off)).toEqual(["the configuration switches it off (sandbox.enabled: false)"]);
    const free = await runTools([bash("echo a")], { home: makeAttackWorld(), args: ["--permission-mode", "yolo"] });
    expect([reasonsOf(free), free.outputs]).toEqual([[], ["a\n"]]);
  });

  test.skipIf(!HAS_SANDBOX)("an untrusted workspace has no say in that: it may be stricter, never laxer", async () => {
    const home = makeAttackWorld({ "work/agent.json": { sandbox: { enabled: false, write: [".."], network: true } } });
    const run = await runTools([bash('node -e \'require("node:fs").writeFileSync(process.env.HOME + "/new", "")\'')], { home });
    expect(run.outputs[0]).toContain("EROFS");
    expect(ofType(run, "untrusted_config")[0].keys.sort()).toEqual(["sandbox.enabled", "sandbox.network", "sandbox.write"]);
    expect(reasonsOf(run)).toEqual([]);
  });
});
