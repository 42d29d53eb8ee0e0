import { definePlugin, tool, z } from "agent-runtime";
import { boot, call, say } from "agent-runtime/testing";
import { describe, expect, test } from "vitest";
import permissions from "../../plugins/permissions/index.ts";
import task from "../../plugins/task/index.ts";

const note = tool({ name: "note", description: "Take a note.", effect: "write", input: z.object({ text: z.string() }), run: ({ text }) => `noted ${text}` });
const notes = definePlugin({ name: "notes", setup: () => ({ tools: [note] }) });

test("each answer is told of whole, before its tools run", async () => {
  await using agent = await boot({ plugins: [notes], script: [call("note", { text: "a" }), say("Done.")] });
  const { events } = await agent.prompt("go");
  const told = events.flatMap((event) => (event.type === "message" ? [event] : []));
  expect(told).toMatchObject([
    { model: "scripted/model", reason: "tool-calls", message: { content: [{ type: "tool-call", toolName: "note", input: { text: "a" } }] } },
    { model: "scripted/model", reason: "stop", message: { content: [{ type: "text", text: "Done." }] } },
  ]);
  const types = events.map(({ type }) => type);
  expect(types.indexOf("message")).toBeLessThan(types.indexOf("tool.start"));
});

test("calls that came with the request are told of like the model's", async () => {
  await using agent = await boot({ plugins: [notes] });
  const { events } = await agent.prompt({ message: "go", tools: [{ name: "note", params: { text: "a" } }], noReply: true });
  expect(events.find(({ type }) => type === "message")).toMatchObject({ model: "", message: { content: [{ toolName: "note" }] } });
});

test("a child session names the call that started it", async () => {
  await using agent = await boot({ plugins: [task], script: [call("task", { description: "d", prompt: "look" }), say("seen"), say("ok")] });
  const { events } = await agent.prompt("go");
  const asked = events.find((event) => event.type === "tool.start");
  const started = events.find((event) => event.type === "session.start" && event.parentId !== undefined);
  expect(started).toMatchObject({ callId: (asked as { callId?: string }).callId });
});

test("words that come while a prompt runs join it before its next request, and stay in the session", async () => {
  const words: string[] = [];
  const input = z.object({ text: z.string() });
  const meanwhile = tool({
    name: "meanwhile",
    description: "Hears words.",
    effect: "read",
    input,
    run({ text }) {
      words.push(text);
      return "heard";
    },
  });
  const plugin = definePlugin({ name: "meanwhile", setup: () => ({ tools: [meanwhile] }) });
  await using agent = await boot({ plugins: [plugin], script: [call("meanwhile", { text: "rather left" }), say("Left."), say("Yes.")] });
  const { result } = await agent.prompt("go", { steer: () => words.splice(0) });
  expect(agent.requests[1]?.prompt.at(-1)).toMatchObject({ role: "user", content: [{ text: "rather left" }] });
  await agent.prompt({ message: "sure?", session: result.sessionId });
  expect(agent.requests[2]?.prompt.map(({ role }) => role)).toEqual(["system", "user", "assistant", "tool", "user", "assistant", "user"]);
});

describe("a prompt", () => {
  const script = () => [call("note", { text: "a" }), say("ok")];

  test("may have a permission mode of its own", async () => {
    await using agent = await boot({ plugins: [notes, permissions], script: [...script(), ...script()] });
    const plan = await agent.prompt("go", { permissionMode: "plan" });
    expect(plan.toolOutputs[0]).toContain("Denied");
    expect((await agent.prompt("go")).toolOutputs).toEqual(["noted a"]);
  });

  test("tells the model why a person rejected its call", async () => {
    const ask = async () => ({ reject: "Not on a Sunday." });
    await using agent = await boot({ plugins: [notes, permissions], script: script(), ask, config: { permissionMode: "ask" } });
    const { toolOutputs, events } = await agent.prompt("go");
    expect(toolOutputs).toEqual(["Denied: Not on a Sunday."]);
    expect(events.find(({ type }) => type === "tool.finish")).toMatchObject({ state: { code: "PERMISSION_DENIED" } });
  });
});
