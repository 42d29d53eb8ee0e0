import type { FileHandle } from "node:fs/promises";
import type { ToolContext } from "agent-runtime";
import { wideEncodingOf } from "./media.ts";

/** A file that ripgrep has translated is compared as a whole; of a larger one nothing is confirmed. */
const TRANSLATED_BYTES = 64 * 1024 * 1024;
const MARK = Buffer.from("\uFEFF");

export interface Match {
  file: string;
  /** As it is shown. */
  text: string;
  /** Where ripgrep has read which bytes; undefined where none of them are shown. */
  line?: { offset: number; bytes: Buffer };
}

/**
 * The matches that stand in the file which the path means without a link. ripgrep opens files by their names, and by then
 * a link may have been in the place of a directory.
 */
export async function confirmMatches({ paths }: ToolContext, path: string, matches: Match[]): Promise<Match[]> {
  const handle = await paths.open(path, "read").catch(() => undefined);
  if (handle === undefined) return [];
  try {
    const start = await readAt(handle, 0, 4);
    if (wideEncodingOf(start) !== undefined) return await confirmTranslated(handle, matches);
    const shift = start.subarray(0, MARK.length).equals(MARK) ? MARK.length : 0;
    const confirmed: Match[] = [];
    for (const match of matches) {
      const { line } = match;
      if (line === undefined || (await readAt(handle, line.offset + shift, line.bytes.length)).equals(line.bytes)) confirmed.push(match);
    }
    return confirmed;
  } finally {
    await handle.close();
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}

async function confirmTranslated(handle: FileHandle, matches: Match[]): Promise<Match[]> {
  const { size } = await handle.stat();
  if (size > TRANSLATED_BYTES) return [];
  const bytes = await readAt(handle, 0, size);
  const text = new TextDecoder(bytes[0] === 0xfe ? "utf-16be" : "utf-16le").decode(bytes);
  return matches.filter(({ line }) => line === undefined || text.includes(line.bytes.toString().replace(/\r?\n$/, "")));
}
