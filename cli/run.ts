import { fstatSync } from "node:fs";
import {
  AgentError,
  type AgentEvent,
  createRuntime,
  type PluginCommand,
  type PromptOptions,
  type PromptRequest,
  type RunResult,
  type Runtime,
} from "agent-runtime";
import { NO_TOKENS, toAgentError, withoutControls } from "agent-runtime/host";
import { builtins } from "../plugins/index.ts";
import { COMMANDS, type RunInvocation } from "./args.ts";
import { watchClosedOutput } from "./closed-output.ts";
import type { Conversation, Turn } from "./conversation.ts";
import { type InputItem, readInput } from "./input.ts";
import { createLog } from "./log.ts";
import { createJsonOutput, createTextOutput, type Output, type Streams } from "./output.ts";
import type { ClaudeProjection } from "./output-claude.ts";
import { createCulprit, type Ending, watchStall } from "./stall.ts";
import { openStdin, readText, type Stdin } from "./stdin.ts";

/** How long a run that was told to end may take before its result is written without it. */
const ABORT_MS = 2200;

/** The closed output is watched only in runs that last. */
const WATCH_AFTER_MS = 1000;

export interface RunHost {
  streams: Streams;
  /** Aborts at a signal and when stdout is closed; its reason is an AgentError. */
  signal: AbortSignal;
  abort(error: AgentError): void;
  stdin?: Stdin;
  makeRuntime?: typeof createRuntime;
  /** Takes out what is known of secrets so far: those of the environment, and of the configuration once it is read. */
  redact?(text: string): string;
  /** Of this package. */
  readVersion?(): string;
}

/** Everything that the prompts of one command share. */
export interface Session {
  host: RunHost;
  invocation: RunInvocation;
  runtime: Promise<Runtime>;
  /** Aborts when a run that was told to end has not done so in time. */
  late: AbortSignal;
  /** Of the first prompt; the next ones go on with it. */
  sessionId?: string;
  /** Where stdin holds frames. */
  conversation?: Conversation | undefined;
  /** Where the output has Claude Code's format. */
  claude?: ClaudeProjection;
  redact(text: string): string;
}

/** Answers every prompt of the command line or of stdin, in order. Resolves to the exit code of the first that failed, else 0. */
export async function runPrompts(invocation: RunInvocation, host: RunHost): Promise<number> {
  const stdin = host.stdin ?? openStdin();
  const say = (line: string) => {
    if (!invocation.log.quiet) host.streams.say(`${withoutControls(line)}\n`);
  };
  const conversation = invocation.inputFormat === "stream-json" ? (await import("./claude.ts")).openConversation(() => session) : undefined;
  const session: Session = { host, invocation, ...startRuntime(invocation, host, conversation), late: delayAbort(host.signal), conversation };
  const items = readInput({
    ...(invocation.prompt !== undefined && { prompt: invocation.prompt }),
    joinStdin: invocation.joinStdin,
    format: invocation.inputFormat,
    stdin,
    conversation,
    signal: host.signal,
    say,
  });
  const warned = invocation.prompt !== undefined && !invocation.joinStdin && stdin.kind === "stream" ? warnOfWaiting(stdin, say) : undefined;
  const unwatch = watchOutput(host);
  try {
    return await answerItems(items, session);
  } finally {
    unwatch();
    await warned;
    await closeRuntime(session);
  }
}

/** Later than the first request on its way, so that it delays nothing. */
async function warnOfWaiting(stdin: Stdin, say: (line: string) => void): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  if (await stdin.hasWaiting()) say("warning: stdin was not read; add - to join it to the prompt");
}

/** Starts the runtime while stdin is read; whoever needs it first meets its error. */
function startRuntime(
  { runtime: options, log, outputFormat }: RunInvocation,
  host: RunHost,
  conversation: Conversation | undefined,
): Pick<Session, "runtime" | "redact"> {
  const { streams, makeRuntime = createRuntime } = host;
  const redact = (text: string) => host.redact?.(text) ?? text;
  const runtime = makeRuntime({
    ...options,
    // A question that is not printed as an event can be answered by nobody.
    ...(conversation !== undefined && outputFormat !== "text" && { ask: conversation.asker.ask }),
    plugins: [...builtins, ...(options.plugins ?? [])],
    log: createLog({ ...log, say: (line) => streams.say(`${redact(line)}\n`), redact }),
  });
  runtime.then(
    (made) => {
      host.redact = made.redact;
    },
    () => {},
  );
  return { runtime, redact };
}

async function answerItems(items: AsyncGenerator<InputItem>, session: Session): Promise<number> {
  const { signal } = session.host;
  let exitCode = 0;
  for (let next = await nextItem(items, session); next !== undefined; next = await nextItem(items, session)) {
    const code = await answerItem(next, session);
    exitCode ||= code;
    if (signal.aborted) break;
    if (code !== 0 && (await isBroken(session.runtime))) break;
  }
  return signal.aborted ? toAgentError(signal.reason).exit : exitCode;
}

/** The next item, or nothing at the end or when the run was told to end meanwhile. */
async function nextItem(items: AsyncGenerator<InputItem>, { host }: Session): Promise<InputItem | undefined> {
  const next = await unlessAborted(items.next(), host.signal);
  return next === undefined || next.done ? undefined : next.value;
}

/** What the promise gives, or nothing once the signal aborts. Leaves nothing behind, as racing against a promise that lives long would. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = () => resolve(undefined);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

function delayAbort(signal: AbortSignal): AbortSignal {
  const late = new AbortController();
  signal.addEventListener("abort", () => setTimeout(() => late.abort(), ABORT_MS).unref(), { once: true });
  return late.signal;
}

const isBroken = (runtime: Promise<Runtime>): Promise<boolean> =>
  runtime.then(
    () => false,
    () => true,
  );

async function answerItem(item: InputItem, session: Session): Promise<number> {
  const startedAt = performance.now();
  try {
    if (item.kind === "error") throw item.error;
    const runtime = await unlessAborted(session.runtime, session.host.signal);
    if (runtime === undefined) throw session.host.signal.reason;
    await reloadConfig(runtime, item, session);
    // A mode that was set before does not lead out of it either.
    if (runtime.config.permissionMode === "readonly") delete item.turn?.permissionMode;
    const command = await findCommand(runtime, session);
    if (command) return await runCommand(command, { runtime, session });
    return await answerPrompt(item.request, { output: await makeOutput(item, session), runtime, session, turn: item.turn });
  } catch (error) {
    const failure = toAgentError(error);
    const output = await makeOutput(item, session);
    await output.error(failure);
    if (item.kind === "request") await output.result(emptyResult(failure, startedAt));
    return failure.exit;
  }
}

/** A configuration that has changed since the start counts, also where the first request took its time to come. */
async function reloadConfig(runtime: Runtime, item: InputItem, session: Session): Promise<void> {
  try {
    if (item.format !== "text") await unlessAborted(runtime.reload(), session.host.signal);
  } catch (error) {
    const output = await makeOutput(item, session);
    await output.error(new AgentError("CONFIG_REJECTED", { reason: toAgentError(error).message }, { cause: error }));
  }
}

/** A prompt of bare words may be a command that a plugin brings. What the command line calls a command is none here: `agent -- memory is full`. */
async function findCommand(runtime: Runtime, { invocation }: Session): Promise<PluginCommand | undefined> {
  const [name] = invocation.words;
  const isOwn = (COMMANDS as readonly (string | undefined)[]).includes(name);
  return name !== undefined && !isOwn && /^[a-z][\w-]*$/i.test(name) ? runtime.command(name) : undefined;
}

interface Answering {
  runtime: Runtime;
  output: Output;
  session: Session;
  turn?: Turn | undefined;
}

/** Whatever is wrong with a plugin's command, its exit code included, is told with its name. */
async function runCommand(command: PluginCommand, answering: Omit<Answering, "output">): Promise<number> {
  const { name } = command;
  const code: unknown = await watchStall(
    endingOf(answering.session),
    () => `The command ${name}`,
    (ending) => endCommand(command, answering, ending),
  ).catch((error: unknown) => {
    if (error instanceof AgentError) throw error;
    throw new AgentError("COMMAND_FAILED", { name, reason: error instanceof Error ? error.message : String(error) }, { cause: error });
  });
  if (typeof code === "number" && Number.isInteger(code) && code >= 0 && code <= 255) return code;
  throw new AgentError("COMMAND_FAILED", { name, reason: "what it returned is no exit code. Return a whole number from 0 to 255, or nothing." });
}

async function endCommand(command: PluginCommand, { runtime, session }: Omit<Answering, "output">, { signal, late }: Ending): Promise<unknown> {
  const { host, invocation } = session;
  const write = (text: string) => void host.streams.write(runtime.redact(text));
  const readStdin = () => readText(host.stdin ?? openStdin(), signal);
  const run = async () => ({ code: (await command.run(invocation.words.slice(1), { cwd: runtime.cwd, signal, write, readStdin })) ?? 0 });
  const ended = await unlessAborted(run(), late);
  if (ended === undefined || (signal.aborted && !host.signal.aborted)) throw signal.reason;
  return ended.code;
}

function endingOf({ host, late }: Session, turn?: Turn): Ending {
  if (turn === undefined) return { signal: host.signal, late };
  const { signal } = turn.ending;
  return { signal: AbortSignal.any([host.signal, signal]), late: AbortSignal.any([late, delayAbort(signal)]) };
}

async function answerPrompt(request: PromptRequest, { runtime, output, session, turn }: Answering): Promise<number> {
  const startedAt = performance.now();
  const { request: whole, options } = withCommandLine(request, session, turn);
  const culprit = createCulprit();
  return watchStall(endingOf(session, turn), culprit.describe, async ({ signal, late }) => {
    const run = runtime.prompt(whole, { ...options, signal });
    const result = await printEvents(run, { output, session, late, see: culprit.see, keepsSession: request.session === undefined });
    // What the other end has interrupted did not fail.
    if (result !== undefined) return turn?.ending.signal.aborted && result.status === "interrupted" && !session.host.signal.aborted ? 0 : result.exitCode;
    const failure = toAgentError(signal.reason);
    await output.error(failure);
    await output.result({ ...emptyResult(failure, startedAt), sessionId: session.sessionId ?? "" });
    return failure.exit;
  });
}

/** What the request says counts more than the command line; the session is that of the first prompt. */
function withCommandLine(
  request: PromptRequest,
  { invocation, host, sessionId }: Session,
  turn: Turn | undefined,
): { request: PromptRequest; options: PromptOptions } {
  const { id, ...first } = invocation.session;
  const going = sessionId ?? id;
  const isFirst = sessionId === undefined && request.session === undefined;
  return {
    request: { ...invocation.request, ...(going !== undefined && { session: going }), ...request },
    options: {
      deltas: invocation.stream || host.streams.isTerminal,
      ...(turn && { steer: turn.steer, whenSteered: turn.whenSteered, permissionMode: () => turn.permissionMode }),
      ...(isFirst ? first : {}),
    },
  };
}

interface Printing {
  output: Output;
  session: Session;
  late: AbortSignal;
  see(event: AgentEvent): void;
  /** The next prompts go on with this run's session. */
  keepsSession: boolean;
}

/** Prints the events of a run as they come; gives its result, or nothing where it did not end in time after an abort. */
async function printEvents(run: AsyncIterable<AgentEvent>, { output, session, late, see, keepsSession }: Printing): Promise<RunResult | undefined> {
  let result: RunResult | undefined;
  const print = async () => {
    for await (const event of run) {
      see(event);
      if (event.parentId === undefined) {
        if (keepsSession && event.sessionId !== "") session.sessionId ??= event.sessionId;
        if (event.type === "session.finish") result = event.result;
      }
      // Nobody is asked who has gone away meanwhile.
      if (event.type === "permission.request" && session.conversation?.asker.find(event.id) === undefined) continue;
      const behind = output.event(event);
      if (behind) await behind;
    }
  };
  await unlessAborted(print(), late);
  return result;
}

/** The answer has the format that was asked for, else that of the prompt. */
async function makeOutput(item: InputItem, session: Session): Promise<Output> {
  const { host, invocation, redact, runtime } = session;
  const configured = () =>
    unlessAborted(
      runtime.then(
        ({ config }) => config.outputFormat,
        () => undefined,
      ),
      host.signal,
    );
  const stated = invocation.outputFormat ?? (await configured()) ?? "auto";
  const structured = invocation.request.outputSchema !== undefined || (item.kind === "request" && item.request.outputSchema !== undefined);
  const options = { streams: host.streams, log: invocation.log, stream: invocation.stream, structured, redact };
  const format = stated === "auto" ? item.format : stated;
  if (format === "stream-json") {
    const known = await unlessAborted(
      runtime.catch(() => undefined),
      host.signal,
    );
    const mode = item.kind === "request" ? item.turn?.permissionMode : undefined;
    return (await import("./claude.ts")).openClaudeOutput(session, { ...options, runtime: known, mode });
  }
  return format === "json" ? createJsonOutput(options) : createTextOutput(options);
}

function emptyResult(error: AgentError, startedAt: number): RunResult {
  return {
    sessionId: "",
    status: error.code === "INTERRUPTED" || error.code === "OUTPUT_CLOSED" ? "interrupted" : "error",
    text: "",
    steps: 0,
    costSource: "unknown",
    tokens: NO_TOKENS,
    durationMs: Math.round(performance.now() - startedAt),
    exitCode: error.exit,
    persisted: false,
    error,
  };
}

function watchOutput({ abort, streams }: RunHost): () => void {
  if (streams.isTerminal || !isPipe(1)) return () => {};
  let end = () => {};
  const timer = setTimeout(async () => {
    end = await watchClosedOutput(() => abort(new AgentError("OUTPUT_CLOSED")));
  }, WATCH_AFTER_MS).unref();
  return () => {
    clearTimeout(timer);
    end();
  };
}

function isPipe(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFIFO() || stat.isSocket();
  } catch {
    return false;
  }
}

/** Ends plugins, children and stores; an aborted run does not wait for them for long. */
async function closeRuntime(session: Session): Promise<void> {
  const closing = session.runtime.then(
    (started) => started.close({ signal: session.host.signal }),
    () => {},
  );
  await watchStall(
    endingOf(session),
    () => "",
    ({ late }) => unlessAborted(closing, late),
  );
}
