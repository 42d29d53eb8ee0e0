import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { matchesWildcard } from "agent-runtime";
import type { Command, ParameterExpansionPart, ParameterOperation, Script, Word, WordPart } from "unbash";
import { realPathOf } from "./reach.ts";
import type { Scope } from "./scope.ts";

/** In a value: what is known only when it runs, and is the name of a file that was looked for, or a number. */
export const UNKNOWN = "\0";
/** In a value: what is known only when it runs, and may be anything. */
export const ANYTHING = "\u0001";
/** In a value: what a command takes from its input. */
export const INPUT = "\u0002";
export const UNKNOWNS = /[\0\u0001\u0002]/;

/** Every value that a word may have; undefined where one leads outside, or where there are too many. */
export type Values = readonly string[] | undefined;

/** What a value depends on. */
export interface Context {
  scope: Scope;
  parse: typeof import("unbash").parse;
}

const MOST_VALUES = 1000;
const LONGEST_SEQUENCE = 64;
/** Each of its beginnings is tried. */
const LONGEST_REMOVAL = 4096;

export function valuesOf(parts: readonly WordPart[], context: Context): Values {
  let values: readonly string[] = [""];
  for (const part of parts) {
    const own = valuesOfPart(part, context);
    if (own === undefined || values.length * own.length > MOST_VALUES) return undefined;
    values = values.flatMap((value) => own.map((more) => value + more));
  }
  return [...new Set(values)];
}

/** A word without parts is plain text. */
export const valuesOfWord = ({ parts, value }: Pick<Word, "parts" | "value">, context: Context): Values =>
  parts === undefined || parts.length === 0 ? [value] : valuesOf(parts, context);

function valuesOfPart(part: WordPart, context: Context): Values {
  switch (part.type) {
    case "Literal":
    case "SingleQuoted":
    case "AnsiCQuoted":
      return [part.value];
    case "DoubleQuoted":
    case "LocaleString":
      return valuesOf(part.parts, context);
    case "SimpleExpansion":
      return valuesOfVariable(part.text.slice(1), context.scope);
    case "ParameterExpansion":
      return valuesOfParameter(part, context);
    case "Glob":
    case "ExtendedGlob":
      return [part.text];
    case "BraceExpansion":
      return valuesOfBraces(part.text, context);
    case "CommandExpansion":
      return part.script === undefined ? [ANYTHING] : valuesOfScript(part.script, context);
    default:
      return [UNKNOWN];
  }
}

/** Variables that name places outside the workspace, whatever their value. */
const OUTSIDE_VARIABLES = /^(HOME|OLDPWD|TMPDIR|TMP|TEMP|XDG_\w+)$/;

function valuesOfVariable(name: string, { variables, directories }: Scope): Values {
  const known = variables.get(name);
  if (known !== undefined) return known;
  if (OUTSIDE_VARIABLES.test(name)) return undefined;
  if (name === "PWD") return directories ?? [UNKNOWN];
  // The processes that are the command's own, for kill.
  if (name === "!" || name === "$") return [`$${name}`];
  return /^[A-Za-z_]\w*$/.test(name) && name !== "PPID" ? [""] : [UNKNOWN];
}

function valuesOfParameter({ parameter, prefix, operation }: ParameterExpansionPart, context: Context): Values {
  const values = valuesOfVariable(parameter, context.scope);
  if (values === undefined || prefix === "#") return values && [UNKNOWN];
  if (prefix === "!") return operation === undefined ? flatten(values.map((name) => valuesOfVariable(name, context.scope))) : [ANYTHING];
  return operation === undefined ? values : operate(values, operation, context);
}

const flatten = (lists: Values[]): Values => (lists.includes(undefined) ? undefined : [...new Set((lists as string[][]).flat())]);

function operate(values: readonly string[], operation: ParameterOperation, context: Context): Values {
  if (operation.type === "Default") return flatten([values, valuesOfWord(operation.operand, context)]);
  if (operation.type === "Remove") {
    const pattern = operation.operand.value;
    const isPlain = (operation.operand.parts ?? []).every(({ type }) => type === "Literal" || type === "Glob") && !/[[\\]/.test(pattern);
    if (isPlain) return [...new Set(values.map((value) => remove(value, pattern, operation.operator)))];
  }
  // A piece of an absolute path may be the path of a folder above.
  return values.some((value) => value.startsWith("/")) ? undefined : [UNKNOWN];
}

/** `${x#pattern}` and its kin. */
function remove(value: string, pattern: string, operator: "#" | "##" | "%" | "%%"): string {
  if (UNKNOWNS.test(value) || value.length > LONGEST_REMOVAL) return ANYTHING;
  const lengths = Array.from({ length: value.length + 1 }, (_, length) => length);
  if (operator.length > 1) lengths.reverse();
  const cut = (length: number) => (operator.startsWith("#") ? value.slice(0, length) : value.slice(value.length - length));
  const length = lengths.find((length) => matchesWildcard(cut(length), pattern)) ?? 0;
  return operator.startsWith("#") ? value.slice(length) : value.slice(0, value.length - length);
}

/** `{a,b}` is read again for each of its parts; `{1..9}` is written out where it is short. */
function valuesOfBraces(text: string, context: Context): Values {
  const inner = text.slice(1, -1);
  const alternatives = splitAlternatives(inner);
  if (alternatives.length > 1) return flatten(alternatives.map((piece) => valuesOfText(piece, context)));
  const [, from, to] = /^(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?$/.exec(inner) ?? [];
  const [low, high] = [Number(from), Number(to)].sort((a, b) => a - b) as [number, number];
  return high - low < LONGEST_SEQUENCE ? Array.from({ length: high - low + 1 }, (_, index) => String(low + index)) : [UNKNOWN];
}

function valuesOfText(text: string, context: Context): Values {
  const [statement, ...more] = context.parse(`: ${text}`).commands;
  const command = statement?.command;
  const [word, ...others] = command?.type === "Command" ? command.args : [];
  if (text === "") return [""];
  return more.length === 0 && others.length === 0 && word?.type === "Word" ? valuesOfWord(word, context) : undefined;
}

/** At the commas that stand in no quotes, braces or brackets. */
function splitAlternatives(text: string): string[] {
  const pieces = [""];
  let depth = 0;
  for (const [token] of text.matchAll(/\\.|'[^']*'|"(?:\\.|[^"\\])*"|`[^`]*`|[\s\S]/g)) {
    if (/^[{(]$/.test(token)) depth++;
    if (/^[)}]$/.test(token)) depth--;
    if (token === "," && depth === 0) pieces.push("");
    else pieces[pieces.length - 1] += token;
  }
  return pieces;
}

/** Programs that print names of what lies where they were told to look, numbers, or some of the lines they are given. */
const NAMING = new Set("ls find fd rg grep head tail sort uniq basename cd pwd git seq date wc nproc".split(" "));
/** Programs that print what a file holds. */
const PRINTING = new Set(["cat", "jq"]);

/** What a substitution prints. */
function valuesOfScript({ commands }: Script, context: Context): Values {
  const [statement, ...more] = commands;
  if (statement === undefined) return [""];
  const { command } = statement;
  if (more.length === 0 && command.type === "Command") return valuesOfCommand(command, context);
  const programs = commands.flatMap(({ command }) => (command.type === "Pipeline" || command.type === "AndOr" ? command.commands : [command])).map(nameOf);
  if (!programs.every((name) => NAMING.has(name) || PRINTING.has(name))) return [ANYTHING];
  return [programs.some((name) => PRINTING.has(name)) ? INPUT : UNKNOWN];
}

const nameOf = (node: { type: string; name?: Word | undefined }): string => (node.type === "Command" ? (node.name?.value ?? "") : "");

function valuesOfCommand(command: Command, context: Context): Values {
  const { directories } = context.scope;
  const words = command.args.map((word) => (word.type === "Word" ? valuesOfWord(word, context) : [ANYTHING]));
  const options = command.args.map(({ text }) => text).join(" ");
  const operand = flatten(words.slice(0, 1));
  switch (command.name?.value) {
    case "pwd":
      return directories ?? [UNKNOWN];
    case "jobs":
      return ["%"];
    case "dirname":
      // What is not known may be empty, and then the folder above an absolute path is meant.
      return operand?.map((value) => (UNKNOWNS.test(value) && value.startsWith("/") ? ANYTHING : (UNKNOWNS.exec(value)?.[0] ?? dirname(value))));
    case "basename":
      return operand?.map((value) => (UNKNOWNS.test(value) ? UNKNOWN : basename(value)));
    case "realpath":
    case "readlink":
      return words.length === 1
        ? flatten([operand?.flatMap((value) => (directories ?? []).map((directory) => realPathOf(resolve(directory, value))))])
        : [ANYTHING];
    case "git":
      if (options === "rev-parse --show-toplevel") return directories?.map(findRepository) ?? [UNKNOWN];
      return /^(ls-files|diff|status|describe|branch|log|rev-parse (--short )?[A-Z])/.test(options) ? [UNKNOWN] : [ANYTHING];
    default:
      return [PRINTING.has(nameOf(command)) ? INPUT : NAMING.has(nameOf(command)) ? UNKNOWN : ANYTHING];
  }
}

function findRepository(directory: string): string {
  for (let at = directory; at !== dirname(at); at = dirname(at)) if (existsSync(join(at, ".git"))) return at;
  return directory;
}
