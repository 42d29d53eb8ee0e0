import { afterEach, expect, test } from "vitest";
import { createFetch } from "../../core/http.ts";
import { createKnownModels } from "../../core/known-models.ts";
import { silentLog } from "../../core/log.ts";
import { fetchModelList } from "../../core/model-list.ts";
import { type Provider, provider } from "../../core/provider.ts";
import { type Reply, startServer, type TestServer } from "../fixtures/server.ts";

const open: TestServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

const LIMITS = { timeoutMs: 10_000, maxBytes: 1000, maxModels: 3 };
const KNOWN = { options: {}, services: { fetch: createFetch(), log: silentLog }, redact: (text: string) => text };
const never = new AbortController().signal;

/** The list of a server that answers `reply`, within `limits`. */
async function listOf(reply: unknown[] | Reply, limits: Partial<typeof LIMITS> = {}, models?: Provider["models"]) {
  const server = await startServer([], { models: reply });
  open.push(server);
  const listed = (baseURL: string): Provider["models"] => models ?? ((_options, { fetch }) => fetchModelList(baseURL, { provider: "p", fetch }));
  const known = provider({ id: "p", create: () => () => ({}) as never, models: listed(server.url)! });
  return { server, list: createKnownModels(known, { ...KNOWN, limits: { ...LIMITS, ...limits } }) };
}

test("a list that does not come in time is none, and its connection is given up", async () => {
  for (const reply of [{ raw: ["HANG"] }, { raw: ['{"data":[', "HANG"] }, { delayMs: 20_000, body: {} }] as Reply[]) {
    const { list, server } = await listOf(reply, { timeoutMs: 200 });
    expect(await list(never)).toBeUndefined();
    await expect.poll(() => server.listings[0]?.closed, { timeout: 30_000 }).toBe(true);
  }
});

test("a list that never comes from a provider which heeds no signal is none", async () => {
  const { list } = await listOf([], { timeoutMs: 50 }, () => new Promise(() => {}));
  expect(await list(never)).toBeUndefined();
});

test("a list that is too long is none, and of many models the first are taken", async () => {
  const ids = (count: number) => Array.from({ length: count }, (_, n) => ({ id: `m-${n}` }));
  expect(await (await listOf(ids(200))).list(never)).toBeUndefined();
  expect(await (await listOf(ids(5))).list(never)).toEqual(ids(3));
});

test("who has no list, or throws, has none", async () => {
  const { list } = await listOf([], {}, () => {
    throw new Error("no");
  });
  expect(await list(never)).toBeUndefined();
  const bare = provider({ id: "p", create: () => () => ({}) as never });
  expect(await createKnownModels(bare, KNOWN)(never)).toBeUndefined();
});

test("an abort ends the wait at once; whoever comes later asks anew", async () => {
  const { list, server } = await listOf({ delayMs: 20_000, body: { data: [] } }, { timeoutMs: 15_000 });
  const run = new AbortController();
  const asked = list(run.signal);
  await expect.poll(() => server.listings.length, { timeout: 30_000 }).toBe(1);
  run.abort();
  expect(await asked).toBeUndefined();
  expect(await list(run.signal)).toBeUndefined();
  const next = new AbortController();
  const again = list(next.signal);
  await expect.poll(() => server.listings.length, { timeout: 30_000 }).toBe(2);
  next.abort();
  expect(await again).toBeUndefined();
});
