import { attachedText, findDataFault, type UserContent } from "agent-runtime/host";

export type Fields = Record<string, unknown>;

export const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

type Part = Exclude<UserContent, string>[number];

const EXPECTED = "the content must be a string or a list of blocks of the types text, image and document.";

/** The content of a user's frame, as the Messages API writes it: text, images and documents in their order. A string says what is wrong with it. */
export function readContent(content: unknown): { message: UserContent } | string {
  if (typeof content === "string") return { message: content };
  if (!Array.isArray(content)) return EXPECTED;
  const parts: Part[] = [];
  for (const [index, block] of content.entries()) {
    const part = isFields(block) ? readBlock(block) : EXPECTED;
    if (part === EXPECTED) return EXPECTED;
    if (typeof part === "string") return `block ${index + 1} of the content: ${part}`;
    parts.push(part);
  }
  const texts = parts.flatMap((part) => (part.type === "text" ? [part.text] : []));
  if (texts.length === parts.length) return { message: texts.join("\n") };
  // Providers refuse a text that is empty.
  return { message: parts.filter((part) => part.type !== "text" || part.text.trim() !== "") };
}

function readBlock({ type, text, source, title }: Fields): Part | string {
  if (type === "text" && typeof text === "string") return { type, text };
  if ((type !== "image" && type !== "document") || !isFields(source)) return EXPECTED;
  const filename = typeof title === "string" && title !== "" ? title : "document";
  if (type === "document" && source.type === "text") return typeof source.data === "string" ? attachedText(filename, source.data) : "its data is no text.";
  const file =
    source.type === "base64" ? readData(type, source) : source.type === "url" ? readUrl(type, source) : "its source has none of the types base64 and url.";
  if (typeof file === "string") return file;
  return { type: "file", ...file, ...(type === "document" && { filename: `${filename.replace(/\.pdf$/i, "")}.pdf` }) };
}

type FileData = Pick<Extract<Part, { type: "file" }>, "mediaType" | "data">;

function readData(type: "image" | "document", { media_type: mediaType, data }: Fields): FileData | string {
  const fault = findDataFault(mediaType, data);
  if (fault !== undefined) return fault;
  const isImage = (mediaType as string).startsWith("image/");
  if (isImage !== (type === "image")) return `${mediaType} is no media type of ${type === "image" ? "an image" : "a document"}.`;
  return { mediaType: mediaType as string, data: data as string };
}

/** Nothing is fetched here: the provider reads it, or refuses it. */
function readUrl(type: "image" | "document", { url }: Fields): FileData | string {
  if (typeof url !== "string" || !/^https?:/i.test(url) || !URL.canParse(url)) return "its url is not one of http or https.";
  return { mediaType: type === "image" ? "image/*" : "application/pdf", data: new URL(url) };
}
