import { boot, call, say } from "agent-runtime/testing";
import { expect, test } from "vitest";
import { toJsonSchema } from "../../core/schema.ts";
import todo from "../../plugins/todo/index.ts";

const todos = [
  { content: "read", status: "completed", priority: "high" },
  { content: "write", status: "in_progress", priority: "medium", id: "7" },
  { content: "drop", status: "cancelled", priority: "low" },
];

test("the list is written, read again, and lives with the session", async () => {
  const agent = await boot({ plugins: [todo], script: [call("todowrite", { todos }), call("todoread"), say("ok"), call("todoread"), say("ok")] });
  try {
    const first = await agent.prompt("go");
    expect(first.toolOutputs.map((text) => JSON.parse(text))).toEqual([todos, todos]);
    const finish = first.events.find((event) => event.type === "tool.finish");
    expect(finish).toMatchObject({ state: { status: "completed", title: "1 todo", metadata: { todos } } });
    const second = await agent.prompt({ message: "again", session: first.result.sessionId });
    expect(JSON.parse(second.toolOutputs[0]!)).toEqual(todos);
  } finally {
    await agent.close();
  }
});

test("the list lives on in a session that is gone on with, and in a copy of it", async () => {
  const agent = await boot({ plugins: [todo], script: [call("todowrite", { todos }), say("ok"), call("todoread"), say("ok"), call("todoread"), say("ok")] });
  try {
    const { result } = await agent.prompt("go");
    const again = await agent.prompt("again", { continueNewest: true });
    const copy = await agent.prompt("in a copy", { continueNewest: true, fork: true });
    expect([again.result.sessionId === result.sessionId, copy.result.sessionId === result.sessionId]).toEqual([true, false]);
    expect([again, copy].map(({ toolOutputs }) => JSON.parse(toolOutputs[0]!))).toEqual([todos, todos]);
  } finally {
    await agent.close();
  }
});

const one = (more: object) => ({ content: "x", status: "pending", priority: "low", ...more });

test.each([
  [[one({ status: "done" })], 'todos.0.status: Invalid option: expected one of "pending"|"in_progress"|"completed"|"cancelled"'],
  [[one({ priority: "urgent" })], 'todos.0.priority: Invalid option: expected one of "high"|"medium"|"low"'],
  [[one({ content: "x".repeat(1001) })], "todos.0.content: give at most 1000 characters."],
  [Array(101).fill(one({})), "todos: give at most 100 todos."],
  ["all of it", "todos: Invalid input: expected array, received string"],
])("bad todos are refused with what is allowed", async (bad, reason) => {
  const agent = await boot({ plugins: [todo], script: [call("todowrite", { todos: bad }), say("ok")] });
  try {
    const { toolOutputs } = await agent.prompt("go");
    expect(toolOutputs).toEqual([`The input of todowrite is invalid: ${reason}\nCall it again with input that fits its schema.`]);
  } finally {
    await agent.close();
  }
});

test("a session without a list has an empty one", async () => {
  const agent = await boot({ plugins: [todo], script: [call("todoread"), say("ok")] });
  try {
    expect((await agent.prompt("go")).toolOutputs).toEqual(["[]"]);
  } finally {
    await agent.close();
  }
});

test("an unknown status is refused and the list stays as it is", async () => {
  const script = [call("todowrite", { todos: [{ content: "x", status: "done", priority: "high" }] }), call("todoread"), say("ok")];
  const agent = await boot({ plugins: [todo], script });
  try {
    const { toolOutputs } = await agent.prompt("go");
    expect(toolOutputs[0]).toMatch(/invalid.*status/s);
    expect(toolOutputs[1]).toBe("[]");
  } finally {
    await agent.close();
  }
});

test("the descriptions of the tools are short", async () => {
  const { tools } = await todo.setup({} as never);
  const sizes = await Promise.all(
    tools!.map(async (tool) => JSON.stringify({ name: tool.name, description: tool.description, parameters: await toJsonSchema(tool.input) }).length),
  );
  expect(sizes[0]).toBeLessThanOrEqual(450);
  expect(sizes[1]).toBeLessThanOrEqual(150);
});
