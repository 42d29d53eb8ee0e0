import { afterEach, beforeEach, expect, test } from "vitest";
import { toJsonSchema } from "../../../core/schema.ts";
import filesPlugin from "../../../plugins/files/index.ts";
import { createWorld, type World } from "./context.ts";

const TOOL_BYTES = 550;
const ALL_TOOLS_BYTES = 2_800;

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.close());

async function declaredBytes(): Promise<{ name: string; bytes: number }[]> {
  const { tools = [] } = await filesPlugin.setup({} as never);
  return Promise.all(
    tools.map(async ({ name, description, input }) => ({
      name,
      bytes: Buffer.byteLength(JSON.stringify({ name, description, parameters: await toJsonSchema(input) })),
    })),
  );
}

test("the plugin brings six tools", async () => {
  const { tools = [] } = await filesPlugin.setup({} as never);
  expect(tools.map(({ name, effect, permission }) => `${name} ${effect} ${permission ?? name}`)).toEqual([
    "read read read",
    "write write edit",
    "edit write edit",
    "list read list",
    "glob read glob",
    "grep read grep",
  ]);
});

test("what a request says of each tool is short", async () => {
  const sizes = await declaredBytes();
  for (const { name, bytes } of sizes) expect(bytes, name).toBeLessThanOrEqual(TOOL_BYTES);
  expect(sizes.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(ALL_TOOLS_BYTES);
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
  for (const tool of ["list", "glob", "grep"]) expect(await world.fail(tool, { path, ...(tool === "list" ? {} : { pattern: "x" }) })).toMatch(refusal);
});
