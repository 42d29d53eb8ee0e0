import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { type CommandResult, KEY, makeHomeWith } from "./command.ts";

/** Stands in every file that nobody may read. Neither this nor the provider's key may appear in anything that is written or sent. */
export const CANARY = "canary-5d81f0e2b7a94c36";

/** Files of the home that hold the canary; they and `outside` are never touched. */
const SECRETS = {
  "outside/secret.txt": `${CANARY}\n`,
  "outside/folder/other.txt": `${CANARY}\n`,
  ".ssh/id_rsa": `${CANARY}\n`,
  ".aws/credentials": `aws_secret_access_key = ${CANARY}\n`,
  ".netrc": `machine example.invalid password ${CANARY}\n`,
  ".npmrc": `//registry.invalid/:_authToken=${CANARY}\n`,
};

/** A home whose folder `work` is the workspace: what an attack may reach at all lies below it. */
export const makeAttackWorld = (files: Record<string, string | object> = {}): string => makeHomeWith({ ...SECRETS, "work/in.txt": "inside\n", ...files });

/** What stands in the sentinel files and around them: names, kinds, contents. */
export const sentinelOf = (home: string): string => digest(["outside", ".ssh", ".aws", ".netrc", ".npmrc"].map((name) => join(home, name)));

function digest(paths: string[]): string {
  const hash = createHash("sha256");
  const walk = (path: string): void => {
    const stats = lstatSync(path);
    hash.update(`${path}\0${stats.mode}\0`);
    if (stats.isSymbolicLink()) hash.update(readlinkSync(path));
    else if (stats.isDirectory()) for (const name of readdirSync(path).sort()) walk(join(path, name));
    else hash.update(readFileSync(path));
  };
  for (const path of paths) walk(path);
  return hash.digest("hex");
}

/** The files that hold canaries by themselves, relative to the home. */
const HOLDERS = new Set(Object.keys(SECRETS));

/** Every byte under the home but those of the sentinel, of `except` and of what is no regular file, or no longer there. */
function written(home: string, except: ReadonlySet<string>, folder = ""): string {
  return readdirSync(join(home, folder))
    .map((name) => (folder === "" ? name : `${folder}/${name}`))
    .filter((path) => !HOLDERS.has(path) && !except.has(path))
    .map((path) => readHere(() => (lstatSync(join(home, path)).isDirectory() ? written(home, except, path) : readRegular(join(home, path)))))
    .join("");
}

const readRegular = (path: string): string => (lstatSync(path).isFile() ? readFileSync(path, "latin1") : "");

/** Names may change while they are looked at. */
function readHere(read: () => string): string {
  try {
    return read();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}

/**
 * The sentinel is as it was, and neither the canary nor the key is in anything that the run wrote, said or sent (but the
 * key where it belongs, in the header). `except` are files that held one before, relative to the home.
 */
export function expectUnharmed(run: CommandResult, sentinel: string, except: string[] = []): void {
  expect(sentinelOf(run.home)).toBe(sentinel);
  const said = { stdout: run.stdout, stderr: run.stderr, requests: run.requests.map(({ text }) => text).join("\n"), files: written(run.home, new Set(except)) };
  for (const [where, text] of Object.entries(said)) {
    for (const secret of [CANARY, KEY]) expect(text.includes(secret), `${secret} in ${where}`).toBe(false);
  }
}
