import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { constants, openSync } from "node:fs";
import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import { AgentError, errorMessage } from "./errors.ts";
import { MARK, spawnShell } from "./processes.ts";

export type Environment = Record<string, string>;

/** What reads and runs what the launcher is told. */
export interface Shell {
  file: string;
  args: string[];
  /** Where it has changed, one that was started before serves no more. */
  identity?: string;
}

export const LAUNCHER_SHELL: Shell = { file: "/bin/sh", args: ["-s", "agent-launcher"] };

export interface Launch {
  /** Path of a program: so the shell does not search for it. */
  file: string;
  args: string[];
  /** Absolute. */
  cwd: string;
  /** `cwd` has no link in it: a command does not begin where one leads by now. */
  isRealCwd?: boolean;
  /** Value of `AGENT_RUN_MARK` for the command. */
  mark: string;
  /** Written to its standard input; nothing by default. */
  input?: string;
}

export interface CommandEnd {
  /** Exit status of the command; 128 + n when signal n ended it. */
  status: number;
  /** Nobody who was started meanwhile is left, so nobody holds the output, and the launcher is as it was. */
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
  shell: Shell | undefined;
  isAlive(): boolean;
  /** Resolves when it and whoever else holds its output have ended. */
  closed: Promise<void>;
  /**
   * Starts a command, whose output (stdout and stderr are one) goes to `take`. Resolves to undefined when the launcher has
   * died before it began. Rejects with TOOL_FAILED when the launcher itself could not be started.
   */
  start(launch: Launch, take: (chunk: Buffer) => void): Promise<CommandEnd | undefined>;
  /** The last process id that was given before its command began; 0 where the system does not tell, undefined before it began. */
  readonly lastPid: number | undefined;
  /** While it is idle it does not keep this process alive. */
  setIdle(isIdle: boolean): void;
  /** It ends as soon as its command has ended. */
  close(): void;
  /** No more of the output is read. */
  stopReading(): void;
}

export interface Launchers {
  /** One that is ready, or a new one. `env` is what its commands get beside `PWD` and their mark; `shell` runs them where it is given, in the place of `LAUNCHER_SHELL`. */
  take(env: Environment, shell?: Shell): Launcher;
  /** It can serve again: its command has ended, and nobody else holds its output. */
  giveBack(launcher: Launcher): void;
  /** Starts one for the next command as soon as there is nothing else to do. */
  prepare(env: Environment, shell?: Shell): void;
  close(): void;
}

/** `onChange` is called with the process groups when they have changed. At most one launcher is kept for the next command. */
export function createLaunchers(onChange: (groups: () => Iterable<number>) => void): Launchers {
  const alive = new Set<Launcher>();
  let spare: Launcher | undefined;
  let isClosed = false;

  const tell = () => onChange(() => [...alive].map(({ group }) => group));
  const start = (env: Environment, shell?: Shell) => {
    const launcher = startLauncher(env, shell);
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
    take: (env, shell) => {
      const ready = spare;
      spare = undefined;
      if (ready?.isAlive() && isDeepStrictEqual([ready.env, ready.shell], [env, shell])) return ready;
      ready?.close();
      return start(env, shell);
    },
    giveBack: keep,
    prepare: (env, shell) => void setImmediate(() => isClosed || spare?.isAlive() || keep(start(env, shell))),
    close: () => {
      isClosed = true;
      spare?.close();
    },
  };
}

/** Who waits for the command that runs. */
interface Waiting {
  lastPid: number | undefined;
  take(output: Buffer): void;
  finish(end: CommandEnd | undefined): void;
  fail(error: AgentError): void;
}

/** Without a pid it was not started, and where files have run out it has no pipes either. */
function spawnLauncher(env: Environment, shell: Shell | undefined): ChildProcess {
  const { file, args } = shell ?? { ...LAUNCHER_SHELL, file: "sh" };
  return spawnShell(["-c", LAUNCHER, "agent", file, ...args], { env, stdio: ["pipe", "pipe", "ignore", "pipe"] });
}

/** A command begins once somebody listens: what one says that kills its whole group at once would be lost. */
function startLauncher(env: Environment, shell: Shell | undefined): Launcher {
  const child = spawnLauncher(env, shell);
  const [stdin, stdout, , answer] = child.stdio as (Socket | undefined)[];
  let [output, isIdle, asked]: [Socket | undefined, boolean, string] = [undefined, false, ""];
  let waiting: Waiting = { lastPid: undefined, take: () => {}, finish: () => {}, fail: () => {} };
  const marks = createMarks();
  child.on("error", (error) => waiting.fail(new AgentError("TOOL_FAILED", { tool: "sh", reason: errorMessage(error) }, { cause: error })));
  stdin?.on("error", () => {}); // It was killed, and the end of its output says so.
  stdout?.on("error", () => {}).once("close", () => output ?? waiting.finish(undefined));
  openOutput(stdout, answer, (opened) => {
    output = opened;
    if (isIdle) output.unref();
    readOutput(output, marks, () => waiting);
    stdin?.write(asked);
  });
  stdin?.write(describeStart(marks.token));
  const setIdle = (idle: boolean) => {
    isIdle = idle;
    for (const part of [child, stdin, stdout, answer, output]) idle ? part?.unref() : part?.ref();
  };
  return {
    group: child.pid ?? Number.NaN,
    env,
    shell,
    isAlive: () => child.pid !== undefined && child.exitCode === null && child.signalCode === null,
    closed: new Promise((resolve) => child.once("close", () => (output === undefined || output.closed ? resolve() : output.once("close", resolve)))),
    start: (launch, take) => {
      setIdle(false);
      asked = `agent_begin\n${describeCommand(launch, env)}\nagent_end\n`;
      if (output !== undefined) stdin?.write(asked);
      return new Promise((finish, fail) => (waiting = { lastPid: undefined, take, finish, fail }));
    },
    get lastPid() {
      return waiting.lastPid;
    },
    setIdle,
    close: () => stdin?.end(),
    stopReading: () => (output ?? stdout)?.destroy(),
  };
}

function readOutput(output: Socket, marks: ReturnType<typeof createMarks>, waiting: () => Waiting): void {
  output.on("data", (chunk: Buffer) => {
    for (const piece of marks.split(chunk)) {
      const command = waiting();
      if (piece.output.length > 0) command.take(piece.output);
      command.lastPid ??= piece.lastPid;
      if (piece.end !== undefined) command.finish(piece.end);
    }
  });
  output.on("error", () => {}).once("end", () => waiting().take(marks.rest()));
  output.once("close", () => waiting().finish(waiting().lastPid === undefined ? undefined : { status: KILLED, canServe: false }));
}

/** Exit status of what SIGKILL ended: all that is known when a command has ended and its launcher cannot say how. */
const KILLED = 137;

/** A signal to the whole group is meant for the command. */
const GROUP_SIGNALS = "HUP INT QUIT TERM USR1 USR2 ALRM PIPE";

/**
 * Node's pipes are sockets: programs cannot open them as /dev/stdout or /dev/stderr, and those written for Node lose output
 * at their exit. So the output goes through a pipe of the shell's making. Who stands at its end says its process id, so
 * that we can open it there, and leaves; told otherwise, it passes the output on for good.
 */
const LAUNCHER = `trap : ${GROUP_SIGNALS}
"$@" 3<&- | (
  trap '' ${GROUP_SIGNALS}
  agent_pid=
  read -r agent_pid _ </proc/self/stat
  echo "$agent_pid"
  read -r _ <&3 && exec cat
)`;

/** Gives the stream on which the output of commands comes, as soon as the launcher has said where. */
function openOutput(stdout: Socket | undefined, answer: Socket | undefined, listen: (output: Socket) => void): void {
  let said = "";
  const hear = (chunk: Buffer) => {
    said += chunk.toString("latin1");
    if (!said.endsWith("\n")) return;
    stdout?.off("data", hear);
    const pipe = openPipe(said.trim());
    answer?.end(pipe === undefined ? "\n" : "");
    const output = pipe ?? stdout;
    if (output !== undefined) listen(output);
  };
  answer?.on("error", () => {}); // It was killed.
  stdout?.on("data", hear);
}

/** Undefined where there is no /proc, or another one than that of the shell. */
function openPipe(pid: string): Socket | undefined {
  try {
    const fd = openSync(`/proc/${pid}/fd/0`, constants.O_RDONLY | constants.O_NONBLOCK);
    return new (process.getBuiltinModule("node:net").Socket)({ fd, readable: true, writable: false });
  } catch {
    return undefined;
  }
}

/** More processes than this are not looked at one by one. */
const MOST_GIVEN = 64;

/**
 * The functions that stand around each command. The launcher can serve again when of the processes that were started
 * meanwhile (the last id that was given ends /proc/loadavg) none is left, so nobody holds the output, and the pipe is not
 * in non-blocking mode (04000), in which the next command would lose output. It ends where nobody takes its output any
 * more. Its handlers, unlike ignored signals, do not pass on to the command.
 */
const describeStart = (token: string): string => `trap : ${GROUP_SIGNALS}
agent_begin() {
  agent_before=
  read -r _ _ _ _ agent_before </proc/loadavg
  printf '\\000%s b %08d' ${token} \${agent_before:-0}
}
agent_end() {
  agent_status=$?
  agent_after= agent_flags=
  read -r _ _ _ _ agent_after </proc/loadavg
  { read -r _; read -r _ agent_flags; } </proc/self/fdinfo/1
  agent_id=\${agent_before:-0}
  agent_given=$((\${agent_after:-0} - agent_id))
  agent_serves=$((agent_given > 0 && agent_given <= ${MOST_GIVEN} && (\${agent_flags:-04000} & 04000) == 0))
  while [ $agent_serves = 1 ] && [ $agent_id -lt $agent_after ]; do
    agent_id=$((agent_id + 1))
    [ -e /proc/$agent_id ] && agent_serves=0
  done
  # Who was still there may have started another meanwhile.
  [ $agent_given -gt 1 ] && { read -r _ _ _ _ agent_last </proc/loadavg; [ "$agent_last" = "$agent_after" ] || agent_serves=0; }
  for agent_try in 1 2 3 4 5 6 7 8 9 10; do
    printf '\\000%s e %03d %d   ' ${token} $agent_status $agent_serves && return
    sleep 0.1
  done
  exit
}
`;

/** As `NAME=value`: a shell drops variables whose names are no words of its own. */
export const listOddVariables = (env: Environment): string[] =>
  Object.entries(env).flatMap(([name, value]) => (/^[A-Za-z_]\w*$/.test(name) ? [] : [`${name}=${value}`]));

/** Who is in a directory stays there, so the shell looks once more where it is. */
const MOVED = "The command was not run: a link has taken the place of its directory.";

function describeCommand({ file, args, cwd, isRealCwd, mark, input }: Launch, env: Environment): string {
  const others = listOddVariables(env);
  const words = [...(others.length > 0 ? ["env", ...others] : []), file, ...args];
  const enter = isRealCwd ? `cd -P ${quote(cwd)} && { [ "$PWD" = ${quote(cwd)} ] || { echo ${quote(MOVED)}; exit 126; }; }` : `cd ${quote(cwd)}`;
  const command = `(${enter} && unset OLDPWD && ${MARK}=${quote(mark)} exec ${words.map(quote).join(" ")})`;
  return input === undefined ? `${command} </dev/null 2>&1` : `printf %s ${quote(input)} | ${command} 2>&1`;
}

const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

/** What of a chunk stands before a mark, and what the mark says. */
interface Piece {
  output: Buffer;
  lastPid?: number;
  end?: CommandEnd;
}

/**
 * Marks stand around the output of a command: a NUL, 128 random bits that the command is not told, and either
 * " b " and the last process id, or " e ", the exit status and whether the launcher can serve.
 */
function createMarks() {
  const token = randomBytes(16).toString("hex");
  const beginning = Buffer.from(`\0${token}`);
  const length = beginning.length + " b 00000000".length;
  let held: Buffer = Buffer.alloc(0);
  return {
    token,
    /** Holds back what may be the beginning of a mark. */
    split(chunk: Buffer): Piece[] {
      let bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const pieces: Piece[] = [];
      for (let at = bytes.indexOf(beginning); at !== -1 && at + length <= bytes.length; at = bytes.indexOf(beginning)) {
        pieces.push({ output: bytes.subarray(0, at), ...readMark(bytes.toString("latin1", at + beginning.length, at + length)) });
        bytes = bytes.subarray(at + length);
      }
      const nul = bytes.indexOf(0, Math.max(0, bytes.length - length + 1));
      const cut = nul === -1 ? bytes.length : nul;
      held = Buffer.from(bytes.subarray(cut));
      return [...pieces, { output: bytes.subarray(0, cut) }];
    },
    /** What was held back, when the output ends without a mark. */
    rest: () => held,
  };
}

function readMark(said: string): Pick<Piece, "lastPid" | "end"> {
  const [, kind, first, second] = said.split(" ");
  return kind === "b" ? { lastPid: Number(first) } : { end: { status: Number(first), canServe: second === "1" } };
}
