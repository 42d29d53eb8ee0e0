import { extname } from "node:path";

export interface MediaKind {
  mediaType: string;
  name: "Image" | "PDF";
}

const IMAGE_EXTENSIONS = new Set([".png", ".jpg", ".jpeg", ".gif", ".webp"]);

/** Formats of which no part is text, though the first bytes may look like it. */
const BINARY_EXTENSIONS = new Set(
  ".zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .jar .war .class .exe .dll .so .dylib .a .o .obj .lib .wasm .pyc .pyo .doc .docx .xls .xlsx .ppt .pptx .odt .ods .odp".split(
    " ",
  ),
);

/** Share of control characters from which a file counts as binary (as in link-assistant's and opencode's read). */
const CONTROL_SHARE = 0.3;

export const hasImageExtension = (path: string): boolean => IMAGE_EXTENSIONS.has(extname(path).toLowerCase());

/** The kind of a file that goes to the model as it is, told by its first bytes. */
export function mediaKindOf(sample: Buffer): MediaKind | undefined {
  const ascii = sample.subarray(0, 16).toString("latin1");
  if (ascii.startsWith("\x89PNG\r\n\x1a\n")) return { mediaType: "image/png", name: "Image" };
  if (ascii.startsWith("\xff\xd8\xff")) return { mediaType: "image/jpeg", name: "Image" };
  if (/^GIF8[79]a/.test(ascii)) return { mediaType: "image/gif", name: "Image" };
  if (/^RIFF[\s\S]{4}WEBP/.test(ascii)) return { mediaType: "image/webp", name: "Image" };
  if (ascii.startsWith("%PDF-")) return { mediaType: "application/pdf", name: "PDF" };
  return undefined;
}

/** Images, audio and video that no model is given, told by their first bytes: how they are called, and what to do instead. */
export function foreignMediaOf(sample: Buffer): { name: string; advice: string } | undefined {
  const ascii = sample.subarray(0, 16).toString("latin1");
  const image = FOREIGN_IMAGES.find(([start]) => start.test(ascii));
  if (image !== undefined) return { name: image[1], advice: "Convert it to PNG first." };
  const sound = FOREIGN_SOUNDS.find(([start]) => start.test(ascii));
  return sound && { name: sound[1], advice: "Describe or transcribe it with a program, for example ffprobe." };
}

const FOREIGN_IMAGES: [RegExp, string][] = [
  [/^BM[\s\S]{4}\0\0\0\0/, "a BMP image"],
  [/^(II\*\0|MM\0\*)/, "a TIFF image"],
  [/^\0\0\x01\0/, "an ICO image"],
  [/^[\s\S]{4}ftypavi[fs]/, "an AVIF image"],
  [/^[\s\S]{4}ftyp(hei[cfsmx]|mif1)/, "a HEIC image"],
];

const FOREIGN_SOUNDS: [RegExp, string][] = [
  [/^(ID3|\xff[\xfb\xf3\xf2]|RIFF[\s\S]{4}WAVE|OggS|fLaC|[\s\S]{4}ftypM4A)/, "audio"],
  [/^([\s\S]{4}ftyp|\x1aE\xdf\xa3|RIFF[\s\S]{4}AVI )/, "video"],
];

/** How many of the first bytes of a file tell what it is. */
export const SAMPLE_BYTES = 4_096;

/** Why a file is not text, judged by its name and its first bytes; undefined when it is. */
export function binaryReason(path: string, sample: Buffer): string | undefined {
  const wide = wideEncodingOf(sample);
  if (wide !== undefined) return `is ${wide} text, not UTF-8.`;
  if (sample.includes(0)) return "is a binary file.";
  if (BINARY_EXTENSIONS.has(extname(path).toLowerCase()) && sample.length > 0) return "is a binary file.";
  const controls = sample.reduce((count, byte) => (isControl(byte) ? count + 1 : count), 0);
  return controls > sample.length * CONTROL_SHARE ? "is a binary file." : undefined;
}

/** An encoding that has a byte order mark and two or four bytes for a letter. */
export function wideEncodingOf(sample: Buffer): "UTF-16" | "UTF-32" | undefined {
  const start = sample.subarray(0, 4).toString("hex");
  if (start === "fffe0000" || start === "0000feff") return "UTF-32";
  return start.startsWith("fffe") || start.startsWith("feff") ? "UTF-16" : undefined;
}

/** Tab, newline, form feed, return, backspace and escape occur in text. */
const isControl = (byte: number): boolean => byte === 127 || (byte < 32 && ![8, 9, 10, 12, 13, 27].includes(byte));
