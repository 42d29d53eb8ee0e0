import { definePlugin, z } from "agent-runtime";
import { createBackground } from "./background.ts";
import { createBash } from "./bash.ts";
import { createBashKill, createBashOutput } from "./look.ts";

export default definePlugin({
  name: "bash",
  /** `env`: names, or `PREFIX_*`, that commands get beside the allow-listed environment. */
  options: z.strictObject({ env: z.array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*\*?$/, "Write a variable's NAME or PREFIX_*.")).optional() }),
  setup({ options, lasting }) {
    const background = () => lasting(createBackground);
    return {
      tools: [createBash(options.env ?? [], background), createBashOutput(background), createBashKill(background)],
      hooks: {
        on: {
          // A task's commands end with it.
          "session.finish": ({ sessionId, parentId }) => {
            if (parentId !== undefined) background().close(sessionId);
          },
        },
      },
    };
  },
});
