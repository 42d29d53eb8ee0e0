import { definePlugin, type ToolContext, tool, z } from "agent-runtime";

/** Where the list stands in the state of the session. */
const STATE_KEY = "todo";

const MAX_TODOS = 100;
const MAX_CHARACTERS = 1000;

const todo = z.object({
  content: z.string().refine((text) => text.length <= MAX_CHARACTERS, `give at most ${MAX_CHARACTERS} characters.`),
  status: z.enum(["pending", "in_progress", "completed", "cancelled"]),
  priority: z.enum(["high", "medium", "low"]),
  id: z.string().optional(),
});

type Todo = z.infer<typeof todo>;

const writeTodos = tool({
  name: "todowrite",
  description: "Replace the todo list of this session.",
  input: z.object({ todos: z.array(todo).refine((todos) => todos.length <= MAX_TODOS, `give at most ${MAX_TODOS} todos.`) }),
  effect: "read",
  run({ todos }, context) {
    context.state.set(STATE_KEY, todos);
    return describeTodos(todos);
  },
});

const readTodos = tool({
  name: "todoread",
  description: "Read the todo list of this session.",
  input: z.object({}),
  effect: "read",
  run: (_, context) => describeTodos(storedTodos(context)),
});

/** What an older or a foreign session holds there may be something else. */
function storedTodos({ state }: ToolContext): Todo[] {
  const stored = z.array(todo).safeParse(state.get(STATE_KEY));
  return stored.success ? stored.data : [];
}

function describeTodos(todos: Todo[]) {
  const open = todos.filter(({ status }) => status === "pending" || status === "in_progress").length;
  return { title: `${open} ${open === 1 ? "todo" : "todos"}`, output: JSON.stringify(todos, undefined, 2), metadata: { todos } };
}

/** A list of what is to be done that lives with the session. */
export default definePlugin({ name: "todo", options: z.strictObject({}), setup: () => ({ tools: [writeTodos, readTodos] }) });
