/** Characters of a diff in the output. */
const SHOWN_CHARACTERS = 2_000;
/** A longer diff is left out: it would stand in the events and in the log of the session. Lines may be as long as a file. */
const DIFF_CHARACTERS = 256 * 1024;
/** A diff that takes longer is left out: it is computed on the main thread. */
const TIMEOUT_MS = 100;
const CONTEXT_LINES = 2;

export interface TextDiff {
  diff: string;
  additions: number;
  deletions: number;
}

/** The unified diff of two texts; undefined when they are too different to compare quickly, or it is too long. */
export async function diffText(path: string, before: string, after: string): Promise<TextDiff | undefined> {
  const { structuredPatch, formatPatch } = await import("diff");
  const changed = findChanged(before, after);
  const patch = structuredPatch(path, path, changed.before, changed.after, undefined, undefined, { context: CONTEXT_LINES, timeout: TIMEOUT_MS });
  if (patch === undefined) return undefined;
  const hunks = patch.hunks.map((hunk) => ({ ...hunk, oldStart: hunk.oldStart + changed.lines, newStart: hunk.newStart + changed.lines }));
  const lines = hunks.flatMap((hunk) => hunk.lines);
  const diff = formatPatch({ ...patch, hunks });
  if (diff.length > DIFF_CHARACTERS) return undefined;
  return {
    diff,
    additions: lines.filter((line) => line.startsWith("+")).length,
    deletions: lines.filter((line) => line.startsWith("-")).length,
  };
}

/** The lines that differ with their context, and how many lines stand before them: an edit of a long text is compared in no time. */
function findChanged(before: string, after: string): { before: string; after: string; lines: number } {
  const shorter = Math.min(before.length, after.length);
  const same = longest(shorter, (length) => before.slice(0, length) === after.slice(0, length));
  const rest = longest(shorter - same, (length) => before.slice(before.length - length) === after.slice(after.length - length));
  let start = same;
  for (let line = 0; line <= CONTEXT_LINES && start > 0; line++) start = before.lastIndexOf("\n", start - 2) + 1;
  let end = before.length - rest;
  for (let line = 0; line <= CONTEXT_LINES && end < before.length; line++) end = before.indexOf("\n", end) + 1 || before.length;
  return {
    before: before.slice(start, end),
    after: after.slice(start, after.length - (before.length - end)),
    lines: before.slice(0, start).split("\n").length - 1,
  };
}

/** The largest number up to `most` for which `holds`; if it holds for one, it does for all that are smaller. Comparing slices is ten times as fast as comparing characters. */
function longest(most: number, holds: (length: number) => boolean): number {
  let [least, limit] = [0, most];
  while (least < limit) {
    const middle = (least + limit + 1) >> 1;
    if (holds(middle)) least = middle;
    else limit = middle - 1;
  }
  return least;
}

/** The hunks of a diff, as far as they are worth showing. */
export function shortenDiff({ diff }: TextDiff): string {
  const hunks = diff.slice(diff.indexOf("@@")).trimEnd();
  if (hunks.length <= SHOWN_CHARACTERS) return hunks;
  return `${hunks.slice(0, SHOWN_CHARACTERS)}\n... (${hunks.length - SHOWN_CHARACTERS} more characters of the diff)`;
}
