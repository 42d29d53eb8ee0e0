import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { configCommand } from "../../cli/commands/config.ts";
import { ALIASES, resolveAlias } from "../../core/aliases.ts";
import { readStoredKeys, removeKey, resolveProviderOptions, storeKey } from "../../core/auth.ts";
import { type Config, configDirectory, dataDirectory, type LoadConfigOptions, loadConfig } from "../../core/config.ts";
import { knownConfigKeys } from "../../core/config-check.ts";
import { AgentError } from "../../core/errors.ts";

const made: string[] = [];
afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

/** A home, a trusted workspace with a `.git`, and a way to load its configuration. */
function world(files: Record<string, string | object>) {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "agent-config-")));
  made.push(root);
  mkdirSync(join(root, "work/.git"), { recursive: true });
  const at = (path: string) => join(root, path);
  const write = (path: string, text: string | object) => {
    mkdirSync(dirname(at(path)), { recursive: true });
    writeFileSync(at(path), typeof text === "string" ? text : JSON.stringify(text));
  };
  for (const [path, text] of Object.entries(files)) write(path, text);
  const load = (options: Partial<LoadConfigOptions> & { env?: Record<string, string> } = {}) =>
    loadConfig({ cwd: at("work"), dataDir: at("data"), trust: true, ...options, env: { HOME: at("home"), ...options.env } });
  return { at, write, load };
}

async function failure(promise: Promise<unknown>): Promise<AgentError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(AgentError);
  return error as AgentError;
}

describe("finding files", () => {
  test("the nearest file wins, from the user's own down to the current directory", async () => {
    const { load, at } = world({
      "home/.config/opencode/opencode.json": { model: "a/opencode-user", small_model: "a/opencode-user", username: "opencode-user", shell: "opencode-user" },
      "home/.config/agent/agent.jsonc": { model: "a/agent-user", small_model: "a/agent-user", username: "agent-user" },
      "work/opencode.json": { model: "a/root", small_model: "a/root" },
      "work/sub/agent.json": { model: "a/sub" },
    });
    const { config, files } = await load({ cwd: at("work/sub") });
    expect(config).toMatchObject({ model: "a/sub", small_model: "a/root", username: "agent-user", shell: "opencode-user" });
    expect(files).toEqual([
      at("home/.config/opencode/opencode.json"),
      at("home/.config/agent/agent.jsonc"),
      at("work/opencode.json"),
      at("work/sub/agent.json"),
    ]);
  });

  test("in one directory agent's own files beat opencode's, and every name is read", async () => {
    const names = [
      "opencode.json",
      "opencode.jsonc",
      ".opencode/opencode.json",
      ".opencode/opencode.jsonc",
      "package.json",
      ".agentrc",
      ".agentrc.json",
      ".agentrc.yaml",
      "agent.config.json",
      "agent.config.js",
      "agent.config.ts",
      "agent.json",
      "agent.jsonc",
      ".agent/agent.json",
      ".agent/agent.jsonc",
    ];
    const text = (name: string) => {
      if (name === "package.json") return { name: "x", agent: { model: name } };
      if (name === ".agentrc" || name.endsWith(".yaml")) return `model: ${name}\n`;
      return /\.[jt]s$/.test(name) ? `export default { model: "${name}" };` : { model: name };
    };
    const { load, write } = world({});
    for (const name of names) {
      write(`work/${name}`, text(name));
      expect((await load()).config.model).toBe(name);
    }
  });

  test("directories above the workspace's root are left alone", async () => {
    const { load } = world({ "agent.json": { model: "a/above" } });
    expect((await load()).config.model).toBeUndefined();
  });

  test("a package.json without our key, an empty file and a folder of that name say nothing", async () => {
    const { load, at } = world({ "work/package.json": { name: "agent" }, "work/opencode.json": " \n" });
    mkdirSync(at("work/agent.json"));
    expect((await load()).files).toEqual([]);
  });

  test("a named file takes the place of the workspace's; the user's stay under it", async () => {
    const { load } = world({
      "home/.config/agent/agent.json": { model: "a/user", username: "u" },
      "work/agent.json": { shell: "project" },
      "work/other.json": { model: "a/other" },
    });
    for (const options of [{ configFile: "other.json" }, { env: { AGENT_CONFIG: "other.json" } }]) {
      const { config } = await load(options);
      expect(config).toEqual({ model: "a/other", username: "u" });
    }
    const error = await failure(load({ configFile: "missing.json" }));
    expect(error).toMatchObject({ code: "CONFIG_NOT_FOUND", exit: 2 });
  });

  test("without discovery only the command line counts", async () => {
    const { load } = world({ "work/agent.json": { model: "a/file" } });
    const { config, modelSource } = await load({ discover: false, overlay: { small_model: "a/b" }, env: { AGENT_MODEL: "a/env" } });
    expect(config).toEqual({ small_model: "a/b" });
    expect(modelSource).toBeUndefined();
  });

  test("directories follow XDG and our own variables", () => {
    expect(configDirectory({ HOME: "/h" })).toBe("/h/.config/agent");
    expect(configDirectory({ HOME: "/h", XDG_CONFIG_HOME: "/x" })).toBe("/x/agent");
    expect(configDirectory({ HOME: "/h", XDG_CONFIG_HOME: "/x", AGENT_CONFIG_DIR: "/own" })).toBe("/own");
    expect(dataDirectory({ HOME: "/h" })).toBe("/h/.local/share/agent");
    expect(dataDirectory({ HOME: "/h", XDG_DATA_HOME: "/x" })).toBe("/x/agent");
    expect(dataDirectory({ AGENT_DATA_DIR: "/own" })).toBe("/own");
  });

  test("loading writes nothing", async () => {
    const { load, at } = world({ "work/agent.config.ts": "export default { model: 'a/b' };", "home/.config/agent/agent.json": "{}" });
    const list = () => (readdirSync(at("."), { recursive: true }) as string[]).sort().map((path) => `${path} ${statSync(at(path)).mtimeMs}`);
    const before = list();
    await load();
    expect(list()).toEqual(before);
  });
});

describe("merging", () => {
  test("objects merge, lists are replaced, instructions and plugins join", async () => {
    const { load, at } = world({
      "home/.config/agent/agent.json": {
        provider: { p: { name: "P", options: { timeout: 5 } } },
        disabled_providers: ["one"],
        instructions: ["a.md", "b.md"],
        plugin: ["memory", ["web", { a: 1 }], "./mine.ts"],
      },
      "work/agent.json": {
        provider: { p: { options: { chunkTimeout: 7 } } },
        disabled_providers: ["two"],
        instructions: ["b.md", "./c.md"],
        plugin: [["web", { b: 2 }], "./mine.ts"],
      },
    });
    const { config, pluginSpecs } = await load();
    expect(config.provider).toEqual({ p: { name: "P", options: { timeout: 5, chunkTimeout: 7 } } });
    expect(config.disabled_providers).toEqual(["two"]);
    expect(config.instructions).toEqual(["a.md", "b.md", at("work/b.md"), at("work/c.md")]);
    expect(pluginSpecs.map(({ spec, from }) => [spec, from])).toEqual([
      ["memory", at("home/.config/agent")],
      [["web", { b: 2 }], at("work")],
      ["./mine.ts", at("home/.config/agent")],
      ["./mine.ts", at("work")],
    ]);
    expect(config.plugin).toEqual(["memory", ["web", { b: 2 }], "./mine.ts", "./mine.ts"]);
  });

  test("command line beats environment beats project beats user, and each value knows its origin", async () => {
    const { load, at } = world({
      "home/.config/agent/agent.json": '{\n  "username": "u",\n  "model": "a/user"\n}',
      "work/agent.json": '{\n  // comment\n  "model": "a/project",\n  "agent": {\n    "build": { "model": "a/b" } } }',
    });
    const { config, origins, modelSource } = await load({
      env: { AGENT_MODEL: "a/env", AGENT_FALLBACK: "b/c, d/e", AGENT_CONFIG_CONTENT: '{ "shell": "sh", }' },
      overlay: { outputFormat: "json" },
    });
    expect(config).toMatchObject({ model: "a/env", fallback: ["b/c", "d/e"], outputFormat: "json", shell: "sh" });
    expect(Object.fromEntries(origins)).toEqual({
      username: `${at("home/.config/agent/agent.json")}:2`,
      "agent.build.model": `${at("work/agent.json")}:5`,
      model: "environment AGENT_MODEL",
      fallback: "environment AGENT_FALLBACK",
      shell: "environment AGENT_CONFIG_CONTENT",
      outputFormat: "command line",
    });
    expect(modelSource).toBe("env");
    expect((await load({ overlay: { model: "a/cli" } })).modelSource).toBe("cli");
    expect((await load()).modelSource).toBe("config");
  });

  test("the environment's permission has the last word, rules of files keep their order", async () => {
    const { load } = world({
      "home/.config/agent/agent.json": { permission: { "*": "allow", bash: { "*": "ask", "git *": "allow" } } },
      "work/agent.json": { permission: { "*": "ask", bash: { "rm *": "deny" } } },
    });
    expect(JSON.stringify((await load()).config.permission)).toBe('{"*":"ask","bash":{"*":"ask","git *":"allow","rm *":"deny"}}');
    const denied = await load({ env: { AGENT_PERMISSION: '{"*":"deny"}' } });
    expect(Object.keys(denied.config.permission as object)).toEqual(["bash", "*"]);
  });

  test("one word for a permission is kept as the rule for everything when a map follows", async () => {
    const { load } = world({ "home/.config/agent/agent.json": { permission: "deny" }, "work/agent.json": { permission: { read: "allow" } } });
    expect((await load()).config.permission).toEqual({ "*": "deny", read: "allow" });
  });

  test("the result is frozen all the way down", async () => {
    const { load } = world({ "work/agent.json": { agent: { build: { stop: 1, options: { list: [1] } } } } });
    const { config } = await load();
    expect(() => ((config as Config).model = "x")).toThrow(TypeError);
    expect(() => (config.agent!.build!.options!.list as number[]).push(2)).toThrow(TypeError);
  });

  test("older names are understood: mode, maxSteps, and unknown keys of a profile as its options", async () => {
    const { load } = world({
      "work/opencode.json": { mode: { plan: { prompt: "Plan." } }, agent: { build: { maxSteps: 5, reasoningEffort: "high", promt: "x" } } },
    });
    const { config, warnings } = await load();
    expect(config.agent).toEqual({ plan: { mode: "primary", prompt: "Plan." }, build: { steps: 5, options: { reasoningEffort: "high" } } });
    expect(warnings.join()).toMatch(/unknown key agent\.build\.promt; did you mean prompt\?/);
  });

  test("profiles and commands lie as Markdown in the folder; a plugin folder is named", async () => {
    const { load, at } = world({
      "work/.agent/agent/review.md": "---\ndescription: Reviews.\ntemperature: 0.2\n---\nBe strict.\n",
      "work/.opencode/command/team/ship.md": "Ship $1.\n",
      "work/.agent/plugin/hello.ts": "export default 1;",
    });
    const { config, directories, pluginSpecs } = await load();
    expect(config.agent).toEqual({ review: { description: "Reviews.", temperature: 0.2, prompt: "Be strict." } });
    expect(config.command).toEqual({ "team/ship": { template: "Ship $1." } });
    expect(directories).toEqual([at("work/.opencode"), at("work/.agent")]);
    expect(pluginSpecs).toEqual([{ spec: at("work/.agent/plugin/hello.ts"), from: at("work/.agent"), origin: at("work/.agent/plugin/hello.ts") }]);
  });
});

describe("reading", () => {
  test("comments, trailing commas and a byte order mark are fine", async () => {
    const { load } = world({ "work/opencode.json": '\uFEFF{ // one\n /* two */ "model": "a/b", "instructions": ["x.md",], }' });
    expect((await load()).config.model).toBe("a/b");
  });

  test("{env:} and {file:} are replaced after parsing, and what they bring is secret", async () => {
    const { load, at } = world({
      "work/agent.json": {
        provider: { p: { options: { apiKey: "{env:MY_KEY}", token: "x-{file:./key.txt}-{file:~/home.txt}" } } },
        model: "a/{env:MODEL_NAME}",
        shell: "{env:NOT_SET}",
      },
      "work/key.txt": 'from"file-secret\n',
      "home/home.txt": "home-secret-7",
    });
    const { config, secrets, warnings } = await load({ env: { MY_KEY: 'key","model":"evil', MODEL_NAME: "model-long-name" } });
    expect(config.provider!.p!.options).toEqual({ apiKey: 'key","model":"evil', token: 'x-from"file-secret-home-secret-7' });
    expect(config.model).toBe("a/model-long-name");
    expect(secrets).toEqual(expect.arrayContaining(['key","model":"evil', 'from"file-secret', "home-secret-7"]));
    expect(secrets).not.toContain("model-long-name");
    expect(warnings).toEqual([`${at("work/agent.json")}:1: shell: the variable NOT_SET is not set; "" is used.`]);
  });

  test("values of secret-sounding variables and keys in a file are secret", async () => {
    const { load } = world({
      "work/agent.json": { provider: { p: { options: { apiKey: "sk-in-the-file", headers: { Authorization: "Bearer in-the-header" } } } } },
    });
    const { secrets } = await load({ env: { MY_TOKEN: "token-value-1", PATH: "/usr/bin:/bin" } });
    expect(secrets).toEqual(expect.arrayContaining(["sk-in-the-file", "in-the-header", "token-value-1"]));
    expect(secrets).not.toContain("/usr/bin:/bin");
  });

  test("values of headers and secret parts of an address are secret; what a header says of the content is not", async () => {
    const { load } = world({
      "work/agent.json": {
        provider: {
          p: {
            options: {
              baseURL: "http://h.test/v1?token=Query%2FCanary1&version=2024-10-21",
              headers: { "X-Auth": "HdrCanary12345678", "X-Off": false, Accept: "application/json", "X-Title": "My little tool" },
            },
          },
        },
      },
    });
    expect((await load()).secrets).toEqual(["Query%2FCanary1", "Query/Canary1", "HdrCanary12345678"]);
  });

  test.each([
    ["a wrong type", '{\n  "model": 5\n}', ":2:3", "model: expected a string or a list of strings, got a number"],
    [
      "a wrong type deep down",
      '{ "provider": { "p": {\n "options": { "baseURL": 3 } } } }',
      ":2:15",
      "provider.p.options.baseURL: expected a string, got a number",
    ],
    ["a wrong word", '{ "permission": { "bash": { "x": "maybe" } } }', ":1:29", 'permission.bash.x: expected one of "allow", "ask", "deny", got "maybe"'],
    ["a number out of range", '{ "topP": 3 }', ":1:3", "topP: must be at most 1, got 3"],
    ["a broken number", '{ "seed": 1.5 }', ":1:3", "seed: expected a whole number, got a number"],
    ["a wrong plugin", '{ "plugin": [["a"]] }', ":1:3", "plugin.0: expected a string or a list [a string, an object], got a list"],
    ["a syntax error", '{\n "model": "a/b"\n "shell": 1 }', ":3:2", "it is not valid JSON: comma expected"],
    ["a list", "[]", ":1:1", "expected an object, got a list"],
    ["a dangerous key", '{ "provider": { "__proto__": {} } }', ":1:17", "the key __proto__ is refused."],
    ["a missing file", '{ "shell": "{file:./nothing}" }', ":1:3", /^shell: the file .*nothing cannot be read: ENOENT/],
    ["a bottomless pit", "[".repeat(200_000), "", "it is nested too deeply."],
  ])("%s is an error with file, place and reason", async (_what, text, position, reason) => {
    const { load, at } = world({ "work/agent.json": text });
    const error = await failure(load());
    expect(error).toMatchObject({ code: "CONFIG_INVALID", exit: 2 });
    expect(error.data.file).toBe(at("work/agent.json"));
    if (position !== "") expect(error.data.position).toBe(position);
    if (typeof reason === "string") expect(error.data.reason).toBe(reason);
    else expect(error.data.reason).toMatch(reason);
  });

  test("YAML has its own errors, refuses dangerous keys and does not explode", async () => {
    const bomb = `${["a: &a0 [x, x]", ...Array.from({ length: 30 }, (_, n) => `b${n}: &a${n + 1} [*a${n}, *a${n}]`)].join("\n")}\n`;
    const { load, write } = world({});
    for (const [text, reason] of [
      ["model: [\n", /not valid YAML/],
      ["__proto__:\n  model: x\n", /refused/],
      [bomb, /nested too deeply/],
      ["- a\n", /expected an object/],
    ] as const) {
      write("work/.agentrc.yaml", text);
      expect((await failure(load())).data.reason).toMatch(reason);
    }
  });

  test.each([
    ["work/.agentrc.yaml", "# a: comment\nprovider:\n  p:\n    options:\n      baseURL: 3\n", ":5:7", "provider.p.options.baseURL: expected a string"],
    ["work/.agentrc.yaml", "agent: { a: { prompt: x }, b: { temperature: hot } }\n", ":1:33", "agent.b.temperature: expected a number"],
    ["work/.agentrc.yaml", "agent:\n  a:\n    steps: 1\n  b:\n    steps: x\n", ":4:3", "agent.b.steps: expected a whole number"],
    ["work/.agent/agent/x.md", "---\ndescription: d\ntemperature: hot\n---\nHi.", ":3:1", "agent.x.temperature: expected a number"],
    ["work/.agent/agent/x.md", "---\ndescription: d\nmodel: [\n---\nHi.", ":4:1", "it is not valid YAML"],
  ])("a fault in the YAML of %s has its line, or that of what is around it", async (file, text, position, reason) => {
    const { load, at } = world({ [file]: text });
    const { data } = await failure(load());
    expect(data).toMatchObject({ file: at(file), position, reason: expect.stringContaining(reason) });
  });

  test("a configuration in TypeScript that throws is named without a stack", async () => {
    const { load, at } = world({ "work/agent.config.ts": "throw new Error('kaput');" });
    const error = await failure(load());
    expect(error.text).toContain(`${at("work/agent.config.ts")}: it cannot be run: kaput`);
    expect(error.text).not.toMatch(/\n\s+at /);
  });

  test("an unknown key is a warning with a suggestion, and is left out", async () => {
    const { load, at } = world({ "work/agent.json": '{\n  "modle": "a/b",\n  "zzzzzzzz": 1,\n  "provider": { "p": { "nmae": "P" } }\n}' });
    const { config, warnings } = await load();
    const file = at("work/agent.json");
    expect(config).toEqual({ provider: { p: {} } });
    expect(warnings).toEqual([
      `${file}:2: unknown key modle; did you mean model?`,
      `${file}:3: unknown key zzzzzzzz`,
      `${file}:4: unknown key provider.p.nmae; did you mean name?`,
    ]);
  });

  test("a warning holds no control characters of the file", async () => {
    const { load } = world({ "work/agent.json": '{ "\\u001b[31mred": 1 }' });
    expect((await load()).warnings[0]).toMatch(/unknown key \?\[31mred$/);
  });

  test("wrong variables are named", async () => {
    const { load } = world({});
    expect((await failure(load({ env: { AGENT_OUTPUT_FORMAT: "xml" } }))).text).toMatch(/^AGENT_OUTPUT_FORMAT: expected one of "auto", .*got "xml"/);
    expect((await failure(load({ env: { AGENT_PERMISSION: "{" } }))).text).toMatch(/^AGENT_PERMISSION: it is not valid JSON/);
    expect((await failure(load({ env: { AGENT_CONFIG_CONTENT: '{ "model": 5 }' } }))).text).toMatch(/AGENT_CONFIG_CONTENT: model: expected a string/);
  });

  test("keys that mean nothing here are accepted without a word", async () => {
    const { load } = world({
      "work/opencode.json": {
        $schema: "x",
        theme: "t",
        keybinds: { a: 1 },
        autoupdate: "notify",
        share: "manual",
        tui: {},
        layout: 1,
        server: { port: 1 },
        watcher: {},
        enterprise: {},
      },
    });
    expect((await load()).warnings).toEqual([]);
  });

  test("a link as configuration file works", async () => {
    const { load, at } = world({ "home/real.json": { model: "a/linked" } });
    symlinkSync(at("home/real.json"), at("work/agent.json"));
    expect((await load()).config.model).toBe("a/linked");
  });
});

describe("aliases", () => {
  test("all thirteen stand for a full id", () => {
    expect(Object.keys(ALIASES)).toHaveLength(13);
    expect(resolveAlias("gpt-4o")).toBe("openrouter/openai/gpt-4o");
    for (const [name, id] of Object.entries(ALIASES)) expect(resolveAlias(name)).toBe(id);
  });

  test("own ones beat them, lead on, and never replace a full id", () => {
    const alias = { best: "gpt-4o", "gpt-4o": "mine/x", "a/b": "c/d" };
    expect(resolveAlias("best", { alias })).toBe("mine/x");
    expect(resolveAlias("a/b", { alias })).toBe("a/b");
    expect(resolveAlias("unknown")).toBe("unknown");
    expect(resolveAlias("toString")).toBe("toString");
  });

  test("a circle is named", () => {
    expect(() => resolveAlias("a", { alias: { a: "b", b: "a" } })).toThrow(/a → b → a/);
  });
});

describe("keys", () => {
  const provider = {
    id: "p",
    env: ["P_KEY", "OTHER_KEY"],
    envOptions: { P_URL: "baseURL", P_TITLE: "title" },
    defaults: { baseURL: "http://default", retries: 1 },
  };
  const auth = { p: { type: "api", key: "stored-key-1" } } as const;

  test("configuration beats the stored key beats the first variable that is set", () => {
    const env = { P_KEY: " ", OTHER_KEY: "env-key-12" };
    const resolve = (config: Config, stored = {}) => resolveProviderOptions(config, provider, { env, auth: stored });
    expect(resolve({ provider: { p: { options: { apiKey: "file-key" } } } }, auth)).toMatchObject({
      options: { apiKey: "file-key" },
      keySource: "configuration",
      unusedKeys: ["auth.json", "OTHER_KEY"],
    });
    expect(resolve({}, auth)).toMatchObject({ options: { apiKey: "stored-key-1" }, keySource: "auth.json" });
    expect(resolve({})).toMatchObject({ options: { apiKey: "env-key-12" }, keySource: "OTHER_KEY", secrets: ["env-key-12"] });
    expect(resolve({ provider: { p: { options: { apiKey: false } } } }, auth)).toEqual({
      options: { baseURL: "http://default", retries: 1 },
      unusedKeys: [],
      secrets: [],
    });
  });

  test("options of a file beat the environment's, which beat the defaults", () => {
    const env = { P_URL: "http://env", P_TITLE: "env" };
    expect(resolveProviderOptions({}, provider, { env, auth: {} }).options).toEqual({ baseURL: "http://env", title: "env", retries: 1 });
    expect(resolveProviderOptions({ provider: { p: { options: { baseURL: "http://file" } } } }, provider, { env, auth: {} }).options.baseURL).toBe(
      "http://file",
    );
    expect(
      resolveProviderOptions({ provider: { p: { api: "http://api", env: ["MINE"] } } }, provider, { env: { ...env, MINE: "my-key-123" }, auth: {} }),
    ).toMatchObject({
      options: { baseURL: "http://api" },
      keySource: "MINE",
    });
  });

  test("stored keys are read; a damaged file is an error with its path", async () => {
    const { at, write } = world({});
    expect(await readStoredKeys(at("data"))).toEqual({});
    write("data/auth.json", { p: { type: "api", key: "k" }, q: { type: "oauth" } });
    expect(await readStoredKeys(at("data"))).toEqual({ p: { type: "api", key: "k" } });
    write("data/auth.json", "{");
    expect(await failure(readStoredKeys(at("data")))).toMatchObject({ code: "STORE_DAMAGED", exit: 7, data: { path: at("data/auth.json") } });
  });
});

describe("stored keys", () => {
  test("that are written at the same time are all kept, beside what else the file holds", async () => {
    const { at, write } = world({});
    write("data/auth.json", { q: { type: "oauth" }, gone: { type: "api", key: "k" } });
    const names = Array.from({ length: 12 }, (_, index) => `p${index}`);
    await Promise.all([...names.map((name) => storeKey(at("data"), name, `key-of-${name}`)), removeKey(at("data"), "gone")]);
    expect(Object.keys(await readStoredKeys(at("data"))).sort()).toEqual([...names].sort());
  });
});

describe("agent config", () => {
  async function show(words: string[], files: Record<string, string | object>) {
    const { load, at } = world(files);
    let text = "";
    const context = {
      load: () => load(),
      write: (piece: string) => void (text += piece),
      redact: (piece: string) => piece,
      dataDir: at("data"),
      cwd: at("work"),
      configDir: at("home/.config/agent"),
      configFile: undefined,
    };
    return { code: await configCommand.run(words, context), text, at };
  }
  const files = {
    "work/agent.json": {
      model: "a/b",
      provider: {
        p: {
          options: { apiKey: "sk-secret", baseURL: "http://h.test/v1?a=1&token=hidden&b=2", headers: { "X-Any": "hidden" } },
          models: { "gpt-4.1": { name: "four" } },
        },
      },
    },
  };

  test("show prints each value, masked, and where it came from", async () => {
    const { text, at } = await show(["show", "--origin"], files);
    expect(text).toContain(`model = "a/b"  (${at("work/agent.json")}:1)\n`);
    expect(text).toContain('provider.p.models.gpt-4.1.name = "four"');
    expect(text).toContain('provider.p.options.apiKey = "***"');
    expect(text).toContain('provider.p.options.baseURL = "http://h.test/v1?a=1&token=***&b=2"');
    expect(text).not.toMatch(/sk-secret|hidden/);
  });

  test("show --json prints an object, with origins on request", async () => {
    expect(JSON.parse((await show(["show", "--json"], files)).text)).toMatchObject({ model: "a/b", provider: { p: { options: { apiKey: "***" } } } });
    const { text, at } = await show(["show", "--json", "--origin"], files);
    expect(JSON.parse(text).model).toEqual({ value: "a/b", origin: `${at("work/agent.json")}:1` });
  });

  test("path prints the files; what is not there is refused", async () => {
    const { text, at } = await show(["path"], files);
    expect(text).toBe(`${at("work/agent.json")}\n`);
    expect(await failure(show(["set", "model"], {}))).toMatchObject({ code: "OPTION_INVALID", exit: 2 });
    expect(await failure(show(["shwo"], {}))).toMatchObject({ code: "OPTION_UNKNOWN", exit: 2 });
    expect(await failure(show(["show", "--orign"], {}))).toMatchObject({ code: "OPTION_UNKNOWN" });
  });
});

test("the documentation names every key", async () => {
  const { readFile } = await import("node:fs/promises");
  const page = await readFile(new URL("../../docs/configuration.md", import.meta.url), "utf8");
  for (const key of await knownConfigKeys()) expect(page, key).toContain(`\`${key}\``);
});
