import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { AgentError } from "agent-runtime";

/** Readers of option values. `option` is how the user wrote it, "--max-cost" or "AGENT_MODEL"; each throws OPTION_INVALID or FILE_NOT_FOUND. */

const invalid = (option: string, reason: string) => new AgentError("OPTION_INVALID", { option, reason });

export interface NumberRange {
  min?: number;
  max?: number;
  integer?: boolean;
}

export function readNumber(
  option: string,
  text: string,
  { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, integer = false }: NumberRange,
): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  const kind = integer ? "a whole number" : "a number";
  if (!Number.isFinite(value) || (integer && !Number.isSafeInteger(value))) throw invalid(option, `"${text}" is not ${kind}.`);
  if (value < min || value > max) throw invalid(option, `${text} is out of range; give ${kind} ${describeRange(min, max)}.`);
  return value;
}

const describeRange = (min: number, max: number): string => (Number.isFinite(max) ? `from ${min} to ${max}` : `of at least ${min}`);

export function readChoice<const T extends string>(option: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw invalid(option, `"${text}" is not one of ${choices.join(", ")}.`);
  return found;
}

export function readFlag(option: string, text: string | undefined): boolean | undefined {
  if (text === undefined || text === "") return undefined;
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  throw invalid(option, `"${text}" is neither true nor false.`);
}

/** `"a, b"` → `["a", "b"]`; `undefined` for nothing. */
export function readList(text: string | undefined): string[] | undefined {
  const list = text?.split(",").map((entry) => entry.trim());
  return list?.filter((entry) => entry !== "");
}

export function readText(option: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new AgentError("FILE_NOT_FOUND", { path, option, reason: describeFileError(error) });
  }
}

export function readJson(option: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(option, `it is not JSON: ${(error as Error).message}`);
  }
}

/** An absolute path to a readable file. */
export function checkFile(option: string, path: string): string {
  const absolute = resolve(path);
  try {
    accessSync(absolute, constants.R_OK);
    if (statSync(absolute).isDirectory()) throw Object.assign(new Error("it is a directory."), { code: "EISDIR" });
    return absolute;
  } catch (error) {
    throw new AgentError("FILE_NOT_FOUND", { path, option, reason: describeFileError(error) });
  }
}

/** An absolute path to a directory that exists. */
export function checkDirectory(option: string, path: string): string {
  const absolute = resolve(path);
  if (!statSync(absolute, { throwIfNoEntry: false })?.isDirectory()) throw invalid(option, `there is no directory ${path}.`);
  return absolute;
}

const FILE_ERRORS: Record<string, string> = {
  ENOENT: "there is no such file.",
  EACCES: "access is denied.",
  EISDIR: "it is a directory.",
};

export function describeFileError(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return FILE_ERRORS[code ?? ""] ?? message;
}
