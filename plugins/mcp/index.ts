import { definePlugin, type Tool, z } from "agent-runtime";
import { readServers } from "./configured.ts";
import type { ServerSet } from "./server-set.ts";

/** Tools of MCP servers. None is started or asked before a prompt wants to know which tools there are. */
export default definePlugin({
  name: "mcp",
  /** `only`: names of the servers that are used; all of them by default. */
  options: z.strictObject({ only: z.array(z.string()).optional() }),
  setup(context) {
    const { servers, faults } = readServers(context.config, context.options.only);
    let opening: Promise<ServerSet> | undefined;
    let opened: ServerSet | undefined;
    const open = async (): Promise<ServerSet> => {
      for (const fault of faults) context.report(fault);
      const { ServerSet } = await import("./server-set.ts");
      opened = new ServerSet(servers, context);
      return opened;
    };
    const list = async (): Promise<readonly Tool[]> => {
      opening ??= open();
      return (await opening).tools();
    };
    const waiting = servers.map(({ name, isEnabled }) => ({ name, status: isEnabled ? ("pending" as const) : ("disabled" as const) }));
    return {
      lateTools: { prefixes: servers.map(({ prefix }) => `${prefix}__`), list, sources: () => opened?.sources ?? waiting },
      commands: [
        {
          name: "mcp",
          description: "List the MCP servers of the configuration, or accept the tools of one as they are now.",
          run: async (words, { write, signal }) => (await import("./command.ts")).runCommand(words, { servers, context, write, signal }),
        },
      ],
      dispose: async () => (await opening)?.close(),
    };
  },
});
