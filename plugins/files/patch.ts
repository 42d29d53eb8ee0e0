import type { BigIntStats } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { AgentError, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { changeFiles, type FileChange, refusalOf } from "./change-files.ts";
import { diffText, shortenDiff } from "./diff-text.ts";
import { type Located, locate, missingFile, permissionPattern, readWhole } from "./open-file.ts";
import { applyHunks, type PatchedText } from "./patch-hunks.ts";
import { patchReplaces } from "./patch-models.ts";
import { type FilePatch, type Hunk, parsePatch, pathsOf, refusedAt } from "./patch-text.ts";
import type { ReadRecord } from "./read-record.ts";
import { checkCurrent, checkRegular, countLines, encodingOf, FILE_BYTES, readForEdit, refused } from "./text-file.ts";

/** Characters of all diffs together, from which on further ones are left out. */
const DIFF_CHARACTERS = 6_000;

const description = `Add, update, move and delete files, all or nothing. patchText:
*** Begin Patch
*** Update File: a.txt
@@ line above the change
 stays
-goes
+comes
*** Add File: b.txt
+line
*** Delete File: c.txt
*** End Patch
"*** Move to: PATH" below an update renames. Hunks stand in the order of the file; their lines must be unique in it, or the first behind the line after @@.`;

export const patchTool = (record: ReadRecord): Tool =>
  tool({
    name: "patch",
    description,
    input: z.object({ patchText: z.string() }),
    effect: "write",
    permission: "edit",
    offer: patchReplaces,
    insteadOf: ["edit", "write"],
    patterns: ({ patchText }, { cwd }) => pathsOf(parsePatch(patchText)).map((path) => permissionPattern(path, cwd)),
    run: async ({ patchText }, context) => {
      const files = parsePatch(patchText);
      return record.changingAll(await resolveOnce(files, context), async () => {
        const planned: PlannedFile[] = [];
        for (const file of files) planned.push(await planFile(record, context, file));
        await writePlanned(record, context, planned);
        return describePatch(planned);
      });
    },
  });

/** The real paths of all files. Throws PATCH_REFUSED where two are the same. */
async function resolveOnce(files: FilePatch[], { paths }: ToolContext): Promise<string[]> {
  const real = new Set<string>();
  for (const file of files) {
    for (const path of pathsOf([file])) {
      const resolved = await paths.resolve(path, "write");
      if (real.has(resolved))
        throw refusedAt(file.line, `${paths.show(resolved)} is named twice.`, "Name each file once, with all of its hunks in the order of the file.");
      real.add(resolved);
    }
  }
  return [...real];
}

interface PlannedFile {
  kind: "add" | "update" | "move" | "delete";
  line: number;
  /** As it is shown; of a moved file the old path. */
  path: string;
  newPath?: string | undefined;
  changes: FileChange[];
  patched: PatchedText;
  before: string;
}

/** What becomes of one file of the patch; nothing is written yet. */
async function planFile(record: ReadRecord, context: ToolContext, file: FilePatch): Promise<PlannedFile> {
  try {
    const located = await locate(context, file.path, "write");
    checkRegular(located);
    if (file.kind === "add") return planAdd(located, file);
    if (located.stats === undefined) throw await missingFile(context, located.path);
    if (file.kind !== "update" || file.moveTo !== undefined) await checkNoLink(context, file.path, located);
    if (file.kind === "delete") return await planDelete(record, context, located, file.line);
    return file.kind === "replace" ? await planReplace(record, context, located, file) : await planUpdate(record, context, located, file);
  } catch (error) {
    throw atLine(error, file.line);
  }
}

function planAdd({ path, shown, stats }: Located, { content, line }: FilePatch & { kind: "add" }): PlannedFile {
  if (stats !== undefined) throw refused(shown, "it exists.", 'Change it with "*** Update File", or choose another path.');
  const patched = { text: content, additions: countLines(content), deletions: 0, notes: [] };
  return { kind: "add", line, path: shown, changes: [{ path, existing: undefined, content: Buffer.from(content) }], patched, before: "" };
}

async function planDelete(record: ReadRecord, context: ToolContext, located: Located, line: number): Promise<PlannedFile> {
  checkCurrent(record, context, located);
  const isCounted = located.stats !== undefined && located.stats.size <= FILE_BYTES;
  const { bytes, stats } = isCounted ? await readWhole(context, located) : { bytes: Buffer.alloc(0), stats: located.stats };
  const patched = { text: "", additions: 0, deletions: countLines(bytes.toString("latin1")), notes: [] };
  return { kind: "delete", line, path: located.shown, changes: [{ path: located.path, existing: stats, content: undefined }], patched, before: "" };
}

async function planReplace(
  record: ReadRecord,
  context: ToolContext,
  located: Located,
  { content, line }: FilePatch & { kind: "replace" },
): Promise<PlannedFile> {
  const { bytes, stats } = await readForEdit(record, context, located);
  const before = bytes.toString();
  const patched = { text: content, additions: countLines(content), deletions: countLines(before), notes: [] };
  return { kind: "update", line, path: located.shown, changes: [{ path: located.path, existing: stats, content: Buffer.from(content) }], patched, before };
}

async function planUpdate(record: ReadRecord, context: ToolContext, located: Located, file: FilePatch & { kind: "update" }): Promise<PlannedFile> {
  const { bytes, stats } = await readForEdit(record, context, located);
  const { hunks, line, moveTo } = file;
  const encoding = hunks.length === 0 ? "latin1" : encodingOf(located.shown, bytes, textOf(hunks));
  const before = bytes.toString(encoding);
  const patched = applyHunks(located.shown, before, hunks);
  const content = Buffer.from(patched.text, encoding);
  const planned = { line, path: located.shown, patched, before };
  if (moveTo === undefined) {
    if (content.equals(bytes)) throw refused(located.shown, "the hunks change nothing in it.", "Leave them out, or give what shall be there.");
    return { kind: "update", ...planned, changes: [{ path: located.path, existing: stats, content }] };
  }
  const target = await locate(context, moveTo, "write");
  if (target.stats !== undefined)
    throw refused(target.shown, "it exists, and nothing is moved over it.", "Delete it in a patch before this one, or choose another path.");
  const changes: FileChange[] = [
    { path: target.path, existing: undefined, content, like: stats },
    { path: located.path, existing: stats, content: undefined },
  ];
  return { kind: "move", ...planned, newPath: target.shown, changes };
}

const textOf = (hunks: Hunk[]): string => hunks.flatMap(({ lines }) => lines.map(({ text }) => text)).join("");

/** Deleting or moving through a link would leave the link behind, leading nowhere. */
async function checkNoLink({ paths, cwd }: ToolContext, filePath: string, { path, shown }: Located): Promise<void> {
  const given = resolve(cwd, filePath);
  const place = join(await paths.resolve(dirname(given), "write"), basename(given));
  if (place !== path) throw refused(paths.show(place), `it is a link to ${shown}.`, "Name that file itself, or use bash for the link.");
}

async function writePlanned(record: ReadRecord, context: ToolContext, planned: PlannedFile[]): Promise<void> {
  const changes = planned.flatMap((file) => file.changes);
  const lineOf = (change: FileChange): number => planned.find((file) => file.changes.includes(change))?.line ?? 1;
  const written = await changeFiles(context, changes, (error, change) => atLine(refusalOf(context.paths, error, change), lineOf(change)));
  for (const [index, { path }] of changes.entries()) {
    const stats: BigIntStats | undefined = written[index];
    if (stats !== undefined) record.remember(context.sessionId, path, stats);
  }
}

/** A refusal of one file as one of the whole patch. What is said of a path itself stays as it is. */
function atLine(error: unknown, line: number): unknown {
  if (!(error instanceof AgentError) || ["PATCH_REFUSED", "PATH_OUTSIDE", "PATH_INVALID"].includes(error.code)) return error;
  const reason = error.code === "EDIT_REFUSED" ? `${error.data.path}: ${error.data.reason}` : error.message;
  return new AgentError("PATCH_REFUSED", { line, reason, advice: error.hint }, { cause: error });
}

async function describePatch(planned: PlannedFile[]): Promise<ToolResult> {
  const notes = planned.flatMap((file) =>
    file.patched.notes.map(
      ({ line, overlooks }) => `${file.newPath ?? file.path}: the hunk at line ${line} was found overlooking ${overlooks}. Check the diff.`,
    ),
  );
  const output = [...planned.map(describeFile), ...notes, ...(await describeDiffs(planned))].join("\n");
  const files = planned.map(({ kind, path, newPath, patched: { additions, deletions } }) => ({
    path: newPath ?? path,
    ...(newPath !== undefined && { from: path }),
    kind,
    additions,
    deletions,
  }));
  return { output, title: files.length === 1 ? files[0]!.path : `${files.length} files`, metadata: { files } };
}

function describeFile({ kind, path, newPath, patched: { additions, deletions } }: PlannedFile): string {
  const counted = additions + deletions === 0 ? "" : ` (+${additions} -${deletions} lines)`;
  switch (kind) {
    case "add":
      return `A ${path}`;
    case "delete":
      return `D ${path}`;
    case "update":
      return `M ${path}${counted}`;
    case "move":
      return `M ${path} -> ${newPath}${counted}`;
  }
}

async function describeDiffs(planned: PlannedFile[]): Promise<string[]> {
  const shown: string[] = [];
  let characters = 0;
  const updated = planned.filter(({ kind, before, patched }) => (kind === "update" || kind === "move") && before !== patched.text);
  for (const [index, { path, newPath, before, patched }] of updated.entries()) {
    if (characters > DIFF_CHARACTERS) return [...shown, `(The diffs of ${updated.length - index} more files are left out.)`];
    const diff = await diffText(path, before, patched.text);
    if (diff === undefined) continue;
    const text = shortenDiff(diff);
    characters += text.length;
    shown.push(updated.length === 1 ? text : `--- ${newPath ?? path}\n${text}`);
  }
  return shown;
}
