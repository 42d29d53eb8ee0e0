import { crc32 } from "node:zlib";
import { AgentError } from "./errors.ts";

/** What a record does, in order: set a value (with `value`) or remove it (without). */
export type Operation = [collection: string, id: string] | [collection: string, id: string, value: unknown];

/** Damage that was reported already: file name, CRC-32 of the damaged lines, their number. */
export type KnownDamage = [name: string, crc: number, lines: number];

/** One line of a journal or snapshot: all that one write changed, so it is there whole or not at all. */
export interface StoreRecord {
  /** Schema version of the store that wrote it. */
  v: number;
  /** Unique; a record that was appended twice counts once. Absent in snapshots. */
  i?: string;
  o: Operation[];
  k?: KnownDamage[];
  /** Only in the first line of a snapshot. */
  snapshot?: SnapshotHeader;
}

export interface SnapshotHeader {
  /** Records that follow. */
  records: number;
  /** Bytes of the journal of the generation before that the snapshot holds. What follows them came later. */
  covered: number;
  /** Ids of the last records that it holds. */
  recent: string[];
  known: KnownDamage[];
}

/** The lines of a file. `end` is where its last complete line ends; `tail` an unfinished one behind it. */
export interface Lines {
  records: StoreRecord[];
  damaged: Buffer[];
  tail?: Buffer;
  end: number;
}

const MAX_DEPTH = 200;
const MAX_BYTES = 8 * 1024 * 1024;
const FORBIDDEN = new Set(["__proto__", "constructor"]);
const NEWLINE = 10;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * `\n<crc32> <json>\n`. The newline in front keeps an unfinished record of a killed writer from swallowing this one.
 */
export function formatRecord(json: string): string {
  return `\n${formatCrc(crc32(json))} ${json}\n`;
}

/** Reads a journal or snapshot from a byte position on. Throws STORE_NEWER where a record is of a newer version. */
export function readLines(bytes: Buffer, options: { from?: number; version: number; path: string }): Lines {
  const lines: Lines = { records: [], damaged: [], end: options.from ?? 0 };
  let start = lines.end;
  while (start < bytes.length) {
    const newline = bytes.indexOf(NEWLINE, start);
    const stop = newline === -1 ? bytes.length : newline;
    const line = bytes.subarray(start, stop);
    const record = line.length > 0 ? readRecord(line, options) : undefined;
    if (record) lines.records.push(record);
    else if (newline === -1) lines.tail = line;
    else if (line.length > 0) lines.damaged.push(line);
    if (!lines.tail) lines.end = newline === -1 ? stop : stop + 1;
    start = stop + 1;
  }
  return lines;
}

export const crcOf = (buffers: Buffer[]): number => buffers.reduce((crc, buffer) => crc32(buffer, crc), 0);

/**
 * The value as JSON. Throws STORE_REFUSED where it is deeper than 200 levels, longer than 8 MB, or has a key that
 * could reach a prototype; such a value would spoil every later save.
 */
export function encodeValue(collection: string, id: string, value: unknown): string {
  const refuse = (reason: string) => new AgentError("STORE_REFUSED", { collection, id, reason });
  const fault = findFault(value, 0) ?? (isName(collection) && isName(id) ? undefined : "its name cannot be used");
  if (fault) throw refuse(fault);
  const json = toJson(value);
  if (json === undefined) throw refuse("it is not JSON");
  if (Buffer.byteLength(json) > MAX_BYTES) throw refuse("it is larger than 8 MB");
  return json;
}

function readRecord(line: Buffer, { version, path }: { version: number; path: string }): StoreRecord | undefined {
  const json = line.subarray(9);
  if (line.length < 10 || line[8] !== 32 || line.toString("latin1", 0, 8) !== formatCrc(crc32(json))) return undefined;
  const record = parse(json);
  if (typeof record?.v !== "number" || !Array.isArray(record.o)) return undefined;
  if (record.v > version) throw new AgentError("STORE_NEWER", { path, version: record.v });
  return record.o.every((operation) => Array.isArray(operation) && isName(operation[0]) && isName(operation[1])) ? record : undefined;
}

function parse(json: Buffer): StoreRecord | undefined {
  try {
    return JSON.parse(utf8.decode(json));
  } catch {
    return undefined;
  }
}

const formatCrc = (crc: number): string => crc.toString(16).padStart(8, "0");
const isName = (name: unknown): name is string => typeof name === "string" && !FORBIDDEN.has(name);

function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}

function findFault(value: unknown, depth: number): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (depth === MAX_DEPTH) return `it is nested deeper than ${MAX_DEPTH} levels`;
  if (ArrayBuffer.isView(value)) return "it holds bytes; store them as base64";
  for (const [key, item] of Object.entries(value)) {
    if (FORBIDDEN.has(key)) return `it has the key "${key}"`;
    const fault = findFault(item, depth + 1);
    if (fault) return fault;
  }
  return undefined;
}
