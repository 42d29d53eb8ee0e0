// All three kinds of hook: observe what was run, transform what is sent, decide what may run.
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { definePlugin, z } from "agent-runtime";

export default definePlugin({
  name: "guard",
  options: z.object({ forbidden: z.array(z.string()).default(["deploy"]) }),
  setup: ({ options, dataDir }) => ({
    hooks: {
      on: { "tool.finish": async ({ tool, state }) => appendFile(join(await dataDir(), "calls.log"), `${tool} ${state.status}\n`) },
      system: (system) => `${system}\n\nAnswer in one sentence.`,
      permission: ({ patterns }) => {
        const word = options.forbidden.find((forbidden) => patterns.some((pattern) => pattern.includes(forbidden)));
        return word === undefined ? undefined : { decision: "deny", reason: `"${word}" is not for agents here. Ask a person to do it.` };
      },
    },
  }),
});
