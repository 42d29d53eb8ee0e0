import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  type CommandRun,
  errorOf,
  isBuilt,
  JSON_OUT,
  MODEL,
  makeHome,
  makeHomeWith,
  ofType,
  removeHomes,
  resultOf,
  runCommand,
  talkOf,
  until,
} from "./command.ts";

afterAll(removeHomes);

const ask = (stdin: CommandRun["stdin"], args: string[] = [], more: CommandRun = {}) => runCommand({ ...more, args: [...MODEL, ...args], stdin });
const lines = (...requests: object[]) => requests.map((request) => `${JSON.stringify(request)}\n`).join("");
const errorsOf = (run: Awaited<ReturnType<typeof ask>>) => ofType(run, "error").map(({ error }) => error.code);

describe.skipIf(!isBuilt).concurrent("the bytes of stdin", () => {
  test("lose a byte order mark, and keep the line ends of a text", async () => {
    expect(talkOf(await ask("\ufeffone\r\ntwo\r\n"))).toEqual(["user:one\r\ntwo\r\n"]);
    const json = await ask('\ufeff{"message":"a"}\r\n{"message":"b"}\r\n');
    expect([json.code, talkOf(json, 1)]).toEqual([0, ["user:a", "assistant:Hello.", "user:b"]]);
  });

  test("that are not UTF-8 are refused where they are, and what follows is answered", async () => {
    expect(await ask(Buffer.from([0, 1, 0xff, 0xfe]))).toMatchObject({ code: 2, requests: [], stderr: expect.stringContaining("[INPUT_ENCODING]") });
    const run = await ask(Buffer.concat([Buffer.from('{"message":"caf'), Buffer.from([0xe9]), Buffer.from('"}\n{"message":"é"}\n')]));
    expect([run.code, errorsOf(run), talkOf(run)]).toEqual([2, ["INPUT_ENCODING"], ["user:é"]]);
  });

  test("that never end are too long, and no memory is spent on them", async () => {
    const onSpawn: CommandRun["onSpawn"] = (child) => {
      const zeros = Buffer.alloc(1 << 20);
      const pump = () => void (child.stdin?.write(zeros) ? setImmediate(pump) : child.stdin?.once("drain", pump));
      child.stdin?.on("close", () => child.stdin?.removeListener("drain", pump));
      pump();
    };
    const run = await ask("OPEN", [], { onSpawn, env: { NODE_OPTIONS: "--max-old-space-size=40" } });
    expect(run).toMatchObject({ code: 2, requests: [], stderr: expect.stringContaining("[INPUT_TOO_LONG]") });
  });

  test("that break off leave what was whole answered", async () => {
    const run = await ask('{"message":"a"}\n{"message":"b');
    expect([run.code, errorsOf(run), talkOf(run)]).toEqual([2, ["INPUT_TRUNCATED"], ["user:a"]]);
    expect((await ask('{"message":"a"}\n{"message":"b"}')).requests).toHaveLength(2);
  });

  test("never reach a prototype", async () => {
    const run = await ask('{"message":"a","__proto__":{"x":1}}\n{"message":"b","outputSchema":{"constructor":1}}\n{"message":"c"}\n');
    expect([run.code, errorsOf(run), talkOf(run)]).toEqual([2, ["INPUT_INVALID", "INPUT_INVALID"], ["user:c"]]);
  });
});

describe.skipIf(!isBuilt).concurrent("a request", () => {
  test("is answered as soon as it is complete, though stdin stays open", async () => {
    let printed = "";
    let wasAnswered = false;
    const run = await ask("OPEN", [], {
      onSpawn: (child) => {
        child.stdout?.on("data", (text: string) => (printed += text));
        child.stdin?.write('{"message":\n"a"}');
        void until(() => printed.includes('"type":"result"')).then(() => {
          wasAnswered = true;
          child.stdin?.end("\n");
        });
      },
    });
    expect([wasAnswered, run.code, resultOf(run).text]).toEqual([true, 0, "Hello."]);
  });

  test("says more than the command line does", async () => {
    const own = { temperature: 0, topP: 0.1, stop: "Z", seed: 1, maxOutputTokens: 5, system: "SYS", appendSystem: "END", model: "openrouter/own/m" };
    const run = await ask(lines({ message: "a", ...own }, { message: "b" }), [
      "--temperature",
      "0.5",
      "--max-output-tokens",
      "99",
      "--stop",
      "A",
      "--seed",
      "7",
    ]);
    expect(run.requests[0]?.body).toMatchObject({ model: "own/m", temperature: 0, top_p: 0.1, stop: ["Z"], seed: 1, max_tokens: 5 });
    expect(run.requests[1]?.body).toMatchObject({ model: "acme/model-1", temperature: 0.5, stop: ["A"], seed: 7, max_tokens: 99 });
    expect(run.requests[1]?.body).not.toHaveProperty("top_p");
    const system = JSON.stringify(run.requests[0]?.body.messages[0]);
    expect(system).toMatch(/SYS.*END/s);
    expect(ofType(run, "model_resolved").map(({ source, requested }) => [source, requested])).toEqual([
      ["input", "openrouter/own/m"],
      ["cli", "openrouter/acme/model-1"],
    ]);
  });

  test("runs its tools first, through the permissions, and the model sees calls and results in order", async () => {
    const tools = [{ name: "write", params: { filePath: "a.txt", content: "x" } }, { name: "nope" }, { name: "read", params: { filePath: "/etc/passwd" } }];
    const run = await ask(lines({ message: "go", tools }));
    expect(ofType(run, "tool_use").map(({ part }) => [part.tool, part.state.status])).toEqual([
      ["write", "completed"],
      ["nope", "error"],
      ["read", "error"],
    ]);
    const roles = run.requests[0]?.body.messages.map(({ role }: any) => role);
    expect(roles).toEqual(["system", "user", "assistant", "tool", "tool", "tool"]);
    expect(talkOf(run)[4]).toContain("outside the workspace");
  });

  test("with noReply asks no model, and what it did is known to the next", async () => {
    const run = await ask(lines({ message: "keep this", tools: [{ name: "glob", params: { pattern: "*" } }], noReply: true }, { message: "b" }));
    expect([run.code, run.requests.length, ofType(run, "result").map(({ steps }) => steps)]).toEqual([0, 1, [0, 1]]);
    expect(talkOf(run).map((line) => line.split(":")[0])).toEqual(["user", "assistant", "tool", "user"]);
  });

  test("that is wrong says so in one error, and the others are answered", async () => {
    const bad = [{}, { message: 5 }, { message: "a", prompt: "b" }, { message: "a", temperature: "hot" }, { message: "a", tools: [{}] }];
    const run = await ask(lines(...bad, { message: "good" }));
    expect([run.code, errorsOf(run), run.requests.length]).toEqual([2, bad.map(() => "INPUT_INVALID"), 1]);
  });

  test("may be one of very many: none is lost, the order is kept, and the memory does not grow with them", async () => {
    const count = 120;
    const stdin = lines(...Array.from({ length: count }, (_, n) => ({ message: `number ${n}` })));
    const asked: number[] = [];
    const script = (request: any) => {
      asked.push(Number(/number (\d+)"/.exec(JSON.stringify(request.body.messages.at(-1)))?.[1]));
      // What the server keeps of a request grows with the conversation.
      request.body = { stream: true };
      request.text = "";
      return { text: "ok", usage: {} };
    };
    const run = await ask(stdin, [], { script, env: { NODE_OPTIONS: "--max-old-space-size=30" } });
    expect([run.code, ofType(run, "result").length]).toEqual([0, count]);
    expect(asked).toEqual(Array.from({ length: count }, (_, n) => n));
  });
});

describe.skipIf(!isBuilt).concurrent("a session", () => {
  test("is gone on with by its id, as the newest, or in a copy", async () => {
    const home = makeHome();
    const first = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-p", "one"] });
    const id = resultOf(first).sessionID;
    const newest = await runCommand({ home, args: [...MODEL, ...JSON_OUT, "-c", "-p", "two"] });
    expect([resultOf(newest).sessionID, talkOf(newest)]).toEqual([id, ["user:one", "assistant:Hello.", "user:two"]]);
    const copy = await runCommand({ home, args: [...MODEL, "-s", id, "--fork"], stdin: lines({ message: "f1" }, { message: "f2" }) });
    expect(new Set(copy.events.map(({ sessionID }) => sessionID)).size).toBe(1);
    expect(resultOf(copy).sessionID).not.toBe(id);
    expect(talkOf(copy, 1)).toEqual(["user:one", "assistant:Hello.", "user:two", "assistant:Hello.", "user:f1", "assistant:Hello.", "user:f2"]);
    const named = await runCommand({
      home,
      args: MODEL,
      stdin: lines({ message: "a", session: id }, { message: "b", session: resultOf(copy).sessionID }, { message: "c" }),
    });
    expect([talkOf(named, 0).length, talkOf(named, 1).length, talkOf(named, 2)]).toEqual([5, 9, ["user:c"]]);
  });

  test("that is not there, and the newest of a workspace without any, send nothing", async () => {
    const home = makeHome();
    await runCommand({ home, args: [...MODEL, "-q", "-p", "one"] });
    mkdirSync(join(home, "other"));
    for (const args of [
      ["-s", "ses_unknown"],
      ["-s", "../../x"],
      ["-s", ""],
      ["-c", "--cwd", join(home, "other")],
    ]) {
      const run = await runCommand({ home, args: [...MODEL, ...JSON_OUT, ...args, "-p", "x"] });
      expect([run.code, errorOf(run).code, run.requests.length, resultOf(run).exitCode], args.join(" ")).toEqual([2, "SESSION_NOT_FOUND", 0, 2]);
    }
  });

  test("of --no-session is shared by the requests of one stdin and kept nowhere", async () => {
    const home = makeHome();
    const run = await runCommand({ home, args: [...MODEL, "--no-session"], stdin: lines({ message: "a" }, { message: "b" }) });
    expect([talkOf(run, 1).length, resultOf(run).persisted]).toEqual([3, false]);
    expect((await runCommand({ home, args: [...MODEL, "-c", "-p", "x"] })).code).toBe(2);
  });
});

describe.skipIf(!isBuilt).concurrent("an answer that must satisfy a schema", () => {
  const schema = { type: "object", properties: { n: { type: "number" } }, required: ["n"] };

  test("is asked for again until it does, and is all that a pipe gets of it", async () => {
    const home = makeHomeWith({ "work/s.json": schema });
    const script = [{ text: "no" }, { text: '{"n":"x"}' }, { text: '```json\n{"n": 2}\n```' }];
    const text = await runCommand({ home, args: [...MODEL, "--output-schema", "s.json", "-p", "x"], script });
    expect(text).toMatchObject({ code: 0, stdout: '{"n":2}\n' });
    const json = await ask(lines({ message: "x", outputSchema: schema }), [], { script });
    expect(resultOf(json)).toMatchObject({ output: { n: 2 }, steps: 3, cost: 0.0045 });
  });

  test("and never does ends with 1 and prints nothing", async () => {
    const home = makeHomeWith({ "work/s.json": schema });
    const run = await runCommand({ home, args: [...MODEL, "--output-schema", "s.json", "-p", "x"], script: [{ text: "no" }] });
    expect(run).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("[OUTPUT_INVALID]") });
  });
});

describe.skipIf(!isBuilt).concurrent("the command line", () => {
  test.each([
    [["--max-cost", "x"], "OPTION_INVALID"],
    [["--max-steps", "0"], "OPTION_INVALID"],
    [["--timeout", "-1"], "OPTION_INVALID"],
    [["--top-p", "2"], "OPTION_INVALID"],
    [["--output-format", "xml"], "OPTION_INVALID"],
    [["--permission-mode", "nope"], "OPTION_INVALID"],
    [["--fork"], "OPTION_INVALID"],
    [["-c", "-s", "x"], "OPTION_INVALID"],
    [["--cwd", "/nonexistent"], "OPTION_INVALID"],
    [["-f", "/nonexistent"], "FILE_NOT_FOUND"],
    [["--config", "/nonexistent"], "FILE_NOT_FOUND"],
    [["--agent", "nobody"], "AGENT_NOT_FOUND"],
    [["--tools", "nothing"], "TOOL_UNAVAILABLE"],
    [["--variant", "high"], "NOT_AVAILABLE"],
    [["--bogus"], "OPTION_UNKNOWN"],
  ])("refuses %j with %s and sends nothing", async (args, code) => {
    const run = await runCommand({ args: [...MODEL, ...JSON_OUT, ...args, "-p", "x"] });
    expect([run.code, errorOf(run)?.code, run.requests.length]).toEqual([2, code, 0]);
  });

  test("beats the environment, which beats the configuration", async () => {
    const home = makeHomeWith({ ".config/agent/agent.json": { model: "openrouter/con/fig", outputFormat: "json", fallback: ["openrouter/con/fallback"] } });
    const modelOf = async (args: string[], env: Record<string, string>) => {
      const run = await runCommand({ home, args: [...args, "-p", "x"], env });
      return [run.requests[0]?.body.model, ofType(run, "model_resolved")[0]?.source];
    };
    expect(await modelOf([], {})).toEqual(["con/fig", "config"]);
    expect(await modelOf([], { AGENT_MODEL: "openrouter/en/v" })).toEqual(["en/v", "env"]);
    expect(await modelOf(["-m", "openrouter/c/li"], { AGENT_MODEL: "openrouter/en/v" })).toEqual(["c/li", "cli"]);
    expect(await modelOf([], { AGENT_CONFIG_CONTENT: '{"model":"openrouter/con/tent"}' })).toEqual(["con/tent", "config"]);
  });

  test("takes its variables: tools, permissions, output, fallback and directories", async () => {
    const home = makeHome();
    const env = {
      AGENT_OUTPUT_FORMAT: "json",
      AGENT_DISABLE_TOOLS: "bash,webfetch",
      AGENT_PERMISSION: '{"glob":"deny"}',
      AGENT_FALLBACK: "openrouter/f/b",
      AGENT_DATA_DIR: join(home, "data"),
    };
    const run = await runCommand({
      home,
      args: [...MODEL, "--max-retries", "0", "-p", "x"],
      env,
      script: [{ status: 503 }, { tools: [{ name: "glob", args: { pattern: "*" } }] }, { text: "k" }],
    });
    expect(run.requests.map(({ body }) => body.model)).toEqual(["acme/model-1", "f/b", "f/b"]);
    const names = run.requests[0]?.body.tools.map((tool: any) => tool.function.name);
    expect(names).toContain("read");
    expect(names).not.toContain("bash");
    expect(ofType(run, "tool_use")[0].part.state).toMatchObject({ status: "error", error: expect.stringContaining("Denied") });
    expect((await runCommand({ home, args: [...MODEL, "-c", "-p", "x"], env: { AGENT_DATA_DIR: join(home, "data") } })).code).toBe(0);
    for (const bad of [
      { AGENT_OUTPUT_FORMAT: "xml" },
      { AGENT_PERMISSION_MODE: "nope" },
      { AGENT_PERMISSION: "{" },
      { AGENT_CONFIG: "/nonexistent" },
    ] as Record<string, string>[])
      expect(await runCommand({ args: [...MODEL, "-p", "x"], env: bad })).toMatchObject({ code: 2, requests: [] });
  });
});
