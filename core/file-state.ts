import { hash, randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import { errorMessage } from "./errors.ts";
import { makeDirectories, writeAll } from "./generation.ts";

/** What is at a path; links are not followed. */
export type FileState =
  | { kind: "absent" }
  | { kind: "directory"; mode: number }
  | { kind: "link"; target: string }
  | FileContent
  /** A socket, a FIFO, a device, or what cannot be looked at. */
  | { kind: "other" };

export interface FileContent {
  kind: "file";
  mode: number;
  /** sha256 of the content; undefined where it was not read. */
  hash?: string;
  /** Instead of the hash: size, time and number of the file. */
  stamp?: string;
  /** Why the content is not kept. */
  lost?: string;
}

export const ABSENT: FileState = { kind: "absent" };

/** Bytes of a file whose content is kept, and of all that a session keeps. */
export const MAX_FILE_BYTES = 2 * 1024 * 1024;
export const MAX_KEPT_BYTES = 64 * 1024 * 1024;

/** Why the content of another file is not kept. */
export const NO_ROOM = `the session has kept ${MAX_KEPT_BYTES >> 20} MiB already`;

const MODE_BITS = 0o7777;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Contents by their sha256, each a file that only its owner can read. */
export interface Contents {
  hasRoom(bytes: number): boolean;
  /** Returns why the content cannot be kept, or undefined once the system has it. */
  keep(hash: string, bytes: Uint8Array): string | undefined;
  /** The bytes, or why they are not there. */
  read(hash: string): Buffer | { reason: string };
}

/** `used` is what they hold already, in bytes; `grow` is told of what is added. Without a limit everything is kept. */
export function openContents(dir: string, { used, grow, limit = MAX_KEPT_BYTES }: { used(): number; grow(bytes: number): void; limit?: number }): Contents {
  let known: Set<string> | undefined;
  const hasRoom = (bytes: number) => used() + bytes <= limit;
  return {
    hasRoom,
    keep(hash, bytes) {
      known ??= openDirectory(dir);
      if (known.has(hash)) return undefined;
      if (!hasRoom(bytes.length)) return NO_ROOM;
      try {
        writeContent(dir, hash, bytes);
      } catch (error) {
        return `it could not be kept: ${errorMessage(error)}`;
      }
      known.add(hash);
      grow(bytes.length);
      return undefined;
    },
    read(hash) {
      try {
        const bytes = readRegular(join(dir, hash)).bytes;
        return hashOf(bytes) === hash ? bytes : { reason: "the content that was kept is damaged" };
      } catch (error) {
        return { reason: isAbsent(error) ? "the content that was kept is missing" : errorMessage(error) };
      }
    },
  };
}

/**
 * What is at the path now, with its content kept where it can be. `stats` are those of the moment in which it was looked
 * at; `found` are those of whoever has just done so.
 */
export function readState(path: string, contents?: Contents, found?: Stats): { state: FileState; stats?: Stats } {
  let stats = found;
  try {
    stats ??= lstatSync(path);
    if (stats.isSymbolicLink()) return { state: { kind: "link", target: readlinkSync(path) }, stats };
    if (stats.isDirectory()) return { state: { kind: "directory", mode: stats.mode & MODE_BITS }, stats };
    if (!stats.isFile()) return { state: { kind: "other" }, stats };
    if (stats.size > MAX_FILE_BYTES) return { state: unread(stats, `it is larger than ${MAX_FILE_BYTES >> 20} MiB`), stats };
    return readContent(path, contents);
  } catch (error) {
    if (isAbsent(error)) return { state: ABSENT };
    return stats?.isFile() ? { state: unread(stats, "it could not be read"), stats } : { state: { kind: "other" } };
  }
}

function readContent(path: string, contents?: Contents): { state: FileState; stats: Stats } {
  const { bytes, stats } = readRegular(path);
  const hash = hashOf(bytes);
  const lost = contents?.keep(hash, bytes);
  return { state: { kind: "file", mode: stats.mode & MODE_BITS, hash, ...(lost !== undefined && { lost }) }, stats };
}

/** A FIFO or a device is refused without waiting for it. */
export function readRegular(path: string): { bytes: Buffer; stats: Stats } {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error(`${path} is not a regular file`);
    return { bytes: readAll(fd, stats.size), stats };
  } finally {
    closeSync(fd);
  }
}

/** In one read where it is as long as it says. */
function readAll(fd: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  return size > 0 && readSync(fd, bytes, 0, size, 0) === size ? bytes : readFileSync(fd);
}

export const unread = (stats: Stats, lost: string): FileContent => ({
  kind: "file",
  mode: stats.mode & MODE_BITS,
  stamp: `${stats.size}.${stats.mtimeMs}.${stats.ino}`,
  lost,
});

/** Whether it is the same; of a file whose content was not read, by its size, time and number. */
export function isSame(a: FileState, b: FileState): boolean {
  if (a.kind === "link" && b.kind === "link") return a.target === b.target;
  if (a.kind === "file" && b.kind === "file") return a.mode === b.mode && a.hash === b.hash && a.stamp === b.stamp;
  if (a.kind === "directory" && b.kind === "directory") return a.mode === b.mode;
  return a.kind === b.kind;
}

/** Nothing is there, as far as can be seen. */
export function isMissing(path: string): boolean {
  try {
    lstatSync(path);
    return false;
  } catch (error) {
    return isAbsent(error);
  }
}

const isAbsent = (error: unknown): boolean => ["ENOENT", "ENOTDIR", "ELOOP"].includes((error as NodeJS.ErrnoException).code ?? "");

export const hashOf = (bytes: Uint8Array): string => hash("sha256", bytes);

function openDirectory(dir: string): Set<string> {
  try {
    makeDirectories(nodeFs, dir);
    return new Set(readdirSync(dir));
  } catch {
    // Writing says what is wrong.
    return new Set();
  }
}

/** Whole or not at all. Not synced: that would cost more than the command that is watched, and a lost one is noticed by its hash. */
function writeContent(dir: string, hash: string, bytes: Uint8Array): void {
  const draft = join(dir, `${hash}.${randomBytes(8).toString("hex")}.tmp`);
  const fd = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    try {
      writeAll(nodeFs, fd, bytes);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, join(dir, hash));
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}
