import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type Reply, type Script, startServer } from "../fixtures/server.ts";
import { isBuilt, JSON_OUT, KEY, LAUNCHER, MODEL, makeHome, removeHomes, runCommand, until } from "./command.ts";
import { processesWith } from "./tool-runs.ts";

afterAll(removeHomes);

/** Runs a line of bash in which $AGENT is the command with a model, in a home of its own. */
async function shell(line: string, script: Script | Reply[] = [{ text: "Hello." }]) {
  const home = makeHome();
  const server = await startServer(script);
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    OPENROUTER_API_KEY: KEY,
    OPENROUTER_BASE_URL: server.url,
    AGENT: `${process.execPath} ${LAUNCHER} ${MODEL.join(" ")}`,
  };
  const started = performance.now();
  const child = spawn("bash", ["-c", line], { cwd: join(home, "work"), env, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  await new Promise((resolve) => child.on("close", resolve));
  clearTimeout(timer);
  await server.close();
  return { stdout, stderr, home, ms: performance.now() - started, requests: server.requests };
}

const call = (command: string): Reply => ({ text: "Working.", tools: [{ name: "bash", args: { command, description: "x" } }] });
const read = (home: string, name: string): string => {
  try {
    return readFileSync(join(home, "work", name), "utf8").trim();
  } catch {
    return "";
  }
};

describe.skipIf(!isBuilt).concurrent("stdout", () => {
  test("that is closed ends a run in the middle of a tool, the tool too, in silence; the session goes on", async () => {
    const sleep = `sleep 60.${process.pid}`;
    const script = [call(`${sleep}; echo done > late`), { text: "Fine." }];
    // Three events, then nothing is written for as long as the tool runs.
    const line = "{ $AGENT --output-format json -p hi; echo $? > code; } | head -3 > seen; $AGENT -c -q -p again";
    const { home, ms, stdout, stderr } = await shell(line, script);
    expect(read(home, "seen")).toMatch(/"type":"text".*Working/);
    expect([read(home, "code"), stdout]).toEqual(["141", "Fine.\n"]);
    expect(ms).toBeLessThan(40_000);
    expect(stderr).not.toMatch(/\n\s+at |EPIPE/);
    await until(() => processesWith(sleep).length === 0);
    expect(read(home, "late")).toBe("");
  });

  test("that is full is told of, and its exit code is not 0", async () => {
    for (const format of ["", "--output-format json"]) {
      const { stdout, stderr } = await shell(`$AGENT ${format} -p hi > /dev/full; echo $?`);
      expect([stdout, stderr]).toEqual(["141\n", expect.stringContaining("ENOSPC")]);
    }
  });

  test("loses no event to a reader that is slow", async () => {
    const text = "0123456789".repeat(8_000);
    const { stdout } = await shell("$AGENT --output-format json --stream -p hi | (sleep 1; cat)", [{ text }]);
    const events = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.at(-1)).toMatchObject({ type: "result", status: "success", text });
    const deltas = events.filter(({ type }) => type === "text_delta").map(({ delta }) => delta);
    expect(deltas.join("")).toBe(text);
  });

  test("gets each step's text once, and the progress goes elsewhere", async () => {
    const script = [call("echo out; echo err >&2"), { text: "Done." }];
    for (const args of [[], ["--stream"], ["-q"]]) {
      const run = await runCommand({ args: [...MODEL, ...args, "-p", "hi"], script });
      expect([run.code, run.stdout]).toEqual([0, "Working.\nDone.\n"]);
      expect(run.stderr === "").toBe(args[0] === "-q");
    }
  });

  test("takes help and version, though only the first line is read", async () => {
    expect((await shell("$AGENT --help | head -1; $AGENT --version")).stdout).toMatch(/^Usage: agent .*\n\d+\.\d+\.\d+\n$/);
  });

  test("is all events or none where JSON was asked for, also of a plugin that prints", async () => {
    const home = makeHome();
    const plugin = join(home, "noisy.mjs");
    const source = `import { definePlugin } from "agent-runtime"; console.log("noise"); process.stdout.write("more\\n");
export default definePlugin({ name: "noisy", setup: () => ({ hooks: { on: { "step.start": () => console.log("noise again") } } }) });`;
    await (await import("node:fs/promises")).writeFile(plugin, source);
    const run = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "--plugin", plugin, "-p", "hi"] });
    expect([run.code, run.stdout.split("\n").filter(Boolean).length]).toEqual([0, run.events.length]);
    expect(run.stderr).toContain("noise again");
  });
});

describe.skipIf(!isBuilt).concurrent("stderr", () => {
  test("that is closed, full or left by its reader changes nothing", async () => {
    for (const to of ["2>&-", "2>/dev/full", "2> >(exit 0)"]) {
      const { stdout } = await shell(`$AGENT -p hi ${to}; echo $?`, [call("echo"), { text: "Done." }]);
      expect(stdout, to).toBe("Working.\nDone.\n0\n");
    }
    expect((await shell("$AGENT -p hi 2>&-; echo $?", [{ status: 401 }])).stdout).toBe("5\n");
  });
});

describe.skipIf(!isBuilt).concurrent("stdin", () => {
  test("that is closed or no stream is no prompt, and no hindrance to one", async () => {
    for (const from of ["<&-", "< /tmp", "< /dev/null"]) {
      const none = await shell(`$AGENT ${from}; echo $?`);
      expect([none.stdout, none.requests.length, none.stderr], from).toEqual(["2\n", 0, expect.stringContaining("[INPUT_EMPTY]")]);
      expect((await shell(`$AGENT -q -p hi ${from}; echo $?`)).stdout).toBe("Hello.\n0\n");
    }
    const all = await shell("$AGENT -p hi <&- >&- 2>&-");
    expect([all.requests.length, all.ms < 30_000]).toEqual([1, true]);
  });

  test("that is a file joins the prompt, and a pipe only with -", async () => {
    const { requests } = await shell("echo text > f; $AGENT -q -p hi < f; echo text | $AGENT -q -p hi; echo text | $AGENT -q -p hi -; echo text | $AGENT -q -");
    const asked = requests.map(({ body }) => body.messages.at(-1).content);
    expect(asked.map((content: any) => (typeof content === "string" ? content : content[0].text).trimEnd())).toEqual([
      "hi\n\ntext",
      "hi",
      "hi\n\ntext",
      "text",
    ]);
  });

  test("with far too long a line leaves the others answered, in little memory", async () => {
    const long = `(head -c 20000000 /dev/zero | tr '\\0' a; printf '\\n{"message":"ok"}\\n')`;
    const { stdout } = await shell(`(printf '{"message":"'; ${long}) | NODE_OPTIONS=--max-old-space-size=40 $AGENT; echo $?`);
    expect(stdout).toContain("INPUT_TOO_LONG");
    expect(stdout).toMatch(/"type":"result".*"text":"Hello\."[^\n]*\n2\n$/s);
  });
});
