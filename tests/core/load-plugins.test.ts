import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { AgentError } from "../../core/errors.ts";
import { collectPlugins, loadPlugin } from "../../core/load-plugins.ts";
import { definePlugin } from "../../core/plugin.ts";

const made: string[] = [];
afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

function world(files: Record<string, string>) {
  const root = mkdtempSync(join(tmpdir(), "agent-load-"));
  made.push(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const place = { from: root, packageDirs: [join(root, "elsewhere")], cacheDir: join(root, "cache") };
  const load = (spec: string, over: { from?: string; limitMs?: number } = {}) => loadPlugin(spec, { ...place, ...over });
  const reasonOf = (spec: string, limitMs?: number) =>
    load(spec, limitMs === undefined ? {} : { limitMs }).then(
      () => "",
      (error) => `${error.code}: ${error.message}`,
    );
  return { root, load, reasonOf, place };
}

const TYPESCRIPT = `import { AgentError, definePlugin, tool, z } from "agent-runtime";
interface Options { greeting?: string }
const hello = tool({ name: "hello", description: "Greet.", input: z.object({ name: z.string() }), run: ({ name }) => \`Hello, \${name}!\` });
export const made: AgentError = new AgentError("INPUT_EMPTY");
export default definePlugin({ name: "typed", setup: (context: { options: Options }) => ({ tools: [hello] }) });
`;
const JAVASCRIPT = `import { AgentError, definePlugin } from "agent-runtime";
export default definePlugin({ name: "plain", setup: () => { throw new AgentError("INPUT_EMPTY"); } });
`;

describe("a plugin is found", () => {
  test("by a path in TypeScript, with its types", async () => {
    const { load } = world({ "hello.ts": TYPESCRIPT });
    const plugin = await load("./hello.ts");
    const { tools } = await plugin.setup({ options: {} } as never);
    expect(await tools?.[0]?.run({ name: "Ada" }, {} as never)).toBe("Hello, Ada!");
  });

  test("by an absolute path and by a file URL", async () => {
    const { load, root } = world({ "plain.mjs": JAVASCRIPT });
    expect((await load(join(root, "plain.mjs"))).name).toBe("plain");
    expect((await load(pathToFileURL(join(root, "plain.mjs")).href)).name).toBe("plain");
  });

  test.each([
    "plain.mjs",
    "plain.js",
    "plain.ts",
    "module/plain.js",
    "plain.cjs",
    "module/near.cjs",
  ])("with the very same agent-runtime in %s, though another copy lies beside it", async (file) => {
    const another = "export class AgentError extends Error {}; export const definePlugin = (plugin) => plugin;";
    const commonJs = JAVASCRIPT.replace("import {", "const {")
      .replace("} from", "} = require(")
      .replace('";', '");')
      .replace("export default", "module.exports =");
    const { load } = world({
      "node_modules/agent-runtime/package.json": JSON.stringify({ name: "agent-runtime", exports: { import: "./index.mjs", require: "./index.cjs" } }),
      "node_modules/agent-runtime/index.mjs": another,
      "node_modules/agent-runtime/index.cjs": "exports.AgentError = class AgentError extends Error {}; exports.definePlugin = (plugin) => plugin;",
      "module/package.json": '{ "type": "module" }',
      [file]: file.endsWith(".cjs") ? commonJs : JAVASCRIPT,
    });
    const plugin = await load(`./${file}`);
    expect(() => plugin.setup({} as never)).toThrow(AgentError);
  });

  test("by the name of a package that is installed near the workspace or near the user's configuration", async () => {
    const manifest = JSON.stringify({ name: "agent-x", type: "module", exports: "./index.js" });
    const { load } = world({
      "node_modules/agent-x/package.json": manifest,
      "node_modules/agent-x/index.js": JAVASCRIPT,
      "elsewhere/node_modules/@me/agent-y/package.json": manifest.replace("agent-x", "@me/agent-y"),
      "elsewhere/node_modules/@me/agent-y/index.js": JAVASCRIPT,
    });
    expect((await load("agent-x")).name).toBe("plain");
    expect((await load("@me/agent-y")).name).toBe("plain");
  });

  test("with what it imports from its own folder", async () => {
    const { load } = world({
      "a/index.ts": `import { NAME } from "./name.ts"; export default { name: NAME, setup: () => ({}) };`,
      "a/name.ts": `export const NAME: string = "near";`,
    });
    expect((await load("./a/index.ts")).name).toBe("near");
  });
});

test("a plugin that a compiler has made CommonJS of is loaded, with `export default` as it compiles it or without", async () => {
  const made = '{ name: "compiled", setup: () => ({}) }';
  const { load } = world({
    "marked.cjs": `Object.defineProperty(exports, "__esModule", { value: true }); exports.default = ${made};`,
    "plain.cjs": `exports.default = ${made};`,
    "whole.cjs": `module.exports = ${made};`,
  });
  for (const spec of ["./marked.cjs", "./plain.cjs", "./whole.cjs"]) expect((await load(spec)).name).toBe("compiled");
});

describe("a plugin is refused", () => {
  test("when it is nowhere", async () => {
    const { reasonOf } = world({});
    expect(await reasonOf("./missing.ts")).toBe("PLUGIN_NOT_FOUND: The plugin ./missing.ts cannot be found.");
    expect(await reasonOf("agent-plugin-that-is-not-installed")).toMatch(/^PLUGIN_NOT_FOUND/);
  });

  test.each([
    ["it is no program", "export default {{{", /cannot be loaded: /],
    ["it throws while it is loaded", `throw new Error("at import");`, /at import/],
    ["it imports what is not there", `import "./gone.ts"; export default {};`, /gone/],
    ["its default export is a function", "export default function activate() {}", /its default export is a function; export default definePlugin/],
    ["it has no default export", "export const name = 1;", /it has no default export/],
    ["it has no name", "export default { setup: () => ({}) };", /it has no name/],
    ["it has no setup", `export default { name: "x" };`, /"x" has no setup function/],
    [
      "it is of another version of the contract",
      `export default { name: "x", api: 2, setup: () => ({}) };`,
      /"x" is written for version 2 of the plugin contract; this is version 1/,
    ],
  ])("when %s", async (_, text, reason) => {
    const { reasonOf } = world({ "bad.ts": text });
    const said = await reasonOf("./bad.ts");
    expect(said).toMatch(/^PLUGIN_BROKEN: The plugin \.\/bad\.ts cannot be loaded: /);
    expect(said).toMatch(reason);
    expect(said).not.toMatch(/^\s+at /m);
  });

  test("when loading it takes longer than the limit", async () => {
    const { reasonOf } = world({ "stuck.mjs": "await new Promise(() => {}); export default {};" });
    expect(await reasonOf("./stuck.mjs", 50)).toContain("it took longer than 0.05 s.");
  });
});

describe("the plugins that take part", () => {
  const own = definePlugin({ name: "own", setup: () => ({}) });
  const off = { name: "off", off: true, load: async () => ({ default: own }) };
  const collect = (
    place: ReturnType<typeof world>["place"],
    given: Parameters<typeof collectPlugins>[0]["given"],
    configured: Parameters<typeof collectPlugins>[0]["configured"] = [],
    more = {},
  ) =>
    collectPlugins({ given, configured, cwd: place.from, isTrusted: true, place, ...more }).then((entries) =>
      entries.map(({ plugin, options }) => [plugin.name, options]),
    );

  test("are the host's own, but for those that are off until they are named", async () => {
    const { place } = world({});
    expect(await collect(place, [own, off])).toEqual([["own", {}]]);
    expect(await collect(place, [own, off, "off"])).toEqual([
      ["own", {}],
      ["off", {}],
    ]);
    expect(await collect(place, [own, off], [{ spec: ["off", { a: 1 }], from: "/" }])).toEqual([
      ["own", {}],
      ["off", { a: 1 }],
    ]);
  });

  test("get the options of the configuration, and those of the command line instead where it has some", async () => {
    const { place } = world({});
    expect(await collect(place, [own, ["own", { from: "line" }]], [{ spec: ["own", { from: "file" }], from: "/" }])).toEqual([["own", { from: "line" }]]);
  });

  test("are found from where the configuration names them, and from the workspace for the command line", async () => {
    const { place, root } = world({ "conf/a.mjs": JAVASCRIPT, "b.ts": TYPESCRIPT });
    expect(await collect(place, ["./b.ts"], [{ spec: "./a.mjs", from: join(root, "conf") }])).toEqual([
      ["plain", {}],
      ["typed", {}],
    ]);
  });

  test.each([null, undefined, 7, {}])("are plugins: %j of the host is refused", async (given) => {
    const { place } = world({});
    await expect(collect(place, [given as never])).rejects.toMatchObject({
      code: "PLUGIN_BROKEN",
      message: expect.stringContaining("plugin given by the host"),
    });
  });

  test("stop the start when one is broken, or go on without it where that is wanted", async () => {
    const { place } = world({ "bad.ts": "export default 7;", "good.mjs": JAVASCRIPT });
    await expect(collect(place, ["./bad.ts", "./good.mjs"])).rejects.toMatchObject({ code: "PLUGIN_BROKEN" });
    const faults: string[] = [];
    const skipBroken = ({ plugin }: { plugin: string }) => faults.push(plugin);
    expect(await collect(place, ["./bad.ts", "./gone.ts", "./good.mjs"], [], { skipBroken })).toEqual([["plain", {}]]);
    expect(faults).toEqual(["./bad.ts", "./gone.ts"]);
  });
});
