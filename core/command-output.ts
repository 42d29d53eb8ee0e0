import { closeSync, constants, openSync, writeSync } from "node:fs";
import { writeAll } from "./generation.ts";
import type { RedactedStream } from "./redact.ts";

/** A command is ended when it has written more than this. */
export const OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024;

const DEFAULT_KEEP_BYTES = 64 * 1024;
const PROGRESS_INTERVAL_MS = 100;
const PROGRESS_CHARACTERS = 16 * 1024;

export interface CommandOutputOptions {
  /** Takes the secrets out of the output, before anything of it is kept, written or handed on. */
  redaction?: RedactedStream | undefined;
  keepBytes?: number;
  spillPath?: string;
  onOutput?(piece: string): void;
  onProgress?(piece: string): void;
}

export interface CapturedOutput {
  head: string;
  tail: string;
  totalBytes: number;
  spillPath?: string;
}

export interface CommandOutput {
  /** Takes a chunk. False: the limit is reached, or `onOutput` threw; end the command. */
  push(chunk: Buffer): boolean;
  /** Closes the spill file; nothing is taken afterwards. Throws what `onOutput` threw. */
  finish(): CapturedOutput;
}

/** Collects the output of a command in bounded memory: head, tail, and the whole of it in a file once they overflow. */
export function createCommandOutput(options: CommandOutputOptions): CommandOutput {
  const kept = createHeadAndTail(Math.max(1, options.keepBytes ?? DEFAULT_KEEP_BYTES));
  const spill = options.spillPath === undefined ? undefined : createSpill(options.spillPath);
  const progress = options.onProgress === undefined ? undefined : createProgress(options.onProgress);
  let [unfinished, writtenBytes, finished] = [Buffer.alloc(0), 0, false];
  let failure: { error: unknown } | undefined;
  const quiet = createQuiet(options, () => finished || keep(Buffer.from(options.redaction?.flush() ?? "", "latin1")));
  const take = (raw: Buffer, isLast = false) => {
    writtenBytes += raw.length;
    keep(redactBytes(raw, options.redaction, isLast));
    quiet.begin(isLast);
  };
  const keep = (bytes: Buffer) => {
    if (kept.totalBytes + bytes.length > kept.capacity) spill?.write(kept.all, bytes);
    kept.push(bytes);
    progress?.push(bytes);
    failure = tellReader(options, bytes) ?? failure;
  };
  return {
    push(chunk) {
      if (finished || failure !== undefined) return false;
      const bytes = unfinished.length === 0 ? chunk : Buffer.concat([unfinished, chunk]);
      const room = OUTPUT_LIMIT_BYTES - writtenBytes;
      const length = Math.min(completeLength(bytes), room);
      unfinished = Buffer.from(bytes.subarray(length, length + 3));
      take(bytes.subarray(0, length));
      return bytes.length <= room && failure === undefined;
    },
    finish() {
      if (failure === undefined) take(writtenBytes < OUTPUT_LIMIT_BYTES ? unfinished : Buffer.alloc(0), true);
      finished = true;
      progress?.finish();
      const spillPath = spill?.finish();
      if (failure !== undefined) throw failure.error;
      return { ...kept.read(), totalBytes: kept.totalBytes, ...(spillPath !== undefined && { spillPath }) };
    },
  };
}

function tellReader({ onOutput }: CommandOutputOptions, bytes: Buffer): { error: unknown } | undefined {
  try {
    if (bytes.length > 0) onOutput?.(bytes.toString("utf8"));
  } catch (error) {
    return { error };
  }
  return undefined;
}

const QUIET_MS = 200;

/** Whoever watches a command is not kept waiting for the end of a line of which nothing more comes. */
function createQuiet({ onOutput, onProgress }: CommandOutputOptions, tell: () => unknown) {
  let timer: NodeJS.Timeout | undefined;
  return {
    begin(isLast: boolean) {
      clearTimeout(timer);
      if (!isLast && (onOutput !== undefined || onProgress !== undefined)) timer = setTimeout(tell, QUIET_MS).unref();
    },
  };
}

/** Byte by byte: what is no UTF-8 stays as it is. */
function redactBytes(bytes: Buffer, redaction: RedactedStream | undefined, isLast: boolean): Buffer {
  if (redaction === undefined) return bytes;
  const text = bytes.toString("latin1");
  const safe = redaction.push(text) + (isLast ? redaction.end() : "");
  return safe === text ? bytes : Buffer.from(safe, "latin1");
}

/** One buffer: the first half keeps the beginning, the second half is a ring for the end. */
function createHeadAndTail(keepBytes: number) {
  const buffer = Buffer.allocUnsafe(2 * keepBytes);
  let totalBytes = 0;
  const ringAt = () => keepBytes + ((totalBytes - keepBytes) % keepBytes);
  return {
    capacity: buffer.length,
    get totalBytes() {
      return totalBytes;
    },
    /** Everything so far, undefined once it has overflowed. */
    get all(): Buffer | undefined {
      return totalBytes <= buffer.length ? buffer.subarray(0, totalBytes) : undefined;
    },
    push(bytes: Buffer) {
      for (let from = 0; from < bytes.length; ) {
        const isHead = totalBytes < keepBytes;
        // What the rest of the same piece would take the place of.
        const passed = isHead ? 0 : Math.max(0, bytes.length - from - keepBytes);
        from += passed;
        totalBytes += passed;
        const at = isHead ? totalBytes : ringAt();
        const end = isHead ? keepBytes : buffer.length;
        const copied = bytes.copy(buffer, at, from, from + end - at);
        from += copied;
        totalBytes += copied;
      }
    },
    read(): { head: string; tail: string } {
      if (totalBytes <= buffer.length) return { head: buffer.toString("utf8", 0, totalBytes), tail: "" };
      const head = buffer.subarray(0, keepBytes);
      const tail = Buffer.concat([buffer.subarray(ringAt()), buffer.subarray(keepBytes, ringAt())]);
      return { head: head.toString("utf8", 0, completeLength(head)), tail: tail.toString("utf8", continuationLength(tail)) };
    },
  };
}

/** A file of mode 0600 that must not exist yet, made with the first write. A failure (full disk) leaves the run without it. */
function createSpill(path: string) {
  let file: number | undefined;
  let failed = false;
  return {
    /** `before` is what came before `bytes`, as long as it is still at hand: that is when the file is made. */
    write(before: Buffer | undefined, bytes: Buffer) {
      if (failed) return;
      try {
        if (file === undefined) {
          file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
          writeAll({ writeSync }, file, before as Buffer);
        }
        // Synchronous: the page cache takes 64 KiB in some 30 µs, and nothing piles up in memory.
        writeAll({ writeSync }, file, bytes);
      } catch {
        failed = true;
      }
    },
    finish(): string | undefined {
      if (file === undefined) return undefined;
      closeSync(file);
      return failed ? undefined : path;
    },
  };
}

/** Hands on at most ten pieces a second; of what comes in between, the end. */
function createProgress(onProgress: (piece: string) => void) {
  let pending = "";
  let timer: NodeJS.Timeout | undefined;
  const emit = () => {
    const piece = pending;
    pending = "";
    timer = piece === "" ? undefined : setTimeout(emit, PROGRESS_INTERVAL_MS);
    if (piece === "") return;
    try {
      onProgress(piece);
    } catch {
      // Showing progress cannot change what the command does.
    }
  };
  return {
    push(bytes: Buffer) {
      const end = bytes.subarray(-PROGRESS_CHARACTERS);
      pending = (pending + end.toString("utf8", continuationLength(end))).slice(-PROGRESS_CHARACTERS);
      if (timer === undefined) emit();
    },
    finish() {
      emit();
      clearTimeout(timer);
    },
  };
}

/** Length without an incomplete UTF-8 character at the end. */
function completeLength(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if ((byte & 0xc0) === 0x80) continue;
    const width = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return width > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** Number of bytes at the beginning (3 at most) that belong to a character cut off before them. */
function continuationLength(bytes: Buffer): number {
  let length = 0;
  while (length < 3 && ((bytes[length] ?? 0) & 0xc0) === 0x80) length++;
  return length;
}
