import type { BigIntStats } from "node:fs";
import { type Tool, type ToolContext, tool, z } from "agent-runtime";
import { changeFiles } from "./change-files.ts";
import { diffText, type TextDiff } from "./diff-text.ts";
import { type Located, locate, permissionPattern, readWhole } from "./open-file.ts";
import { patchReplaces } from "./patch-models.ts";
import type { ReadRecord } from "./read-record.ts";
import { checkRegular, countLines, countOf, refused } from "./text-file.ts";

/** Above it no diff is made of what was overwritten. */
const COMPARED_BYTES = 1024 * 1024;

export const writeTool = (record: ReadRecord): Tool =>
  tool({
    name: "write",
    description: "Write a whole file, creating its directories. A file that exists must have been read first.",
    input: z.object({ filePath: z.string(), content: z.string() }),
    effect: "write",
    permission: "edit",
    offer: (request) => !patchReplaces(request),
    patterns: ({ filePath }, { cwd }) => [permissionPattern(filePath, cwd)],
    run: async ({ filePath, content }, context) => {
      const path = await context.paths.resolve(filePath, "write");
      return record.changing(path, async () => {
        const located = await locate(context, filePath, "write");
        checkOverwrite(record, context, located);
        const diff = await diffOf(context, located, content);
        const bytes = Buffer.from(content);
        record.remember(context.sessionId, located.path, await writeLocated(context, located, bytes));
        const existed = located.stats !== undefined;
        return {
          output: `${existed ? "Overwrote" : "Created"} ${located.shown} (${countOf(countLines(content), "line")}, ${countOf(bytes.length, "byte")}).`,
          title: located.shown,
          metadata: { filePath: located.shown, existed, ...diff },
        };
      });
    },
  });

function checkOverwrite(record: ReadRecord, context: ToolContext, { path, shown, stats }: Located): void {
  if (stats === undefined) return;
  checkRegular({ path, shown, stats });
  const knowledge = record.knowledge(context.sessionId, path, stats);
  if (knowledge === "current") return;
  const reason = knowledge === "unread" ? "it exists and was not read in this session." : "it changed since it was read.";
  throw refused(shown, reason, "Read it first, then write it, or change it with edit.");
}

/** Writes one file and returns what is there then. Throws EDIT_REFUSED. */
export async function writeLocated(context: ToolContext, { path, stats }: Located, content: Buffer): Promise<BigIntStats> {
  const [written] = await changeFiles(context, [{ path, existing: stats, content }]);
  return written!;
}

async function diffOf(context: ToolContext, located: Located, content: string): Promise<Partial<TextDiff>> {
  if (located.stats === undefined || located.stats.size > COMPARED_BYTES || content.length > COMPARED_BYTES) return {};
  const { bytes } = await readWhole(context, located);
  return (await diffText(located.shown, bytes.toString(), content)) ?? {};
}
