import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { frames, type Reply, type SeenRequest, usageChunk } from "../fixtures/server.ts";
import {
  type CommandRun,
  errorOf,
  isBuilt,
  JSON_OUT,
  KEY,
  MODEL,
  makeConfiguredHome,
  makeHome,
  makeHomeWith,
  ofType,
  readAll,
  removeHomes,
  resultOf,
  runCommand,
} from "./command.ts";

afterAll(removeHomes);

/** A directory beside the workspace, where no tool meets it. */
const DIR = "../recording";
const CACHE = ".local/share/agent/cache/responses";
const ask = (home: string, args: string[], more: CommandRun = {}) =>
  runCommand({ args: [...MODEL, ...JSON_OUT, "--max-retries", "2", ...args], home, ...more });
const record = (home: string, more: CommandRun = {}) => ask(home, ["--record", DIR, "-p", "Say hello."], more);
const replay = (home: string, more: CommandRun = {}) => ask(home, ["--replay", DIR, "-p", "Say hello."], { script: [{ status: 500 }], ...more });
const filesOf = (home: string, folder = "recording") => readdirSync(join(home, folder)).sort();
const readFile = (home: string, index = 0) => JSON.parse(readFileSync(join(home, "recording", filesOf(home)[index] as string), "utf8"));

/** What an answer showed, without what is of this run alone. */
const shown = (events: any[]) =>
  events
    .filter(({ type }) => !["model_resolved", "result"].includes(type))
    .map(({ type, part, delta }) => [type, part?.text ?? delta ?? part?.state?.output ?? part?.reason, part?.cost, part?.tokens, part?.callID]);

/** A completion that is sent whole, though a stream was asked for. */
const whole = (message: object, finish = "stop"): Reply => ({
  status: 200,
  body: {
    ...{ id: "gen-1", object: "chat.completion", created: 1, model: "m" },
    choices: [{ index: 0, finish_reason: finish, message: { role: "assistant", content: null, ...message } }],
    usage: { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110, cost: 0.0015 },
  },
});
const signed = { type: "reasoning.text", text: "I look.", signature: "c2lnbmVk", format: "anthropic-claude-v1", index: 0 };
const listed = { id: "call_a", type: "function", function: { name: "list", arguments: "{}" } };
const WHOLE = [
  whole({ content: "Looking.", reasoning: "I look.", reasoning_details: [signed], tool_calls: [listed] }, "tool_calls"),
  whole({ content: "Ünï 🎉." }),
];

describe.runIf(isBuilt)("--record and --replay", () => {
  test("answer a run again without a network and without a key, byte for byte", async () => {
    const home = makeHomeWith({ "work/a.txt": "alpha\n" });
    const script = [{ reasoning: "Let me look.", tools: [{ name: "read", args: { filePath: "a.txt" } }] }, { text: "It says alpha, ünïcödé 🎉." }];
    const first = await record(home, { script });
    const again = await replay(home, { env: { OPENROUTER_API_KEY: "" } });
    expect([first.code, again.code, first.requests.length, again.requests.length], again.stdout).toEqual([0, 0, 2, 0]);
    expect(shown(again.events)).toEqual(shown(first.events));
    expect(resultOf(again)).toMatchObject({ text: "It says alpha, ünïcödé 🎉.", cost: 0.003, costSource: "provider" });
    expect(filesOf(home)).toEqual(["0001-openrouter-acme-model-1.json", "0002-openrouter-acme-model-1.json"]);
  });

  test("answer a completion that came whole in the place of a stream, with what it signed", async () => {
    const home = makeHome();
    const first = await record(home, { script: WHOLE });
    const again = await replay(home);
    expect([first.code, again.code, again.requests.length, resultOf(again)?.text], again.stdout).toEqual([0, 0, 0, "Ünï 🎉."]);
    expect(shown(again.events)).toEqual(shown(first.events));
    expect(first.requests[1]?.body.messages.find(({ role }: any) => role === "assistant").reasoning_details).toEqual([signed]);
    const telling = makeHome();
    await record(telling, { script: [whole({ content: `It is ${KEY}.` })] });
    expect([readAll(telling).includes(KEY), resultOf(await replay(telling)).text]).toEqual([false, "It is [redacted]."]);
  });

  test("find the same request at another address, in another workspace, with another session", async () => {
    const home = makeHomeWith({ "work/a.txt": "alpha\n" });
    await record(home, { script: [{ tools: [{ name: "bash", args: { command: "pwd" } }] }, { text: "There." }] });
    const other = makeHome();
    const elsewhere = await ask(other, ["--replay", join(home, "recording"), "-p", "Say hello."], { script: [{ status: 500 }] });
    expect([elsewhere.code, elsewhere.requests.length, resultOf(elsewhere)?.text], elsewhere.stdout).toEqual([0, 0, "There."]);
    expect(JSON.stringify(readFile(home, 1))).not.toContain(home);
  });

  test("find a request in which ids stand that the runtime made", async () => {
    const home = makeHome();
    const nameless = { name: "bash", args: { command: "seq 20000" }, id: null };
    const task = { name: "task", args: { description: "Count", prompt: "Count." }, id: null };
    const first = await record(home, { script: [{ tools: [nameless, nameless] }, { tools: [task] }, { text: "Counted." }, { text: "Done." }] });
    expect(JSON.stringify(first.requests[3]?.body)).toMatch(/tool-output.*ses_/);
    const again = await replay(home, { env: { AGENT_DATA_DIR: join(home, "other-data") } });
    expect([first.requests.length, again.code, resultOf(again)?.text], again.stdout).toEqual([4, 0, "Done."]);
  });

  test.each([
    ["json"],
    ["stream-json"],
  ])("and --cache find a request that names its session to the provider's cache, in another one, with %s", async (format) => {
    const home = makeHomeWith({ "work/a.txt": "alpha\n" });
    const script = [{ tools: [{ name: "read", args: { filePath: "a.txt" } }] }, { text: "It says alpha." }];
    const frame = (content: string) => JSON.stringify({ type: "user", message: { role: "user", content } });
    const stdin = format === "json" ? '{"message":"Read."}' : frame("Read.");
    const run = (args: string[], more: CommandRun = {}) =>
      runCommand({ args: ["--model", "openrouter/openai/gpt-4o", "--input-format", format, "--output-format", format, ...args], home, stdin, ...more });
    const runs = [await run(["--record", DIR, "--cache"], { script }), await run(["--replay", DIR]), await run(["--cache"])];
    expect(runs.map(({ code, requests }) => [code, requests.length])).toEqual([
      [0, 2],
      [0, 0],
      [0, 0],
    ]);
    expect(runs[0]?.requests[0]?.body.prompt_cache_key).toMatch(/^[0-9a-f]{32}$/);
    const results = runs.map(resultOf);
    expect(results.map(({ text, result }) => text ?? result)).toEqual(Array(3).fill("It says alpha."));
    expect(results.map(({ cost, total_cost_usd }) => cost ?? total_cost_usd)).toEqual([0.003, 0.003, 0]);
    expect(new Set(results.map(({ sessionID, session_id }) => sessionID ?? session_id)).size).toBe(3);
    const missing = await run(["--replay", DIR], { stdin: stdin.replace("Read.", "Write.") });
    expect([missing.code, missing.requests.length]).toEqual([2, 0]);
    expect(missing.stdout).toContain("RECORDING_MISSING");
  });

  test("replay a refusal and the answer after it in their order", async () => {
    const home = makeHome();
    const script = [{ status: 429, headers: { "retry-after-ms": "20" } }, { text: "At last." }];
    const first = await record(home, { script });
    const again = await replay(home);
    expect([first.code, again.code, again.requests.length]).toEqual([0, 0, 0]);
    expect(ofType(again, "retry").map(({ error }) => error)).toEqual(ofType(first, "retry").map(({ error }) => error));
    expect(readFile(home).response).toMatchObject({ status: 429, headers: { "content-type": "application/json", "retry-after-ms": "20" } });
  });

  test("replay a stream that broke off where it broke off", async () => {
    const home = makeHome();
    const script = [{ raw: [...frames({ text: "Half of it" }).slice(0, 2), { delayMs: 20 }, "DROP" as const] }, { text: "The whole of it." }];
    const first = await record(home, { script });
    const again = await replay(home);
    expect([again.code, resultOf(again)?.text], again.stdout).toEqual([0, "The whole of it."]);
    expect(ofType(again, "retry").map(({ error }) => error)).toEqual(ofType(first, "retry").map(({ error }) => error));
    expect(readFile(home).failure).toMatchObject({ code: "STREAM_CUT" });
  });

  test("keep the pieces of a body as they came, in base64 where a character was split", async () => {
    const home = makeHome();
    const bytes = Buffer.from(frames({ text: "🎉" }).join(""));
    const middle = bytes.indexOf(Buffer.from("🎉")) + 2;
    await record(home, { script: [{ raw: [bytes.subarray(0, middle), { delayMs: 50 }, bytes.subarray(middle)] }] });
    const { body } = readFile(home).response;
    expect(body.length).toBeGreaterThanOrEqual(2);
    expect(body[0]).toEqual({ base64: bytes.subarray(0, middle).toString("base64") });
    expect(Buffer.concat(body.map((piece: any) => Buffer.from(piece.base64 ?? piece, piece.base64 === undefined ? "utf8" : "base64")))).toEqual(bytes);
    expect(resultOf(await replay(home)).text).toBe("🎉");
  });

  test("keep no key, no header of a request and no cookie, in files that only the owner can read", async () => {
    const home = makeHome();
    const headers = { "set-cookie": "session=abc", "x-account": "me", authorization: `Bearer ${KEY}` };
    const run = await record(home, { script: [{ raw: [`: ${KEY}\n\n`, ...frames({ text: "No key." })], headers }] });
    expect(run.code).toBe(0);
    const text = readAll(join(home, "recording"));
    for (const secret of [KEY, "CANARY", "set-cookie", "session=abc", "x-account", "uthorization", "X-Title"]) expect(text).not.toContain(secret);
    expect(readFile(home).response.headers).toEqual({ "content-type": "text/event-stream" });
    expect(statSync(join(home, "recording", filesOf(home)[0] as string)).mode & 0o777).toBe(0o600);
  });

  test("keep no password of a proxy, also where the proxy repeats it, and no header of the configuration", async () => {
    const proxy = createServer();
    proxy.on("connect", ({ headers }, socket) => {
      const said = String(headers["proxy-authorization"]);
      socket.end(`HTTP/1.1 407 ${Buffer.from(said.slice(6), "base64")} ${said}\r\n\r\n`);
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", () => resolve()));
    const home = makeConfiguredHome({ provider: { openrouter: { options: { headers: { "x-tenant": "tenant-word-1" } } } } });
    const { port } = proxy.address() as AddressInfo;
    const env = { OPENROUTER_BASE_URL: "https://api.test/v1", HTTPS_PROXY: `http://me:hunter2%40home@127.0.0.1:${port}` };
    const refused = await record(home, { env });
    const echo = ({ headers }: SeenRequest) => ({ status: 400, body: { error: { message: `No ${headers["x-tenant"]} ${headers.authorization}` } } });
    const echoed = await record(home, { script: echo });
    proxy.close();
    expect([errorOf(refused).message, errorOf(echoed).message]).toEqual([expect.stringContaining("407 me:[redacted]"), expect.stringContaining("[redacted]")]);
    rmSync(join(home, ".config"), { recursive: true });
    const kept = readAll(home) + [refused, echoed].map(({ stdout, stderr }) => stdout + stderr).join("");
    expect(filesOf(home).length).toBeGreaterThan(1);
    for (const secret of ["hunter2", btoa("me:hunter2@home"), "tenant-word-1", KEY]) expect(kept).not.toContain(secret);
  });

  test("keep no answer in which a stream brings a key in parts", async () => {
    const home = makeHome();
    const run = await ask(home, ["--record", DIR, "--cache", "-p", "x"], { script: [{ text: `It is ${KEY}, I was told.` }] });
    expect([run.code, run.stderr.match(/holds a key/g)?.length]).toEqual([0, 1]);
    expect(filesOf(home)).toEqual([]);
    expect(() => filesOf(home, CACHE)).toThrow("ENOENT");
  });

  test("refuse what was not recorded with the directory and the first field that differs", async () => {
    const home = makeHome();
    await record(home);
    const other = await ask(home, ["--replay", DIR, "-p", "Say goodbye."], { script: [{ text: "From the network." }] });
    expect([other.code, other.requests.length, errorOf(other).code]).toEqual([2, 0, "RECORDING_MISSING"]);
    expect(errorOf(other).message).toContain(join(home, "recording"));
    expect(errorOf(other).hint).toMatch(/0001-openrouter-acme-model-1\.json, differs in messages\[1\]\.content.*recorded "Say hello\.", asked "Say goodbye\."/);
    const model = await runCommand({ args: ["-m", "openrouter/acme/other", ...JSON_OUT, "--replay", DIR, "-p", "Say hello."], home });
    expect(errorOf(model).hint).toContain('differs in model: recorded "acme/model-1", asked "acme/other"');
    mkdirSync(join(home, "empty"));
    expect(errorOf(await ask(home, ["--replay", "../empty", "-p", "Say hello."]))).toMatchObject({
      code: "RECORDING_MISSING",
      hint: expect.stringContaining("no recording"),
    });
  });

  test("take the provider that was recorded where neither model nor key is there", async () => {
    const home = makeHome();
    const first = await runCommand({ args: [...JSON_OUT, "--record", DIR, "-p", "Say hello."], home });
    const again = await runCommand({
      args: [...JSON_OUT, "--replay", DIR, "-p", "Say hello."],
      home,
      env: { OPENROUTER_API_KEY: "" },
      script: [{ status: 500 }],
    });
    expect([first.code, again.code, resultOf(again)?.model], again.stdout).toEqual([0, 0, resultOf(first).model]);
  });

  test("go on with a session in a directory that holds a recording already", async () => {
    const home = makeHome();
    await record(home, { script: [{ text: "Hello." }] });
    await ask(home, ["--record", DIR, "-c", "-p", "And now?"], { script: [{ text: "Goodbye." }] });
    expect(filesOf(home)).toHaveLength(2);
    expect(resultOf(await replay(home)).text).toBe("Hello.");
    expect(resultOf(await ask(home, ["--replay", DIR, "-c", "-p", "And now?"])).text).toBe("Goodbye.");
  });

  test("a recording that cannot be written is one warning, and the run goes on", async () => {
    const home = makeHomeWith({ "in-its-way": "a file" });
    const run = await ask(home, ["--record", "../in-its-way", "-p", "x"], { script: [{ tools: [{ name: "list" }] }, { text: "Done." }] });
    expect([run.code, resultOf(run).text]).toEqual([0, "Done."]);
    expect(run.stderr.match(/is not complete/g)).toHaveLength(1);
  });

  test("a damaged recording and one of a newer version are errors with their path; both options together and no directory are refused", async () => {
    const home = makeHome();
    await record(home);
    const path = join(home, "recording", filesOf(home)[0] as string);
    const text = readFileSync(path, "utf8");
    const errorAfter = async (content: string) => {
      writeFileSync(path, content);
      return errorOf(await replay(home));
    };
    expect(await errorAfter(text.slice(0, 100))).toMatchObject({ code: "STORE_DAMAGED", message: expect.stringContaining(path) });
    expect(await errorAfter(text.replace('"version": 1', '"version": 2'))).toMatchObject({ code: "STORE_NEWER" });
    expect(errorOf(await ask(home, ["--record", DIR, "--replay", DIR, "-p", "x"]))).toMatchObject({ code: "OPTION_INVALID" });
    expect((await ask(home, ["--replay", "../nowhere", "-p", "x"])).code).toBe(2);
  });
});

const cached = (home: string, more: CommandRun = {}) => ask(home, ["--cache", "--no-session", "-p", "Say hello."], more);

describe.runIf(isBuilt)("--cache", () => {
  test("answers an identical request from disk, at no cost, and says so", async () => {
    const home = makeHome();
    const first = await cached(home, { script: [{ tools: [{ name: "list" }] }, { text: "Hello." }] });
    const again = await cached(home, { script: [{ text: "Never asked." }] });
    expect([first.requests.length, again.requests.length, again.code]).toEqual([2, 0, 0]);
    expect(ofType(first, "step_finish")[0].part).not.toHaveProperty("cached");
    expect(ofType(again, "step_finish").map(({ part }) => [part.cached, part.cost, part.costSource])).toEqual([
      [true, 0, "provider"],
      [true, 0, "provider"],
    ]);
    expect(resultOf(again)).toMatchObject({ text: "Hello.", cost: 0 });
    expect(shown(again.events).map(([, text]) => text)).toEqual(shown(first.events).map(([, text]) => text));
    const other = await ask(home, ["--cache", "--no-session", "--temperature", "0.5", "-p", "Say hello."]);
    expect(other.requests.length).toBe(1);
    expect((await ask(home, ["--no-session", "-p", "Say hello."])).requests.length).toBe(1);
  });

  test("keeps a completion that came whole in the place of a stream, and none that was cut", async () => {
    const home = makeHome();
    const first = await cached(home, { script: WHOLE });
    const again = await cached(home, { script: [{ status: 500 }] });
    expect([first.code, again.code, again.requests.length, resultOf(again).text, resultOf(again).cost]).toEqual([0, 0, 0, "Ünï 🎉.", 0]);
    expect(shown(again.events).map(([type, text]) => [type, text])).toEqual(shown(first.events).map(([type, text]) => [type, text]));
    const text = JSON.stringify(WHOLE[1]?.body);
    for (const raw of [[text.slice(0, -9)], [text.slice(0, -9), { delayMs: 10 }, "DROP" as const]]) {
      const other = makeHome();
      const run = await ask(other, ["--cache", "--max-retries", "0", "-p", "x"], { script: [{ headers: { "content-type": "application/json" }, raw }] });
      expect(run.code).toBe(4);
      expect(() => filesOf(other, CACHE)).toThrow("ENOENT");
    }
  });

  test("keeps no key, in files that only the owner can read", async () => {
    const home = makeHome();
    await cached(home);
    const [file] = filesOf(home, CACHE);
    expect(statSync(join(home, CACHE, file as string)).mode & 0o777).toBe(0o600);
    expect(readAll(join(home, CACHE))).not.toContain("CANARY");
    const telling = makeHome();
    await cached(telling, { script: [{ raw: [`: ${KEY}\n\n`, ...frames({ text: "Hello." })] }] });
    expect(() => filesOf(telling, CACHE)).toThrow("ENOENT");
  });

  test("keeps only answers that are whole and good", async () => {
    const bad: CommandRun["script"][] = [
      [{ status: 500 }],
      [{ status: 400 }],
      [{ text: "Cut at the limit", finish: "length" }],
      [{ text: "No finish", finish: null }],
      [{ raw: [...frames({ text: "Dropped" }).slice(0, 2), { delayMs: 10 }, "DROP"] }],
      [{ raw: [`data: {"error":{"code":500,"message":"inside"}}\n\n`, usageChunk(), "data: [DONE]\n\n"] }],
      [{ status: 200, body: "<html>Not a model</html>" }],
      [{ text: "", tools: [] }],
    ];
    for (const script of bad) {
      const home = makeHome();
      const run = await ask(home, ["--cache", "--max-retries", "0", "-p", "x"], { script: script as never });
      expect(run.code, JSON.stringify(script)).not.toBe(0);
      expect(() => filesOf(home, CACHE), JSON.stringify(script)).toThrow("ENOENT");
    }
  }, 180_000);

  test("lets an answer go after its time, and the oldest where there is too much", async () => {
    const home = makeConfiguredHome({ cache: { ttlSeconds: 3600, maxBytes: 4000 } });
    await cached(home, { script: [{ text: "One." }] });
    const [first] = filesOf(home, CACHE) as [string];
    const past = Date.now() / 1000 - 3700;
    utimesSync(join(home, CACHE, first), past, past);
    expect((await cached(home, { script: [{ text: "Two." }] })).requests.length).toBe(1);
    for (const word of ["a", "b", "c", "d", "e"]) await ask(home, ["--cache", "-p", word], { script: [{ text: word.repeat(100) }] });
    const sizes = filesOf(home, CACHE).map((file) => statSync(join(home, CACHE, file)).size);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(4000);
    expect(sizes.length).toBeGreaterThan(0);
    expect((await ask(home, ["--cache", "-p", "e"])).requests.length).toBe(0);
    expect((await ask(home, ["--cache", "-p", "a"])).requests.length).toBe(1);
  }, 180_000);

  test("asks again where an answer on disk is damaged, and goes on where nothing can be kept", async () => {
    const home = makeHome();
    await cached(home);
    const [file] = filesOf(home, CACHE) as [string];
    for (const text of ["", "{", '{"status":200,"headers":{},"body":["data: nonsense\\n\\n"]}']) {
      writeFileSync(join(home, CACHE, file), text);
      const run = await cached(home);
      expect([run.code, run.requests.length], text).toEqual([0, 1]);
    }
    rmSync(join(home, CACHE), { recursive: true });
    writeFileSync(join(home, CACHE), "a file in its place");
    const run = await cached(home, { script: [{ tools: [{ name: "list" }] }, { text: "Hello." }] });
    expect([run.code, run.stderr.match(/cannot be kept/g)?.length]).toEqual([0, 1]);
  });

  test("serves runs at the same time", async () => {
    const home = makeHome();
    const runs = await Promise.all([1, 2, 3].map(() => cached(home)));
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(filesOf(home, CACHE)).toHaveLength(1);
    expect((await cached(home)).requests.length).toBe(0);
  });

  test("agent cache shows what is kept, agent cache clear removes it", async () => {
    const home = makeHome();
    const cache = async (...words: string[]) => (await runCommand({ args: ["cache", ...words], home })).stdout;
    expect(await cache()).toMatch(/^0 answers, 0 bytes in /);
    await cached(home);
    expect(await cache()).toMatch(/^1 answer, [1-9]\d* bytes in /);
    expect(await cache("clear")).toMatch(/^Removed 1 answer, /);
    expect(await cache()).toMatch(/^0 answers, 0 bytes/);
    expect((await cached(home)).requests.length).toBe(1);
    expect((await runCommand({ args: ["cache", "wipe"], home })).code).toBe(2);
  });

  test("agent cache says what is in the way, and needs no data directory", async () => {
    const cache = (home: string, ...words: string[]) => runCommand({ args: ["cache", ...words], home });
    const nothing = makeHome();
    expect((await cache(nothing, "clear")).stdout).toBe("Removed 0 answers, 0 bytes\n");
    expect(existsSync(join(nothing, CACHE))).toBe(false);
    for (const place of [CACHE, ".local/share/agent"])
      for (const words of [[], ["clear"]]) {
        const home = makeHomeWith({ [place]: "a file" });
        const { code, stderr } = await cache(home, ...words);
        expect([code, stderr.includes("responses cannot be read"), stderr.includes("[STORE_DAMAGED]")], stderr).toEqual([7, true, true]);
        expect(readFileSync(join(home, place), "utf8")).toBe("a file");
      }
  });

  test("a repository cannot change its limits", async () => {
    const home = makeHomeWith({ "work/agent.json": { cache: { ttlSeconds: 0 } } });
    const first = await cached(home);
    expect(ofType(first, "untrusted_config")[0]).toMatchObject({ keys: ["cache"] });
    expect((await cached(home)).requests.length).toBe(0);
  });
});
