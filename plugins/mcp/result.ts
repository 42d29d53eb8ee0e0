import type { Attachment, ToolContext, ToolResult } from "agent-runtime";
import { cleanShort } from "./clean.ts";
import { isObject } from "./connection.ts";

const MOST_PARTS = 1_000;
const MOST_FILES = 16;
const LONGEST_FAILURE = 8_000;
const PICTURE = /^image\/(png|jpeg|gif|webp)$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

interface Shown {
  text?: string;
  file?: Attachment;
}

/** What a tool of a server has returned, as the model gets it: text, and pictures where the model takes them. Throws what it says where it failed. */
export function toResult(result: unknown, { accepts }: Pick<ToolContext, "accepts">): ToolResult {
  if (!isObject(result)) throw new Error("The server answered with something that is no result.");
  const parts = (Array.isArray(result.content) ? result.content : []).slice(0, MOST_PARTS).filter(isObject);
  const shown = parts.map((part) => showPart(part, accepts));
  const texts = shown.flatMap(({ text }) => text ?? []);
  if (texts.length === 0 && result.structuredContent !== undefined) texts.push(JSON.stringify(result.structuredContent, null, 2));
  const files = shown.flatMap(({ file }) => file ?? []).slice(0, MOST_FILES);
  const output = texts.join("\n\n") || (files.length > 0 ? `${files.length} files are attached.` : "The tool returned nothing.");
  // What a call fails with is told as it is: nobody else shortens it.
  if (result.isError === true)
    throw new Error(output.length > LONGEST_FAILURE ? `${output.slice(0, LONGEST_FAILURE)}… (${output.length} characters in all)` : output);
  return { output, ...(files.length > 0 && { attachments: files }) };
}

function showPart(part: Record<string, unknown>, accepts: ToolContext["accepts"]): Shown {
  const { type, text, data, mimeType, resource, uri } = part;
  if (type === "text" && typeof text === "string") return { text };
  if ((type === "image" || type === "audio") && typeof data === "string") return showFile(data, mimeType, accepts);
  if (type === "resource_link") return { text: `A resource: ${cleanShort(String(uri), 2_000)}` };
  if (type === "resource" && isObject(resource)) {
    if (typeof resource.text === "string") return { text: `${cleanShort(String(resource.uri), 2_000)}:\n${resource.text}` };
    if (typeof resource.blob === "string") return showFile(resource.blob, resource.mimeType, accepts);
  }
  return { text: `(A part of the kind "${cleanShort(String(type), 40)}" cannot be shown.)` };
}

/** Of what is no picture it is said what it is, unless the model is known to take it. */
function showFile(data: string, given: unknown, accepts: ToolContext["accepts"]): Shown {
  const mediaType = typeof given === "string" && /^[a-z]+\/[\w.+-]{1,80}$/.test(given) ? given : "application/octet-stream";
  const taken = accepts(mediaType);
  const isTaken = BASE64.test(data) && data.length > 0 && (taken ?? PICTURE.test(mediaType));
  return isTaken ? { file: { mediaType, data } } : { text: `(A file of the type ${mediaType}, ${Math.floor((data.length * 3) / 4)} bytes, was left out.)` };
}
