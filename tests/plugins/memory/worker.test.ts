import { afterEach, beforeEach, expect, test } from "vitest";
import { fail, type ScriptedTurn, say } from "../../../core/testing/script.ts";
import { FRESH, readAll } from "../../../plugins/memory/memory-parts.ts";
import { optionsSchema } from "../../../plugins/memory/options.ts";
import { type MemoryKit, makeEnd, makeItem, makeObservation, openKit, reply } from "../../fixtures/memory-kit.ts";

const kits: MemoryKit[] = [];
async function start(script: ScriptedTurn[] | ((request: unknown, index: number) => ScriptedTurn) = [], config = {}): Promise<MemoryKit> {
  const kit = await openKit({ script: script as never, config });
  kits.push(kit);
  return kit;
}
beforeEach(() => kits.splice(0));
afterEach(async () => {
  for (const kit of kits) await kit.close();
});

const model = { model: "scripted/model" };
const titlesIn = async (kit: MemoryKit) => [...(await readAll(await kit.open())).values()].map(({ title }) => title);
const queued = async (kit: MemoryKit) => (await kit.open()).inbox.items().map(({ id, state, attempts, reason }) => ({ id, state, attempts, reason }));
const textOf = (request: { prompt: readonly { role: string; content: unknown }[] }) => JSON.stringify(request.prompt);

test("items are worked off in their order; what comes of one carries its time, place and proven files, not those of the worker", async () => {
  const said = (index: number) =>
    say(JSON.stringify({ observations: [{ title: `t${index}`, narrative: "n", filesModified: ["src/claimed.ts"], filesRead: ["src/other.ts"] }] }));
  const kit = await start((_, index) => said(index));
  const parts = await kit.open();
  for (const number of [1, 2, 3]) parts.inbox.append(makeItem(number, { agent: "build", prompt: number }));
  const report = await kit.work(parts, model);
  expect(report).toMatchObject({ left: 0, stored: [{ title: "t0" }, { title: "t1" }, { title: "t2" }] });
  expect(report.stored[1]).toMatchObject({
    ...{ sessionId: "ses_1", callId: "call_2", prompt: 2, agent: "build", createdAt: 1_600_000_000_002, by: "scripted/model", trust: "trusted" },
    ...{ filesModified: [], filesRead: ["src/f2.ts", "src/other.ts"], source: { kind: "call", tool: "read", from: "src/f2.ts" } },
  });
  expect(await queued(kit)).toEqual([]);
});

test("a reply with several observations is several, one with none is done all the same, and the same words twice are one with both calls", async () => {
  const kit = await start([say(reply("a", "b")), say(reply()), say(reply("a"))]);
  const parts = await kit.open();
  for (const number of [1, 2, 3]) parts.inbox.append(makeItem(number));
  await kit.work(parts, model);
  const all = [...(await readAll(await kit.open())).values()];
  expect(all.map(({ title, callId, merged }) => [title, callId, merged?.map((each) => each.callId)])).toEqual([
    ["a", "call_1", ["call_3"]],
    ["b", "call_1", undefined],
  ]);
  expect([await queued(kit), (await kit.open()).inbox.spent()]).toMatchObject([[], { requests: 3, input: 300, output: 30, empty: 1 }]);
});

test("without model and provider nothing is asked", async () => {
  const kit = await start();
  const parts = await kit.open();
  for (let number = 0; number < 120; number++) parts.inbox.append(makeItem(number));
  const { stored, left } = await kit.work(parts);
  expect([stored.length, left, kit.requests.length, stored[0]?.by]).toEqual([120, 0, 0, "heuristic"]);
});

test("failures of providers do not count: the item stays as it is, the work ends, and the next time it is asked again", async () => {
  for (const error of [429, 500, 401, 402]) {
    const kit = await start([fail(error), say(reply("late"))]);
    const parts = await kit.open();
    parts.inbox.append(makeItem(1));
    parts.inbox.append(makeItem(2));
    const { failure, left } = await kit.work(parts, { model: "scripted/model" });
    expect([left, kit.requests.length]).toEqual([2, 1]);
    expect(failure).toMatch(/^[A-Z_]+: /);
    expect((await queued(kit)).map(({ state, attempts }) => [state, attempts])).toEqual([
      ["pending", 0],
      ["pending", 0],
    ]);
    expect((await kit.open()).inbox.health()).toMatchObject({ failures: 1, reason: failure });
  }
});

test("a model that gives no answer while there is time is told of after three times, too; an interrupt is no failure", async () => {
  const kit = await start([]);
  const parts = await kit.open();
  parts.inbox.append(makeItem(1));
  for (const name of ["AbortError", "TimeoutError", "TimeoutError", "TimeoutError"]) {
    const stop = new AbortController();
    const ask = () => {
      stop.abort(new DOMException("", name));
      return Promise.reject(stop.signal.reason);
    };
    await kit.work(parts, model, { context: { ...kit.context, ask }, signal: stop.signal });
  }
  expect(kit.reports).toEqual([expect.stringContaining("3 times in a row (no answer came while there was time). Nothing is lost: 1 pieces")]);
});

test("three failures in a row are told once, counted, and forgotten with the first success", async () => {
  const kit = await start([fail(500), fail(500), fail(500), fail(500), say(reply("at last"))]);
  const parts = await kit.open();
  parts.inbox.append(makeItem(1));
  for (let round = 0; round < 4; round++) await kit.work(parts, model);
  expect([kit.reports.length, parts.inbox.health()?.failures]).toEqual([1, 4]);
  expect(kit.reports[0]).toContain("3 times in a row");
  // Who has failed just now rests.
  await kit.work(parts, { model: "second/model" });
  expect([parts.inbox.health(), await titlesIn(kit)]).toEqual([undefined, ["at last"]]);
});

test("what no waiting mends is told at once, and loses nothing", async () => {
  const kit = await start([say(reply("a"))]);
  const parts = await kit.open();
  parts.inbox.append(makeItem(1));
  for (const wrong of [{ ...model, mode: "nope" }, { model: "acme" }, { model: "nobody/model" }]) {
    kit.reports.length = 0;
    parts.inbox.store.remove("health", "extraction");
    expect(await kit.work(parts, wrong)).toMatchObject({ stored: [], left: 1, failure: expect.any(String) });
    expect(kit.reports).toEqual([expect.stringMatching(/extraction has failed \(.*Nothing is lost: 1 pieces/)]);
  }
  expect((await kit.work(parts, model)).stored).toHaveLength(1);
});

test("unusable replies count; after maxAttempts the item is a dead letter with its reason, which is told, and the others go on", async () => {
  const kit = await start((request) => say(textOf(request as never).includes("content 1") ? "Sorry, I cannot do that." : reply("fine")));
  const parts = await kit.open();
  parts.inbox.append(makeItem(1, { trust: "untrusted" }));
  parts.inbox.append(makeItem(2));
  const { left } = await kit.work(parts, { ...model, maxAttempts: 2 });
  expect([left, await titlesIn(kit)]).toEqual([0, ["fine"]]);
  expect(await queued(kit)).toMatchObject([{ id: "ses_1/call_1", state: "dead", attempts: 2 }]);
  expect(kit.reports[0]).toContain("ses_1/call_1");
});

test("a reply that was cut is asked for again with less to read, and costs no attempt", async () => {
  const kit = await start([{ text: '{"observations":[{"title":"half', finish: "length" }, say(reply("whole"))]);
  const parts = await kit.open();
  parts.inbox.append(makeItem(1, { call: { ...makeItem(1).call!, output: "x".repeat(16_000) } }));
  const { stored } = await kit.work(parts, model);
  const lengths = kit.requests.map((request) => textOf(request).length);
  expect([stored.map(({ title }) => title), kit.requests.length, lengths[1]! < lengths[0]! * 0.7]).toEqual([["whole"], 2, true]);
});

test("on a fallback the item goes back to pending and the next provider gets the same messages, nothing twice", async () => {
  const states: string[] = [];
  const kit = await start((_, index) => (index === 2 ? fail(500) : say(reply(`t${index}`))));
  const parts = await kit.open();
  const { setState } = parts.inbox;
  parts.inbox.setState = (id, state) => {
    states.push(state.state);
    setState.call(parts.inbox, id, state);
  };
  for (const number of [1, 2, 3]) parts.inbox.append(makeItem(number));
  await kit.work(parts, { model: ["scripted/model", "second/model"] });
  expect(kit.requests[3]?.prompt).toEqual(kit.requests[2]?.prompt);
  expect(textOf(kit.requests[3] as never)).toContain("t0");
  expect(states).toEqual(["leased", "leased", "leased", "pending", "leased"]);
  expect(await titlesIn(kit)).toEqual(["t0", "t1", "t3"]);
});

test("a request that is refused stops nobody else: where the next one is taken it was the item, where not it was the provider", async () => {
  const kit = await start((request) => (textOf(request as never).includes("content 1") ? fail(400) : say(reply("fine"))));
  const parts = await kit.open();
  parts.inbox.append(makeItem(1, { trust: "untrusted" }));
  parts.inbox.append(makeItem(2));
  await kit.work(parts, { ...model, maxAttempts: 1 });
  expect([await titlesIn(kit), (await queued(kit)).map(({ state }) => state)]).toEqual([["fine"], ["dead"]]);
  const wrong = await start([fail(400)]);
  const others = await wrong.open();
  for (const number of [1, 2, 3]) others.inbox.append(makeItem(number));
  expect(await wrong.work(others, { ...model, maxAttempts: 1 })).toMatchObject({ left: 3, failure: expect.stringContaining("REQUEST_INVALID") });
  expect((await queued(wrong)).map(({ state, attempts }) => [state, attempts])).toEqual(Array(3).fill(["pending", 0]));
});

test("an abort ends it at once, and the item is pending", async () => {
  const aborting = new AbortController();
  const kit = await start(() => {
    aborting.abort();
    return fail(500);
  });
  const parts = await kit.open();
  parts.inbox.append(makeItem(1));
  const report = await kit.work(parts, model, { signal: aborting.signal });
  expect([report.failure, report.left, (await queued(kit))[0]?.state]).toEqual([undefined, 1, "pending"]);
  expect((await kit.open()).inbox.health()).toBeUndefined();
});

test("options are read anew for each item: a switch of the model takes effect at the next one, with all of the session's turns", async () => {
  const kit = await start((_, index) => say(reply(`t${index}`)));
  const parts = await kit.open();
  for (const number of [1, 2]) parts.inbox.append(makeItem(number));
  let asked = 0;
  const switching = { options: () => optionsSchema.parse({ model: asked++ === 0 ? "scripted/model" : "second/model" }) };
  const { stored } = await kit.work(parts, {}, switching);
  expect(stored.map(({ by }) => by)).toEqual(["scripted/model", "second/model"]);
  expect(textOf(kit.requests[1] as never)).toContain("t0");
});

test("what a dead worker had leased is pending again; where another one is at work this one leaves it", async () => {
  const kit = await start([say(reply("mine"))]);
  const parts = await kit.open();
  parts.inbox.append(makeItem(1));
  parts.inbox.setState("ses_1/call_1", { state: "leased", attempts: 1 });
  await parts.inbox.store.write();
  const lock = await kit.context.lock(`projects/${parts.project}/worker`);
  expect(await kit.work(parts, model)).toMatchObject({ stored: [], left: 1, busy: process.pid });
  if (!("busy" in lock)) lock.release();
  expect(await kit.work(parts, model)).toMatchObject({ left: 0, stored: [{ title: "mine" }] });
});

test("what was forgotten while a model was asked about it is not stored", async () => {
  const kit = await start([say(reply("secret"))]);
  const parts = await kit.open();
  const other = await kit.open();
  parts.inbox.append(makeItem(1));
  const forget = async () => {
    await other.refresh({ force: true });
    other.inbox.removeItem("ses_1/call_1");
    await other.inbox.store.write();
  };
  const context = {
    ...kit.context,
    ask: async (request: Parameters<typeof kit.context.ask>[0]) => {
      await other.change(forget);
      return kit.context.ask(request);
    },
  };
  expect(await kit.work(parts, model, { context })).toMatchObject({ stored: [], left: 0 });
  expect(await titlesIn(kit)).toEqual([]);
});

test("the summary of a later prompt takes the place of the one before, also when that one is in the archive", async () => {
  const kit = await start((_, index) =>
    say(JSON.stringify({ summary: { request: `asked ${index}`, investigated: "", learned: "", completed: `done ${index}`, next_steps: "", notes: "" } })),
  );
  const parts = await kit.open();
  for (const prompt of [1, 2]) {
    parts.inbox.append(makeEnd(prompt));
    await kit.work(parts, { ...model, summaryModel: "second/model" });
  }
  for (let number = 0; number < FRESH; number++) parts.inbox.store.put("observations", makeObservation(number).id, makeObservation(number));
  await kit.work(parts, model);
  parts.inbox.append(makeEnd(3));
  await kit.work(parts, { ...model, summaryModel: "second/model" });
  const summaries = [...(await readAll(await kit.open())).values()].filter(({ type }) => type === "summary");
  const [first, second, third] = summaries.sort((a, b) => a.prompt - b.prompt);
  expect(summaries.map(({ by }) => by)).toEqual(Array(3).fill("second/model"));
  expect([first?.supersededBy, second?.supersededBy, third?.supersededBy]).toEqual([second?.id, third?.id, undefined]);
});

test("the summary of a prompt stays beside the decisions that its answer tells of", async () => {
  const kit = await start([]);
  const parts = await kit.open();
  for (const [prompt, answer] of ["Mended the parser.", "I mended the store. We decided to use lowdb because it is small."].entries()) {
    parts.inbox.append(makeEnd(prompt + 1, { answer }));
    await kit.work(parts, {});
  }
  const current = [...(await readAll(parts)).values()].filter(({ supersededBy }) => supersededBy === undefined);
  expect(current.map(({ type, prompt }) => `${type} ${prompt}`).sort()).toEqual(["decision 2", "summary 2"]);
});

test("a summary of what strangers may have written leaves the one before in its place", async () => {
  const kit = await start((_, index) => say(JSON.stringify({ summary: { request: `asked ${index}`, completed: `done ${index}` } })));
  const parts = await kit.open();
  parts.inbox.append(makeEnd(1));
  parts.inbox.append(makeEnd(2, { trust: "untrusted" }));
  parts.inbox.append(makeEnd(3, { trust: "untrusted" }));
  const { stored } = await kit.work(parts, model);
  const summaries = await readAll(await kit.open());
  expect(stored.map(({ id }) => summaries.get(id)?.supersededBy)).toEqual([undefined, stored[2]?.id, undefined]);
});

test("from two hundred on fresh observations are filed into the archive", async () => {
  const kit = await start();
  const parts = await kit.open();
  for (let number = 0; number < FRESH + 30; number++) parts.inbox.append(makeItem(number));
  await kit.work(parts);
  const after = await kit.open();
  expect(Object.keys(after.inbox.store.all("observations")).length).toBeLessThan(FRESH);
  expect(await titlesIn(kit)).toHaveLength(FRESH + 30);
});
