import { appendFileSync } from "node:fs";
import type { Log } from "agent-runtime";
import type { LogChoice } from "./args.ts";
import { toJsonLine } from "./json-line.ts";
import { describeFileError } from "./option-values.ts";
import { oneLine, withoutControls } from "./plain-text.ts";

export interface LogOptions extends LogChoice {
  /** Prints one line on stderr. */
  say(line: string): void;
  redact(text: string): string;
}

/**
 * Diagnostics: warnings on stderr unless quiet, everything with `verbose`; the file gets everything, one line each with
 * its time. A file that cannot be written is told of once and then left alone.
 */
export function createLog({ verbose, quiet, file, say, redact }: LogOptions): Log {
  let writable = file !== undefined;
  const append = (level: string, text: string) => {
    if (!writable || file === undefined) return;
    try {
      appendFileSync(file, text === "" ? "" : `${new Date().toISOString()} ${level} ${redact(text)}\n`);
    } catch (error) {
      writable = false;
      say(`warning: the log file ${file} cannot be written: ${describeFileError(error)}`);
    }
  };
  append("info", ""); // Whoever names a file wants to know at once that it is none.
  const write = (level: "debug" | "info" | "warning", message: string, data?: Record<string, unknown>) => {
    const text = data === undefined ? message : `${message} ${toJsonLine(data)}`;
    if (verbose || (level === "warning" && !quiet)) say(`${level}: ${oneLine(text, verbose ? 4000 : 500)}`);
    append(level, withoutControls(text.replace(/\s*\n\s*/g, " ")));
  };
  return {
    debug: (message, data) => write("debug", message, data),
    info: (message, data) => write("info", message, data),
    warn: (message, data) => write("warning", message, data),
  };
}
