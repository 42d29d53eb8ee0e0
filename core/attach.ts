import { readFile } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
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

/** The parts of a user's message for attached files: images and PDF as files, the rest as text with its path. Throws FILE_NOT_FOUND. */
export async function readAttachments(files: string[], cwd: string): Promise<(TextPart | FilePart)[]> {
  return Promise.all(files.map((file) => readAttachment(file, cwd)));
}

async function readAttachment(file: string, cwd: string): Promise<TextPart | FilePart> {
  const refuse = (reason: string) => new AgentError("FILE_NOT_FOUND", { path: file, option: "--file", reason });
  const bytes = await readFile(resolve(cwd, file)).catch((error: unknown) => {
    throw refuse(errorMessage(error));
  });
  if (bytes.length > LARGEST_FILE) throw refuse(`it has ${bytes.length} bytes; at most ${LARGEST_FILE} can be attached.`);
  const mediaType = MEDIA_TYPES[extname(file).toLowerCase()];
  if (mediaType !== undefined) return { type: "file", mediaType, data: bytes.toString("base64"), filename: basename(file) };
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { type: "text", text: `<file path="${file}">\n${text}\n</file>` };
  } catch {
    throw refuse("it is neither text nor an image nor PDF.");
  }
}
