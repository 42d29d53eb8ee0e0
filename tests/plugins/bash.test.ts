import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "agent-runtime";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createExec } from "../../core/exec.ts";
import { createPaths, type Paths } from "../../core/paths.ts";
import type { Tool, ToolContext, ToolResult } from "../../core/tool.ts";
import plugin from "../../plugins/bash/index.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "bash-")));
const [workspace, spillDir] = [join(folder, "work"), join(folder, "spill")];
const { PATH, HOME } = process.env;
const { exec, close } = createExec({ env: { PATH, HOME, MY_TOKEN: "canary" } });
const contribution = await plugin.setup({ options: {} } as never);
const bash = contribution.tools?.[0] as Tool;
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

function run(input: Record<string, unknown>, overrides: Partial<ToolContext> = {}): Promise<ToolResult> {
  const spillPath = async () => join(spillDir, `output-${++spilled}.txt`);
  const context = {
    cwd: workspace,
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
  return Promise.resolve(bash.run(input, context as ToolContext)) as Promise<ToolResult>;
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
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test("ends a command at its timeout and says so", async () => {
    const duration = `8${process.pid}001`;
    const result = await run({ command: `echo begun; setsid sleep ${duration} & sleep ${duration}`, timeout: 300 });
    expect(result.output).toBe("begun\n\n(Command timed out after 300 ms)");
    expect(result.metadata).toMatchObject({ timedOut: true, exit: null });
    expect(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" })).not.toContain(`sleep ${duration}`);
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

  test("keeps the host's keys from the command", async () => {
    const { output } = await run({ command: "env; printenv MY_TOKEN; cat /proc/self/environ | tr '\\0' '\\n'" });
    expect(output).toContain("PATH=");
    expect(output).not.toContain("canary");
  });

  test("shows progress", async () => {
    const shown: string[] = [];
    await run({ command: "echo a; sleep 0.3; echo b" }, { progress: ({ output }) => shown.push(output ?? "") });
    expect(shown).toEqual(["a\n", "b\n"]);
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
