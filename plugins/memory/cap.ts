/** Characters of a call's input, and of its output, that the extraction model is shown. */
export const FIELD_CHARACTERS = 16_000;
/** Characters of a prompt that are kept. */
export const PROMPT_CHARACTERS = 4_000;
/** Bytes of a prompt that are looked at at all. */
export const PROMPT_BYTES = 256 * 1024;

const HEAD = 0.6;
const TAIL = 0.3;

const isHigh = (code: number): boolean => code >= 0xd800 && code <= 0xdbff;
const isLow = (code: number): boolean => code >= 0xdc00 && code <= 0xdfff;

/** The nearest place at or before `at` that does not lie within a character. */
function wholeAt(text: string, at: number): number {
  return at > 0 && at < text.length && isHigh(text.charCodeAt(at - 1)) && isLow(text.charCodeAt(at)) ? at - 1 : at;
}

/** Head and tail of a text that is longer, with what was left out between them. UTF-16 units. */
export function capText(text: string, most = FIELD_CHARACTERS): string {
  if (text.length <= most) return text;
  const head = wholeAt(text, Math.floor(most * HEAD));
  const tail = wholeAt(text, text.length - Math.floor(most * TAIL));
  return `${text.slice(0, head)}\n[… ${tail - head} of ${text.length} characters left out …]\n${text.slice(tail)}`;
}

/** The beginning of a text, in bytes of UTF-8; no character is cut. */
export function capBytes(text: string, most = PROMPT_BYTES): string {
  // No unit of UTF-16 takes more than three bytes.
  if (text.length * 3 <= most) return text;
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  let end = most;
  while (end > 0 && ((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

/** The beginning of a field, with "…" where it goes on. UTF-16 units. */
export function capField(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, wholeAt(text, most - 1)).trimEnd()}…`;
}
