import { AgentError, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { applyEdit, type Edit, type EditedText, EXACT } from "./apply-edit.ts";
import { diffText, shortenDiff, type TextDiff } from "./diff-text.ts";
import { locate, missingFile, permissionPattern } from "./open-file.ts";
import { patchReplaces } from "./patch-models.ts";
import type { ReadRecord } from "./read-record.ts";
import { checkRegular, countOf, encodingOf, readForEdit, refused } from "./text-file.ts";
import { writeLocated } from "./write.ts";

const input = z.object({ filePath: z.string(), oldString: z.string(), newString: z.string(), replaceAll: z.boolean().optional() });

/** UTF-8 has none: a replacement character would be written in its place. */
const LONE_SURROGATE = /\p{Surrogate}/u;

export const editTool = (record: ReadRecord): Tool =>
  tool({
    name: "edit",
    description:
      "Replace oldString, which must occur exactly once unless replaceAll, by newString. Copy it from read without line numbers. An empty oldString creates a file.",
    input,
    effect: "write",
    permission: "edit",
    offer: (request) => !patchReplaces(request),
    patterns: ({ filePath }, { cwd }) => [permissionPattern(filePath, cwd)],
    run: async ({ filePath, ...edit }, context) => describeEdit(await editFile(record, context, filePath, [edit])),
  });

export interface EditedFile {
  shown: string;
  isNew: boolean;
  before: string;
  after: string;
  /** One for each edit. */
  results: EditedText[];
}

/** Applies the edits one after the other and writes the file once, when all of them fit. Throws EDIT_REFUSED, which names the edit where there are several. */
export async function editFile(record: ReadRecord, context: ToolContext, filePath: string, edits: Edit[]): Promise<EditedFile> {
  const path = await context.paths.resolve(filePath, "write");
  return record.changing(path, async () => {
    const located = await locate(context, filePath, "write");
    const { shown } = located;
    checkRegular(located);
    if (located.stats === undefined && edits[0]?.oldString !== "") throw await missingFile(context, located.path);
    const { bytes, stats } = await readForEdit(record, context, located);
    const encoding = encodingOf(shown, bytes, edits.map(({ oldString, newString }) => oldString + newString).join(""));
    const before = bytes.toString(encoding);
    const results = await applyEdits(shown, before, edits);
    const after = results.at(-1)?.text ?? before;
    if (LONE_SURROGATE.test(after)) throw refused(shown, "it would hold half of a character (a lone surrogate).", "Give whole characters.");
    record.remember(context.sessionId, located.path, await writeLocated(context, { ...located, stats }, Buffer.from(after, encoding)));
    return { shown, isNew: stats === undefined, before, after, results };
  });
}

async function applyEdits(shown: string, before: string, edits: Edit[]): Promise<EditedText[]> {
  const results: EditedText[] = [];
  for (const [index, edit] of edits.entries()) {
    try {
      if (index > 0 && edit.oldString === "")
        throw refused(shown, "oldString is empty.", "Only the first edit of a file that does not exist may leave it empty.");
      results.push(await applyEdit(shown, results.at(-1)?.text ?? before, edit));
    } catch (error) {
      if (edits.length === 1 || !(error instanceof AgentError)) throw error;
      const { reason, advice } = error.data;
      throw refused(shown, `edit ${index + 1} of ${edits.length}: ${reason}`, String(advice));
    }
  }
  return results;
}

async function describeEdit(edited: EditedFile): Promise<ToolResult> {
  const { strategy, replacements } = edited.results[0]!;
  const { heading, diff } = await compareEdited(edited, countOf(replacements, "replacement"));
  const lines = [heading];
  if (strategy.name !== EXACT.name)
    lines.push(`oldString was not there exactly; found by ${strategy.name}, overlooking ${strategy.overlooks}. Check the diff.`);
  if (diff !== undefined) lines.push(shortenDiff(diff));
  return { output: lines.join("\n"), title: edited.shown, metadata: { filePath: edited.shown, ...diff, strategy: strategy.name, replacements } };
}

export async function compareEdited({ shown, isNew, before, after }: EditedFile, done: string): Promise<{ heading: string; diff: TextDiff | undefined }> {
  const diff = await diffText(shown, before, after);
  const counted = diff === undefined ? "" : ` (+${diff.additions} -${diff.deletions} lines)`;
  return { heading: `${isNew ? `Created ${shown}` : `Edited ${shown}: ${done}`}${counted}.`, diff };
}
