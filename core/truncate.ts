/** Lines and bytes of a tool's output that go to the model, where the tool does not limit itself. */
export const OUTPUT_LINES = 2_000;
export const OUTPUT_BYTES = 50 * 1024;

export interface OutputLimit {
  lines?: number | undefined;
  bytes?: number | undefined;
}

/** The head of a long output and how to read on; `spill` keeps the whole and returns the path of it. */
export async function truncateOutput(
  text: string,
  spill: (text: string) => Promise<string | undefined>,
  { lines = OUTPUT_LINES, bytes = OUTPUT_BYTES }: OutputLimit = {},
): Promise<string> {
  const size = Buffer.byteLength(text);
  const allLines = countLines(text);
  if (size <= bytes && allLines <= lines) return text;
  const head = headOf(text, lines, bytes);
  const shown = countLines(head);
  const path = await spill(text);
  const whole = path === undefined ? "The rest could not be kept." : `The whole is in ${path}: use read with offset ${shown + 1}, or grep.`;
  return `${head}\n\n(Lines 1-${shown} of ${allLines}, ${size} bytes in all. ${whole})`;
}

function countLines(text: string): number {
  let lines = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

/** Whole lines as long as they fit; a first line that does not fit is cut between two characters. */
function headOf(text: string, lines: number, bytes: number): string {
  const fitting = Buffer.from(text).subarray(0, bytes).toString("utf8").replace(/�$/, "");
  const complete = fitting.length < text.length && fitting.includes("\n") ? fitting.slice(0, fitting.lastIndexOf("\n")) : fitting;
  return complete.split("\n").slice(0, lines).join("\n");
}
