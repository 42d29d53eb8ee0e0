import { hash, randomBytes } from "node:crypto";
import * as nodeFs from "node:fs";
import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, renameSync, rmSync, type Stats } from "node:fs";
import { basename, dirname, join } from "node:path";
import { errorMessage } from "./errors.ts";
import { makeDirectories, writeAll } from "./generation.ts";
import { lookInto, readRegular } from "./held.ts";

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
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

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

interface Look {
  state: FileState;
  /** Those of the moment in which it was looked at. */
  stats?: Stats;
}

/**
 * What is at the real path now, with its content kept where it can be; nothing where a link is on its way. `found` are
 * the stats of whoever has just looked at it there.
 */
export function readState(path: string, contents?: Contents, found?: Stats): Look {
  if (found?.isFile()) return readFileState(path, { stats: found, contents, isReal: true });
  return lookInto(dirname(path), (held) => readHeld(join(held, basename(path)), contents)) ?? { state: ABSENT };
}

/** The same below a directory that is held. */
export function readHeld(path: string, contents?: Contents): Look {
  try {
    const stats = lstatSync(path);
    if (stats.isSymbolicLink()) return { state: { kind: "link", target: readlinkSync(path) }, stats };
    if (stats.isDirectory()) return { state: { kind: "directory", mode: stats.mode & MODE_BITS }, stats };
    return stats.isFile() ? readFileState(path, { stats, contents }) : { state: { kind: "other" }, stats };
  } catch (error) {
    return { state: isAbsent(error) ? ABSENT : { kind: "other" } };
  }
}

function readFileState(path: string, { stats, contents, isReal }: { stats: Stats; contents: Contents | undefined; isReal?: boolean }): Look {
  if (stats.size > MAX_FILE_BYTES) return { state: unread(stats, `it is larger than ${MAX_FILE_BYTES >> 20} MiB`), stats };
  try {
    const read = readRegular(path, { isReal });
    const hash = hashOf(read.bytes);
    const lost = contents?.keep(hash, read.bytes);
    return { state: { kind: "file", mode: read.stats.mode & MODE_BITS, hash, ...(lost !== undefined && { lost }) }, stats: read.stats };
  } catch (error) {
    return isAbsent(error) ? { state: ABSENT } : { state: unread(stats, "it could not be read"), stats };
  }
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
