import { definePlugin } from "agent-runtime";
import { Life } from "./life.ts";
import { optionsSchema } from "./options.ts";
import { memoryTools } from "./tools.ts";

/** What an agent did, kept for the sessions to come. Nothing is opened before something happens. */
export default definePlugin({
  name: "memory",
  options: optionsSchema,
  setup(context) {
    const life = context.lasting(() => new Life());
    life.enter(context);
    const { observe } = life;
    const { options } = context;
    return {
      hooks: {
        on: { "session.start": observe, prompt: observe, "tool.finish": observe, "session.finish": observe },
        system: (system, at) => life.system(system, at),
        messages: (messages, at) => life.messages(messages, at),
        ...(options.readNotes && { toolAfter: (result, call, at) => life.toolAfter(result, call, at) }),
      },
      tools: options.tools ? memoryTools(life) : [],
      commands: [
        {
          name: "memory",
          description: "Search, list, change, forget, export and import what the memory holds, and work off its queue.",
          run: async (words, given) => (await import("./command-host.ts")).runMemoryCommand(words, given, () => life.context),
        },
      ],
      finish: (signal) => life.finish(signal),
      dispose: () => life.leave(),
    };
  },
});
