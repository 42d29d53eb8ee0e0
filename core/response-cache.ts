import { randomBytes } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AgentError, errorMessage } from "./errors.ts";
import { readRegular } from "./held.ts";
import type { Log } from "./log.ts";
import type { Answer } from "./recording.ts";

export interface ResponseCache {
  /** The answer that was kept under this key, unless it is too old; what cannot be read is not there. */
  find(key: string): Promise<Answer | undefined>;
  /** Keeps it, and lets the oldest go where there is too much. Never rejects: a fault is one warning. */
  store(key: string, answer: Answer): Promise<void>;
  remove(key: string): Promise<void>;
}

export interface ResponseCacheOptions {
  dir: string;
  /** 86,400 (a day) by default. */
  ttlSeconds?: number | undefined;
  /** Of all files together; 100 MiB by default. */
  maxBytes?: number | undefined;
  log: Log;
}

const DEFAULT_TTL_SECONDS = 86_400;
const DEFAULT_MAX_BYTES = 100 * 1024 * 1024;

/** Where the answers are, below the data directory. */
export const responseCacheDirectory = (dataDir: string): string => join(dataDir, "cache", "responses");

/** Answers by key, one file each. Several processes may share the directory. */
export function createResponseCache({ dir, ttlSeconds = DEFAULT_TTL_SECONDS, maxBytes = DEFAULT_MAX_BYTES, log }: ResponseCacheOptions): ResponseCache {
  const pathOf = (key: string) => join(dir, `${key}.json`);
  const isOld = (modifiedAt: number) => modifiedAt + ttlSeconds * 1000 <= Date.now();
  /** What the files take together; counted when first needed, and again when it seems too much. */
  let bytes: number | undefined;
  let hasWarned = false;
  const write = async (key: string, text: string) => {
    await writeAside(dir, pathOf(key), text);
    bytes = bytes === undefined ? undefined : bytes + Buffer.byteLength(text);
    if (bytes === undefined || bytes > maxBytes) bytes = await evict(dir, maxBytes, isOld);
  };
  return {
    async find(key) {
      try {
        const { bytes, stats } = readRegular(pathOf(key));
        if (isOld(stats.mtimeMs)) return undefined;
        const answer = JSON.parse(bytes.toString()) as Answer;
        return answer.status === 200 && Array.isArray(answer.body) ? answer : undefined;
      } catch {
        return undefined;
      }
    },
    async store(key, answer) {
      const text = JSON.stringify(answer);
      if (ttlSeconds === 0 || Buffer.byteLength(text) > maxBytes) return;
      await write(key, text).catch((error: NodeJS.ErrnoException) => {
        // Another process has cleared the cache meanwhile.
        if (error.code === "ENOENT") return;
        if (!hasWarned) log.warn(`Answers cannot be kept in ${dir}: ${errorMessage(error)}`);
        hasWarned = true;
      });
    },
    remove: (key) => rm(pathOf(key), { force: true }).catch(() => {}),
  };
}

/** Puts the whole file in its place or none. */
async function writeAside(dir: string, path: string, text: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const draft = join(dir, `.${randomBytes(8).toString("hex")}.tmp`);
  try {
    await writeFile(draft, text, { mode: 0o600, flag: "wx" });
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

interface CacheFile {
  path: string;
  bytes: number;
  modifiedAt: number;
}

/** Oldest first; a file that another process takes away meanwhile is left out. */
async function listCache(dir: string): Promise<CacheFile[]> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new AgentError("STORE_DAMAGED", { path: dir, reason: error.message }, { cause: error });
  });
  const files = await Promise.all(
    names.map(async (name) => {
      const found = await stat(join(dir, name)).catch(() => undefined);
      return found?.isFile() ? [{ path: join(dir, name), bytes: found.size, modifiedAt: found.mtimeMs }] : [];
    }),
  );
  return files.flat().sort((a, b) => a.modifiedAt - b.modifiedAt);
}

/** Removes what is too old, then the oldest until the rest fits. Resolves to the bytes that are left. */
async function evict(dir: string, maxBytes: number, isOld: (modifiedAt: number) => boolean): Promise<number> {
  const files = await listCache(dir);
  let left = files.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { path, bytes, modifiedAt } of files) {
    if (!isOld(modifiedAt) && left <= maxBytes) break;
    await rm(path, { force: true });
    left -= bytes;
  }
  return left;
}

/** How many answers are kept, and the bytes that they take. Throws STORE_DAMAGED where the directory cannot be read. */
export async function measureResponseCache(dir: string): Promise<{ answers: number; bytes: number }> {
  const files = await listCache(dir);
  return { answers: files.filter(({ path }) => path.endsWith(".json")).length, bytes: files.reduce((sum, file) => sum + file.bytes, 0) };
}

/** Removes the files and leaves the directory, where another process may be about to put its next one. Throws as `measureResponseCache` does. */
export async function clearResponseCache(dir: string): Promise<{ answers: number; bytes: number }> {
  const removed = await measureResponseCache(dir);
  for (const { path } of await listCache(dir))
    await rm(path, { force: true }).catch((error: Error) => {
      throw new AgentError("STORE_UNWRITABLE", { path, reason: error.message }, { cause: error });
    });
  return removed;
}
