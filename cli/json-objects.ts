import { isUtf8 } from "node:buffer";
import { AgentError } from "agent-runtime";
import { createJsonMachine, isBlank, type JsonMachine, NEWLINE } from "./json-machine.ts";

/** One object of the input, or what was wrong with a part of it. `line` counts from 1: where the object starts; `size`: its bytes. */
export type JsonPiece = { kind: "object"; value: Record<string, unknown>; line: number; size: number } | { kind: "error"; error: AgentError };

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
  return new Splitter(limit);
}

/** How far some bytes were read, and, where an object broke, what is to be read again before the rest. */
interface Progress {
  next: number;
  again?: Uint8Array | undefined;
}

class Splitter implements ObjectSplitter {
  readonly #limit: number;
  #place: Place = "between";
  #line = 1;
  /** Of the next byte, from 0; -1 where no object of the remains may start in this line any more. */
  #column = 0;
  #machine: JsonMachine = createJsonMachine();
  #start = { line: 1, column: 0 };
  /** Bytes of the object so far; emptied and left empty when it is too long. */
  #parts: Uint8Array[] = [];
  #size = 0;
  #lineSize = 0;
  #lastByte = 0;
  #pieces: JsonPiece[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(chunk: Uint8Array): JsonPiece[] {
    this.#scan(chunk);
    return this.#takePieces();
  }

  end(): JsonPiece[] {
    let truncated: JsonPiece | undefined;
    while (this.#place === "object") {
      const before = this.#pieces.length;
      const again = this.#breakObject("INPUT_TRUNCATED");
      const [error] = this.#pieces.splice(before);
      truncated ??= error;
      this.#scan(again);
    }
    this.#endLine();
    if (truncated) this.#pieces.push(truncated);
    return this.#takePieces();
  }

  #scan(chunk: Uint8Array): void {
    const work = [chunk];
    for (let bytes = work.pop(); bytes !== undefined; bytes = work.pop()) {
      const { next, again } = this.#scanUntilBroken(bytes);
      if (again !== undefined) work.push(bytes.subarray(next), again);
    }
  }

  #scanUntilBroken(bytes: Uint8Array): Progress {
    let next = 0;
    while (next < bytes.length) {
      const byte = bytes[next] as number;
      if (this.#place !== "object") {
        if (!this.#startsObject(byte)) {
          this.#readByte(byte);
          next++;
          continue;
        }
        this.#beginObject();
      }
      const progress = this.#readOn(bytes, next);
      if (progress.again !== undefined) return progress;
      next = progress.next;
    }
    return { next };
  }

  #startsObject(byte: number): boolean {
    if (byte !== OPEN_OBJECT) return false;
    return this.#place === "between" || (this.#place === "remains" && this.#column >= 0 && this.#column <= this.#start.column);
  }

  /** Reads the object on from `from`. */
  #readOn(bytes: Uint8Array, from: number): Progress {
    for (let index = from; index < bytes.length; index++) {
      const byte = bytes[index] as number;
      const now = this.#machine.step(byte);
      if (now === "more") {
        if (byte === NEWLINE) this.#line++;
        this.#column = byte === NEWLINE ? 0 : this.#column + 1;
        continue;
      }
      const next = now === "done" ? index + 1 : index;
      this.#keep(bytes.subarray(from, next));
      return { next, again: this.#place === "object" ? this.#leaveObject(now) : undefined };
    }
    this.#keep(bytes.subarray(from));
    return { next: bytes.length };
  }

  /** Gives the bytes to read again, where some of a broken object's are. */
  #leaveObject(now: "done" | "broken"): Uint8Array | undefined {
    if (now === "done") this.#endObject();
    else if (this.#line !== this.#start.line) return this.#breakObject("INPUT_INVALID");
    else {
      this.#parts = [];
      this.#beginLine("broken");
    }
    return undefined;
  }

  #beginObject(): void {
    this.#place = "object";
    this.#start = { line: this.#line, column: this.#column };
    this.#machine = createJsonMachine();
    this.#parts = [];
    this.#size = 0;
  }

  #keep(bytes: Uint8Array): void {
    const before = this.#size;
    this.#size += bytes.length;
    if (this.#size <= this.#limit) this.#parts.push(bytes);
    else if (before <= this.#limit) {
      this.#parts = [];
      this.#report("INPUT_TOO_LONG");
      if (this.#start.line === this.#line) this.#place = "dropped";
    }
  }

  #endObject(): void {
    this.#place = "between";
    this.#column++;
    if (this.#size <= this.#limit) this.#pieces.push(readObject(Buffer.concat(this.#parts), this.#start.line));
    this.#parts = [];
  }

  /** The bytes of the broken object that must be read again: its lines after the first. */
  #breakObject(code: "INPUT_INVALID" | "INPUT_TRUNCATED"): Uint8Array {
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [];
    if (this.#size <= this.#limit) this.#report(code, "it is not a JSON object.");
    this.#place = "remains";
    const newline = bytes.indexOf(NEWLINE);
    if (newline < 0) {
      this.#column = -1;
      return bytes.subarray(bytes.length);
    }
    this.#line = this.#start.line + 1;
    this.#column = 0;
    return bytes.subarray(newline + 1);
  }

  #readByte(byte: number): void {
    if (byte === NEWLINE) {
      this.#endLine();
      this.#line++;
      this.#column = 0;
      return;
    }
    if (this.#place === "between" && !isBlank(byte)) this.#beginLine("garbage");
    if (!isBlank(byte)) this.#lastByte = byte;
    this.#lineSize++;
    const isIndent = byte === SPACE || byte === TAB;
    this.#column = this.#place === "remains" && (this.#column < 0 || !isIndent) ? -1 : this.#column + 1;
  }

  /** A `broken` line started where its object did. */
  #beginLine(place: "garbage" | "broken"): void {
    if (place === "garbage") this.#start = { line: this.#line, column: this.#column };
    this.#place = place;
    this.#lineSize = this.#column;
    this.#lastByte = 0;
  }

  #endLine(): void {
    const place = this.#place;
    if (place === "dropped") this.#place = "between";
    if (place !== "garbage" && place !== "broken") return;
    if (this.#lineSize > this.#limit) this.#report("INPUT_TOO_LONG");
    else this.#report("INPUT_INVALID", place === "garbage" ? "it does not start with {." : "it is not a JSON object.");
    this.#place = place === "garbage" || this.#lastByte === CLOSE_OBJECT ? "between" : "remains";
  }

  #report(code: "INPUT_INVALID" | "INPUT_TOO_LONG" | "INPUT_TRUNCATED", reason = ""): void {
    this.#pieces.push({ kind: "error", error: new AgentError(code, { line: this.#start.line, limit: this.#limit, reason }) });
  }

  #takePieces(): JsonPiece[] {
    const taken = this.#pieces;
    this.#pieces = [];
    return taken;
  }
}

function readObject(bytes: Uint8Array, line: number): JsonPiece {
  const refuse = (reason: string): JsonPiece => ({ kind: "error", error: new AgentError("INPUT_INVALID", { line, reason }) });
  const badLine = findBadLine(bytes);
  if (badLine >= 0) return { kind: "error", error: new AgentError("INPUT_ENCODING", { line: line + badLine }) };
  try {
    const value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"));
    const key = findForbiddenKey(value);
    return key === undefined ? { kind: "object", value, line, size: bytes.length } : refuse(`the key ${key} is not allowed.`);
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
