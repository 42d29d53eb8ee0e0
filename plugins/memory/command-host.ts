import type { PluginCommand, PluginContext } from "agent-runtime";
import { cleaningOf } from "./cleaning.ts";
import type { CommandNeeds } from "./command-needs.ts";
import { mapTexts } from "./make-item.ts";
import type { MemoryOptions } from "./options.ts";
import { withoutPrivateIn } from "./private-text.ts";

type Given = Parameters<PluginCommand["run"]>[1];

/** `agent memory …`: what its actions need, bound to this workspace. */
export async function runMemoryCommand(words: string[], given: Given, context: () => PluginContext<MemoryOptions>): Promise<number> {
  const { runCommand } = await import("./command.ts");
  const { openWholeMemory } = await import("./whole-memory.ts");
  const opened = new Map<unknown, Awaited<ReturnType<typeof openWholeMemory>>>();
  const needs: CommandNeeds = {
    ...given,
    async open(project) {
      const memory = await openWholeMemory(context, project);
      opened.set(memory, memory);
      return memory;
    },
    projects: async () => (await import("./project.ts")).listProjects(await context().dataDir()),
    async work(memory, { limit, signal }) {
      const { work } = await import("./worker.ts");
      const whole = opened.get(memory);
      if (whole === undefined) throw new Error("a memory is worked on that was not opened here");
      const report = await work({ parts: whole.parts, context: context(), options: () => context().options, now: Date.now, signal, limit });
      await whole.tend(report.stored, signal);
      return report;
    },
    clean: (value) => mapTexts(withoutPrivateIn(value).value, cleaningOf(context).redact),
    now: Date.now,
  };
  return runCommand(words, needs);
}
