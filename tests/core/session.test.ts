import { spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sessionCommand } from "../../cli/commands/session.ts";
import { createId } from "../../core/id.ts";
import { type Entry, type Message, NO_TOKENS, textMessage } from "../../core/message.ts";
import { createMemorySessions, createSessions, type Session, type Sessions } from "../../core/session.ts";
import type { StoreFs } from "../../core/store.ts";
import { timeBeside } from "../fixtures/timing.ts";

type SessionEvent = { type: string; path: string; kept?: number; lost?: number; quarantine?: string };

let root: string;
let dir: string;
let events: SessionEvent[];
const opened: Sessions[] = [];

beforeEach(() => {
  root = fs.mkdtempSync(join(tmpdir(), "session-"));
  dir = join(root, "sessions");
  events = [];
});
afterEach(async () => {
  for (const sessions of opened.splice(0)) await sessions.close();
  fs.rmSync(root, { recursive: true, force: true });
});

function start(options: { now?: () => number; fs?: StoreFs } = {}): Sessions {
  const sessions = createSessions({ dir, on: (event) => events.push(event), ...options });
  opened.push(sessions);
  return sessions;
}

let count = 0;
const entry = (message: Message): Entry => ({ id: `msg_${count++}`, at: count, message });
const said = (text: string): Entry => entry(textMessage(text));
const answered = (text: string): Entry => ({ ...entry({ role: "assistant", content: [{ type: "text", text }] }), model: "demo/echo" });
const called = (...ids: string[]): Entry =>
  entry({ role: "assistant", content: ids.map((toolCallId) => ({ type: "tool-call", toolCallId, toolName: "read", input: {} })) });
const returned = (...ids: string[]): Entry =>
  entry({ role: "tool", content: ids.map((toolCallId) => ({ type: "tool-result", toolCallId, toolName: "read", output: { type: "text", value: "ok" } })) });

async function begin(sessions: Sessions, options: { cwd?: string; parentId?: string; title?: string } = {}, ...entries: Entry[]): Promise<Session> {
  const session = await sessions.create({ cwd: "/work", ...options });
  for (const each of entries.length > 0 ? entries : [said("Hello")]) session.append(each);
  await session.commit();
  return session;
}

const textsOf = (entries: readonly Entry[]) => entries.map(({ message }) => JSON.stringify(message.content).match(/"text":"([^"]*)"/)?.[1] ?? message.role);

test("ids of one moment sort in the order in which they were made, also when the clock goes back", () => {
  const random = (length: number) => new Uint8Array(length).fill(255).map((_, index) => (index === 0 ? 7 : 200));
  const ids = [5_000, 5_000, 5_000, 1_000, 9_000].map((now) => createId("msg", now + 4e12, random));
  expect([...ids].sort()).toEqual(ids);
  for (const id of ids) expect(id).toMatch(/^msg_[0-9a-f]{12}[0-9A-Za-z]{14}$/);
});

test("nothing is on disk before the first append, and all of it afterwards, only for its owner", async () => {
  const sessions = start();
  const session = await sessions.create({ cwd: "/work" });
  session.state.set("todos", [1]);
  session.count({ tokens: NO_TOKENS });
  await session.commit();
  expect(fs.existsSync(dir)).toBe(false);
  session.append(said("  First line\n  second line, which goes on and on and on and on "));
  expect(session.meta.title).toBe("First line second line, which goes on and on and o");
  expect(fs.statSync(join(dir, session.id)).mode & 0o777).toBe(0o700);
  await session.close();
  const again = await start().open(session.id);
  expect([again.entries().length, again.state.get("todos"), again.meta]).toEqual([1, [1], session.meta]);
});

test("a stray file where sessions lie is none", async () => {
  await begin(start());
  fs.writeFileSync(join(dir, "afile"), "x");
  for (const ask of [() => start().read("afile"), () => start().open("afile"), () => start().delete("afile")])
    await expect(ask()).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
  expect(await start().list()).toHaveLength(1);
});

test("a session goes on where it was: messages, bytes, links, meta and state", async () => {
  const sessions = start();
  const file = entry({
    role: "user",
    content: [
      { type: "file", mediaType: "image/png", data: new Uint8Array([1, 2, 255]) },
      { type: "file", mediaType: "image/png", data: new URL("https://example.test/a.png") },
    ],
  });
  const session = await begin(sessions, {}, said("One"), file, answered("Two"));
  session.count({ costUsd: 0.25, tokens: { ...NO_TOKENS, input: 3 } });
  session.count({ tokens: { ...NO_TOKENS, input: 4 } });
  session.state.set("a", { b: 1 });
  session.state.set("gone", 1);
  session.state.set("gone", undefined);
  await session.close();
  const again = await start().open(session.id);
  expect(again.meta).toMatchObject({ title: "One", cwd: "/work", steps: 2, costUsd: 0.25, tokens: { input: 7 } });
  expect([again.state.get("a"), again.state.get("gone")]).toEqual([{ b: 1 }, undefined]);
  expect(again.entries()[2]).toEqual(session.entries()[2]);
  expect(again.entries()[1]?.message.content).toEqual([
    { type: "file", mediaType: "image/png", data: "AQL/" },
    { type: "file", mediaType: "image/png", data: new URL("https://example.test/a.png") },
  ]);
});

test("messages that no record may hold are kept as well: too long, too deep, with names that reach a prototype", async () => {
  let deep: unknown = 1;
  for (let level = 0; level < 1000; level++) deep = { deep };
  const inputs = [deep, JSON.parse('{"__proto__":{"a":1},"constructor":2}'), { content: "\u0000ä😀".repeat(900_000) }];
  const messages = inputs.flatMap((input, index): Message[] => [
    { role: "assistant", content: [{ type: "tool-call", toolCallId: `c${index}`, toolName: "write", input }] },
    returned(`c${index}`).message,
  ]);
  const session = await begin(start(), {}, ...messages.map(entry));
  await session.close();
  const again = await start().open(session.id);
  expect(again.entries().map(({ message }) => JSON.stringify(message))).toEqual(messages.map((message) => JSON.stringify(message)));
  expect(events).toEqual([]);
});

test("appending costs the same however long the conversation is", async () => {
  const session = await begin(start(), {}, said("Hello"));
  const sizes = [];
  for (let index = 0; index < 300; index++) {
    const before = fs.statSync(join(dir, session.id, "journal.0")).size;
    session.append(said("x".repeat(20)));
    sizes.push(fs.statSync(join(dir, session.id, "journal.0")).size - before);
  }
  expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThan(40);
});

test("entries is one array that grows, until the conversation is replaced", async () => {
  const session = await begin(start(), {}, said("One"));
  const entries = session.entries();
  session.append(answered("Two"));
  expect(session.entries()).toBe(entries);
  expect(entries).toHaveLength(2);
  session.replace([said("Summary")]);
  expect([session.entries().length, entries.length]).toEqual([1, 2]);
});

test("after a compaction the replaced conversation is in force, with what was appended since; the old one stays in the log", async () => {
  const sessions = start();
  const [one, two, three] = [said("One"), answered("Two"), said("Three")];
  const session = await begin(sessions, {}, one, two, three);
  session.replace([said("Summary A"), three]);
  session.append(answered("Four"));
  session.replace([said("Summary B"), ...session.entries().slice(1)]);
  session.append(said("Five"));
  await session.close();
  const again = await start().open(session.id);
  expect(textsOf(again.entries())).toEqual(["Summary B", "Three", "Four", "Five"]);
  again.append(answered("Six"));
  await again.close();
  const { entries, log } = await start().read(session.id);
  expect(textsOf(entries)).toEqual(["Summary B", "Three", "Four", "Five", "Six"]);
  expect(textsOf(log())).toEqual(["One", "Two", "Three", "Summary A", "Four", "Summary B", "Five", "Six"]);
  expect(fs.readFileSync(join(dir, session.id, "journal.0"), "utf8")).toContain("Summary A");
});

test("a run that is killed keeps what it has appended, and its open calls are answered as interrupted, once", async () => {
  const writer = fileURLToPath(new URL("../fixtures/session-writer.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", writer, dir, "/work"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.includes("msg_one\n")) break;
  }
  const [id = "", ...acknowledged] = text.split("\n").slice(0, -1);
  await expect(start().open(id)).rejects.toMatchObject({ code: "SESSION_BUSY", data: { id, pid: child.pid } });
  expect((await start().read(id)).entries).toHaveLength(3);
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");

  const { value: session, ms, hopMs } = await timeBeside(() => start().open(id));
  expect(ms).toBeLessThan(1000 + 10 * hopMs);
  expect(
    session
      .entries()
      .slice(0, -1)
      .map((each) => each.id),
  ).toEqual(acknowledged);
  expect(session.entries().at(-1)?.message).toEqual({
    role: "tool",
    content: [
      {
        type: "tool-result",
        toolCallId: "two",
        toolName: "write",
        output: { type: "error-text", value: expect.stringContaining("Interrupted: the run ended before this call did.") },
      },
    ],
  });
  await session.close();
  expect((await start().open(id)).entries()).toHaveLength(4);
  expect(await start().newest("/work")).toBe(id);
});

test("a conversation that lost records to damage is still one that a provider accepts, and the loss is exact", async () => {
  const session = await begin(
    start(),
    {},
    said("One"),
    called("a", "b"),
    returned("a", "b"),
    answered("Two"),
    said("Three"),
    called("c"),
    returned("c"),
    answered("Four"),
  );
  await session.close();
  const path = join(dir, session.id, "journal.0");
  const lines = fs.readFileSync(path, "utf8").split("\n").filter(Boolean);
  // The results of the first calls and the second call itself are gone.
  fs.writeFileSync(path, lines.map((line, index) => `\n${index === 2 || index === 5 ? line.replace("ok", "oh").replace('"c"', '"d"') : line}\n`).join(""));
  const again = await start().open(session.id);
  expect(again.entries().map(({ message }) => message.role)).toEqual(["user", "assistant", "tool", "assistant", "user", "assistant"]);
  expect(again.entries()[2]?.message).toMatchObject({ content: [{ toolCallId: "a", output: { type: "error-text" } }, { toolCallId: "b" }] });
  expect(events).toEqual([{ type: "store.recovered", path, kept: 6, lost: 2, quarantine: expect.stringMatching(/journal\.0\.corrupt-[0-9a-f]{8}$/) }]);
});

test("a session that was cut between two records says how many are missing, because the index knows", async () => {
  const session = await begin(start(), {}, ...Array.from({ length: 10 }, (_, index) => said(`Message ${index}`)));
  await session.close();
  await opened.pop()?.close();
  const path = join(dir, session.id, "journal.0");
  const records = fs.readFileSync(path, "utf8").split("\n\n");
  fs.writeFileSync(path, `${records.slice(0, 4).join("\n\n")}\n`);
  const sessions = start();
  const again = await sessions.open(session.id);
  expect([again.entries().length, events]).toEqual([4, [{ type: "store.recovered", path: join(dir, session.id), kept: 4, lost: 6 }]]);
  await again.close();
  fs.writeFileSync(path, "");
  const empty = await sessions.open(session.id);
  expect([empty.entries().length, empty.meta.cwd, events[1]?.lost]).toEqual([0, "/work", 4]);
});

test("a session is open once: a second one learns by whom, and gets it after the first has closed", async () => {
  const first = await begin(start());
  await expect(start().open(first.id)).rejects.toMatchObject({ code: "SESSION_BUSY", exit: 7, data: { pid: process.pid } });
  const waiting = start().open(first.id);
  await first.close();
  expect((await waiting).id).toBe(first.id);
});

test("a fork has the conversation and the state, its own id and nothing spent; the original may be in use and stays as it is", async () => {
  const sessions = start();
  const original = await begin(sessions, {}, said("One"), called("a"));
  original.count({ costUsd: 1, tokens: NO_TOKENS });
  original.state.set("todos", ["x"]);
  await original.commit();
  const before = fs.readFileSync(join(dir, original.id, "journal.0"));
  const fork = await sessions.fork(original.id);
  expect(fork.meta).toMatchObject({ forkedFrom: original.id, title: "One", steps: 0, cwd: "/work" });
  expect(fork.entries().map(({ message }) => message.role)).toEqual(["user", "assistant", "tool"]);
  expect(fs.existsSync(join(dir, fork.id))).toBe(false);
  fork.append(said("Two"));
  await fork.close();
  const again = await sessions.open(fork.id);
  expect([again.entries().length, again.state.get("todos")]).toEqual([4, ["x"]]);
  expect(fs.readFileSync(join(dir, original.id, "journal.0"))).toEqual(before);
  expect(original.entries()).toHaveLength(2);
});

test("the newest session is the root one of that workspace that was worked in last, whatever the clock says", async () => {
  let now = 1_000_000;
  const sessions = start({ now: () => now });
  const first = await begin(sessions);
  now += 365 * 86_400_000;
  const second = await begin(sessions);
  now -= 366 * 86_400_000;
  await begin(sessions, { cwd: "/elsewhere" });
  await begin(sessions, { parentId: second.id });
  expect(await sessions.newest("/work")).toBe(second.id);
  first.append(said("Again"));
  await first.settle();
  expect(await start().newest("/work")).toBe(first.id);
  expect((await start().list()).map(({ id }) => id).slice(0, 1)).toEqual([first.id]);
  expect(await sessions.newest("/nowhere")).toBeUndefined();
});

test("listing reads the index alone, and finds by their directories the sessions that it lost", async () => {
  const sessions = start({ now: () => 5 });
  const ids = [];
  for (let index = 0; index < 3; index++) {
    const session = await begin(sessions, { title: `Session ${index}` });
    await session.close();
    ids.unshift(session.id);
  }
  await sessions.close();
  let reads = 0;
  const countRead = (fd: number) => {
    reads++;
    return fs.readFileSync(fd);
  };
  const counting = new Proxy(fs, { get: (target, name: keyof typeof fs) => (name === "readFileSync" ? countRead : target[name]) });
  expect((await start({ fs: counting as unknown as StoreFs }).list()).map(({ id }) => id)).toEqual(ids);
  expect(reads).toBeLessThanOrEqual(2);
  fs.rmSync(join(dir, "index"), { recursive: true });
  expect((await start().list()).map(({ id }) => id).sort()).toEqual([...ids].sort());
  fs.rmSync(join(dir, ids[0] as string), { recursive: true });
  expect((await start().list()).map(({ id }) => id).sort()).toEqual(ids.slice(1).sort());
});

test("deleting takes the children along; what is in use stays, all of it", async () => {
  const sessions = start();
  const parent = await begin(sessions);
  const child = await begin(sessions, { parentId: parent.id });
  const other = await begin(sessions);
  await parent.close();
  await expect(sessions.delete(parent.id)).rejects.toMatchObject({ code: "SESSION_BUSY", data: { id: child.id } });
  expect((await sessions.list()).length).toBe(3);
  await child.close();
  await sessions.delete(parent.id);
  expect((await sessions.list()).map(({ id }) => id)).toEqual([other.id]);
  expect(fs.readdirSync(dir).sort()).toEqual(["index", other.id].sort());
  await expect(sessions.open(parent.id)).rejects.toMatchObject({ code: "SESSION_NOT_FOUND", exit: 2 });
});

test.each(["ses_none", "../sessions", "index", "", "a/b", ".."])("there is no session %j", async (id) => {
  await begin(start());
  for (const action of [start().open(id), start().read(id), start().fork(id), start().delete(id)])
    await expect(action).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
});

test("a session can be given its id, once", async () => {
  const sessions = start();
  const id = "3f0c7e9e-0b0f-4f9e-9d4b-1f1f5a1c2d3e";
  const session = await sessions.create({ cwd: "/work", id });
  session.append(said("Hello"));
  await session.close();
  expect((await sessions.open(id)).id).toBe(id);
  await expect(sessions.create({ cwd: "/work", id })).rejects.toMatchObject({ code: "OPTION_INVALID" });
  await expect(sessions.create({ cwd: "/work", id: "../x" })).rejects.toMatchObject({ code: "OPTION_INVALID" });
});

test("a session of a newer version is refused and can still be locked by others afterwards", async () => {
  const session = await begin(start());
  await session.close();
  const path = join(dir, session.id, "journal.0");
  const { openStore } = await import("../../core/store.ts");
  const newer = await openStore<{ log: number }>({ dir: join(dir, session.id), version: 99, defaults: { log: {} } });
  newer.put("log", "x", 1);
  await newer.close();
  const before = fs.readFileSync(path);
  for (let attempt = 0; attempt < 2; attempt++) await expect(start().open(session.id)).rejects.toMatchObject({ code: "STORE_NEWER" });
  expect(fs.readFileSync(path)).toEqual(before);
  expect((await start().list()).map(({ id }) => id)).toEqual([session.id]);
});

test("a disk that is full costs neither the run nor, once there is room, the session", async () => {
  let isFull = false;
  const full = new Proxy(fs, {
    get(target, name: keyof typeof fs) {
      if (!isFull || (name !== "writeSync" && name !== "openSync")) return target[name];
      return () => {
        throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      };
    },
  }) as unknown as StoreFs;
  const session = await begin(start({ fs: full }), {}, said("One"));
  isFull = true;
  session.append(answered("Two"));
  session.append(said("Three"));
  await session.commit();
  expect([session.persisted, session.entries().length]).toEqual([false, 3]);
  expect(events.filter(({ path }) => path.endsWith(session.id))).toMatchObject([{ type: "store.degraded" }]);
  isFull = false;
  session.append(answered("Four"));
  expect(session.persisted).toBe(true);
  await session.close();
  expect(textsOf((await start().open(session.id)).entries())).toEqual(["One", "Two", "Three", "Four"]);
});

test("sessions in memory behave the same and leave nothing", async () => {
  const sessions = createMemorySessions();
  const first = await begin(sessions, {}, said("One"), called("a"));
  const child = await begin(sessions, { parentId: first.id });
  expect(await sessions.newest("/work")).toBe(first.id);
  await expect(sessions.open(first.id)).rejects.toMatchObject({ code: "SESSION_BUSY" });
  await first.close();
  await child.close();
  const again = await sessions.open(first.id);
  expect(again.entries().map(({ message }) => message.role)).toEqual(["user", "assistant", "tool"]);
  expect([again.persisted, again.meta.title]).toEqual([false, "One"]);
  const fork = await sessions.fork(first.id);
  expect([fork.meta.forkedFrom, fork.entries().length]).toEqual([first.id, 3]);
  await again.close();
  await sessions.delete(first.id);
  expect(await sessions.list()).toEqual([]);
  await expect(sessions.read(child.id)).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
});

async function run(sessions: Sessions, ...words: string[]): Promise<string> {
  let text = "";
  const code = await sessionCommand.run(words, { cwd: "/", sessions, write: (part) => (text += part), redact: (part) => part.replaceAll("SECRET", "***") });
  expect(code).toBe(0);
  return text;
}

test("the command lists, shows, exports and deletes sessions, with secrets and control characters taken out", async () => {
  const sessions = start();
  const session = await begin(sessions, {}, said("Find \u001b[31mSECRET"), called("a"), returned("a"), called("b"), answered("Done."));
  session.count({ costUsd: 0.5, tokens: NO_TOKENS });
  await session.close();
  const { id, createdAt, updatedAt } = session.meta;
  expect(JSON.parse(await run(sessions, "list", "--json"))).toEqual([
    { id, title: "Find \u001b[31m***", createdAt, updatedAt, cwd: "/work", steps: 1, cost: 0.5 },
  ]);
  const listed = await run(sessions);
  expect([listed.includes(id), listed.includes("SECRET"), listed.includes("\u001b")]).toEqual([true, false, false]);
  const shown = await run(sessions, "show", id);
  for (const part of ["Find [31m***", "[read {}]", "[result of read]\nok", "assistant (demo/echo)\nDone."]) expect(shown).toContain(part);
  const exported = JSON.parse(await run(sessions, "export", id));
  expect(exported).toMatchObject({
    info: { id, title: "Find \u001b[31m***", directory: "/work", time: { created: createdAt } },
    messages: [
      { info: { role: "user", sessionID: id }, parts: [{ type: "text", sessionID: id }] },
      { parts: [{ type: "tool", tool: "read", callID: "a", state: { status: "completed", input: {}, output: "ok" } }] },
      { parts: [{ type: "tool", callID: "b", state: { status: "pending" } }] },
      { info: { role: "assistant", providerID: "demo", modelID: "echo" }, parts: [{ type: "text", text: "Done." }] },
    ],
  });
  expect(await run(sessions, "delete", id)).toBe(`Deleted ${id}.\n`);
  await expect(run(sessions, "show", id)).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
  await expect(run(sessions, "show")).rejects.toMatchObject({ code: "OPTION_INVALID" });
  await expect(run(sessions, "shwo")).rejects.toMatchObject({ code: "OPTION_UNKNOWN" });
});
