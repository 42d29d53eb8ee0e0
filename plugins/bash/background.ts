import { AgentError, type ToolContext } from "agent-runtime";

/** Of one session, at the same time. */
const MOST_RUNNING = 8;
/** Of all sessions of a runtime, which may be many: each task has one. */
const MOST_IN_ALL = 32;
/** Of one session, that have ended and nobody has looked since. */
const MOST_ENDED = 16;
/** Characters that wait for the next look; the oldest go first. */
const MOST_UNREAD = 30_000;
/** In this time comes the end of a line that was held back because it looks like the beginning of a secret. */
const REST_MS = 300;

type ExecEnding = Awaited<ReturnType<ToolContext["exec"]>>;

/** How a command ended. `abort`: with the agent, or with the task that started it. */
export type BackgroundEnding = { end: ExecEnding["end"] | "kill"; exitCode: number | null } | { end: "failure"; error: unknown };

export interface BackgroundStart {
  command: string;
  /** File that gets the whole output. */
  outputPath: string;
  run(signal: AbortSignal, onOutput: (piece: string) => void): Promise<ExecEnding>;
}

/** The background commands of one session. */
export interface SessionCommands {
  /** That run, or whose end nobody was told. */
  readonly hasAny: boolean;
  readonly running: BackgroundCommand[];
  /** Throws when too many run. */
  start(start: BackgroundStart): BackgroundCommand;
  /** Throws with the ids there are; `tool` is who asks. */
  find(id: string, tool: string): BackgroundCommand;
  forget(command: BackgroundCommand): void;
  killAll(): void;
}

/** The background commands of a runtime. The agent's end is theirs too: the one runner of processes sees to it. */
export interface Background {
  /** Whether there is, or was when it was asked before, something to look at. */
  hasSeen(sessionId: string): boolean;
  of(sessionId: string): SessionCommands;
  /** Ends what the session has started: nobody is there any more who could look at it. */
  close(sessionId: string): void;
}

export function createBackground(): Background {
  const sessions = new Map<string, SessionCommands>();
  const seen = new Set<string>();
  const countAll = () => [...sessions.values()].reduce((sum, { running }) => sum + running.length, 0);
  return {
    hasSeen(sessionId) {
      if (sessions.get(sessionId)?.hasAny) seen.add(sessionId);
      return seen.has(sessionId);
    },
    of(sessionId) {
      const commands = sessions.get(sessionId) ?? createSessionCommands(countAll);
      sessions.set(sessionId, commands);
      return commands;
    },
    close(sessionId) {
      sessions.get(sessionId)?.killAll();
      sessions.delete(sessionId);
      seen.delete(sessionId);
    },
  };
}

function createSessionCommands(countAll: () => number): SessionCommands {
  const commands = new Map<string, BackgroundCommand>();
  const running = () => [...commands.values()].filter(({ ending }) => ending === undefined);
  let count = 0;
  const dropOldest = () => {
    const ended = [...commands.values()].filter(({ ending }) => ending !== undefined);
    for (const { id } of ended.slice(0, -MOST_ENDED)) commands.delete(id);
  };
  return {
    get hasAny() {
      return commands.size > 0;
    },
    get running() {
      return running();
    },
    start(start) {
      if (running().length >= MOST_RUNNING) throw tooMany(running());
      if (countAll() >= MOST_IN_ALL) throw tooManyInAll();
      const command = new BackgroundCommand(`bg_${++count}`, start, dropOldest);
      commands.set(command.id, command);
      return command;
    },
    find(id, tool) {
      const found = commands.get(id);
      if (found === undefined) throw unknownId(id, [...commands.keys()], tool);
      return found;
    },
    forget: ({ id }) => void commands.delete(id),
    killAll: () => {
      for (const command of running()) void command.kill("abort");
    },
  };
}

function unknownId(id: string, known: string[], tool: string): AgentError {
  const others = known.length > 0 ? `there are ${known.join(", ")}.` : "there is none. They end with the agent, and are forgotten once their end was told.";
  return new AgentError("TOOL_FAILED", { tool, reason: `there is no background command ${JSON.stringify(id.slice(0, 100))}; ${others}` });
}

function tooMany(running: BackgroundCommand[]): AgentError {
  const list = running.map(({ id, command }) => `${id} (${command.length > 60 ? `${command.slice(0, 60)}…` : command})`).join(", ");
  return new AgentError("TOOL_FAILED", {
    tool: "bash",
    reason: `${running.length} commands run in the background, and no more may. End one with bash_kill: ${list}`,
  });
}

function tooManyInAll(): AgentError {
  const reason = `${MOST_IN_ALL} commands of this and other sessions run in the background, and no more may. Run it without background, or wait until one has ended.`;
  return new AgentError("TOOL_FAILED", { tool: "bash", reason });
}

/** A command that goes on while the model does other things. */
export class BackgroundCommand {
  readonly id: string;
  readonly command: string;
  readonly outputPath: string;
  readonly #startedAt = performance.now();
  readonly #stop = new AbortController();
  readonly #unread = createUnread();
  readonly #listeners = new Set<() => void>();
  readonly #ended: Promise<void>;
  #ending: BackgroundEnding | undefined;
  #endedAt: number | undefined;
  #askedEnd: "kill" | "abort" = "abort";

  constructor(id: string, { command, outputPath, run }: BackgroundStart, onEnd: () => void) {
    [this.id, this.command, this.outputPath] = [id, command, outputPath];
    const finish = (ending: BackgroundEnding) => {
      [this.#ending, this.#endedAt] = [ending, performance.now()];
      onEnd();
      this.#tell();
    };
    const take = (piece: string) => {
      this.#unread.push(piece);
      this.#tell();
    };
    this.#ended = run(this.#stop.signal, take).then(
      ({ end, exitCode }) => finish({ end: end === "abort" ? this.#askedEnd : end, exitCode }),
      (error: unknown) => finish({ end: "failure", error }),
    );
  }

  /** Undefined while it runs. */
  get ending(): BackgroundEnding | undefined {
    return this.#ending;
  }

  /** ms that it has run. */
  get elapsedMs(): number {
    return Math.round((this.#endedAt ?? performance.now()) - this.#startedAt);
  }

  get hasNews(): boolean {
    return this.#unread.length > 0;
  }

  /** Resolves when what is new ends with a whole line: half a line may be half a number. A prompt is waited for in vain, not long. */
  waitForRest(signal: AbortSignal): Promise<void> {
    return this.waitUntil(() => this.ending !== undefined || !this.#unread.isMidLine, REST_MS, signal);
  }

  /** What came since the last call, without the first `leftOut` characters of it. */
  takeNews(): { text: string; leftOut: number } {
    return this.#unread.take();
  }

  /** Resolves when the condition holds, which is asked at each news; at the latest after `ms`, or when the signal aborts. */
  waitUntil(isReached: () => boolean, ms: number, signal: AbortSignal): Promise<void> {
    return waitFor(this.#listeners, isReached, { ms, signal });
  }

  /** Resolves when it is gone with everything it started. */
  kill(end: "kill" | "abort"): Promise<void> {
    this.#askedEnd = end;
    this.#stop.abort();
    return this.#ended;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function waitFor(listeners: Set<() => void>, isReached: () => boolean, { ms, signal }: { ms: number; signal: AbortSignal }): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      listeners.delete(look);
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const look = () => {
      if (isReached()) finish();
    };
    const timer = setTimeout(finish, ms);
    listeners.add(look);
    signal.addEventListener("abort", finish);
    if (signal.aborted) finish();
    else look();
  });
}

/** Keeps the end of what was not read. */
function createUnread() {
  let text = "";
  let leftOut = 0;
  const cut = () => {
    const kept = text.slice(-MOST_UNREAD).replace(/^[\uDC00-\uDFFF]/, "");
    leftOut += text.length - kept.length;
    text = kept;
  };
  return {
    get length() {
      return text.length;
    },
    get isMidLine() {
      return text !== "" && !text.endsWith("\n");
    },
    push(piece: string) {
      text += piece;
      // Not at each piece: a cut copies all that is kept.
      if (text.length > 2 * MOST_UNREAD) cut();
    },
    take() {
      cut();
      const taken = { text, leftOut };
      text = "";
      leftOut = 0;
      return taken;
    },
  };
}
