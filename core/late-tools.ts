import { errorMessage } from "./errors.ts";
import { within } from "./hooks.ts";
import type { LateTools, ToolSource } from "./plugin.ts";
import { findToolFault, type Tool } from "./tool.ts";

interface Origin {
  plugin: string;
  late: LateTools;
  given: readonly Tool[];
  /** Of them, those in the registry. */
  kept: Tool[];
}

interface LateDependencies {
  report(fault: { plugin: string; message: string }): void;
  /** ms that a plugin may take to list its tools. */
  limitMs: number;
}

/** The tools that come while the runtime runs join `tools`, where no name is ever taken away from another one. */
export class LateToolList {
  readonly #tools: Map<string, Tool>;
  readonly #dependencies: LateDependencies;
  readonly #origins: Origin[] = [];
  readonly #told = new Set<string>();
  #version = 0;

  constructor(tools: Map<string, Tool>, dependencies: LateDependencies) {
    [this.#tools, this.#dependencies] = [tools, dependencies];
  }

  add(plugin: string, late: LateTools): void {
    this.#origins.push({ plugin, late, given: [], kept: [] });
  }

  /** A number that is another one where the tools have changed. Costs nothing where no plugin has any. */
  refresh(): number | Promise<number> {
    if (this.#origins.length === 0) return this.#version;
    return Promise.all(this.#origins.map((origin) => this.#take(origin))).then(() => this.#version);
  }

  mayCome(name: string): boolean {
    return this.#origins.some(({ late }) => late.prefixes.some((prefix) => name.startsWith(prefix)));
  }

  sources(): ToolSource[] {
    return this.#origins.flatMap(({ late }) => late.sources?.() ?? []);
  }

  async #take(origin: Origin): Promise<void> {
    const listing = (async () => origin.late.list())();
    const given = await within(this.#dependencies.limitMs, listing).catch((error: unknown) => {
      this.#tell(origin.plugin, `its tools cannot be listed: ${errorMessage(error)}`);
      return origin.given;
    });
    if (given === origin.given) return;
    for (const tool of origin.kept) if (this.#tools.get(tool.name) === tool) this.#tools.delete(tool.name);
    [origin.given, origin.kept] = [given, []];
    for (const tool of given) {
      const fault = this.#faultOf(tool, origin.late);
      if (fault !== undefined) this.#tell(origin.plugin, fault);
      else {
        this.#tools.set(tool.name, tool);
        origin.kept.push(tool);
      }
    }
    this.#version++;
  }

  #faultOf(tool: Tool, { prefixes }: LateTools): string | undefined {
    const fault = findToolFault(tool);
    if (fault !== undefined) return fault;
    if (!prefixes.some((prefix) => tool.name.startsWith(prefix))) return `the name of the tool "${tool.name}" begins with none of ${prefixes.join(", ")}.`;
    return this.#tools.has(tool.name) ? `there is a tool "${tool.name}" already.` : undefined;
  }

  /** Once. */
  #tell(plugin: string, message: string): void {
    if (!this.#told.has(message)) this.#dependencies.report({ plugin, message });
    this.#told.add(message);
  }
}
