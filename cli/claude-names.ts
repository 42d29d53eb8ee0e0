import type { Config } from "agent-runtime";

/** Claude Code's names of tools that exist here under another name; `undefined`: there is no such tool here. */
const NAMES: Record<string, string | undefined> = {
  LS: "list",
  NotebookEdit: undefined,
  NotebookRead: undefined,
  BashOutput: "bash_output",
  KillShell: "bash_kill",
  KillBash: "bash_kill",
  ExitPlanMode: undefined,
  SlashCommand: undefined,
  Skill: undefined,
  AskUserQuestion: "question",
  Agent: "task",
};

type PermissionMap = Exclude<NonNullable<Config["permission"]>, string>;

export interface ToolRules {
  tools: string[];
  permission: PermissionMap;
}

/**
 * `"Bash(git:*),Read"` as Claude Code writes it → names and rules as they are written here.
 * `allow`: the tools that are named, where a pattern stands only what it matches. `deny`: tools without a pattern are
 * in `tools`, to be switched off; those with one become rules.
 */
export function readClaudeTools(text: string, kind: "allow" | "deny"): ToolRules {
  const rules: ToolRules = { tools: [], permission: {} };
  for (const [, name = "", pattern] of text.matchAll(/([^\s,()]+)(?:\(([^)]*)\))?/g)) {
    const tool = Object.hasOwn(NAMES, name) ? NAMES[name] : name.startsWith("mcp__") ? readServerTool(name) : name.toLowerCase();
    if (tool === undefined) continue;
    if (pattern === undefined || kind === "allow") rules.tools.push(tool);
    if (pattern === undefined) continue;
    const before = rules.permission[tool];
    const patterns = typeof before === "object" ? before : kind === "allow" ? { "*": "deny" as const } : {};
    rules.permission[tool] = { ...patterns, [pattern.replace(/:\*$/, " *")]: kind };
  }
  return { ...rules, tools: [...new Set(rules.tools)] };
}

/** `mcp__server__tool` is `server__tool` here, and `mcp__server` all of them. */
const readServerTool = (name: string): string => {
  const own = name.slice("mcp__".length);
  return own.includes("__") ? own : `${own}__*`;
};
