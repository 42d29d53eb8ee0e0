import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { basename, extname, resolve } from "node:path";
import { wait } from "./abort.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { FilePart, TextPart } from "./message.ts";

/** What goes to the model as it is; everything else must be text. */
const MEDIA_TYPES: Record<string, string> = {
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".gif": "image/gif",
  ".webp": "image/webp",
  ".pdf": "application/pdf",
};

/** Bytes of one attached file. */
const LARGEST_FILE = 10 * 1024 * 1024;
const POLL_MS = 20;

/** The parts of a user's message for attached files: images and PDF as files, the rest as text with its path. Throws FILE_NOT_FOUND. */
export async function readAttachments(files: string[], cwd: string, signal: AbortSignal): Promise<(TextPart | FilePart)[]> {
  return Promise.all(files.map((file) => readAttachment(file, cwd, signal)));
}

async function readAttachment(file: string, cwd: string, signal: AbortSignal): Promise<TextPart | FilePart> {
  const refuse = (reason: string) => new AgentError("FILE_NOT_FOUND", { path: file, option: "--file", reason });
  const bytes = await readBytes(resolve(cwd, file), signal).catch((error: unknown) => {
    signal.throwIfAborted();
    throw refuse(errorMessage(error));
  });
  const mediaType = MEDIA_TYPES[extname(file).toLowerCase()];
  if (mediaType !== undefined) return { type: "file", mediaType, data: bytes.toString("base64"), filename: basename(file) };
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { type: "text", text: `<file path="${file}">\n${text}\n</file>` };
  } catch {
    throw refuse("it is neither text nor an image nor PDF.");
  }
}

/** A regular file, or a pipe as of `<(command)`. Waits neither for a writer that never comes, nor beyond the signal. */
async function readBytes(path: string, signal: AbortSignal): Promise<Buffer> {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() && !stats.isFIFO()) throw new Error(stats.isDirectory() ? "it is a directory." : "it is neither a regular file nor a pipe.");
    const pieces: Buffer[] = [];
    for (let length = 0; ; ) {
      const piece = readPiece(file);
      if (piece === undefined) await wait(POLL_MS, signal);
      else if (piece.length === 0) return Buffer.concat(pieces);
      else pieces.push(piece);
      length += piece?.length ?? 0;
      if (length > LARGEST_FILE) throw new Error(`it has more than ${LARGEST_FILE} bytes; no more can be attached.`);
    }
  } finally {
    closeSync(file);
  }
}

/** Empty at the end; undefined where a pipe has nothing yet. */
function readPiece(file: number): Buffer | undefined {
  const piece = Buffer.allocUnsafe(256 * 1024);
  try {
    return piece.subarray(0, readSync(file, piece));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
    throw error;
  }
}
