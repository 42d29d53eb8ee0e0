import { afterEach, beforeEach, expect, test } from "vitest";
import { toJsonSchema } from "../../../core/schema.ts";
import type { Tool } from "../../../core/tool.ts";
import filesPlugin from "../../../plugins/files/index.ts";
import { createWorld, type World } from "./context.ts";

const TOOL_BYTES = 550;
const ALL_TOOLS_BYTES = 2_800;

const isTold = (tool: Tool, model: string, tools = ["patch"]): boolean => !tool.optional && tool.offer?.({ model, sessionId: "ses_1", tools }) !== false;

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

async function declaredBytes(): Promise<{ tool: Tool; bytes: number }[]> {
  const { tools = [] } = await filesPlugin.setup({} as never);
  return Promise.all(
    tools.map(async (tool) => ({
      tool,
      bytes: Buffer.byteLength(JSON.stringify({ name: tool.name, description: tool.description, parameters: await toJsonSchema(tool.input) })),
    })),
  );
}

test("the plugin brings eight tools", async () => {
  const { tools = [] } = await filesPlugin.setup({} as never);
  expect(tools.map(({ name, effect, permission }) => `${name} ${effect} ${permission ?? name}`)).toEqual([
    "read read read",
    "write write edit",
    "edit write edit",
    "multiedit write edit",
    "patch write edit",
    "list read list",
    "glob read glob",
    "grep read grep",
  ]);
});

test("what a request says of each tool is short", async () => {
  const sizes = await declaredBytes();
  for (const { tool, bytes } of sizes) expect(bytes, tool.name).toBeLessThanOrEqual(TOOL_BYTES);
  for (const model of ["test/model", "openai/gpt-5"]) {
    const told = sizes.filter(({ tool }) => isTold(tool, model));
    expect(told.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(ALL_TOOLS_BYTES);
  }
});

test.each([
  ["anthropic/claude-opus-4", false],
  ["openai/gpt-4.1", false],
  ["openai/gpt-3.5-turbo", false],
  ["openrouter/openai/gpt-oss-120b", false],
  ["boss/gpt-5", true],
  ["openai/gpt-5.1-codex", true],
  ["openrouter/openai/gpt-5-mini:free", true],
])("%s gets patch in the place of edit and write: %s", async (model, isPatching) => {
  const { tools = [] } = await filesPlugin.setup({} as never);
  const names = tools.filter((tool) => isTold(tool, model)).map(({ name }) => name);
  expect(names).toEqual(["read", ...(isPatching ? ["patch"] : ["write", "edit"]), "list", "glob", "grep"]);
  const without = tools.filter((tool) => tool.name !== "patch" && isTold(tool, model, ["edit", "write"])).map(({ name }) => name);
  expect(without).toEqual(["read", "write", "edit", "list", "glob", "grep"]);
});

test("a session reads, edits and writes", async () => {
  await world.put("a.txt", "alpha\nbeta\n");
  expect((await world.call("list", {})).output).toBe("./\n  a.txt");
  expect((await world.call("read", { filePath: "a.txt" })).output).toContain("00002| beta");
  await world.call("edit", { filePath: "a.txt", oldString: "beta", newString: "gamma" });
  await world.call("write", { filePath: "dir/b.txt", content: "new\n" });
  expect((await world.call("grep", { pattern: "gamma|new" })).output).toMatch(/Found 2 matches/);
  expect((await world.call("glob", { pattern: "*.txt" })).output.split("\n").sort()).toEqual(["a.txt", "dir/b.txt"]);
});

test("permissions see paths relative to the workspace, and paths outside as they were given", async () => {
  const { tools = [] } = await filesPlugin.setup({} as never);
  const patterns = (name: string, input: unknown) => tools.find((tool) => tool.name === name)?.patterns?.(input, { cwd: "/w" });
  expect(patterns("read", { filePath: "/w/src/../a.txt" })).toEqual(["a.txt"]);
  expect(patterns("write", { filePath: "../x", content: "" })).toEqual(["../x"]);
  expect(patterns("edit", { filePath: "/wide/a" })).toEqual(["/wide/a"]);
  expect(patterns("multiedit", { filePath: "src/a", edits: [] })).toEqual(["src/a"]);
  const patchText = "*** Begin Patch\n*** Update File: ./a\n*** Move to: ../b\n*** Add File: /w/c\n*** Delete File: d\n*** End Patch";
  expect(patterns("patch", { patchText })).toEqual(["a", "../b", "c", "d"]);
  expect(patterns("list", {})).toEqual(["."]);
  expect(patterns("glob", { pattern: "src/**/*.ts" })).toEqual(["src"]);
  expect(patterns("glob", { pattern: "/etc/*" })).toEqual(["/etc"]);
  expect(patterns("grep", { pattern: "x", path: "..x" })).toEqual(["..x"]);
});

test.each([
  ["that leads out", "../outside/secret.txt"],
  ["that leads out by a detour", "a/../../outside/secret.txt"],
  ["of a home", "~/x"],
  ["that is a URL", "file:///etc/passwd"],
  ["with a NUL", "a\0b"],
  ["of 5,000 characters", `${"x/".repeat(2500)}a`],
])("no tool takes a path %s", async (_, path) => {
  const refusal = /outside the workspace|is not a usable path/;
  expect(await world.fail("read", { filePath: path })).toMatch(refusal);
  expect(await world.fail("write", { filePath: path, content: "x" })).toMatch(refusal);
  expect(await world.fail("edit", { filePath: path, oldString: "a", newString: "b" })).toMatch(refusal);
  expect(await world.fail("multiedit", { filePath: path, edits: [{ oldString: "a", newString: "b" }] })).toMatch(refusal);
  await world.put("in.txt", "a\n");
  for (const heading of [
    `*** Add File: ${path}\n+x`,
    `*** Delete File: ${path}`,
    `*** Update File: ${path}\n@@\n-a`,
    `*** Update File: in.txt\n*** Move to: ${path}`,
  ])
    expect(await world.fail("patch", { patchText: `*** Begin Patch\n${heading}\n*** End Patch` })).toMatch(refusal);
  for (const tool of ["list", "glob", "grep"]) expect(await world.fail(tool, { path, ...(tool === "list" ? {} : { pattern: "x" }) })).toMatch(refusal);
});
