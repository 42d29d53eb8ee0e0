/** Characters of a diff in the output. */
const SHOWN_CHARACTERS = 2_000;
/** A diff that takes longer is left out: it is computed on the main thread. */
const TIMEOUT_MS = 100;
const CONTEXT_LINES = 2;

export interface TextDiff {
  diff: string;
  additions: number;
  deletions: number;
}

/** The unified diff of two texts; undefined when they are too different to compare quickly. */
export async function diffText(path: string, before: string, after: string): Promise<TextDiff | undefined> {
  const { structuredPatch, formatPatch } = await import("diff");
  const patch = structuredPatch(path, path, before, after, undefined, undefined, { context: CONTEXT_LINES, timeout: TIMEOUT_MS });
  if (patch === undefined) return undefined;
  const lines = patch.hunks.flatMap((hunk) => hunk.lines);
  return {
    diff: formatPatch(patch),
    additions: lines.filter((line) => line.startsWith("+")).length,
    deletions: lines.filter((line) => line.startsWith("-")).length,
  };
}

/** The hunks of a diff, as far as they are worth showing. */
export function shortenDiff({ diff }: TextDiff): string {
  const hunks = diff.slice(diff.indexOf("@@")).trimEnd();
  if (hunks.length <= SHOWN_CHARACTERS) return hunks;
  return `${hunks.slice(0, SHOWN_CHARACTERS)}\n... (${hunks.length - SHOWN_CHARACTERS} more characters of the diff)`;
}
