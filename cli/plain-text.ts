/** Control characters, and the marks that reorder text on a screen; tab and newline stay. */
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Text that cannot move the cursor, colour the screen or speak to the terminal. */
export const withoutControls = (text: string): string => text.replace(CONTROL, "");

/** The same on one line of at most `limit` characters. */
export function oneLine(text: string, limit = 160): string {
  const line = withoutControls(text.replace(/\s+/g, " ")).trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}
