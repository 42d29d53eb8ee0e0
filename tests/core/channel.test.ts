import { expect, test } from "vitest";
import { createChannel } from "../../core/channel.ts";

const readAll = async <T>(channel: AsyncIterable<T>): Promise<T[]> => {
  const values = [];
  for await (const value of channel) values.push(value);
  return values;
};

test("what was sent before anyone reads is read all the same, in order", async () => {
  const channel = createChannel<number>();
  channel.send(1);
  channel.send(2);
  channel.close();
  expect(await readAll(channel)).toEqual([1, 2]);
});

test("a reader that waits gets what is sent later, and ends when the channel is closed", async () => {
  const channel = createChannel<number>();
  const read = readAll(channel);
  await Promise.resolve();
  channel.send(1);
  setImmediate(() => {
    channel.send(2);
    channel.close();
  });
  expect(await read).toEqual([1, 2]);
});

test("before anyone reads, the sender is not held back", () => {
  const channel = createChannel<number>();
  for (let value = 0; value < 5000; value++) channel.send(value);
  expect(channel.caughtUp()).toBeUndefined();
});

test("a reader that is far behind holds the sender back until it has caught up", async () => {
  const channel = createChannel<number>();
  const reader = channel[Symbol.asyncIterator]();
  channel.send(0);
  expect((await reader.next()).value).toBe(0);
  for (let value = 1; value <= 1001; value++) channel.send(value);
  let isHeld = true;
  const caughtUp = channel.caughtUp()?.then(() => (isHeld = false));
  expect(caughtUp).toBeDefined();
  await new Promise((resolve) => setImmediate(resolve));
  expect(isHeld).toBe(true);
  expect((await reader.next()).value).toBe(1);
  await caughtUp;
});

test("a reader that goes away lets the sender go on, and what is sent then is dropped", async () => {
  const channel = createChannel<number>();
  const reader = channel[Symbol.asyncIterator]();
  channel.send(0);
  await reader.next();
  for (let value = 0; value <= 1001; value++) channel.send(value);
  const held = channel.caughtUp();
  await reader.return?.();
  await held;
  channel.send(1);
  expect(channel.caughtUp()).toBeUndefined();
  channel.close();
});

test("whoever reads after the one reader finds nothing and is not left waiting", async () => {
  const channel = createChannel<number>();
  channel.send(1);
  channel.close();
  await readAll(channel);
  expect(await readAll(channel)).toEqual([]);
  const left = createChannel<number>();
  left.send(1);
  for await (const _ of left) break;
  expect(await readAll(left)).toEqual([]);
});
