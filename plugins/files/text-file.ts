import { isUtf8 } from "node:buffer";
import { AgentError, type ToolContext } from "agent-runtime";
import { binaryReason, SAMPLE_BYTES, wideEncodingOf } from "./media.ts";
import { type Located, readWhole } from "./open-file.ts";
import type { ReadRecord } from "./read-record.ts";

/** A larger file is not changed by parts. */
export const FILE_BYTES = 10 * 1024 * 1024;

/** The bytes of a file that parts are to be changed of; none of one that does not exist. Throws EDIT_REFUSED where it is too large or changed since it was read. */
export async function readForEdit(record: ReadRecord, context: ToolContext, located: Located): Promise<{ bytes: Buffer; stats: Located["stats"] }> {
  const { shown, stats } = located;
  if (stats === undefined) return { bytes: Buffer.alloc(0), stats };
  if (stats.size > FILE_BYTES)
    throw refused(
      shown,
      `it has ${(Number(stats.size) / 1024 / 1024).toFixed(1)} MB, and at most ${FILE_BYTES / 1024 / 1024} MB can be edited.`,
      "Use a program such as sed with bash.",
    );
  checkCurrent(record, context, located);
  return readWhole(context, located);
}

/** Throws EDIT_REFUSED for a file that changed since the session read it. */
export function checkCurrent(record: ReadRecord, { sessionId }: ToolContext, { path, shown, stats }: Located): void {
  if (stats !== undefined && record.knowledge(sessionId, path, stats) === "changed")
    throw refused(shown, "it changed since it was read.", "Read it again, then edit it.");
}

/** Throws EDIT_REFUSED for what is no file. */
export function checkRegular({ shown, stats }: Located): void {
  if (stats === undefined || stats.isFile()) return;
  throw refused(shown, stats.isDirectory() ? "it is a directory." : "it is not a regular file.", "Give the path of a file.");
}

/**
 * How the bytes become text and bytes again. Latin-1 maps every byte to one character and back, so bytes that are not
 * UTF-8 pass through where the texts to be found and put in are ASCII.
 */
export function encodingOf(shown: string, bytes: Buffer, texts: string): "utf8" | "latin1" {
  const sample = bytes.subarray(0, SAMPLE_BYTES);
  const wide = wideEncodingOf(sample);
  if (wide !== undefined)
    throw refused(shown, `it is ${wide} text, not UTF-8.`, `Convert it first, for example with iconv -f ${wide} -t UTF-8, and back afterwards.`);
  if (binaryReason("", sample) !== undefined) throw refused(shown, "it is not UTF-8 text.", "Use a program that knows its format.");
  if (isUtf8(bytes)) return "utf8";
  if (!/^[\0-\x7f]*$/.test(texts))
    throw refused(shown, "it is not valid UTF-8, so only ASCII text can be edited in it.", "Convert it first, for example with iconv -f latin1 -t utf-8.");
  return "latin1";
}

export const refused = (path: string, reason: string, advice: string): AgentError => new AgentError("EDIT_REFUSED", { path, reason, advice });

export const countLines = (text: string): number => text.split("\n").length - (text.endsWith("\n") || text === "" ? 1 : 0);

export const countOf = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
