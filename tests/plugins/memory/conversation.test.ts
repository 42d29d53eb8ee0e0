import { afterEach, beforeEach, expect, test } from "vitest";
import { say } from "../../../core/testing/script.ts";
import { type MemoryKit, makeItem, openKit, reply } from "../../fixtures/memory-kit.ts";

let kit: MemoryKit;
beforeEach(async () => {
  kit = await openKit({ script: (_, index) => say(reply(`t${index}`)) });
});
afterEach(() => kit.close());

const model = { model: "scripted/model" };

/** What the model was told, request by request: role and text of each message. */
const told = () =>
  kit.requests.map(({ prompt }) =>
    prompt
      .filter(({ role }) => role !== "system")
      .map(({ role, content }) => ({ role, text: (content as { text: string }[]).map(({ text }) => text).join("") })),
  );
const turnsIn = async () => Object.keys((await kit.open()).inbox.store.all("turns"));

async function run(from: number, to: number, options: object = model): Promise<void> {
  const parts = await kit.open();
  for (let number = from; number < to; number++) parts.inbox.append(makeItem(number));
  await kit.work(parts, options);
  await parts.inbox.close();
}

test("each request has every turn before it, once, on the same prefix, and roles take turns; also across processes", async () => {
  await run(0, 3);
  await run(3, 5);
  const requests = told();
  for (const [index, messages] of requests.entries()) {
    expect(messages.map(({ role }) => role)).toEqual(Array.from({ length: 3 + 2 * index }, (_, at) => (at % 2 === 0 ? "user" : "assistant")));
    const before = requests[index - 1];
    if (before !== undefined) expect(messages.slice(0, before.length)).toEqual(before);
    for (let number = 0; number < index; number++) expect(messages.filter(({ text }) => text.includes(`"t${number}"`))).toHaveLength(1);
  }
  expect(requests[0]?.[0]?.text).toContain("mend the parser");
});

test("a full window is cut to half with the first prompt pinned, told once for each cut, and what fell out is in the store no more", async () => {
  await run(0, 30, { ...model, maxContextMessages: 12 });
  const requests = told();
  expect(Math.max(...requests.map((messages) => messages.length))).toBeLessThanOrEqual(12);
  for (const messages of requests) expect([messages[0], messages.at(-1)?.role]).toEqual([requests[0]?.[0], "user"]);
  const cuts = requests.filter((messages, index) => messages.length < (requests[index - 1]?.length ?? 0)).length;
  // Between two cuts the prefix is the same.
  expect([cuts, kit.warnings.length]).toEqual([7, 7]);
  expect(kit.warnings[0]).toMatchObject({ data: { original: 13, kept: 5, dropped: 8, limit: 100_000 } });
  expect((await turnsIn()).length).toBeLessThanOrEqual(5);
});

test("the window of tokens counts four characters as one, and an item alone that is too long is shown shorter, never left out", async () => {
  const long = (number: number) => makeItem(number, { call: { ...makeItem(number).call!, output: `begin${number} ${"x".repeat(15_000)}` } });
  const parts = await kit.open();
  for (let number = 0; number < 6; number++) parts.inbox.append(long(number));
  await kit.work(parts, { ...model, maxTokens: 12_000 });
  const sizes = kit.requests.map(({ prompt }) =>
    prompt.reduce(
      (sum, { content }) =>
        sum + Math.ceil((typeof content === "string" ? content : content.map((part) => ("text" in part ? part.text : "")).join("")).length / 4),
      0,
    ),
  );
  expect(Math.max(...sizes)).toBeLessThanOrEqual(12_000);
  parts.inbox.append(long(9));
  await kit.work(parts, { ...model, maxTokens: 3_500 });
  expect(told().at(-1)?.at(-1)?.text).toContain("begin9");
  expect(told().at(-1)?.at(-1)?.text).toContain("characters left out");
});

test("tokens sent grow with the number of observations, not with its square", async () => {
  await run(0, 40);
  const sizes = told().map((messages) => messages.reduce((sum, { text }) => sum + text.length, 0));
  const sum = (list: number[]) => list.reduce((all, each) => all + each, 0);
  expect(sum(sizes.slice(20)) / sum(sizes.slice(0, 20))).toBeLessThan(1.6);
});

test("what strangers may have written is asked about alone, and is in no later request", async () => {
  const parts = await kit.open();
  parts.inbox.append(makeItem(0));
  parts.inbox.append(makeItem(1, { trust: "untrusted" }));
  parts.inbox.append(makeItem(2));
  await kit.work(parts, model);
  const [first, alone, last] = told();
  expect([first?.length, alone?.length, last?.length]).toEqual([3, 3, 5]);
  expect(JSON.stringify(alone)).not.toContain("content 0");
  expect(JSON.stringify(last)).not.toContain("content 1");
});

test("the conversation of a session begins the same, whatever becomes of its record", async () => {
  await run(0, 1);
  const parts = await kit.open();
  parts.inbox.putSession("ses_1", { first: "another", prompts: 2, tainted: false, at: 5 });
  await run(1, 2);
  expect(told()[1]?.[0]).toEqual(told()[0]?.[0]);
});

test("a window too small for the beginning is one message with everything in it", async () => {
  await run(0, 2, { ...model, maxContextMessages: 2 });
  expect(told().map((messages) => messages.length)).toEqual([1, 1]);
  expect(told()[1]?.[0]?.text).toMatch(/mend the parser[\s\S]*content 1/);
});
