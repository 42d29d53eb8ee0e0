import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, lstatSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Reply, type Script, startServer, type TestServer } from "../fixtures/server.ts";

/** AGENT_BIN names another launcher than this package's. */
export const LAUNCHER = process.env.AGENT_BIN ?? fileURLToPath(new URL("../../bin/agent.js", import.meta.url));

/** The real command needs the build. */
export const isBuilt = existsSync(fileURLToPath(new URL("../dist/cli.cjs", `file://${LAUNCHER}`)));

export const KEY = "sk-or-v1-CANARY7f3a9c0000000000000000000000000000";
export const MODEL = ["--model", "openrouter/acme/model-1"];
export const JSON_OUT = ["--output-format", "json"];

export interface CommandRun {
  args?: string[];
  /** null: /dev/null; "OPEN": a pipe that stays open and silent. */
  stdin?: string | Uint8Array | null | "OPEN";
  /** A file in the place of `stdin`. */
  stdinFile?: string;
  script?: Script | Reply[];
  /** What the server answers to GET /models; 404 without. */
  models?: unknown[] | Reply;
  env?: Record<string, string>;
  home?: string;
  onSpawn?(child: ChildProcess, server: TestServer): void;
  /** Reads stdout by itself; the text is then not collected. */
  ownStdout?: boolean;
  timeoutMs?: number;
}

export interface CommandResult {
  code: number | null;
  signal: string | null;
  ms: number;
  stdout: string;
  stderr: string;
  events: any[];
  requests: TestServer["requests"];
  /** Home with `work`, the directory that the command ran in. */
  home: string;
}

const homes: string[] = [];

export function makeHome(): string {
  const home = mkdtempSync(join(tmpdir(), "agent-command-"));
  mkdirSync(join(home, "work"));
  homes.push(home);
  return home;
}

/** A home with these files; paths are relative to it. */
export function makeHomeWith(files: Record<string, string | object>): string {
  const home = makeHome();
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), typeof content === "string" ? content : JSON.stringify(content));
  }
  return home;
}

/** A home whose user has this configuration. */
export const makeConfiguredHome = (config: object): string => makeHomeWith({ ".config/agent/agent.json": config });

/** Every byte of the regular files under a folder. */
export function readAll(folder: string): string {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .map((path) => (lstatSync(path).isDirectory() ? readAll(path) : lstatSync(path).isFile() ? readFileSync(path, "latin1") : ""))
    .join("");
}

export const ofType = (run: CommandResult, type: string): any[] => run.events.filter((event) => event.type === type);
export const typesOf = (run: CommandResult): string[] => run.events.map(({ type }) => type);
export const errorOf = (run: CommandResult): any => ofType(run, "error")[0]?.error;
export const resultOf = (run: CommandResult): any => ofType(run, "result").at(-1);
/** Messages of a request but the system's, as `role:text`. */
export const talkOf = (run: CommandResult, request = 0): string[] =>
  (run.requests[request]?.body.messages ?? [])
    .filter(({ role }: any) => role !== "system")
    .map(
      ({ role, content }: any) =>
        `${role}:${typeof content === "string" ? content : content === null ? "" : content.map((part: any) => part.text ?? part.type).join("")}`,
    );

export const removeHomes = (): void => {
  for (const home of homes.splice(0)) removeHome(home);
};

/** A command that a client has let go of may still write in its last moment: what it wrote goes with the next try. */
function removeHome(home: string, tries = 100): void {
  try {
    rmSync(home, { recursive: true, force: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTEMPTY" || tries === 0) throw error;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    removeHome(home, tries - 1);
  }
}

/** Runs `agent` once, in a home of its own, against a scripted server. */
export async function runCommand(options: CommandRun = {}): Promise<CommandResult> {
  const { args = [], stdin = null, script = [{ text: "Hello." }], env = {}, home = makeHome(), stdinFile, timeoutMs = 60_000 } = options;
  const server = await startServer(script, options.models ? { models: options.models } : {});
  const started = performance.now();
  const file = stdinFile === undefined ? undefined : openSync(stdinFile, "r");
  const child = spawn(process.execPath, [LAUNCHER, ...args], {
    cwd: join(home, "work"),
    env: { PATH: process.env.PATH, HOME: home, OPENROUTER_API_KEY: KEY, OPENROUTER_BASE_URL: server.url, ...env },
    stdio: [file ?? (stdin === null ? "ignore" : "pipe"), "pipe", "pipe"],
  });
  if (file !== undefined) closeSync(file);
  let [stdout, stderr] = ["", ""];
  if (!options.ownStdout) child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin?.on("error", () => {});
  if (stdin !== null && stdin !== "OPEN") child.stdin?.end(stdin);
  options.onSpawn?.(child, server);
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on(options.ownStdout ? "exit" : "close", (code, signal) => resolve([code, signal])),
  );
  clearTimeout(timer);
  const ms = performance.now() - started;
  await server.close();
  const events = stdout.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line)];
    } catch {
      return [];
    }
  });
  return { code, signal, ms, stdout, stderr, events, requests: server.requests, home };
}

/**
 * Whether the command handles signals: the mask of handlers stands in /proc; elsewhere nobody can tell. Node itself has
 * some for SIGINT and SIGTERM from its first moment, and none for SIGHUP.
 */
export function handlesSignals({ pid }: ChildProcess): boolean {
  if (!existsSync("/proc/self/status")) return true;
  const [, mask = "0"] = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return (BigInt(`0x${mask}`) & (1n << BigInt(constants.signals.SIGHUP - 1))) !== 0n;
}

/** Resolves when the condition holds; throws after 45 s. */
export async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 45_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error("the condition never held");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
