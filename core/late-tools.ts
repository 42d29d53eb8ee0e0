import { errorMessage } from "./errors.ts";
import { within } from "./hooks.ts";
import type { LateTools, ToolSource } from "./plugin.ts";
import { findToolFault, type Tool } from "./tool.ts";

interface Origin {
  plugin: string;
  late: LateTools;
  given: readonly Tool[];
  /** Names in the registry. */
  kept: string[];
}

interface LateDependencies {
  report(fault: { plugin: string; message: string }): void;
  /** ms that a plugin may take to list its tools. */
  limitMs: number;
}

/** The tools that come while the runtime runs join `tools`, where no name is ever taken away from another one. */
export function createLateTools(tools: Map<string, Tool>, { report, limitMs }: LateDependencies) {
  const origins: Origin[] = [];
  const told = new Set<string>();
  let version = 0;
  const tell = (plugin: string, message: string) => {
    if (!told.has(message)) report({ plugin, message });
    told.add(message);
  };
  const faultOf = (tool: Tool, { late }: Origin): string | undefined => {
    const fault = findToolFault(tool);
    if (fault !== undefined) return fault;
    if (!late.prefixes.some((prefix) => tool.name.startsWith(prefix)))
      return `the name of the tool "${tool.name}" begins with none of ${late.prefixes.join(", ")}.`;
    return tools.has(tool.name) ? `there is a tool "${tool.name}" already.` : undefined;
  };
  const take = async (origin: Origin): Promise<void> => {
    const given = await within(limitMs, Promise.resolve(origin.late.list())).catch((error: unknown) => {
      tell(origin.plugin, `its tools cannot be listed: ${errorMessage(error)}`);
      return origin.given;
    });
    if (given === origin.given) return;
    for (const name of origin.kept) tools.delete(name);
    [origin.given, origin.kept] = [given, []];
    for (const tool of given) {
      const fault = faultOf(tool, origin);
      if (fault !== undefined) tell(origin.plugin, fault);
      else {
        tools.set(tool.name, tool);
        origin.kept.push(tool.name);
      }
    }
    version++;
  };
  return {
    add: (plugin: string, late: LateTools) => void origins.push({ plugin, late, given: [], kept: [] }),
    /** Costs nothing where no plugin has any. */
    refresh: (): number | Promise<number> => (origins.length === 0 ? version : Promise.all(origins.map(take)).then(() => version)),
    mayCome: (name: string): boolean => origins.some(({ late }) => late.prefixes.some((prefix) => name.startsWith(prefix))),
    sources: (): ToolSource[] => origins.flatMap(({ late }) => late.sources?.() ?? []),
  };
}
