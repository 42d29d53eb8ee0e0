import { isAbsolute, resolve } from "node:path";
import type { Assignment, Command, Redirection, SyntaxNode, Word, WordPart } from "unbash";
import { findCodeReach, findProgramReach, findWordReach, outside, type Role, realPathOf, rolesOf } from "./reach.ts";
import { isLiteral, readWord, type ShellWord } from "./shell-word.ts";
import { programOf, steersPrograms, unwrapCommand } from "./unwrap.ts";

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
}

type Unbash = typeof import("unbash");

/** What is true at one point of the text; a subshell gets a copy. */
interface Scope {
  directory: string | undefined;
  /** Variables that the text sets, with their value where it is plain. */
  variables: Map<string, string | undefined>;
}

interface Reader {
  unbash: Unbash;
  roots: readonly string[];
  reading: ShellReading;
  /** Texts that a command of the line may run or pass on: judged once it is known that one does. */
  texts: string[];
  takesInput: boolean;
  depth: number;
}

const MAX_COMMANDS = 2000;
const MAX_DEPTH = 20;

/** Reads a bash text without running it: every command in it, and whether a word reaches outside `roots`. */
export async function readShell(source: string, place: { directory: string; roots: readonly string[] }): Promise<ShellReading> {
  // Loaded here because most runs never judge a command.
  const unbash = await import("unbash");
  const reader: Reader = { unbash, roots: place.roots, reading: { commands: [], redirects: [] }, texts: [], takesInput: false, depth: 0 };
  const scope: Scope = { directory: place.directory, variables: new Map() };
  readScript(source, scope, reader);
  if (reader.takesInput) for (const text of reader.texts) noteReach(findCodeReach(`\n${text}`, placeOf(scope, reader)), reader);
  return reader.reading;
}

function readScript(source: string, scope: Scope, reader: Reader): void {
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(source)) {
    noteProblem("it holds control characters", reader);
    return;
  }
  if (reader.depth >= MAX_DEPTH) {
    noteProblem("it is nested too deeply", reader);
    return;
  }
  reader.depth++;
  walk(reader.unbash.parse(source), scope, reader);
  reader.depth--;
}

function walk(node: SyntaxNode, scope: Scope, reader: Reader): void {
  switch (node.type) {
    case "Script":
      if (node.errors !== undefined && node.errors.length > 0) noteProblem(node.errors[0]!.message, reader);
      walkChildren(node, scope, reader);
      return;
    case "Statement":
      walkChildren(node, node.background ? copyScope(scope) : scope, reader);
      return;
    case "Command":
      readCommand(node, scope, reader);
      return;
    case "Word":
      readLooseWord(node, scope, reader);
      return;
    case "Assignment":
      readAssignment(node, scope, reader, true);
      return;
    case "Redirect":
    case "HereString":
    case "HereDoc":
      readRedirect(node, scope, reader);
      return;
    case "For":
    case "Select":
      scope.variables.set(node.name.value, undefined);
      walkChildren(node, scope, reader);
      return;
    case "Subshell":
    case "Pipeline":
    case "Coproc":
    case "CommandExpansion":
    case "ProcessSubstitution":
    case "ArithmeticCommandExpansion":
      walkChildren(node, copyScope(scope), reader);
      return;
    default:
      walkChildren(node, scope, reader);
  }
}

const walkChildren = (node: SyntaxNode, scope: Scope, reader: Reader): void => reader.unbash.forEachChild(node, (child) => walk(child, scope, reader));

const copyScope = ({ directory, variables }: Scope): Scope => ({ directory, variables: new Map(variables) });

function readCommand(node: Command, scope: Scope, reader: Reader): void {
  const words: ShellWord[] = [];
  for (const part of [...node.prefix, ...(node.name === undefined ? [] : [node.name]), ...node.suffix]) {
    if (part.type === "Word") {
      words.push(readWord(part));
      walkChildren(part, scope, reader);
    } else if (part.type === "Assignment") {
      // Before a program it is for that program alone; as an argument of export or declare it stays.
      readAssignment(part, scope, reader, node.name === undefined || words.length > 0);
      if (words.length > 0) words.push({ text: part.text, value: part.text, expands: false, globs: false, parts: [] });
    } else readRedirect(part, scope, reader);
  }
  if (words.length === 0) return;
  judgeCommand(words, scope, reader);
  setVariables(words, scope);
  changeDirectory(words, scope, reader);
}

/** Notes a command and all that it starts. */
function judgeCommand(words: ShellWord[], scope: Scope, reader: Reader): void {
  if (reader.reading.commands.length >= MAX_COMMANDS) {
    noteProblem("it holds too many commands", reader);
    return;
  }
  const { commands, scripts, opaque, takesInput = false } = unwrapCommand(words);
  reader.reading.commands.push({ words, ...(opaque !== undefined && { opaque }) });
  const inner = new Set(commands.flat());
  judgeWords(words, inner, scope, reader);
  for (const command of commands) judgeCommand(command, scope, reader);
  for (const script of scripts) readScript(script, copyScope(scope), reader);
  reader.takesInput ||= takesInput;
}

/** Whether the words of this command alone, not those of an inner one, reach outside. */
function judgeWords(words: ShellWord[], inner: Set<ShellWord>, scope: Scope, reader: Reader): void {
  const place = placeOf(scope, reader);
  const [program, ...rest] = words as [ShellWord, ...ShellWord[]];
  const roles = rolesOf(programOf(words), rest);
  const name = programOf(words);
  noteReach(program.expands ? judgeWord(program, "path", scope, reader) : findProgramReach(program.value, place), reader);
  noteReach(findMachineReach(name, rest), reader);
  for (const [index, word] of rest.entries()) if (!inner.has(word)) noteReach(judgeWord(word, roles[index] as Role, scope, reader), reader);
  reader.texts.push(...rest.map(({ value }) => value));
}

const MACHINE_PROGRAMS = new Set(
  "sudo doas su pkexec runuser chroot nsenter mount umount shutdown reboot poweroff halt systemctl service crontab at batch useradd usermod passwd".split(" "),
);
/** Options with which ordinary programs work on the user's account instead of the workspace. */
const MACHINE_OPTIONS = new Map([
  ["git", /^--(global|system)$/],
  ["npm", /^(-g|--global)$/],
  ["pnpm", /^(-g|--global)$/],
  ["yarn", /^global$/],
]);

function findMachineReach(program: string, words: ShellWord[]): string | undefined {
  if (MACHINE_PROGRAMS.has(program)) return `${program} acts on the machine, not on the workspace`;
  const option = words.find(({ value }) => MACHINE_OPTIONS.get(program)?.test(value));
  return option && `${program} ${option.value} reaches beyond the workspace`;
}

function judgeWord(word: ShellWord, role: Role, scope: Scope, reader: Reader): string | undefined {
  const place = placeOf(scope, reader);
  if (!word.expands) return findWordReach(word.value, { role, globs: word.globs, place });
  const value = expandVariables(word.parts, scope);
  if (value === undefined) return `${word.text} leads outside the workspace`;
  if (role !== "text" && /^\0.*\/\.\.(\/|$)/.test(value)) return `"${word.text}" may lead outside the workspace`;
  // What is not known ends a path: only what stands before it can be judged.
  const [known, ...unknown] = value.split("\0");
  return findWordReach(unknown.length > 0 && role !== "code" ? (known as string) : value.replaceAll("\0", ""), { role, globs: word.globs, place });
}

/** Variables that name places outside the workspace, whatever their value. */
const OUTSIDE_VARIABLES = /^(HOME|OLDPWD|TMPDIR|TMP|TEMP|XDG_\w+)$/;

/**
 * The value of a word: known variables replaced, one that nobody set left out, and NUL for everything unknown. Undefined
 * where it holds a variable that leads outside.
 */
function expandVariables(parts: readonly WordPart[], scope: Scope): string | undefined {
  const pieces = parts.map((part) => expandPart(part, scope));
  return pieces.includes(undefined) ? undefined : pieces.join("");
}

function expandPart(part: WordPart, scope: Scope): string | undefined {
  switch (part.type) {
    case "Literal":
    case "SingleQuoted":
    case "AnsiCQuoted":
      return part.value;
    case "DoubleQuoted":
    case "LocaleString":
      return expandVariables(part.parts, scope);
    case "SimpleExpansion":
      return expandVariable(part.text.slice(1), scope, true);
    case "ParameterExpansion":
      return expandVariable(part.parameter, scope, part.prefix === undefined && part.operation === undefined && part.index === undefined);
    case "Glob":
    case "ExtendedGlob":
    case "BraceExpansion":
      return part.text;
    default:
      return "\0";
  }
}

function expandVariable(name: string, { variables, directory }: Scope, isPlain: boolean): string | undefined {
  if (variables.has(name)) return (isPlain ? variables.get(name) : undefined) ?? "\0";
  if (OUTSIDE_VARIABLES.test(name)) return undefined;
  if (!isPlain || !/^[A-Za-z_]\w*$/.test(name)) return "\0";
  return name === "PWD" ? (directory ?? "\0") : "";
}

function readLooseWord(node: Word, scope: Scope, reader: Reader): void {
  const word = readWord(node);
  noteReach(judgeWord(word, "path", scope, reader), reader);
  reader.texts.push(word.value);
  walkChildren(node, scope, reader);
}

function readAssignment(node: Assignment, scope: Scope, reader: Reader, stays: boolean): void {
  if (steersPrograms(node.name))
    reader.reading.commands.push({
      words: [{ text: node.text, value: node.text, expands: false, globs: false, parts: [] }],
      opaque: `${node.name} decides what runs`,
    });
  if (node.index !== undefined) walk(node.index, scope, reader);
  if (node.value.type === "ArrayValue") {
    scope.variables.set(node.name, undefined);
    walkChildren(node.value, scope, reader);
    return;
  }
  const word = readWord(node.value);
  noteReach(judgeWord(word, "programs", scope, reader), reader);
  walkChildren(node.value, scope, reader);
  if (!stays) return;
  const isKnown = isLiteral(word) && !scope.variables.has(node.name) && !node.append;
  scope.variables.set(node.name, isKnown ? word.value : undefined);
}

function readRedirect(node: Redirection, scope: Scope, reader: Reader): void {
  if (node.type === "HereDoc") {
    reader.texts.push(node.body.text);
    walkChildren(node.body, scope, reader);
    return;
  }
  if (node.target === undefined) return;
  const word = readWord(node.target);
  walkChildren(node.target, scope, reader);
  if (node.type === "HereString") {
    reader.texts.push(word.value);
    return;
  }
  const duplicates = node.operator === ">&" || node.operator === "<&";
  if (duplicates && /^(\d+-?|-)$/.test(word.value)) return;
  noteReach(judgeWord(word, "path", scope, reader), reader);
  if (word.value === "/dev/null") return;
  reader.reading.redirects.push({ path: resolve(scope.directory ?? "/", word.value), access: node.operator === "<" ? "read" : "write" });
}

/** `read X`, `mapfile X`, `printf -v X`: set to what nobody knows. */
function setVariables(words: ShellWord[], { variables }: Scope): void {
  if (!/^(read|mapfile|readarray|getopts|printf|unset)$/.test(programOf(words))) return;
  for (const { value } of words.slice(1)) if (/^[A-Za-z_]\w*$/.test(value)) variables.set(value, undefined);
}

function changeDirectory(words: ShellWord[], scope: Scope, reader: Reader): void {
  const program = programOf(words);
  if (program === "popd") scope.directory = undefined;
  if (program !== "cd" && program !== "pushd") return;
  const target = words.slice(1).find(({ value }) => !/^-[LPe@]+$|^--$/.test(value));
  if (target === undefined) noteReach(program === "cd" ? outside("cd") : undefined, reader);
  const value = target === undefined || target.globs ? undefined : target.expands ? expandVariables(target.parts, scope) : target.value;
  const isKnown = value !== undefined && value !== "-" && !value.includes("\0");
  if (!isKnown || (scope.directory === undefined && !isAbsolute(value))) scope.directory = undefined;
  else scope.directory = realPathOf(resolve(scope.directory ?? "/", value));
}

const placeOf = ({ directory }: Scope, { roots }: Reader) => ({ directory, roots });

function noteReach(reason: string | undefined, { reading }: Reader): void {
  reading.reach ??= reason;
}

function noteProblem(reason: string, { reading }: Reader): void {
  reading.problem ??= reason;
}
