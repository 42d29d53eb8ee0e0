import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { Rest } from "../../core/route.ts";
import { openStore } from "../../core/store.ts";
import { chunk, done, frames, type Reply, type SeenRequest, startServer, type TestServer, usageChunk } from "../fixtures/server.ts";
import {
  type CommandResult,
  type CommandRun,
  errorOf,
  isBuilt,
  JSON_OUT,
  KEY,
  makeConfiguredHome,
  makeHome,
  ofType,
  readAll,
  removeHomes,
  resultOf,
  runCommand,
  talkOf,
  until,
} from "./command.ts";
import { turn } from "./tool-runs.ts";

const opened: TestServer[] = [];
afterAll(async () => {
  await Promise.all(opened.map((one) => one.close()));
  removeHomes();
});

/** A server on 127.0.0.1 that is closed at the end. */
async function serve(script: Reply[] | ((request: SeenRequest, n: number) => Reply)): Promise<TestServer> {
  const server = await startServer(script);
  opened.push(server);
  return server;
}

const NO_RETRY = ["--max-retries", "0"];
const ask = (args: string[], script?: CommandRun["script"], more: CommandRun = {}) =>
  runCommand({ ...more, args: [...args, ...NO_RETRY, ...JSON_OUT, "-p", "hi"], ...(script && { script }) });
const failure = (status: number, headers: Record<string, string> = {}): Reply => ({ status, headers, body: { error: { code: status, message: "busy" } } });
const modelsOf = ({ requests }: { requests: TestServer["requests"] }) => requests.map(({ body }) => body.model);
const A = "openrouter/v/a";
const B = "openrouter/v/b";
const withoutA: CommandRun["script"] = ({ body }) => (body.model === "v/a" ? failure(503) : { text: `from ${body.model}` });

describe.skipIf(!isBuilt).concurrent("a chain is said", () => {
  const own = (fallback: unknown) => ({ provider: { openrouter: { models: { "v/a": { fallback } } } } });
  test.each<[string, string[], Omit<CommandRun, "home">, object]>([
    ["with --model a,b", ["-m", `${A},${B}`], {}, {}],
    ["with --fallback", ["-m", A, "--fallback", B], {}, {}],
    ["with AGENT_MODEL=a,b", [], { env: { AGENT_MODEL: `${A},${B}` } }, {}],
    ["with AGENT_FALLBACK", ["-m", A], { env: { AGENT_FALLBACK: B } }, {}],
    ["as a list in the configuration", [], {}, { model: [A, B] }],
    ["as fallback in the configuration", ["-m", A], {}, { fallback: B }],
    ["as fallback of a profile", ["--agent", "x"], {}, { agent: { x: { model: A, fallback: [B] } } }],
    ["as fallback of a model", ["-m", A], {}, own(B)],
    ["as fallback of a model before the one of all", ["-m", A], {}, { ...own([B]), fallback: "openrouter/v/c" }],
    ["with --fallback before a profile's", ["-m", A, "--agent", "x", "--fallback", B], {}, { agent: { x: { fallback: "openrouter/v/c" } } }],
    ["with --fallback before a model's", ["-m", A, "--fallback", B], {}, own("openrouter/v/c")],
    ["across providers, by an alias too", ["-m", A], {}, { fallback: "best", alias: { best: B } }],
  ])("%s", async (_, args, more, config) => {
    const run = await ask(args, withoutA, { ...more, home: makeConfiguredHome(config) });
    expect([run.code, modelsOf(run), resultOf(run).model]).toEqual([0, ["v/a", "v/b"], B]);
    expect(ofType(run, "fallback")).toMatchObject([{ from: A, to: B, error: { code: "OVERLOADED", message: expect.stringContaining("503") } }]);
    expect(ofType(run, "step_finish")[0].part.model).toMatchObject({ providerID: "openrouter", requestedModelID: "v/b" });
  });

  test.each([{ model: A, fallback: B }, { model: A, fallback: [B] }, { model: [A, B] }, { model: `${A},${B}` }])("in a request as %j", async (wish) => {
    const args = ["-m", "openrouter/v/other", "--fallback", "openrouter/v/another", ...NO_RETRY];
    const run = await runCommand({ args, stdin: JSON.stringify({ message: "hi", fallback: [], ...wish }), script: withoutA });
    expect([run.code, modelsOf(run)]).toEqual([0, ["v/a", "v/b"]]);
  });

  test("by a workspace that is not trusted as far as it names models and no program", async () => {
    const home = makeHome();
    const models = { "v/a": { fallback: B, id: "evil/z" }, "v/x": { fallback: "demo/script:evil.json" } };
    writeFileSync(join(home, "work", "agent.json"), JSON.stringify({ provider: { openrouter: { models } }, retry: { fallbackOnAuth: true, maxRetries: 1 } }));
    const refused = await ask(["-m", A], [{ status: 401 }], { home });
    expect([refused.code, modelsOf(refused)]).toEqual([5, ["v/a"]]);
    const run = await ask(["-m", A], withoutA, { home });
    expect([run.code, modelsOf(run)]).toEqual([0, ["v/a", "v/b"]]);
    const left = ["retry.fallbackOnAuth", "provider.openrouter.models.v/a.id", "provider.openrouter.models.v/x.fallback"];
    expect(ofType(run, "untrusted_config")[0].keys.sort()).toEqual(left.sort());
  });
});

describe.skipIf(!isBuilt).concurrent("the next model", () => {
  const call = (name: string, args: object, id: string) =>
    chunk({ tool_calls: [{ index: 0, id, type: "function", function: { name, arguments: JSON.stringify(args) } }] });
  const calls = (more: string, ...given: Parameters<typeof call>): Reply => ({ raw: [more, call(...given), chunk({}, "tool_calls"), usageChunk(), done] });
  const thought = { type: "reasoning.text", text: "I look.", signature: "c2lnbmVk", format: "anthropic-claude-v1", index: 0 };
  const todos = [{ content: "x", status: "pending", priority: "low", id: "1" }];
  const asked = (id: string, name = "todowrite", args: object = { todos }) => ({ id, type: "function", function: { name, arguments: JSON.stringify(args) } });

  test("of another provider gets every turn once, in its own words; the first one gets its own again when it has recovered", async () => {
    const first = await serve([
      calls(chunk({ content: "Looking. ", reasoning: "I look.", reasoning_details: [thought] }), "todowrite", { todos }, "call_a"),
      failure(503, { "retry-after-ms": "1" }),
      { text: "done" },
    ]);
    const second = await serve([calls(chunk({ content: "Mine. ", reasoning_content: "hm" }), "todoread", {}, "call_b")]);
    const options = { baseURL: second.url, apiKey: "sk-of-the-second-one-1" };
    const home = makeConfiguredHome({ provider: { openrouter: { options: { baseURL: first.url } }, mine: { options } } });
    const run = await ask(["-m", A, "--fallback", "mine/b", "--system", "Be brief."], [], { home });
    expect([run.code, resultOf(run).text, ofType(run, "tool_use").length, ofType(run, "fallback").length]).toEqual([0, "done", 2, 1]);
    const [, failed, recovered] = first.requests.map(({ body }) => body.messages);
    const results = ofType(run, "tool_use").map(({ part }) => part.state.output);
    const system = [failed[0].content]
      .flat()
      .map((part) => part.text ?? part)
      .join("");
    const tool = (id: string, content: unknown) => ({ role: "tool", tool_call_id: id, content });
    expect(second.requests[0]?.body.messages).toEqual([
      { role: "system", content: expect.stringMatching(/^Be brief\./) },
      { role: "user", content: "hi" },
      { role: "assistant", content: "Looking. ", tool_calls: [asked("call_a")] },
      tool("call_a", expect.stringContaining(results[0])),
    ]);
    expect(second.requests[0]?.body.messages[0].content).toBe(system);
    expect(recovered.slice(0, failed.length)).toEqual(failed);
    expect(JSON.stringify(failed)).toContain(thought.signature);
    expect(recovered.slice(failed.length)).toEqual([
      { role: "assistant", content: "Mine. ", tool_calls: [asked("call_b", "todoread", {})] },
      expect.objectContaining({ role: "tool", tool_call_id: "call_b", content: expect.stringContaining(results[1]) }),
    ]);
    expect(second.requests[0]?.headers.authorization).toBe("Bearer sk-of-the-second-one-1");
    expect(first.requests[0]?.headers.authorization).toBe(`Bearer ${KEY}`);
  });

  test.each([
    ["of another vendor gets no reasoning that the first has signed", "openrouter/google/b", false, []],
    ["of the same vendor gets it back", "openrouter/v/b", true, []],
    ["of another vendor gets none either where a hook gives the messages", "openrouter/google/b", false, ["--plugin", "./hook.mjs"]],
  ])("%s", async (_, next, isKept, more) => {
    const home = makeHome();
    const hook = 'export default { name: "hook", api: 1, setup: () => ({ hooks: { messages: (messages) => [...messages] } }) };';
    writeFileSync(join(home, "work", "hook.mjs"), hook);
    const script = [calls(chunk({ content: "Looking. ", reasoning_details: [thought] }), "todoread", {}, "call_a"), failure(503), { text: "done" }];
    const run = await ask(["-m", `${A},${next}`, ...more], script, { home });
    const [first, second] = run.requests.slice(1).map(({ text }) => text.includes(thought.signature));
    expect([run.code, run.requests.length, first, second]).toEqual([0, 3, true, isKept]);
  });

  test("goes on where the first one died: ten requests, ten answers in order, each turn once", async () => {
    const first = await serve((_, n) => (n < 4 ? { text: `a${n}` } : failure(503)));
    const second = await serve((_, n) => ({ text: `b${n}` }));
    const home = makeConfiguredHome({ provider: { openrouter: { options: { baseURL: first.url } }, mine: { options: { baseURL: second.url } } } });
    const stdin = Array.from({ length: 10 }, (_, n) => `${JSON.stringify({ message: `q${n}` })}\n`).join("");
    const run = await runCommand({ args: ["-m", `${A},mine/b`, ...NO_RETRY], stdin, home });
    const answers = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3", "b4", "b5"];
    expect([run.code, ofType(run, "result").map(({ text }) => text)]).toEqual([0, answers]);
    expect([first.requests.length, second.requests.length]).toEqual([5, 6]);
    const talk = answers.flatMap((answer, n) => [`user:q${n}`, `assistant:${answer}`]).slice(0, -1);
    expect(talkOf({ requests: second.requests } as CommandResult, 5)).toEqual(talk);
  });

  test("is there for a task, too", async () => {
    const home = makeConfiguredHome({ agent: { boss: { model: [A, B] }, helper: {} } });
    const script: CommandRun["script"] = ({ body }, n) => {
      if (n === 0) return { tools: [{ name: "task", args: { description: "d", prompt: "help", subagent_type: "helper" } }] };
      return body.model === "v/a" ? failure(429, { "retry-after": "3600" }) : { text: `from ${body.model}` };
    };
    const run = await ask(["--agent", "boss"], script, { home });
    expect([run.code, modelsOf(run)]).toEqual([0, ["v/a", "v/a", "v/b", "v/b"]]);
    expect(ofType(run, "tool_use")[0].part.state).toMatchObject({ status: "completed", output: expect.stringContaining("from v/b") });
  });

  test("is the one that a streamed message of stream-json begins with", async () => {
    const run = await runCommand({ args: ["-m", `${A},${B}`, ...NO_RETRY, "--output-format", "stream-json", "--stream", "-p", "hi"], script: withoutA });
    const [start] = run.events.filter(({ event }) => event?.type === "message_start");
    expect([run.code, start.event.message.model]).toEqual([0, B]);
  });

  test("of an overloaded one is told of before its first word, and the switch is no pause", async () => {
    const run = await ask(["-m", `${A},${B}`], [failure(429, { "retry-after": "86400" }), { text: "ok" }]);
    const [one, two] = run.requests as [SeenRequest, SeenRequest];
    expect([run.code, two.at - one.at < 1000, ofType(run, "retry").length]).toEqual([0, true, 0]);
  });
});

describe.skipIf(!isBuilt).concurrent("a switch of models", () => {
  const twoProviders = async () => {
    const [first, second] = [await serve((_, n) => ({ text: `a${n}`, reasoning: "hm" })), await serve((_, n) => ({ text: `b${n}` }))];
    const home = makeConfiguredHome({ provider: { openrouter: { options: { baseURL: first.url } }, mine: { options: { baseURL: second.url } } } });
    return { first, second, home, talk: (server: TestServer, n: number) => talkOf({ requests: server.requests } as CommandResult, n) };
  };

  test("from one request to the next keeps the conversation, each turn once, and touches no later one", async () => {
    const { first, second, home, talk } = await twoProviders();
    const requests = [{ message: "1" }, { message: "2", model: "mine/b" }, { message: "3" }, { message: "4", model: "mine/c" }];
    const run = await runCommand({ args: ["-m", A], stdin: requests.map((request) => `${JSON.stringify(request)}\n`).join(""), home });
    expect([run.code, ofType(run, "result").map(({ model }) => model)]).toEqual([0, [A, "mine/b", A, "mine/c"]]);
    const said = ["user:1", "assistant:a0", "user:2", "assistant:b0", "user:3", "assistant:a1", "user:4"];
    expect([talk(first, 1), talk(second, 1)]).toEqual([said.slice(0, 5), said]);
    expect(JSON.stringify(second.requests[0]?.body.messages.slice(1))).not.toContain("hm");
  });

  test("from one run to the next, too", async () => {
    const { second, home, talk } = await twoProviders();
    await runCommand({ args: ["-m", A, "-p", "1"], home });
    const run = await runCommand({ args: ["-m", "mine/b", "-c", "-p", "2"], home });
    expect([run.code, talk(second, 0)]).toEqual([0, ["user:1", "assistant:a0", "user:2"]]);
  });
});

describe.skipIf(!isBuilt).concurrent("a model that failed", () => {
  const rests = (home: string) =>
    openStore<{ rests: Rest }>({ dir: join(home, ".local/share/agent/routes"), version: 1, defaults: { rests: {} }, access: "shared" });

  test("rests in the runs that follow too, is told of, and is asked first again when its rest is over", async () => {
    const home = makeHome();
    await ask(["-m", `${A},${B}`], [failure(429, { "retry-after": "3600" }), { text: "ok" }], { home });
    const next = await ask(["-m", `${A},${B}`], undefined, { home });
    expect([next.code, modelsOf(next), resultOf(next).model]).toEqual([0, ["v/b"], B]);
    expect(ofType(next, "fallback")).toMatchObject([
      { from: A, to: B, error: { code: "RATE_LIMITED", message: expect.stringMatching(/it rests for 3[56]\d\d s more/) } },
    ]);
    expect(ofType(next, "model_resolved")[0].selector).toBe(A);
    const store = await rests(home);
    for (const [id, rest] of Object.entries(store.all("rests"))) store.put("rests", id, { ...rest, until: Date.now() - 1 });
    await store.close();
    const last = await ask(["-m", `${A},${B}`], undefined, { home });
    expect([modelsOf(last), ofType(last, "fallback")]).toEqual([["v/a"], []]);
    expect((await rests(home)).all("rests")).toEqual({});
  });

  test("rests twice as long when it fails again", async () => {
    const home = makeHome();
    const failAndEnd = async () => {
      await ask(["-m", `${A},${B}`], [failure(503), { text: "ok" }], { home });
      const store = await rests(home);
      const [[id, rest]] = Object.entries(store.all("rests")) as [[string, Rest]];
      store.put("rests", id, { ...rest, until: Date.now() - 1 });
      await store.close();
      return rest.until - rest.at;
    };
    expect([await failAndEnd(), await failAndEnd(), await failAndEnd()]).toEqual([30_000, 60_000, 120_000]);
  });

  test("is asked all the same when it is alone, or when all others rest or fail", async () => {
    const home = makeHome();
    expect((await ask(["-m", A], [failure(503)], { home })).code).toBe(4);
    const alone = await ask(["-m", A], undefined, { home });
    expect([alone.code, modelsOf(alone)]).toEqual([0, ["v/a"]]);
    expect((await ask(["-m", `${A},${B}`], [failure(503)], { home })).code).toBe(4);
    const all = await ask(["-m", `${A},${B}`], [failure(503), { text: "ok" }], { home });
    expect([all.code, modelsOf(all)]).toEqual([0, ["v/a", "v/b"]]);
  });

  test("alone and answers rests no longer for the chains that follow", async () => {
    const home = makeHome();
    await ask(["-m", `${A},${B}`], [failure(429, { "retry-after": "3600" }), { text: "ok" }], { home });
    await ask(["-m", A], undefined, { home });
    expect(modelsOf(await ask(["-m", `${A},${B}`], undefined, { home }))).toEqual(["v/a"]);
  });

  test("while another run is at work rests for that one too", async () => {
    const home = makeHome();
    const chain = ["-m", `${A},${B}`, ...NO_RETRY];
    const server = await serve((_, n) => (n === 0 ? { text: "one" } : { text: "two" }));
    const run = await runCommand({
      args: chain,
      stdin: "OPEN",
      home,
      env: { OPENROUTER_BASE_URL: server.url },
      onSpawn: async (child) => {
        child.stdin?.write('{"message":"one"}\n');
        await until(() => server.requests[0]?.closed === true);
        await ask(chain, [failure(429, { "retry-after": "3600" }), { text: "ok" }], { home });
        await new Promise((resolve) => setTimeout(resolve, 1000));
        child.stdin?.end('{"message":"two"}\n');
      },
    });
    expect([run.code, modelsOf(server)]).toEqual([0, ["v/a", "v/b"]]);
  });

  test("in a recording rests in no run but its replay, and what rests here is replayed all the same", async () => {
    const home = makeHome();
    const args = ["-m", `${A},${B}`];
    const busy = [failure(429, { "retry-after": "3600" }), { text: "ok" }];
    await ask([...args, "--record", "../failed"], busy, { home });
    await ask([...args, "--record", "../resting"], undefined, { home });
    const elsewhere = makeHome();
    const replay = (name: string, at: string) => ask([...args, "--replay", join(home, name)], [], { home: at });
    for (const at of [home, elsewhere])
      for (const name of ["failed", "resting"]) {
        const run = await replay(name, at);
        expect([run.code, resultOf(run).model, ofType(run, "fallback").length], name).toEqual([0, B, 1]);
      }
    expect(modelsOf(await ask(args, undefined, { home: elsewhere }))).toEqual(["v/a"]);
  });

  test("rests under this key and not under another", async () => {
    const home = makeHome();
    const script = [failure(429, { "retry-after": "3600" }), { text: "ok" }];
    await ask(["-m", `${A},${B}`], script, { home });
    const other = await ask(["-m", `${A},${B}`], undefined, { home, env: { OPENROUTER_API_KEY: "sk-or-v1-another-000000000000" } });
    expect(modelsOf(other)).toEqual(["v/a"]);
  });

  test("leaves no key behind, though the provider repeats it; a run that fails nothing leaves nothing", async () => {
    const reply = { status: 503, body: { error: { message: `down for ${KEY}` } } };
    const run = await ask(["-m", `${A},${B}`], [reply, { text: "ok" }]);
    const kept = readAll(run.home);
    expect([run.code, kept.includes("down for"), kept.includes(KEY), (run.stdout + run.stderr).includes(KEY)]).toEqual([0, true, false, false]);
    const calm = await ask(["-m", `${A},${B}`]);
    expect([calm.code, existsSync(join(calm.home, ".local/share/agent/routes"))]).toEqual([0, false]);
  });

  test("and cannot be noted costs the run nothing", async () => {
    const home = makeHome();
    mkdirSync(join(home, ".local/share/agent"), { recursive: true });
    writeFileSync(join(home, ".local/share/agent/routes"), "in the way");
    const run = await ask(["-m", `${A},${B}`], withoutA, { home });
    expect([run.code, modelsOf(run), run.stderr]).toEqual([0, ["v/a", "v/b"], ""]);
  });
});

describe.skipIf(!isBuilt).concurrent("a model without credit", () => {
  const broke = { status: 402, body: { error: { code: 402, message: "Insufficient credits" } } };
  const own = {
    acme: { options: { apiKey: "sk-of-acme-0000001" }, models: { free: { cost: { input: 0, output: 0 } }, paid: { cost: { input: 1, output: 0 } } } },
    openrouter: { models: { nothing: { id: "v/x:free" } } },
  };
  test.each([
    ["the ending of its id", "openrouter/v/a:free", ["v/a", "v/a:free"]],
    ["the ending of the id that is sent", "openrouter/nothing", ["v/a", "v/x:free"]],
    ["prices of 0", "acme/free", ["paid", "free"]],
    ["an ending that means it elsewhere", "acme/x:free", ["paid"]],
  ])("is followed by a free one of its provider, as %s says", async (_, next, asked) => {
    const server = await serve(({ body }) => (body.model === "v/a" || body.model === "paid" ? broke : { text: "ok" }));
    const home = makeConfiguredHome({ provider: { ...own, acme: { ...own.acme, options: { ...own.acme.options, baseURL: server.url } } } });
    const first = next.startsWith("acme/") ? "acme/paid" : A;
    const run = await ask(["-m", `${first},${next}`], undefined, { home, env: { OPENROUTER_BASE_URL: server.url } });
    expect([run.code, modelsOf(server)]).toEqual([asked.length === 2 ? 0 : 4, asked]);
  });

  test("is not followed by one of another name that the same account pays for, but by one of another account", async () => {
    const server = await serve(({ body }) => (body.model === "other" ? { text: "ok" } : broke));
    const named = (apiKey: string) => ({ options: { baseURL: server.url, apiKey } });
    const home = makeConfiguredHome({ provider: { one: named("sk-0123456789-one"), same: named("sk-0123456789-one"), other: named("sk-0123456789-two") } });
    const run = await ask(["-m", "one/first,same/second,other/other"], undefined, { home });
    expect([run.code, modelsOf(server)]).toEqual([0, ["first", "other"]]);
  });
});

describe.skipIf(!isBuilt).concurrent("limits.freeOnly", () => {
  const home = (more: object = {}) => makeConfiguredHome({ limits: { freeOnly: true }, ...more });

  test("refuses a model that may cost something, before anything is sent", async () => {
    const run = await ask(["-m", A], undefined, { home: home() });
    expect([run.code, errorOf(run).code, run.requests.length]).toEqual([2, "MODEL_NOT_FREE", 0]);
    expect(errorOf(run).hint).toContain(":free");
  });

  test("passes it over where the chain has one that costs nothing, with one warning", async () => {
    const run = await ask(["-m", `${A},openrouter/v/b:free`], undefined, { home: home() });
    expect([run.code, modelsOf(run)]).toEqual([0, ["v/b:free"]]);
    expect(run.stderr.split(`only free models may be asked (limits.freeOnly): ${A}.`)).toHaveLength(2);
  });

  test("takes prices of 0 and servers without keys for free", async () => {
    const priced = { provider: { openrouter: { models: { "v/a": { cost: { input: 0, output: 0 } } } } } };
    const runs = [await ask(["-m", A], undefined, { home: home(priced) }), await ask(["-m", "demo/echo"], undefined, { home: home() })];
    expect(runs.map(({ code }) => code)).toEqual([0, 0]);
  });

  test("lets no list of OpenRouter's own routing lead to one that costs", async () => {
    const listed = (...models: string[]) => home({ provider: { openrouter: { options: { models } } } });
    const paid = await ask(["-m", "openrouter/v/b:free"], undefined, { home: listed("v/c:free", "v/d") });
    expect([paid.code, errorOf(paid).code, errorOf(paid).message, paid.requests.length]).toEqual([
      2,
      "MODEL_NOT_FREE",
      expect.stringContaining("openrouter/v/d"),
      0,
    ]);
    expect((await ask(["-m", "openrouter/v/b:free"], undefined, { home: listed("v/c:free") })).code).toBe(0);
  });

  test("holds for the models of tasks", async () => {
    const script = [turn(["task", { description: "x", prompt: "go", subagent_type: "paid" }]), { text: "done" }];
    const profiles = { agent: { paid: { mode: "subagent", model: A } } };
    const run = await ask(["-m", "openrouter/v/b:free"], script, { home: home(profiles) });
    expect([run.code, modelsOf(run)]).toEqual([0, ["v/b:free", "v/b:free"]]);
    expect(JSON.stringify(run.requests[1]?.body)).toContain("is not known to be free");
  });
});

describe.skipIf(!isBuilt).concurrent("a key", () => {
  test("that is missing passes a model over with one warning in all, and the first that has one starts", async () => {
    const stdin = '{"message":"one"}\n{"message":"two"}\n';
    const run = await runCommand({ args: ["-m", `openai/x,groq/y,${A}`], stdin });
    expect([run.code, modelsOf(run), ofType(run, "result").length]).toEqual([0, ["v/a", "v/a"], 2]);
    const said = "Passed over, because no key is set: openai/x (OPENAI_API_KEY), groq/y (GROQ_API_KEY).";
    expect(run.stderr.split(said)).toHaveLength(2);
    expect(ofType(run, "model_resolved")[0]).toMatchObject({ selector: A, matchesRequest: false });
  });

  test.each([[["-m", "openai/x"]], [["-m", "openai/x,groq/y"]]])("that is missing without another model (%j) ends with 5 and three ways", async (args) => {
    const run = await runCommand({ args: [...args, "-p", "hi"] });
    expect([run.code, run.requests.length]).toEqual([5, 0]);
    for (const way of ["OPENAI_API_KEY=", "--model ollama/", "--model demo/"]) expect(run.stderr).toContain(way);
  });

  const refused: CommandRun["script"] = ({ body }) =>
    body.model === "v/a" ? { status: 401, body: { error: { code: 401, message: `No auth for ${KEY}` } } } : { text: "ok" };

  test("that is refused is an error at once; no other model is asked, and nothing rests", async () => {
    const run = await ask(["-m", `${A},${B}`], refused);
    expect([run.code, errorOf(run).code, modelsOf(run), ofType(run, "fallback")]).toEqual([5, "AUTH_REFUSED", ["v/a"], []]);
    expect(run.stdout + run.stderr + readAll(run.home)).not.toContain(KEY);
    expect(existsSync(join(run.home, ".local/share/agent/routes"))).toBe(false);
  });

  test("that is refused is fallen over where retry.fallbackOnAuth says so, and is in no byte", async () => {
    const run = await ask(["-m", `${A},${B}`], refused, { home: makeConfiguredHome({ retry: { fallbackOnAuth: true } }) });
    expect([run.code, modelsOf(run), ofType(run, "fallback")[0].error.code]).toEqual([0, ["v/a", "v/b"], "AUTH_REFUSED"]);
    expect(run.stdout + run.stderr + readAll(run.home)).not.toContain(KEY);
  });
});

describe.skipIf(!isBuilt).concurrent("OpenRouter's own routing", () => {
  const sent = async (model: string, openrouter: object, reply: Reply = { text: "hi" }) => {
    const run = await ask(["-m", model], [reply], { home: makeConfiguredHome({ provider: { openrouter } }) });
    expect(run.code).toBe(0);
    return { body: run.requests[0]?.body, headers: run.requests[0]?.headers, run };
  };

  test.each([
    ["models", ["v/b", "v/c:free"]],
    ["provider", { sort: "price" }],
    ["provider", { order: ["anthropic", "together"], allow_fallbacks: false }],
    ["provider", { only: ["azure"], ignore: ["x"], quantizations: ["fp8"], data_collection: "deny", require_parameters: true, max_price: { prompt: 1 } }],
    ["plugins", [{ id: "web", max_results: 3 }]],
    ["transforms", ["middle-out"]],
    ["route", "fallback"],
    ["user", "someone"],
  ])("takes %s from the configuration as it is: %j", async (name, value) => {
    expect((await sent(A, { options: { [name]: value } })).body).toMatchObject({ model: "v/a", [name]: value });
    expect((await sent(A, { models: { "v/a": { options: { [name]: value } }, "v/b": { options: { user: "not mine" } } } })).body).toMatchObject({
      model: "v/a",
      [name]: value,
    });
  });

  test("says nothing of itself that nobody has set", async () => {
    const { body } = await sent(A, {});
    for (const name of ["models", "provider", "plugins", "transforms", "route", "user", "reasoning"]) expect(body).not.toHaveProperty(name);
  });

  test("of one model beats that of all, and may name another id and headers", async () => {
    const models = { fast: { id: "v/a:nitro", options: { provider: { sort: "latency" } }, headers: { "X-Own": "1" } } };
    const { body, headers } = await sent("openrouter/fast", { options: { provider: { sort: "price" }, user: "me" }, models });
    expect(body).toMatchObject({ model: "v/a:nitro", provider: { sort: "latency" }, user: "me" });
    expect(headers).toMatchObject({ "x-own": "1", authorization: `Bearer ${KEY}` });
  });

  test.each([
    ["openrouter/v/a:floor", "v/a:floor"],
    ["openrouter/v/a:nitro", "v/a:nitro"],
    ["openrouter/v/a:free", "v/a:free"],
    ["openrouter/auto", "openrouter/auto"],
    ["openrouter/openrouter/auto", "openrouter/auto"],
  ])("is asked for by the id %s, sent as %s; the model that answered is told", async (id, model) => {
    const { body, run } = await sent(id, {}, { raw: frames({ text: "hi", model: "served/by-this" }) });
    expect(body.model).toBe(model);
    expect(ofType(run, "step_finish")[0].part.model).toMatchObject({ providerID: "openrouter", respondedModelID: "served/by-this" });
    expect(resultOf(run).model).toBe(id);
  });
});
