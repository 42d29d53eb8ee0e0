import type { AgentProfile, Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import type { RuntimeOptions } from "./runtime.ts";
import type { Tool } from "./tool.ts";

export interface ToolChoice {
  options: Pick<RuntimeOptions, "tools" | "disableTools" | "readOnly">;
  config: Readonly<Config>;
  profile: AgentProfile | undefined;
  /** Names that a parent withholds from the child of a task. */
  withheld?: readonly string[];
  /** Profiles of the runs whose task this is: what they switch off stays off. */
  above?: readonly (AgentProfile | undefined)[];
}

/**
 * The tools of one prompt, in the order of their plugins. The command line is a ceiling: what it leaves out, nobody
 * brings back. Throws TOOL_UNAVAILABLE for a name that no plugin brings.
 */
export function selectTools(all: ReadonlyMap<string, Tool>, { options, config, profile, withheld = [], above = [] }: ToolChoice): Map<string, Tool> {
  for (const name of [...(options.tools ?? []), ...(options.disableTools ?? [])]) if (!all.has(name)) throw unknownTool(name, all);
  const isChosen = (tool: Tool): boolean => {
    if (options.tools !== undefined) return options.tools.includes(tool.name);
    return switchOf(tool.name, profile?.tools) ?? switchOf(tool.name, config.tools) ?? !tool.optional;
  };
  const isWithheld = (tool: Tool): boolean => withheld.includes(tool.name) || above.some((parent) => switchOf(tool.name, parent?.tools) === false);
  const isKept = (tool: Tool): boolean =>
    !options.disableTools?.includes(tool.name) && !isWithheld(tool) && !(options.readOnly && tool.effect !== "read" && tool.effect !== "net");
  return new Map([...all].filter(([, tool]) => isChosen(tool) && isKept(tool)));
}

/** The last entry of a `tools` map that fits the name; `*` stands for anything. */
function switchOf(name: string, switches: Record<string, boolean> | undefined): boolean | undefined {
  const fits = (pattern: string) =>
    new RegExp(
      `^${pattern
        .split("*")
        .map((text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&"))
        .join(".*")}$`,
    ).test(name);
  return Object.entries(switches ?? {}).findLast(([pattern]) => fits(pattern))?.[1];
}

function unknownTool(name: string, all: ReadonlyMap<string, Tool>): AgentError {
  return new AgentError("TOOL_UNAVAILABLE", { name, known: [...all.keys()].sort().join(", ") });
}
