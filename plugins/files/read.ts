import type { FileHandle } from "node:fs/promises";
import { AgentError, type Attachment, type Tool, type ToolContext, type ToolResult, tool, z } from "agent-runtime";
import { binaryReason, foreignMediaOf, hasImageExtension, type MediaKind, mediaKindOf, SAMPLE_BYTES, wideEncodingOf } from "./media.ts";
import { isNotebook, NOTEBOOK_BYTES, renderNotebook } from "./notebook.ts";
import { type Located, locate, missingFile, openRegularFile, permissionPattern, readEntries, unreadable } from "./open-file.ts";
import { type ByteSource, bytesInMemory, type Columns, LINE_CHARACTERS, type LinesRead, readLines } from "./read-lines.ts";
import type { ReadRecord } from "./read-record.ts";
import { countOf } from "./text-file.ts";

const LINES = 2_000;
/** 50 KB with what is said around the lines. */
const OUTPUT_BYTES = 50 * 1024 - 512;
const MEDIA_BYTES = 5 * 1024 * 1024;
/** Up to this size a file is read to its end, so that its lines can be counted and its end be shown. */
const COUNTED_FILE_BYTES = 16 * 1024 * 1024;
const DIRECTORY_ENTRIES = 100;

const input = z.object({
  filePath: z.string(),
  offset: z.number().min(0).describe("first line, from 1").optional(),
  limit: z.number().min(1).describe("lines").optional(),
  columnOffset: z.number().min(0).describe("characters to skip in each line").optional(),
  columnLimit: z.number().min(1).optional(),
});

type Input = z.infer<typeof input>;

export const readTool = (record: ReadRecord): Tool =>
  tool({
    name: "read",
    description:
      "Read a file (2000 lines, 50 KB at a time), image, PDF, notebook or directory. Without offset and limit a long file shows its beginning and end.",
    input,
    effect: "read",
    selfLimiting: true,
    patterns: ({ filePath }, { cwd }) => [permissionPattern(filePath, cwd)],
    run: async (request, context) => {
      const located = await locate(context, request.filePath, "read");
      if (located.stats === undefined) throw await missingFile(context, located.path);
      if (located.stats.isDirectory()) return readDirectory(context, located);
      const { handle, stats } = await openRegularFile(context, located);
      try {
        const result = await readFile({ ...located, stats }, handle, request, context);
        record.remember(context.sessionId, located.path, stats);
        return { ...result, title: located.shown };
      } catch (error) {
        context.signal.throwIfAborted();
        throw unreadable(located.shown, error);
      } finally {
        await handle.close();
      }
    },
  });

function readDirectory(context: ToolContext, located: Located): ToolResult {
  const names = readEntries(context, located)
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    .sort();
  const more = names.length - DIRECTORY_ENTRIES;
  const lines = [`<directory>`, ...names.slice(0, DIRECTORY_ENTRIES), `</directory>`];
  if (names.length === 0) lines.splice(1, 0, "(The directory is empty.)");
  if (more > 0) lines.push(`(${more} more entries. Use glob with a pattern to find one.)`);
  return { output: lines.join("\n"), title: located.shown, metadata: { entries: names.length } };
}

async function readFile(located: Located, handle: FileHandle, request: Input, context: ToolContext): Promise<ToolResult> {
  const sample = await readBytes(handle, SAMPLE_BYTES);
  const media = mediaKindOf(sample);
  if (media !== undefined) return readMedia(located, handle, { ...media, context });
  checkText(located, sample);
  const size = Number(located.stats?.size ?? 0n);
  const whole = { source: handle, size, notes: [] };
  return readText(located, isNotebook(located.path) && size > 0 ? await openNotebook(handle, size) : whole, { request, context });
}

/** What is read line by line, and what is to be said about it at the end. */
interface TextSource {
  source: ByteSource;
  /** Bytes. */
  size: number;
  notes: string[];
}

async function openNotebook(handle: FileHandle, size: number): Promise<TextSource> {
  const asItIs = (reason: string) => ({ source: handle, size, notes: [`(This notebook is shown as the text that it is: ${reason}.)`] });
  if (size > NOTEBOOK_BYTES) return asItIs(`it is larger than ${NOTEBOOK_BYTES / 1024 / 1024} MB`);
  const json = await readBytes(handle, size);
  try {
    const bytes = Buffer.from(renderNotebook(json.toString()));
    return { source: bytesInMemory(bytes), size: bytes.length, notes: [RENDERED] };
  } catch {
    return asItIs("it is not the JSON of one");
  }
}

const RENDERED = "(This is a rendering of the notebook. edit works on its JSON text, the lines of which grep shows.)";

async function readBytes(handle: FileHandle, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, 0);
  return buffer.subarray(0, bytesRead);
}

function checkText({ path, shown }: Located, sample: Buffer): void {
  const foreign = foreignMediaOf(sample);
  if (foreign !== undefined)
    throw new AgentError("FILE_UNSUITABLE", { path: shown, reason: `is ${foreign.name}, which models are not given.`, advice: foreign.advice });
  if (hasImageExtension(path) && sample.length > 0) {
    const start = sample
      .subarray(0, 8)
      .toString("hex")
      .replace(/(..)(?!$)/g, "$1 ");
    throw new AgentError("FILE_UNSUITABLE", {
      path: shown,
      reason: `is not a PNG, JPEG, GIF or WebP image: it begins with ${start}.`,
      advice: "If it is text, copy it to another name and read that.",
    });
  }
  const reason = binaryReason(path, sample);
  if (reason === undefined) return;
  const wide = wideEncodingOf(sample);
  const advice = wide !== undefined ? `Convert it first, for example with iconv -f ${wide} -t UTF-8.` : "Look at it with a program that knows its format.";
  throw new AgentError("FILE_UNSUITABLE", { path: shown, reason, advice });
}

async function readMedia(
  { shown, stats }: Located,
  handle: FileHandle,
  { mediaType, name, context }: MediaKind & { context: ToolContext },
): Promise<ToolResult> {
  if (context.accepts(mediaType) === false) throw notAccepted(shown, name, context);
  const size = Number(stats?.size ?? 0n);
  if (size > MEDIA_BYTES) {
    const megabytes = (size / 1024 / 1024).toFixed(1);
    throw new AgentError("FILE_UNSUITABLE", {
      path: shown,
      reason: `is too large to attach: ${megabytes} MB of at most ${MEDIA_BYTES / 1024 / 1024} MB.`,
      advice: "Make it smaller first.",
    });
  }
  const bytes = await readBytes(handle, size);
  const attachment: Attachment = { mediaType, data: bytes.toString("base64"), filename: shown };
  return { output: `${name} read`, attachments: [attachment], metadata: { mediaType, bytes: bytes.length } };
}

const notAccepted = (path: string, name: MediaKind["name"], { model }: ToolContext): AgentError =>
  new AgentError("FILE_UNSUITABLE", {
    path,
    reason: `is ${name === "PDF" ? "a PDF" : "an image"}, and ${model} takes none.`,
    advice:
      name === "PDF"
        ? "Take its text out with a program (pdftotext), or give the task to a model that takes PDF."
        : "Look at it with a program (file, identify, tesseract), or give the task to a model that takes images.",
  });

async function readText(located: Located, text: TextSource, { request, context }: { request: Input; context: ToolContext }): Promise<ToolResult> {
  const firstLine = Math.max(1, Math.floor(request.offset ?? 1));
  const wanted = {
    firstLine,
    lineLimit: Math.min(LINES, Math.floor(request.limit ?? LINES)),
    byteLimit: OUTPUT_BYTES,
    columns: columnsOf(request),
    countAll: text.size <= COUNTED_FILE_BYTES,
    signal: context.signal,
  };
  const read = await readLines(text.source, wanted);
  const total = read.totalLines;
  if (total !== undefined && firstLine > Math.max(1, total)) throw beyondEnd(located.shown, firstLine, total);
  const lastLine = firstLine + read.lines.length - 1;
  const isWhole = lastLine === total;
  const isLongAndUnasked = request.offset === undefined && request.limit === undefined && total !== undefined && !isWhole;
  const lines = isLongAndUnasked ? await headAndTail(read.lines, total, (more) => readLines(text.source, { ...wanted, ...more })) : read.lines;
  const notes = isLongAndUnasked
    ? ["(Use 'offset' to read the omitted lines.)", `(End of file - total ${countOf(total, "line")})`]
    : endNotes(read, lastLine, isWhole);
  if (!read.isValidUtf8) notes.push("(The file is not valid UTF-8; bytes that are not are shown as \uFFFD.)");
  notes.push(...text.notes);
  return {
    output: ["<file>", ...lines, "", ...notes, "</file>"].join("\n"),
    metadata: { filePath: located.shown, lines: lines.length, totalLines: total, truncated: !isWhole },
  };
}

function columnsOf({ columnOffset, columnLimit }: Input): Columns | undefined {
  if (columnOffset === undefined && columnLimit === undefined) return undefined;
  return { offset: Math.floor(columnOffset ?? 0), limit: Math.min(LINE_CHARACTERS, Math.floor(columnLimit ?? LINE_CHARACTERS)) };
}

function beyondEnd(path: string, offset: number, total: number): AgentError {
  const advice = total === 0 ? "It is empty." : `Use an offset from 1 to ${total}.`;
  return new AgentError("FILE_UNSUITABLE", { path, reason: `has ${countOf(total, "line")}; offset ${offset} is beyond its end.`, advice });
}

/** The first and the last half of what fits, and which lines lie between. */
async function headAndTail(
  head: string[],
  total: number,
  readMore: (wanted: { firstLine: number; byteLimit: number }) => Promise<LinesRead>,
): Promise<string[]> {
  const first = takeBytes(head.slice(0, LINES / 2), OUTPUT_BYTES / 2);
  const tailStart = Math.max(first.length + 1, total - LINES / 2 + 1);
  const rest = await readMore({ firstLine: tailStart, byteLimit: Number.POSITIVE_INFINITY });
  const last = takeBytes(rest.lines.reverse(), OUTPUT_BYTES / 2).reverse();
  return [...first, `... [omitted lines ${first.length + 1}..${total - last.length}] ...`, ...last];
}

function takeBytes(lines: string[], limit: number): string[] {
  let bytes = 0;
  const end = lines.findIndex((line) => {
    bytes += Buffer.byteLength(line) + 1;
    return bytes > limit;
  });
  return end < 0 ? lines : lines.slice(0, Math.max(1, end));
}

function endNotes({ totalLines, lines }: LinesRead, lastLine: number, isWhole: boolean): string[] {
  if (totalLines === 0) return ["(The file is empty.)"];
  if (isWhole) return [`(End of file - total ${countOf(totalLines ?? lines.length, "line")})`];
  const total = totalLines === undefined ? "" : ` Total ${totalLines} lines.`;
  return [`(File has more lines. Use 'offset' to read beyond line ${lastLine}.${total})`];
}
