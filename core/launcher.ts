import { randomBytes } from "node:crypto";
import { constants as fileConstants, readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { constants } from "node:os";
import { isDeepStrictEqual } from "node:util";
import { AgentError, errorMessage } from "./errors.ts";
import { MARK, spawnShell } from "./processes.ts";

export type Environment = Record<string, string>;

export interface Launch {
  /** Path or name of a program. */
  file: string;
  args: string[];
  /** Absolute. */
  cwd: string;
  /** Value of `AGENT_RUN_MARK` for the command. */
  mark: string;
  /** Written to its standard input; nothing by default. */
  input?: string;
}

export interface CommandEnd {
  /** Exit status of the command; 128 + n when signal n ended it. */
  status: number;
  /** False when it was the launcher that ended, by whose hand ever: its command may still run. */
  canServe: boolean;
}

/**
 * A small `sh` that starts commands, one after the other, in a session and a process group of its own. To copy this
 * process for each command (fork) takes milliseconds, which grow with its memory; the shell is copied in a fraction of one.
 */
export interface Launcher {
  /** Its process group, which is also that of its commands; NaN when it could not be started. */
  group: number;
  env: Environment;
  isAlive(): boolean;
  /** Resolves when it and whoever else holds its output have ended. */
  closed: Promise<void>;
  /**
   * Starts a command, whose output (stdout and stderr are one) goes to `take`. Rejects with TOOL_FAILED when the launcher
   * itself could not be started.
   */
  start(launch: Launch, take: (chunk: Buffer) => void): Promise<CommandEnd>;
  /** While it is idle it does not keep this process alive. */
  setIdle(isIdle: boolean): void;
  /** It ends as soon as its command has ended. */
  close(): void;
  /** No more of the output is read. */
  stopReading(): void;
}

export interface Launchers {
  /** One that is ready, or a new one. `env` is what its commands get beside `PWD` and their mark. */
  take(env: Environment): Launcher;
  /** It can serve again: its command has ended, and nobody else holds its output. */
  giveBack(launcher: Launcher): void;
  /** Starts one for the next command as soon as there is nothing else to do. */
  prepare(env: Environment): void;
  close(): void;
}

/** `onChange` is called with the process groups when they have changed. At most one launcher is kept for the next command. */
export function createLaunchers(onChange: (groups: () => Iterable<number>) => void): Launchers {
  const alive = new Set<Launcher>();
  let spare: Launcher | undefined;
  let isClosed = false;

  const tell = () => onChange(() => [...alive].map(({ group }) => group));
  const start = (env: Environment) => {
    const launcher = startLauncher(env);
    if (Number.isNaN(launcher.group)) return launcher;
    alive.add(launcher);
    void launcher.closed.then(() => {
      alive.delete(launcher);
      tell();
    });
    tell();
    return launcher;
  };
  const keep = (launcher: Launcher) => {
    if (isClosed || spare?.isAlive()) return launcher.close();
    spare = launcher;
    launcher.setIdle(true);
  };
  return {
    take: (env) => {
      const ready = spare;
      spare = undefined;
      if (ready?.isAlive() && isDeepStrictEqual(ready.env, env)) return ready;
      ready?.close();
      return start(env);
    },
    giveBack: keep,
    prepare: (env) => void setImmediate(() => isClosed || spare?.isAlive() || keep(start(env))),
    close: () => {
      isClosed = true;
      spare?.close();
    },
  };
}

/** Who waits for the command that runs. */
interface Waiting {
  take(output: Buffer): void;
  finish(end: CommandEnd): void;
  fail(error: AgentError): void;
}

function startLauncher(env: Environment): Launcher {
  const child = spawnShell(["-s", "agent-launcher"], { env, stdio: ["pipe", "pipe", "ignore"] });
  // Without a pid it was not started, and where files have run out it has no pipes either.
  const [stdin, stdout] = [child.stdin as Socket | undefined, child.stdout as Socket | undefined];
  let waiting: Waiting = { take: () => {}, finish: () => {}, fail: () => {} };
  const end = createEnd();

  child.once("exit", (code, signal) => {
    const status = signal === null ? (code ?? 0) : 128 + constants.signals[signal];
    waiting.finish({ status, canServe: false });
  });
  child.on("error", (error) => waiting.fail(new AgentError("TOOL_FAILED", { tool: "sh", reason: errorMessage(error) }, { cause: error })));
  stdin?.on("error", () => {}); // It was killed, and its exit says so.
  stdout?.on("error", () => {}).once("end", () => waiting.take(end.rest()));
  stdout?.on("data", (chunk: Buffer) => {
    const { output, status } = end.find(chunk);
    if (output.length > 0) waiting.take(output);
    if (status !== undefined) waiting.finish({ status, canServe: !isNonBlocking(child.pid) });
  });
  // A signal to the whole group is meant for the command. Unlike an ignored signal, a handler does not pass on to it.
  stdin?.write("trap : HUP INT QUIT TERM USR1 USR2 ALRM PIPE\n");
  const setIdle = (isIdle: boolean) => {
    for (const part of [child, stdin, stdout]) isIdle ? part?.unref() : part?.ref();
  };
  return {
    group: child.pid ?? Number.NaN,
    env,
    isAlive: () => child.pid !== undefined && child.exitCode === null && child.signalCode === null,
    closed: new Promise((resolve) => child.once("close", () => resolve())),
    start: (launch, take) => {
      setIdle(false);
      stdin?.write(`${describeCommand(launch, env)}\n${end.command}\n`);
      return new Promise((finish, fail) => (waiting = { take, finish, fail }));
    },
    setIdle,
    close: () => stdin?.end(),
    stopReading: () => stdout?.destroy(),
  };
}

/** A command that ended may have left the output in this mode, in which the next one would lose some of its own. */
function isNonBlocking(pid: number | undefined): boolean {
  try {
    const [, flags = ""] = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/1`, "latin1")) ?? [];
    return (Number.parseInt(flags, 8) & fileConstants.O_NONBLOCK) !== 0;
  } catch {
    return true;
  }
}

function describeCommand({ file, args, cwd, mark, input }: Launch, env: Environment): string {
  // A shell drops variables whose names are no words of its own.
  const others = Object.entries(env).flatMap(([name, value]) => (/^[A-Za-z_]\w*$/.test(name) ? [] : [`${name}=${value}`]));
  const words = [...(others.length > 0 ? ["env", ...others] : []), file, ...args];
  const command = `(cd ${quote(cwd)} && unset OLDPWD && ${MARK}=${quote(mark)} exec ${words.map(quote).join(" ")})`;
  return input === undefined ? `${command} </dev/null 2>&1` : `printf %s ${quote(input)} | ${command} 2>&1`;
}

const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

/** What stands behind the output of a command: a NUL, 128 random bits that the command is not told, its exit status in three digits. */
function createEnd() {
  const token = randomBytes(16).toString("hex");
  const beginning = Buffer.from(`\0${token}`);
  const length = beginning.length + 3;
  let held: Buffer = Buffer.alloc(0);
  return {
    // Where that cannot be written, the exit says it.
    command: `status=$?; printf '\\000%s%03d' ${token} $status || exit $status`,
    /** Takes the end out of the output. Holds back what may be the beginning of it. */
    find(chunk: Buffer): { output: Buffer; status?: number } {
      const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const at = bytes.indexOf(beginning);
      const isWhole = at !== -1 && at + length <= bytes.length;
      const nul = isWhole ? at : bytes.indexOf(0, Math.max(0, bytes.length - length + 1));
      const cut = nul === -1 ? bytes.length : nul;
      held = isWhole ? Buffer.alloc(0) : Buffer.from(bytes.subarray(cut));
      if (!isWhole) return { output: bytes.subarray(0, cut) };
      const status = Number(bytes.toString("latin1", at + beginning.length, at + length));
      return { output: Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]), status };
    },
    /** What was held back, when the output ends without its end. */
    rest: () => held,
  };
}
