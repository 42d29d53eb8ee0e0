import type { LazyPlugin } from "agent-runtime";
import { PRESETS } from "./openai-compatible/presets.ts";

/** The plugins that come with the package. Each is what a stranger could publish unchanged. */
export const builtins: LazyPlugin[] = [
  { name: "openrouter", provides: { providers: ["openrouter"] }, load: () => import("./openrouter/index.ts") },
  { name: "openai-compatible", provides: { providers: [...Object.keys(PRESETS), "*"] }, load: () => import("./openai-compatible/index.ts") },
  { name: "demo", provides: { providers: ["demo"] }, load: () => import("./demo/index.ts") },
  { name: "files", load: () => import("./files/index.ts") },
  { name: "bash", load: () => import("./bash/index.ts") },
  { name: "web", load: () => import("./web/index.ts") },
  { name: "batch", load: () => import("./batch/index.ts") },
  { name: "task", load: () => import("./task/index.ts") },
  { name: "question", load: () => import("./question/index.ts") },
  { name: "todo", load: () => import("./todo/index.ts") },
  {
    name: "mcp",
    provides: { commands: ["mcp"] },
    isNeeded: ({ mcp = {} }) => Object.values(mcp).some(({ enabled, command, url }) => enabled !== false && (command ?? url) !== undefined),
    load: () => import("./mcp/index.ts"),
  },
  { name: "permissions", load: () => import("./permissions/index.ts") },
  { name: "memory", off: true, directory: "memory", provides: { commands: ["memory"] }, load: () => import("./memory/index.ts") },
  { name: "compaction", load: () => import("./compaction/index.ts") },
];
