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
    expect(finish).toMatchObject({ state: { status: "completed", title: "2 todos", metadata: { todos } } });
    const second = await agent.prompt({ message: "again", session: first.result.sessionId });
    expect(JSON.parse(second.toolOutputs[0]!)).toEqual(todos);
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
