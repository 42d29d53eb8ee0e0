import { isUtf8 } from "node:buffer";
import { AgentError } from "agent-runtime";
import { createJsonMachine, isBlank, type JsonMachine, NEWLINE } from "./json-machine.ts";

/** One object of the input, or what was wrong with a part of it. `line` counts from 1: where the object starts. */
export type JsonPiece = { kind: "object"; value: Record<string, unknown>; line: number } | { kind: "error"; error: AgentError };

/** Bytes of one object or line. */
export const INPUT_LIMIT = 16 * 1024 * 1024;

const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const TAB = 0x09;
const SPACE = 0x20;

/**
 * Where the splitter is:
 * - `between` objects; in an `object`; in a line of `garbage`;
 * - in a `broken` line: the first line of an object that is none, read to its end;
 * - in the `remains` of an object that broke in a later line: skipped up to a line that starts an object no further
 *   indented than the broken one was;
 * - in a line that is too long to be kept, `dropped` to its end.
 */
type Place = "between" | "object" | "garbage" | "broken" | "remains" | "dropped";

/**
 * Splits a stream of bytes into JSON objects, pretty-printed or one a line, each given as soon as it is complete.
 * Whatever is broken costs one error and no object beside it: two objects are never read as one. At most `limit` bytes
 * of an object are kept.
 */
export interface ObjectSplitter {
  push(chunk: Uint8Array): JsonPiece[];
  /** The input is over. */
  end(): JsonPiece[];
}

export function createObjectSplitter(limit = INPUT_LIMIT): ObjectSplitter {
  let place: Place = "between";
  let line = 1;
  /** Of the next byte, from 0; -1 where no object of the remains may start in this line any more. */
  let column = 0;
  let machine: JsonMachine = createJsonMachine();
  let start = { line: 1, column: 0 };
  /** Bytes of the object so far; emptied and left empty when it is too long. */
  let parts: Uint8Array[] = [];
  let size = 0;
  let lineSize = 0;
  let lastByte = 0;
  let pieces: JsonPiece[] = [];

  const report = (code: "INPUT_INVALID" | "INPUT_TOO_LONG" | "INPUT_TRUNCATED", reason = "") =>
    pieces.push({ kind: "error", error: new AgentError(code, { line: start.line, limit, reason }) });

  const beginObject = () => {
    place = "object";
    start = { line, column };
    machine = createJsonMachine();
    parts = [];
    size = 0;
  };

  const beginLine = (next: Place) => {
    if (next !== "broken") start = { line, column };
    place = next;
    lineSize = column;
    lastByte = 0;
  };

  const keep = (bytes: Uint8Array) => {
    const before = size;
    size += bytes.length;
    if (size <= limit) parts.push(bytes);
    else if (before <= limit) {
      parts = [];
      report("INPUT_TOO_LONG");
      if (start.line === line) place = "dropped";
    }
  };

  /** The bytes of the broken object that must be read again: its lines after the first. */
  const breakObject = (code: "INPUT_INVALID" | "INPUT_TRUNCATED"): Uint8Array => {
    const bytes = Buffer.concat(parts);
    parts = [];
    if (size <= limit) report(code, "it is not a JSON object.");
    place = "remains";
    const newline = bytes.indexOf(NEWLINE);
    if (newline < 0) {
      column = -1;
      return bytes.subarray(bytes.length);
    }
    line = start.line + 1;
    column = 0;
    return bytes.subarray(newline + 1);
  };

  const endObject = () => {
    place = "between";
    if (size <= limit) pieces.push(readObject(Buffer.concat(parts), start.line));
    parts = [];
  };

  const endLine = () => {
    if (place === "garbage" || place === "broken") {
      if (lineSize > limit) report("INPUT_TOO_LONG");
      else report("INPUT_INVALID", place === "garbage" ? "it does not start with {." : "it is not a JSON object.");
      place = place === "garbage" || lastByte === CLOSE_OBJECT ? "between" : "remains";
    } else if (place === "dropped") place = "between";
  };

  /** Reads the object on from `from`; gives the index after it, and bytes to read again where it broke. */
  const readOn = (bytes: Uint8Array, from: number): { next: number; again?: Uint8Array } => {
    for (let i = from; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      const now = machine.step(byte);
      if (now === "more") {
        if (byte === NEWLINE) line++;
        column = byte === NEWLINE ? 0 : column + 1;
        continue;
      }
      const firstLine = line === start.line;
      const next = now === "done" ? i + 1 : i;
      keep(bytes.subarray(from, next));
      if (place !== "object") return { next };
      if (now === "done") {
        column++;
        endObject();
      } else if (firstLine) {
        parts = [];
        beginLine("broken");
      } else return { next, again: breakObject("INPUT_INVALID") };
      return { next };
    }
    keep(bytes.subarray(from));
    return { next: bytes.length };
  };

  const readByte = (byte: number) => {
    if (byte === NEWLINE) {
      endLine();
      line++;
      column = 0;
      return;
    }
    if (place === "between" && !isBlank(byte)) beginLine("garbage");
    if (!isBlank(byte)) lastByte = byte;
    lineSize++;
    column = place === "remains" && (column < 0 || (byte !== SPACE && byte !== TAB)) ? -1 : column + 1;
  };

  const startsObject = (byte: number): boolean =>
    byte === OPEN_OBJECT && (place === "between" || (place === "remains" && column >= 0 && column <= start.column));

  const scan = (chunk: Uint8Array) => {
    const work = [chunk];
    for (let bytes = work.pop(); bytes !== undefined; bytes = work.pop()) {
      let i = 0;
      while (i < bytes.length) {
        const byte = bytes[i] as number;
        if (place !== "object" && !startsObject(byte)) {
          readByte(byte);
          i++;
          continue;
        }
        if (place !== "object") beginObject();
        const { next, again } = readOn(bytes, i);
        i = next;
        if (again === undefined) continue;
        work.push(bytes.subarray(i), again);
        break;
      }
    }
  };

  const take = (): JsonPiece[] => {
    const taken = pieces;
    pieces = [];
    return taken;
  };

  return {
    push(chunk) {
      scan(chunk);
      return take();
    },
    end() {
      let truncated: JsonPiece | undefined;
      while (place === "object") {
        const before = pieces.length;
        const again = breakObject("INPUT_TRUNCATED");
        const [error] = pieces.splice(before);
        truncated ??= error;
        scan(again);
      }
      endLine();
      if (truncated) pieces.push(truncated);
      return take();
    },
  };
}

function readObject(bytes: Uint8Array, line: number): JsonPiece {
  const refuse = (reason: string): JsonPiece => ({ kind: "error", error: new AgentError("INPUT_INVALID", { line, reason }) });
  const badLine = findBadLine(bytes);
  if (badLine >= 0) return { kind: "error", error: new AgentError("INPUT_ENCODING", { line: line + badLine }) };
  try {
    const value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"));
    const key = findForbiddenKey(value);
    return key === undefined ? { kind: "object", value, line } : refuse(`the key ${key} is not allowed.`);
  } catch (error) {
    return refuse(`it is not JSON: ${(error as Error).message.replace(/\s+/g, " ").slice(0, 200)}`);
  }
}

/** Index of the first line that is not UTF-8, or -1. */
export function findBadLine(bytes: Uint8Array): number {
  if (isUtf8(bytes)) return -1;
  let index = 0;
  for (let from = 0; ; index++) {
    const newline = bytes.indexOf(NEWLINE, from);
    if (newline < 0 || !isUtf8(bytes.subarray(from, newline))) return index;
    from = newline + 1;
  }
}

const FORBIDDEN = new Set(["__proto__", "constructor"]);

function findForbiddenKey(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, entry] of Object.entries(value)) {
    const found = FORBIDDEN.has(key) && !Array.isArray(value) ? key : findForbiddenKey(entry);
    if (found !== undefined) return found;
  }
  return undefined;
}
