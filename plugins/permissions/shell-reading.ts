import type { SyntaxNode } from "unbash";
import type { Trail } from "./directory.ts";
import type { Place } from "./reach.ts";
import type { Scope } from "./scope.ts";
import type { ShellWord } from "./shell-word.ts";
import type { Context } from "./values.ts";

/** A simple command; wrappers, what they start, and what stands in substitutions are commands of their own. */
export interface ShellCommand {
  words: ShellWord[];
  /** Why what it runs cannot be seen. */
  opaque?: string;
}

export interface ShellReading {
  commands: ShellCommand[];
  /** Files that redirects name. */
  redirects: { path: string; access: "read" | "write" }[];
  /** Why it reaches outside the workspace. */
  reach?: string;
  /** Why it cannot be understood at all. */
  problem?: string;
  /** A secret file that it would open. */
  secret?: string;
  /** Why it does not provably only read. */
  change?: string;
}

export type Unbash = typeof import("unbash");

/** What is known while a text is read. */
export interface Reader {
  unbash: Unbash;
  roots: readonly string[];
  /** Absent where no file is secret. */
  isSecret: IsSecret | undefined;
  reading: ShellReading;
  /** Texts that a command of the line may run or pass on: judged once it is known that one does. */
  texts: string[];
  takesInput: boolean;
  /** A shell of the line runs what it reads. */
  runsInput: boolean;
  /** Something of the line computes: bash runs the substitutions in what it takes for a number or a variable. */
  computes: boolean;
  functions: Map<string, SyntaxNode>;
  called: Set<string>;
  trail: Trail;
  depth: number;
}

/** Whether secrets are at a real, absolute path. */
export type IsSecret = (path: string) => boolean;

export const contextOf = (scope: Scope, { unbash }: Reader): Context => ({ scope, parse: unbash.parse });
export const placeOf = ({ directories }: Scope, { roots }: Reader): Place => ({ directories, roots });

export function noteOpaque(opaque: string, text: string, { reading }: Reader): void {
  reading.commands.push({ words: [{ text, value: text, expands: false, globs: false, parts: [] }], opaque });
}

export function noteReach(reason: string | undefined, { reading }: Reader): void {
  reading.reach ??= reason;
}

export function noteProblem(reason: string, { reading }: Reader): void {
  reading.problem ??= reason;
}
