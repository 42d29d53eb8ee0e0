import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { eventSchema } from "../../cli/events-schema.ts";
import { chunk, startServer } from "../fixtures/server.ts";
import { timeBeside } from "../fixtures/timing.ts";
import { handlesSignals, isBuilt, JSON_OUT, KEY, MODEL, makeHome, removeHomes, runCommand, until } from "./command.ts";

afterAll(removeHomes);

const types = (events: any[]) => events.map(({ type }) => type);
const LAUNCHER = process.env.AGENT_BIN ?? join(import.meta.dirname, "../../bin/agent.js");

describe.skipIf(!isBuilt)("the command", () => {
  test("answers a piped prompt on stdout, with the progress on stderr", async () => {
    const run = await runCommand({ args: MODEL, stdin: "Say hello.\n" });
    expect(run).toMatchObject({ code: 0, stdout: "Hello.\n" });
    expect(run.stderr).toContain("1 step");
    expect((await runCommand({ args: [...MODEL, "-q"], stdin: "Say hello.\n" })).stderr).toBe("");
  });

  test("does not wait for a stdin that is open and silent, and ends by itself", async () => {
    const run = await runCommand({ args: [...MODEL, "-p", "hi"], stdin: "OPEN" });
    expect(run).toMatchObject({ code: 0, stdout: "Hello.\n" });
    expect(run.stderr).not.toContain("stdin was not read");
    // It would wait for ever.
    expect(run.ms).toBeLessThan(20_000);
  });

  test("leaves a pipe that has data alone, with one warning", async () => {
    const run = await runCommand({ args: [...MODEL, "-p", "hi"], stdin: "unread" });
    expect(run.code).toBe(0);
    expect(run.stderr.match(/stdin was not read; add -/g)).toHaveLength(1);
    expect(JSON.stringify(run.requests[0]?.body)).not.toContain("unread");
  });

  test("prints nothing but events of the schema as JSON, from model_resolved to result", async () => {
    const script = [{ tools: [{ name: "glob", args: { pattern: "*" } }] }, { reasoning: "hm", text: "Done." }];
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "--stream", "-p", "go"], script });
    expect(run.code).toBe(0);
    expect(run.stdout.split("\n").filter(Boolean)).toHaveLength(run.events.length);
    for (const event of run.events) expect(() => eventSchema.parse(event), JSON.stringify(event)).not.toThrow();
    expect(types(run.events).indexOf("model_resolved")).toBeLessThan(types(run.events).indexOf("step_start"));
    expect(run.events.at(-1)).toMatchObject({ type: "result", status: "success", text: "Done.", exitCode: 0, steps: 2 });
  });

  test("answers requests in order in one session, and reports a broken line between them", async () => {
    const run = await runCommand({ args: MODEL, stdin: '{"message":"a"}\n{bad}\n{\n "prompt": "b"\n}\n', script: [{ text: "A" }, { text: "B" }] });
    expect(run.code).toBe(2);
    const results = run.events.filter(({ type }) => type === "result");
    expect(results.map(({ text }) => text)).toEqual(["A", "B"]);
    expect(new Set(results.map(({ sessionID }) => sessionID)).size).toBe(1);
    expect(JSON.stringify(run.requests[1]?.body)).toContain('"a"');
    expect(run.events.filter(({ type }) => type === "error")).toMatchObject([{ error: { code: "INPUT_INVALID", data: { line: 2 } } }]);
  });

  test("says what is wrong with its options, as an event too where JSON was asked for", async () => {
    const run = await runCommand({ args: ["--modle", "x", "-p", "hi"] });
    expect(run).toMatchObject({ code: 2, stdout: "" });
    expect(run.stderr).toContain("error: unknown option '--modle'\nDid you mean --model?");
    const json = await runCommand({ args: [...JSON_OUT, "--modle", "x", "-p", "hi"] });
    expect(json.events).toMatchObject([{ type: "error", error: { code: "OPTION_UNKNOWN" } }]);
  });

  test("takes the format of the command line for its errors, whatever the environment says", async () => {
    const env = { AGENT_OUTPUT_FORMAT: "json" };
    expect((await runCommand({ args: ["--output-format", "text", "--bogus"], env })).stdout).toBe("");
    expect((await runCommand({ args: ["--bogus"], env })).events).toMatchObject([{ type: "error" }]);
  });

  test("says so where the current directory is gone, and does what needs none", async () => {
    const gone = (...args: string[]) =>
      spawnSync("sh", ["-c", 'mkdir "$1/gone" && cd "$1/gone" && rmdir "$1/gone" && shift && exec "$@"', "sh", home, process.execPath, LAUNCHER, ...args], {
        encoding: "utf8",
        env: { PATH: process.env.PATH, HOME: home },
      });
    const home = makeHome();
    for (const args of [["hi"], ["session", "list"]]) {
      const run = gone(...args);
      expect([run.status, run.stderr]).toEqual([2, expect.stringContaining("the current directory no longer exists")]);
    }
    expect(gone("--version").status).toBe(0);
    expect(gone("-m", "demo/echo", "--cwd", home, "hi").stdout).toBe("hi\n");
  });

  test("says at once that its log file cannot be written, and makes one that can", async () => {
    const home = makeHome();
    const run = await runCommand({ home, args: [...MODEL, "-q", "--log-file", "/nope/log", "-p", "hi"] });
    expect([run.code, run.stderr]).toEqual([0, expect.stringContaining("warning: the log file /nope/log cannot be written: there is no such file.")]);
    await runCommand({ home, args: [...MODEL, "-q", "--log-file", "log", "-p", "hi"] });
    expect(existsSync(join(home, "work/log"))).toBe(true);
  });

  test("takes no name of a tool for one of its own words", async () => {
    const run = await runCommand({ args: [...MODEL, "--allowedTools", "toString", "-p", "hi"] });
    expect(run.stderr).toContain('no tool "tostring"');
  });

  test("without a prompt sends nothing and ends with 2", async () => {
    for (const stdin of [null, "", "\n \n"]) {
      const run = await runCommand({ args: MODEL, stdin });
      expect(run).toMatchObject({ code: 2, requests: [] });
      expect(run.stderr).toContain("[INPUT_EMPTY]");
    }
  });

  test("ends every request of a runtime that cannot start in one error and one result", async () => {
    const home = makeHome();
    writeFileSync(join(home, "work/agent.json"), '{ "model": 5 }');
    const run = await runCommand({ home, args: [...JSON_OUT, "-p", "hi"] });
    expect(run.code).toBe(2);
    expect(run.events).toMatchObject([
      { type: "error", error: { code: "CONFIG_INVALID" } },
      { type: "result", status: "error", exitCode: 2 },
    ]);
  });

  test("keeps a key out of everything it prints", async () => {
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "hi"], script: [{ status: 401, body: { error: { message: `bad key ${KEY}` } } }] });
    expect(run.code).toBe(5);
    expect(run.stdout + run.stderr).not.toContain(KEY);
  });

  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    test(`ends a stream at ${signal} with an interrupted result and exit ${code}`, async () => {
      let sentAt = 0;
      const onSpawn = (child: any, server: any) =>
        void until(() => server.requests.length > 0).then(() => {
          sentAt = performance.now();
          child.kill(signal);
        });
      const { value: run, hopMs } = await timeBeside(() =>
        runCommand({
          args: [...MODEL, ...JSON_OUT, "-p", "hi"],
          script: [{ raw: [chunk({ role: "assistant", content: "half" }), "HANG"] }],
          onSpawn,
        }),
      );
      expect(performance.now() - sentAt).toBeLessThan(3500 + 10 * hopMs);
      expect(run.code).toBe(code);
      expect(run.events.filter(({ type }) => type === "result")).toMatchObject([{ status: "interrupted", exitCode: code }]);
      expect(run.stderr).not.toMatch(/\n\s+at /);
    });
  }

  test("ends at a signal while it waits for stdin", async () => {
    const onSpawn = (child: ChildProcess) => void until(() => handlesSignals(child)).then(() => child.kill("SIGTERM"));
    const run = await runCommand({ args: [...MODEL], stdin: "OPEN", onSpawn });
    expect(run).toMatchObject({ code: 143, requests: [] });
  });

  test("ends at once at a second signal", async () => {
    let secondAt = 0;
    const command = "trap '' TERM INT; while :; do sleep 1; done";
    const onSpawn = (child: any, server: any) =>
      void until(() => server.requests.length > 0).then(() => {
        child.kill("SIGINT");
        setTimeout(() => {
          secondAt = performance.now();
          child.kill("SIGINT");
        }, 100);
      });
    const script = [{ tools: [{ name: "bash", args: { command, description: "x" } }] }];
    const { value: run, hopMs } = await timeBeside(() => runCommand({ args: [...MODEL, "-p", "hi"], script, onSpawn }));
    expect(run.code).toBe(130);
    if (secondAt > 0) expect(performance.now() - secondAt).toBeLessThan(1000 + 10 * hopMs);
  });

  test("loses no byte to a reader that is slow", async () => {
    const text = "0123456789".repeat(40_000);
    let reading: Promise<string> | undefined;
    const readSlowly = async (stream: AsyncIterable<Uint8Array>) => {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const parts: Uint8Array[] = [];
      for await (const part of stream) {
        parts.push(part);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return Buffer.concat(parts).toString();
    };
    const run = await runCommand({
      args: [...MODEL, "-p", "hi"],
      script: [{ text }],
      ownStdout: true,
      onSpawn: (child) => (reading = readSlowly(child.stdout!)),
    });
    expect(run.code).toBe(0);
    expect(await reading).toBe(`${text}\n`);
  });

  test("ends when its reader goes away, also while nothing is written", async () => {
    const run = await runCommand({
      args: [...MODEL, ...JSON_OUT, "-p", "hi"],
      script: [{ tools: [{ name: "bash", args: { command: "sleep 30", description: "x" } }] }, { text: "late" }],
      ownStdout: true,
      onSpawn: (child) => child.stdout?.once("data", () => child.stdout?.destroy()),
    });
    expect(run.code).toBe(141);
    expect(run.ms).toBeLessThan(20_000);
    expect(run.stderr).not.toMatch(/\n\s+at |EPIPE/);
  });

  test("ends behind `head -1`", async () => {
    const home = makeHome();
    const server = await startServer([{ tools: [{ name: "bash", args: { command: "sleep 30", description: "x" } }] }, { text: "late" }]);
    const line = `"${process.execPath}" "${LAUNCHER}" --model openrouter/a/b --output-format json -p go | head -1 > /dev/null; echo "\${PIPESTATUS[0]}"`;
    const started = performance.now();
    const stdout = await new Promise<string>((resolve) =>
      execFile(
        "bash",
        ["-c", line],
        { cwd: join(home, "work"), env: { PATH: process.env.PATH, HOME: home, OPENROUTER_API_KEY: KEY, OPENROUTER_BASE_URL: server.url } },
        (_, out) => resolve(out),
      ),
    );
    await server.close();
    expect(stdout.trim()).toBe("141");
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test("ends with an error when stdout is full", async () => {
    const home = makeHome();
    const server = await startServer([{ text: "x" }]);
    const full = openSync("/dev/full", "w");
    const child = spawn(process.execPath, [LAUNCHER, ...MODEL, "-p", "go"], {
      cwd: join(home, "work"),
      stdio: ["ignore", full, "ignore"],
      env: { PATH: process.env.PATH, HOME: home, OPENROUTER_API_KEY: KEY, OPENROUTER_BASE_URL: server.url },
    });
    const code = await new Promise((resolve) => child.on("exit", resolve));
    closeSync(full);
    await server.close();
    expect(code).toBe(141);
  });

  test("answers what follows a line that is far too long, in little memory", async () => {
    const stdin = `{"message":"${"x".repeat(20 * 1024 * 1024)}"}\n{"message":"ok"}\n`;
    const run = await runCommand({ args: MODEL, stdin });
    expect(types(run.events).filter((type) => type === "error" || type === "result")).toEqual(["error", "result"]);
    expect(run.events[0]).toMatchObject({ error: { code: "INPUT_TOO_LONG", data: { line: 1 } } });
    expect(run.requests).toHaveLength(1);
    expect(run.code).toBe(2);
  });
});
