import { cleanText } from "agent-runtime";

/** Estimated tokens of a text, four characters each. */
export const tokensOf = (text: string): number => Math.ceil(text.length / 4);

export const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** What begins like a tag; not a comparison, and not the brackets of a type as in `Map<string, Note>`. Names of those who speak to a model are none of a type. */
const TAG = /<(?=\s*(?:[/!|?]|(?:system|assistant|user|human|developer|tool|instruction|memory|untrusted)))|(?<!\w)<(?=[a-zA-Z])/gi;

/** What looks like the end of one of our blocks: with an entity, an escape, another bracket or another slash. */
const FORGED = new RegExp(
  [
    "((?:[<\\uff1c\\ufe64\\u2039\\u3008\\u27e8\\u276e]|&lt;?|&#0*60;?|&#x0*3c;?|\\\\u003c|\\\\x3c|%3c)\\s{0,8}",
    "(?:[/\\\\\\uff0f\\u2044\\u2215]|&#0*47;|&#x0*2f;|%2f)[\\s/]{0,8})(?=memory|untrusted|tool)",
  ].join(""),
  "gi",
);

/** Text of a note as it may stand in a block of notes: it cannot end the block, and begins nothing that a model could take for a tag of its own. */
export const escapeNote = (text: string): string => cleanText(text).replace(FORGED, "$1_").replace(TAG, "&lt;");

/** The same on one line of at most so many characters. */
export function lineOf(text: string, most = Number.POSITIVE_INFINITY): string {
  const line = escapeNote(text).replace(/\s+/g, " ").trim();
  return line.length <= most ? line : `${line.slice(0, most - 1).replace(/[\uD800-\uDBFF]$/, "")}…`;
}
