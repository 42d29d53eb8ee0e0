import { setMaxListeners } from "node:events";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, resolve as resolvePath } from "node:path";
import { LONGEST_TIMER_MS } from "./abort.ts";
import { type CommandOutput, type CommandOutputOptions, createCommandOutput } from "./command-output.ts";
import type { Confine } from "./confine.ts";
import { AgentError } from "./errors.ts";
import { createLaunchers, type Environment, LAUNCHER_SHELL, type Launch, type Launcher, type Launchers, listOddVariables } from "./launcher.ts";
import type { LiveProcess, LiveProcessOptions } from "./live-process.ts";
import { type Birth, createRunMark, createWatch, endGroup, killMarked, MARK, TERM_GRACE_MS, termMarked, type Watch } from "./processes.ts";
import type { Redactor } from "./redact.ts";

export interface ExecOptions {
  /** Working directory, absolute. */
  cwd: string;
  /** `cwd` is a real path: the command is not run (status 126) where a link has taken a place on its way by then. */
  isRealCwd?: boolean;
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
  /** The output as the program wrote it, for who reads facts from it; nothing of it is written to a file then. Else it has no known secret in it, and what looks like a key is replaced. */
  raw?: boolean;
  /** Given by the runtime, not by tools: what keeps the command in bounds. */
  confine?: Confine;
}

export type ExecEnd = "exit" | "timeout" | "abort" | "output-limit";

interface Ending {
  end: ExecEnd;
  /** Exit status, 128 + n when signal n ended it; null when it was ended from here. */
  exitCode: number | null;
}

export interface ExecResult extends Ending {
  /** The whole output, or head and tail of it. */
  head: string;
  /** "" when the head holds everything. */
  tail: string;
  totalBytes: number;
  /** Set when the whole output went there. */
  spillPath?: string;
}

/**
 * The one process runner. Runs `file` with `args` in a process group apart, without a terminal, stdin closed, allow-listed environment.
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
/** Of one argument, as Linux has it (MAX_ARG_STRLEN, 32 pages), and of all together, as macOS has it (ARG_MAX). */
const ARGUMENT_BYTES = 131_071;
const ARGUMENTS_BYTES = 1_000_000;

/**
 * Starts a process that stays: in a process group apart, without a terminal, allow-listed environment. It ends with the
 * runtime, also when that is killed. Rejects with TOOL_FAILED when it cannot be started, as `Exec` does.
 */
export type StartProcess = (file: string, args: string[], options: LiveProcessOptions) => Promise<LiveProcess>;

export interface ExecSetup {
  /** The environment of the host. */
  env: Record<string, string | undefined>;
  /** Takes secrets out of all that commands write. */
  redactor?: Redactor;
  /** Whether a value is the key of a provider: no child gets it, whatever asks for it. */
  isKey?(value: string): boolean;
}

/**
 * Makes the runner of one run. After timeout, abort, too much output or a normal end nothing that the command started
 * is left within 2 s: its process group gets SIGTERM and 500 ms later SIGKILL; on Linux what left the group is found by
 * its mark in the environment. A watching process does the same when the agent itself is killed.
 * `close` ends what is running; commands that are asked for afterwards end as aborted.
 */
export function createExec(setup: ExecSetup): { exec: Exec; startProcess: StartProcess; close(): Promise<void> } {
  const runMark = createRunMark(setup.env[MARK]);
  const watch = createWatch(runMark, setup.env.PATH);
  const groups: Record<"launchers" | "live", () => Iterable<number>> = { launchers: () => [], live: () => [] };
  const changed = (kind: keyof typeof groups) => (now: () => Iterable<number>) => {
    groups[kind] = now;
    watch.changed(() => [...groups.launchers(), ...groups.live()]);
  };
  let count = 0;
  const ground: Ground = {
    runMark,
    watch,
    find: createFinder(),
    nextMark: () => `${runMark}.${++count}`,
    environmentOf: ({ inherit = [], env }) => ({ ...pickEnvironment(setup.env, inherit), ...CHILD_SETTINGS, ...env }),
    redactor: setup.redactor,
    isKey: setup.isKey,
  };
  const commands = createCommands(ground, createLaunchers(changed("launchers")));
  const live = createLiveProcesses(ground, changed("live"));
  const close = async () => {
    await Promise.all([commands.close(), live.close()]);
    watch.end();
  };
  return { exec: commands.exec, startProcess: live.start, close };
}

/** What all processes of one run have in common. */
interface Ground {
  runMark: string;
  watch: Watch;
  find: ReturnType<typeof createFinder>;
  nextMark(): string;
  environmentOf(options: Pick<ExecOptions, "inherit" | "env">): Environment;
  redactor: Redactor | undefined;
  isKey: ExecSetup["isKey"];
}

/** Those that run to their end. */
function createCommands({ runMark, watch, find, nextMark, environmentOf, redactor, isKey }: Ground, launchers: Launchers) {
  const running = new Map<AbortController, Promise<unknown>>();
  let closed = false;
  const exec: Exec = async (file, args, options) => {
    const env: Environment = { ...environmentOf(options), [MARK]: runMark };
    checkKeys(file, env, { options, isKey });
    if (closed || options.signal.aborted) return { end: "abort", exitCode: null, head: "", tail: "", totalBytes: 0 };
    checkStart(file, args, options);
    const program = find(file, options.cwd, env.PATH);
    // The launcher is confined, and serves as long as the bounds are the same.
    const shell = options.confine?.({ ...LAUNCHER_SHELL, cwd: "/", needed: [program, ...args] });
    const launch = { file: program, args, cwd: options.cwd, isRealCwd: options.isRealCwd ?? false, mark: nextMark(), input: options.input };
    watch.start();
    const closing = new AbortController();
    const command = { env, shell, launch, options: toOutputOptions(options, redactor), closing: closing.signal };
    const done = runCommand(launchers, command).finally(() => running.delete(closing));
    running.set(closing, done);
    return done;
  };
  const close = async () => {
    closed = true;
    for (const closing of running.keys()) closing.abort();
    await Promise.allSettled(running.values());
    launchers.close();
  };
  return { exec, close };
}

/** Those that stay. `onChange` is called with their process groups when these have changed. */
function createLiveProcesses({ watch, find, nextMark, environmentOf, isKey }: Ground, onChange: (groups: () => Iterable<number>) => void) {
  const running = new Map<number, LiveProcess>();
  let closed = false;
  const tell = () => onChange(() => running.keys());
  const start: StartProcess = async (file, args, options) => {
    if (closed || options.signal?.aborted) throw cannotStart(file, "the run is over");
    checkStart(file, args, options);
    const mark = nextMark();
    const env: Environment = { ...environmentOf(options), [MARK]: mark };
    checkKeys(file, env, { options, isKey });
    watch.start();
    const { startLiveProcess } = await import("./live-process.ts");
    const confined = confineProgram(find(file, options.cwd, env.PATH), { ...options, args, env });
    const { group, process } = await startLiveProcess({ ...confined, env, mark }, options);
    running.set(group, process);
    tell();
    void process.ended.then(() => {
      running.delete(group);
      tell();
    });
    if (closed) await process.end();
    return process;
  };
  const close = async () => {
    closed = true;
    await Promise.all([...running.values()].map(({ end }) => end()));
  };
  return { start, close };
}

function confineProgram(program: string, { args, env, cwd, confine }: Pick<ExecOptions, "cwd" | "confine"> & { args: string[]; env: Environment }) {
  if (confine === undefined) return { file: program, args };
  const others = listOddVariables(env);
  return others.length === 0
    ? confine({ file: program, args, cwd })
    : confine({ file: "/usr/bin/env", args: [...others, program, ...args], cwd, needed: [program] });
}

/** What was found once is not looked for again. */
function createFinder() {
  const programs = new Map<string, string>();
  return (file: string, cwd: string, path: string | undefined): string => {
    const key = JSON.stringify([file, file.includes("/") ? cwd : path]);
    const program = programs.get(key) ?? findProgram(file, cwd, path);
    programs.set(key, program);
    return program;
  };
}

function toOutputOptions({ spillPath, ...options }: ExecOptions, redactor: Redactor | undefined): CommandOptions {
  return { ...options, ...(options.raw ? {} : { redaction: redactor?.stream(), ...(spillPath !== undefined && { spillPath }) }) };
}

function pickEnvironment(host: Record<string, string | undefined>, allow: string[]): Record<string, string> {
  const patterns = [...CHILD_ENVIRONMENT, ...allow];
  const isAllowed = (name: string, value: string) =>
    patterns.some((pattern) => (pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern)) ||
    (PROXY_ENVIRONMENT.includes(name) && !value.includes("@"));
  return Object.fromEntries(Object.entries(host).filter((entry): entry is [string, string] => entry[1] !== undefined && isAllowed(entry[0], entry[1])));
}

/** A name that was asked for is refused; what a `PREFIX_*` happens to hold is left out. */
function checkKeys(file: string, env: Environment, { options, isKey }: { options: Pick<ExecOptions, "inherit" | "env">; isKey: ExecSetup["isKey"] }): void {
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || !isKey?.(value.trim())) continue;
    if (options.inherit?.includes(name) || options.env?.[name] !== undefined)
      throw cannotStart(file, `the variable ${name} holds the key of a provider, and no command gets one. Take it out of the option env of the plugin`);
    delete env[name];
  }
}

function checkStart(file: string, args: string[], { cwd, input = "" }: Pick<ExecOptions, "cwd" | "input">): void {
  if ([file, ...args, input].some((text) => text.includes("\0"))) throw cannotStart(file, "an argument or the input has a NUL character");
  const lengths = args.map((arg) => Buffer.byteLength(arg));
  if (Math.max(0, ...lengths) > ARGUMENT_BYTES || lengths.reduce((sum, length) => sum + length, 0) > ARGUMENTS_BYTES)
    throw cannotStart(file, "the command is too long for the system; put its text into a file", "E2BIG");
  if (!isOfKind(cwd, "isDirectory")) throw cannotStart(file, `there is no directory ${cwd}`);
}

/** Looks for it as execvp(3) does. */
function findProgram(file: string, cwd: string, path = "/usr/bin:/bin"): string {
  const places = file.includes("/") ? [resolvePath(cwd, file)] : path.split(delimiter).map((folder) => resolvePath(cwd, folder, file));
  const found = places.filter((place) => isOfKind(place, "isFile"));
  if (found.length === 0) throw cannotStart(file, `there is no program "${file}"`, "ENOENT");
  const executable = found.find(isExecutable);
  if (executable === undefined) throw cannotStart(file, `"${file}" may not be executed`, "EACCES");
  return executable;
}

function isOfKind(path: string, kind: "isFile" | "isDirectory"): boolean {
  try {
    return statSync(path)[kind]();
  } catch {
    return false;
  }
}

/** A file, and one that may be run. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

const cannotStart = (tool: string, reason: string, systemCode?: string) => new AgentError("TOOL_FAILED", { tool, reason, systemCode });

type CommandOptions = ExecOptions & Pick<CommandOutputOptions, "redaction">;

interface Command {
  env: Environment;
  shell: ReturnType<Confine> | undefined;
  launch: Launch;
  options: CommandOptions;
  closing: AbortSignal;
}

/** Runs one command. What it started has ended when this resolves. */
async function runCommand(launchers: Launchers, command: Command, isSecondTry = false): Promise<ExecResult> {
  const { env, shell, launch, options, closing } = command;
  const launcher = launchers.take(env, shell);
  const output = createCommandOutput(options);
  const at = performance.now();
  const ending = await waitForEnd(launcher, launch, output, options, closing);
  // The launcher was killed while it waited for its command.
  if (ending === undefined && isSecondTry) throw cannotStart(shell?.file ?? "sh", "it ended before the command began");
  if (ending === undefined) return runCommand(launchers, command, true);
  const { end, exitCode, canServe } = ending;
  if (canServe) launchers.giveBack(launcher);
  else {
    await endLauncher(launcher, { end, mark: launch.mark, birth: shell === undefined ? { pid: launcher.lastPid ?? 0, at } : undefined });
    launchers.prepare(env, shell);
  }
  return { end, exitCode, ...output.finish() };
}

/** Resolves with the first reason to end; from then on the others count no more. */
async function waitForEnd(
  launcher: Launcher,
  launch: Launch,
  output: CommandOutput,
  { signal, timeoutMs = Number.POSITIVE_INFINITY }: ExecOptions,
  closing: AbortSignal,
): Promise<(Ending & { canServe: boolean }) | undefined> {
  let finish = (_: Ending & { canServe: boolean }) => {};
  const ended = new Promise<Ending & { canServe: boolean }>((resolve) => (finish = resolve));
  const settle = (end: ExecEnd) => finish({ end, exitCode: null, canServe: false });
  const abort = () => settle("abort");
  const timer = timeoutMs < LONGEST_TIMER_MS ? setTimeout(() => settle("timeout"), timeoutMs) : undefined;
  setMaxListeners(0, signal); // Many commands at once may wait for one signal.
  for (const each of [signal, closing]) each.addEventListener("abort", abort);
  const take = (chunk: Buffer) => {
    if (output.push(chunk)) return;
    settle("output-limit");
    launcher.stopReading();
  };
  try {
    const exited = launcher.start(launch, take).then((end) => end && { end: "exit" as const, exitCode: end.status, canServe: end.canServe });
    return await Promise.race([ended, exited]);
  } finally {
    clearTimeout(timer);
    for (const each of [signal, closing]) each.removeEventListener("abort", abort);
  }
}

/** What may be left of a command. */
interface Remains {
  end: ExecEnd;
  mark: string;
  /** Undefined in a sandbox, which counts its processes for itself. */
  birth: Birth | undefined;
}

/** Ends what is left of the command, and its launcher. A grandchild that holds the output is waited for 500 ms at most. */
async function endLauncher(launcher: Launcher, { end, mark, birth }: Remains): Promise<void> {
  launcher.close();
  if (end === "exit") await waitAtMost(launcher.closed, DRAIN_MS);
  else if (birth === undefined) {
    await termMarked(mark, launcher.group);
    await waitAtMost(launcher.closed, TERM_GRACE_MS);
  }
  await endGroup(launcher.group);
  await killMarked(mark, birth);
  await waitAtMost(launcher.closed, REAP_MS);
  launcher.stopReading();
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
