import { afterEach, beforeEach, expect, test } from "vitest";
import { builtins } from "../../../plugins/index.ts";
import { type MemoryKit, makeEnd, makeItem, openKit, reply } from "../../fixtures/memory-kit.ts";
import { startServer, type TestServer } from "../../fixtures/server.ts";

let server: TestServer;
const kits: MemoryKit[] = [];
beforeEach(async () => {
  server = await startServer(() => ({ text: reply("seen") }));
});
afterEach(async () => {
  for (const kit of kits.splice(0)) await kit.close();
  await server.close();
});

async function ask(options: object, item = makeItem(1)): Promise<MemoryKit> {
  const kit = await openKit({
    config: { provider: { openrouter: { options: { baseURL: server.url } } } },
    plugins: builtins.filter(({ name }) => name === "openrouter"),
  });
  kits.push(kit);
  const parts = await kit.open();
  parts.inbox.append(item);
  await kit.work(parts, options);
  return kit;
}

test("the provider alone means its default model, at temperature 0.3 and 4,096 tokens, with the key and names of the options", async () => {
  await ask({ provider: "openrouter", apiKey: "sk-or-of-the-memory", siteUrl: "https://mine.example", appName: "Mine" });
  const { body, headers } = server.requests[0]!;
  expect(body).toMatchObject({ model: expect.stringMatching(/^[\w.-]+\/[\w.:-]+$/), temperature: 0.3, max_tokens: 4096 });
  expect(headers).toMatchObject({ authorization: "Bearer sk-or-of-the-memory", "http-referer": "https://mine.example", "x-title": "Mine" });
});

test("the model of the options, its temperature and length, and a schema of the answer are sent", async () => {
  await ask({ model: "openrouter/vendor/model:free", apiKey: "sk-or-of-the-memory", temperature: 0.7, maxOutputTokens: 500 });
  expect(server.requests[0]?.body).toMatchObject({ model: "vendor/model:free", temperature: 0.7, max_tokens: 500, response_format: { type: "json_schema" } });
  expect(server.requests[0]?.body.tools).toBeUndefined();
});

test("a model is of the provider that stands beside it, whether or not its name says so", async () => {
  for (const model of ["vendor/model:free", "openrouter/vendor/model:free", ["vendor/model:free", "vendor/other"]])
    await ask({ provider: "openrouter", model, apiKey: "sk-or-of-the-memory" });
  expect(server.requests.map(({ body }) => body.model)).toEqual(Array(3).fill("vendor/model:free"));
  await ask({ provider: "openrouter", model: "a/small", summaryModel: "openrouter/a/large", apiKey: "sk-or-of-the-memory" }, makeEnd(1));
  expect(server.requests[3]?.body.model).toBe("a/large");
});

test("sessions are summed up by the model for summaries", async () => {
  await ask({ model: "openrouter/a/small", summaryModel: "openrouter/a/large", apiKey: "sk-or-of-the-memory" }, makeEnd(1));
  expect(server.requests[0]?.body.model).toBe("a/large");
});

test("the key of the options stands in no file of the memory", async () => {
  const kit = await ask({ provider: "openrouter", apiKey: "sk-or-of-the-memory" });
  const { execFileSync } = await import("node:child_process");
  const found = (() => {
    try {
      return execFileSync("grep", ["-rl", "sk-or-of-the-memory", kit.dataDir]).toString();
    } catch {
      return "";
    }
  })();
  expect(found).toBe("");
});
