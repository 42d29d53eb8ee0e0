import { AgentError, type ToolContext } from "agent-runtime";

/** A longer record of output is cut; it is one matching line of a minified file, say. */
const RECORD_CHARACTERS = 4 * 1024 * 1024;
/** What is kept of a record that is too long. */
const RECORD_HEAD_CHARACTERS = 8 * 1024;
/** Everything is taken as it comes; the runner need not keep it. */
const KEPT_BYTES = 1024;
const ARGUMENT_CHARACTERS = 10_000;

/**
 * Ignore files count also outside of git; hidden files are shown, what belongs to git is not. Nothing outside the
 * arguments changes what ripgrep does, and it follows no link.
 */
const COMMON = ["--no-config", "--no-messages", "--no-follow", "--no-require-git", "--hidden", "--color=never"];

export interface Search {
  /** Directory, absolute; `target` is relative to it, and so are the results. */
  cwd: string;
  target: string;
  args: string[];
  /** What the model wrote; named in the error when ripgrep refuses it. */
  pattern: string;
  /** How a line of results begins; other lines are messages of ripgrep. */
  resultStart: "./" | "{";
  timeoutMs: number;
  /** Gets each line of results, without newline; `isCut` when only its beginning is there. `false` ends the search. */
  onResult(line: string, isCut: boolean): boolean;
}

/** `stopped` by `onResult`; `cut` by the time limit or by too much output. */
export type SearchEnd = "complete" | "stopped" | "cut";

/** Runs ripgrep. Throws PATTERN_INVALID, TOOL_FAILED when it cannot be started, and the reason of the signal. */
export async function runRipgrep(context: ToolContext, search: Search): Promise<SearchEnd> {
  checkArguments(search);
  const stop = new AbortController();
  const messages: string[] = [];
  let results = 0;
  const lines = splitLines((line, isCut) => {
    if (stop.signal.aborted) return;
    if (!line.startsWith(search.resultStart)) messages.push(line);
    else if (!search.onResult(line, isCut)) stop.abort();
    results += 1;
  });
  const result = await execRipgrep(context, [...COMMON, ...search.args, "--glob=!.git", "--", search.target], {
    cwd: search.cwd,
    signal: AbortSignal.any([context.signal, stop.signal]),
    timeoutMs: search.timeoutMs,
    keepBytes: KEPT_BYTES,
    onOutput: lines.add,
  });
  context.signal.throwIfAborted();
  if (stop.signal.aborted) return "stopped";
  if (result.end !== "exit") return "cut";
  lines.finish();
  // Status 2 also stands for a file that could not be read; then there is no message, or there are results.
  if (result.exitCode === 2 && messages.length > 0 && results === messages.length)
    throw refusedPattern(search.pattern, messages.join("\n").replace(/^rg: /, "").trim());
  return "complete";
}

function checkArguments({ args, pattern }: Search): void {
  if (args.some((argument) => argument.includes("\0"))) throw refusedPattern(pattern, "it has a NUL character.");
  if (args.some((argument) => argument.length > ARGUMENT_CHARACTERS)) throw refusedPattern(pattern, `it is longer than ${ARGUMENT_CHARACTERS} characters.`);
}

export const refusedPattern = (pattern: string, reason: string): AgentError =>
  new AgentError("PATTERN_INVALID", { pattern: JSON.stringify(pattern.length > 100 ? `${pattern.slice(0, 100)}…` : pattern), reason });

type ExecOptions = Parameters<ToolContext["exec"]>[2];

/** The binary that came with the package, else the one in PATH. */
async function execRipgrep(context: ToolContext, args: string[], options: ExecOptions): ReturnType<ToolContext["exec"]> {
  const bundled = await import("@vscode/ripgrep").then(({ rgPath }) => rgPath).catch(() => undefined);
  if (bundled !== undefined) {
    try {
      return await context.exec(bundled, args, options);
    } catch {
      options.signal.throwIfAborted();
    }
  }
  return context.exec("rg", args, options).catch((error: unknown) => {
    options.signal.throwIfAborted();
    throw new AgentError("TOOL_FAILED", { tool: "The search", reason: "ripgrep cannot be started; install it as rg." }, { cause: error });
  });
}

function splitLines(onLine: (line: string, isCut: boolean) => void) {
  let pending = "";
  let isSkipping = false;

  const endLine = (rest: string): void => {
    if (!isSkipping) onLine(pending + rest, false);
    pending = "";
    isSkipping = false;
  };

  return {
    add(piece: string): void {
      let start = 0;
      for (let end = piece.indexOf("\n"); end >= 0; end = piece.indexOf("\n", start)) {
        endLine(piece.slice(start, end));
        start = end + 1;
      }
      if (isSkipping) return;
      pending += piece.slice(start);
      if (pending.length <= RECORD_CHARACTERS) return;
      onLine(pending.slice(0, RECORD_HEAD_CHARACTERS), true);
      pending = "";
      isSkipping = true;
    },
    finish(): void {
      if (pending !== "") endLine("");
    },
  };
}

/** Files below a directory without those that the ignore files name. Throws PATTERN_INVALID. */
export async function listFiles(
  context: ToolContext,
  search: Pick<Search, "cwd" | "args" | "pattern" | "timeoutMs"> & { limit: number },
): Promise<{ files: string[]; isPartial: boolean }> {
  const files: string[] = [];
  const end = await runRipgrep(context, {
    ...search,
    args: ["--files", ...search.args],
    target: "./",
    resultStart: "./",
    onResult: (line) => files.push(line.slice(2)) < search.limit,
  });
  return { files, isPartial: end !== "complete" };
}
