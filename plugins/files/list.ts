import { join } from "node:path";
import { type ToolContext, tool, z } from "agent-runtime";
import { createFoundFiles } from "./found-files.ts";
import { findDirectory } from "./glob.ts";
import { type Located, permissionPattern, readEntries } from "./open-file.ts";
import { COUNTED_FILES, listFiles, sayHidden, TIMEOUT_MS } from "./ripgrep.ts";

const SHOWN_ENTRIES = 100;
/** Left out unless they are listed themselves; where there is no ignore file they would drown everything else. */
const DEFAULT_IGNORES = ["node_modules/", "__pycache__/"];

export const listTool = tool({
  name: "list",
  description: "List files and directories as a tree, at most 100 entries. Files named by ignore files are left out.",
  input: z.object({ path: z.string().optional(), ignore: z.array(z.string()).describe("glob patterns to leave out").optional() }),
  effect: "read",
  patterns: ({ path }, { cwd }) => [permissionPattern(path || ".", cwd)],
  run: async ({ path, ignore = [] }, context) => {
    const directory = await findDirectory(context, path || ".");
    const args = [...DEFAULT_IGNORES, ...ignore.filter((pattern) => pattern !== "")].map((pattern) => `--glob=!${pattern.replace(/^!/, "")}`);
    const listed = await listFiles(context, { cwd: directory.path, args, pattern: ignore.join(", "), limit: COUNTED_FILES, timeoutMs: TIMEOUT_MS });
    const { isPartial } = listed;
    const present = await createFoundFiles(context, directory.path, listed.files).present();
    const { files } = present;
    const hidden = sayHidden(present.hidden);
    const shown = directory.shown || ".";
    if (files.length === 0) {
      const output = [describeEmpty(context, directory, isPartial), ...hidden].join("\n");
      return { output, title: shown, metadata: { count: 0, truncated: isPartial } };
    }
    const root = growTree(files);
    const { picked, total } = pickNearest(root);
    const lines = [`${shown}/`, ...drawTree(root, picked, "  ")];
    if (total > picked.size) lines.push("", `(${picked.size} of ${isPartial ? "at least " : ""}${total} entries shown. Use path or ignore to narrow.)`);
    lines.push(...hidden);
    return { output: lines.join("\n"), title: shown, metadata: { count: total, truncated: isPartial || total > picked.size } };
  },
});

function describeEmpty(context: ToolContext, directory: Located, isPartial: boolean): string {
  const shown = directory.shown || ".";
  if (isPartial) return `The listing of ${shown} did not come to its end. Use a narrower path.`;
  const names = readEntries(context, directory)
    .map(({ name }) => name)
    .filter((name) => !context.paths.isHidden(join(directory.path, name)));
  if (names.length === 0) return `The directory ${shown} is empty.`;
  return `The directory ${shown} has no files that are not ignored, only ${names.length === 1 ? "1 entry" : `${names.length} entries`}: ${names.slice(0, 10).join(", ")}.`;
}

/** A directory holds its entries by name; a file holds nothing. */
type Tree = Map<string, Tree | undefined>;

function growTree(files: string[]): Tree {
  const root: Tree = new Map();
  for (const file of files.sort()) {
    const segments = file.split("/");
    const name = segments.pop()!;
    let directory = root;
    for (const segment of segments) {
      const next = directory.get(segment) ?? new Map();
      directory.set(segment, next);
      directory = next;
    }
    directory.set(name, undefined);
  }
  return root;
}

/** The entries that are shown: those nearest to the root, so that a cut listing still gives the whole picture. */
function pickNearest(root: Tree): { picked: Set<string>; total: number } {
  const picked = new Set<string>();
  let total = 0;
  let level: [string, Tree][] = [["", root]];
  while (level.length > 0) {
    const next: [string, Tree][] = [];
    for (const [prefix, directory] of level) {
      for (const [name, children] of directory) {
        total += 1;
        if (picked.size < SHOWN_ENTRIES) picked.add(prefix + name);
        if (children !== undefined) next.push([`${prefix}${name}/`, children]);
      }
    }
    level = next;
  }
  return { picked, total };
}

function drawTree(directory: Tree, picked: Set<string>, indent: string, prefix = ""): string[] {
  const entries = [...directory].filter(([name]) => picked.has(prefix + name));
  const lines = entries.flatMap(([name, children]) =>
    children === undefined ? [`${indent}${name}`] : [`${indent}${name}/`, ...drawTree(children, picked, `${indent}  `, `${prefix}${name}/`)],
  );
  const more = directory.size - entries.length;
  return more > 0 ? [...lines, `${indent}... ${more} more`] : lines;
}
