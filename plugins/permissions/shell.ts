import { resolve } from "node:path";
import type { AndOr, Assignment, Command, Elif, If, Redirection, Script, Statement, SyntaxNode, Word } from "unbash";
import { computes, hidesCode, isPrompt } from "./computing.ts";
import { changeDirectory, noteFiles } from "./directory.ts";
import { findFollowReach } from "./links.ts";
import { findMachineReach, findSignalReach } from "./machine.ts";
import { findCodeReach, findProgramReach, forgetPaths, type Role, rolesOf } from "./reach.ts";
import { findReadOnlyFault } from "./read-only.ts";
import { findRepositoryFault } from "./repository.ts";
import { branch, call, copyScope, createScope, type Directories, intersect, joinDirectories, leave, loop, type Scope, settle, takeFailed } from "./scope.ts";
import { findSecret, opensFiles } from "./secret.ts";
import { contextOf, type IsSecret, noteOpaque, noteProblem, noteReach, placeOf, type Reader, type ShellReading } from "./shell-reading.ts";
import { isLiteral, readWord, type ShellWord } from "./shell-word.ts";
import { computesWords, programOf, steersPrograms, unwrapCommand } from "./unwrap.ts";
import { ANYTHING, type Context, INPUT, UNKNOWN, valuesOfWord } from "./values.ts";
import { comesFromInput, judgeWord } from "./word-reach.ts";

const MAX_COMMANDS = 2000;
const MAX_DEPTH = 20;

/** Reads a bash text without running it: every command in it, and whether a word reaches outside `roots`. */
export async function readShell(
  source: string,
  place: { directory: string; roots: readonly string[]; isSecret?: IsSecret | undefined },
): Promise<ShellReading> {
  // Loaded here because most runs never judge a command.
  const unbash = await import("unbash");
  const reader: Reader = { ...emptyReader(place.roots), unbash, roots: place.roots, isSecret: place.isSecret };
  forgetPaths();
  try {
    readAll(source, createScope(place.directory), reader);
  } catch (error) {
    // Neither the parser nor this goes deeper than the stack of the process.
    if (!(error instanceof RangeError)) throw error;
    noteProblem("it is nested too deeply", reader);
  }
  return reader.reading;
}

function readAll(source: string, scope: Scope, reader: Reader): void {
  const directory = scope.directories![0]!;
  const script = readScript(source, scope, reader);
  if (script !== undefined) reader.reading.change = findReadOnlyFault(script, reader.unbash.forEachChild) ?? reader.reading.change;
  // What is read may have more to read in it.
  for (let at = 0; reader.runsInput && at < Math.min(reader.texts.length, MAX_COMMANDS); at++) readInput(reader.texts[at]!, createScope(directory), reader);
  if (reader.takesInput) for (const text of reader.texts) noteReach(findCodeReach(`\n${text}`, placeOf(scope, reader)), reader);
  if (reader.computes) for (const text of [...reader.texts]) readSubstitutions(text, createScope(directory), reader);
}

const emptyReader = (roots: readonly string[]) => ({
  reading: { commands: [], redirects: [] },
  texts: [],
  takesInput: false,
  runsInput: false,
  computes: false,
  functions: new Map(),
  called: new Set<string>(),
  trail: { roots, visited: new Set<string>(), removed: new Set<string>() },
  depth: 0,
});

/** The substitutions in a text, which is no script. */
function readSubstitutions(text: string, scope: Scope, reader: Reader): void {
  if (!/\$[({]|`/.test(text)) return;
  const script = reader.unbash.parse(`: <<END_OF_TEXT\n${text}\nEND_OF_TEXT\n`);
  if ((script.errors ?? []).length === 0) {
    walk(script, scope, reader);
    return;
  }
  noteOpaque("a text that bash may compute cannot be parsed", text, reader);
  noteReach(findCodeReach(`\n${text}`, placeOf(scope, reader)), reader);
}

/** What a shell may get to read, if it is a script: a shell runs the lines before one that it cannot parse. */
function readInput(text: string, scope: Scope, reader: Reader): void {
  const { problem } = reader.reading;
  const { visited } = reader.trail;
  readScript(text, visited.size > 0 ? { ...scope, directories: [...visited] } : scope, reader);
  if (problem !== undefined || reader.reading.problem === undefined) return;
  delete reader.reading.problem;
  // No script, perhaps. Its quotes may hide a path.
  const isHiding = /\$'/.test(text);
  noteReach(isHiding ? "what a shell reads cannot be judged" : findCodeReach(`\n${text.replace(/['"\\]/g, "")}`, placeOf(scope, reader)), reader);
}

/** Undefined where it could not be parsed at all. */
function readScript(source: string, scope: Scope, reader: Reader): Script | undefined {
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(source)) {
    noteProblem("it holds control characters", reader);
    return undefined;
  }
  if (reader.depth >= MAX_DEPTH) {
    noteProblem("it is nested too deeply", reader);
    return undefined;
  }
  reader.depth++;
  const script = reader.unbash.parse(source);
  walk(script, scope, reader);
  reader.depth--;
  return script;
}

function walk(node: SyntaxNode, scope: Scope, reader: Reader): void {
  switch (node.type) {
    case "Script":
      if (node.errors !== undefined && node.errors.length > 0) noteProblem(node.errors[0]!.message, reader);
      walkChildren(node, scope, reader);
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
    case "CaseItem":
      for (const pattern of node.pattern) walkChildren(pattern, scope, reader);
      branch(scope, () => walk(node.body, scope, reader));
      return;
    case "Remove":
      // A pattern, not a path.
      walkChildren(node.operand, scope, reader);
      return;
    default:
      reader.computes ||= computes(node);
      if (node.type === "ParameterExpansion" && isPrompt(node)) noteOpaque("bash runs what stands in a prompt", node.text, reader);
      readHidden(node, scope, reader);
      walkFlow(node, scope, reader);
  }
}

/** The substitutions that only seem to be quoted. */
function readHidden(node: SyntaxNode, scope: Scope, reader: Reader): void {
  const isText = node.type === "ParameterExpansion" || node.type === "ArithmeticExpansion";
  const text = isText ? node.text : node.type === "ArithmeticCommand" ? node.body : node.type === "ArithmeticWord" ? node.value : "";
  if (hidesCode(text)) readSubstitutions(text.replaceAll(/\$?'/g, ""), scope, reader);
}

/** What decides whether, how often and where commands run. */
function walkFlow(node: SyntaxNode, scope: Scope, reader: Reader): void {
  const inside = () => walkChildren(node, scope, reader);
  switch (node.type) {
    case "Statement":
      readStatement(node, scope, reader);
      break;
    case "AndOr":
      readAndOr(node, scope, reader);
      break;
    case "If":
    case "Elif":
      readIf(node, scope, reader);
      break;
    case "For":
    case "Select":
    case "While":
    case "ArithmeticFor":
      if ("name" in node) setVariable(node.name.value, { values: listedValues(node.wordlist, contextOf(scope, reader)), append: false }, scope);
      loop(scope, inside);
      break;
    case "Redirected":
      branch(scope, inside);
      break;
    case "Function":
      readFunction(node, copyScope(scope), reader);
      break;
    case "Pipeline":
      // A prefix alone, as in `time cd x`, makes no subshell.
      if (node.commands.length === 1) inside();
      else for (const command of node.commands) walk(command, copyScope(scope), reader);
      settle(scope);
      break;
    default:
      walkChildren(node, SUBSHELLS.has(node.type) ? copyScope(scope) : scope, reader);
  }
}

const SUBSHELLS = new Set(["Subshell", "Coproc", "CommandExpansion", "ProcessSubstitution", "ArithmeticCommandExpansion"]);

/** Its body is judged where it stands, and again wherever it is called. */
function readFunction({ name, body }: Extract<SyntaxNode, { type: "Function" }>, scope: Scope, reader: Reader): void {
  reader.functions.set(name.value, body);
  call(scope, () => walk(body, scope, reader));
}

const walkChildren = (node: SyntaxNode, scope: Scope, reader: Reader): void => reader.unbash.forEachChild(node, (child) => walk(child, scope, reader));

function readStatement({ command, background }: Statement, scope: Scope, reader: Reader): void {
  if (background) {
    walk(command, copyScope(scope), reader);
    return;
  }
  walk(command, scope, reader);
  if (scope.stopsOnFailure && command.type === "Command") delete scope.ifFailed;
  settle(scope);
}

function readAndOr({ commands, operators }: AndOr, scope: Scope, reader: Reader): void {
  const { directories: start, stopsOnFailure } = scope;
  walk(commands[0] as SyntaxNode, scope, reader);
  const made = scope.made;
  let failed = takeFailed(scope);
  for (const [index, operator] of operators.entries()) {
    const succeeded = scope.directories;
    if (operator === "||") scope.directories = failed?.length === 0 ? joinDirectories(start, succeeded) : failed;
    walk(commands[index + 1] as SyntaxNode, scope, reader);
    const ownFailed = takeFailed(scope);
    failed = operator === "||" ? ownFailed : joinDirectories(failed, ownFailed);
    if (operator === "||") scope.directories = joinDirectories(succeeded, scope.directories);
  }
  scope.ifFailed = { directories: failed };
  // `[ -d build ] || mkdir build` leaves a directory either way.
  if (operators.includes("&&")) scope.made = intersect(made, scope.made);
  scope.stopsOnFailure &&= stopsOnFailure;
}

function readIf(node: If | Elif, scope: Scope, reader: Reader): void {
  const { stopsOnFailure } = scope;
  scope.stopsOnFailure = false;
  walk(node.clause, scope, reader);
  scope.stopsOnFailure = stopsOnFailure;
  const start = scope.directories;
  const ends: Directories[] = [];
  for (const way of [node.then, ...(node.type === "If" ? [...node.elif, node.else] : [])]) {
    if (way === undefined) continue;
    branch(scope, () => walk(way, scope, reader));
    ends.push(scope.directories);
    scope.directories = start;
  }
  scope.directories = joinDirectories(start, ...ends);
}

/** What a loop goes over; the words of the command itself where nothing is listed. */
function listedValues(words: readonly Word[] | undefined, context: Context): readonly string[] {
  const lists = (words ?? []).map((word) => valuesOfWord(word, context) ?? [ANYTHING]);
  return words === undefined ? [UNKNOWN] : lists.flat().slice(0, MAX_COMMANDS);
}

function readCommand(node: Command, scope: Scope, reader: Reader): void {
  delete scope.ifFailed;
  const before = scope.directories;
  const words: ShellWord[] = [];
  let redirects = 0;
  for (const part of [...node.prefix, ...(node.name === undefined ? [] : [node.name]), ...node.suffix]) {
    if (part.type === "Word") {
      words.push(readWord(part));
      walkChildren(part, scope, reader);
    } else if (part.type === "Assignment") {
      // Before a program it is for that program alone; as an argument of export or declare it stays.
      readAssignment(part, scope, reader, node.name === undefined || words.length > 0);
      if (words.length > 0) words.push(readArgument(part));
    } else {
      readRedirect(part, scope, reader);
      if (part.type !== "Redirect" || part.target?.value !== "/dev/null") redirects++;
    }
  }
  if (words.length === 0) return;
  judgeCommand(words, scope, reader);
  setVariables(words, node, { scope, reader });
  steer(stripBuiltin(words), { scope, reader });
  // A redirect that fails keeps the command from running.
  if (redirects > 0) scope.ifFailed = { directories: joinDirectories(before, takeFailed(scope)) };
}

/** `NAME=value` behind a program; what it expands to is judged as an assignment. */
function readArgument({ text, name, value, index, append }: Assignment): ShellWord {
  const isPlain = value.type === "Word" && index === undefined;
  return { text, value: isPlain ? `${name}${append ? "+" : ""}=${value.value}` : text, expands: false, globs: false, parts: [] };
}

const stripBuiltin = (words: ShellWord[]): ShellWord[] =>
  /^(command|builtin)$/.test(programOf(words)) ? stripBuiltin(words.slice(words[1]?.value === "-p" || words[1]?.value === "--" ? 2 : 1)) : words;

/** What a command changes for those behind it. */
function steer(words: ShellWord[], { scope, reader }: { scope: Scope; reader: Reader }): void {
  const program = words[0]?.value ?? "";
  const context = contextOf(scope, reader);
  const body = reader.functions.get(program);
  if (body !== undefined) {
    if (reader.called.has(program) || reader.reading.problem !== undefined) return;
    reader.called.add(program);
    call(scope, () => walk(body, scope, reader));
    reader.called.delete(program);
    return;
  }
  if (words.length === 1 || (words.length === 2 && /^\d+$/.test(words[1]!.value))) leave(scope, program);
  if (program === "set")
    scope.stopsOnFailure = words.some(({ value }) => /^-[a-zA-Z]*e|^errexit$/.test(value)) && !words.some(({ value }) => value.startsWith("+"));
  noteFiles(words, context, reader.trail);
  noteReach(changeDirectory(words, context, reader.trail), reader);
}

/** Notes a command and all that it starts. */
function judgeCommand(words: ShellWord[], scope: Scope, reader: Reader): void {
  if (reader.reading.commands.length >= MAX_COMMANDS) {
    noteProblem("it holds too many commands", reader);
    return;
  }
  const { commands, scripts, opaque, takesInput = false, runsInput = false } = unwrapCommand(words);
  reader.reading.commands.push({ words, ...(opaque !== undefined && { opaque }) });
  const inner = new Set(commands.flat());
  judgeWords(words, inner, scope, reader);
  for (const command of commands) judgeCommand(command, scope, reader);
  for (const script of scripts) readScript(script, scopeOfScript(programOf(words), scope), reader);
  reader.takesInput ||= takesInput;
  reader.runsInput ||= runsInput;
  reader.computes ||= computesWords(words);
}

function scopeOfScript(program: string, scope: Scope): Scope {
  if (program === "eval") return scope;
  // A trap runs wherever the shell is by then.
  return program === "trap" ? { ...copyScope(scope), directories: undefined } : copyScope(scope);
}

/** Whether the words of this command alone, not those of an inner one, reach outside. */
function judgeWords(words: ShellWord[], inner: Set<ShellWord>, scope: Scope, reader: Reader): void {
  const place = placeOf(scope, reader);
  const [program, ...rest] = words as [ShellWord, ...ShellWord[]];
  const name = programOf(words);
  const roles = rolesOf(name, rest);
  noteReach(isLiteral(program) ? findProgramReach(program.value, place) : judgeWord(program, "path", scope, reader), reader);
  noteReach(findMachineReach(name, rest), reader);
  if (name === "git")
    reader.reading.change ??= findRepositoryFault(
      rest.map(({ value }) => value),
      scope.directories,
    );
  if (name === "kill") noteReach(findSignalReach(rest, contextOf(scope, reader)), reader);
  noteReach(findFollowReach(name, rest, place), reader);
  for (const [index, word] of rest.entries()) {
    if (inner.has(word)) continue;
    noteReach(judgeWord(word, roles[index] as Role, scope, reader), reader);
    if (opensFiles(name)) reader.reading.secret ??= findSecret(word, roles[index] as Role, { scope, reader });
    // What only shows it or looks at it does not open it.
    if (!/^(echo|printf|test|\[)$/.test(name)) reader.takesInput ||= comesFromInput(word, contextOf(scope, reader));
  }
  reader.texts.push(...rest.map(({ value }) => value));
}

function readLooseWord(node: Word, scope: Scope, reader: Reader): void {
  const word = readWord(node);
  noteReach(judgeWord(word, "path", scope, reader), reader);
  reader.texts.push(word.value);
  walkChildren(node, scope, reader);
}

function readAssignment(node: Assignment, scope: Scope, reader: Reader, stays: boolean): void {
  if (steersPrograms(node.name)) noteOpaque(`${node.name} decides what runs`, node.text, reader);
  if (node.index !== undefined) {
    reader.computes = true;
    walk(node.index, scope, reader);
  }
  const context = contextOf(scope, reader);
  const words = node.value.type === "ArrayValue" ? node.value.elements : [node.value];
  for (const element of words) {
    const word = readWord(element);
    noteReach(judgeWord(word, "programs", scope, reader, node.value.type === "ArrayValue"), reader);
    reader.texts.push(word.value);
    walkChildren(element, scope, reader);
  }
  if (stays && node.name === "IFS" && !/^["'$\\tn \t\n=:,@]*$/.test(node.value.type === "Word" ? node.value.text : "("))
    noteReach("IFS makes other words of what variables hold, so what follows cannot be judged", reader);
  if (stays) setVariable(node.name, { values: listedValues(words, context), append: node.append === true && node.value.type === "Word" }, scope);
}

/** A variable may still have an earlier value: which way the text goes is not known. */
function setVariable(name: string, { values, append }: { values: readonly string[]; append: boolean }, scope: Scope): void {
  const earlier = scope.variables.get(name) ?? [];
  const own = append ? (earlier.length > 0 ? earlier : [""]).flatMap((value) => values.map((more) => value + more)) : values;
  const all = [...new Set([...earlier, ...own])];
  scope.variables.set(name, all.length > MOST_VARIABLE_VALUES ? [ANYTHING] : all);
}

const MOST_VARIABLE_VALUES = 64;

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
  reader.reading.secret ??= findSecret(word, "path", { scope, reader });
  reader.takesInput ||= comesFromInput(word, contextOf(scope, reader));
  if (word.value === "/dev/null") return;
  const access = node.operator === "<" ? "read" : "write";
  for (const directory of scope.directories ?? ["/"]) reader.reading.redirects.push({ path: resolve(directory, word.value), access });
}

/** `read X`, `mapfile X`, `printf -v X`: set to what nobody knows, or to the text that it is given. */
function setVariables(words: ShellWord[], { suffix }: Command, { scope, reader }: { scope: Scope; reader: Reader }): void {
  if (!/^(read|mapfile|readarray|getopts|printf)$/.test(programOf(words))) return;
  const given = suffix.find((part) => part.type === "HereString");
  const text = given?.type === "HereString" && given.target && valuesOfWord(given.target, contextOf(scope, reader));
  for (const { value } of words.slice(1)) if (/^[A-Za-z_]\w*$/.test(value)) setVariable(value, { values: text || [INPUT], append: false }, scope);
}
