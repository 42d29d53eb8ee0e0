import { type AgentError, cleanText } from "agent-runtime";
import { FALLBACK_STRATEGIES, findExact, isMuchLarger, MATCH_LIMIT, type Match, removeBackslashes, type Strategy } from "./edit-strategies.ts";
import { indentLike } from "./indent-like.ts";
import { refused } from "./text-file.ts";

/** In a longer text only exact places are found: the other strategies would hold up everything else. */
const COMPARED_CHARACTERS = 1024 * 1024;
/** What a text may become. */
const GROWN_CHARACTERS = 20 * 1024 * 1024;
export const BYTE_ORDER_MARK = "\uFEFF";

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

/** One edit of a text. Throws EDIT_REFUSED; `shown` names the file in it. */
export async function applyEdit(shown: string, text: string, edit: Edit): Promise<EditedText> {
  if (edit.oldString === edit.newString) throw refused(shown, "oldString and newString are the same.", "Give the text as it is and as it shall be.");
  if (edit.oldString === "") {
    if (text === BYTE_ORDER_MARK) return { text: text + edit.newString, strategy: EXACT, replacements: 1 };
    if (text !== "") throw refused(shown, "oldString is empty and the file is not.", "Give the text to replace, or use write for the whole file.");
    return { text: edit.newString, strategy: EXACT, replacements: 1 };
  }
  // The mark counts as white space in JavaScript, which most strategies overlook.
  const isMarked = text.startsWith(BYTE_ORDER_MARK) && !edit.oldString.startsWith(BYTE_ORDER_MARK);
  const body = isMarked ? text.slice(1) : text;
  const edited = await replaceMatches(shown, body, edit);
  if (edited.text === body)
    throw refused(shown, "it would stay as it is; its line endings are kept.", "Give what shall be there, or use bash for line endings.");
  return isMarked ? { ...edited, text: BYTE_ORDER_MARK + edited.text } : edited;
}

async function replaceMatches(shown: string, text: string, edit: Edit): Promise<EditedText> {
  const found = await findMatches(shown, text, edit);
  const matches = withoutOverlaps(found.matches);
  const ending = lineEndingOf(text);
  if (text.length + matches.length * edit.newString.length > GROWN_CHARACTERS)
    throw refused(shown, `${matches.length} replacements would make it too large.`, "Replace fewer places at a time.");
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

export const EXACT = { name: "exact", overlooks: "" };

async function findMatches(shown: string, text: string, { oldString, replaceAll }: Edit): Promise<Found> {
  const exact = { ...findExact(text, oldString), strategy: EXACT };
  if (exact.matches.length === 1 || (replaceAll && exact.matches.length > 0)) return checkCount(shown, exact);
  if (exact.matches.length > 1) throw ambiguous(shown, exact.matches.length);
  let places = 0;
  let isTooLarge = false;
  for (const strategy of text.length > COMPARED_CHARACTERS ? [] : FALLBACK_STRATEGIES) {
    // What is found only by likeness may be another place than those that were found before.
    if (strategy.isApproximate && places > 0) continue;
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
  if (cleanText(text).includes(oldString)) throw refused(shown, "oldString stands among characters that are not shown.", "Give whole lines as oldString.");
  throw refused(shown, "oldString was not found in it.", "Read the file again and copy the text exactly, without line numbers.");
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
  else if (strategy.name === "trimmed-boundary") replacement = trimLike(replacement, wanted);
  else if (strategy !== EXACT) replacement = indentLike(replacement, wanted, found);
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

export type LineEnding = "\r\n" | "\n" | undefined;

/** The one that most lines have; undefined for a single line. */
export function lineEndingOf(text: string): LineEnding {
  const newlines = text.split("\n").length - 1;
  const returns = text.split("\r\n").length - 1;
  return newlines === 0 ? undefined : returns * 2 >= newlines ? "\r\n" : "\n";
}

const withLineEnding = (text: string, ending: LineEnding): string => (ending === undefined ? text : text.replace(/\r?\n/g, ending));
