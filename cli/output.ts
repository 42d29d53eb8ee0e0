import type { Writable } from "node:stream";
import { AgentError, type AgentEvent, type RunResult } from "agent-runtime";
import type { LogChoice } from "./args.ts";
import { holdWords } from "./held-deltas.ts";
import { toJsonLine } from "./json-line.ts";
import { projectError, projectJson, projectResult } from "./output-json.ts";
import { createTextProjection, formatError } from "./output-text.ts";

/** The two streams of the process, as the command uses them. */
export interface Streams {
  /** Writes to stdout; a promise while its reader is behind. Drops everything once the reader is gone. */
  write(text: string): Promise<void> | undefined;
  /** Writes to stderr; a stderr that is closed is none of our concern. */
  say(text: string): void;
  /** Resolves when every byte is with the operating system, or its reader is gone. */
  flush(): Promise<void>;
  isTerminal: boolean;
  isErrorTerminal: boolean;
}

/**
 * Takes hold of both streams. What anybody else prints to stdout, a plugin with console.log for one, goes to stderr.
 * `onClosed` is called once with OUTPUT_CLOSED when nobody reads stdout any more.
 */
export function openStreams(out: Writable & { isTTY?: boolean }, err: Writable & { isTTY?: boolean }, onClosed: (error: AgentError) => void): Streams {
  const writeOut = out.write.bind(out) as (text: string, done?: () => void) => boolean;
  const writeErr = err.write.bind(err) as (text: string, done?: () => void) => boolean;
  let closed = false;
  let errClosed = false;
  const say = (text: string) => void (errClosed || writeErr(text));
  const drained = new Set<() => void>();
  const release = () => {
    for (const resolve of drained) resolve();
    drained.clear();
  };
  out.on("drain", release);
  out.on("error", (error: NodeJS.ErrnoException) => {
    if (closed) return;
    closed = true;
    release();
    // Nobody is told that he went away himself, but a full disk is news.
    const failure = new AgentError("OUTPUT_CLOSED", error.code === "EPIPE" ? {} : { advice: `: ${error.message}` });
    if (error.code !== "EPIPE") say(formatError(failure));
    onClosed(failure);
  });
  err.on("error", () => {
    errClosed = true;
  });
  out.write = err.write.bind(err) as typeof out.write;

  const flushOne = (write: typeof writeOut) => new Promise<void>((resolve) => void write("", () => resolve()));
  return {
    write(text) {
      if (closed || writeOut(text)) return undefined;
      return new Promise((resolve) => drained.add(resolve));
    },
    say,
    flush: async () => {
      await Promise.all([closed ? undefined : flushOne(writeOut), errClosed ? undefined : flushOne(writeErr)]);
    },
    isTerminal: out.isTTY === true,
    isErrorTerminal: err.isTTY === true,
  };
}

/** Where events and errors go. A promise is given while the reader is behind: wait for it before the next event. */
export interface Output {
  event(event: AgentEvent): Promise<void> | undefined;
  /** An error that belongs to no run: of the input, of the configuration. */
  error(error: AgentError): Promise<void> | undefined;
  /** The end of a request for which no run could be started or finished. */
  result(result: RunResult): Promise<void> | undefined;
}

export interface OutputOptions {
  streams: Streams;
  log: LogChoice;
  stream: boolean;
  /** The answer is a value that satisfies a schema. */
  structured?: boolean;
  redact(text: string): string;
}

export function createJsonOutput({ streams, stream, redact, log }: OutputOptions): Output {
  const write = (value: unknown) => streams.write(`${redact(toJsonLine(value))}\n`);
  const hold = holdWords();
  const head = (type: string, sessionID = "") => ({ type, timestamp: Date.now(), sessionID });
  const trace = (error: AgentError) => {
    if (log.verbose) streams.say(redact(formatError(error, { stack: true })));
  };
  return {
    event(event) {
      if (event.type === "error") trace(event.error);
      let waiting: Promise<void> | undefined;
      for (const each of hold(event)) {
        const line = projectJson(each, { deltas: stream });
        if (line) waiting = write(line) ?? waiting;
      }
      return waiting;
    },
    error(error) {
      trace(error);
      return write({ ...head("error"), error: projectError(error) });
    },
    result: (result) => write({ ...head("result", result.sessionId), ...projectResult(result) }),
  };
}

export function createTextOutput({ streams, stream, structured = false, redact, log }: OutputOptions): Output {
  const project = createTextProjection({ deltas: stream || streams.isTerminal, terminal: streams.isTerminal, structured });
  const hold = holdWords();
  const paint = createPaint(streams.isErrorTerminal);
  /** The streams have told of it where there is anything to tell. */
  const isSilent = (error: AgentError) => error.code === "OUTPUT_CLOSED";
  const show = (error: AgentError) => !isSilent(error) && streams.say(paint("error", redact(formatError(error, { stack: log.verbose }))));
  return {
    event(event) {
      let waiting: Promise<void> | undefined;
      for (const { to, text } of hold(event).flatMap(project)) {
        if (to === "answer") waiting = streams.write(redact(text)) ?? waiting;
        else if (to === "error") show(event.type === "error" ? event.error : new AgentError("INTERNAL", { reason: text }));
        else if (!log.quiet) streams.say(paint("progress", redact(text)));
      }
      return waiting;
    },
    error(error) {
      show(error);
      return undefined;
    },
    result: () => undefined,
  };
}

/** Colours for a terminal: red for errors, dim for the rest. */
const createPaint = (isTerminal: boolean) => (kind: "error" | "progress", text: string) =>
  isTerminal && !process.env.NO_COLOR ? text.replace(/^(.*)$/m, kind === "error" ? "\u001b[31m$1\u001b[39m" : "\u001b[2m$1\u001b[22m") : text;
