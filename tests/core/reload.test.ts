import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { grantTrust } from "../../core/host.ts";
import { createRuntime, definePlugin, type Runtime, type RuntimeOptions } from "../../core/index.ts";
import bash from "../../plugins/bash/index.ts";
import builtinCompatible from "../../plugins/openai-compatible/index.ts";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";
import { timeBeside } from "../fixtures/timing.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function serve(...replies: (Reply | Promise<Reply>)[]): Promise<TestServer> {
  const server = await startServer((_, n) => replies[n] ?? { text: `answer ${n}` });
  ends.push(() => server.close());
  return server;
}

/** An answer that comes when it is let go. */
function makeHeld(reply: Reply) {
  let release = () => {};
  const held = new Promise<Reply>((resolve) => (release = () => resolve(reply)));
  return { held, release };
}

/** A user's configuration file, and how to write it anew. */
function makeUser() {
  const home = mkdtempSync(join(tmpdir(), "agent-reload-"));
  ends.push(() => rmSync(home, { recursive: true, force: true }));
  const file = join(home, ".config/agent/agent.json");
  for (const path of [join(home, "work"), join(home, ".config/agent")]) mkdirSync(path, { recursive: true });
  const write = (config: object | string) => writeFileSync(file, typeof config === "string" ? config : JSON.stringify(config));
  const at = ({ url }: TestServer, more: object = {}) => ({ model: "my/one", provider: { my: { options: { baseURL: url, apiKey: false } } }, ...more });
  return { home, file, write, at };
}

async function start(home: string, options: RuntimeOptions = {}): Promise<Runtime> {
  const runtime = await createRuntime({ cwd: join(home, "work"), env: { HOME: home, PATH: process.env.PATH }, plugins: [builtinCompatible], ...options });
  ends.push(() => runtime.close());
  return runtime;
}

const talk = (server: TestServer, n: number): string[] =>
  server.requests[n]!.body.messages.filter(({ role }: any) => role !== "system").map(({ role, content }: any) => `${role}:${content}`);

/** A plugin that tells when it is set up and when it ends. */
const watcherOf = (told: string[]) =>
  definePlugin({
    name: "watcher",
    setup: ({ config: { model } }) => {
      told.push(`set up for ${model}`);
      return { dispose: () => void told.push(`ended for ${model}`) };
    },
  });

describe("a configuration that changes while a runtime lives", () => {
  test.each([true, false])("counts from the next prompt on, with the history of the session, each turn once (kept on disk: %s)", async (persist) => {
    const [first, second] = [await serve(), await serve()];
    const { home, write, at } = makeUser();
    write(at(first));
    const runtime = await start(home, { persist });
    const { sessionId } = await runtime.prompt("one").result;
    expect(await runtime.reload()).toBe(false);
    write(at(second, { model: "my/two" }));
    expect(await runtime.reload()).toBe(true);
    expect(await runtime.reload()).toBe(false);
    expect(await runtime.prompt({ message: "two", session: sessionId }).result).toMatchObject({ status: "success", model: "my/two" });
    expect([first.requests.length, second.requests.length]).toEqual([1, 1]);
    expect(talk(second, 0)).toEqual(["user:one", "assistant:answer 0", "user:two"]);
    expect(runtime.config.model).toBe("my/two");
  });

  test("is named where it changes what the provider has in its cache, once, and a plugin that comes or goes is, too", async () => {
    const server = await serve();
    const { home, write, at } = makeUser();
    const place = join(home, "note.mjs");
    writeFileSync(
      place,
      `export default { name: "note", setup: () => ({ hooks: { messages: (all) => [{ role: "user", content: [{ type: "text", text: "Note." }] }, ...all] } }) };`,
    );
    const told: string[][] = [];
    write(at(server));
    const runtime = await start(home, { configuredPlugins: true });
    let session: string | undefined;
    const plain = {};
    const changed = { appendSystem: "Be brief." };
    const noted = { appendSystem: "Be brief.", plugin: [place] };
    for (const more of [plain, plain, changed, changed, noted, noted, changed, changed, noted]) {
      write(at(server, more));
      await runtime.reload();
      const run = runtime.prompt({ message: "go", ...(session !== undefined && { session }) });
      const broken: string[] = [];
      for await (const event of run) if (event.type === "cache.broken") broken.push(`${event.by}: ${event.part}`);
      const result = await run.result;
      expect(result.error).toBeUndefined();
      session = result.sessionId;
      told.push(broken);
    }
    const note = ["note: messages"];
    expect(told).toEqual([[], [], ["configuration: system"], [], note, [], ["configuration: messages"], [], note]);
  });

  test("leaves what is in flight where it is", async () => {
    const { held, release } = makeHeld({ text: "late" });
    const [first, second] = [await serve(held), await serve()];
    const { home, write, at } = makeUser();
    write(at(first));
    const runtime = await start(home);
    const running = runtime.prompt("one");
    write(at(second, { model: "my/two" }));
    expect(await runtime.reload()).toBe(true);
    const other = await runtime.prompt("two").result;
    release();
    expect(await running.result).toMatchObject({ text: "late", model: "my/one" });
    expect(other).toMatchObject({ model: "my/two" });
    expect([first.requests.length, second.requests.length]).toEqual([1, 1]);
  });

  test.each([
    ["that is not JSON", '{ "model": ', /agent\.json:1/],
    ["with a wrong type", { model: 7 }, /model/],
    ["that names a plugin which is not there", { plugin: ["./none.ts"] }, /none\.ts/],
  ])("%s is refused once, and the one before stays", async (_, broken, reason) => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    const runtime = await start(home);
    write(broken);
    await expect(runtime.reload()).rejects.toThrow(reason);
    expect(await runtime.reload()).toBe(false);
    expect(await runtime.prompt("go").result).toMatchObject({ status: "success", model: "my/one" });
    write(at(server, { model: "my/mended" }));
    expect(await runtime.reload()).toBe(true);
    expect(await runtime.prompt("go").result).toMatchObject({ model: "my/mended" });
  });

  test("is seen where a file was added, a profile edited or a key stored", async () => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    const runtime = await start(home);
    writeFileSync(join(home, "work/agent.json"), "{}");
    expect(await runtime.reload()).toBe(true);
    mkdirSync(join(home, ".config/agent/agent"));
    writeFileSync(join(home, ".config/agent/agent/writer.md"), "You write.");
    expect(await runtime.reload()).toBe(true);
    mkdirSync(join(home, ".local/share/agent"), { recursive: true });
    writeFileSync(join(home, ".local/share/agent/auth.json"), "{}");
    expect([await runtime.reload(), await runtime.reload()]).toEqual([true, false]);
  });

  test.each([
    ["--trust", { trust: true }, "agent.json"],
    ["a named file", { configFile: "named.json" }, "named.json"],
  ])("is not taken from a workspace that was trusted as it was (%s): the model may have written it", async (_, options, file) => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    writeFileSync(join(home, "work", file), "{}");
    const runtime = await start(home, options);
    writeFileSync(join(home, "work", file), '{"permissionMode":"yolo"}');
    await expect(runtime.reload()).rejects.toMatchObject({ code: "UNTRUSTED" });
    expect(runtime.config.permissionMode).not.toBe("yolo");
    expect(await runtime.prompt("go").result).toMatchObject({ status: "success" });
  });

  test("is not taken from a workspace that was trusted by its hash: nor does what it forbids go with the trust", async () => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    writeFileSync(join(home, "work/agent.json"), '{"permission":{"bash":"deny"}}');
    await grantTrust({ dataDir: join(home, ".local/share/agent"), cwd: join(home, "work") });
    const runtime = await start(home);
    writeFileSync(join(home, "work/agent.json"), "{}");
    await expect(runtime.reload()).rejects.toMatchObject({ code: "UNTRUSTED" });
    expect(runtime.config.permission).toEqual({ bash: "deny" });
  });

  test.each([true, false])("runs no program of a trusted workspace again: what it imports may be the model's by now (--trust: %s)", async (trust) => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    writeFileSync(join(home, "work/agent.config.ts"), 'import mode from "./mode.ts"; export default { permissionMode: mode };');
    writeFileSync(join(home, "work/mode.ts"), 'export default "ask";');
    await grantTrust({ dataDir: join(home, ".local/share/agent"), cwd: join(home, "work") });
    const runtime = await start(home, { trust });
    writeFileSync(join(home, "work/mode.ts"), 'export default "yolo";');
    write(at(server, { model: "my/two" }));
    expect(await runtime.reload()).toBe(true);
    expect(runtime.config).toMatchObject({ model: "my/two", permissionMode: "ask" });
  });

  test.each([
    ["{}", "agent.json"],
    ['{"permission":{"bash":"ask"}}', "agent.json"],
    ["REMOVED", "agent.json"],
    ['{"permission":{"bash":"deny"}}', ".agent/agent/default.md"],
  ])("takes no right back that an untrusted workspace has given up: %s in %s", async (text, file) => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    mkdirSync(join(home, "work/.agent/agent"), { recursive: true });
    writeFileSync(join(home, "work/agent.json"), '{"permission":{"bash":"deny"}}');
    const runtime = await start(home);
    if (text === "REMOVED") rmSync(join(home, "work", file));
    else writeFileSync(join(home, "work", file), file.endsWith(".md") ? "---\ndisable: true\n---\n" : text);
    await expect(runtime.reload()).rejects.toMatchObject({ code: "UNTRUSTED" });
    expect(runtime.config.permission).toEqual({ bash: "deny" });
    writeFileSync(join(home, "work/agent.json"), '{"permission":{"bash":"deny"},"temperature":0.5}');
    rmSync(join(home, "work/.agent"), { recursive: true });
    expect(await runtime.reload()).toBe(true);
    expect(runtime.config).toMatchObject({ temperature: 0.5, permission: { bash: "deny" } });
  });

  test.each([
    ["the user's file", {}, ".config/agent/agent.json"],
    ["a named file", { configFile: "../named.json" }, "named.json"],
  ])("is not taken from %s where it is a link to what tools may write", async (_, options, file) => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    for (const roots of [[], [join(home, "added")]]) {
      const target = join(home, roots.length > 0 ? "added" : "work", "dotfile.json");
      mkdirSync(join(home, "added"), { recursive: true });
      if (roots.length > 0) rmSync(join(home, file));
      else if (file === "named.json") writeFileSync(join(home, file), "{}");
      if (roots.length > 0) renameSync(join(home, "work/dotfile.json"), target);
      else renameSync(join(home, file), target);
      symlinkSync(target, join(home, file));
      const runtime = await start(home, { ...options, roots });
      writeFileSync(target, JSON.stringify(at(server, { permissionMode: "yolo" })));
      await expect(runtime.reload()).rejects.toMatchObject({ code: "UNTRUSTED" });
      expect(runtime.config.permissionMode).not.toBe("yolo");
      writeFileSync(target, JSON.stringify(at(server)));
    }
  });

  test("is taken from a named file outside, with its rights", async () => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    writeFileSync(join(home, "named.json"), "{}");
    const runtime = await start(home, { configFile: "../named.json" });
    writeFileSync(join(home, "named.json"), '{"permission":{"bash":"deny"}}');
    expect(await runtime.reload()).toBe(true);
    expect(runtime.config.permission).toEqual({ bash: "deny" });
  });

  test("widens nothing where the workspace is not trusted", async () => {
    const server = await serve();
    const { home, write, at } = makeUser();
    write(at(server));
    const runtime = await start(home);
    writeFileSync(join(home, "work/agent.json"), '{"permissionMode":"yolo","temperature":0.5}');
    expect(await runtime.reload()).toBe(true);
    expect(runtime.config).toMatchObject({ temperature: 0.5 });
    expect(runtime.config.permissionMode).not.toBe("yolo");
  });

  test("ends its plugins when the last prompt that has them is over, and sets up the new ones", async () => {
    const { held, release } = makeHeld({ text: "late" });
    const [first, second] = [await serve(held), await serve()];
    const told: string[] = [];
    const watcher = watcherOf(told);
    const { home, write, at } = makeUser();
    write(at(first));
    const runtime = await start(home, { plugins: [builtinCompatible, watcher] });
    const running = runtime.prompt("one").result.then(() => told.push("answered"));
    write(at(second, { model: "my/two" }));
    await runtime.reload();
    release();
    await running;
    await runtime.close();
    expect(told).toEqual(["set up for my/one", "set up for my/two", "answered", expect.stringMatching(/^ended/), expect.stringMatching(/^ended/)]);
  });

  test("leaves a plugin what is to outlive it: a command in the background goes on, until the runtime closes", async () => {
    const made: object[] = [];
    const kept = definePlugin({
      name: "kept",
      setup: ({ lasting }) => {
        made.push(lasting(() => ({})));
        return {};
      },
    });
    const sleep = `sleep ${90_000 + process.pid}`;
    const isRunning = () => execFileSync("ps", ["-eo", "args"]).toString().split("\n").includes(sleep);
    const calls = (name: string, args: object): Reply => ({ tools: [{ name, args }] });
    const first = await serve(calls("bash", { command: `echo begun; ${sleep}`, background: true }));
    const second = await serve(calls("bash_output", { id: "bg_1" }));
    const { home, write, at } = makeUser();
    write(at(first));
    const runtime = await start(home, { plugins: [builtinCompatible, bash, kept] });
    const { sessionId } = await runtime.prompt("one").result;
    write(at(second, { model: "my/two" }));
    await runtime.reload();
    await runtime.prompt({ message: "two", session: sessionId }).result;
    // The first prompt has told the output only if it came before the prompt's end.
    expect(talk(second, 1).at(-1)).toMatch(
      /^tool:<tool-output [^\n]+>\n(?:begun\n\n|\(no new output\)\n)\(bg_1 has been running for \d+ ms\)\n<\/tool-output \w+>$/,
    );
    expect(isRunning()).toBe(true);
    expect(made.length).toBe(2);
    expect(made[0]).toBe(made[1]);
    const { ms, hopMs } = await timeBeside(() => runtime.close());
    expect(isRunning()).toBe(false);
    expect(ms).toBeLessThan(2000 + 10 * hopMs);
  });

  test("is at an end with the runtime that is closed meanwhile, its plugins too", async () => {
    const server = await serve();
    const told: string[] = [];
    const watcher = watcherOf(told);
    const { home, write, at } = makeUser();
    write(at(server));
    const runtime = await start(home, { plugins: [builtinCompatible, watcher] });
    write(at(server, { model: "my/two" }));
    const reloading = runtime.reload();
    await runtime.close();
    await reloading.catch(() => {});
    expect(told.filter((line) => line.startsWith("ended")).length).toBe(told.filter((line) => line.startsWith("set up")).length);
    write(at(server, { model: "my/three" }));
    await runtime.reload().catch(() => {});
    expect(told.filter((line) => line.startsWith("ended")).length).toBe(told.filter((line) => line.startsWith("set up")).length);
  });

  test("does not count where no files are read", async () => {
    const { home, write } = makeUser();
    const runtime = await start(home, { discover: false });
    write({ model: "my/two" });
    expect(await runtime.reload()).toBe(false);
  });
});
