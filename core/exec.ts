import { type ChildProcess, spawn } from "node:child_process";
import { type EventEmitter, once, setMaxListeners } from "node:events";
import { statSync } from "node:fs";
import type { Readable } from "node:stream";
import { type CommandOutput, createCommandOutput } from "./command-output.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { createRunMark, createWatch, endGroup, killMarked, MARK } from "./processes.ts";

export interface ExecOptions {
  /** Working directory, absolute. */
  cwd: string;
  /** Variables of the host, by name or `PREFIX_*`, that it gets beside `CHILD_ENVIRONMENT`. */
  inherit?: string[];
  /** Added to the allow-listed environment. */
  env?: Record<string, string>;
  signal: AbortSignal;
  /** ms; none by default. */
  timeoutMs?: number;
  /** Written to the standard input, which is closed after it; nothing by default. */
  input?: string;
  /** Called with each piece of output as it comes, stdout and stderr interleaved, no character split. An error ends the command and is the runner's. */
  onOutput?(piece: string): void;
  /** Shows how far it is: called at most ten times a second with the last 16 KiB of what has come since. Errors do not count. */
  onProgress?(piece: string): void;
  /** Bytes of the head and of the tail that are kept in memory, each. 64 KiB by default. */
  keepBytes?: number;
  /** File that gets the whole output once it is longer than head and tail; made new with mode 0600. */
  spillPath?: string;
}

export type ExecEnd = "exit" | "timeout" | "abort" | "output-limit";

export interface ExecResult {
  end: ExecEnd;
  /** Exit status; null when a signal ended it. */
  exitCode: number | null;
  signal: string | null;
  /** The whole output, or head and tail of it. */
  head: string;
  /** "" when the head holds everything. */
  tail: string;
  totalBytes: number;
  /** Set when the whole output went there. */
  spillPath?: string;
}

/**
 * The one process runner. Runs `file` with `args` in a process group of its own, stdin closed, allow-listed environment.
 * Resolves when the command itself has ended and its descendants are gone; a command that writes more than 64 MiB is ended.
 * Rejects when it cannot be started: TOOL_FAILED, with the system's code in `data.systemCode` (ENOENT: no such program);
 * and with the error of `onOutput`.
 */
export type Exec = (file: string, args: string[], options: ExecOptions) => Promise<ExecResult>;

/**
 * What a child gets of the host's environment. No key, no token, nothing that makes a program load code (NODE_OPTIONS,
 * LD_PRELOAD, BASH_ENV), no agent socket. A name that ends in * stands for all that begin so. Proxy addresses
 * (`PROXY_ENVIRONMENT`) come along only while they hold no user and password.
 */
export const CHILD_ENVIRONMENT: readonly string[] = [
  ...["PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME"],
  ...["LANG", "LANGUAGE", "LC_*", "TZ", "TERM"],
  ...["TMPDIR", "TMP", "TEMP"],
  ...["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CACHE_HOME", "XDG_STATE_HOME"],
  ...["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"],
  ...["NVM_DIR", "PNPM_HOME", "VOLTA_HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "RBENV_ROOT"],
  ...["CARGO_HOME", "RUSTUP_HOME", "GOPATH", "GOROOT", "JAVA_HOME", "ANDROID_HOME", "DOTNET_ROOT"],
];

/** Passed on unless the value has a user and password in it. */
export const PROXY_ENVIRONMENT: readonly string[] = [
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
  "no_proxy",
];

/** Set for every child: nobody is there to page, to type a password or to edit, and colours cost tokens. */
export const CHILD_SETTINGS: Readonly<Record<string, string>> = { GIT_TERMINAL_PROMPT: "0", GIT_EDITOR: "true", GIT_PAGER: "cat", PAGER: "cat", NO_COLOR: "1" };

const DRAIN_MS = 500;
const REAP_MS = 500;

export interface ExecSetup {
  /** The environment of the host. */
  env: Record<string, string | undefined>;
}

/**
 * Makes the runner of one run. After timeout, abort, too much output or a normal end nothing that the command started
 * is left within 2 s: its process group gets SIGTERM and 500 ms later SIGKILL; on Linux what left the group is found by
 * its mark in the environment. A watching process does the same when the agent itself is killed.
 * `close` ends what is running; commands that are asked for afterwards end as aborted.
 */
export function createExec(setup: ExecSetup): { exec: Exec; close(): Promise<void> } {
  const runMark = createRunMark(setup.env[MARK]);
  const watch = createWatch(runMark, setup.env.PATH);
  const running = new Map<number, { abort(): void; done: Promise<void> }>();
  let closed = false;
  let count = 0;

  const exec: Exec = async (file, args, options) => {
    const mark = `${runMark}.${++count}`;
    const env = { ...pickEnvironment(setup.env, options.inherit ?? []), ...CHILD_SETTINGS, PWD: options.cwd, ...options.env, [MARK]: mark };
    if (closed || options.signal.aborted) return { end: "abort", exitCode: null, signal: null, head: "", tail: "", totalBytes: 0 };

    watch.start();
    const child = startCommand(file, args, options, env);
    const group = child.pid;
    if (group === undefined) throw describeStartFailure(file, options.cwd, (await once(child, "error"))[0]);
    const output = createCommandOutput(options);
    const closing = new AbortController();
    const ended = waitForEnd(child, output, options, closing.signal);
    const result = endCommand(child, mark, ended).then((ending): ExecResult => ({ ...ending, ...output.finish() }));
    const forget = () => {
      running.delete(group);
      watch.changed(() => running.keys());
    };
    const done = result.then(forget, forget);
    running.set(group, { abort: () => closing.abort(), done });
    watch.changed(() => running.keys());
    await done;
    return result;
  };

  const close = async () => {
    closed = true;
    const commands = [...running.values()];
    for (const command of commands) command.abort();
    await Promise.all(commands.map((command) => command.done));
    watch.end();
  };
  return { exec, close };
}

function pickEnvironment(host: Record<string, string | undefined>, allow: string[]): Record<string, string> {
  const patterns = [...CHILD_ENVIRONMENT, ...allow];
  const isAllowed = (name: string, value: string) =>
    patterns.some((pattern) => (pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern)) ||
    (PROXY_ENVIRONMENT.includes(name) && !value.includes("@"));
  return Object.fromEntries(Object.entries(host).filter((entry): entry is [string, string] => entry[1] !== undefined && isAllowed(entry[0], entry[1])));
}

type Command = ChildProcess & { stdout: Readable; stderr: Readable };

/** Without a pid it could not be started, and its `error` event says why. */
function startCommand(file: string, args: string[], { cwd, input }: ExecOptions, env: Record<string, string>): Command {
  try {
    const child = spawn(file, args, { cwd, env, detached: true, stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"] });
    // Later errors are those of pipes (it ended without reading its input); the ending says what came of it.
    for (const emitter of [child, child.stdin, child.stdout, child.stderr]) emitter?.on("error", () => {});
    child.stdin?.end(input);
    return child as Command;
  } catch (error) {
    throw describeStartFailure(file, cwd, error);
  }
}

function describeStartFailure(file: string, cwd: string, error: unknown): AgentError {
  const code = (error as NodeJS.ErrnoException).code;
  const isDirectory = statSync(cwd, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const reasons: Record<string, string> = {
    ENOENT: `there is no program "${file}"`,
    EACCES: `"${file}" may not be executed`,
    E2BIG: "the command is too long for the system; put its text into a file",
  };
  const reason = isDirectory ? (reasons[code ?? ""] ?? errorMessage(error)) : `there is no directory ${cwd}`;
  return new AgentError("TOOL_FAILED", { tool: file, reason, ...(isDirectory && { systemCode: code }) }, { cause: error });
}

/** Resolves with the first reason to end; from then on the others count no more. */
function waitForEnd(child: Command, output: CommandOutput, options: ExecOptions, closing: AbortSignal): Promise<ExecEnd> {
  return new Promise((resolve) => {
    const settle = (end: ExecEnd) => {
      clearTimeout(timer);
      options.signal.removeEventListener("abort", abort);
      resolve(end);
    };
    const abort = () => settle("abort");
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(() => settle("timeout"), options.timeoutMs);
    setMaxListeners(0, options.signal); // Many commands at once may wait for one signal.
    options.signal.addEventListener("abort", abort);
    closing.addEventListener("abort", abort);
    child.once("exit", () => settle("exit"));
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].on("data", (chunk: Buffer) => {
        if (output.push(stream, chunk)) return;
        settle("output-limit");
        closeStreams(child);
      });
    }
  });
}

/** Ends what is left of the command. A grandchild that holds the pipes is waited for 500 ms at most. */
async function endCommand(child: Command, mark: string, ended: Promise<ExecEnd>): Promise<Pick<ExecResult, "end" | "exitCode" | "signal">> {
  const birth = { pid: child.pid as number, at: performance.now() };
  const exited = waitForEvent(child, "exit");
  const drained = Promise.all([waitForEvent(child.stdout, "close"), waitForEvent(child.stderr, "close")]);
  const end = await ended;
  if (end === "exit") await waitAtMost(drained, DRAIN_MS);
  await endGroup(child.pid as number);
  await killMarked(mark, birth);
  await waitAtMost(Promise.all([exited, drained]), REAP_MS);
  closeStreams(child);
  return { end, exitCode: child.exitCode, signal: child.signalCode };
}

const waitForEvent = (emitter: EventEmitter, event: string) => new Promise((resolve) => emitter.once(event, resolve));

function closeStreams(child: Command): void {
  child.stdout.destroy();
  child.stderr.destroy();
}

function waitAtMost(promise: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    promise.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
