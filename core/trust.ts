import { existsSync, realpathSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { findWorkspaceRoot, isTree, listDirectories, statPath } from "./config-files.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { isInside } from "./inside.ts";
import type { WorkspaceDigest } from "./trust-digest.ts";
import { whileLocked, writeWhole } from "./whole-file.ts";

/** `changed`: it was trusted, and a file that the trust was given for has changed since. */
export type TrustState = "trusted" | "changed" | "untrusted";

export interface TrustEntry {
  /** Canonical path that the trust was given for. */
  path: string;
  /** SHA-256 over names and content of `files`. */
  digest: string;
  /** Paths relative to the workspace's root. */
  files: string[];
  /** ISO 8601. */
  at: string;
}

interface TrustFile {
  version: 1;
  workspaces: Record<string, Omit<TrustEntry, "path">>;
}

interface Place {
  dataDir: string;
  cwd: string;
}

/** What a workspace is, with its files as they were read to find out: what counts of a trusted one is these texts. */
export interface FoundTrust extends Partial<WorkspaceDigest> {
  state: TrustState;
}

/**
 * Whether a person has trusted what configures this workspace, as it is now. The answer is in `<dataDir>/trust.json`,
 * which counts only when it is ours, closed to others (0600), and not in the workspace: no repository can bring such a
 * file along, and no tool can write it. Throws TRUST_REFUSED for a file that does not count, STORE_DAMAGED, STORE_NEWER.
 */
export async function findTrust({ dataDir, cwd }: Place): Promise<FoundTrust> {
  if (statPath(trustPath(dataDir)) === undefined) return { state: "untrusted" };
  const root = findWorkspaceRoot(cwd);
  const { workspaces } = await readTrust(dataDir, root);
  const given = listDirectories(root, cwd).flatMap((directory) => (Object.hasOwn(workspaces, directory) ? [workspaces[directory]!] : []));
  if (given.length === 0) return { state: "untrusted" };
  const found = await digestOf(root, cwd);
  return { state: given.some((entry) => entry.digest === found.digest) ? "trusted" : "changed", ...found };
}

export const trustState = async (place: Place): Promise<TrustState> => (await findTrust(place)).state;

/** What trust would be given to. */
export const surveyWorkspace = async (cwd: string): Promise<Pick<TrustEntry, "path" | "digest" | "files">> => {
  const path = realpathSync(cwd);
  const { digest, files } = await digestOf(findWorkspaceRoot(path), path);
  return { path, digest, files };
};

/** Trusts the workspace as it is now, or as it was when `digest` was told; throws TRUST_REFUSED where that differs. Returns what was trusted. */
export async function grantTrust({ dataDir, cwd, digest: seen }: Place & { digest?: string }): Promise<TrustEntry> {
  const { path, digest, files } = await surveyWorkspace(cwd);
  if (seen !== undefined && seen !== digest) throw refuse("a file has changed since it was shown.", "Look again: agent trust");
  const entry = { digest, files, at: new Date().toISOString() };
  await changeTrust(dataDir, findWorkspaceRoot(path), (workspaces) => ({ ...workspaces, [path]: entry }));
  return { path, ...entry };
}

export async function listTrust(dataDir: string): Promise<TrustEntry[]> {
  const { workspaces } = await readTrust(dataDir);
  return Object.entries(workspaces).map(([path, entry]) => ({ path, ...entry }));
}

/** Whether an entry still counts; `gone`: there is no such directory any more. */
export async function trustOf({ path, digest }: TrustEntry): Promise<"trusted" | "changed" | "gone"> {
  if (!statPath(path)?.isDirectory() || realpathSync(path) !== path) return "gone";
  const now = await digestOf(findWorkspaceRoot(path), path).catch(() => undefined);
  return now?.digest === digest ? "trusted" : "changed";
}

/** Takes trust back; false where there was none for this very directory. It need not exist any more. */
export async function revokeTrust({ dataDir, cwd }: Place): Promise<boolean> {
  const path = existsSync(cwd) ? realpathSync(cwd) : resolve(cwd);
  return changeTrust(dataDir, undefined, ({ [path]: removed, ...others }) => (removed === undefined ? undefined : others));
}

/** Takes all trust back; the number of workspaces. */
export async function revokeAllTrust(dataDir: string): Promise<number> {
  let count = 0;
  await changeTrust(dataDir, undefined, (workspaces) => {
    count = Object.keys(workspaces).length;
    return count === 0 ? undefined : {};
  });
  return count;
}

/** Loaded where there is trust to look at: most runs have none. */
const digestOf = async (root: string, cwd: string): Promise<WorkspaceDigest> => (await import("./trust-digest.ts")).digestWorkspace(root, cwd);

const trustPath = (dataDir: string): string => join(dataDir, "trust.json");
const refuse = (reason: string, advice: string): AgentError => new AgentError("TRUST_REFUSED", { reason, advice });

/** `root`: a workspace that the file must not lie in, as it is written or links followed. */
async function readTrust(dataDir: string, root?: string): Promise<TrustFile> {
  const path = trustPath(dataDir);
  const found = statPath(path);
  if (found === undefined) return { version: 1, workspaces: {} };
  if (root !== undefined) refuseInside(path, root);
  const isOurs = (found.mode & 0o077) === 0 && (process.getuid === undefined || found.uid === process.getuid());
  if (!isOurs) throw refuse(`${path} is open to others, or not yours, and does not count.`, `Look at it, then: chmod 600 ${path}`);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    throw new AgentError("STORE_DAMAGED", { path, reason: errorMessage(error) });
  }
  if (!isTree(value) || !isTree(value.workspaces)) throw new AgentError("STORE_DAMAGED", { path, reason: "it is not a list of workspaces." });
  if (value.version !== 1) throw new AgentError("STORE_NEWER", { path, version: String(value.version) });
  return value as unknown as TrustFile;
}

function refuseInside(path: string, root: string): void {
  let existing = dirname(path);
  while (!existsSync(existing)) existing = dirname(existing);
  const real = existsSync(path) ? realpathSync(path) : realpathSync(existing);
  if (isInside(path, root) || isInside(real, root))
    throw refuse(
      `the list of what is trusted would lie in the workspace itself, as ${path}.`,
      "Name a directory elsewhere with AGENT_DATA_DIR, or give --trust for one run.",
    );
}

/** `change` gives undefined where nothing is to be written. */
async function changeTrust(
  dataDir: string,
  root: string | undefined,
  change: (workspaces: TrustFile["workspaces"]) => TrustFile["workspaces"] | undefined,
): Promise<boolean> {
  if (root !== undefined) refuseInside(trustPath(dataDir), root);
  return whileLocked(dataDir, trustPath(dataDir), async () => {
    const workspaces = change((await readTrust(dataDir)).workspaces);
    if (workspaces !== undefined) await writeWhole(trustPath(dataDir), `${JSON.stringify({ version: 1, workspaces }, null, 2)}\n`);
    return workspaces !== undefined;
  });
}

/** Throws UNTRUSTED where what was trusted is not what is there now: a program may have been swapped before it was loaded. */
export async function confirmTrust(cwd: string, digest: string): Promise<void> {
  if ((await digestOf(findWorkspaceRoot(cwd), cwd)).digest !== digest)
    throw new AgentError("UNTRUSTED", { what: "A program that changed while it was loaded" });
}
