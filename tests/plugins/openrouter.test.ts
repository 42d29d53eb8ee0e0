import { AgentError, type Config, type Message, type Plugin, type Provider } from "agent-runtime";
import { afterEach, describe, expect, test } from "vitest";
import { resolveProviderOptions } from "../../core/auth.ts";
import { createFetch } from "../../core/http.ts";
import { silentLog } from "../../core/log.ts";
import plugin from "../../plugins/openrouter/index.ts";
import { chunk, done, type Reply, startServer, type TestServer, usageChunk } from "../fixtures/server.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

async function serve(script: Reply[], models?: unknown[] | Reply): Promise<TestServer> {
  const server = await startServer(script, models ? { models } : {});
  open.push(server);
  return server;
}

const openrouter = (await (plugin as Plugin).setup({ config: {} } as never)).providers![0] as Provider;
const services = { fetch: createFetch(), log: silentLog };
const user = (text: string): Message => ({ role: "user", content: [{ type: "text", text }] });

/** Options as the runtime resolves them, from a configuration and an environment. */
const optionsOf = (env: Record<string, string>, options: Record<string, unknown> = {}) =>
  resolveProviderOptions({ provider: { openrouter: { options } } } as Pick<Config, "provider">, openrouter, {
    env: { OPENROUTER_API_KEY: "sk-or-v1-x", ...env },
    auth: {},
  }).options;

async function ask(
  env: Record<string, string>,
  { options = {}, model = "vendor/Model:free", call = {} }: { options?: Record<string, unknown>; model?: string; call?: object } = {},
) {
  const factory = await openrouter.create(optionsOf(env, options), services);
  const { stream } = await (await factory(model)).doStream({ prompt: [user("hi")], ...call });
  const parts = [];
  const reader = stream.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) parts.push(read.value);
  return parts;
}

describe("the provider openrouter", () => {
  test("sends the model's id verbatim, the key, and who asks", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask({ OPENROUTER_BASE_URL: `${url}/` });
    const [{ path, headers, body } = { headers: {} } as never] = requests;
    expect(path).toBe("/v1/chat/completions");
    expect(headers).toMatchObject({ authorization: "Bearer sk-or-v1-x", "x-title": "agent-runtime", "x-openrouter-title": "agent-runtime" });
    expect(headers["http-referer"]).toMatch(/^https:\/\//);
    expect(body).toMatchObject({ model: "vendor/Model:free", stream: true, usage: { include: true } });
    for (const name of ["temperature", "max_tokens", "stream_options", "models", "provider"]) expect(body).not.toHaveProperty(name);
  });

  test.each(["", "/", "///", "/chat/completions", "/chat/completions/", "/Chat/Completions"])("is found at a base URL that ends with '%s'", async (ending) => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask({ OPENROUTER_BASE_URL: url + ending });
    expect(requests.map(({ path }) => path)).toEqual(["/v1/chat/completions"]);
  });

  test("lets each variable of the environment change the request", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask(
      {
        OPENROUTER_BASE_URL: url,
        OPENROUTER_SITE_URL: "https://me.example",
        OPENROUTER_APP_NAME: "mine",
        OPENROUTER_MAX_TOKENS: "123",
        OPENROUTER_TEMPERATURE: "0",
      },
      {
        call: { prompt: [{ role: "system", content: "be kind" }, user("one"), { role: "assistant", content: [{ type: "text", text: "two" }] }, user("three")] },
      },
    );
    expect(requests[0]?.headers).toMatchObject({ "http-referer": "https://me.example", "x-title": "mine", "x-openrouter-title": "mine" });
    expect(requests[0]?.body).toMatchObject({ max_tokens: 123, temperature: 0 });
  });

  test("lets what the request says beat the environment", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask({ OPENROUTER_BASE_URL: url, OPENROUTER_MAX_TOKENS: "123", OPENROUTER_TEMPERATURE: "1" }, { call: { maxOutputTokens: 7, temperature: 0.5 } });
    expect(requests[0]?.body).toMatchObject({ max_tokens: 7, temperature: 0.5 });
  });

  test.each(["NaN", "-1", "many"])("refuses the number %s", async (value) => {
    await expect(ask({ OPENROUTER_MAX_TOKENS: value })).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });

  test("gives up after OPENROUTER_TIMEOUT seconds without headers", async () => {
    const { url } = await serve([{ delayMs: 60_000 }]);
    const error = await ask({ OPENROUTER_BASE_URL: url, OPENROUTER_TIMEOUT: "0.2" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(AgentError);
    expect(error).toMatchObject({ code: "PROVIDER_TIMEOUT", data: { stage: "headers" } });
  });

  test("leaves out the headers that are switched off", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask({ OPENROUTER_BASE_URL: url }, { options: { siteUrl: false, appName: false } });
    await ask({ OPENROUTER_BASE_URL: url }, { options: { headers: { "x-title": false, "X-Own": "1" } } });
    for (const name of ["http-referer", "x-title", "x-openrouter-title"]) expect(requests[0]?.headers).not.toHaveProperty(name);
    expect(requests[1]?.headers).not.toHaveProperty("x-title");
    expect(requests[1]?.headers).toMatchObject({ "x-own": "1", "x-openrouter-title": "agent-runtime" });
  });

  test("sends up to two categories of the app, and none that are not set", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    const given = [undefined, "", [], false, "cli-agent", "cli-agent, programming-app", ["cli-agent", "programming-app"]];
    for (const categories of given) await ask({ OPENROUTER_BASE_URL: url }, { options: { categories } });
    const both = "cli-agent,programming-app";
    expect(requests.map(({ headers }) => headers["x-openrouter-categories"])).toEqual([undefined, undefined, undefined, undefined, "cli-agent", both, both]);
  });

  test.each([["a,b,c"], [["a", "b", "c"]], ["CLI Agent"], ["a\nb"], [7.5], [{ a: 1 }], ["a".repeat(31)]])("refuses the categories %j", async (categories) => {
    const { url, requests } = await serve([{ text: "hello" }]);
    const error = await ask({ OPENROUTER_BASE_URL: url }, { options: { categories } }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "OPTION_INVALID", data: { option: "provider.openrouter.options.categories" } });
    expect(requests).toEqual([]);
  });

  test("passes routing options on as they are", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    const options = {
      models: ["a/b", "c/d"],
      provider: { sort: "price", order: ["x"] },
      plugins: [{ id: "web" }],
      transforms: ["middle-out"],
      reasoning: { effort: "high" },
      extraBody: { top_k: 3 },
    };
    await ask({ OPENROUTER_BASE_URL: url }, { options });
    const { extraBody, ...body } = options;
    expect(requests[0]?.body).toMatchObject({ ...body, ...extraBody });
  });

  test("sends OpenRouter's own routers as ids of its vendor", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    for (const model of ["auto", "openrouter/auto", "a/b:nitro"]) await ask({ OPENROUTER_BASE_URL: url }, { model });
    expect(requests.map(({ body }) => body.model)).toEqual(["openrouter/auto", "openrouter/auto", "a/b:nitro"]);
  });

  test("says what an answer cost", async () => {
    const { url } = await serve([{ text: "hello", usage: { cost: 0.5 } }]);
    expect((await ask({ OPENROUTER_BASE_URL: url })).at(-1)).toMatchObject({ type: "finish", providerMetadata: { "agent-runtime": { costUsd: 0.5 } } });
  });

  test("keeps signed reasoning at the first call and sends it back", async () => {
    const details = [{ type: "reasoning.encrypted", data: "secret", id: "r1", format: "openai-responses-v1" }];
    const raw = [
      chunk({ reasoning_details: details }),
      chunk({ tool_calls: [{ index: 0, id: "a", type: "function", function: { name: "read", arguments: "{}" } }] }),
      chunk({}, "tool_calls"),
      usageChunk(),
      done,
    ];
    const { url, requests } = await serve([{ raw }, { text: "done" }]);
    const call = (await ask({ OPENROUTER_BASE_URL: url })).find((part) => part.type === "tool-call")!;
    expect(call.providerMetadata).toMatchObject({ openrouter: { reasoning_details: details } });
    const assistant: Message = {
      role: "assistant",
      content: [{ type: "tool-call", toolCallId: "a", toolName: "read", input: {}, providerOptions: call.providerMetadata as never }],
    };
    const result: Message = { role: "tool", content: [{ type: "tool-result", toolCallId: "a", toolName: "read", output: { type: "text", value: "ok" } }] };
    await ask({ OPENROUTER_BASE_URL: url }, { call: { prompt: [user("hi"), assistant, result] } });
    expect(requests[1]?.body.messages[1].reasoning_details).toMatchObject(details);
  });

  test("lists models with prices per million tokens; what varies is unknown", async () => {
    const { url, listings } = await serve(
      [],
      [
        {
          id: "a/b",
          name: "B",
          context_length: 8192,
          pricing: { prompt: "0.0000025", completion: "0.00001", input_cache_read: "0.00000125" },
          supported_parameters: ["tools", "stop"],
        },
        { id: "a/free:free", pricing: { prompt: "0", completion: "0" }, supported_parameters: [] },
        { id: "openrouter/auto", pricing: { prompt: "-1", completion: "-1" } },
        { id: "a/none" },
      ],
    );
    expect(await openrouter.models!(optionsOf({ OPENROUTER_BASE_URL: url }), services)).toEqual([
      { id: "a/b", name: "B", context: 8192, price: { input: 2.5, output: 10, cacheRead: 1.25 }, tools: true },
      { id: "a/free:free", price: { input: 0, output: 0 }, tools: false },
      { id: "openrouter/auto" },
      { id: "a/none" },
    ]);
    expect(listings[0]?.headers.authorization).toBe("Bearer sk-or-v1-x");
  });

  test("fails loudly when there is no list", async () => {
    const list = async (reply: Reply) => openrouter.models!(optionsOf({ OPENROUTER_BASE_URL: (await serve([], reply)).url }), services);
    await expect(list({ status: 401, body: { error: { message: "no" } } })).rejects.toMatchObject({ statusCode: 401 });
    for (const body of ["<html></html>", {}, { data: "none" }]) await expect(list({ body })).rejects.toMatchObject({ code: "RESPONSE_INVALID" });
  });

  test("marks the cache for the models that need marks", async () => {
    expect(openrouter.cachePolicy!("anthropic/claude-sonnet-4")).toEqual({
      kind: "breakpoints",
      providerOptions: { openrouter: { cacheControl: { type: "ephemeral" } } },
    });
    expect(openrouter.cachePolicy!("google/gemini-2.5-pro").kind).toBe("breakpoints");
    expect(openrouter.cachePolicy!("meta-llama/llama-3.3-70b-instruct").kind).toBe("none");
    expect(openrouter.cachePolicy!("openrouter/auto").kind).toBe("none");
  });

  test("needs a key and has a dated default", () => {
    expect(openrouter.keyless ?? false).toBe(false);
    expect(openrouter.env).toEqual(["OPENROUTER_API_KEY"]);
    expect(openrouter.defaultModel).toMatchObject({ id: expect.stringMatching(/:free$/), date: expect.stringMatching(/^\d{4}-\d\d-\d\d$/) });
  });
});

test("free models take 20 requests a minute together; another address, or a model that costs, has no limit", () => {
  const limitOf = (model: string, options = {}) => openrouter.requestsPerMinute?.(model, options);
  expect([limitOf("v/a:free"), limitOf("v/a"), limitOf("v/a:free", { baseURL: "http://127.0.0.1:1/v1" })]).toEqual([20, undefined, undefined]);
});
