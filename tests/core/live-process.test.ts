import { spawn } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { AgentError } from "../../core/errors.ts";
import { createExec } from "../../core/exec.ts";
import { until } from "../cli/command.ts";
import { processesWith } from "../cli/tool-runs.ts";
import { timeBeside } from "../fixtures/timing.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "live-process-")));
const open: { close(): Promise<void> }[] = [];
const { PATH, HOME } = process.env;
let count = 0;
const nextSleep = () => `sleep 8${process.pid}${++count}`;

function makeRunner(env: Record<string, string | undefined> = { PATH, HOME }) {
  const made = createExec({ env });
  open.push(made);
  return made;
}

/** A shell that stays, and what it has said. */
async function startShell(script: string, options: object = {}, runner = makeRunner()) {
  const said = { out: "", error: "" };
  const onOutput = (piece: string) => void (said.out += piece);
  const onError = (piece: string) => void (said.error += piece);
  const live = await runner.startProcess("sh", ["-c", script], { cwd: folder, onOutput, onError, ...options });
  return { live, said, runner };
}

afterEach(async () => {
  for (const runner of open.splice(0)) await runner.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a process that stays", () => {
  test("is talked to over its input and output, and its errors come apart", async () => {
    const { live, said } = await startShell('while read -r line; do echo "got $line"; echo "bad $line" >&2; done; exit 3');
    await live.write("one\n");
    await until(() => said.out === "got one\n" && said.error === "bad one\n");
    await live.write("zwölf €\n");
    await until(() => said.out.endsWith("got zwölf €\n"));
    expect(await live.end()).toEqual({ exitCode: 3 });
    await expect(live.write("more\n")).rejects.toThrow(/it has ended/);
  });

  test("gets the allow-listed environment and what is added to it, and works in its folder", async () => {
    const runner = makeRunner({ PATH, HOME, OPENROUTER_API_KEY: "sk-or-v1-secret", CHOSEN: "1" });
    const { live, said } = await startShell("pwd; env", { env: { ADDED: "2" }, inherit: ["CHOSEN"] }, runner);
    await live.ended;
    expect(said.out.split("\n")).toEqual(expect.arrayContaining([folder, "ADDED=2", "CHOSEN=1", `HOME=${HOME}`]));
    expect(said.out).not.toContain("sk-or-v1-secret");
  });

  test("that is deaf to the end of its input and to SIGTERM is gone within 2 s, with what it started", async () => {
    const [first, second] = [nextSleep(), nextSleep()];
    const { live, said } = await startShell(`trap '' TERM; setsid ${first} & ${second} & echo ready; wait; wait; ${second}`);
    await until(() => said.out === "ready\n");
    const { ms, hopMs } = await timeBeside(() => live.end());
    expect(ms).toBeLessThan(2_000 + 10 * hopMs);
    expect([...processesWith(first), ...processesWith(second)]).toEqual([]);
  });

  test("says how it ended by itself, and leaves nothing behind", async () => {
    const left = nextSleep();
    const { live } = await startShell(`${left} & kill -USR1 $$`);
    expect(await live.ended).toEqual({ exitCode: 128 + 10 });
    expect(processesWith(left)).toEqual([]);
  });

  test("ends with its signal, with the runner, and with a reader that fails", async () => {
    const abort = new AbortController();
    const aborted = await startShell(nextSleep(), { signal: abort.signal });
    abort.abort();
    const closed = await startShell(nextSleep());
    await closed.runner.close();
    const failing = await startShell(`echo x; ${nextSleep()}`, {
      onOutput: () => {
        throw new Error("unreadable");
      },
    });
    for (const { live } of [aborted, closed, failing]) expect(await live.ended).toEqual({ exitCode: 143 });
    await expect(closed.runner.startProcess("sh", [], { cwd: folder, onOutput: () => {} })).rejects.toThrow(/the run is over/);
  });

  test("that is no program, or no folder, is a failure with its reason", async () => {
    const { startProcess } = makeRunner();
    const failure = await startProcess("no-such-program", [], { cwd: folder, onOutput: () => {} }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AgentError);
    expect(failure).toMatchObject({ code: "TOOL_FAILED", data: { systemCode: "ENOENT" } });
    await expect(startProcess("sh", [], { cwd: join(folder, "gone"), onOutput: () => {} })).rejects.toThrow(/no directory/);
  });

  test("is gone after the agent was killed", async () => {
    const [own, detached] = [nextSleep(), nextSleep()];
    const script = join(folder, "parent.mts");
    writeFileSync(
      script,
      `import { createExec } from ${JSON.stringify(fileURLToPath(new URL("../../core/exec.ts", import.meta.url)))};
       const { startProcess } = createExec({ env: process.env });
       await startProcess("sh", ["-c", ${JSON.stringify(`setsid ${detached} & echo up; ${own}`)}], { cwd: "/", onOutput: () => console.log("up") });
       setInterval(() => {}, 1000);`,
    );
    const parent = spawn(process.execPath, ["--import", "tsx", script], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => parent.stdout.once("data", resolve));
    await until(() => processesWith(own).length > 0 && processesWith(detached).length > 0);
    parent.kill("SIGKILL");
    await until(() => processesWith(own).length + processesWith(detached).length === 0);
  });
});
