import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "agent-runtime";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createExec } from "../../core/exec.ts";
import { createPaths, type Paths } from "../../core/paths.ts";
import { createRedactor } from "../../core/redact.ts";
import type { Tool, ToolContext, ToolResult } from "../../core/tool.ts";
import plugin from "../../plugins/bash/index.ts";
import { timeBeside } from "../fixtures/timing.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "bash-")));
const [workspace, spillDir] = [join(folder, "work"), join(folder, "spill")];
const { PATH, HOME } = process.env;
const { exec, close } = createExec({ env: { PATH, HOME, MY_TOKEN: "canary" } });
let kept: unknown;
const lasting = (make: () => unknown) => (kept ??= make());
const { tools, hooks } = await plugin.setup({ options: {}, lasting } as never);
const [bash, bashOutput, bashKill] = tools as [Tool, Tool, Tool];
let paths: Paths;
let spilled = 0;

beforeAll(async () => {
  for (const directory of [join(workspace, "sub"), spillDir, join(folder, "outside")]) mkdirSync(directory, { recursive: true });
  paths = await createPaths({ cwd: workspace, spillDir });
});
afterAll(async () => {
  await close();
  rmSync(folder, { recursive: true, force: true });
});

function run(input: Record<string, unknown>, overrides: Partial<ToolContext> = {}, tool = bash): Promise<ToolResult> {
  const spillPath = async () => join(spillDir, `output-${++spilled}.txt`);
  const context = {
    cwd: workspace,
    sessionId: "ses_1",
    exec,
    paths,
    signal: new AbortController().signal,
    progress() {},
    spillPath,
    spill: async (text: string) => {
      const path = await spillPath();
      writeFileSync(path, text);
      return path;
    },
    ...overrides,
  };
  return Promise.resolve(tool.run(input, context as ToolContext)) as Promise<ToolResult>;
}

describe("the bash tool", () => {
  test("gives the output of a command, whose title is its description", async () => {
    const result = await run({ command: "echo hello", description: "Say hello" });
    expect(result).toEqual({
      title: "Say hello",
      output: "hello\n",
      metadata: { exit: 0, description: "Say hello", truncated: false, outputPath: undefined, timedOut: false },
    });
    expect((await run({ command: "echo hello" })).title).toBe("echo hello");
  });

  test("is a bash, with the order of both outputs kept", async () => {
    expect((await run({ command: "[[ a == a ]] && a=(1 2) && echo ${a[1]}; echo err >&2; echo out; echo err >&2" })).output).toBe("2\nerr\nout\nerr\n");
  });

  test.each([
    ["# only a comment", "(no output)"],
    ["\n\ncat <<'EOF'\n$x\nEOF\n", "$x\n"],
    ["true && # comment\n echo a", "a\n"],
    ["", "(no output)"],
    ["echo $LINENO", "1\n"],
  ])("takes %j as it is", async (command, output) => {
    expect((await run({ command })).output).toBe(output);
  });

  test("completes a command that fails, with its exit code", async () => {
    const result = await run({ command: "echo x; exit 3" });
    expect(result.output).toBe("x\n\n(Exit code: 3)");
    expect(result.metadata?.exit).toBe(3);
    expect((await run({ command: "if then" })).output).toMatch(/syntax error.*\(Exit code: 2\)$/s);
    expect((await run({ command: "kill -KILL $$" })).output).toBe("(no output)\n(Exit code: 137)");
  });

  test("waits for nobody", async () => {
    const started = performance.now();
    const result = await run({
      command: "read x; cat; sudo -k id 2>/dev/null; cd sub && git init -q . 2>/dev/null && git commit --allow-empty 2>&1 | tail -1",
    });
    expect(result.metadata?.timedOut).toBe(false);
    // One that waits does so until its timeout.
    expect(performance.now() - started).toBeLessThan(60_000);
  });

  test("ends a command at its timeout and says so", async () => {
    const duration = `8${process.pid}001`;
    const result = await run({ command: `echo begun; setsid sleep ${duration} & sleep ${duration}`, timeout: 2000 });
    expect(result.output).toBe("begun\n\n(Command timed out after 2000 ms)");
    expect(result.metadata).toMatchObject({ timedOut: true, exit: null });
    expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toContain(`sleep ${duration}`);
  });

  test("has 120 s by default and 600 s at most, in the background as much as it asks for", async () => {
    const asked: (number | undefined)[] = [];
    const noted: typeof exec = async (_file, _args, { timeoutMs }) => {
      asked.push(timeoutMs);
      return { end: "exit", exitCode: 0, head: "", tail: "", totalBytes: 0 };
    };
    const inputs = [{}, { timeout: 5 }, { timeout: 9e9 }, { background: true }, { background: true, timeout: 9e9 }];
    for (const input of inputs) await run({ command: "true", ...input }, { exec: noted });
    expect(asked).toEqual([120_000, 5, 600_000, undefined, 9e9]);
  });

  test.each([0, -5, Number.NaN])("refuses a timeout of %d", async (timeout) => {
    await expect(run({ command: "true", timeout })).rejects.toThrow(`The input of bash is invalid: timeout is ${timeout}; give milliseconds from 1 to 600000.`);
  });

  test("says that it was aborted", async () => {
    const abort = new AbortController();
    const running = run({ command: "echo begun; sleep 30" }, { signal: abort.signal, progress: () => abort.abort() });
    expect((await running).output).toBe("begun\n\n(Command was aborted)");
  });

  test("runs in the workspace or below it, never outside", async () => {
    expect((await run({ command: "pwd" })).output).toBe(`${workspace}\n`);
    expect((await run({ command: "pwd", workdir: "sub" })).output).toBe(`${workspace}/sub\n`);
    symlinkSync("../outside", join(workspace, "link"));
    for (const workdir of ["..", "/", "link", spillDir]) await expect(run({ command: "pwd", workdir })).rejects.toMatchObject({ code: "PATH_OUTSIDE" });
    await expect(run({ command: "pwd", workdir: "none" })).rejects.toThrow(`there is no directory ${workspace}/none`);
  });

  test("does not begin where a link takes the place of its directory after that was judged", async () => {
    const swapping: Paths = {
      ...paths,
      resolve: async (path, access) => {
        const real = await paths.resolve(path, access);
        renameSync(real, `${real}-moved`);
        symlinkSync("../outside", real);
        return real;
      },
    };
    for (const [workdir, background] of [
      ["swapped-1", false],
      ["swapped-2", true],
    ] as const) {
      mkdirSync(join(workspace, workdir));
      const { output } = await run({ command: "pwd; touch here", workdir, background }, { paths: swapping });
      expect(output).toContain("The command was not run: a link has taken the place of its directory.");
    }
    expect(readdirSync(join(folder, "outside"))).toEqual([]);
  });

  test("keeps the host's keys from the command", async () => {
    const { output } = await run({ command: "env; printenv MY_TOKEN; cat /proc/self/environ | tr '\\0' '\\n'" });
    expect(output).toContain("PATH=");
    expect(output).not.toContain("canary");
  });

  test("shows progress", async () => {
    const shown: string[] = [];
    const progress = ({ output = "" }) => {
      shown.push(output);
      writeFileSync(join(workspace, "shown"), "");
    };
    await run({ command: "echo a; until [ -e shown ]; do sleep 0.05; done; echo b" }, { progress });
    expect(shown).toEqual(["a\n", "b\n"]);
    rmSync(join(workspace, "shown"));
  });

  test("falls back to sh where there is no bash", async () => {
    const tried: string[] = [];
    const withoutBash: typeof exec = (file, args, options) => {
      tried.push(file);
      return exec(file === "bash" ? "no-bash-here" : file, args, options);
    };
    expect((await run({ command: "echo still" }, { exec: withoutBash })).output).toBe("still\n");
    expect(tried).toEqual(["bash", "sh"]);
  });
});

describe("long output", () => {
  const whole = (path: unknown) => readFileSync(path as string, "utf8");

  test("of up to 30,000 characters goes to the model whole, however many bytes", async () => {
    const { output, metadata } = await run({ command: "for n in $(seq 3000); do printf '%s' 'éééééééé😀'; done" });
    expect(output).toHaveLength(30_000);
    expect(metadata?.truncated).toBe(false);
  });

  test("that is somewhat longer is head, tail and the file with all of it", async () => {
    const { output, metadata } = await run({ command: "seq 1 8000" });
    const all = `${Array.from({ length: 8000 }, (_, n) => n + 1).join("\n")}\n`;
    expect(output.length).toBeLessThanOrEqual(30_000);
    expect(output).toContain(`\n... (${all.length - 29_600} characters left out; the whole output is in ${metadata?.outputPath}) ...\n`);
    expect(output.startsWith("1\n2\n")).toBe(true);
    expect(output.endsWith("7999\n8000\n")).toBe(true);
    expect(whole(metadata?.outputPath)).toBe(all);
  });

  test("that is a flood is head, tail and the file with all of it", async () => {
    const { output, metadata } = await run({ command: "seq 1 2000000; exit 4" });
    expect(output.length).toBeLessThanOrEqual(30_100);
    const all = whole(metadata?.outputPath);
    expect(output).toMatch(new RegExp(`\\n\\.\\.\\. \\(${all.length - 29_600} bytes left out; the whole output is in ${metadata?.outputPath}\\) \\.\\.\\.\\n`));
    expect(output.endsWith("2000000\n\n(Exit code: 4)")).toBe(true);
    expect(all.endsWith("1999999\n2000000\n")).toBe(true);
    expect(await paths.resolve(metadata?.outputPath as string, "read")).toBe(metadata?.outputPath);
  });

  test("that never ends is ended, and the text says why", async () => {
    const { output, metadata } = await run({ command: "yes" });
    expect(output).toMatch(/\(Command was ended: it wrote more than 64 MiB\..*\)$/);
    expect(metadata).toMatchObject({ truncated: true, timedOut: false });
  });

  test("is cut between characters", async () => {
    const { output } = await run({ command: "printf x; for n in $(seq 20000); do printf 😀; done" });
    expect(output).not.toMatch(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]|\uFFFD/);
  });
});

/** Seconds to sleep that no other process sleeps. */
let sleeps = 80_000 + (process.pid % 10_000) * 2;
const nextSleep = () => `sleep ${++sleeps}`;
const runs = (command: string) => execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }).split("\n").includes(command);

describe("a command in the background", () => {
  /** Each test is a session of its own. */
  let sessions = 0;
  const open = () => {
    const own = { sessionId: `ses_bg_${++sessions}` };
    const offered = () => [bashOutput, bashKill].map((tool) => tool.offer?.({ model: "m", tools: [], ...own }));
    const start = (command: string, more: object = {}, context: Partial<ToolContext> = {}) =>
      run({ command, background: true, ...more }, { ...own, ...context });
    const look = (id: string, wait?: number, context: Partial<ToolContext> = {}) =>
      run({ id, ...(wait !== undefined && { wait }) }, { ...own, ...context }, bashOutput);
    /** What the session's first command writes: told at its start, or where the machine has much to do, later. */
    const hear = async (command: string, context: Partial<ToolContext>) => {
      const { output } = await start(command, {}, context);
      return output.startsWith("(no output)") ? (await look("bg_1", 20_000)).output : output;
    };
    return { ...own, offered, start, look, hear, kill: (id: string) => run({ id }, own, bashKill) };
  };
  const lastLine = ({ output }: ToolResult) => output.split("\n").at(-1);

  test("is told with its id and what it has written, and looked at while it runs, until its end was told", async () => {
    const { start, look, offered } = open();
    expect(offered()).toEqual([false, false]);
    const started = await start("echo begun; until [ -e go ]; do sleep 0.05; done; echo over; exit 3", { description: "Wait" });
    expect(started).toMatchObject({ title: "Wait", metadata: { id: "bg_1", status: "running", exit: null, description: "Wait", truncated: false } });
    expect(started.output).toMatch(
      /^(?:begun\n|\(no output\))\n\(bg_1 has been running for \d+ ms\)\n\(bash_output shows what comes, bash_kill ends bg_1; the whole output goes to \/.*output-\d+\.txt\)$/,
    );
    // Where the machine has much to do its first words come later.
    if (!started.output.startsWith("begun")) expect((await look("bg_1", 20_000)).output).toMatch(/^begun\n\n/);
    expect(offered()).toEqual([true, true]);
    const nothing = [await look("bg_1"), await look("bg_1", 20)];
    for (const { output } of nothing) expect(output).toMatch(/^\(no new output\)\n\(bg_1 has been running for \d+ ms\)$/);
    expect(nothing[0]?.output).not.toBe(nothing[1]?.output);
    writeFileSync(join(workspace, "go"), "");
    const news = await look("bg_1", 20_000);
    expect(news.output).toMatch(/^over\n\n/);
    const last = news.metadata?.status === "running" ? await look("bg_1", 20_000) : news;
    expect(lastLine(last)).toMatch(/^\(bg_1 exited with code 3 after \d+ ms\)$/);
    expect(last.metadata).toMatchObject({ id: "bg_1", status: "exit", exit: 3 });
    expect(readFileSync(started.metadata?.outputPath as string, "utf8")).toBe("begun\nover\n");
    await expect(look("bg_1")).rejects.toThrow(
      'bash_output failed: there is no background command "bg_1"; there is none. They end with the agent, and are forgotten once their end was told.',
    );
    // To take the tools back would cost the provider's cache once more.
    expect(offered()).toEqual([true, true]);
    rmSync(join(workspace, "go"));
  });

  test("that ends at once says so at once, and leaves nothing to look at", async () => {
    const { start, look, offered } = open();
    // However much the machine has to do: nothing else goes on meanwhile.
    const atOnce: typeof exec = async (file, args, { cwd, onOutput }) => {
      const { status, stderr } = spawnSync(file, [...args], { cwd, encoding: "utf8" });
      if (stderr !== "") onOutput?.(stderr);
      return { end: "exit", exitCode: status, head: "", tail: "", totalBytes: stderr.length };
    };
    expect((await start("echo no >&2; exit 7", {}, { exec: atOnce })).output).toMatch(/^no\n\n\(The command exited with code 7\)$/);
    expect((await start("true", {}, { exec: atOnce })).output).toMatch(/^\(no output\)\n\(The command exited with code 0\)$/);
    await expect(start("true", { workdir: "none" })).rejects.toThrow(`there is no directory ${workspace}/none`);
    await expect(look("bg_1")).rejects.toThrow('there is no background command "bg_1"');
    expect(offered()).toEqual([false, false]);
  });

  test("ends when it is killed, with everything it started, and its last output is told", async () => {
    const { start, look, kill } = open();
    const sleep = nextSleep();
    await start(`trap 'echo saved' TERM; setsid ${sleep} & nohup ${sleep} & (trap '' TERM; ${sleep})`);
    const { value: killed, ms, hopMs } = await timeBeside(() => kill("bg_1"));
    expect(ms).toBeLessThan(2000 + 10 * hopMs);
    expect(killed.output).toMatch(/\(bg_1 was ended by bash_kill after \d+ ms\)$/);
    expect(killed.metadata).toMatchObject({ status: "kill", exit: null });
    expect(runs(sleep)).toBe(false);
    await expect(look("bg_1")).rejects.toThrow('there is no background command "bg_1"');
    await expect(kill("bg_1")).rejects.toThrow('bash_kill failed: there is no background command "bg_1"');
  });

  test("has no timeout unless it is given one, which may be long", async () => {
    const { start, look, kill } = open();
    const sleep = nextSleep();
    await start(sleep, { timeout: 2000 });
    await start(sleep, { timeout: 900_000 });
    const ended = await look("bg_1", 20_000);
    expect(ended.output).toMatch(/^\(no new output\)\n\(bg_1 was ended at its timeout after \d+ ms\)$/);
    expect(ended.metadata).toMatchObject({ status: "timeout", exit: null });
    expect((await kill("bg_2")).metadata?.status).toBe("kill");
    for (const timeout of [0, -1]) await expect(start("true", { timeout })).rejects.toThrow(`timeout is ${timeout}; give milliseconds from 1 on.`);
  });

  test("is one of at most eight, and the refusal lists them", async () => {
    const { start, kill } = open();
    const sleep = nextSleep();
    const started = await Promise.allSettled(Array.from({ length: 9 }, () => start(sleep)));
    const refused = started.flatMap((one) => (one.status === "rejected" ? [one.reason.message] : []));
    const list = Array.from({ length: 8 }, (_, n) => `bg_${n + 1} (${sleep})`).join(", ");
    expect(refused).toEqual([`bash failed: 8 commands run in the background, and no more may. End one with bash_kill: ${list}`]);
    await kill("bg_3");
    expect((await start(sleep)).metadata).toMatchObject({ id: "bg_9", status: "running" });
    // Another session has its own.
    const other = open();
    expect((await other.start(sleep)).metadata?.id).toBe("bg_1");
    for (const id of ["bg_1", "bg_2", "bg_4", "bg_5", "bg_6", "bg_7", "bg_8", "bg_9"]) await kill(id);
    await other.kill("bg_1");
    expect(runs(sleep)).toBe(false);
  });

  test("is one of at most 32 of all sessions", async () => {
    const sessions = Array.from({ length: 5 }, open);
    const sleep = nextSleep();
    for (const { start } of sessions.slice(0, 4)) await Promise.all(Array.from({ length: 8 }, () => start(sleep)));
    await expect(sessions[4]?.start(sleep)).rejects.toThrow("32 commands of this and other sessions run in the background, and no more may.");
    await sessions[0]?.kill("bg_1");
    expect((await sessions[4]?.start(sleep))?.metadata?.status).toBe("running");
    for (const { sessionId } of sessions) hooks?.on?.["session.finish"]?.({ sessionId, parentId: "ses_1" } as never);
    await expect.poll(() => runs(sleep), { timeout: 30_000 }).toBe(false);
  });

  test("is kept when it has ended, until sixteen later ones have ended too", async () => {
    const { start, look } = open();
    const ends: Promise<unknown>[] = [];
    const noted: typeof exec = (...asked) => {
      const running = exec(...asked);
      ends.push(running);
      return running;
    };
    for (let n = 0; n < 3; n++) {
      await Promise.all(Array.from({ length: 6 }, () => start(`until [ -e go-${n} ]; do sleep 0.05; done; echo late`, {}, { exec: noted })));
      writeFileSync(join(workspace, `go-${n}`), "");
      await Promise.all(ends);
      await delay(0);
      rmSync(join(workspace, `go-${n}`));
    }
    const kept = Array.from({ length: 16 }, (_, n) => `bg_${n + 3}`).join(", ");
    await expect(look("bg_1")).rejects.toThrow(`there are ${kept}.`);
    expect((await look("bg_3")).output).toMatch(/^late\n\n\(bg_3 exited with code 0/);
  });

  test("that floods is ended at 64 MiB: the end of what was not read is told, and the whole is in the file", async () => {
    const { start, look } = open();
    await start("sleep 0.3; seq 1 20000000");
    const looks: ToolResult[] = [];
    do looks.push(await look("bg_1", 20_000));
    while (looks.at(-1)?.metadata?.status === "running");
    expect(Math.max(...looks.map(({ output }) => output.length))).toBeLessThan(30_500);
    expect(looks.map(({ output }) => output)).toContainEqual(
      expect.stringMatching(/^\.\.\. \(\d+ characters left out; the whole output is in \/.*\.txt\) \.\.\.\n/),
    );
    const { output, metadata } = looks.at(-1) as ToolResult;
    expect(output).toMatch(/\(bg_1 was ended after \d+ ms: it wrote more than 64 MiB\. Write to a file, or filter with head or grep\.\)$/);
    expect(metadata?.status).toBe("output-limit");
    const whole = readFileSync(metadata?.outputPath as string);
    expect(whole.length).toBe(64 * 1024 * 1024);
    expect(whole.toString("latin1", 0, 6)).toBe("1\n2\n3\n");
  });

  test("is waited for until there is something new, no longer than asked, and not after an abort, which loses nothing", async () => {
    const { start, look, kill } = open();
    await start("until [ -e go2 ]; do sleep 0.05; done; echo news; sleep 60");
    const abort = new AbortController();
    const waiting = look("bg_1", 60_000, { signal: abort.signal });
    abort.abort(new Error("stopped"));
    await expect(waiting).rejects.toThrow("stopped");
    writeFileSync(join(workspace, "go2"), "");
    expect((await look("bg_1", 20_000)).output).toMatch(/^news\n/);
    rmSync(join(workspace, "go2"));
    await kill("bg_1");
  });

  test("is told of in whole lines, though the end of one comes later, as when it looks like the beginning of a secret", async () => {
    const { start, look, kill } = open();
    const redactor = createRedactor(["7\nof-the-secret"]);
    const held = createExec({ env: { PATH, HOME }, redactor });
    const context = { exec: held.exec };
    const first = (await start("echo port 34707; until [ -e go3 ]; do sleep 0.05; done; echo port 34717; sleep 60", {}, context)).output;
    const told = first.startsWith("port") ? first : (await look("bg_1", 20_000)).output;
    expect(told).toMatch(/^port 34707\n\n/);
    writeFileSync(join(workspace, "go3"), "");
    expect((await look("bg_1", 20_000)).output).toMatch(/^port 34717\n\n/);
    rmSync(join(workspace, "go3"));
    await kill("bg_1");
    await held.close();
  });

  test("does not end with the call or the prompt that started it, but with a call that was aborted before its id was told", async () => {
    const { start, look, kill } = open();
    const [first, second] = [nextSleep(), nextSleep()];
    const prompt = new AbortController();
    await start(first, {}, { signal: prompt.signal });
    prompt.abort();
    expect(lastLine(await look("bg_1"))).toMatch(/has been running/);
    expect((await start(second, {}, { signal: prompt.signal })).output).toMatch(/\(The command was ended from outside\)$/);
    expect([runs(first), runs(second)]).toEqual([true, false]);
    await kill("bg_1");
  });

  test("of a task ends with the task", async () => {
    const { start, look, sessionId, offered } = open();
    const sleep = nextSleep();
    await start(sleep);
    const finish = (more: object) => hooks?.on?.["session.finish"]?.({ type: "session.finish", sessionId, at: 0, ...more } as never);
    await finish({});
    expect(runs(sleep)).toBe(true);
    await finish({ parentId: "ses_parent" });
    while (runs(sleep)) await new Promise((resolve) => setTimeout(resolve, 20));
    await expect(look("bg_1")).rejects.toThrow("there is none");
    expect(offered()).toEqual([false, false]);
  });

  test("is given what the plugin's options and the env hook give", async () => {
    const { hear } = open();
    const withEnv: typeof exec = (file, args, options) => exec(file, args, { ...options, env: { FROM_HOOK: "yes" } });
    expect(await hear("echo $FROM_HOOK$MY_TOKEN", { exec: withEnv })).toMatch(/^yes\n\n/);
  });

  test("falls back to sh where there is no bash, and says what is in its way otherwise", async () => {
    const { start, look, hear } = open();
    const withoutBash: typeof exec = (file, args, options) => exec(file === "bash" ? "no-bash-here" : file, args, options);
    expect(await hear("echo still", { exec: withoutBash })).toMatch(/^still\n/);
    const late: typeof exec = async () => {
      await new Promise((resolve) => setTimeout(resolve, 400));
      throw new Error("the hook failed");
    };
    await start("true", {}, { exec: late });
    expect((await look("bg_2", 20_000)).output).toBe("(no new output)\n(bg_2 could not run: the hook failed)");
  });
});

describe("the plugin", () => {
  test("takes names and prefixes of variables as option, nothing wider", async () => {
    const check = async (env: string[]) => (await plugin.options?.["~standard"].validate({ env }))?.issues === undefined;
    expect(await check(["NAME", "PREFIX_*"])).toBe(true);
    for (const wrong of ["*", "A*B", "A=1", ""]) expect(await check([wrong]), wrong).toBe(false);
  });

  test("costs a first request at most 600 bytes", () => {
    const { $schema, ...parameters } = z.toJSONSchema(bash.input as z.ZodType, { io: "input" });
    const json = JSON.stringify({ type: "function", function: { name: bash.name, description: bash.description, parameters } });
    expect(json.length).toBeLessThanOrEqual(600);
    expect(bash).toMatchObject({ name: "bash", effect: "run", selfLimiting: true });
    expect(bash.patterns?.({ command: "ls" }, { cwd: workspace })).toEqual(["ls"]);
  });
});
