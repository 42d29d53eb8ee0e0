import { isAbsolute, join } from "node:path";
import { AgentError, type ToolContext, tool, z } from "agent-runtime";
import { createFoundFiles } from "./found-files.ts";
import { planGlob } from "./glob-pattern.ts";
import { checkReadable, type Located, locate, missingFile, permissionPattern } from "./open-file.ts";
import { COUNTED_FILES, listFiles, refusedPattern, sayHidden, TIMEOUT_MS } from "./ripgrep.ts";

const SHOWN_FILES = 100;

const startOf = (path: string | undefined, pattern: string): string => {
  const { directory } = planGlob(pattern);
  return isAbsolute(directory) ? directory : join(path || ".", directory);
};

export const globTool = tool({
  name: "glob",
  description: "Find files by name pattern, such as src/**/*.{ts,tsx}; newest first, at most 100. A pattern without / matches in every directory.",
  input: z.object({ pattern: z.string(), path: z.string().describe("directory").optional() }),
  effect: "read",
  patterns: ({ pattern, path }, { cwd }) => [permissionPattern(startOf(path, pattern), cwd)],
  run: async ({ pattern, path }, context) => {
    if (pattern === "") throw refusedPattern(pattern, "it is empty.");
    if (path) await findDirectory(context, path);
    const { files, isPartial, hidden } = await findFiles(context, pattern, path);
    const shown = files.slice(0, SHOWN_FILES);
    const count = isPartial ? `at least ${files.length}` : `${files.length}`;
    const lines = shown.length === 0 ? ["No files found"] : shown;
    if (shown.length === 0) lines.push(...(await describeNamed(context, join(path || ".", pattern))));
    if (isPartial && shown.length === 0) lines.push("(The search did not come to its end. Use a narrower pattern or path.)");
    if (files.length > shown.length) lines.push("", `(${shown.length} of ${count} files shown, newest first. Use a narrower pattern or path.)`);
    lines.push(...sayHidden(hidden));
    return { output: lines.join("\n"), title: pattern, metadata: { count: files.length, truncated: isPartial || files.length > shown.length } };
  },
});

/** Throws FILE_MISSING, FILE_UNSUITABLE. */
export async function findDirectory(context: ToolContext, path: string): Promise<Located> {
  const located = await locate(context, path, "read");
  if (located.stats === undefined) throw await missingFile(context, located.path);
  if (!located.stats.isDirectory())
    throw new AgentError("FILE_UNSUITABLE", { path: located.shown, reason: "is not a directory.", advice: "Use read for a file." });
  checkReadable(context, located);
  return located;
}

/** A pattern that finds nothing may be the path of something: of a directory, or of a name with brackets. */
async function describeNamed(context: ToolContext, path: string): Promise<string[]> {
  const located = await locate(context, path, "read").catch(() => undefined);
  if (located?.stats?.isDirectory()) return [`(${located.shown || "."} is a directory. Use list for it.)`];
  if (!located?.stats?.isFile() || !/[[\]{}]/.test(path)) return [];
  return [`(There is a file ${located.shown}. In a pattern, write a backslash before brackets and braces that belong to a name.)`];
}

interface Found {
  files: string[];
  isPartial: boolean;
  hidden: number;
}

async function findFiles(context: ToolContext, pattern: string, path: string | undefined): Promise<Found> {
  const plan = planGlob(pattern);
  const located = await locate(context, startOf(path, pattern), "read");
  if (!located.stats?.isDirectory()) return { files: [], isPartial: false, hidden: 0 };
  checkReadable(context, located);
  const start = located.path;
  const request = { cwd: start, pattern, limit: COUNTED_FILES, timeoutMs: TIMEOUT_MS };
  const [matching, listed] = await Promise.all([
    listFiles(context, { ...request, args: plan.args }),
    plan.includesIgnored ? listFiles(context, { ...request, args: [] }) : undefined,
  ]);
  const isListed = new Set(listed?.files);
  const found = createFoundFiles(context, start, listed === undefined ? matching.files : matching.files.filter((file) => isListed.has(file)));
  const { files, hidden } = await found.newest();
  return { files: files.map((file) => context.paths.show(join(start, file))), isPartial: matching.isPartial || listed?.isPartial === true, hidden };
}
