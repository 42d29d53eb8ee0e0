import { currentDirectory } from "agent-runtime/host";
import { type PluginCommandContext, runPluginCommand } from "../plugin-command.ts";

/** `agent memory …`: the plugin knows it all; it need not be switched on for runs. */
export const memoryCommand = {
  name: "memory",
  description: `Look into what the agent remembers of its sessions in this project, and take care of it. Each action takes --json,
and most take --project: another project by its id or the name of its folder, '*' for all of them. With --help each tells
all of its options: agent memory search --help`,
  usage: [
    "memory search QUERY... [--type T] [--concept C] [--file PATH] [--session ID] [--since WHEN] [--until WHEN] [--limit N]",
    "memory list [the same]",
    "memory show ID [--project ID] [--json]",
    "memory save TEXT... [--title TEXT] [--type T] [--file PATH]...",
    "memory edit ID [--title TEXT] [--narrative TEXT] [--fact TEXT]...",
    "memory forget [ID...] [--source SOURCE] [--session ID] [--match TEXT] [--dry-run]",
    "memory export [FILE] [--format json|markdown] [--force]",
    "memory import FILE [--skip-bad] [--untrusted] [--dry-run]",
    "memory queue",
    "memory work [--limit N] [--timeout SECONDS]",
    "memory retry [ID...]",
    "memory stats",
    "memory consolidate [--undo ID] [--dry-run]",
    "memory compact",
    "memory reindex",
  ],
  /** Its actions have a help of their own. */
  hasActions: true,
  run: (words: string[], context: PluginCommandContext): Promise<number> => runPluginCommand("memory", words, { ...context, cwd: currentDirectory() }),
};
