import {
  type BigIntStats,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  type Stats,
} from "node:fs";

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** Linux opens with it what is there without touching it: no pipe waits, no device wakes up, and no right to read is asked for. */
const O_PATH = process.platform === "linux" ? 0o10000000 : O_RDONLY;

/** By this name what is open is reached, whatever its path means by now. Linux only. */
export const heldPath = (fd: number): string => `/proc/self/fd/${fd}`;

/** Whether there are such names here. */
export const canHold = (): boolean => existsSync("/proc/self/fd");

/** What the system itself calls the open file; elsewhere than on Linux what its path is without links by now. */
function nameOf(fd: number, path: string): { name: string; held: string } {
  try {
    return { name: readlinkSync(heldPath(fd)), held: heldPath(fd) };
  } catch {
    return { name: realpathSync(path), held: path };
  }
}

/**
 * Calls `work` with a name of this directory under which it stays the same while `work` runs, and what is below it.
 * `directory` is real: undefined where a link is on its way by now, or nothing that may be entered. Errors are those of `work`.
 */
export function lookInto<T>(directory: string, work: (held: string) => T): T | undefined {
  const fd = openEntry(directory, O_DIRECTORY);
  if (fd === undefined) return undefined;
  try {
    const { name, held } = nameOf(fd, directory);
    return name === directory ? work(held) : undefined;
  } finally {
    closeSync(fd);
  }
}

function openEntry(path: string, flags: number): number | undefined {
  try {
    return openSync(path, O_PATH | O_NOFOLLOW | O_NONBLOCK | flags);
  } catch {
    return undefined;
  }
}

/** What is at a real path, and the name that the system has for that. Throws the system's errors. */
export function statEntry(path: string): { stats: BigIntStats; name: string } {
  // Elsewhere it would have to be opened for reading.
  if (O_PATH === O_RDONLY) return { stats: lstatSync(path, { bigint: true }), name: realpathSync(path) };
  const fd = openSync(path, O_PATH | O_NOFOLLOW | O_NONBLOCK);
  try {
    return { stats: fstatSync(fd, { bigint: true }), name: nameOf(fd, path).name };
  } finally {
    closeSync(fd);
  }
}

export interface ReadLimits {
  /** A link in the last place is followed. */
  follows?: boolean;
  /** A real path: nothing else than what has this very name is read. */
  isReal?: boolean;
}

/** The whole of a regular file. A FIFO or a device is refused without waiting for it. Throws an Error that says why. */
export function readRegular(path: string, { follows = false, isReal = false }: ReadLimits = {}): { bytes: Buffer; stats: Stats } {
  const fd = openSync(path, O_RDONLY | O_NONBLOCK | (follows ? 0 : O_NOFOLLOW));
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error(`${path} is not a regular file`);
    if (isReal && nameOf(fd, path).name !== path) throw new Error(`a link leads from ${path} to another file`);
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
