import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import {
  type CommandRun,
  errorOf,
  isBuilt,
  JSON_OUT,
  KEY,
  LAUNCHER,
  MODEL,
  makeConfiguredHome,
  makeHome,
  makeHomeWith,
  removeHomes,
  runCommand,
} from "./command.ts";

afterAll(removeHomes);

const OTHER = "sk-or-v1-CANARYother000000000000000000000000WXYZ";
const AUTH = ".local/share/agent/auth.json";
const pathIn = (home: string) => join(home, AUTH);
const storedIn = (home: string) => JSON.parse(readFileSync(pathIn(home), "utf8"));
const makeStored = (entries: object | string, more = {}) => makeHomeWith({ [AUTH]: entries, ...more });
const entry = (key: string) => ({ type: "api", key });

/** `agent auth …` where no key is in the environment. */
async function auth(words: string[], { args = [], env = {}, ...options }: CommandRun = {}) {
  const run = await runCommand({ args: [...args, "auth", ...words], env: { OPENROUTER_API_KEY: "", ...env }, ...options });
  expect(run.stdout + run.stderr).not.toContain("CANARY");
  expect(run.requests).toEqual([]);
  return run;
}

const login = (key: string | null, options: CommandRun = {}) => auth(["login", "openrouter", "--key-stdin"], { stdin: key, ...options });
const listed = async (home: string, env = {}) => JSON.parse((await auth(["list", "--json"], { home, env })).stdout);

describe.skipIf(!isBuilt)("agent auth login", { concurrent: true }, () => {
  test("stores the key of stdin without its line break, for its owner alone, and the next run uses it", async () => {
    const home = makeHome();
    const run = await login(`${OTHER}\n`, { home });
    expect([run.code, run.stdout, run.stderr]).toEqual([0, "The key of openrouter is stored. It ends in WXYZ.\n", ""]);
    expect(storedIn(home)).toEqual({ openrouter: entry(OTHER) });
    expect([statSync(pathIn(home)).mode & 0o777, statSync(join(home, ".local/share/agent")).mode & 0o777]).toEqual([0o600, 0o700]);
    expect(readdirSync(join(home, ".local/share/agent")).filter((name) => /lock|auth\.json./.test(name))).toEqual([]);
    const asked = await runCommand({ args: [...MODEL, "-p", "hi"], home, env: { OPENROUTER_API_KEY: "" } });
    expect([asked.code, asked.requests[0]?.headers.authorization]).toEqual([0, `Bearer ${OTHER}`]);
  });

  test("takes the place of a key, and keeps what else the file holds", async () => {
    const others = { github: { type: "oauth", refresh: "r", expires: 12 }, groq: entry("gsk_CANARY00000000"), odd: [1] };
    const home = makeStored({ ...others, openrouter: { type: "api", key: "old", note: 1 } });
    chmodSync(pathIn(home), 0o644);
    expect((await login(`${OTHER}\r\n`, { home })).code).toBe(0);
    expect(storedIn(home)).toEqual({ ...others, openrouter: { type: "api", key: OTHER, note: 1 } });
    expect(statSync(pathIn(home)).mode & 0o777).toBe(0o600);
  });

  test("does not replace a login of another type", async () => {
    const home = makeStored({ openrouter: { type: "oauth", refresh: "r" } });
    expect(await login(OTHER, { home })).toMatchObject({ code: 2, stderr: expect.stringContaining("a login of it that is no key") });
    expect(storedIn(home)).toEqual({ openrouter: { type: "oauth", refresh: "r" } });
  });

  test("writes through a link", async () => {
    const home = makeHomeWith({ "keys.json": {}, ".local/share/agent/x": "" });
    symlinkSync(join(home, "keys.json"), pathIn(home));
    expect((await login(OTHER, { home })).code).toBe(0);
    expect([lstatSync(pathIn(home)).isSymbolicLink(), JSON.parse(readFileSync(join(home, "keys.json"), "utf8"))]).toEqual([true, { openrouter: entry(OTHER) }]);
  });

  test.each([
    ["nothing", "", "it is empty."],
    ["blanks", " \n", "it is empty."],
    ["no stdin", null, "it is empty."],
    ["two words", "sk-CANARY 0123456789", "white space"],
    ["two lines", `${OTHER}\n${OTHER}\n`, "white space"],
    ["a control character", "sk-CANARY\u0007-012345", "white space or a character that no key has"],
    ["a letter that no key has", "sk-CANARY-0123456789é", "white space or a character that no key has"],
    ["what has no end", "x".repeat(100_000), "it is too long"],
  ])("refuses %s as a key, and changes nothing", async (_, key, reason) => {
    const home = makeHome();
    expect(await login(key, { home })).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining(reason) });
    expect(existsSync(pathIn(home))).toBe(false);
  });

  test("refuses at once what it cannot ask for, and says how to go on", async () => {
    const says = async (words: string[], options: CommandRun = {}) => {
      const run = await auth(["login", ...words], { stdin: "OPEN", ...options });
      expect(run.code).toBe(2);
      return run.stderr;
    };
    expect(await says([])).toContain("there is no terminal to ask for the key. Pipe it in: agent auth login NAME --key-stdin\n");
    expect(await says(["groq"])).toContain("agent auth login groq --key-stdin\n");
    expect(await says(["groq"], { stdin: null })).toContain("agent auth login groq --key-stdin\n");
    expect(await says(["--key-stdin"])).toContain("Name it: agent auth login NAME --key-stdin\n");
    expect(await says(["openruter", "--key-stdin"])).toContain("unknown provider 'openruter'\nDid you mean \"openrouter\"? Providers: anthropic, ");
    expect(await says(["openrouter", "--stdin"])).toContain("unknown option '--stdin'");
  });

  test("never repeats a key in the wrong place", async () => {
    for (const words of [[OTHER], ["openrouter", OTHER], ["openrouter", `--key=${OTHER}`], [OTHER, "--key-stdin"], ["openrouter", `--${OTHER}`]])
      expect(await auth(["login", ...words], { stdin: "x" })).toMatchObject({ code: 2 });
    for (const words of [[OTHER], ["logout", OTHER], ["list", OTHER], ["list", `--${OTHER}`]])
      expect(await auth(words, { args: ["--verbose"] })).toMatchObject({ code: 2 });
  });

  test("knows the providers of the configuration, and says where the stored key is not used", async () => {
    const options = (apiKey: unknown) => ({ options: { baseURL: "https://mine.invalid/v1", apiKey } });
    const home = makeConfiguredHome({
      provider: { mine: options("CANARY-of-the-file"), free: options(false), local: { options: { baseURL: "http://127.0.0.1:1/v1" } } },
    });
    const to = (name: string) => auth(["login", name, "--key-stdin"], { stdin: OTHER, home });
    expect(await to("mine")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("not used: provider.mine.options.apiKey of the configuration comes first"),
    });
    expect(await to("free")).toMatchObject({ code: 2, stderr: expect.stringContaining("provider.free.options.apiKey is false in the configuration") });
    expect(await to("local")).toMatchObject({ code: 0 });
    expect(Object.keys(storedIn(home))).toEqual(["mine", "local"]);
  });

  test("leaves a damaged file as it is", async () => {
    for (const [words, damaged] of [
      [["login", "openrouter", "--key-stdin"], `{"openrouter":{"type":"api","key":"${OTHER}`],
      [["logout", "openrouter"], `${OTHER}`],
      [["list"], "[]"],
      [["list"], ""],
    ] as const) {
      const home = makeStored(damaged);
      const run = await auth([...words], { args: ["--verbose"], home, stdin: OTHER });
      expect([run.code, run.stderr]).toEqual([7, expect.stringContaining("[STORE_DAMAGED]")]);
      expect(readFileSync(pathIn(home), "utf8")).toBe(damaged);
    }
  });

  test("by many at once loses none", { timeout: 180_000 }, async () => {
    const home = makeHome();
    const names = ["anthropic", "deepseek", "google", "groq", "mistral", "openai", "openrouter"];
    const runs = await Promise.all(names.map((name) => auth(["login", name, "--key-stdin"], { stdin: `CANARY-key-of-${name}`, home, timeoutMs: 50_000 })));
    expect(runs.map(({ code }) => code)).toEqual(names.map(() => 0));
    expect(Object.keys(storedIn(home)).sort()).toEqual(names);
  });

  test("says so where it cannot write", async () => {
    const home = makeHomeWith({ ".local/share/agent": "a file" });
    expect(await login(OTHER, { home })).toMatchObject({ code: 7, stderr: expect.stringContaining("[STORE_UNWRITABLE]") });
  });
});

describe.skipIf(!isBuilt)("agent auth list", { concurrent: true }, () => {
  test("shows where each key comes from, its end, and what is set besides", async () => {
    const home = makeStored(
      { openrouter: entry(OTHER), groq: entry("gsk_short"), gone: entry("CANARY-gone-key-1234"), github: { type: "oauth" } },
      { ".config/agent/agent.json": { provider: { mine: { options: { baseURL: "https://mine.invalid/v1", apiKey: "CANARY-of-the-file-9876" } } } } },
    );
    const env = { OPENROUTER_API_KEY: KEY, GOOGLE_API_KEY: "CANARY-google-5678" };
    expect(await listed(home, env)).toEqual([
      { provider: "gone", source: "auth.json", last4: "1234", unused: [] },
      { provider: "google", source: "GOOGLE_API_KEY", last4: "5678", unused: [] },
      { provider: "groq", source: "auth.json", last4: null, unused: [] },
      { provider: "mine", source: "configuration", last4: "9876", unused: [] },
      { provider: "openrouter", source: "auth.json", last4: "WXYZ", unused: ["OPENROUTER_API_KEY"] },
    ]);
    const { stdout } = await auth(["list"], { home, env });
    expect(stdout.split("\n")).toEqual([
      "gone        auth.json       …1234  no such provider is in force",
      "google      GOOGLE_API_KEY  …5678",
      "groq        auth.json       …",
      "mine        configuration   …9876",
      "openrouter  auth.json       …WXYZ  set, but not used: OPENROUTER_API_KEY",
      "",
    ]);
  });

  test("says how to get a key where there is none", async () => {
    const home = makeHome();
    expect(await listed(home)).toEqual([]);
    const { code, stdout } = await auth(["list"], { home });
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^No provider has a key\. Get one, and store it with agent auth login NAME:\n {2}anthropic .*\n(?:.*\n)* {2}openrouter +https:\/\/openrouter\.ai\/settings\/keys\n$/,
    );
  });
});

describe.skipIf(!isBuilt)("agent auth logout", { concurrent: true }, () => {
  test("removes the key and nothing else, and says which one is used now", async () => {
    const home = makeStored({ openrouter: entry(OTHER), github: { type: "oauth" }, groq: entry("gsk_CANARY-groq") });
    const out = (name: string) => auth(["logout", name], { home, env: { OPENROUTER_API_KEY: KEY } });
    expect(await out("openrouter")).toMatchObject({
      code: 0,
      stdout: "The key of openrouter is removed. A key remains in OPENROUTER_API_KEY, and is used now.\n",
    });
    expect(await out("groq")).toMatchObject({ code: 0, stdout: "The key of groq is removed.\n" });
    expect(storedIn(home)).toEqual({ github: { type: "oauth" } });
  });

  test("of what is not stored is refused", async () => {
    const home = makeStored({ openrouter: entry(OTHER), github: { type: "oauth" } });
    const says = async (words: string[], env = {}) => {
      const run = await auth(["logout", ...words], { home, env, stdin: "OPEN" });
      return [run.code, run.stderr.split("\n").slice(0, 2).join(" ")];
    };
    expect(await says(["openruter"])).toEqual([2, expect.stringContaining('Did you mean "openrouter"? Stored: openrouter.')]);
    expect(await says(["github"])).toEqual([2, expect.stringContaining("unknown stored key 'github'")]);
    expect(await says(["groq"], { GROQ_API_KEY: "gsk_CANARY-groq" })).toEqual([2, expect.stringContaining("A key remains in GROQ_API_KEY, and is used now.")]);
    expect(await says([])).toEqual([2, expect.stringContaining("Name it: agent auth logout openrouter")]);
    expect(storedIn(home)).toEqual({ openrouter: entry(OTHER), github: { type: "oauth" } });
    writeFileSync(pathIn(home), "{}");
    expect(await says(["openrouter"])).toEqual([2, expect.stringContaining("no key is stored.")]);
  });
});

describe.skipIf(!isBuilt)("what an error says of keys", { concurrent: true }, () => {
  const hint = async (options: CommandRun) =>
    errorOf(await runCommand({ args: [...MODEL, ...JSON_OUT, "-p", "hi"], script: [{ status: 401 }], ...options })).hint;

  test("is how to get going where there is none", async () => {
    const env = { OPENROUTER_API_KEY: "" };
    const login = "set a key (`agent auth login openrouter`, or OPENROUTER_API_KEY=…); use a local server";
    for (const args of [
      [...MODEL, ...JSON_OUT, "-p", "hi"],
      [...JSON_OUT, "-p", "hi"],
    ]) {
      const said = await hint({ args, env });
      expect(said).toContain(login);
      expect(said).toMatch(/ Keys: https:\/\/openrouter\.ai\/settings\/keys$/);
    }
    const off = { provider: { openrouter: { options: { apiKey: false } } } };
    expect(await hint({ env, home: makeConfiguredHome(off) })).toContain("As long as provider.openrouter.options.apiKey is false, no key counts.");
  });

  test("follows from where the refused one came", async () => {
    expect(await hint({})).toContain("Set another one: agent auth login openrouter, or OPENROUTER_API_KEY=…");
    const stored = await hint({ home: makeStored({ openrouter: entry(OTHER) }) });
    expect(stored).toContain(
      "Another key is set in OPENROUTER_API_KEY, and is not used. To replace it: agent auth login openrouter; to remove it: agent auth logout openrouter.",
    );
    const configured = await hint({ home: makeConfiguredHome({ provider: { openrouter: { options: { apiKey: OTHER } } } }) });
    expect(configured).toContain("Only a change there counts.");
    expect(configured).not.toContain("auth log");
  });
});

/** What a person sees, and the exit code; types each text once the one before it is shown. */
function onTerminal(words: string[], steps: [string, string][], home: string): [number | null, string] {
  const terminal = fileURLToPath(new URL("../fixtures/terminal.py", import.meta.url));
  mkdirSync(join(home, "work"), { recursive: true });
  const { status, stdout } = spawnSync("python3", [terminal, JSON.stringify(steps), process.execPath, LAUNCHER, "auth", ...words], {
    cwd: join(home, "work"),
    env: { PATH: process.env.PATH, HOME: home, TERM: "xterm" },
    encoding: "utf8",
    timeout: 60_000,
  });
  expect(stdout).not.toContain("CANARY");
  return [status, stdout];
}

const hasTerminal = isBuilt && spawnSync("python3", ["-c", "import pty"]).status === 0;

describe.skipIf(!hasTerminal)("agent auth on a terminal", () => {
  test("asks for provider and key, and shows neither key nor prompt to stdout", { timeout: 180_000 }, () => {
    const home = makeHome();
    expect(onTerminal(["login", "openrouter"], [["Key of openrouter (https://openrouter.ai/settings/keys)", `${OTHER} \r`]], home)).toEqual([
      0,
      expect.stringContaining("ends in WXYZ."),
    ]);
    const second: [string, string][] = [
      ["Which provider", "\u001b[B\r"],
      ["Key of deepseek", "CANARY with space\r"],
      ["white space", "\u0003"],
    ];
    expect(onTerminal(["login"], second, home)).toEqual([130, expect.stringContaining("Nothing was changed.")]);
    expect(storedIn(home)).toEqual({ openrouter: entry(OTHER) });
    expect(onTerminal(["logout"], [["Which key", "\r"]], home)).toEqual([0, expect.stringContaining("The key of openrouter is removed.")]);
    expect(onTerminal(["logout"], [], home)).toEqual([2, expect.stringContaining("no key is stored.")]);
    expect(onTerminal(["login", "groq", "--key-stdin"], [], home)).toEqual([2, expect.stringContaining("stdin is a terminal.")]);
  });
});
