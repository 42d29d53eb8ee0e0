import { isUtf8 } from "node:buffer";
import { AgentError, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { diffText, shortenDiff } from "./diff-text.ts";
import { commonIndent, FALLBACK_STRATEGIES, findExact, isMuchLarger, MATCH_LIMIT, type Match, removeBackslashes, type Strategy } from "./edit-strategies.ts";
import { binaryReason } from "./media.ts";
import { type Located, locate, missingFile, permissionPattern, readWhole } from "./open-file.ts";
import type { ReadRecord } from "./read-record.ts";
import { checkRegular, writeLocated } from "./write.ts";

const FILE_BYTES = 10 * 1024 * 1024;
const SAMPLE_BYTES = 4_096;
/** In a longer text only exact places are found: the other strategies would hold up everything else. */
const COMPARED_CHARACTERS = 1024 * 1024;

const input = z.object({ filePath: z.string(), oldString: z.string(), newString: z.string(), replaceAll: z.boolean().optional() });

export interface Edit {
  oldString: string;
  newString: string;
  replaceAll?: boolean | undefined;
}

export interface EditedText {
  text: string;
  strategy: Pick<Strategy, "name" | "overlooks">;
  replacements: number;
}

export const editTool = (record: ReadRecord): Tool =>
  tool({
    name: "edit",
    description:
      "Replace oldString, which must occur exactly once unless replaceAll, by newString. Copy it from read without line numbers. An empty oldString creates a file.",
    input,
    effect: "write",
    permission: "edit",
    patterns: ({ filePath }, { cwd }) => [permissionPattern(filePath, cwd)],
    run: async ({ filePath, ...edit }, context) => {
      const path = await context.paths.resolve(filePath, "write");
      return record.changing(path, async () => editLocated(record, context, await locate(context, filePath, "write"), edit));
    },
  });

async function editLocated(record: ReadRecord, context: ToolContext, located: Located, edit: Edit): Promise<ToolResult> {
  checkRegular(located);
  if (edit.oldString === edit.newString) throw refused(located.shown, "oldString and newString are the same.", "Give the text as it is and as it shall be.");
  if (located.stats === undefined && edit.oldString !== "") throw await missingFile(context, located.path);
  const { bytes, stats } = await readForEdit(record, context, located);
  const encoding = encodingOf(located.shown, bytes, edit);
  const before = bytes.toString(encoding);
  const edited = await applyEdit(located.shown, before, edit);
  record.remember(context.sessionId, located.path, await writeLocated(context, { ...located, stats }, Buffer.from(edited.text, encoding)));
  return describeEdit(located, before, edited);
}

async function readForEdit(record: ReadRecord, context: ToolContext, located: Located): Promise<{ bytes: Buffer; stats: Located["stats"] }> {
  const { shown, path, stats } = located;
  if (stats === undefined) return { bytes: Buffer.alloc(0), stats };
  if (stats.size > FILE_BYTES)
    throw refused(
      shown,
      `it has ${(Number(stats.size) / 1024 / 1024).toFixed(1)} MB, and at most ${FILE_BYTES / 1024 / 1024} MB can be edited.`,
      "Use a program such as sed with bash.",
    );
  if (record.knowledge(context.sessionId, path, stats) === "changed") throw refused(shown, "it changed since it was read.", "Read it again, then edit it.");
  return readWhole(context, located);
}

/** Latin-1 maps every byte to one character and back, so bytes that are not UTF-8 pass through an edit of ASCII text. */
function encodingOf(shown: string, bytes: Buffer, { oldString, newString }: Edit): "utf8" | "latin1" {
  if (binaryReason("", bytes.subarray(0, SAMPLE_BYTES)) !== undefined) throw refused(shown, "it is not UTF-8 text.", "Use a program that knows its format.");
  if (isUtf8(bytes)) return "utf8";
  const isAscii = /^[\0-\x7f]*$/.test(oldString + newString);
  if (!isAscii)
    throw refused(shown, "it is not valid UTF-8, so only ASCII text can be edited in it.", "Convert it first, for example with iconv -f latin1 -t utf-8.");
  return "latin1";
}

const refused = (path: string, reason: string, advice: string): AgentError => new AgentError("EDIT_REFUSED", { path, reason, advice });

/** One edit of a text. Throws EDIT_REFUSED; `shown` names the file in it. */
export async function applyEdit(shown: string, text: string, edit: Edit): Promise<EditedText> {
  if (edit.oldString === "") {
    if (text !== "") throw refused(shown, "oldString is empty and the file exists.", "Give the text to replace, or use write for the whole file.");
    return { text: edit.newString, strategy: EXACT, replacements: 1 };
  }
  const found = await findMatches(shown, text, edit);
  const matches = withoutOverlaps(found.matches);
  const ending = lineEndingOf(text);
  const added = matches.length * edit.newString.length;
  if (added > FILE_BYTES) throw refused(shown, `${matches.length} replacements would make it too large.`, "Replace fewer places at a time.");
  const parts = matches.map(
    (match, index) => text.slice(matches[index - 1]?.end ?? 0, match.start) + replacementFor(text.slice(match.start, match.end), found, ending, edit.newString),
  );
  return { text: parts.join("") + text.slice(matches.at(-1)!.end), strategy: found.strategy, replacements: matches.length };
}

interface Found {
  matches: Match[];
  strategy: EditedText["strategy"];
  /** oldString as it was looked for. */
  wanted: string;
}

const EXACT = { name: "exact", overlooks: "" };

async function findMatches(shown: string, text: string, { oldString, replaceAll }: Edit): Promise<Found> {
  const exact = findInLineEndings(text, oldString);
  if (exact.matches.length === 1 || (replaceAll && exact.matches.length > 0)) return checkCount(shown, exact);
  if (exact.matches.length > 1) throw ambiguous(shown, exact.matches.length);
  let places = 0;
  let isTooLarge = false;
  for (const strategy of text.length > COMPARED_CHARACTERS ? [] : FALLBACK_STRATEGIES) {
    const all = await strategy.find(text, oldString);
    const matches = all.filter((match) => !isMuchLarger(text.slice(match.start, match.end), oldString));
    isTooLarge ||= matches.length < all.length;
    if (matches.length === 1 || (matches.length > 1 && replaceAll && !strategy.isApproximate))
      return checkCount(shown, { matches, strategy, wanted: oldString });
    places ||= matches.length;
  }
  if (places > 0) throw ambiguous(shown, places);
  if (isTooLarge)
    throw refused(shown, "what resembles oldString is much larger than it.", "Read the file again and copy the whole text that is to be replaced.");
  throw refused(shown, "oldString was not found in it.", "Read the file again and copy the text exactly, without line numbers.");
}

/** An exact search in which the line endings of the file and of oldString may differ. */
function findInLineEndings(text: string, oldString: string): Found {
  const variants = [oldString, oldString.replace(/\r?\n/g, "\r\n"), oldString.replaceAll("\r\n", "\n")];
  for (const wanted of new Set(variants)) {
    const matches = findExact(text, wanted);
    if (matches.length > 0) return { matches, strategy: EXACT, wanted };
  }
  return { matches: [], strategy: EXACT, wanted: oldString };
}

const ambiguous = (shown: string, count: number): AgentError =>
  refused(
    shown,
    `oldString was found ${count > MATCH_LIMIT ? `more than ${MATCH_LIMIT}` : count} times.`,
    "Add surrounding lines to oldString until it is unique, or set replaceAll.",
  );

function checkCount(shown: string, found: Found): Found {
  if (found.matches.length > MATCH_LIMIT) throw refused(shown, `oldString was found more than ${MATCH_LIMIT} times.`, "Use a program such as sed with bash.");
  return found;
}

const withoutOverlaps = (matches: Match[]): Match[] => {
  let end = 0;
  return matches.filter((match) => {
    if (match.start < end) return false;
    end = match.end;
    return true;
  });
};

/** newString as it fits the place: escaping, boundary and indentation follow what was overlooked, line endings follow the file. */
function replacementFor(found: string, { strategy, wanted }: Found, ending: LineEnding, newString: string): string {
  let replacement = newString;
  if (strategy.name === "escape-normalized") replacement = removeBackslashes(replacement);
  if (strategy.name === "trimmed-boundary") replacement = trimLike(replacement, wanted);
  if (strategy !== EXACT) replacement = indentLike(replacement, wanted, found);
  if (strategy !== EXACT && wanted.endsWith("\n") && !found.endsWith("\n")) replacement = replacement.replace(/\r?\n$/, "");
  const isSpelledOut = wanted.includes("\r") && found.includes("\r") && replacement.includes("\r");
  return isSpelledOut ? replacement : withLineEnding(replacement, lineEndingOf(found) ?? ending);
}

/** Takes off newString what was taken off oldString. */
function trimLike(newString: string, wanted: string): string {
  const before = /^\s*/.exec(wanted)![0];
  const after = wanted.slice(wanted.trimEnd().length);
  const start = newString.startsWith(before) ? before.length : 0;
  const end = newString.endsWith(after) ? newString.length - after.length : newString.length;
  return newString.slice(start, Math.max(start, end));
}

/** Shifts newString by the indentation that the place has more, or less, than oldString. */
function indentLike(newString: string, wanted: string, found: string): string {
  const from = commonIndent(wanted.split("\n"));
  const to = commonIndent(found.split("\n"));
  if (from === to) return newString;
  return newString
    .split("\n")
    .map((line) => (line.trim() !== "" && line.startsWith(from) ? to + line.slice(from.length) : line))
    .join("\n");
}

type LineEnding = "\r\n" | "\n" | undefined;

/** The one that most lines have; undefined for a single line. */
function lineEndingOf(text: string): LineEnding {
  const newlines = text.split("\n").length - 1;
  const returns = text.split("\r\n").length - 1;
  return newlines === 0 ? undefined : returns * 2 >= newlines ? "\r\n" : "\n";
}

const withLineEnding = (text: string, ending: LineEnding): string => (ending === undefined ? text : text.replace(/\r?\n/g, ending));

async function describeEdit({ shown, stats }: Located, before: string, { text, strategy, replacements }: EditedText): Promise<ToolResult> {
  const diff = await diffText(shown, before, text);
  const counted = diff === undefined ? "" : ` (+${diff.additions} -${diff.deletions} lines)`;
  const change = `Edited ${shown}: ${replacements} ${replacements === 1 ? "replacement" : "replacements"}`;
  const lines = [`${stats === undefined ? `Created ${shown}` : change}${counted}.`];
  if (strategy.name !== EXACT.name)
    lines.push(`oldString was not there exactly; found by ${strategy.name}, overlooking ${strategy.overlooks}. Check the diff.`);
  if (diff !== undefined) lines.push(shortenDiff(diff));
  return { output: lines.join("\n"), title: shown, metadata: { filePath: shown, ...diff, strategy: strategy.name, replacements } };
}
