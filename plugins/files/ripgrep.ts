import { AgentError, type ToolContext } from "agent-runtime";

/** A longer record of output is cut; it is one matching line of a minified file, say. */
const RECORD_CHARACTERS = 4 * 1024 * 1024;
/** What is kept of a record that is too long. */
const RECORD_HEAD_CHARACTERS = 8 * 1024;
/** Results are taken as they come; the runner keeps only what a message of ripgrep has room in. */
const KEPT_BYTES = 1024;
const ARGUMENT_CHARACTERS = 10_000;
/** What a search may take; what it has found by then is its result. */
export const TIMEOUT_MS = 10_000;
/** Files that a search takes at most. */
export const COUNTED_FILES = 100_000;

/**
 * Ignore files count also outside of git; hidden files are shown, what belongs to git is not. Nothing outside the
 * arguments changes what ripgrep does, and it follows no link.
 */
const COMMON = ["--no-config", "--no-messages", "--no-follow", "--no-require-git", "--hidden", "--color=never"];

export interface Search {
  /** Directory, absolute; `targets` are relative to it, and so are the results. */
  cwd: string;
  targets: string[];
  args: string[];
  /** What the model wrote, and for files where that is another one; named in the error when ripgrep refuses it. */
  pattern: string;
  filePattern?: string | undefined;
  /** What ends a record of the output; names may hold newlines. */
  separator: "\n" | "\0";
  /** How the output begins; else it is a message of ripgrep. */
  resultStart: "./" | "{";
  timeoutMs: number;
  /** Gets each record of the output, messages too; `isCut` when only its beginning is there. `false` ends the search. */
  onRecord(record: string, isCut: boolean): boolean;
}

/** `stopped` by `onRecord`; `cut` by the time limit or by too much output. */
export type SearchEnd = "complete" | "stopped" | "cut";

/** Runs ripgrep. Throws PATTERN_INVALID, TOOL_FAILED when it cannot be started, and the reason of the signal. */
export async function runRipgrep(context: ToolContext, search: Search): Promise<SearchEnd> {
  checkArguments(search);
  const stop = new AbortController();
  const records = splitRecords(search.separator, (record, isCut) => {
    if (!stop.signal.aborted && !search.onRecord(record, isCut)) stop.abort();
  });
  const result = await execRipgrep(context, [...COMMON, ...search.args, "--glob=!.git", "--", ...search.targets], {
    cwd: search.cwd,
    signal: AbortSignal.any([context.signal, stop.signal]),
    timeoutMs: search.timeoutMs,
    keepBytes: KEPT_BYTES,
    raw: true,
    onOutput: records.add,
  });
  context.signal.throwIfAborted();
  if (stop.signal.aborted) return "stopped";
  if (result.end !== "exit") return "cut";
  records.finish();
  // Status 2 also stands for a file that could not be read; then there is no message, or there are results.
  const { exitCode, head, tail } = result;
  if (exitCode === 2 && head !== "" && !head.startsWith(search.resultStart)) throw refused(search, `${head}${tail === "" ? "" : ` … ${tail}`}`);
  return "complete";
}

function checkArguments({ args, pattern }: Search): void {
  if (args.some((argument) => argument.includes("\0"))) throw refusedPattern(pattern, "it has a NUL character.");
  if (args.some((argument) => argument.length > ARGUMENT_CHARACTERS)) throw refusedPattern(pattern, `it is longer than ${ARGUMENT_CHARACTERS} characters.`);
}

/** Without the advice of ripgrep, which is about options that a model cannot give. */
function refused({ pattern, filePattern = pattern }: Search, output: string): AgentError {
  const message = output
    .replace(/^rg: /, "")
    .replace(/\n+Consider enabling [\s\S]*$/, "")
    .trim();
  return refusedPattern(message.startsWith("error parsing glob") ? filePattern : pattern, message);
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

function splitRecords(separator: string, onRecord: (record: string, isCut: boolean) => void) {
  let pending = "";
  let isSkipping = false;

  const endRecord = (rest: string): void => {
    if (!isSkipping) onRecord(pending + rest, false);
    pending = "";
    isSkipping = false;
  };

  return {
    add(piece: string): void {
      let start = 0;
      for (let end = piece.indexOf(separator); end >= 0; end = piece.indexOf(separator, start)) {
        endRecord(piece.slice(start, end));
        start = end + 1;
      }
      if (isSkipping) return;
      pending += piece.slice(start);
      if (pending.length <= RECORD_CHARACTERS) return;
      onRecord(pending.slice(0, RECORD_HEAD_CHARACTERS), true);
      pending = "";
      isSkipping = true;
    },
    finish(): void {
      if (pending !== "") endRecord("");
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
    args: ["--files", "--null", ...search.args],
    targets: ["./"],
    separator: "\0",
    resultStart: "./",
    onRecord: (record) => !record.startsWith("./") || files.push(record.slice(2)) < search.limit,
  });
  return { files, isPartial: end !== "complete" };
}

/** A line that says how many files tools are kept from, so that nobody takes them for missing. */
export const sayHidden = (count: number): string[] =>
  count === 0 ? [] : ["", `(${count === 1 ? "1 file is" : `${count} files are`} left out, because secrets are there or a rule denies to read them.)`];
