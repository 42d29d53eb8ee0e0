import { constants } from "node:fs";
import { open, realpath } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { cleanText } from "./clean-text.ts";
import { isForeign } from "./config-files.ts";
import { errorMessage } from "./errors.ts";
import { nameOf } from "./held.ts";
import type { GuardedFetch } from "./http.ts";
import { isInside } from "./inside.ts";
import type { Log } from "./log.ts";

/** What every run is told. No date and no file tree: the text is the same in every request of a session, so providers can cache it. */
const BASE = `You are an agent. You do the user's task with the tools you have, in as many steps as it takes, without asking back.

- Look before you change: search and read first, then make the smallest change that does the job, then check it.
- Call independent tools together in one step.
- Paths are relative to the workspace; stay inside it.
- When a tool fails, read what it says and correct the call; do not repeat it unchanged.
- When the task is done, answer briefly: what you found or did. Say plainly what could not be done.`;

export interface SystemPromptDependencies {
  cwd: string;
  /** Where the search for instruction files ends: the workspace's root, a real path. */
  root: string;
  /** Directory of the user's configuration. */
  configDir: string;
  instructions: string[];
  /** Replaces the base text. */
  base?: string | undefined;
  /** Whether a real path is one of those that go to no model. */
  isSecret(path: string): boolean;
  fetch: GuardedFetch;
  log: Log;
}

/** Base text, workspace, then the instruction files of the user and of the workspace. */
export async function buildSystemPrompt(dependencies: SystemPromptDependencies): Promise<string> {
  const { cwd, base = BASE } = dependencies;
  const workspace = `Workspace: ${cwd}\nPlatform: ${process.platform}`;
  const files = await readInstructions(dependencies);
  return [base, workspace, ...files].filter((text) => text !== "").join("\n\n");
}

/** Bytes of one instruction file that are used. */
const INSTRUCTION_BYTES = 65_536;
const NAMES = ["AGENTS.md", "CLAUDE.md", "CONTEXT.md"];
const URL_LIMIT_MS = 5_000;
/** Files of one pattern. */
const MOST_FILES = 200;
/** Bytes of all instructions together: a pattern may match a thousand files, and every request pays for them. */
const ALL_BYTES = 1 << 20;

async function readInstructions(dependencies: SystemPromptDependencies): Promise<string[]> {
  const { configDir, instructions } = dependencies;
  const user = await readText(join(configDir, "AGENTS.md"));
  const found = user === undefined ? [] : [present("AGENTS.md of the user", user)];
  found.push(...(await readNearby(dependencies)));
  for (const place of instructions) found.push(...(await readNamed(place, dependencies)));
  return keepFirst(found, dependencies.log);
}

function keepFirst(texts: string[], log: Log): string[] {
  let bytes = 0;
  const kept = texts.filter((text) => (bytes += Buffer.byteLength(text)) <= ALL_BYTES);
  if (kept.length < texts.length)
    log.warn(`The instructions are longer than ${ALL_BYTES} bytes: ${texts.length - kept.length} of ${texts.length} are left out.`);
  return kept;
}

/** All copies of the first name that is found anywhere from the workspace's root down to the current directory. */
async function readNearby(dependencies: SystemPromptDependencies): Promise<string[]> {
  const { cwd, root } = dependencies;
  const directories = directoriesBetween(root, cwd);
  for (const name of NAMES) {
    const found = [];
    for (const directory of directories) {
      const path = join(directory, name);
      const text = await readInside(path, dependencies);
      if (text !== undefined) found.push(present(relative(cwd, path) || name, text));
    }
    if (found.length > 0) return found;
  }
  return [];
}

function directoriesBetween(root: string, cwd: string): string[] {
  const directories = [cwd];
  for (let current = cwd; current !== root && current !== dirname(current); ) directories.unshift((current = dirname(current)));
  return directories;
}

/** A path, a glob or a URL of `instructions`. */
async function readNamed(place: string, dependencies: SystemPromptDependencies): Promise<string[]> {
  const { cwd, fetch, log } = dependencies;
  try {
    if (/^https?:/.test(place)) return [present(place, await fetchText(place, fetch))];
    const pattern = place.startsWith("~/") ? join(homedir(), place.slice(2)) : place;
    const files = /[*?[{]/.test(pattern)
      ? await (await import("tinyglobby")).glob(pattern, { cwd, absolute: true, followSymbolicLinks: false })
      : [resolve(cwd, pattern)];
    if (files.length > MOST_FILES) log.warn(`The instructions ${place} match ${files.length} files; the first ${MOST_FILES} are used.`);
    const texts = await Promise.all(
      files
        .sort()
        .slice(0, MOST_FILES)
        .map(async (path) => [path, await readInside(path, dependencies)] as const),
    );
    const found = texts.flatMap(([path, text]) => (text === undefined ? [] : [present(relative(cwd, path), text)]));
    if (found.length === 0) log.warn(`The instructions ${place} match no file.`);
    return found;
  } catch (error) {
    log.warn(`The instructions ${place} cannot be read: ${errorMessage(error)}`);
    return [];
  }
}

async function fetchText(url: string, fetch: GuardedFetch): Promise<string> {
  const response = await fetch(url, { timeoutMs: URL_LIMIT_MS, maxBytes: INSTRUCTION_BYTES });
  if (!response.ok) throw new Error(`the server answers ${response.status}.`);
  return response.text();
}

/** Nobody sees who wrote it, and nothing in it that cannot be seen. */
const present = (name: string, text: string): string => `Instructions from: ${cleanText(name).replace(/\s+/g, " ")}\n${cleanText(text).trim()}`;

function findFault(path: string, real: string, { root, isSecret }: Pick<SystemPromptDependencies, "root" | "isSecret">): string | undefined {
  if (isSecret(real)) return "points to where secrets are";
  if (!isInside(path, root)) return undefined;
  return !isInside(real, root) ? "points outside the workspace" : isForeign(real, root) ? "belongs to somebody else" : undefined;
}

/** As `readText`; a path in the workspace must not lead out of it by a link, and none to a secret. */
async function readInside(path: string, { root, isSecret, log }: SystemPromptDependencies): Promise<string | undefined> {
  const real = await realpath(path).catch(() => undefined);
  if (real === undefined) return undefined;
  const fault = findFault(path, real, { root, isSecret });
  if (fault === undefined) return readText(real, true);
  log.warn(`${path} ${fault} and is not used.`);
  return undefined;
}

/** The beginning of a file; undefined where it is not there, cannot be read, is binary, or is no regular one (a FIFO would never end). A path that is real is read only where nothing has become a link meanwhile. */
async function readText(path: string, isReal = false): Promise<string | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => undefined);
  try {
    if (!(await file?.stat())?.isFile()) return undefined;
    if (isReal && nameOf(file!.fd, path).name !== path) return undefined;
    const { buffer, bytesRead } = await file!.read(Buffer.alloc(INSTRUCTION_BYTES), 0, INSTRUCTION_BYTES, 0);
    const bytes = buffer.subarray(0, bytesRead);
    return bytes.includes(0) ? undefined : bytes.toString("utf8");
  } catch {
    return undefined;
  } finally {
    await file?.close();
  }
}
