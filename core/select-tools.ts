import type { AgentProfile, Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import type { RuntimeOptions } from "./runtime.ts";
import type { Effect, Tool } from "./tool.ts";

export interface ToolChoice {
  options: Pick<RuntimeOptions, "tools" | "disableTools" | "readOnly">;
  config: Readonly<Config>;
  profile: AgentProfile | undefined;
  /** Names that a parent withholds from the child of a task. */
  withheld?: readonly string[];
  /** Profiles of the runs whose task this is: what they switch off stays off. */
  above?: readonly (AgentProfile | undefined)[];
  /** Names that are not there yet, and are none to refuse. */
  mayCome?(name: string): boolean;
}

/**
 * The tools of one prompt, in the order of their plugins. The command line is a ceiling: what it leaves out, nobody
 * brings back. Throws TOOL_UNAVAILABLE for a name that no plugin brings.
 */
export function selectTools(
  all: ReadonlyMap<string, Tool>,
  { options, config, profile, withheld = [], above = [], mayCome = () => false }: ToolChoice,
): Map<string, Tool> {
  for (const name of [...(options.tools ?? []), ...(options.disableTools ?? [])])
    if (!all.has(name) && !name.includes("*") && !mayCome(name)) throw unknownTool(name, all);
  const named = (name: string): boolean | undefined =>
    options.tools === undefined ? (switchOf(name, profile?.tools) ?? switchOf(name, config.tools)) : isListed(name, options.tools);
  const commandLine = (name: string) => (isListed(name, options.disableTools) ? false : isListed(name, options.tools) || undefined);
  const task = (name: string) => (withheld.includes(name) ? false : undefined);
  const layers: Layer[] = [commandLine, named, task, ...above.map((parent) => (name: string) => switchOf(name, parent?.tools))];
  const isKept = (tool: Tool): boolean => !layers.some((layer) => isOffIn(layer, tool)) && !(options.readOnly && CHANGES.includes(tool.effect));
  const chosen = [...all.values()].filter((tool) => (named(tool.name) ?? !tool.optional) && isKept(tool));
  return new Map(chosen.map((tool) => [tool.name, named(tool.name) ? withoutOffer(tool) : tool]));
}

/** Whether somebody switches a tool on or off; undefined where nothing is said of it. */
type Layer = (name: string) => boolean | undefined;

/** Who switches off what a tool stands in for means that tool, too, unless it is named. */
function isOffIn(layer: Layer, { name, insteadOf = [] }: Tool): boolean {
  const own = layer(name);
  if (own !== undefined) return !own;
  return insteadOf.length > 0 && insteadOf.every((other) => layer(other) === false);
}

const CHANGES: readonly Effect[] = ["write", "run"];

/** What is named is there in every request. */
function withoutOffer(tool: Tool): Tool {
  const { offer, ...rest } = tool;
  return offer === undefined ? tool : rest;
}

/** The last entry of a `tools` map that fits the name. */
const switchOf = (name: string, switches: Record<string, boolean> | undefined): boolean | undefined =>
  Object.entries(switches ?? {}).findLast(([pattern]) => fits(name, pattern))?.[1];

const isListed = (name: string, patterns: readonly string[] = []): boolean => patterns.some((pattern) => fits(name, pattern));

/** `*` stands for anything. */
const fits = (name: string, pattern: string): boolean =>
  name === pattern ||
  new RegExp(
    `^${pattern
      .split("*")
      .map((text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&"))
      .join(".*")}$`,
  ).test(name);

function unknownTool(name: string, all: ReadonlyMap<string, Tool>): AgentError {
  return new AgentError("TOOL_UNAVAILABLE", { name, known: [...all.keys()].sort().join(", ") });
}
