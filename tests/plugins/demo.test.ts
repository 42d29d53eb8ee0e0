import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { textModel } from "agent-runtime";
import { type BootOptions, boot } from "agent-runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import bash from "../../plugins/bash/index.ts";
import demo from "../../plugins/demo/index.ts";
import files from "../../plugins/files/index.ts";
import permissions from "../../plugins/permissions/index.ts";

const TOUR = ["README.md", "package.json", "check.js", "src/greeting.js"];
const tourFiles = () => Object.fromEntries(TOUR.map((path) => [path, readFileSync(resolve("examples/tour", path), "utf8")]));

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const agent of open.splice(0)) await agent.close();
});

async function start(model: string, { config, ...options }: BootOptions = {}) {
  const agent = await boot({
    plugins: [demo, files, bash, permissions],
    ...options,
    config: { model, provider: { demo: { options: { delayMs: 0 } } }, ...config },
  });
  open.push(agent);
  return agent;
}

describe("demo/echo", () => {
  test("answers with the prompt, at no cost", async () => {
    const agent = await start("demo/echo");
    const { text, result } = await agent.prompt("Hello there.");
    expect(text).toBe("Hello there.");
    expect(result).toMatchObject({ status: "success", costUsd: 0, costSource: "provider", model: "demo/echo" });
    expect(result.tokens.output).toBe(3);
  });
});

describe("demo/tour", () => {
  test("searches, reads, edits, runs and answers", async () => {
    const agent = await start("demo/tour", { files: tourFiles() });
    const { text, result, events } = await agent.prompt("do the TODO");
    expect(events.flatMap((event) => (event.type === "tool.finish" ? [[event.tool, event.state.status]] : []))).toEqual(
      ["grep", "read", "edit", "bash"].map((tool) => [tool, "completed"]),
    );
    expect(readFileSync(join(agent.cwd, "src/greeting.js"), "utf8")).toBe("export function greet(name) {\n  return `Hello, ${name}!`;\n}\n");
    expect(text).toContain("ok: Hello, Ada!");
    expect(result).toMatchObject({ status: "success", steps: 5 });
  });

  test("finds nothing left to do the second time", async () => {
    const agent = await start("demo/tour", { files: tourFiles() });
    const { result } = await agent.prompt("do the TODO");
    expect((await agent.prompt({ message: "again", session: result.sessionId })).text).toContain("I found no TODO");
  });

  test("changes nothing in another workspace", async () => {
    const source = "// TODO: rename\nlet x;\n";
    const agent = await start("demo/tour", { files: { "a.js": source } });
    expect((await agent.prompt("go")).text).toContain("not one that I know");
    expect(readFileSync(join(agent.cwd, "a.js"), "utf8")).toBe(source);
    expect((await (await start("demo/tour")).prompt("go")).text).toContain("I found no TODO");
  });

  test("says why when it may not edit", async () => {
    const agent = await start("demo/tour", { files: tourFiles(), config: { permissionMode: "readonly" } });
    const { text, result } = await agent.prompt("go");
    expect(text).toMatch(/may not:.*Denied.*readonly/s);
    expect(result.status).toBe("success");
  });

  test("says so when a tool is missing", async () => {
    const agent = await start("demo/tour", { plugins: [demo] });
    expect((await agent.prompt("go")).text).toContain('There is no tool "grep"');
  });
});

describe("demo/script", () => {
  const turns = [{ reasoning: "First look.", text: "I look.", tools: [{ name: "list", args: {} }] }, { text: "Seen." }];

  test.each([
    ["its id", "demo/script:turns.json", undefined],
    ["the options", "demo/script", "turns.json"],
  ])("follows the file that %s names", async (_, model, script) => {
    const config = { model, provider: { demo: { options: { ...(script !== undefined && { script }) } } } };
    const agent = await start(model, { files: { "turns.json": JSON.stringify(turns) }, config });
    const { text, events, toolOutputs, result } = await agent.prompt("go");
    expect(text).toBe("Seen.");
    expect(toolOutputs[0]).toContain("turns.json");
    expect(events.find((event) => event.type === "reasoning")).toMatchObject({ text: "First look." });
    expect((await agent.prompt({ message: "more", session: result.sessionId })).text).toBe("The script ends after 2 turns.");
  });

  test.each([
    ["demo/script", {}, "FILE_NOT_FOUND", "none is named"],
    ["demo/script:none.json", {}, "FILE_NOT_FOUND", "none.json"],
    ["demo/script:a.json", { "a.json": "[" }, "CONFIG_INVALID", "not JSON"],
    ["demo/script:a.json", { "a.json": '[{"txt":"x"}]' }, "CONFIG_INVALID", "expected a list of"],
    ["demo/nothing", {}, "MODEL_UNAVAILABLE", "tour, echo and script"],
  ])("%s with %j is refused with %s", async (model, workspace, code, part) => {
    const agent = await start(model, { files: workspace as Record<string, string> });
    const { result } = await agent.prompt("go");
    expect(result.status).toBe("error");
    expect(result.error).toMatchObject({ code });
    expect(result.error!.message).toContain(part);
  });
});

describe("textModel", () => {
  const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "hi" }] }];

  test("collects its stream where a whole answer is asked for", async () => {
    const model = textModel(async function* () {
      yield "Hello, ";
      yield "world.";
      yield { type: "tool-call", toolCallId: "1", toolName: "list", input: "{}" };
    });
    const answer = await model.doGenerate({ prompt });
    expect(answer.content).toEqual([
      { type: "text", text: "Hello, world." },
      { type: "tool-call", toolCallId: "1", toolName: "list", input: "{}" },
    ]);
    expect(answer.finishReason.unified).toBe("tool-calls");
    expect(answer.usage.outputTokens.total).toBe(4);
  });

  test("is asked for no more than is read, and stopped when the reader goes", async () => {
    let given = 0;
    let stopped = false;
    const model = textModel(async function* () {
      try {
        for (;;) yield String(given++);
      } finally {
        stopped = true;
      }
    });
    const reader = (await model.doStream({ prompt })).stream.getReader();
    for (let index = 0; index < 5; index++) await reader.read();
    await reader.cancel();
    expect(given).toBeLessThan(10);
    expect(stopped).toBe(true);
  });

  test("fails with what the generator throws", async () => {
    const model = textModel(async function* () {
      yield "a";
      throw new Error("no more");
    });
    await expect(model.doGenerate({ prompt })).rejects.toThrow("no more");
  });
});

test.skipIf(!existsSync("dist/cli.cjs"))("npm start shows the tour and leaves nothing behind", async () => {
  const scratch = mkdtempSync(join(tmpdir(), "start-"));
  try {
    const child = spawn(process.execPath, ["scripts/start.mjs"], {
      env: { PATH: process.env.PATH, HOME: scratch, TMPDIR: scratch, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
    expect(await new Promise((done) => child.on("close", done)), output).toBe(0);
    expect(output).toContain("ok: Hello, Ada!");
    expect(output).toContain("+  return `Hello, ${name}!`;");
    expect(output.indexOf("agent-tour-")).toBeGreaterThan(0);
    const workspace = /cd (\S+)/.exec(output)![1]!;
    expect(existsSync(workspace)).toBe(false);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
