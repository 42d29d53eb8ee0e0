import { definePlugin, tool, z } from "agent-runtime";

const hello = tool({
  name: "hello",
  description: "Greet someone by name.",
  input: z.object({ name: z.string() }),
  run: ({ name }) => `Hello, ${name}!`,
});

export default definePlugin({ name: "hello", setup: () => ({ tools: [hello] }) });
