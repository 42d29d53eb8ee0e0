import { AgentError } from "./errors.ts";
import type { Pieces } from "./http-exchange.ts";

/** Server-sent events of streamed chat completions, as bytes: no JSON is parsed here. */

export type StreamOpening = { kind: "events"; bytes: Uint8Array } | { kind: "other"; text: string };

/** How much of a body that is no event stream is read to find out what it is. */
const OPENING_LIMIT = 64 * 1024;
const FIELD = /^(?:data|event|id|retry):/;
/** Blank lines and comments of an event stream, each to its end. */
const COMMENTS = /^(?:\s*:[^\r\n]*[\r\n])*\s*/;

/**
 * Reads until it is clear what a body is. An event stream is recognised by its first line whatever its content type;
 * where the content type says so, everything that is not JSON or a page is taken for one. A byte order mark is dropped.
 * An object is read to its end, also where comments come before it, and not beyond; throws ANSWER_TOO_LONG at 16 MiB of one.
 */
export async function readOpening(reader: Pieces, contentType: string): Promise<StreamOpening> {
  let bytes: Uint8Array = Buffer.alloc(0);
  for (;;) {
    const { done, value } = await reader.read();
    if (value !== undefined) bytes = bytes.length === 0 ? value : Buffer.concat([bytes, value]);
    if (done || bytes.length >= 3) bytes = withoutMark(bytes);
    const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, OPENING_LIMIT));
    // One character a byte, so that its length is an offset.
    const text = head.toString("latin1");
    const start = text.replace(COMMENTS, "");
    if (FIELD.test(start)) return { kind: "events", bytes };
    const isEvents = contentType.includes("event-stream") && start !== "" && !/^[{<[]/.test(start);
    if (isEvents && start.includes("\n")) return { kind: "events", bytes };
    if (start.startsWith("{")) return { kind: "other", text: await readObject(reader, bytes.subarray(text.length - start.length)) };
    if (done || bytes.length >= OPENING_LIMIT) return text.trimStart().startsWith(":") ? { kind: "events", bytes } : { kind: "other", text: head.toString() };
  }
}

/** The text of an object, up to where it is complete or the body ends: a connection may stay open after it. */
async function readObject(reader: Pieces, opening: Uint8Array): Promise<string> {
  const findEnd = createEndFinder();
  const pieces: Uint8Array[] = [];
  let size = 0;
  for (let piece: Uint8Array | undefined = opening; piece !== undefined; piece = (await reader.read()).value) {
    const end = findEnd(piece);
    pieces.push(piece.subarray(0, end));
    size += piece.length;
    if (end !== undefined) break;
    if (size > EVENT_LIMIT) throw tooLong(EVENT_LIMIT, "bytes in one object");
  }
  return Buffer.concat(pieces).toString();
}

const [QUOTE, BACKSLASH, OPENING_BRACE, CLOSING_BRACE] = [0x22, 0x5c, 0x7b, 0x7d];

/** Tells where in the pieces of an object its last brace has passed. Each byte is looked at once, however many pieces come. */
function createEndFinder(): (piece: Uint8Array) => number | undefined {
  let [depth, isText, isEscaped] = [0, false, false];
  return (piece) => {
    for (let index = 0; index < piece.length; index++) {
      const byte = piece[index];
      if (isEscaped) isEscaped = false;
      else if (isText && byte === BACKSLASH) isEscaped = true;
      else if (byte === QUOTE) isText = !isText;
      else if (!isText && byte === OPENING_BRACE) depth++;
      else if (!isText && byte === CLOSING_BRACE && --depth === 0) return index + 1;
    }
    return undefined;
  };
}

const tooLong = (limit: number, unit: string) => new AgentError("ANSWER_TOO_LONG", { model: "the model", limit: `${limit} ${unit}` });

const withoutMark = (bytes: Uint8Array): Uint8Array => (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes);

export interface DeltaMerger {
  /** The events that are complete with these bytes, without `[DONE]`; empty while none is. */
  push(bytes: Uint8Array): Uint8Array;
  /** The last event where it lacks only its blank line; nothing where it is cut. */
  end(): Uint8Array;
  /** A `finish_reason` has come: what follows is at most the bill. */
  isFinished(): boolean;
  /** `[DONE]` has come. */
  isDone(): boolean;
}

const EVENT_LIMIT = 16 * 1024 * 1024;
const NOTHING = new Uint8Array(0);
const DONE = /(?:^|\n)data:\s*\[DONE\]\s*(?:\n|$)/;

/**
 * Joins events of one read that differ in nothing but one text of `choices[0].delta`: content, reasoning, or arguments of
 * a call. Works on Latin-1 strings, one character a byte, so a UTF-8 character is never torn: only whole events leave.
 * Throws ANSWER_TOO_LONG at 16 MiB of one event.
 */
export function createDeltaMerger(): DeltaMerger {
  let [tail, endsInReturn, endsInNewline, isFinished, isDone] = ["", false, false, false, false];
  const take = (events: string): Uint8Array => {
    isDone ||= events.includes("[DONE]") && DONE.test(events);
    isFinished ||= FINISH.test(events);
    const told = isDone ? events.replace(DONE, (mark) => (mark.startsWith("\n") ? "\n" : "")) : events;
    return Buffer.from(renameKeys(mergeEvents(told)), "latin1");
  };
  return {
    push(bytes) {
      const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
      // A return ends a line at once; a newline that comes after it belongs to the same end.
      let text = endsInReturn && piece.startsWith("\n") ? piece.slice(1) : piece;
      if (piece !== "") endsInReturn = piece.endsWith("\r");
      if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
      const blank = text.lastIndexOf("\n\n");
      const end = blank >= 0 ? blank + 2 : endsInNewline && text.startsWith("\n") ? 1 : 0;
      const events = end === 0 ? "" : tail + text.slice(0, end);
      tail = end === 0 ? tail + text : text.slice(end);
      if (text !== "") endsInNewline = text.endsWith("\n") && tail !== "";
      if (tail.length > EVENT_LIMIT) throw tooLong(EVENT_LIMIT, "bytes in one event");
      return events === "" ? NOTHING : take(events);
    },
    end() {
      const rest = tail.trimEnd();
      tail = "";
      return rest.endsWith("}") || DONE.test(rest) ? take(`${rest}\n\n`) : NOTHING;
    },
    isFinished: () => isFinished,
    isDone: () => isDone,
  };
}

const FINISH = /(?<!\\)"finish_reason":\s*"\w/;

/** Calls are read by us, and packages throw at some of them (ADR 7). Escaped quotes keep this from matching inside a text. */
const renameKeys = (events: string): string => events.replaceAll('"tool_calls":', '"exact_tool_calls":');

interface Delta {
  /** The event up to its text, the text as it is escaped, the event from its closing quote on. */
  prefix: string;
  content: string;
  suffix: string;
}

function mergeEvents(events: string): string {
  const out: string[] = [];
  let run: Delta | undefined;
  let start = 0;
  while (start < events.length) {
    const quote = run !== undefined && events.startsWith(run.prefix, start) ? closingQuote(events, start + run.prefix.length) : -1;
    if (run !== undefined && quote >= 0 && events.startsWith(run.suffix, quote)) {
      out.push(events.slice(start + run.prefix.length, quote));
      start = quote + run.suffix.length;
      continue;
    }
    if (run !== undefined) out.push(run.suffix);
    const blank = events.indexOf("\n\n", start);
    const end = blank < 0 ? events.length : blank + 2;
    run = splitDelta(events.slice(start, end));
    if (run === undefined) out.push(events.slice(start, end));
    else out.push(run.prefix, run.content);
    start = end;
  }
  if (run !== undefined) out.push(run.suffix);
  return out.join("");
}

const EMPTY = String.raw`"\w+":\s*(?:null|""|"assistant"|\[\])`;
const CALL = String.raw`"tool_calls":\s*\[\s*\{\s*"index":\s*\d+\s*,\s*(?:"type":\s*"function"\s*,\s*)?"function":\s*\{\s*"arguments"`;
/** From `delta` to the one text that it holds: content, reasoning, or the arguments of a call that has begun. */
const BEFORE_TEXT = new RegExp(String.raw`"delta":\s*\{(?:\s*${EMPTY}\s*,)*\s*(?:"(?:content|reasoning|reasoning_content)"|(${CALL})):\s*"`);
const AFTER_TEXT = new RegExp(String.raw`^"(?:\s*,\s*${EMPTY})*\s*\}`);
const AFTER_ARGUMENTS = new RegExp(String.raw`^"\s*\}\s*\}\s*\](?:\s*,\s*${EMPTY})*\s*\}`);

/** An event that says nothing but a piece of text; undefined for any other, or where there is doubt. */
function splitDelta(event: string): Delta | undefined {
  const found = BEFORE_TEXT.exec(event);
  if (found === null) return undefined;
  const from = found.index + found[0].length;
  const quote = closingQuote(event, from);
  if (quote < 0) return undefined;
  const [prefix, content, suffix] = [event.slice(0, from), event.slice(from, quote), event.slice(quote)];
  const isPlain =
    (found[1] === undefined ? AFTER_TEXT : AFTER_ARGUMENTS).test(suffix) &&
    !suffix.includes('"delta"') &&
    !/"finish_reason":\s*"/.test(suffix) &&
    !/"finish_reason":\s*"/.test(prefix);
  return isPlain ? { prefix, content, suffix } : undefined;
}

/** Position of the quote that ends the JSON string which begins at `from`; -1 where there is none. */
function closingQuote(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 92 && quote - backslashes > from) backslashes++;
    if (backslashes % 2 === 0) return quote;
  }
  return -1;
}
