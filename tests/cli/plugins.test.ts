import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { errorOf, isBuilt, makeHomeWith, ofType, removeHomes, resultOf, runCommand } from "./command.ts";
import { runTools } from "./tool-runs.ts";

afterAll(removeHomes);

const IMPORT = 'import { AgentError, definePlugin, tool, z } from "agent-runtime";\n';
const toolText = (name: string, body: string) => `tool({ name: "${name}", description: "d", input: z.object({ name: z.string() }), run: ${body} })`;
const pluginText = (name: string, contribution: string) => `definePlugin({ name: "${name}", setup: () => (${contribution}) })`;
const hello = (name = "hello") => pluginText(name, `{ tools: [${toolText(name, '({ name }) => "Hello, " + name')}] }`);
const hooked = (hooks: string) => `${IMPORT}export default ${pluginText("hooked", `{ hooks: { ${hooks} } }`)};`;
const manifest = (name: string, main: string) => ({ name, version: "1.0.0", main });

/** Runs with these plugins; each is a file in the workspace unless it is a spec already. */
const runWith = (files: Record<string, string | object>, specs: string[] = ["./p.ts"], args: string[] = []) =>
  runTools([["hello", { name: "Ada" }]], { home: makeHomeWith(files), args: [...specs.flatMap((spec) => ["--plugin", spec]), ...args] });

describe.skipIf(!isBuilt)("a plugin is found and loaded", { concurrent: true }, () => {
  test.each<[string, string, Record<string, string | object>]>([
    ["a TypeScript file", "./p.ts", { "work/p.ts": `${IMPORT}export default ${hello()};` }],
    ["a module", "./p.mjs", { "work/p.mjs": `${IMPORT}await 0;\nexport default ${hello()};` }],
    ["a CommonJS file", "./p.cjs", { "work/p.cjs": `const { definePlugin, tool, z } = require("agent-runtime");\nmodule.exports = ${hello()};` }],
    ["a folder with an index", "./p", { "work/p/index.ts": `${IMPORT}export default ${hello()};` }],
    [
      "a folder with a package",
      "./p",
      { "work/p/package.json": { name: "p", exports: "./lib/x.ts" }, "work/p/lib/x.ts": `${IMPORT}export default ${hello()};` },
    ],
    [
      "a package of the workspace",
      "agent-p",
      { "work/node_modules/agent-p/package.json": manifest("agent-p", "x.mjs"), "work/node_modules/agent-p/x.mjs": `${IMPORT}export default ${hello()};` },
    ],
    [
      "a package of the user",
      "@me/p",
      {
        ".config/agent/node_modules/@me/p/package.json": manifest("@me/p", "x.ts"),
        ".config/agent/node_modules/@me/p/x.ts": `${IMPORT}export default ${hello()};`,
      },
    ],
  ])("as %s", async (what, spec, files) => {
    const run = await runWith(files, [spec], what.endsWith("of the workspace") ? ["--trust"] : []);
    expect([run.code, run.outputs]).toEqual([0, ["Hello, Ada"]]);
  });

  test("by its name from the user's packages, not from those of a workspace that nobody trusts", async () => {
    const package_ = (name: string) => ({ "package.json": manifest("agent-p", "x.mjs"), "x.mjs": `${IMPORT}export default ${hello(name)};` });
    const at = (folder: string, files: Record<string, string | object>) =>
      Object.fromEntries(Object.entries(files).map(([file, text]) => [`${folder}/node_modules/agent-p/${file}`, text]));
    const theirs = at("work", package_("theirs"));
    const both = await runWith({ ...theirs, ...at(".config/agent", package_("hello")) }, ["agent-p"]);
    expect([both.code, both.outputs]).toEqual([0, ["Hello, Ada"]]);
    const only = await runWith(theirs, ["agent-p"]);
    expect([only.code, errorOf(only).code, only.requests.length]).toEqual([6, "UNTRUSTED", 0]);
  });

  test("with all of TypeScript: enums, namespaces, parameter properties, and imports as people write them", async () => {
    const run = await runWith({
      "work/p.ts": `${IMPORT}import type { ToolContext } from "agent-runtime";
        import data from "./data.json" with { type: "json" };
        import { helper } from "./helper";
        import { other } from "./other.js";
        namespace Space { export const inner = 1; }
        const enum Fixed { A = 2 }
        enum Named { X = "x" }
        class Base<T> { constructor(readonly value: T, public more?: number) {} }
        const lazy = await import("./lazy.ts");
        const all = [Space.inner, Fixed.A, Named.X, new Base("v").value, data.n, helper satisfies string, other, lazy.lazy].join();
        export default definePlugin({ name: "p", setup: () => ({ tools: [${toolText("hello", "(input: { name: string }, context: ToolContext) => all")}] }) });`,
      "work/data.json": { n: 3 },
      "work/helper.ts": 'export const helper = "helper";',
      "work/other.ts": 'export const other = "other";',
      "work/lazy.ts": 'export const lazy = "lazy";',
    });
    expect(run.outputs).toEqual(["1,2,x,v,3,helper,other,lazy"]);
  });

  test("with the one agent-runtime of the command, wherever it lives and whatever its packages bring along", async () => {
    const run = await runWith(
      {
        "elsewhere/p.ts": `${IMPORT}import { seen } from "dependency";
          const same = async () => [seen.z === z, seen.AgentError === AgentError, (await import("agent-runtime")).z === z].join();
          export default ${pluginText("p", `{ tools: [${toolText("hello", "same")}, ${toolText("fail", '() => { throw new AgentError("PATH_INVALID", { path: "x", reason: "no." }); }')}] }`)};`,
        "elsewhere/node_modules/dependency/package.json": manifest("dependency", "x.mjs"),
        "elsewhere/node_modules/dependency/x.mjs": 'import * as runtime from "agent-runtime"; export const seen = runtime;',
        "elsewhere/node_modules/agent-runtime/package.json": manifest("agent-runtime", "x.js"),
        "elsewhere/node_modules/agent-runtime/x.js": 'throw new Error("another agent-runtime");',
      },
      ["../elsewhere/p.ts"],
    );
    expect(run.outputs).toEqual(["true,true,true"]);
  });

  test("from the user's configuration and plugin folder, with options", async () => {
    const options = `${IMPORT}export default definePlugin({ name: "p", options: z.object({ greeting: z.string() }), setup: ({ options }) => ({ tools: [${toolText("hello", "({ name }) => options.greeting + name")}] }) });`;
    const files = {
      ".config/agent/agent.json": { plugin: [["./p.ts", { greeting: "Moin " }]] },
      ".config/agent/p.ts": options,
      ".config/agent/plugin/more.ts": `${IMPORT}export default ${hello("more")};`,
    };
    const run = await runTools(
      [
        ["hello", { name: "Ada" }],
        ["more", { name: "Bo" }],
      ],
      { home: makeHomeWith(files) },
    );
    expect(run.outputs).toEqual(["Moin Ada", "Hello, Bo"]);
    const wrong = await runWith({ "work/p.ts": options }, ['["./p.ts",{"greeting":7}]']);
    expect([wrong.code, errorOf(wrong).message]).toEqual([2, expect.stringMatching(/plugin p .*options are wrong: greeting/)]);
    const without = await runTools([["more", { name: "Bo" }]], { home: makeHomeWith(files), args: ["--no-plugins"] });
    expect(without.outputs[0]).toContain('There is no tool "more"');
  });

  test("once, however often it is named", async () => {
    const files = { "work/p.ts": `${IMPORT}console.error("loaded");\nexport default ${hello()};` };
    const home = makeHomeWith(files);
    const run = await runTools([["hello", { name: "Ada" }]], { home, args: ["--plugin", "./p.ts", "--plugin", join(home, "work/p.ts")] });
    expect([run.outputs, run.stderr.match(/loaded/g)?.length]).toEqual([["Hello, Ada"], 1]);
  });
});

describe.skipIf(!isBuilt)("a plugin that is no plugin", { concurrent: true }, () => {
  const bad: [string, string, RegExp][] = [
    ["another version of the contract", `${IMPORT}export default definePlugin({ name: "p", api: 2, setup: () => ({}) });`, /version 2 of the plugin contract/],
    ["no default export", "export const x = 1;", /no default export/],
    ["a function", "export default () => ({});", /is a function/],
    ["an error at its import", 'throw new Error("broken inside");', /broken inside/],
    ["a package that is missing", 'import x from "not-installed"; export default x;', /Cannot find module 'not-installed'$/],
    ["an error in its setup", `${IMPORT}export default ${pluginText("p", '(() => { throw new Error("no setup"); })()')};`, /no setup/],
    ["a setup without a contribution", `${IMPORT}export default ${pluginText("p", "undefined")};`, /no contribution/],
    ["a tool without a schema", `${IMPORT}export default ${pluginText("p", '{ tools: [{ name: "x", description: "d" }] }')};`, /the tool "x" has no schema/],
    ["a tool with a wrong name", `${IMPORT}export default ${pluginText("p", '{ tools: [{ name: "x y" }] }')};`, /"x y" is not a tool name/],
    ["a hook that does not exist", hooked("permision: () => 'deny'"), /no hook "permision"/],
    ["a part that does not exist", `${IMPORT}export default ${pluginText("p", "{ permission: () => 'deny' }")};`, /setup returned "permission"/],
    ["process.exit at its import", "process.exit(0);", /called process\.exit/],
    ["process.exit in its setup", `${IMPORT}export default ${pluginText("p", "process.exit(0)")};`, /called process\.exit/],
  ];
  test("stops the start before any request, with the exit code of a wrong usage", async () => {
    for (const [, source, reason] of bad.slice(-2)) {
      const run = await runWith({ "work/p.ts": source });
      expect([run.code, errorOf(run).code, run.requests.length, resultOf(run).status]).toEqual([2, "PLUGIN_BROKEN", 0, "error"]);
      expect(errorOf(run).message).toMatch(reason);
    }
  });

  test("is reported with its reason and left out where the command line says so", async () => {
    const files = Object.fromEntries(bad.map(([, source], index) => [`work/p${index}.ts`, source]));
    const specs = bad.map((_, index) => `./p${index}.ts`);
    const run = await runWith({ ...files, "work/hello.ts": `${IMPORT}export default ${hello()};` }, [...specs, "./hello.ts"], ["--skip-broken-plugins"]);
    expect([run.code, run.outputs]).toEqual([0, ["Hello, Ada"]]);
    const told: string[] = ofType(run, "plugin_error").map(({ message }) => message);
    expect(told.length).toBe(bad.length);
    for (const [fault, , reason] of bad) expect([fault, told.some((message) => reason.test(message))]).toEqual([fault, true]);
  });

  test("and hangs, in its import or setup, is given 5 s", async () => {
    const hanging = ["await new Promise(() => {});", `${IMPORT}export default ${pluginText("p", "new Promise(() => {})")};`];
    const runs = await Promise.all(hanging.map((source) => runWith({ "work/p.ts": source })));
    for (const run of runs) {
      expect([run.code, errorOf(run).message]).toEqual([2, expect.stringContaining("longer than 5 s")]);
      // It would wait for ever.
      expect(run.ms).toBeLessThan(25_000);
    }
  });
});

describe.skipIf(!isBuilt)("names", { concurrent: true }, () => {
  test("collide loudly, with both plugins named, also when a plugin takes the name of a built-in", async () => {
    const files = {
      "work/p.ts": `${IMPORT}export default ${hello()};`,
      "work/q.ts": `${IMPORT}export default ${hello().replace('"hello"', '"other"')};`,
      "work/bash.ts": `${IMPORT}export default ${hello("bash")};`,
    };
    const two = await runWith(files, ["./p.ts", "./q.ts"]);
    expect([two.code, two.requests.length, errorOf(two).message]).toEqual([2, 0, 'Both hello and other bring the tool "hello".']);
    const shadow = await runWith(files, ["./bash.ts"]);
    expect([shadow.code, errorOf(shadow).message]).toEqual([2, expect.stringMatching(/^Both bash and \/.*\/bash\.ts bring the tool "bash"\.$/)]);
  });

  test("are taken over by a plugin that says so, and permissions hold for it too", async () => {
    const mine = `${IMPORT}export default definePlugin({ name: "mine", replaces: ["bash"], setup: () => ({ tools: [tool({ name: "bash", description: "d", input: z.object({ command: z.string() }), run: () => "mine" })] }) });`;
    const run = await runTools(
      [
        ["bash", { command: "ls" }],
        ["bash", { command: "cat ../x" }],
      ],
      { home: makeHomeWith({ "work/p.ts": mine }), args: ["--plugin", "./p.ts"] },
    );
    expect(run.outputs).toEqual(["mine", expect.stringContaining("outside the workspace")]);
  });

  test("of commands are words of the command line", async () => {
    const command = `{ commands: [{ name: "greet", description: "d", run: (words, { write }) => { write(words.join("+")); return 4; } }] }`;
    const home = makeHomeWith({ ".config/agent/plugin/p.ts": `${IMPORT}export default ${pluginText("p", command)};` });
    const run = await runCommand({ home, args: ["greet", "a", "b"] });
    expect([run.code, run.stdout, run.requests.length]).toEqual([4, "a+b", 0]);
  });
});

describe.skipIf(!isBuilt)("a command of a plugin", { concurrent: true }, () => {
  const runOwn = (body: string) =>
    runCommand({
      home: makeHomeWith({
        ".config/agent/plugin/p.mjs": `${IMPORT}export default { name: "p", setup: () => ({ commands: [{ name: "mine", description: "d", run: ${body} }] }) };`,
      }),
      args: ["mine"],
    });

  test.each(["() => 256", "() => -1", "() => 1.5", "() => NaN", '() => "failed"', "() => false"])("whose exit code is none is named: %s", async (body) => {
    const { code, stderr } = await runOwn(body);
    expect([code, stderr]).toEqual([1, expect.stringContaining("error: The command mine failed: what it returned is no exit code.")]);
  });

  test("that throws is named, and an error of the table stays what it is", async () => {
    expect(await runOwn('() => { throw new Error("oops"); }')).toMatchObject({ code: 1, stderr: expect.stringContaining("The command mine failed: oops") });
    expect(await runOwn('() => { throw new AgentError("KEY_MISSING", { provider: "x", variable: "X" }); }')).toMatchObject({
      code: 5,
      stderr: expect.stringContaining("No key is set for x."),
    });
  });
});

describe.skipIf(!isBuilt)("a plugin that waits for what cannot come", { concurrent: true }, () => {
  const never = "new Promise(() => {})";
  const model = (create: string) => `import { provider, textModel } from "agent-runtime";
    export default { name: "p", setup: () => ({ providers: [provider({ id: "mine", keyless: true, create: ${create} })] }) };`;

  test("in a tool ends that prompt with its name, and the next one is answered", async () => {
    const requests = [
      { message: "-", tools: [{ name: "hello", params: { name: "Ada" } }], noReply: true },
      { message: "hi", model: "demo/echo" },
    ];
    const run = await runCommand({
      home: makeHomeWith({ "work/p.ts": `${IMPORT}export default ${pluginText("p", `{ tools: [${toolText("hello", `() => ${never}`)}] }`)};` }),
      stdin: requests.map((request) => JSON.stringify(request)).join("\n"),
      args: ["--plugin", "./p.ts"],
    });
    expect([run.code, ofType(run, "result").map(({ status, text }) => [status, text])]).toEqual([
      1,
      [
        ["error", ""],
        ["success", "hi"],
      ],
    ]);
    expect(errorOf(run)).toMatchObject({ code: "STALLED", message: "The tool hello waits for what cannot come: nothing is left that could end it." });
  });

  test.each([
    ["its provider is made", `() => ${never}`],
    ["its model is made", `() => () => ${never}`],
    ["its model answers", `() => () => textModel(async function* () { yield "a"; await ${never}; })`],
  ])("while %s ends the prompt with the name of the model", async (_, create) => {
    const run = await runCommand({
      home: makeHomeWith({ "work/p.ts": model(create) }),
      args: ["--plugin", "./p.ts", "-m", "mine/x", "-p", "hi", "--output-format", "json"],
    });
    expect([run.code, errorOf(run).code, ofType(run, "result").length, resultOf(run).status]).toEqual([1, "STALLED", 1, "error"]);
    expect(errorOf(run).message).toMatch(/^The model mine\/x waits/);
  });

  test("in a command ends it with its name", async () => {
    const command = `export default { name: "p", setup: () => ({ commands: [{ name: "mine", description: "d", run: () => ${never} }] }) };`;
    const run = await runCommand({ home: makeHomeWith({ "work/p.mjs": command }), args: ["--plugin", "./p.mjs", "mine"] });
    expect([run.code, run.stderr]).toEqual([1, expect.stringContaining("The command mine waits for what cannot come")]);
  });
});

describe.skipIf(!isBuilt)("a plugin at work", { concurrent: true }, () => {
  test("cannot spoil stdout, nor end the process", async () => {
    const noisy = `{ console.log("noise"); process.stdout.write("{broken"); if (name === "exit") process.exit(0); return "made"; }`;
    const home = makeHomeWith({
      "work/p.ts": `${IMPORT}console.log("at import");\nexport default ${pluginText("p", `{ tools: [${toolText("hello", `({ name }) => ${noisy}`)}] }`)};`,
    });
    const run = await runTools(
      [
        ["hello", { name: "Ada" }],
        ["hello", { name: "exit" }],
      ],
      { home, args: ["--plugin", "./p.ts"] },
    );
    expect(run.stdout.trim().split("\n").length).toBe(run.events.length);
    expect([run.code, resultOf(run).status]).toEqual([0, "success"]);
    expect(run.outputs).toEqual(["made", expect.stringContaining("called process.exit")]);
    expect(run.stderr).toMatch(/at import[\s\S]*noise/);
  });

  test.each([
    ["system", 1],
    ["tools", 1],
    ["config", 1],
    ["toolBefore", 0],
    ["toolAfter", 0],
    ["permission", 0],
  ])("whose hook %s fails is named, and what depends on it ends: exit %d", async (hook, code) => {
    const run = await runWith({ "work/p.ts": hooked(`${hook}: () => { throw new Error("oops"); }`), "work/hello.ts": `${IMPORT}export default ${hello()};` }, [
      "./p.ts",
      "./hello.ts",
    ]);
    const told = code === 0 ? run.outputs[0] : errorOf(run).message;
    expect([run.code, run.requests.length]).toEqual([code, code === 0 ? 2 : 0]);
    expect(told).toMatch(
      hook === "permission" ? /Denied: the permission hook of the plugin hooked failed: oops/ : new RegExp(`hook ${hook} of the plugin hooked failed: oops`),
    );
    if (code === 1) expect(errorOf(run).code).toBe("HOOK_FAILED");
  });

  test("whose observer fails is reported, and the run goes on", async () => {
    const run = await runWith({ "work/p.ts": hooked(`on: { "step.start": () => { throw new Error("oops"); } }`) });
    expect([run.code, ofType(run, "plugin_error")[0]]).toEqual([0, expect.objectContaining({ plugin: "hooked", hook: "on.step.start", message: "oops" })]);
  });

  test("whose observers are slow is waited for at the end", async () => {
    const slow = `on: { "step.finish": async () => { await new Promise((done) => setTimeout(done, 400)); append("s"); }, "session.finish": () => append("f") }`;
    const run = await runWith({
      "work/p.ts": `import { appendFileSync } from "node:fs"; const append = (text) => appendFileSync("seen.txt", text);\n${hooked(slow)}`,
    });
    expect([run.code, readFileSync(join(run.home, "work/seen.txt"), "utf8")]).toEqual([0, "ssf"]);
  });

  test("gives hooks values of the right type, or the hook is at fault", async () => {
    const run = await runWith({ "work/p.ts": hooked("system: () => 7") });
    expect([run.code, errorOf(run).message]).toEqual([1, expect.stringContaining("its answer is of the type number, not string.")]);
  });

  test("is disposed of when the run is over", async () => {
    const run = await runWith({
      "work/p.ts": `import { writeFileSync } from "node:fs";\n${IMPORT}export default ${pluginText("p", '{ dispose: () => writeFileSync("disposed", "") }')};`,
    });
    expect([run.code, existsSync(join(run.home, "work/disposed"))]).toEqual([0, true]);
  });
});

test.skipIf(!isBuilt)("a plugin that brings a provider is asked like any other", async () => {
  const source = `import { definePlugin, provider, textModel } from "agent-runtime";
    export default definePlugin({ name: "p", setup: () => ({ providers: [provider({ id: "mine", keyless: true, create: () => (id) => textModel(async function* () { yield "I am " + id; }, { id, provider: "mine" }) })] }) });`;
  const run = await runCommand({ home: makeHomeWith({ "work/p.ts": source }), args: ["-m", "mine/a/b:c", "-p", "hi", "--plugin", "./p.ts"] });
  expect([run.code, run.stdout]).toEqual([0, "I am a/b:c\n"]);
});
