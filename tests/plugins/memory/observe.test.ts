import { boot, call, calls, say } from "agent-runtime/testing";
import { afterAll, describe, expect, test } from "vitest";
import { makePlace, readInbox, removePlaces, runPrompts, sources } from "../../fixtures/memory-place.ts";

afterAll(removePlaces);

describe("what happens becomes work", () => {
  test("a call and the end of its prompt, with all that their extraction needs", async () => {
    const place = await makePlace();
    const { session } = await runPrompts(place, ["note the port"], [call("note", { text: "listens on 8080" }), say("Noted.")]);
    const { items, sessions } = await readInbox(place);
    const facts = { sessionId: session, prompt: 1, request: "note the port", cwd: place.cwd, trust: "trusted", state: "pending", attempts: 0 };
    expect(items).toMatchObject([
      { ...facts, kind: "call", call: { tool: "note", effect: "run", patterns: ["listens on 8080"], status: "completed", output: "noted: listens on 8080" } },
      { ...facts, kind: "end", id: `${session}/#1`, answer: "Noted.", status: "success" },
    ]);
    expect(items[0]?.id).toBe(`${session}/${items[0]?.callId}`);
    expect(sessions[session]).toMatchObject({ prompts: 1, tainted: false, first: "note the port" });
  });

  test("prompts are numbered in a session, also when another process goes on with it", async () => {
    const place = await makePlace();
    const { session } = await runPrompts(place, ["one", "two"], [say("1"), say("2")]);
    await runPrompts(place, ["three"], [say("3")], { session });
    const { items } = await readInbox(place);
    expect(items.map(({ id, request }) => [id, request])).toEqual([
      [`${session}/#1`, "one"],
      [`${session}/#2`, "two"],
      [`${session}/#3`, "three"],
    ]);
  });

  test("the same prompt within ten seconds is no new one", async () => {
    const place = await makePlace();
    const { session } = await runPrompts(place, ["again", "again"], [say("1"), call("note", { text: "x" }), say("2")]);
    const { items } = await readInbox(place);
    expect(items.map(({ id, prompt }) => [id.replace(/call_.*/, "call"), prompt])).toEqual([
      [`${session}/#1`, 1],
      [`${session}/call`, 1],
    ]);
  });

  test("a task's calls are remembered with their own session, its end is not, and what it has read taints who gave it", async () => {
    const place = await makePlace();
    const script = [
      call("task", { description: "look", prompt: "look at the page" }),
      call("page"),
      say("A stranger says hello."),
      call("note", { text: "after" }),
      say("Done."),
    ];
    const { session } = await runPrompts(place, ["go"], script);
    const { items } = await readInbox(place);
    const child = items.find(({ call }) => call?.tool === "page");
    expect(child).toMatchObject({ request: "look at the page", trust: "untrusted" });
    expect(child?.sessionId).not.toBe(session);
    expect(items.map(({ kind, call, trust }) => [call?.tool ?? kind, trust])).toEqual([
      ["page", "untrusted"],
      ["task", "untrusted"],
      ["note", "trusted"],
      ["end", "untrusted"],
    ]);
  });

  test("a session that has read outside text stays so in another process", async () => {
    const place = await makePlace();
    const { session } = await runPrompts(place, ["read"], [call("page"), say("ok")]);
    await runPrompts(place, ["and now?"], [say("so")], { session });
    const { items, sessions } = await readInbox(place);
    expect(items.map(({ trust }) => trust)).toEqual(["untrusted", "untrusted", "untrusted"]);
    expect(sessions[session]?.tainted).toBe(true);
  });

  test("a session that nobody has watched so far may have read anything", async () => {
    const place = await makePlace();
    await using agent = await boot({ ...place, plugins: [sources], script: [say("ok")] });
    const { result } = await agent.prompt("go");
    await agent.runtime.close();
    await runPrompts(place, ["go on"], [say("ok")], { session: result.sessionId });
    expect((await readInbox(place)).items.map(({ trust }) => trust)).toEqual(["untrusted"]);
  });

  test("what is left out is counted by its reason", async () => {
    const place = await makePlace();
    await runPrompts(place, ["go"], [calls(["todoread", {}], ["list", {}], ["note", { text: "x" }]), say("ok")], { memory: { skipTools: ["no*"] } });
    const { items, skipped } = await readInbox(place);
    expect(items.map(({ kind }) => kind)).toEqual(["end"]);
    expect(skipped).toMatchObject({ tool: 2, option: 1 });
  });
});

describe("what is private", () => {
  const CANARY = "CANARY-7731-private";

  test("leaves nothing of a prompt that is private as a whole: no words, no calls, no answer", async () => {
    const place = await makePlace();
    await runPrompts(place, [`<private>note ${CANARY}</private>`], [call("note", { text: "secret plans" }), say(`Noted ${CANARY}.`)]);
    const { items, sessions, skipped } = await readInbox(place);
    expect([items, sessions, skipped]).toEqual([[], {}, { private: 2 }]);
  });

  test("is taken out of prompts, calls and answers, also where the model repeats it", async () => {
    const place = await makePlace();
    const { session } = await runPrompts(
      place,
      [`log in with <private>${CANARY}</private> please`],
      [call("note", { text: `use ${CANARY} now` }), say(`Used ${CANARY}.`)],
    );
    const { items } = await readInbox(place);
    expect(items).toHaveLength(2);
    expect(JSON.stringify(items)).not.toContain(CANARY);
    expect(items[0]?.request).toBe("log in with  please");
    expect(session).toMatch(/^ses_/);
  });

  test("is also what only its name or its randomness tells: passwords and keys of any make are in no piece of work", async () => {
    const place = await makePlace();
    const random = "w8FWC0y0MbtYrOvyZFCm2AmbuQjQRCUqlxMI5w87zmIM";
    const text = `DB_PASSWORD=hunter2xyz and ${random}`;
    await runPrompts(place, [`use ${text}`], [call("note", { text }), say(`Used ${text}.`)]);
    const { items } = await readInbox(place);
    expect(items.map(({ request, answer }) => [request, answer])).toEqual([
      ["use DB_PASSWORD=[redacted] and [redacted]", undefined],
      ["use DB_PASSWORD=[redacted] and [redacted]", "Used DB_PASSWORD=[redacted] and [redacted]."],
    ]);
    expect(JSON.stringify(items)).not.toMatch(/hunter2|w8FWC0y0/);
  });

  test("stays private where another process goes on with the session", async () => {
    const place = await makePlace();
    const { session } = await runPrompts(place, [`the code is <private>${CANARY}</private>, remember it`], [say("Yes.")]);
    await runPrompts(place, ["what was it?"], [call("note", { text: CANARY }), say(`It was ${CANARY}.`)], { session });
    const { items } = await readInbox(place);
    expect(items.length).toBeGreaterThan(2);
    expect(JSON.stringify(items)).not.toContain(CANARY);
  });
});
