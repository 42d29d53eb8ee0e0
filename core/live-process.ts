import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import type { Confine } from "./confine.ts";
import { AgentError, errorMessage } from "./errors.ts";
import { endGroup, killMarked, spawnDetached, TERM_GRACE_MS, termMarked } from "./processes.ts";

/** A process that stays, such as a server that is talked to over its standard input and output. */
export interface LiveProcessOptions {
  /** Working directory, absolute. */
  cwd: string;
  /** Variables of the host, by name or `PREFIX_*`, that it gets beside `CHILD_ENVIRONMENT`. */
  inherit?: string[];
  /** Added to the allow-listed environment. */
  env?: Record<string, string>;
  /** Ends it. */
  signal?: AbortSignal;
  /** Given by the runtime, not by plugins: what keeps the process in bounds. */
  confine?: Confine;
  /** Called with each piece of its standard output as it comes, no character split. An error ends the process. */
  onOutput(piece: string): void;
  /** The same for its standard error, which is read and dropped by default. */
  onError?(piece: string): void;
}

export interface LiveProcess {
  /** Resolves when the system has taken it: wait for it, so that nothing piles up. Rejects with TOOL_FAILED once it has ended. */
  write(text: string): Promise<void>;
  /** Resolves when it and what it started have ended; never rejects. `exitCode` is 128 + n when signal n ended it, null when nobody knows. */
  readonly ended: Promise<{ exitCode: number | null }>;
  /** Closes its standard input, and ends it 300 ms later: SIGTERM, after 500 ms more SIGKILL. Resolves as `ended` does. */
  end(): Promise<{ exitCode: number | null }>;
}

/** What of it the runner decides: everything is found and allowed by then. */
export interface LiveLaunch {
  file: string;
  args: string[];
  env: Record<string, string>;
  /** Value of `AGENT_RUN_MARK`. */
  mark: string;
}

const LEAVE_MS = 300;
const DRAIN_MS = 500;

/** Starts it in a process group of its own, without a terminal. Rejects with TOOL_FAILED when the system does not start it. */
export async function startLiveProcess(launch: LiveLaunch, options: LiveProcessOptions): Promise<{ group: number; process: LiveProcess }> {
  const child = spawnDetached(launch.file, launch.args, { cwd: options.cwd, env: launch.env, stdio: ["pipe", "pipe", "pipe"] });
  await hasStarted(child, launch.file);
  const group = child.pid as number;
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code ?? signalStatus(child))));
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let isOver = false;
  const ended = exited.then(async (exitCode) => {
    isOver = true;
    await Promise.race([closed, delay(DRAIN_MS)]);
    // Whoever it has left behind, in its group or out of it.
    await endGroup(group);
    await killMarked(launch.mark);
    for (const pipe of child.stdio) pipe?.destroy();
    return { exitCode };
  });
  const end = async () => {
    child.stdin?.end();
    await Promise.race([exited, delay(LEAVE_MS)]);
    if (!isOver && options.confine !== undefined) {
      await termMarked(launch.mark, group);
      // What goes on behind it is given as long again.
      await Promise.race([exited, delay(2 * TERM_GRACE_MS)]);
    }
    if (!isOver) await endGroup(group);
    return ended;
  };
  readPipes(child, options, end);
  endOnAbort(options.signal, end, ended);
  const write = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const refuse = (error: unknown) => reject(new AgentError("TOOL_FAILED", { tool: launch.file, reason: `it has ended: ${errorMessage(error)}` }));
      if (isOver) return refuse("it takes no more input");
      child.stdin?.write(text, (error) => (error ? refuse(error) : resolve()));
    });
  return { group, process: { write, ended, end } };
}

function hasStarted(child: ChildProcess, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once("spawn", resolve);
    child.on("error", (error) => reject(new AgentError("TOOL_FAILED", { tool: file, reason: errorMessage(error) }, { cause: error })));
  });
}

function readPipes(child: ChildProcess, { onOutput, onError }: LiveProcessOptions, end: () => Promise<unknown>): void {
  const read = (pipe: ChildProcess["stdout"], take: ((piece: string) => void) | undefined) =>
    pipe?.setEncoding("utf8").on("data", (piece: string) => {
      try {
        take?.(piece);
      } catch {
        // Whoever reads it cannot go on.
        void end();
      }
    });
  read(child.stdout, onOutput);
  read(child.stderr, onError);
  // The end of the process says what happened to its pipes.
  for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe?.on("error", () => {});
}

function endOnAbort(signal: AbortSignal | undefined, end: () => Promise<unknown>, ended: Promise<unknown>): void {
  if (signal === undefined) return;
  const abort = () => void end();
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  void ended.then(() => signal.removeEventListener("abort", abort));
}

const signalStatus = ({ signalCode }: ChildProcess): number | null =>
  signalCode === null ? null : 128 + (process.getBuiltinModule("node:os").constants.signals[signalCode] ?? 0);
