import * as nodeFs from "node:fs";
import { closeSync, constants, fstatSync, openSync, readSync, rmdirSync, rmSync, writeSync, writevSync } from "node:fs";
import { dirname, join } from "node:path";
import { errorMessage } from "./errors.ts";
import { type Contents, type FileState, hashOf, MAX_KEPT_BYTES, NO_ROOM } from "./file-state.ts";
import { makeDirectories } from "./generation.ts";
import { readRegular } from "./held.ts";
import { formatRecord, type Operation, readLines } from "./record.ts";

/** A path as the last look found it. */
export interface Seen {
  state: FileState;
  /** Size, times and number of the file: while they are the same, the content is. */
  mark: number[];
  /** It had changed so shortly before that another change may have left the same times. */
  fresh?: true;
  /** Where its content is in the pack: offset and length in bytes. */
  place?: Place;
}

type Place = readonly [offset: number, length: number];

const VERSION = 1;
/** What is collected before it is written. */
const WRITE_BYTES = 1024 * 1024;
const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = constants;

/**
 * What looks have found while a session is open: each path in one file, contents one behind the other in another. They
 * survive the end of the process, not a loss of power.
 */
export class Sightings {
  readonly contents: Contents;
  readonly #dir: string;
  readonly #pack: Pack;
  readonly #seen = new Map<string, Seen>();
  /** Paths whose record is not written yet. */
  readonly #changed = new Set<string>();
  #fd: number | undefined;

  /** Nothing is made before the first write. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#pack = new Pack(join(dir, "pack"));
    this.contents = this.#pack;
  }

  get size(): number {
    return this.#seen.size;
  }

  entries(): Iterable<[string, Seen]> {
    return this.#seen;
  }

  get(path: string): Seen | undefined {
    return this.#seen.get(path);
  }

  /** The content of the state has been given to `contents`, unless it is lost. */
  set(path: string, seen: Seen): void {
    const place = seen.state.kind === "file" && seen.state.hash !== undefined ? this.#pack.placeOf(seen.state.hash) : undefined;
    this.#seen.set(path, place === undefined ? seen : { ...seen, place });
    this.#changed.add(path);
  }

  delete(path: string): void {
    this.#seen.delete(path);
    this.#changed.add(path);
  }

  /** What a run that was killed has seen, as far as it can be read. */
  recall(): void {
    for (const [, path, seen] of readOperations(join(this.#dir, "seen"))) {
      if (seen === undefined) this.#seen.delete(path);
      else this.#seen.set(path, seen as Seen);
    }
    for (const { state, place } of this.#seen.values()) if (state.kind === "file" && state.hash !== undefined && place) this.#pack.know(state.hash, place);
  }

  /** All of it is with the operating system when it returns. What cannot be written is tried again the next time. */
  write(): void {
    this.#pack.flush();
    if (this.#changed.size === 0) return;
    const operations = [...this.#changed].map((path): Operation => {
      const seen = this.#seen.get(path);
      return seen === undefined ? ["seen", path] : ["seen", path, seen];
    });
    try {
      this.#fd ??= openOwn(join(this.#dir, "seen"), O_APPEND);
      const record = Buffer.from(formatRecord(JSON.stringify({ v: VERSION, o: operations })));
      if (writeSync(this.#fd, record) === record.length) this.#changed.clear();
    } catch {
      // Only who opens the session after a kill would miss it, and says so.
    }
  }

  /** Nobody needs it any more. */
  discard(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#seen.clear();
    this.#changed.clear();
    this.#pack.close();
    try {
      rmSync(this.#dir, { recursive: true, force: true });
      rmdirSync(dirname(this.#dir));
    } catch {
      // Contents for an undo are beside it, or the disk takes nothing: then nothing is there either.
    }
  }
}

function readOperations(path: string): Operation[] {
  try {
    return readLines(readRegular(path).bytes, { version: VERSION, path }).records.flatMap(({ o }) => o);
  } catch {
    return [];
  }
}

/** Contents by their sha256 in one file that only its owner can read. */
class Pack implements Contents {
  readonly #path: string;
  #places = new Map<string, Place>();
  #fd: number | undefined;
  /** Where the next content goes; what is not written yet ends there. */
  #end = 0;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  /** Why contents are missing that were to be written. */
  #failure: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  hasRoom(bytes: number): boolean {
    return this.#end + bytes <= MAX_KEPT_BYTES;
  }

  placeOf(hash: string): Place | undefined {
    return this.#places.get(hash);
  }

  know(hash: string, place: Place): void {
    this.#places.set(hash, place);
  }

  keep(hash: string, bytes: Uint8Array): string | undefined {
    if (this.#places.has(hash)) return undefined;
    if (!this.hasRoom(bytes.length)) return NO_ROOM;
    try {
      this.#fd ??= this.#open();
    } catch (error) {
      return notKept(error);
    }
    this.#places.set(hash, [this.#end, bytes.length]);
    this.#end += bytes.length;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= WRITE_BYTES) this.flush();
    return undefined;
  }

  read(hash: string): Buffer | { reason: string } {
    this.flush();
    const place = this.#places.get(hash);
    if (place === undefined) return { reason: this.#failure ?? "the content that was kept is missing" };
    try {
      this.#fd ??= this.#open();
      const [offset, length] = place;
      const bytes = Buffer.alloc(length);
      readSync(this.#fd, bytes, 0, length, offset);
      return hashOf(bytes) === hash ? bytes : { reason: "the content that was kept is damaged" };
    } catch (error) {
      return { reason: notKept(error) };
    }
  }

  flush(): void {
    if (this.#waiting.length === 0 || this.#fd === undefined) return;
    const start = this.#end - this.#waitingBytes;
    try {
      const written = writevSync(this.#fd, this.#waiting, start);
      if (written < this.#waitingBytes) throw new Error(`only ${written} of ${this.#waitingBytes} bytes could be written`);
    } catch (error) {
      this.#failure = notKept(error);
      for (const [hash, [offset]] of this.#places) if (offset >= start) this.#places.delete(hash);
      this.#end = start;
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#places = new Map();
    this.#waiting = [];
    [this.#end, this.#waitingBytes] = [0, 0];
  }

  #open(): number {
    const fd = openOwn(this.#path, 0);
    this.#end = fstatSync(fd).size;
    return fd;
  }
}

/** A new file, or the one that a run left which was killed. Only its owner can read it. */
function openOwn(path: string, flags: number): number {
  makeDirectories(nodeFs, dirname(path));
  const known = O_RDWR | O_NOFOLLOW | O_NONBLOCK | flags;
  try {
    return openSync(path, known | O_CREAT | O_EXCL, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return openSync(path, known);
  }
}

const notKept = (error: unknown): string => `it could not be kept: ${errorMessage(error)}`;
