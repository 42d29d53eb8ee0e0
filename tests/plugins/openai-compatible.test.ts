import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Config, Plugin, Provider } from "agent-runtime";
import { afterEach, describe, expect, test } from "vitest";
import { resolveProviderOptions } from "../../core/auth.ts";
import { createFetch } from "../../core/http.ts";
import { silentLog } from "../../core/log.ts";
import plugin from "../../plugins/openai-compatible/index.ts";
import { chunk, done, type Reply, startServer, type TestServer, usageChunk } from "../fixtures/server.ts";

const open: TestServer[] = [];
const folders: string[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function serve(script: Reply[], models?: unknown[] | Reply): Promise<TestServer> {
  const server = await startServer(script, models ? { models } : {});
  open.push(server);
  return server;
}

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "openai-compatible-"));
  folders.push(folder);
  return folder;
}

const services = { fetch: createFetch(), log: silentLog };

async function providersOf(provider: Record<string, unknown> = {}, cwd = "/"): Promise<Map<string, Provider>> {
  const { providers = [] } = await (plugin as Plugin).setup({ config: { provider }, cwd, packageDirs: [cwd] } as never);
  return new Map(providers.map((one) => [one.id, one]));
}

/** One answer of a configured provider, opened as the runtime opens it. */
async function ask(
  id: string,
  {
    config = {},
    env = {},
    model = "m",
    cwd = "/",
    prompt,
    call = {},
  }: { config?: Record<string, any>; env?: Record<string, string>; model?: string; cwd?: string; prompt?: unknown[]; call?: object } = {},
) {
  const found = (await providersOf({ [id]: config }, cwd)).get(id)!;
  const { options } = resolveProviderOptions({ provider: { [id]: config } } as Pick<Config, "provider">, found, { env, auth: {} });
  const factory = await found.create(options, services);
  const { stream } = await (await factory(model)).doStream({
    prompt: (prompt ?? [{ role: "user", content: [{ type: "text", text: "hi" }] }]) as never,
    ...call,
  });
  const parts = [];
  const reader = stream.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) parts.push(read.value);
  return parts;
}

describe("OpenAI-compatible providers", () => {
  test.each(["", "//", "/chat/completions", "/Chat/Completions/"])("are found at a base URL that ends with '%s'", async (ending) => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask("mine", { config: { options: { baseURL: url + ending } } });
    expect(requests.map(({ path }) => path)).toEqual(["/v1/chat/completions"]);
  });

  test("has presets with their usual keys, and local servers without", async () => {
    const providers = await providersOf();
    expect([...providers.keys()]).toEqual(["openai", "anthropic", "google", "groq", "mistral", "deepseek", "ollama", "lmstudio", "llamacpp"]);
    expect(providers.get("openai")).toMatchObject({ env: ["OPENAI_API_KEY"], keyless: false, defaults: { baseURL: "https://api.openai.com/v1" } });
    expect(providers.get("ollama")).toMatchObject({ keyless: true, defaults: { baseURL: "http://127.0.0.1:11434/v1" } });
  });

  test("gives OpenAI the key of a session, and others only where setCacheKey says so", async () => {
    const policy = async (id: string, config = {}) => {
      const found = (await providersOf({ [id]: config })).get(id)!.cachePolicy!("m");
      return found.kind === "key" ? found.optionsFor("k1") : found.kind;
    };
    expect(await policy("openai")).toEqual({ openai: { prompt_cache_key: "k1" } });
    expect(await policy("openai", { options: { setCacheKey: false } })).toBe("none");
    for (const id of ["anthropic", "google", "mistral", "groq", "ollama"]) expect(await policy(id)).toBe("none");
    expect(await policy("my.own", { api: "http://127.0.0.1:1", options: { setCacheKey: true } })).toEqual({ my: { prompt_cache_key: "k1" } });
    expect(await policy("azure", { npm: "@ai-sdk/openai" })).toEqual({ openai: { promptCacheKey: "k1" } });
    expect(await policy("claude", { npm: "@ai-sdk/anthropic" })).toBe("breakpoints");
    const { url, requests } = await serve([{ text: "hello" }]);
    const call = { providerOptions: { my: { prompt_cache_key: "k1" } } };
    await ask("my.own", { config: { options: { baseURL: url, setCacheKey: true } }, call });
    expect(requests[0]?.body).toMatchObject({ prompt_cache_key: "k1" });
    expect(requests[0]?.body).not.toHaveProperty("setCacheKey");
  });

  test("leaves the names of other providers to them", async () => {
    const names = [
      ...(
        await providersOf({ openrouter: { api: "https://a" }, demo: { api: "https://a" }, mine: { api: "https://a" }, guest: { options: { apiKey: "k" } } })
      ).keys(),
    ];
    expect(names).toContain("mine");
    for (const name of ["openrouter", "demo", "guest"]) expect(names).not.toContain(name);
  });

  test("asks an endpoint of the configuration, with its key and headers", async () => {
    const { url, requests } = await serve([{ text: "hello", usage: { cost: 0.25 } }]);
    const parts = await ask("mine", {
      config: { options: { baseURL: `${url}/`, apiKey: "secret", headers: { "X-Own": "1", "X-Off": false } } },
      model: "vendor/Model:7b",
    });
    expect(requests[0]).toMatchObject({
      path: "/v1/chat/completions",
      body: { model: "vendor/Model:7b", stream: true, stream_options: { include_usage: true } },
    });
    expect(requests[0]?.headers).toMatchObject({ authorization: "Bearer secret", "x-own": "1" });
    for (const name of ["x-off", "x-title", "http-referer"]) expect(requests[0]?.headers).not.toHaveProperty(name);
    expect(parts.at(-1)).toMatchObject({ type: "finish", providerMetadata: { "agent-runtime": { costUsd: 0.25 } } });
  });

  test("takes api for the base URL and env for the key", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask("mine", { config: { api: url, env: ["MY_KEY"] }, env: { MY_KEY: "from env" } });
    expect(requests[0]?.headers.authorization).toBe("Bearer from env");
  });

  test("sends no Authorization to a local server without a key, nor where apiKey is false", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    expect((await providersOf({ mine: { options: { baseURL: url } } })).get("mine")?.keyless).toBe(true);
    expect((await providersOf({ mine: { options: { baseURL: "https://far.example/v1", apiKey: false } } })).get("mine")?.keyless).toBe(true);
    expect((await providersOf({ mine: { options: { baseURL: "https://far.example/v1" } } })).get("mine")?.keyless).toBe(false);
    await ask("mine", { config: { options: { baseURL: url } } });
    await ask("openai", { config: { options: { baseURL: url, apiKey: false } }, env: { OPENAI_API_KEY: "k" } });
    for (const request of requests) expect(request.headers).not.toHaveProperty("authorization");
  });

  test("puts a preset at another base URL", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask("groq", { config: { options: { baseURL: url } }, env: { GROQ_API_KEY: "k" } });
    await ask("openai", { env: { OPENAI_API_KEY: "k", OPENAI_BASE_URL: url } });
    expect(requests.map(({ headers }) => headers.authorization)).toEqual(["Bearer k", "Bearer k"]);
  });

  test("sends the id, the options and the headers that a model is configured with", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    const models = { short: { id: "vendor/long-name", options: { reasoning_effort: "high" }, headers: { "X-Model": "1" } } };
    await ask("mine", { config: { options: { baseURL: url, extraBody: { seed: 7 } }, models }, model: "short" });
    expect(requests[0]?.body).toMatchObject({ model: "vendor/long-name", reasoning_effort: "high", seed: 7 });
    expect(requests[0]?.headers["x-model"]).toBe("1");
  });

  test("says which option is missing or wrong", async () => {
    await expect(ask("mine", { config: { models: {} } })).rejects.toMatchObject({ code: "OPTION_INVALID", data: { option: "provider.mine.options.baseURL" } });
    await expect(ask("mine", { config: { options: { baseURL: "nowhere" } } })).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });

  test("keeps the signature of a call and sends it back", async () => {
    const signed = {
      index: 0,
      id: "a",
      type: "function",
      function: { name: "read", arguments: "{}" },
      extra_content: { google: { thought_signature: "sig" } },
    };
    const { url, requests } = await serve([{ raw: [chunk({ tool_calls: [signed] }), chunk({}, "tool_calls"), usageChunk(), done] }, { text: "done" }]);
    const config = { options: { baseURL: url } };
    const call = (await ask("google", { config })).find((part) => part.type === "tool-call")!;
    const assistant = {
      role: "assistant",
      content: [{ type: "tool-call", toolCallId: "a", toolName: "read", input: {}, providerOptions: call.providerMetadata }],
    };
    await ask("google", { config, prompt: [{ role: "user", content: [{ type: "text", text: "hi" }] }, assistant] });
    expect(requests[1]?.body.messages[1].tool_calls[0].extra_content).toEqual({ google: { thought_signature: "sig" } });
  });

  test("lists what the endpoint lists, with what the configuration knows of it", async () => {
    const { url, listings } = await serve([], [{ id: "a" }, { id: "b" }]);
    const config = { options: { baseURL: url }, models: { b: { name: "B", limit: { context: 10 }, cost: { input: 1, output: 2 }, tool_call: true }, c: {} } };
    const found = (await providersOf({ mine: config })).get("mine")!;
    expect(await found.models!({ baseURL: url, apiKey: "k", headers: { "x-team": "a" } }, services)).toEqual([
      { id: "a" },
      { id: "b", name: "B", context: 10, price: { input: 1, output: 2 }, tools: true },
    ]);
    expect(listings[0]?.headers).toMatchObject({ authorization: "Bearer k", "x-team": "a" });
  });

  test.each([
    ["Ollama's", { object: "list", data: [{ id: "llama3.2:latest", object: "model", owned_by: "library" }] }, ["llama3.2:latest"]],
    ["Ollama's without a model", { object: "list", data: null }, []],
    ["LM Studio's", { data: [{ id: "qwen2.5-7b-instruct", object: "model" }], object: "list" }, ["qwen2.5-7b-instruct"]],
    ["llama.cpp's", { models: [{ name: "a.gguf" }], object: "list", data: [{ id: "models/a.gguf", meta: {} }] }, ["models/a.gguf"]],
    ["a bare", [{ id: "Org/Model" }, { name: "no id" }, null], ["Org/Model"]],
  ])("reads %s list, ids verbatim", async (_whose, body, ids) => {
    const { url } = await serve([], { body });
    const found = (await providersOf({ mine: {} })).get("ollama")!;
    expect((await found.models!({ baseURL: url }, services)).map(({ id }) => id)).toEqual(ids);
  });

  test("fails loudly when there is no list", async () => {
    const list = async (reply: Reply) => (await providersOf({})).get("ollama")!.models!({ baseURL: (await serve([], reply)).url }, services);
    await expect(list({ status: 404 })).rejects.toMatchObject({ statusCode: 404 });
    for (const body of ["<html></html>", {}]) await expect(list({ body })).rejects.toMatchObject({ code: "RESPONSE_INVALID" });
  });
});

describe("a provider from an AI SDK package", () => {
  const PACKAGE = `export const VERSION = "1"; export function createThing(options) {
    return { languageModel: (modelId) => ({ specificationVersion: "v3", provider: options.name, modelId, supportedUrls: {}, doGenerate() {}, async doStream() {
      const response = await options.fetch(options.baseURL + "/chat/completions", { method: "POST", body: JSON.stringify({ model: modelId, key: options.apiKey }) });
      const { model } = await response.json();
      return { stream: new ReadableStream({ start(controller) { controller.enqueue({ type: "text-delta", id: "1", delta: model }); controller.close(); } }) };
    } }) };
  }`;

  async function install(cwd: string, name: string, manifest: object): Promise<void> {
    const folder = join(cwd, "node_modules", name);
    await mkdir(join(folder, "dist"), { recursive: true });
    await writeFile(join(folder, "package.json"), JSON.stringify({ name, type: "module", ...manifest }));
    await writeFile(join(folder, "dist/index.js"), PACKAGE);
  }

  test.each<[string, object]>([
    ["exports", { exports: { ".": { import: { types: "./x.d.ts", default: "./dist/index.js" }, require: "./none.cjs" } } }],
    ["main", { main: "./dist/index.js" }],
  ])("comes from the workspace's packages, found by %s", async (_, manifest) => {
    const cwd = await makeFolder();
    await install(cwd, "@scope/thing", manifest);
    await mkdir(join(cwd, "deep/er"), { recursive: true });
    const { url, requests } = await serve([{}]);
    const parts = await ask("thing", {
      config: { npm: "@scope/thing", options: { baseURL: url, apiKey: "k" }, models: { m: { id: "api-m" } } },
      cwd: join(cwd, "deep/er"),
    });
    expect(requests[0]?.body).toEqual({ model: "api-m", key: "k" });
    expect(parts).toEqual([{ type: "text-delta", id: "1", delta: "api-m" }]);
  });

  test("comes from the agent's own packages, or from a file", async () => {
    const { url, requests } = await serve([{ text: "hello" }]);
    await ask("router", { config: { npm: "@openrouter/ai-sdk-provider", options: { baseURL: url, apiKey: "k" } } });
    const cwd = await makeFolder();
    await install(cwd, "thing", { main: "./dist/index.js" });
    await ask("thing", { config: { npm: pathToFileURL(join(cwd, "node_modules/thing/dist/index.js")).href, options: { baseURL: url } } });
    expect(requests).toHaveLength(2);
  });

  test("says that a package is not installed, or is none", async () => {
    const cwd = await makeFolder();
    await expect(ask("thing", { config: { npm: "@nobody/nothing" }, cwd })).rejects.toMatchObject({
      code: "PLUGIN_NOT_FOUND",
      data: { spec: "@nobody/nothing of provider.thing.npm" },
    });
    await expect(ask("thing", { config: { npm: "picocolors" }, cwd })).rejects.toMatchObject({ code: expect.stringMatching(/^PLUGIN_/) });
    await writeFile(join(cwd, "none.mjs"), "export const a = 1;");
    await expect(ask("thing", { config: { npm: pathToFileURL(join(cwd, "none.mjs")).href }, cwd })).rejects.toMatchObject({ code: "PLUGIN_BROKEN" });
  });
});

test("thoughts between the tags of a local model are reasoning, not answer", async () => {
  const { url } = await serve([{ text: "<think>hmm, easy</think>Four." }]);
  const parts = await ask("local", { config: { options: { baseURL: url, reasoningTag: "think" } } });
  const textOf = (type: string) => parts.flatMap((part) => (part.type === type ? [(part as { delta: string }).delta] : [])).join("");
  expect(textOf("reasoning-delta")).toBe("hmm, easy");
  expect(textOf("text-delta").trim()).toBe("Four.");
});
