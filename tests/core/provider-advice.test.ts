import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { AgentError } from "../../core/errors.ts";
import { withAdvice } from "../../core/provider-advice.ts";
import { boot } from "../../core/testing/index.ts";
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
}

/** The hint of the error that a run ends with, when the server answers with `reply`. */
async function hintOf(reply: Reply, { model = "openrouter/vendor/m", options = {}, models, env = { OPENROUTER_API_KEY: KEY }, stored }: Case = {}) {
  const server = await startServer([reply]);
  ends.push(() => server.close());
  const dataDir = mkdtempSync(join(tmpdir(), "agent-advice-"));
  ends.push(() => rmSync(dataDir, { recursive: true, force: true }));
  mkdirSync(dataDir, { recursive: true });
  const [id = ""] = model.split("/");
  if (stored !== undefined) writeFileSync(join(dataDir, "auth.json"), JSON.stringify({ [id]: { type: "api", key: stored } }));
  const config = { model, retry: { maxRetries: 0 }, provider: { [id]: { options: { baseURL: server.url, ...options }, ...(models && { models }) } } };
  const agent = await boot({ plugins: [openrouter, openaiCompatible], config, env, dataDir });
  ends.push(() => agent.close());
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
  const facts = {
    provider: { id: "p", create: () => () => ({}) as never },
    modelId: "m",
    keySource: "P",
    unusedKeys: [],
    variable: "P",
    isKeyOff: false,
    authFile: "",
    configured: [],
  };
  for (const error of [new AgentError("REQUEST_INVALID"), new AgentError("RATE_LIMITED", { advice: "own" }), new AgentError("CONTENT_REFUSED")])
    expect(await withAdvice(error, facts)).toBe(error);
});
