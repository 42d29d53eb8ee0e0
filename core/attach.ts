import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { basename, extname, resolve } from "node:path";
import { wait } from "./abort.ts";
import { cleanText } from "./clean-text.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { attribute } from "./fence.ts";
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
const TOO_LARGE = `it has more than ${LARGEST_FILE} bytes; no more can be attached.`;
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
    return attachedText(file, new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw refuse("it is neither text nor an image nor PDF.");
  }
}

/** A text as a model reads it, with the name it has. Nothing in it can end it, so that what follows would seem to be the user's words. */
export const attachedText = (name: string, text: string): TextPart => ({
  type: "text",
  text: `<file path="${attribute(name)}">\n${cleanText(text).replace(/<(?=\s*\/\s*file\b)/gi, "&lt;")}\n</file>`,
});

/** How the bytes of each media type begin. */
const SIGNATURES: Record<string, RegExp> = {
  "image/png": /^\x89PNG\r\n\x1a\n/,
  "image/jpeg": /^\xff\xd8\xff/,
  "image/gif": /^GIF8[79]a/,
  "image/webp": /^RIFF[\s\S]{4}WEBP/,
  "application/pdf": /%PDF-/,
};
const SIGNATURE_BYTES = 1024;

/** Why base64 cannot be attached as this media type, or undefined. */
export function findDataFault(mediaType: unknown, data: unknown): string | undefined {
  const signature = typeof mediaType === "string" && Object.hasOwn(SIGNATURES, mediaType) ? SIGNATURES[mediaType] : undefined;
  if (signature === undefined) return `its media type must be one of ${Object.keys(SIGNATURES).join(", ")}.`;
  const bytes = Buffer.from(typeof data === "string" ? data : "", "base64");
  if (bytes.length === 0 || bytes.toString("base64") !== data) return "its data is not base64.";
  if (bytes.length > LARGEST_FILE) return TOO_LARGE;
  return signature.test(bytes.toString("latin1", 0, SIGNATURE_BYTES)) ? undefined : `its bytes are not ${mediaType}.`;
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
      if (length > LARGEST_FILE) throw new Error(TOO_LARGE);
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
