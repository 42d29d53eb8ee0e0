import { accessSync, type BigIntStats, constants, type Dirent, readdirSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { AgentError, type ToolContext } from "agent-runtime";

/** Names of a directory that are compared with a missing one. */
const SUGGESTION_CANDIDATES = 1_000;
const SUGGESTIONS = 3;

export interface Located {
  /** Real, absolute. */
  path: string;
  /** As people and models see it. */
  shown: string;
  /** Undefined when nothing is there. */
  stats: BigIntStats | undefined;
}

/** Where a path of the model leads, and what is there. Throws PATH_OUTSIDE, PATH_INVALID, FILE_UNSUITABLE. */
export async function locate(context: ToolContext, filePath: string, access: "read" | "write"): Promise<Located> {
  const path = await context.paths.resolve(filePath, access);
  const shown = context.paths.show(path);
  const stats = await context.paths.stat(path, access).catch((error: unknown) => {
    throw unreadable(shown, error);
  });
  if (stats === undefined && access === "write" && filePath.endsWith("/"))
    throw new AgentError("PATH_INVALID", { path: filePath, reason: "it ends as that of a directory." });
  return { path, shown, stats };
}

/** Throws FILE_UNSUITABLE where ripgrep, which passes over what it cannot read, would find nothing. */
export function checkReadable({ paths }: ToolContext, { path, shown, stats }: Located): void {
  const rights = stats?.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK;
  try {
    if (paths.look(dirname(path), (held) => accessSync(join(held, basename(path)), rights) ?? true) === undefined) throw moved(shown);
  } catch (error) {
    throw unreadable(shown, error);
  }
}

/** The entries of a directory. Throws FILE_UNSUITABLE. */
export function readEntries({ paths }: ToolContext, { path, shown }: Located): Dirent[] {
  try {
    const entries = paths.look(path, (held) => readdirSync(held, { withFileTypes: true }));
    if (entries === undefined) throw moved(shown);
    return entries;
  } catch (error) {
    throw unreadable(shown, error);
  }
}

const moved = (path: string): AgentError =>
  new AgentError("FILE_UNSUITABLE", { path, reason: "was moved or replaced in this very moment.", advice: "Try again." });

/** Opens a file without ever waiting: a FIFO or a device is refused, not read. The caller closes it. */
export async function openRegularFile(context: ToolContext, { path, shown, stats }: Located): Promise<{ handle: FileHandle; stats: BigIntStats }> {
  if (stats !== undefined && !stats.isFile())
    throw new AgentError("FILE_UNSUITABLE", { path: shown, reason: "is not a regular file (a device, a FIFO or a socket)." });
  const handle = await context.paths.open(path, "read");
  return { handle, stats: await handle.stat({ bigint: true }) };
}

/** The bytes of a file that is known to be small. */
export async function readWhole(context: ToolContext, located: Located): Promise<{ bytes: Buffer; stats: BigIntStats }> {
  const { handle, stats } = await openRegularFile(context, located);
  try {
    return { bytes: await handle.readFile(), stats };
  } finally {
    await handle.close();
  }
}

/** FILE_MISSING with the names of the same directory that look like it. */
export async function missingFile(context: ToolContext, path: string): Promise<AgentError> {
  const names = namesIn(context, dirname(path)).slice(0, SUGGESTION_CANDIDATES);
  const similar = names.length === 0 ? [] : await mostSimilar(basename(path), names);
  const suggestion =
    similar.length === 0 ? "" : ["Did you mean one of these?", ...similar.map((name) => context.paths.show(join(dirname(path), name)))].join("\n");
  return new AgentError("FILE_MISSING", { path: context.paths.show(path), suggestion });
}

function namesIn({ paths }: ToolContext, directory: string): string[] {
  try {
    return paths.look(directory, (held) => readdirSync(held)) ?? [];
  } catch {
    return [];
  }
}

async function mostSimilar(name: string, names: string[]): Promise<string[]> {
  const { distance } = await import("fastest-levenshtein");
  const wanted = name.toLowerCase();
  return names
    .map((candidate) => {
      const other = candidate.toLowerCase();
      const contained = other.includes(wanted) || wanted.includes(other);
      return { candidate, score: contained ? 0 : distance(wanted, other) / Math.max(wanted.length, other.length) };
    })
    .filter(({ score }) => score <= 0.5)
    .sort((a, b) => a.score - b.score)
    .slice(0, SUGGESTIONS)
    .map(({ candidate }) => candidate);
}

const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : "");

export function unreadable(shown: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  const code = codeOf(error);
  const reason = code === "EACCES" || code === "EPERM" ? "cannot be read: permission denied." : `cannot be read: ${code || String(error)}.`;
  return new AgentError("FILE_UNSUITABLE", { path: shown, reason });
}

/** What the permission map sees of a path: relative to the workspace where it is below it, as given elsewhere. String work only. */
export function permissionPattern(filePath: string, cwd: string): string {
  const inside = relative(cwd, resolve(cwd, filePath));
  if (inside === "") return ".";
  return inside === ".." || inside.startsWith(`..${sep}`) || isAbsolute(inside) ? filePath : inside;
}
