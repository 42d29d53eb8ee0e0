import { expect, test } from "vitest";
import { createChannel } from "../../core/channel.ts";
import { EventSender } from "../../core/event-sender.ts";
import type { AgentEvent, EventFacts } from "../../core/events.ts";
import { createHookRunner } from "../../core/hooks.ts";

const delta = (text: string): EventFacts => ({ type: "text.delta", messageId: "m", partId: "p", delta: text });
const start = (step: number): EventFacts => ({ type: "step.start", step, messageId: "m" });

function world({ deltas = true }: { deltas?: boolean } = {}) {
  const observed: string[] = [];
  const on = { "text.delta": () => void observed.push("delta"), "step.start": () => void observed.push("step") };
  const channel = createChannel<AgentEvent>();
  const hooks = createHookRunner([{ plugin: "p", hooks: { on } }], () => {});
  const sender = new EventSender({ sessionId: "ses_1", channel, hooks, parent: undefined, deltas });
  const read = async () => {
    channel.close();
    const events = [];
    for await (const event of channel) events.push(event);
    await hooks.drain();
    return events.map((event) => (event.type === "step.start" ? event.step : event.type === "text.delta" ? event.delta : event.type));
  };
  const child = new EventSender({ sessionId: "ses_2", channel, hooks, parent: sender, deltas });
  return { sender, child, channel, observed, read };
}

test("an event gets its session and its time, that of a child its parent too", async () => {
  const { sender, child, channel } = world();
  sender.send(start(1));
  child.send(start(2));
  channel.close();
  const events = [];
  for await (const event of channel) events.push(event);
  expect(events).toMatchObject([
    { step: 1, sessionId: "ses_1", at: expect.any(Number) },
    { step: 2, sessionId: "ses_2", parentId: "ses_1" },
  ]);
  expect(events[0]).not.toHaveProperty("parentId");
});

test("a child's events do not overtake those of its parent that wait", async () => {
  const { sender, child, read } = world();
  let release = () => {};
  const ready = new Promise<void>((resolve) => (release = resolve));
  const sent = sender.sendAfter(ready, start(1));
  sender.send(start(2));
  child.send(start(3));
  release();
  await sent;
  expect(await read()).toEqual([1, 2, 3]);
});

test("deltas go to observers always, to the reader only where it wants them", async () => {
  const { sender, observed, read } = world({ deltas: false });
  sender.send(delta("a"));
  sender.send(start(1));
  expect(await read()).toEqual([1]);
  expect(observed).toEqual(["delta", "step"]);
});

test("what is sent while another event is held follows it", async () => {
  const { sender, read } = world();
  let release = () => {};
  const held = sender.sendAfter(new Promise((resolve) => (release = resolve)), start(1));
  sender.send(start(2));
  sender.send(delta("a"));
  release();
  await held;
  sender.send(start(3));
  expect(await read()).toEqual([1, 2, "a", 3]);
});

test("nothing is lost where what it waits for fails", async () => {
  const { sender, read } = world();
  const held = sender.sendAfter(Promise.reject(new Error("no disk")), start(1));
  sender.send(start(2));
  await held;
  expect(await read()).toEqual([1, 2]);
});

test("after the last event there is none", async () => {
  const { sender, observed, read } = world();
  sender.end(start(1));
  sender.send(start(2));
  expect(await read()).toEqual([1]);
  expect(observed).toEqual(["step"]);
});
