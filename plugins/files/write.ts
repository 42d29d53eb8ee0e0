import { AgentError, type Tool, type ToolContext, tool, z } from "agent-runtime";
import { diffText, type TextDiff } from "./diff-text.ts";
import { type Located, locate, permissionPattern, readWhole } from "./open-file.ts";
import type { ReadRecord } from "./read-record.ts";
import { writeFileAtomically } from "./write-file.ts";

/** Above it no diff is made of what was overwritten. */
const COMPARED_BYTES = 1024 * 1024;

export const writeTool = (record: ReadRecord): Tool =>
  tool({
    name: "write",
    description: "Write a whole file, creating its directories. A file that exists must have been read first.",
    input: z.object({ filePath: z.string(), content: z.string() }),
    effect: "write",
    permission: "edit",
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
        const lines = countLines(content);
        return {
          output: `${existed ? "Overwrote" : "Created"} ${located.shown} (${lines} ${lines === 1 ? "line" : "lines"}, ${bytes.length} bytes).`,
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
  throw new AgentError("EDIT_REFUSED", { path: shown, reason, advice: "Read it first, then write it, or change it with edit." });
}

/** Throws EDIT_REFUSED for what is no file. */
export function checkRegular({ shown, stats }: Located): void {
  if (stats === undefined || stats.isFile()) return;
  const reason = stats.isDirectory() ? "it is a directory." : "it is not a regular file.";
  throw new AgentError("EDIT_REFUSED", { path: shown, reason, advice: "Give the path of a file." });
}

/** Writes what the model may write; a refusal of the system becomes EDIT_REFUSED. */
export async function writeLocated({ paths, snapshot }: ToolContext, { path, shown, stats }: Located, content: Buffer): ReturnType<typeof writeFileAtomically> {
  try {
    await snapshot(path);
    return await writeFileAtomically({ paths, path, content, existing: stats });
  } catch (error) {
    if (error instanceof AgentError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    const reason = {
      EACCES: "permission denied.",
      EROFS: "the file system is read-only.",
      ENOSPC: "the disk is full.",
      ENOTDIR: "a parent of it is a file.",
      ENAMETOOLONG: "the name is too long.",
    }[code];
    throw new AgentError("EDIT_REFUSED", { path: shown, reason: reason ?? `${code}.` }, { cause: error });
  }
}

async function diffOf(context: ToolContext, located: Located, content: string): Promise<Partial<TextDiff>> {
  if (located.stats === undefined || located.stats.size > COMPARED_BYTES || content.length > COMPARED_BYTES) return {};
  const { bytes } = await readWhole(context, located);
  return (await diffText(located.shown, bytes.toString(), content)) ?? {};
}

const countLines = (text: string): number => text.split("\n").length - (text.endsWith("\n") || text === "" ? 1 : 0);
