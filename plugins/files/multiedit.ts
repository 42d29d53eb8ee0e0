import { type Tool, type ToolResult, tool, z } from "agent-runtime";
import { type EditedText, EXACT } from "./apply-edit.ts";
import { shortenDiff } from "./diff-text.ts";
import { compareEdited, type EditedFile, editFile } from "./edit.ts";
import { permissionPattern } from "./open-file.ts";
import type { ReadRecord } from "./read-record.ts";
import { countOf } from "./text-file.ts";

const EDITS = 100;

const edit = z.object({ oldString: z.string(), newString: z.string(), replaceAll: z.boolean().optional() });

export const multieditTool = (record: ReadRecord): Tool =>
  tool({
    name: "multiedit",
    description: `Several edits of one file, applied in order, each to the result of the one before: all of them or none. At most ${EDITS}.`,
    input: z.object({ filePath: z.string(), edits: z.array(edit).min(1).max(EDITS) }),
    effect: "write",
    permission: "edit",
    optional: true,
    insteadOf: ["edit"],
    patterns: ({ filePath }, { cwd }) => [permissionPattern(filePath, cwd)],
    run: async ({ filePath, edits }, context) => describeEdits(await editFile(record, context, filePath, edits)),
  });

async function describeEdits(edited: EditedFile): Promise<ToolResult> {
  const { shown, results } = edited;
  const { heading, diff } = await compareEdited(edited, countOf(results.length, "edit"));
  const lines = [heading, ...results.map(describeResult)];
  if (results.some(({ strategy }) => strategy.name !== EXACT.name)) lines.push("Not every oldString was there exactly. Check the diff.");
  if (diff !== undefined) lines.push(shortenDiff(diff));
  const edits = results.map(({ strategy, replacements }) => ({ strategy: strategy.name, replacements }));
  return { output: lines.join("\n"), title: shown, metadata: { filePath: shown, ...diff, edits } };
}

function describeResult({ strategy, replacements }: EditedText, index: number): string {
  const how = strategy.name === EXACT.name ? strategy.name : `found by ${strategy.name}, overlooking ${strategy.overlooks}`;
  return `${index + 1}. ${countOf(replacements, "replacement")}, ${how}`;
}
