import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { builtins } from "../../../plugins/index.ts";
import { readAll } from "../../../plugins/memory/memory-parts.ts";
import { makeItem, openKit, reply } from "../../fixtures/memory-kit.ts";
import { type Reply, startServer, type TestServer } from "../../fixtures/server.ts";

let dataDir: string;
const servers: TestServer[] = [];
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "memory-faults-"));
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const ITEMS = 20;
/** Which item a request asks about: the last one that it holds. */
const askedFor = (text: string): string => text.match(/content \d+/g)?.at(-1) ?? "?";

async function serve(answer: (n: number, item: string) => Reply): Promise<TestServer> {
  const server = await startServer((request, n) => answer(n, askedFor(request.text)));
  servers.push(server);
  return server;
}

const observing = (item: string): Reply => ({ text: reply(`about ${item}`) });
const script = fileURLToPath(new URL("../../fixtures/memory-worker.ts", import.meta.url));

/** How the process ended: its signal, or its exit code. */
async function runWorker(url: string, killAt: number, from = 0, to = 0): Promise<unknown> {
  const child = spawn(process.execPath, ["--conditions=source", "--import", "tsx", script, dataDir, url, String(killAt), String(from), String(to)], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code, signal] = await once(child, "close");
  return signal ?? code;
}

interface Outcome {
  titles: string[];
  waiting: number;
  dropped: number;
}

async function outcome(): Promise<Outcome> {
  const kit = await openKit({ dataDir });
  const parts = await kit.open();
  const titles = [...(await readAll(parts)).values()].map(({ title }) => title);
  const waiting = parts.inbox.items().length;
  // Every piece that was queued waits, or is acknowledged.
  const dropped = ITEMS - waiting - Object.keys(parts.inbox.store.all("done")).length;
  await kit.close();
  return { titles: titles.sort(), waiting, dropped };
}

const everything = { titles: Array.from({ length: ITEMS }, (_, number) => `about content ${number}`).sort(), waiting: 0, dropped: 0 };

async function fillQueue(): Promise<void> {
  const kit = await openKit({ dataDir });
  const parts = await kit.open();
  for (let number = 0; number < ITEMS; number++) parts.inbox.append(makeItem(number));
  await parts.inbox.close();
  await kit.close();
}

test("killed by SIGKILL at each step of its work on the disk, twenty items are twenty observations, none twice, none dropped", {
  timeout: 300_000,
}, async () => {
  const { url } = await serve((_, item) => observing(item));
  await fillQueue();
  const ends: unknown[] = [];
  // One piece of work is about a dozen steps: each of them, and then some that lie further on.
  for (let run = 1; ends.at(-1) !== 0; run++) ends.push(await runWorker(url, run <= 16 ? run : run * 3));
  expect(new Set(ends)).toEqual(new Set(["SIGKILL", 0]));
  expect(ends.length).toBeGreaterThan(15);
  expect(await outcome()).toEqual(everything);
});

test("killed while a model is asked, or just when it has answered: the same", { timeout: 300_000 }, async () => {
  await fillQueue();
  let child: ReturnType<typeof spawn> | undefined;
  const { url } = await serve((n, item) => {
    if (n % 7 === 3) child?.kill("SIGKILL");
    if (n % 7 === 5) setImmediate(() => child?.kill("SIGKILL"));
    return observing(item);
  });
  for (let ended: unknown; ended !== 0; ) {
    child = spawn(process.execPath, ["--conditions=source", "--import", "tsx", script, dataDir, url, "0"], { stdio: ["ignore", "inherit", "inherit"] });
    [ended] = await once(child, "close");
  }
  expect(await outcome()).toEqual(everything);
});

test("a disk that takes no more leaves the work in the queue, and it is done when there is room again", { timeout: 180_000 }, async () => {
  const { url } = await serve((_, item) => observing(item));
  await fillQueue();
  const worker = [process.execPath, "--conditions=source", "--import", "tsx", script, dataDir, url, "0"].map((word) => `'${word}'`).join(" ");
  const env = { ...process.env, TSX_DISABLE_CACHE: "1" };
  // No file may grow beyond 16 KB; the queue alone has some 12.
  const child = spawn("bash", ["-c", `ulimit -f 16; exec ${worker}`], { stdio: ["ignore", "ignore", "inherit"], env });
  expect((await once(child, "close"))[0]).toBe(3);
  const { titles, waiting } = await outcome();
  expect([titles.length + waiting, waiting > 0]).toEqual([ITEMS, true]);
  expect(await runWorker(url, 0)).toBe(0);
  expect(await outcome()).toEqual(everything);
});

test("two processes at work on one project lose nothing and ask nothing twice", { timeout: 300_000 }, async () => {
  const server = await serve((_, item) => observing(item));
  expect(await Promise.all([runWorker(server.url, 0, 0, 10), runWorker(server.url, 0, 10, 20)])).toEqual([0, 0]);
  expect(await outcome()).toEqual(everything);
  expect(server.requests.map(({ text }) => askedFor(text)).sort()).toEqual(Array.from({ length: ITEMS }, (_, number) => `content ${number}`).sort());
});

const faults: [string, Reply][] = [
  ["429", { status: 429, body: { error: { message: "slow down" } } }],
  ["500", { status: 500, body: { error: { message: "sorry" } } }],
  ["502", { status: 502, body: "<html>bad gateway</html>" }],
  ["503", { status: 503, body: { error: { message: "overloaded" } } }],
  ["a reset", { raw: ["DROP"] }],
  ["an answer that is cut", { raw: ['data: {"choices":[{"index":0,"delta":{"content":"{\\"obs"}}]}\n\n', "DROP"] }],
  ["a timeout", { raw: ["HANG"] }],
];

/** Silence is waited for where it is the fault that is tried, and nowhere else. */
const connect = (fault: Reply, provider: Record<string, string>) => {
  const limit = JSON.stringify(fault).includes("HANG") ? 1_000 : 60_000;
  return openKit({
    dataDir,
    config: {
      provider: Object.fromEntries(
        Object.entries(provider).map(([id, baseURL]) => [id, { options: { baseURL, apiKey: false, headerTimeout: limit, chunkTimeout: limit } }]),
      ),
    },
    plugins: builtins.filter(({ name }) => name === "openai-compatible"),
  });
};

test.each(faults)("%s from the fourth item on: the next provider has all of the conversation, and twenty are stored", async (_, fault) => {
  const first = await serve((n, item) => (n < 4 ? observing(item) : fault));
  const second = await serve((_, item) => observing(item));
  await fillQueue();
  const kit = await connect(fault, { first: first.url, other: second.url });
  const parts = await kit.open();
  expect(await kit.work(parts, { model: ["first/m", "other/m"] })).toMatchObject({ left: 0 });
  const broken = first.requests[4]?.body.messages;
  expect(second.requests[0]?.body.messages).toEqual(broken);
  expect(JSON.stringify(broken)).toContain("about content 3");
  await kit.close();
  expect(await outcome()).toEqual(everything);
});

test.each(faults)("%s now and then, with nobody else to ask: the work waits and is done later", async (_, fault) => {
  const { url, requests } = await serve((n, item) => (n % 6 === 5 ? fault : observing(item)));
  await fillQueue();
  let [rounds, left] = [0, ITEMS];
  while (left > 0) {
    const kit = await connect(fault, { only: url });
    left = (await kit.work(await kit.open(), { model: "only/m" })).left;
    await kit.close();
    // As if what a provider that failed has to rest had passed.
    rmSync(join(dataDir, "routes"), { recursive: true, force: true });
    rounds++;
  }
  expect([rounds, requests.length]).toEqual([4, 23]);
  expect(await outcome()).toEqual(everything);
});
