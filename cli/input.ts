import { AgentError, type PromptRequest } from "agent-runtime";
import { toAgentError } from "agent-runtime/host";
import type { Conversation, Turn } from "./conversation.ts";
import { createObjectSplitter, findBadLine, INPUT_LIMIT, type JsonPiece } from "./json-objects.ts";
import { REQUEST_KEYS, readRequestObject } from "./request.ts";
import type { Stdin } from "./stdin.ts";
import { suggestName } from "./suggestion.ts";

/** The format that the prompt came in decides the format of the answer, where nothing else does. */
export type PromptFormat = "text" | "json" | "stream-json";

/** `turn`: of a prompt that came as a frame. */
export type InputItem =
  | { kind: "request"; request: PromptRequest; format: PromptFormat; turn?: Turn }
  | { kind: "error"; error: AgentError; format: PromptFormat };

export interface InputOptions {
  prompt?: string;
  /** Stdin's text follows the prompt. */
  joinStdin: boolean;
  format: "auto" | PromptFormat;
  stdin: Stdin;
  /** Who reads stdin where it holds frames. */
  conversation?: Conversation | undefined;
  signal: AbortSignal;
  /** A line for the person at the terminal. */
  say(line: string): void;
  /** How long stdin may be silent before the person is told what is waited for. */
  silenceMs?: number;
}

/**
 * The prompts of the command line and of stdin, in order. Stdin is read only as far as prompts are taken, so a fast
 * writer waits and nothing piles up; frames are read by the conversation. Never throws: what cannot be read is an item
 * of kind "error", and the reading goes on.
 */
export async function* readInput(options: InputOptions): AsyncGenerator<InputItem> {
  try {
    yield* options.prompt === undefined ? readStdin(options) : readPrompt(options.prompt, options);
  } catch (error) {
    yield { kind: "error", error: toAgentError(error), format: options.format === "auto" ? "text" : options.format };
  }
}

async function* readPrompt(prompt: string, options: InputOptions): AsyncGenerator<InputItem> {
  const joined = options.joinStdin || options.stdin.kind === "file";
  const added = joined && options.stdin.kind !== "nothing" ? await readText(options.stdin.read(options.signal)) : "";
  if (options.signal.aborted) return;
  const text = [prompt, added.replace(/\n$/, "")].filter((part) => part.trim() !== "").join("\n\n");
  if (options.format !== "json") return yield textItem(text);
  const splitter = createObjectSplitter();
  yield* readPieces([...splitter.push(Buffer.from(text)), ...splitter.end()], options);
}

async function* readStdin(options: InputOptions): AsyncGenerator<InputItem> {
  const { stdin, signal, conversation } = options;
  const format = options.format === "auto" ? "text" : options.format;
  if (stdin.kind === "terminal" && !options.joinStdin) return yield emptyItem(format);
  if (stdin.kind === "nothing") return yield emptyItem(format);
  if (conversation !== undefined) return yield* conversation.read(withoutMark(stdin.read(signal)), { isFile: stdin.kind === "file" });
  const chunks = withoutMark(withNotice(stdin.read(signal), options));
  const { first, kind } = await findFormat(chunks, options.format);
  if (signal.aborted) return;
  if (kind === "text") yield textItem(await readText(prepend(first, chunks)));
  else yield* readObjects(prepend(first, chunks), options);
}

const emptyItem = (format: PromptFormat): InputItem => ({ kind: "error", error: new AgentError("INPUT_EMPTY"), format });

const textItem = (message: string): InputItem => (message.trim() === "" ? emptyItem("text") : { kind: "request", request: { message }, format: "text" });

/** Reads until the first byte that is not blank tells what the input is. */
async function findFormat(chunks: AsyncIterator<Uint8Array>, format: InputOptions["format"]): Promise<{ first: Uint8Array[]; kind: PromptFormat }> {
  const first: Uint8Array[] = [];
  let size = 0;
  if (format !== "auto") return { first, kind: format };
  // An input that is blank beyond the limit, /dev/zero for one, is too long as a text.
  for (let next = await chunks.next(); !next.done && size <= INPUT_LIMIT; next = await chunks.next()) {
    first.push(next.value);
    size += next.value.length;
    const byte = next.value.find((value) => value > 0x20);
    if (byte !== undefined) return { first, kind: byte === 0x7b ? "json" : "text" };
  }
  return { first, kind: "text" };
}

async function* prepend(first: Uint8Array[], rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first;
  yield* rest;
}

/** Everything to the end as one text. Throws INPUT_TOO_LONG and INPUT_ENCODING. */
async function readText(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > INPUT_LIMIT) throw new AgentError("INPUT_TOO_LONG", { line: 1 + countLines(parts), limit: INPUT_LIMIT });
    parts.push(chunk);
  }
  const bytes = Buffer.concat(parts);
  const badLine = findBadLine(bytes);
  if (badLine >= 0) throw new AgentError("INPUT_ENCODING", { line: badLine + 1 });
  return bytes.toString("utf8");
}

const countLines = (parts: Uint8Array[]): number => parts.reduce((sum, part) => sum + part.reduce((lines, byte) => lines + (byte === 0x0a ? 1 : 0), 0), 0);

async function* readObjects(chunks: AsyncIterable<Uint8Array>, options: InputOptions): AsyncGenerator<InputItem> {
  const splitter = createObjectSplitter();
  let found = false;
  for await (const chunk of chunks) {
    const pieces = splitter.push(chunk);
    found ||= pieces.length > 0;
    yield* readPieces(pieces, options);
  }
  if (options.signal.aborted) return;
  const pieces = splitter.end();
  yield* readPieces(pieces, options);
  if (!found && pieces.length === 0) yield emptyItem("json");
}

async function* readPieces(pieces: JsonPiece[], options: InputOptions): AsyncGenerator<InputItem> {
  for (const piece of pieces) yield piece.kind === "error" ? { ...piece, format: "json" } : await objectItem(piece, options);
}

async function objectItem(piece: Extract<JsonPiece, { kind: "object" }>, options: InputOptions): Promise<InputItem> {
  try {
    const { request, unknown } = readRequestObject(piece.value, piece.line);
    for (const key of unknown)
      options.say(`warning: line ${piece.line}: the key "${key}" is not known and is ignored. ${await suggestName(key, REQUEST_KEYS)}`.trimEnd());
    return { kind: "request", request, format: "json" };
  } catch (error) {
    return { kind: "error", error: toAgentError(error), format: "json" };
  }
}

/** Leaves out the byte order mark that some editors put at the start. */
async function* withoutMark(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let first = true;
  for await (const chunk of chunks) {
    yield first && chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf ? chunk.subarray(3) : chunk;
    first = false;
  }
}

/** Says once what is waited for, when nothing has come for a while; not any more once requests come as JSON. */
async function* withNotice(chunks: AsyncIterable<Uint8Array>, { say, format, silenceMs = 5000 }: InputOptions): AsyncGenerator<Uint8Array> {
  let first: number | undefined;
  let quiet = false;
  const wait = () =>
    setTimeout(() => {
      quiet = true;
      say('waiting for the prompt on stdin, which ends with the end of the input (Ctrl-D); or give it here: agent -p "prompt"');
    }, silenceMs);
  let timer = wait();
  try {
    for await (const chunk of chunks) {
      clearTimeout(timer);
      yield chunk;
      first ??= chunk.find((byte) => byte > 0x20);
      quiet ||= first !== undefined && format !== "text" && (format === "json" || first === 0x7b);
      if (!quiet) timer = wait();
    }
  } finally {
    clearTimeout(timer);
  }
}
