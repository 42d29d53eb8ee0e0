import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { AgentError } from "../../core/errors.ts";
import type { Hooks } from "../../core/hooks.ts";
import { definePlugin } from "../../core/plugin.ts";
import { withAdvice } from "../../core/provider-advice.ts";
import { type BootOptions, boot } from "../../core/testing/index.ts";
import openaiCompatible from "../../plugins/openai-compatible/index.ts";
import openrouter from "../../plugins/openrouter/index.ts";
import { type Reply, startServer } from "../fixtures/server.ts";

const KEY = "sk-or-v1-0123456789abcdef0123456789abcdef";
const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

interface Case {
  model?: string;
  options?: Record<string, unknown>;
  models?: Record<string, object>;
  env?: Record<string, string>;
  stored?: string;
  /** What the provider answers to GET /models. */
  listing?: unknown[] | Reply;
  maxRetries?: number;
  /** Base URL of another provider, with the model that follows. */
  second?: string;
  runtime?: BootOptions;
}

/** An agent whose one model is answered with `reply`. */
async function start(reply: Reply, about: Case) {
  const { model = "openrouter/vendor/m", options = {}, models, env = { OPENROUTER_API_KEY: KEY }, stored, listing, maxRetries = 0, second, runtime } = about;
  const server = await startServer([reply], listing === undefined ? {} : { models: listing });
  ends.push(() => server.close());
  const dataDir = mkdtempSync(join(tmpdir(), "agent-advice-"));
  ends.push(() => rmSync(dataDir, { recursive: true, force: true }));
  mkdirSync(dataDir, { recursive: true });
  const [id = ""] = model.split("/");
  if (stored !== undefined) writeFileSync(join(dataDir, "auth.json"), JSON.stringify({ [id]: { type: "api", key: stored } }));
  const provider = {
    [id]: { options: { baseURL: server.url, ...options }, ...(models && { models }) },
    ...(second && { second: { options: { baseURL: second } } }),
  };
  const config = { model: [model, ...(second ? ["second/m"] : [])], retry: { maxRetries }, provider };
  const agent = await boot({ plugins: [openrouter, openaiCompatible], config, env, dataDir, ...runtime });
  ends.push(() => agent.close());
  return { agent, server, dataDir };
}

/** The hint of the error that a run ends with, when the server answers with `reply`. */
async function hintOf(reply: Reply, about: Case = {}) {
  const { agent, dataDir } = await start(reply, about);
  const { events } = await agent.prompt("hi");
  const error = events.find((event) => event.type === "error");
  expect(JSON.stringify(events)).not.toContain(KEY);
  return `${error?.error.hint}`.replaceAll(dataDir, "DATA");
}

test("a refused key: the variable, and the page of the keys", async () => {
  expect(await hintOf({ status: 401 })).toBe(
    "Check the key. Set another one: agent auth login openrouter, or OPENROUTER_API_KEY=…; Keys: https://openrouter.ai/settings/keys",
  );
});

test("a refused key: where it stands, and that another one is set and not used", async () => {
  const inFile = await hintOf({ status: 401 }, { options: { apiKey: "sk-or-v1-other-0000000000000001" } });
  expect(inFile).toContain("The one in provider.openrouter.options.apiKey of the configuration comes first (agent config show --origin names the file).");
  expect(inFile).toContain("Another key is set in OPENROUTER_API_KEY, and is not used. Only a change there counts.");
  const stored = await hintOf({ status: 401 }, { stored: "sk-or-v1-other-0000000000000002" });
  expect(stored).toContain("The one in DATA/auth.json comes first. Another key is set in OPENROUTER_API_KEY, and is not used.");
});

test("a refused key of a server that has no page and needs no key: the option", async () => {
  const hint = await hintOf({ status: 401 }, { model: "mine/m", env: {} });
  expect(hint).toBe("Check the key. Set another one: agent auth login mine, or provider.mine.options.apiKey=…");
});

test("403: that the account may have to be verified or to pay", async () => {
  expect(await hintOf({ status: 403 })).toContain(
    "The account may have to be verified or to pay first, or the key has no right to this model. Account: https://",
  );
});

test("402: the pages of credits and activity, and a free model", async () => {
  expect(await hintOf({ status: 402 })).toMatch(
    /Credits: https:\/\/openrouter.ai\/settings\/credits; Activity: https:\/\/openrouter.ai\/activity; A free model: openrouter\/.*:free$/,
  );
});

test("a spent limit of the key: the page of the keys, and the address that the provider names", async () => {
  const message = "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys";
  expect(await hintOf({ status: 403, body: { error: { code: 403, message } } })).toContain("Limits of the key: https://openrouter.ai/settings/keys");
});

test("404: the nearest ids that are known, the free sibling, and the page of the models", async () => {
  const known = { "vendor/mistral-small": {}, "vendor/other": {} };
  expect(await hintOf({ status: 404 }, { model: "openrouter/vendor/mistral-smal", models: known })).toContain(
    "Did you mean openrouter/vendor/mistral-small? It may be there for nothing: openrouter/vendor/mistral-smal:free; Models: https://openrouter.ai/models",
  );
  expect(await hintOf({ status: 404 }, { model: "openrouter/a/b:free" })).toContain("It may no longer be free: openrouter/a/b; ");
  expect(await hintOf({ status: 404 }, { model: "mine/m", env: {} })).toBe("Check the id; see the provider's list of models.");
});

test("429: the wait, and another free model", async () => {
  expect(await hintOf({ status: 429 })).toMatch(/name another model with --fallback. A free model: openrouter\/.*:free$/);
});

test("nobody there: the page of the service, and for a local server whether it runs", async () => {
  const url = "http://127.0.0.1:1/v1";
  expect(await hintOf({}, { options: { baseURL: url } })).toMatch(/Status of the service: https:\/\/status.openrouter.ai$/);
  expect(await hintOf({}, { model: "mine/m", env: {}, options: { baseURL: url } })).toMatch(/Is its server running\?$/);
  expect(await hintOf({ status: 503 })).toMatch(/Status of the service: /);
});

test("an error that no page helps with, and one that brings its own advice, stay as they are", async () => {
  const provider = { id: "p", create: () => () => ({}) as never };
  const listModels = () => Promise.reject(new Error("asked"));
  const keys = { keySource: "P", unusedKeys: [], variable: "P", isKeyOff: false, authFile: "" };
  const facts = { provider, modelId: "m", ...keys, configured: new Map(), listModels };
  for (const error of [new AgentError("REQUEST_INVALID"), new AgentError("RATE_LIMITED", { advice: "own" }), new AgentError("CONTENT_REFUSED")])
    expect(await withAdvice(error, facts)).toBe(error);
});

const priced = (id: string, price = "0.000001", parameters = ["tools"]) => ({
  id,
  pricing: { prompt: price, completion: price },
  supported_parameters: parameters,
});
const LISTING = [
  ...["anthropic/claude-sonnet-4", "anthropic/claude-sonnet-4.5", "deepseek/deepseek-r1", "mistralai/mistral-small"].map((id) => priced(id)),
  priced("mistralai/mistral-small:free", "0", []),
  priced("qwen/qwen3-coder:free", "0"),
];
const PAGE = "Models: https://openrouter.ai/models";
const BEFORE = "Check the id; see the provider's list of models. ";
const DEFAULT = "meta-llama/llama-3.3-70b-instruct:free";

describe("where the provider lists its models, a 404", () => {
  const hint = (model: string, listing: unknown[] = LISTING) => hintOf({ status: 404 }, { model: `openrouter/${model}`, listing });

  test.each([
    ["a slip of the pen", "anthropic/claude-sonet-4.5", "openrouter/anthropic/claude-sonnet-4.5 or openrouter/anthropic/claude-sonnet-4"],
    ["a vendor that is missing", "claude-sonnet-4", "openrouter/anthropic/claude-sonnet-4 or openrouter/anthropic/claude-sonnet-4.5"],
    ["another vendor", "someone/deepseek-r1", "openrouter/deepseek/deepseek-r1"],
    ["other letters", "DeepSeek/DeepSeek-R1", "openrouter/deepseek/deepseek-r1"],
    ["an ending that there is not", "qwen/qwen3-coder:turbo", "openrouter/qwen/qwen3-coder:free"],
  ])("names the nearest of them: %s", async (_slip, model, near) => {
    expect(await hint(model)).toBe(`${BEFORE}Did you mean ${near}? ${PAGE}`);
  });

  test("names three at most, and none where none is near", async () => {
    expect(
      await hint(
        "a/mode-0",
        [1, 2, 3, 4, 5].map((n) => ({ id: `a/model-${n}` })),
      ),
    ).toMatch(/Did you mean openrouter\/a\/model-1 or \S+ or \S+\? Models/);
    expect(await hint("other/thing")).toBe(`${BEFORE}${PAGE}`);
    // A list of nothing is none.
    expect(await hint("other/thing", [])).toBe(`${BEFORE}It may be there for nothing: openrouter/other/thing:free; ${PAGE}`);
  });

  test("names no id that the provider does not list, but names of the configuration for one that it does", async () => {
    const models = { "vendor/gone-1": {}, coder: { id: "qwen/qwen3-coder:free" } };
    const about = { models, listing: LISTING };
    expect(await hintOf({ status: 404 }, { ...about, model: "openrouter/vendor/gone-2" })).toBe(`${BEFORE}${PAGE}`);
    expect(await hintOf({ status: 404 }, { ...about, model: "openrouter/codr" })).toContain("Did you mean openrouter/coder?");
  });

  test("looks for what was sent where the configuration has another name for it", async () => {
    const models = { mine: { id: "deepseek/deepseek-r2" } };
    expect(await hintOf({ status: 404 }, { models, listing: LISTING, model: "openrouter/mine" })).toContain("Did you mean openrouter/deepseek/deepseek-r1?");
  });

  test("says that the model is no longer free, or to be had for nothing, only where it is so", async () => {
    expect(await hint("deepseek/deepseek-r1:free")).toBe(`${BEFORE}It is no longer free: openrouter/deepseek/deepseek-r1; ${PAGE}`);
    expect(await hint("qwen/qwen3-coder")).toBe(`${BEFORE}For nothing: openrouter/qwen/qwen3-coder:free; ${PAGE}`);
    expect(await hint("zzz/zzz:free")).toBe(`${BEFORE}${PAGE}`);
  });

  test("says that the id is right where it is in the list", async () => {
    const listed = "It is in the provider's list, but not for this request or this account.";
    expect(await hint("mistralai/mistral-small")).toBe(`${BEFORE}${listed} For nothing: openrouter/mistralai/mistral-small:free; ${PAGE}`);
  });

  test("names those of a local server, which has no page", async () => {
    const listing = { body: { object: "list", data: [{ id: "llama3.2:1b" }, { id: "qwen2.5-coder:7b" }] } };
    expect(await hintOf({ status: 404 }, { model: "ollama/llama3.2", env: {}, listing })).toBe(`${BEFORE}Did you mean ollama/llama3.2:1b?`);
  });

  test("says nothing that could write on a terminal or is a secret", async () => {
    const ids = ["elsewhere/entirely", "vendor/\u001b[31mm", "vendor/m m", `${"v".repeat(200)}/m`, "", 7, null, `${KEY}/m`];
    const said = await hint(
      "vendor/m",
      ids.map((id) => ({ id })),
    );
    expect(said).toBe(`${BEFORE}${PAGE}`);
  });
});

describe("where the provider lists its models, a model for nothing", () => {
  const free = (status: number, listing: unknown[], model = "vendor/m") => hintOf({ status }, { model: `openrouter/${model}`, listing });

  test.each([402, 429])("is named on a %i: one that is listed and calls tools, not the one that failed", async (status) => {
    expect(await free(status, LISTING)).toMatch(/A free model: openrouter\/qwen\/qwen3-coder:free$/);
    expect(await free(status, LISTING, "qwen/qwen3-coder:free")).not.toContain("A free model");
    expect(await free(status, [priced("a/costs"), priced("a/nothing", "0"), priced("b/nothing:free", "0")])).toMatch(/A free model: openrouter\/a\/nothing$/);
    expect(await free(status, [{ id: "a/unknown" }, { id: "a/b:free" }])).toMatch(/A free model: openrouter\/a\/b:free$/);
    expect(await free(status, [priced("a/costs")])).not.toContain("A free model");
    expect(await free(status, [])).toMatch(new RegExp(`A free model: openrouter/${DEFAULT}$`));
  });

  test("is the provider's own where that is listed", async () => {
    expect(await free(402, [...LISTING, priced(DEFAULT, "0")])).toMatch(new RegExp(`A free model: openrouter/${DEFAULT}$`));
    expect(await free(402, LISTING)).not.toContain(DEFAULT);
  });

  test("is not asked for on a 429 of a provider whose ids do not say what is free", async () => {
    const { agent, server } = await start({ status: 429 }, { model: "mine/m", env: {}, listing: LISTING });
    expect((await agent.prompt("hi")).result.exitCode).toBe(4);
    expect(server.listings).toEqual([]);
  });
});

describe("the list of models", () => {
  const WITHOUT = `${BEFORE}It may be there for nothing: openrouter/vendor/m:free; ${PAGE}`;
  const MEGABYTE = "x".repeat(1024 * 1024);

  test.each<[string, Reply]>([
    ["an error", { status: 500 }],
    ["a page", { body: "<html>Just a moment…</html>" }],
    ["something else", { body: { models: ["vendor/m"] } }],
    ["a cut connection", { raw: ['{"data":[', { delayMs: 5 }, "DROP"] }],
    ["50 MB", { raw: ['{"data":[{"id":"other/m"}],"more":"', ...Array(50).fill(MEGABYTE), '"}'] }],
  ])("that is %s leaves the hint as it is without", async (_what, listing) => {
    const { agent, server } = await start({ status: 404 }, { listing });
    const { result } = await agent.prompt("hi");
    expect([result.exitCode, result.error?.code, result.error?.hint]).toEqual([4, "MODEL_UNAVAILABLE", WITHOUT]);
    expect([server.requests.length, server.listings.length]).toEqual([1, 1]);
  });

  test("is asked for with the key of the model, and once however often it is needed", async () => {
    for (const listing of [LISTING, { status: 500 }]) {
      const { agent, server } = await start({ status: 404 }, { listing });
      for (const prompt of ["one", "two", "three"]) expect((await agent.prompt(prompt)).result.error?.code).toBe("MODEL_UNAVAILABLE");
      expect([server.requests.length, server.listings.length]).toEqual([3, 1]);
      expect(server.listings[0]).toMatchObject({ method: "GET", path: "/v1/models", headers: { authorization: `Bearer ${KEY}` } });
    }
  });

  test("is asked for after the last try alone", async () => {
    const { agent, server } = await start({ status: 429, headers: { "retry-after-ms": "1" } }, { listing: LISTING, maxRetries: 2 });
    expect((await agent.prompt("hi")).result.error?.hint).toContain("A free model: openrouter/qwen/qwen3-coder:free");
    expect([server.requests.length, server.listings.length]).toEqual([3, 1]);
  });

  test("is not asked for where another model follows, and of the last model's provider where all fail", async () => {
    for (const status of [404, 402, 429]) {
      const second = await startServer([{ text: "Hello." }, { status: 404 }], { models: [{ id: "mm" }] });
      ends.push(() => second.close());
      const { agent, server } = await start({ status }, { listing: LISTING, second: second.url });
      expect((await agent.prompt("hi")).text).toBe("Hello.");
      expect([server.requests.length, server.listings.length, second.listings.length]).toEqual([1, 0, 0]);
      expect((await agent.prompt("hi")).result.exitCode).toBe(4);
      expect(server.listings.length + second.listings.length).toBe(1);
    }
  });

  test("is not asked for where a plugin asks a model in vain, and the run goes on", async () => {
    const failures: unknown[] = [];
    const compact: Hooks["compact"] = async (_entries, { ask }) => {
      await ask({ model: "openrouter/vendor/m", messages: [{ role: "user", content: [{ type: "text", text: "sum up" }] }] }).catch((error) =>
        failures.push(error.code),
      );
      return undefined;
    };
    const asking = definePlugin({ name: "asking", setup: () => ({ hooks: { shouldCompact: () => true, compact } }) });
    const second = await startServer([{ text: "Hello." }], { models: LISTING });
    ends.push(() => second.close());
    const { agent, server } = await start(
      { status: 404 },
      { listing: LISTING, second: second.url, runtime: { plugins: [openrouter, openaiCompatible, asking] } },
    );
    expect((await agent.prompt({ message: "hi", model: "second/m", fallback: [] })).text).toBe("Hello.");
    expect([failures, server.requests.length, server.listings.length]).toEqual([["MODEL_UNAVAILABLE"], 1, 0]);
  });

  test("is no part of a recording, and a replay asks nobody", async () => {
    const dir = mkdtempSync(join(tmpdir(), "agent-advice-"));
    ends.push(() => rmSync(dir, { recursive: true, force: true }));
    const recorded = await start({ status: 404 }, { model: "openrouter/qwen/qwen3-code", listing: LISTING, runtime: { record: dir } });
    expect((await recorded.agent.prompt("hi")).result.error?.hint).toContain("Did you mean openrouter/qwen/qwen3-coder:free?");
    await recorded.agent.close();
    expect(readdirSync(dir)).toHaveLength(1);
    const played = await start({ status: 500 }, { model: "openrouter/qwen/qwen3-code", listing: LISTING, runtime: { replay: dir } });
    expect((await played.agent.prompt("hi")).result.error?.hint).toContain("It may be there for nothing: openrouter/qwen/qwen3-code:free");
    expect([played.server.requests.length, played.server.listings.length]).toEqual([0, 0]);
  });
});
