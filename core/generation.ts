import { createHash, randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import { dirname, join } from "node:path";
import { randomLetters } from "./id.ts";
import { isRunning, type LockFs, ownStart } from "./lock.ts";
import { crcOf, formatRecord, type KnownDamage, type Lines, type Operation, readLines, type SnapshotHeader, type StoreRecord } from "./record.ts";

/*
 * A store is a directory of generations. `snapshot.N` holds everything up to a point of `journal.N-1`, `journal.N` what
 * came after. Writers append to the journal of the newest generation and look afterwards whether it still was the
 * newest. So a record that was acknowledged stands in `journal.N`, in the snapshot, or behind the point that the
 * snapshot covers in `journal.N-1`; and that is what is read. The two newest snapshots and the three newest journals
 * are kept: with them everything can be read again when the newest snapshot is damaged.
 */

export type StoreFs = LockFs &
  Pick<typeof nodeFs, "readFileSync" | "writeSync" | "fsyncSync" | "fdatasync" | "fdatasyncSync" | "fstatSync" | "lstatSync" | "mkdirSync" | "renameSync">;

export type Data = Record<string, Record<string, unknown>>;

export interface Files {
  /** The newest; 0 where nothing has been compacted yet. */
  generation: number;
  snapshots: Set<number>;
  journals: Set<number>;
  temporary: string[];
  quarantined: number;
}

/** What one file gave. `damage` is what could not be read of it. */
export interface FileState {
  name: string;
  bytes: Buffer;
  kept: number;
  /** Records that are gone, an unfinished last one included. */
  lost: number;
  /** Only an unfinished last record: what a killed writer leaves behind. */
  torn: boolean;
  crc: number;
}

export interface Loaded {
  data: Data;
  /** There was no file at all. */
  isNew: boolean;
  generation: number;
  /** Whole files that were damaged. */
  damaged: FileState[];
  known: KnownDamage[];
  /** Ids of the last records of the journals. */
  recent: string[];
  /** End of what was read of the newest journal, in bytes. */
  covered: number;
  snapshotBytes: number;
}

interface Place {
  fs: StoreFs;
  dir: string;
  version: number;
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = nodeFs.constants;
const RECENT = 64;
const MAX_QUARANTINED = 3;
/** Compactions after which no file is left of those that were there before. */
export const KEPT_GENERATIONS = 3;

/** Lists a store. A directory that is not there is an empty store; other errors are thrown. */
export function listFiles(fs: StoreFs, dir: string): Files {
  const files: Files = { generation: 0, snapshots: new Set(), journals: new Set(), temporary: [], quarantined: 0 };
  for (const name of readNames(fs, dir)) {
    const [, kind, number, rest] = /^(snapshot|journal)\.(\d+)(.*)$/.exec(name) ?? [];
    if (!kind) continue;
    if (rest?.endsWith(".tmp")) files.temporary.push(name);
    else if (rest?.startsWith(".corrupt-")) files.quarantined++;
    else if (!rest) (kind === "snapshot" ? files.snapshots : files.journals).add(Number(number));
  }
  files.generation = Math.max(0, ...files.snapshots, ...files.journals);
  return files;
}

/** Reads a store, again where another process compacts it meanwhile. Throws STORE_NEWER and what the file system throws. */
export function loadStore(place: Place, collections: string[]): Loaded {
  for (let attempt = 0; ; attempt++) {
    const files = listFiles(place.fs, place.dir);
    try {
      const loaded = new Reader(place, files, collections).load();
      if (attempt === 4 || listFiles(place.fs, place.dir).generation === loaded.generation) return loaded;
    } catch (error) {
      if (attempt === 4 || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}

class Reader {
  readonly #place: Place;
  readonly #files: Files;
  readonly #loaded: Loaded;
  readonly #seen = new Set<string>();

  constructor(place: Place, files: Files, collections: string[]) {
    this.#place = place;
    this.#files = files;
    const data: Data = Object.create(null);
    for (const collection of collections) data[collection] = Object.create(null);
    const isNew = files.journals.size + files.snapshots.size === 0;
    this.#loaded = { data, isNew, generation: files.generation, damaged: [], known: [], recent: [], covered: 0, snapshotBytes: 0 };
  }

  load(): Loaded {
    const { generation } = this.#files;
    const current = generation > 0 ? this.#readSnapshot(generation) : undefined;
    if (current?.complete) {
      for (const id of current.header.recent) this.#seen.add(id);
      this.#apply(current.lines.records);
      this.#applyJournal(generation - 1, current.header.covered);
    } else if (generation > 0) {
      // What the snapshot lost is in the snapshot and the journals before it; replayed on top of it, they end in the same state.
      const damage = this.#loaded.damaged[0] ?? this.#reportMissing(`snapshot.${generation}`);
      const previous = this.#readSnapshot(generation - 1);
      if (previous?.complete) damage.lost = 0;
      this.#apply(previous?.lines.records ?? []);
      this.#applyJournal(generation - 2, previous?.complete ? previous.header.covered : 0);
      this.#apply(current?.lines.records ?? []);
      this.#applyJournal(generation - 1, 0);
    }
    this.#loaded.snapshotBytes = current?.bytes ?? 0;
    this.#loaded.covered = this.#applyJournal(generation, 0);
    this.#loaded.recent = [...this.#seen].slice(-RECENT);
    return this.#loaded;
  }

  #readSnapshot(
    number: number,
  ): { lines: Lines; bytes: number; complete: true; header: SnapshotHeader } | { lines: Lines; bytes: number; complete: false } | undefined {
    if (!this.#files.snapshots.has(number)) return undefined;
    const { bytes, lines, name } = this.#read(`snapshot.${number}`);
    const header = lines.records[0]?.snapshot;
    const kept = lines.records.length - (header ? 1 : 0);
    this.#loaded.known.push(...(header?.known ?? []));
    if (header && header.records === kept && lines.damaged.length === 0 && !lines.tail) return { lines, bytes: bytes.length, complete: true, header };
    const lost = header ? header.records - kept : Math.max(1, lines.damaged.length);
    this.#loaded.damaged.push({ name, bytes, kept, lost, torn: false, crc: crcOf([bytes]) });
    return { lines, bytes: bytes.length, complete: false };
  }

  #reportMissing(name: string): FileState {
    const state = { name, bytes: Buffer.alloc(0), kept: 0, lost: 1, torn: true, crc: 0 };
    this.#loaded.damaged.push(state);
    return state;
  }

  /** Applies what a journal has from a position on; returns where its last complete line ends. */
  #applyJournal(number: number, from: number): number {
    if (!this.#files.journals.has(number)) return 0;
    const { bytes, lines, name } = this.#read(`journal.${number}`, from);
    this.#apply(lines.records);
    // An unfinished line of an older journal is a write that goes on in a newer one.
    const tail = lines.tail && number === this.#files.generation ? [lines.tail] : [];
    const parts = [...lines.damaged, ...tail];
    if (parts.length > 0) {
      this.#loaded.damaged.push({ name, bytes, kept: lines.records.length, lost: parts.length, torn: lines.damaged.length === 0, crc: crcOf(parts) });
    }
    return lines.end;
  }

  #read(name: string, from = 0): { bytes: Buffer; lines: Lines; name: string } {
    const path = join(this.#place.dir, name);
    const bytes = readRegularFile(this.#place.fs, path);
    return { bytes, name, lines: readLines(bytes, { from: Math.min(from, bytes.length), version: this.#place.version, path }) };
  }

  #apply(records: StoreRecord[]): void {
    for (const record of records) {
      if (record.i !== undefined && this.#seen.has(record.i)) continue;
      if (record.i !== undefined) this.#seen.add(record.i);
      if (record.k) this.#loaded.known.push(...record.k);
      for (const operation of record.o) applyOperation(this.#loaded.data, operation);
    }
  }
}

export function applyOperation(data: Data, operation: Operation): void {
  const [collection, id] = operation;
  data[collection] ??= Object.create(null) as Record<string, unknown>;
  if (operation.length === 3) data[collection][id] = operation[2];
  else delete data[collection][id];
}

/** Writes the snapshot of the next generation, durable when this returns, and removes what is no longer needed. Returns its bytes. */
export function writeSnapshot({ fs, dir, version }: Place, loaded: Loaded): number {
  let size = 0;
  const next = loaded.generation + 1;
  const temporary = join(dir, `snapshot.${next}.${process.pid}.${ownStart()}.${randomLetters(8, randomBytes)}.tmp`);
  const fd = fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      for (const text of snapshotText(loaded, version)) size += writeAll(fs, fd, Buffer.from(text));
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, join(dir, `snapshot.${next}`));
  } catch (error) {
    removeIfThere(fs, temporary);
    throw error;
  }
  syncDirectory(fs, dir);
  const files = listFiles(fs, dir);
  // Journals first, so that a writer whose journal is gone never finds the snapshot after it missing.
  for (const number of files.journals) if (number <= next - KEPT_GENERATIONS) fs.unlinkSync(join(dir, `journal.${number}`));
  for (const number of files.snapshots) if (number < next - 1) fs.unlinkSync(join(dir, `snapshot.${number}`));
  return size;
}

function* snapshotText({ data, covered, recent, known }: Loaded, version: number): Generator<string> {
  const records = Object.values(data).reduce((count, items) => count + Object.keys(items).length, 0);
  const header = { v: version, o: [], snapshot: { records, covered, recent, known: known.slice(-RECENT) } satisfies SnapshotHeader };
  let text = formatRecord(JSON.stringify(header));
  for (const [collection, items] of Object.entries(data)) {
    for (const [id, value] of Object.entries(items)) {
      text += formatRecord(JSON.stringify({ v: version, o: [[collection, id, value]] }));
      if (text.length > 1024 * 1024) {
        yield text;
        text = "";
      }
    }
  }
  yield text;
}

/** Keeps a copy of a damaged file beside it, once for the same content and at most three in all. Returns its path where there is one. */
export function quarantine({ fs, dir }: Place, file: FileState): string | undefined {
  const path = join(dir, `${file.name}.corrupt-${createHash("sha256").update(file.bytes).digest("hex").slice(0, 8)}`);
  try {
    if (listFiles(fs, dir).quarantined >= MAX_QUARANTINED) return fs.lstatSync(path).isFile() ? path : undefined;
    const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      writeAll(fs, fd, file.bytes);
    } catch {
      removeIfThere(fs, path);
      return undefined;
    } finally {
      fs.closeSync(fd);
    }
    return path;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EEXIST" ? path : undefined;
  }
}

/** Removes unfinished snapshots of processes that are gone. */
export function removeStaleTemporaries(fs: StoreFs, dir: string): void {
  for (const name of listFiles(fs, dir).temporary) {
    const [, pid, start] = /^snapshot\.\d+\.(\d+)\.(\d+)\./.exec(name) ?? [];
    if (pid === undefined || start === undefined || !isRunning(Number(pid), start)) removeIfThere(fs, join(dir, name));
  }
}

/** Whether a store has no file at all, not even a copy of a damaged one. */
export function isEmpty(fs: StoreFs, dir: string): boolean {
  const { snapshots, journals, temporary, quarantined } = listFiles(fs, dir);
  return snapshots.size + journals.size + temporary.length + quarantined === 0;
}

/**
 * Removes copies of damaged files and unfinished snapshots: whoever calls has the lock, so no snapshot is being written.
 * Whether nothing is left now of what was there up to `generation`. Durable when this returns.
 */
export function removeAside(fs: StoreFs, dir: string, generation: number): boolean {
  for (const name of readNames(fs, dir)) if (/^(snapshot|journal)\.\d+\.(corrupt-|.*\.tmp$)/.test(name)) fs.unlinkSync(join(dir, name));
  syncDirectory(fs, dir);
  const { snapshots, journals } = listFiles(fs, dir);
  return [...snapshots, ...journals].every((number) => number > generation);
}

/**
 * Makes a directory and those above it, for their owner; returns the topmost that was not there. One by one: with
 * `recursive`, Node 20 never returns where a file system takes no directories, as in /proc.
 */
export function makeDirectories(fs: Pick<StoreFs, "lstatSync" | "mkdirSync">, dir: string): string | undefined {
  const missing: string[] = [];
  for (let path = dir; fs.lstatSync(path, { throwIfNoEntry: false }) === undefined; path = dirname(path)) missing.unshift(path);
  for (const path of missing) {
    try {
      fs.mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  return missing[0];
}

/** Makes names in a directory durable. */
export function syncDirectory(fs: StoreFs, dir: string): void {
  const fd = fs.openSync(dir, O_RDONLY);
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function readNames(fs: StoreFs, dir: string): string[] {
  try {
    return fs.readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function readRegularFile(fs: StoreFs, path: string): Buffer {
  const fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    if (!fs.fstatSync(fd).isFile()) throw new Error(`${path} is not a regular file`);
    return fs.readFileSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Returns the number of bytes. The system may take fewer at a time. */
export function writeAll(fs: Pick<StoreFs, "writeSync">, fd: number, bytes: Uint8Array): number {
  let done = 0;
  while (done < bytes.length) {
    const written = fs.writeSync(fd, bytes, done);
    if (written === 0) throw new Error("nothing could be written");
    done += written;
  }
  return done;
}

function removeIfThere(fs: StoreFs, path: string): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // It is gone, or the next start tries again.
  }
}
