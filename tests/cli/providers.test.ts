import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { chunk, done, type RawStep, type Reply, startServer, type TestServer, usageChunk } from "../fixtures/server.ts";
import {
  type CommandRun,
  errorOf,
  isBuilt,
  JSON_OUT,
  KEY,
  MODEL,
  makeConfiguredHome,
  makeHome,
  ofType,
  readAll,
  removeHomes,
  resultOf,
  runCommand,
  talkOf,
  typesOf,
} from "./command.ts";

const opened: { close(): unknown }[] = [];
afterAll(async () => {
  await Promise.all(opened.map((one) => one.close()));
  removeHomes();
});

const NO_RETRY = ["--max-retries", "0"];
/** One prompt with JSON output. */
const ask = (args: string[], script?: CommandRun["script"], more: CommandRun = {}) =>
  runCommand({ ...more, args: [...args, ...JSON_OUT, "-p", "hi"], ...(script && { script }) });
const failure = (status: number, headers: Record<string, string> = {}): Reply => ({ status, headers, body: { error: { code: status, message: "busy" } } });
const raw = (...steps: RawStep[]): Reply => ({ raw: steps });
const modelsOf = ({ requests }: { requests: TestServer["requests"] }) => requests.map(({ body }) => body.model);
const gapOf = ({ requests }: { requests: TestServer["requests"] }) => Math.round((requests[1]?.at ?? 0) - (requests[0]?.at ?? 0));
const half = chunk({ role: "assistant", content: "half " });
const brokenOff = raw(half, { delayMs: 30 }, "DROP");

/** A server on 127.0.0.1 that is closed at the end. */
async function serve(script: Reply[] = [{ text: "hey" }]): Promise<TestServer> {
  const server = await startServer(script);
  opened.push(server);
  return server;
}

describe.skipIf(!isBuilt).concurrent("an answer with status", () => {
  test.each([
    [400, "REQUEST_INVALID", 1],
    [401, "AUTH_REFUSED", 5],
    [402, "QUOTA_EXCEEDED", 4],
    [403, "AUTH_REFUSED", 5],
    [404, "MODEL_UNAVAILABLE", 4],
    [408, "OVERLOADED", 4],
    [413, "CONTEXT_OVERFLOW", 1],
    [429, "RATE_LIMITED", 4],
    [500, "OVERLOADED", 4],
    [502, "OVERLOADED", 4],
    [503, "OVERLOADED", 4],
    [529, "OVERLOADED", 4],
  ])("%i is %s and exit code %i; the key that it repeats is in no byte", async (status, code, exitCode) => {
    const isRetried = status === 408 || status === 429 || status >= 500;
    const run = await ask([...MODEL, "--max-retries", "1"], [{ status, headers: { "retry-after-ms": "1" }, body: { error: { message: `not with ${KEY}` } } }]);
    expect([run.code, errorOf(run).code, run.requests.length]).toEqual([exitCode, code, isRetried ? 2 : 1]);
    expect(resultOf(run)).toMatchObject({ status: "error", exitCode, model: null });
    expect(run.stdout + run.stderr + readAll(run.home)).not.toContain(KEY);
    expect(run.stdout + run.stderr).not.toMatch(/\n\s+at /);
  });

  test.each([
    ["a page", { status: 200, body: "<html><script>x()</script><b>Just a moment…</b></html>" }, "RESPONSE_INVALID", 4],
    ["nothing", { status: 200, body: "" }, "RESPONSE_INVALID", 4],
    ["a list", { status: 200, body: [1] }, "RESPONSE_INVALID", 4],
    ["an error in the body", { status: 200, body: { error: { code: 401, message: "bad key" } } }, "AUTH_REFUSED", 5],
    ["an error in the stream", raw(half, `data: {"error":{"code":502,"message":"upstream"}}\n\n`, done), "OVERLOADED", 4],
    ["a finish that is an error", raw(half, chunk({}, "error"), done), "OVERLOADED", 4],
    ["no finish", raw(half, done), "STREAM_CUT", 4],
    ["a lost connection", brokenOff, "STREAM_CUT", 4],
    ["a line that is not JSON", raw("data: undefined\n\n", half, chunk({}, "stop"), done), "RESPONSE_INVALID", 4],
    ["an empty answer", raw(chunk({ content: null }), chunk({}, "stop"), done), "ANSWER_EMPTY", 1],
    ["a filter", { text: "half", finish: "content_filter" }, "CONTENT_REFUSED", 1],
    ["an answer that was cut", { text: "half", finish: "length" }, "ANSWER_CUT", 3],
    [
      "calls without end",
      raw(...Array.from({ length: 1100 }, (_, index) => chunk({ tool_calls: [{ index, id: `c${index}`, function: { name: "x", arguments: "{}" } }] })), "HANG"),
      "ANSWER_TOO_LONG",
      4,
    ],
  ] as [string, Reply, string, number][])("200 and %s is no success", async (_, reply, code, exitCode) => {
    const run = await ask([...MODEL, ...NO_RETRY], [reply]);
    expect([run.code, errorOf(run).code, run.requests.length, ofType(run, "result").length]).toEqual([exitCode, code, 1, 1]);
  });

  test("and a body without end costs neither time nor memory", async () => {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(500, { "content-type": "text/plain" });
      const pump = () => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
      };
      response.on("drain", pump);
      pump();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    opened.push({ close: () => server.close() }, { close: () => server.closeAllConnections() });
    const env = { OPENROUTER_BASE_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, NODE_OPTIONS: "--max-old-space-size=40" };
    const run = await ask([...MODEL, ...NO_RETRY], [], { env });
    expect([run.code, errorOf(run).code]).toEqual([4, "OVERLOADED"]);
    expect(resultOf(run).durationMs).toBeLessThan(5000);
  });
});

describe.skipIf(!isBuilt).concurrent("a model that fails", () => {
  test("is asked again with growing waits, each told", async () => {
    const run = await ask(MODEL, [failure(500), failure(529), { text: "ok" }]);
    expect([run.code, run.requests.length, resultOf(run).text]).toEqual([0, 3, "ok"]);
    const retries = ofType(run, "retry");
    expect(retries.map(({ attempt, error }) => [attempt, error.code])).toEqual([
      [1, "OVERLOADED"],
      [2, "OVERLOADED"],
    ]);
    expect(retries[0].delayMs).toBeLessThanOrEqual(500);
    expect(retries[1].delayMs).toBeLessThanOrEqual(1000);
  });

  test.each([
    ["seconds", { "retry-after": "1" }, 1000, 1500],
    ["milliseconds", { "retry-after-ms": "700" }, 700, 1200],
    ["a date that is past", { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" }, 0, 500],
    ["nothing that can be read", { "retry-after": "soon" }, 0, 500],
  ])("is left alone as long as its Retry-After in %s says, never shorter", async (_, headers, least, most) => {
    const run = await ask(MODEL, [failure(429, headers as unknown as Record<string, string>), { text: "ok" }]);
    expect([run.code, run.requests.length]).toEqual([0, 2]);
    expect(gapOf(run)).toBeGreaterThanOrEqual(least);
    expect(ofType(run, "retry")[0].delayMs).toBeLessThanOrEqual(most);
  });

  test("and asks for a longer wait than the budget is not waited for", async () => {
    const script = [failure(429, { "retry-after": "7200" }), { text: "ok" }];
    const alone = await ask(MODEL, script);
    expect([alone.code, alone.requests.length, errorOf(alone).message]).toEqual([4, 1, expect.stringContaining("7200 s")]);
    const chain = await ask([...MODEL, "--fallback", "openrouter/b/two"], script);
    expect([chain.code, resultOf(chain).model]).toEqual([0, "openrouter/b/two"]);
    expect(gapOf(chain)).toBeLessThan(30_000);
    expect((await ask([...MODEL, "--retry-timeout", "0"], [failure(429, { "retry-after": "1" })])).requests).toHaveLength(1);
  });

  test("gives empty answers at most three times", async () => {
    const run = await ask(MODEL, [raw(chunk({}), chunk({}, "stop"), done)]);
    expect([run.code, run.requests.length, errorOf(run).code]).toEqual([1, 3, "ANSWER_EMPTY"]);
  });

  test("is replaced by the next of the chain, which gets the whole conversation; no tool runs twice", async () => {
    const write = { tools: [{ name: "write", args: { filePath: "a.txt", content: "1" } }] };
    const run = await ask(["-m", "openrouter/a/x,openrouter/b/y", ...NO_RETRY], [write, failure(503), { text: "done" }]);
    expect([run.code, modelsOf(run)]).toEqual([0, ["a/x", "a/x", "b/y"]]);
    expect(run.requests[2]?.body.messages).toEqual(run.requests[1]?.body.messages);
    expect(ofType(run, "fallback")).toMatchObject([{ from: "openrouter/a/x", to: "openrouter/b/y", error: { code: "OVERLOADED" } }]);
    expect(ofType(run, "tool_use")).toHaveLength(1);
  });

  test.each([
    ["404", 404, "openrouter/b/y", ["a/x", "b/y"]],
    ["402, to a free model only", 402, "openrouter/b/y,openrouter/C/Z:free", ["a/x", "C/Z:free"]],
    ["402, not to one that is paid with the same credit", 402, "openrouter/b/y", ["a/x"]],
    ["400", 400, "openrouter/b/y", ["a/x"]],
    ["401", 401, "openrouter/b/y", ["a/x"]],
    ["403", 403, "openrouter/b/y", ["a/x"]],
  ])("with %s falls over as the contract says", async (_, status, fallback, models) => {
    const run = await ask(["-m", "openrouter/a/x", "--fallback", fallback], [failure(status), { text: "ok" }]);
    expect(modelsOf(run)).toEqual(models);
    expect(run.code === 0).toBe(models.length > 1);
  });

  test("without a key is passed over with one warning", async () => {
    const run = await ask(["-m", "openai/gpt-5,openrouter/b/y"]);
    expect([run.code, modelsOf(run), ofType(run, "model_resolved")[0].matchesRequest]).toEqual([0, ["b/y"], false]);
    expect(run.stderr.match(/Passed over, because no key is set: openai\/gpt-5 \(OPENAI_API_KEY\)/g)).toHaveLength(1);
    expect((await ask(["-m", "openai/gpt-5,groq/b"])).code).toBe(5);
  });
});

describe.skipIf(!isBuilt).concurrent("a stream that breaks after text was shown", () => {
  const script = [brokenOff, { text: "whole" }];
  const chain = ["-m", "openrouter/a/x,openrouter/b/y", ...NO_RETRY];

  test("is void, and the next answer stands alone", async () => {
    const run = await ask([...chain, "--stream"], script);
    expect(run.code).toBe(0);
    const types = typesOf(run);
    expect(types.slice(types.indexOf("step_start"))).toEqual([
      "step_start",
      "text_delta",
      "text_void",
      "fallback",
      "text_delta",
      "text",
      "step_finish",
      "result",
    ]);
    const [step] = ofType(run, "step_start");
    expect(ofType(run, "text_void")[0]).toMatchObject({ messageID: step.part.messageID, reason: "STREAM_CUT" });
    expect([resultOf(run).text, talkOf(run, 1)]).toEqual(["whole", ["user:hi"]]);
  });

  test("never reaches a pipe, unless it was to stream", async () => {
    const run = await runCommand({ args: [...chain, "-p", "hi"], script });
    expect([run.stdout, run.stderr.match(/fallback from/g)?.length]).toEqual(["whole\n", 1]);
    const streamed = await runCommand({ args: [...chain, "--stream", "-p", "hi"], script });
    expect(streamed).toMatchObject({ stdout: "half \nwhole\n", stderr: expect.stringContaining("-- answer restarted --") });
  });
});

describe.skipIf(!isBuilt).concurrent("a server that", () => {
  const at = (url: string, args: string[] = NO_RETRY, options: object = {}, script?: CommandRun["script"]) =>
    ask([...MODEL, ...args], script, {
      home: makeConfiguredHome({ provider: { openrouter: { options } } }),
      ...(url !== "" && { env: { OPENROUTER_BASE_URL: url } }),
    });

  test("is not there, is not known or hangs up is unreachable, and asked again", async () => {
    const closer = createTcpServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => closer.listen(0, "127.0.0.1", resolve));
    opened.push({ close: () => closer.close() });
    for (const [url, reason] of [
      ["http://127.0.0.1:1/v1", "nothing listens at 127.0.0.1:1"],
      ["http://x.invalid/v1", "x.invalid"],
      [`http://127.0.0.1:${(closer.address() as AddressInfo).port}/v1`, "closed the connection"],
    ] as const) {
      const run = await at(url, ["--max-retries", "1"]);
      expect([run.code, errorOf(run).code, errorOf(run).message, ofType(run, "retry").length]).toEqual([
        4,
        "NETWORK_FAILED",
        expect.stringContaining(reason),
        1,
      ]);
    }
  });

  test("has no secure connection is not asked again", async () => {
    const { url } = await serve();
    const run = await at(url.replace("http:", "https:"), []);
    expect([run.code, errorOf(run).code, ofType(run, "retry").length]).toEqual([4, "TLS_FAILED", 0]);
  });

  test("falls silent is left, before the answer and in it, and comments are no answer", async () => {
    const comment = ": OPENROUTER PROCESSING\n\n";
    const silences: [object, Reply][] = [
      [{ headerTimeout: 2000 }, { delayMs: 60_000, text: "late" }],
      [{ chunkTimeout: 2000 }, raw(half, "HANG")],
      [
        { chunkTimeout: 4000, contentTimeout: 2000 },
        raw(
          comment,
          ...Array(600)
            .fill([{ delayMs: 100 }, comment])
            .flat(),
        ),
      ],
      [
        { timeout: 2000 },
        raw(
          ...Array(600)
            .fill([half, { delayMs: 100 }])
            .flat(),
        ),
      ],
    ];
    const wait = async ([options, reply]: [object, Reply]) => {
      const run = await at("", ["--max-retries", "1"], options, [reply, { text: "whole" }]);
      expect([run.code, resultOf(run).text, ofType(run, "retry").map(({ error }) => error.code)], JSON.stringify(options)).toEqual([
        0,
        "whole",
        ["PROVIDER_TIMEOUT"],
      ]);
    };
    await Promise.all(silences.map(wait));
  });

  test("streams for longer than OPENROUTER_TIMEOUT, but never pauses for so long, is read to its end", async () => {
    const script = [raw(half, { delayMs: 1200 }, half, { delayMs: 1200 }, half, { delayMs: 1200 }, chunk({}, "stop"), usageChunk(), done)];
    expect(resultOf(await ask([...MODEL, ...NO_RETRY], script, { env: { OPENROUTER_TIMEOUT: "3" } })).text).toBe("half half half ");
    expect(errorOf(await ask([...MODEL, ...NO_RETRY], [{ delayMs: 60_000, text: "x" }], { env: { OPENROUTER_TIMEOUT: "0.3" } })).code).toBe("PROVIDER_TIMEOUT");
  });

  test("has longer time limits than a timer can hold is not given up at once", async () => {
    const run = await ask([...MODEL, ...NO_RETRY, "--timeout", "99999999"], [{ delayMs: 100, text: "x" }], { env: { OPENROUTER_TIMEOUT: "99999999" } });
    expect(run.code).toBe(0);
  });
});

describe.skipIf(!isBuilt).concurrent("a model id", () => {
  test.each([
    ["openrouter/anthropic/claude-sonnet-4", "anthropic/claude-sonnet-4"],
    ["openrouter/Meta-Llama/LLaMA-3.3:free", "Meta-Llama/LLaMA-3.3:free"],
    ["openrouter/a/b/c:nitro", "a/b/c:nitro"],
    ["openrouter/auto", "openrouter/auto"],
    ["gpt-4o", "openai/gpt-4o"],
  ])("%s arrives as %s", async (id, sent) => expect(modelsOf(await ask(["-m", id]))).toEqual([sent]));

  test.each([
    [["-m", "z-ai/glm-4.7"], "MODEL_NOT_FOUND", "Did you mean openrouter/z-ai/glm-4.7?"],
    [["-m", "openruter/a/b"], "MODEL_NOT_FOUND", "Did you mean openrouter/a/b?"],
    [["-m", "openrouter//x"], "MODEL_INVALID", ""],
    [["-m", "/x"], "MODEL_INVALID", ""],
    [["-m", ""], "MODEL_INVALID", ""],
    [["-m", ","], "MODEL_INVALID", ""],
    [["--provider", "ollama"], "MODEL_INVALID", ""],
    [["--provider", "nobody"], "MODEL_NOT_FOUND", ""],
    [["-m", "openrouter/a/b", "--fallback", "nobody/x"], "MODEL_NOT_FOUND", ""],
  ])("in %j is refused with %s, nothing put in its place", async (args, code, hint) => {
    const run = await ask(args);
    expect([run.code, errorOf(run).code, run.requests.length, errorOf(run).hint]).toEqual([2, code, 0, expect.stringContaining(hint)]);
  });

  test.each([
    [["--provider", "openrouter", "-m", "vendor/model"], "vendor/model"],
    [["--provider", "openrouter", "-m", "openrouter/vendor/model"], "vendor/model"],
    [["--provider", "openrouter", "-m", "gpt-4o"], "openai/gpt-4o"],
    [["--provider", "mine", "-m", "gpt-4o"], "gpt-4o"],
    [["--provider", "mine"], "my/default"],
  ])("with %j is %s", async (args, sent) => {
    const server = await serve();
    const options = { baseURL: server.url };
    const home = makeConfiguredHome({ provider: { mine: { default_model: "my/default", options }, openrouter: { options } } });
    expect((await ask(args, [], { home })).code).toBe(0);
    expect(modelsOf(server)).toEqual([sent]);
  });

  test("that nobody named comes from a variable, else from the only provider with a key", async () => {
    const sent = async (env: Record<string, string>, args: string[] = []) => {
      const run = await ask(args, undefined, { env });
      return [modelsOf(run)[0] ?? errorOf(run).code, ofType(run, "model_resolved")[0]?.source];
    };
    expect(await sent({})).toEqual([expect.stringMatching(/:free$/), "default"]);
    expect(await sent({ OPENROUTER_DEFAULT_MODEL: "X/y:free" })).toEqual(["X/y:free", "env"]);
    expect(await sent({ OPENROUTER_DEFAULT_MODEL: "gpt-4o", OPENAI_API_KEY: "sk-another-key" })).toEqual(["openai/gpt-4o", "env"]);
    expect(await sent({ OPENROUTER_DEFAULT_MODEL: "X/y" }, ["--provider", "openrouter"])).toEqual(["X/y", "env"]);
    expect(await sent({ OPENAI_API_KEY: "sk-another-key" })).toEqual(["MODEL_UNSET", undefined]);
    expect(await sent({ OPENAI_API_KEY: "sk-another-key", OPENROUTER_API_KEY: "" })).toEqual(["MODEL_UNSET", undefined]);
    expect(await sent({ OPENROUTER_API_KEY: "" })).toEqual(["KEY_MISSING", undefined]);
  });
});

describe.skipIf(!isBuilt).concurrent("the provider openrouter", () => {
  const seen = async (env: Record<string, string>, options: object = {}) => {
    const run = await ask([...MODEL, ...NO_RETRY], undefined, { env, home: makeConfiguredHome({ provider: { openrouter: { options } } }) });
    const { headers = {}, body = {} } = run.requests[0] ?? {};
    return { run, body, said: [headers["http-referer"], headers["x-title"], headers["x-openrouter-title"]] };
  };

  test("says who asks, as its variables say, or not at all", async () => {
    expect((await seen({})).said).toEqual([expect.stringMatching(/^https:/), "agent-runtime", "agent-runtime"]);
    expect((await seen({ OPENROUTER_SITE_URL: "https://me.example", OPENROUTER_APP_NAME: "Mine 日\n" })).said).toEqual([
      "https://me.example",
      "Mine %E6%97%A5",
      "Mine %E6%97%A5",
    ]);
    expect((await seen({ OPENROUTER_SITE_URL: "false", OPENROUTER_APP_NAME: "false" })).said).toEqual([undefined, undefined, undefined]);
    expect((await seen({}, { headers: { "HTTP-Referer": false } })).said[0]).toBeUndefined();
  });

  test("sends temperature and max_tokens only when they are set, and the options of its own as they are", async () => {
    const plain = (await seen({})).body;
    expect(plain).not.toHaveProperty("max_tokens");
    expect(plain).not.toHaveProperty("temperature");
    expect((await seen({ OPENROUTER_MAX_TOKENS: "4096", OPENROUTER_TEMPERATURE: "0.7" })).body).toMatchObject({
      max_tokens: 4096,
      temperature: 0.7,
      stream: true,
    });
    expect((await seen({}, { provider: { sort: "price" }, models: ["x/y"] })).body).toMatchObject({ provider: { sort: "price" }, models: ["x/y"] });
  });

  test("names the variable that it cannot use, and sends nothing", async () => {
    const bad = {
      OPENROUTER_MAX_TOKENS: "1.5",
      OPENROUTER_TEMPERATURE: "-1",
      OPENROUTER_TIMEOUT: "NaN",
      OPENROUTER_BASE_URL: "not a url",
      OPENROUTER_API_KEY: "sk-or-\u0001-control",
    };
    for (const [name, value] of Object.entries(bad)) {
      const { run } = await seen({ [name]: value });
      expect([run.code, errorOf(run).code, errorOf(run).message, run.requests.length], name).toEqual([2, "OPTION_INVALID", expect.stringContaining(name), 0]);
    }
  });

  test("takes key and address of a file before those of the environment", async () => {
    const server = await serve();
    const run = await ask(MODEL, undefined, {
      home: makeConfiguredHome({ provider: { openrouter: { options: { baseURL: `${server.url}/`, apiKey: "sk-or-from-file" } } } }),
    });
    expect([run.code, run.requests.length, server.requests[0]?.path, server.requests[0]?.headers.authorization]).toEqual([
      0,
      0,
      "/v1/chat/completions",
      "Bearer sk-or-from-file",
    ]);
  });
});

describe.skipIf(!isBuilt).concurrent("an endpoint of the configuration", () => {
  const authorizationOf = async (own: (url: string) => object, id = "mine", env: Record<string, string> = {}) => {
    const server = await serve();
    const run = await ask(["-m", `${id}/Some/Model:x`], [], { home: makeConfiguredHome({ provider: { [id]: own(server.url) } }), env });
    expect(run.code).toBe(0);
    expect([modelsOf(server), server.requests[0]?.headers["x-title"]]).toEqual([["Some/Model:x"], undefined]);
    return server.requests[0]?.headers.authorization;
  };

  test("gets a key where there is one, and none where it is local or says so", async () => {
    expect(await authorizationOf((baseURL) => ({ options: { baseURL } }))).toBeUndefined();
    expect(await authorizationOf((baseURL) => ({ options: { baseURL, apiKey: false } }), "mine", { MINE_KEY: "x" })).toBeUndefined();
    expect(await authorizationOf((baseURL) => ({ options: { baseURL, apiKey: "sk-mine-123" } }))).toBe("Bearer sk-mine-123");
    expect(await authorizationOf((baseURL) => ({ env: ["MINE_KEY"], options: { baseURL } }), "mine", { MINE_KEY: "sk-variable" })).toBe("Bearer sk-variable");
    expect(await authorizationOf((baseURL) => ({ options: { baseURL } }), "ollama")).toBeUndefined();
    expect(
      await authorizationOf((baseURL) => ({ options: { baseURL, apiKey: "{env:OTHER_KEY}" } }), "openai", {
        OTHER_KEY: "sk-other",
        OPENAI_API_KEY: "sk-openai",
      }),
    ).toBe("Bearer sk-other");
  });

  test("that knows nobody costs nothing, and a limit of cost does not end its runs", async () => {
    const glob = { tools: [{ name: "glob", args: { pattern: "*" } }], usage: { cost: undefined } };
    const server = await serve([glob, { text: "Done.", usage: { cost: undefined } }]);
    const home = makeConfiguredHome({ provider: { mine: { options: { baseURL: server.url } } } });
    const run = await ask(["-m", "mine/m", "--max-cost", "0.01"], [], { home });
    expect([run.code, resultOf(run).text, resultOf(run).cost]).toEqual([0, "Done.", 0]);
  });

  test("that is remote and has no key is refused before any request", async () => {
    const run = await ask(["-m", "mine/a"], [], { home: makeConfiguredHome({ provider: { mine: { options: { baseURL: "https://x.invalid/v1" } } } }) });
    expect([run.code, errorOf(run).code]).toEqual([5, "KEY_MISSING"]);
  });
});

describe.skipIf(!isBuilt).concurrent("a model that calls what no tool can be", () => {
  test.each([
    ["../../bash", '{"command":"true"}', "There is no tool"],
    ["n".repeat(10_000), "{}", "There is no tool"],
    ["", "{}", "There is no tool"],
    ["write", '{"filePath": "a.txt"', "not JSON"],
    ["write", "null", "expected object"],
    ["write", '["a.txt"]', "expected object"],
    ["write", '"a.txt"', "expected object"],
  ])("reads what was wrong, in a conversation that every provider takes: %.20s %s", async (name, args, said) => {
    const run = await ask(MODEL, [{ tools: [{ id: "c1", name, args }] }, { text: "ok" }]);
    const [call, result] = (run.requests[1]?.body.messages ?? []).slice(-2);
    expect([run.code, result.tool_call_id, result.content]).toEqual([0, "c1", expect.stringContaining(said)]);
    expect(result.content.length).toBeLessThan(2048);
    expect(call.tool_calls[0].function.name).toMatch(/^[\w-]{1,64}$/);
    expect(JSON.parse(call.tool_calls[0].function.arguments)).toBeTypeOf("object");
    expect(readAll(`${run.home}/work`)).toBe("");
  });
});

describe.skipIf(!isBuilt).concurrent("what an answer cost", () => {
  test("stands in step_finish and in the result, cached tokens apart", async () => {
    const usage = {
      prompt_tokens: 100,
      completion_tokens: 30,
      cost: 0.01,
      prompt_tokens_details: { cached_tokens: 60, cache_write_tokens: 10 },
      completion_tokens_details: { reasoning_tokens: 12 },
    };
    const run = await ask(MODEL, [{ reasoning: "hm", text: "x", model: "acme/served", usage }]);
    const tokens = { input: 30, output: 30, reasoning: 12, cache: { read: 60, write: 10 } };
    const model = { providerID: "openrouter", requestedModelID: "acme/model-1", respondedModelID: "acme/served" };
    expect(ofType(run, "step_finish")[0].part).toMatchObject({ reason: "stop", cost: 0.01, tokens, cacheHitRate: 0.6, model });
    expect(resultOf(run)).toMatchObject({ cost: 0.01, costSource: "provider", tokens, cacheHitRate: 0.6, model: "openrouter/acme/model-1" });
    expect(ofType(run, "reasoning").map(({ part }) => part.text)).toEqual(["hm"]);
  });

  test("is unknown, and never 0, where it is not said or absurd; the answer is kept", async () => {
    const bills: (Record<string, unknown> | null)[] = [
      null,
      { cost: 1e308 },
      { cost: -1 },
      { prompt_tokens: "12", completion_tokens: null, cost: "NaN", total_tokens: "x" },
    ];
    for (const usage of bills) {
      const run = await ask(MODEL, [{ text: "kept", usage }]);
      expect([run.code, resultOf(run).text, resultOf(run).cost, resultOf(run).costSource, run.requests.length], JSON.stringify(usage)).toEqual([
        0,
        "kept",
        null,
        "unknown",
        1,
      ]);
    }
  });

  test.each([
    ["--max-cost", "1.00", { cost: 0.4 }, "LIMIT_COST", 2],
    ["--max-cost", "1.00", { cost: 1e308 }, "COST_UNKNOWN", 1],
    ["--max-tokens-total", "200", {}, "LIMIT_TOKENS", 2],
    ["--max-steps", "2", {}, "LIMIT_STEPS", 2],
  ])("and used is limited by %s %s: with %j the run ends with %s", async (option, value, usage, code, requests) => {
    const script = (_: unknown, n: number) => ({ tools: [{ name: "glob", args: { pattern: `*${n}` } }], usage });
    const run = await ask([...MODEL, option, value], script);
    expect([run.code, errorOf(run).code, run.requests.length, resultOf(run).status]).toEqual([3, code, requests, "limit"]);
  });

  test("in time is limited by --timeout, in a stream and in a tool", async () => {
    for (const reply of [raw(half, "HANG"), { tools: [{ name: "bash", args: { command: "sleep 20", description: "x" } }] }]) {
      const run = await ask([...MODEL, "--timeout", "0.8"], [reply]);
      expect([run.code, errorOf(run).code]).toEqual([3, "LIMIT_TIME"]);
      // What it waits for takes 20 s or for ever.
      expect(run.ms).toBeLessThan(15_000);
    }
  });
});

test.skipIf(!isBuilt)("the conversation of a free model goes on with another, each answer once", async () => {
  const home = makeHome();
  const first = await ask(["-m", "openrouter/a/one:free"], [{ text: "One." }], { home });
  const second = await ask(["-m", "openrouter/b/two", "-s", resultOf(first).sessionID], [{ text: "Two." }], { home });
  expect(talkOf(second)).toEqual(["user:hi", "assistant:One.", "user:hi"]);
});
