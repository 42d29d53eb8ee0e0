import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Config, definePlugin, type Provider, tool, z } from "agent-runtime";
import { boot, call, say } from "agent-runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { silentLog } from "../../core/log.ts";
import { createModelOpener } from "../../core/open-model.ts";
import type { EmbedRequest } from "../../core/plugin.ts";
import { type EmbedDependencies, embedForPlugin } from "../../core/plugin-embed.ts";
import { provider } from "../../core/provider.ts";
import { createRedactor } from "../../core/redact.ts";
import type { Rest } from "../../core/route.ts";
import compatible from "../../plugins/openai-compatible/index.ts";
import openrouter from "../../plugins/openrouter/index.ts";
import { type Reply, type SeenRequest, startServer, type TestServer } from "../fixtures/server.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(script: Reply[] | ((request: SeenRequest, n: number) => Reply)): Promise<TestServer> {
  const server = await startServer(script);
  open.push(server.close);
  return server;
}

/** The vector of a text is its length and its first letter, so that each is known again. */
const vectorOf = (text: string): number[] => [text.length, text.charCodeAt(0)];
const reply = (texts: string[], more: object = {}): Reply => ({
  body: { object: "list", data: texts.map((text, index) => ({ object: "embedding", index, embedding: vectorOf(text) })), ...more },
});
const answering = ({ body }: SeenRequest): Reply => reply(body.input, { usage: { prompt_tokens: body.input.length, total_tokens: body.input.length } });

interface Given {
  config?: Partial<Config>;
  providers?: Provider[];
  env?: Record<string, string>;
  rested?: Map<string, Rest>;
  secrets?: string[];
}

async function prepare(url: string, { config = {}, providers, env = {}, rested = new Map(), secrets = [] }: Given = {}): Promise<EmbedDependencies> {
  const whole = {
    retry: { maxRetries: 2 },
    ...config,
    provider: {
      mine: { options: { baseURL: url, apiKey: "key-of-mine" } },
      openrouter: { options: { baseURL: url, apiKey: "key-of-or" } },
      ...config.provider,
    },
  } as Config;
  const found =
    providers ??
    (await Promise.all([compatible, openrouter].map((one) => one.setup({ config: whole, cwd: "/", packageDirs: [] } as never)))).flatMap(
      (one) => one.providers ?? [],
    );
  const dataDir = await mkdtemp(join(tmpdir(), "embed-"));
  open.push(() => rm(dataDir, { recursive: true, force: true }));
  const registry = { provider: async (id: string) => found.find((one) => one.id === id), providerIds: () => found.map(({ id }) => id) };
  const opener = createModelOpener({
    config: whole,
    registry: registry as never,
    env,
    dataDir,
    redactor: createRedactor(secrets),
    keys: new Set(),
    log: silentLog,
  });
  const rests: EmbedDependencies["rests"] = {
    get: async (route) => rested.get(route),
    put: async (route, next) => void rested.set(route, next(rested.get(route))),
    clear: async (route) => void rested.delete(route),
  };
  return { config: whole, untrusted: [], rests, log: silentLog, openerWith: () => opener };
}

async function embed(server: TestServer, request: Partial<EmbedRequest> = {}, given: Given = {}) {
  return embedForPlugin({ model: "mine/embedder", texts: ["one", "two2"], signal: new AbortController().signal, ...request }, await prepare(server.url, given));
}

const codeOf = (promise: Promise<unknown>): Promise<{ code?: string; message: string }> =>
  promise.then(
    () => ({ message: "it did not fail" }),
    (error: Error & { code?: string }) => error,
  );

describe("embedding texts", () => {
  test("asks the endpoint of the provider with its key, and says what it took", async () => {
    const server = await serve(answering);
    expect(await embed(server)).toEqual({ vectors: [vectorOf("one"), vectorOf("two2")], model: "mine/embedder", tokens: 2 });
    expect(server.requests.map(({ method, path, headers, body }) => [method, path, headers.authorization, body])).toEqual([
      ["POST", "/v1/embeddings", "Bearer key-of-mine", { model: "embedder", input: ["one", "two2"] }],
    ]);
  });

  test("puts vectors that come shuffled into the order of the texts", async () => {
    const texts = ["a", "bb", "ccc"];
    const server = await serve(({ body }) => {
      const answer = reply(body.input).body as { data: unknown[] };
      return { body: { data: [answer.data[2], answer.data[0], answer.data[1]] } };
    });
    expect((await embed(server, { texts })).vectors).toEqual(texts.map(vectorOf));
  });

  test("sends at most 96 texts at once, in their order", async () => {
    const texts = Array.from({ length: 200 }, (_, index) => "x".repeat(index + 1));
    const server = await serve(answering);
    const { vectors, tokens } = await embed(server, { texts });
    expect(vectors).toEqual(texts.map(vectorOf));
    expect(tokens).toBe(200);
    expect(server.requests.map(({ body }) => body.input.length)).toEqual([96, 96, 8]);
  });

  test("sends fewer where the model takes no more", async () => {
    const sizes: number[] = [];
    const small = provider({
      id: "small",
      keyless: true,
      create: () => () => expect.fail() as never,
      embeddings: () => (modelId) => ({
        specificationVersion: "v3",
        provider: "small",
        modelId,
        maxEmbeddingsPerCall: 2,
        supportsParallelCalls: false,
        doEmbed: async ({ values }) => {
          sizes.push(values.length);
          return { embeddings: values.map(vectorOf), warnings: [] };
        },
      }),
    });
    const dependencies = await prepare("http://127.0.0.1:9", { providers: [small] });
    const answer = await embedForPlugin({ model: "small/m", texts: ["a", "b", "c"], signal: new AbortController().signal }, dependencies);
    expect([sizes, answer]).toEqual([[2, 1], { vectors: ["a", "b", "c"].map(vectorOf), model: "small/m" }]);
  });

  test("waits as long as a 429 asks for, and repeats only the batch that failed", async () => {
    const texts = Array.from({ length: 97 }, (_, index) => `text ${index}`);
    const server = await serve((request, n) => (n === 1 ? { status: 429, headers: { "retry-after": "1" } } : answering(request)));
    expect((await embed(server, { texts })).vectors).toEqual(texts.map(vectorOf));
    const [, second, third] = server.requests;
    expect(server.requests.map(({ body }) => body.input.length)).toEqual([96, 1, 1]);
    expect(third!.at - second!.at).toBeGreaterThanOrEqual(1000);
  });

  test("tries again after a 500 and after an answer that is none", async () => {
    const server = await serve((request, n) => (n === 0 ? { status: 500 } : n === 1 ? { body: "<html>" } : answering(request)));
    expect((await embed(server)).vectors).toHaveLength(2);
    expect(server.requests).toHaveLength(3);
  });

  test("says it at once when the key is refused", async () => {
    const server = await serve([{ status: 401, body: { error: { message: "no such key" } } }]);
    expect(await codeOf(embed(server))).toMatchObject({ code: "AUTH_REFUSED", data: { model: "mine/embedder" } });
    expect(server.requests).toHaveLength(1);
  });

  test("reads an error that comes with status 200", async () => {
    const server = await serve([{ body: { error: { code: 402, message: "no credit" } } }]);
    expect(await codeOf(embed(server))).toMatchObject({ code: "QUOTA_EXCEEDED" });
  });

  test.each([
    ["fewer vectors than texts", { data: [{ index: 0, embedding: [1] }] }, /1 vectors for 2 texts/],
    [
      "one index twice",
      {
        data: [
          { index: 0, embedding: [1] },
          { index: 0, embedding: [2] },
        ],
      },
      /a vector is missing/,
    ],
    ["vectors of several lengths", { data: [{ embedding: [1] }, { embedding: [1, 2] }] }, /1 dimensions, another 2/],
    ["words for numbers", { data: [{ embedding: ["a"] }, { embedding: [1] }] }, /no list of numbers/],
    ["no list", { answer: 42 }, /no list of vectors/],
  ])("refuses %s, whatever the texts were", async (_, body, message) => {
    const server = await serve([{ body }]);
    const error = await codeOf(embed(server, {}, { config: { retry: { maxRetries: 1 } } }));
    expect(error.code).toBe("RESPONSE_INVALID");
    expect(error.message).toMatch(message);
    expect(server.requests).toHaveLength(2);
  });

  test("refuses a later batch that has other dimensions than the first", async () => {
    const texts = Array.from({ length: 97 }, () => "t");
    const server = await serve((request, n) => (n === 0 ? answering(request) : { body: { data: [{ index: 0, embedding: [1, 2, 3] }] } }));
    expect(await codeOf(embed(server, { texts }, { config: { retry: { maxRetries: 0 } } }))).toMatchObject({ code: "RESPONSE_INVALID" });
  });

  test("ends as soon as the signal aborts, also while it waits", async () => {
    const leaving = new AbortController();
    const server = await serve(() => {
      leaving.abort();
      return { status: 429, headers: { "retry-after": "600" } };
    });
    expect(await codeOf(embed(server, { signal: leaving.signal }))).toMatchObject({ code: "INTERRUPTED" });
    expect(await codeOf(embed(server, { signal: AbortSignal.abort() }))).toMatchObject({ code: "INTERRUPTED" });
    expect(server.requests).toHaveLength(1);
  });

  test("lets a model that fails rest, and ends that when it answers", async () => {
    const rested = new Map<string, Rest>();
    const server = await serve((request, n) => (n === 0 ? { status: 503 } : answering(request)));
    await codeOf(embed(server, {}, { rested, config: { retry: { maxRetries: 0 } } }));
    expect([...rested.values()]).toMatchObject([{ failures: 1, error: { code: "OVERLOADED" } }]);
    await embed(server, {}, { rested });
    expect(rested.size).toBe(0);
  });

  test("asks only what is free where nothing may cost", async () => {
    const server = await serve(answering);
    const freeOnly = { config: { limits: { freeOnly: true } } };
    expect(await codeOf(embed(server, { model: "openrouter/vendor/embed" }, freeOnly))).toMatchObject({ code: "MODEL_NOT_FREE" });
    expect(server.requests).toHaveLength(0);
    expect((await embed(server, { model: "openrouter/vendor/embed:free" }, freeOnly)).vectors).toHaveLength(2);
    expect((await embed(server, {}, freeOnly)).vectors).toHaveLength(2);
  });

  test("keeps to the limit of requests a minute", async () => {
    const server = await serve(answering);
    const options = { baseURL: server.url, apiKey: "k", requestsPerMinute: 1 };
    const leaving = new AbortController();
    const dependencies = await prepare(server.url, { config: { provider: { mine: { options } } } });
    const ask = () => embedForPlugin({ model: "mine/m", texts: ["a"], signal: leaving.signal }, dependencies);
    await ask();
    const second = codeOf(ask());
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.requests).toHaveLength(1);
    leaving.abort();
    expect((await second).code).toBe("INTERRUPTED");
  });

  test("sends no key in a body", async () => {
    const server = await serve(answering);
    await embed(server, { texts: ["the key is sk-secret-abcdef123456 here"] }, { secrets: ["sk-secret-abcdef123456"] });
    expect(server.requests[0]!.text).not.toContain("sk-secret");
  });

  test("sends nothing for nothing", async () => {
    const server = await serve(answering);
    expect((await embed(server, { texts: [] })).vectors).toEqual([]);
    expect(server.requests).toHaveLength(0);
  });

  test("names a provider that has none, and refuses a chain of models", async () => {
    const server = await serve(answering);
    const none = provider({ id: "none", keyless: true, create: () => () => expect.fail() as never });
    const dependencies = await prepare(server.url, { providers: [none] });
    const ask = (model: string) => embedForPlugin({ model, texts: ["a"], signal: new AbortController().signal }, dependencies);
    expect(await codeOf(ask("none/m"))).toMatchObject({ code: "EMBEDDINGS_MISSING" });
    expect(await codeOf(ask("none/m,none/n"))).toMatchObject({ code: "MODEL_INVALID" });
    expect(await codeOf(ask("nobody/m"))).toMatchObject({ code: "MODEL_NOT_FOUND" });
  });
});

describe("embeddings of built-in providers", () => {
  test("of OpenRouter say who asks, and keep what the configuration says of the model", async () => {
    const server = await serve(answering);
    const options = { baseURL: `${server.url}/chat/completions`, apiKey: "k", appName: "Mine", provider: { data_collection: "deny" }, transforms: ["x"] };
    const models = { short: { id: "vendor/embed", options: { dimensions: 2 } } };
    await embed(server, { model: "openrouter/short" }, { config: { provider: { openrouter: { options, models } } } });
    const [{ headers, path, body }] = server.requests as [SeenRequest];
    expect(path).toBe("/v1/embeddings");
    expect(headers).toMatchObject({ authorization: "Bearer k", "x-title": "Mine" });
    expect(body).toEqual({ model: "vendor/embed", input: ["one", "two2"], provider: { data_collection: "deny" }, dimensions: 2 });
  });

  test("of OpenRouter count what they cost", async () => {
    const server = await serve(({ body }) => reply(body.input, { usage: { prompt_tokens: 3, cost: 0.25 } }));
    expect(await embed(server, { model: "openrouter/vendor/embed" })).toMatchObject({ tokens: 3, costUsd: 0.25 });
  });

  test("of a local server need no key and send none", async () => {
    const server = await serve(answering);
    await embed(server, { model: "ollama/nomic-embed-text" }, { config: { provider: { ollama: { options: { baseURL: `${server.url}/embeddings/` } } } } });
    expect(server.requests.map(({ path, headers }) => [path, headers.authorization])).toEqual([["/v1/embeddings", undefined]]);
  });

  test("take the headers of the configuration", async () => {
    const server = await serve(answering);
    const options = { baseURL: server.url, apiKey: "k", headers: { Authorization: "Token t", "X-Team": "a" } };
    await embed(server, {}, { config: { provider: { mine: { options } } } });
    expect(server.requests[0]!.headers).toMatchObject({ authorization: "Token t", "x-team": "a" });
  });

  test("come from an AI SDK package that has them", async () => {
    const server = await serve(({ body }) => reply(body.input, { model: "m" }));
    const npm = import.meta.resolve("@openrouter/ai-sdk-provider");
    const packaged = { npm, options: { baseURL: server.url, apiKey: "k" } };
    expect((await embed(server, { model: "packaged/m" }, { config: { provider: { packaged } } })).vectors).toEqual([vectorOf("one"), vectorOf("two2")]);
    expect(server.requests[0]!.path).toBe("/v1/embeddings");
  });
});

describe("a plugin that embeds", () => {
  test("asks by its context, and is told what went wrong while others go on", async () => {
    const server = await serve((request, n) => (n === 0 ? answering(request) : { status: 401 }));
    const embedding = definePlugin({
      name: "embedding",
      setup: (context) => ({
        tools: [
          tool({
            name: "embed",
            description: "Embeds a text.",
            effect: "read",
            input: z.object({ text: z.string() }),
            run: async ({ text }, { signal }) => {
              const { vectors, model } = await context.embed({ model: "ollama/m", texts: [text], signal });
              return `${model} ${vectors}`;
            },
          }),
        ],
      }),
    });
    await using agent = await boot({
      plugins: [embedding, compatible],
      config: { provider: { ollama: { options: { baseURL: server.url } } } },
      script: [call("embed", { text: "abc" }), call("embed", { text: "abc" }), say("Done.")],
    });
    const { toolOutputs, text } = await agent.prompt("go");
    expect(text).toBe("Done.");
    expect(toolOutputs[0]).toContain("ollama/m 3,97");
    expect(toolOutputs[1]).toContain("refused");
  });
});
