import type { Assignment, Command, ParameterExpansionPart, Redirection, SyntaxNode, WordPart } from "unbash";
import { hidesCode } from "./computing.ts";
import { findProgramFault } from "./reading-programs.ts";
import { readWord, type ShellWord } from "./shell-word.ts";

type Visit = (node: SyntaxNode, visit: (child: SyntaxNode) => void) => void;

/** Why a text is not provably one that only reads, or undefined. `forEachChild` visits the parts of a node. */
export function findReadOnlyFault(node: SyntaxNode, forEachChild: Visit): string | undefined {
  const own = findOwnFault(node);
  if (own !== undefined) return own;
  let found: string | undefined;
  forEachChild(node, (child) => {
    found ??= findReadOnlyFault(child, forEachChild);
  });
  return found;
}

/** What a node does by itself; its parts are judged one by one. Whatever has no line here is refused. */
function findOwnFault(node: SyntaxNode): string | undefined {
  switch (node.type) {
    case "Statement":
      return node.background ? "a command in the background" : undefined;
    case "Redirect":
    case "HereString":
      return findRedirectFault(node);
    case "Command":
      return findCommandFault(node);
    case "Assignment":
      return findAssignmentFault(node);
    case "For":
      return isPlainName(node.name.value) ? undefined : `a loop over ${node.name.value}`;
    case "TestUnary":
      return /^-[vRo]$/.test(node.operator) ? "a test that computes" : undefined;
    case "TestBinary":
      return /^-(eq|ne|lt|le|gt|ge)$/.test(node.operator) ? "a test that computes" : undefined;
    case "ParameterExpansion":
      return isPlainExpansion(node) ? undefined : node.text;
    case "ArithmeticExpansion":
      return /[A-Za-z_$`[]/.test(node.text.slice(1)) ? node.text : undefined;
    case "CommandExpansion":
    case "ProcessSubstitution":
      return node.script === undefined || (node.script.errors ?? []).length > 0 || ("operator" in node && node.operator === ">") ? node.text : undefined;
    case "BraceExpansion":
    case "ExtendedGlob":
      return /[$`]/.test(node.text) ? node.text : undefined;
    default:
      return PLAIN.has(node.type) ? undefined : (NAMES[node.type] ?? "something beside plain commands");
  }
}

/** Nodes that do nothing but hold others. */
const PLAIN = new Set<string>(
  (
    "Script CompoundList AndOr Pipeline Negation Time Word Literal SingleQuoted DoubleQuoted AnsiCQuoted Glob FileDescriptor SimpleExpansion HereDoc HereDocDelimiter " +
    "HereDocBody Subshell BraceGroup Redirected If Elif While Case CaseItem TestCommand TestLogical TestNot TestGroup ArithmeticBinary ArithmeticUnary ArithmeticGroup " +
    "ArithmeticWord Default Remove"
  ).split(" "),
);

const NAMES: Record<string, string> = {
  Function: "a function",
  ArithmeticCommand: "arithmetic",
  ArithmeticFor: "arithmetic",
  Coproc: "a coprocess",
  Select: "a menu",
};

/** `${x}`, `${#x}`, `${x:-y}`, `${x%y}`: no name in it stands for what is computed in turn, and nothing is assigned. */
function isPlainExpansion({ text, prefix, index, operation }: ParameterExpansionPart): boolean {
  if (prefix === "!" || index !== undefined || hidesCode(text)) return false;
  return operation === undefined || operation.type === "Remove" || (operation.type === "Default" && !operation.operator.endsWith("="));
}

/** A variable that no program knows. */
const isPlainName = (name: string): boolean => /^([a-z_][a-z0-9_]*|[A-Z])$/.test(name);

function findAssignmentFault({ name, index, value }: Assignment): string | undefined {
  const isKnown = isPlainName(name) || HARMLESS.test(name) || name === "IFS";
  return isKnown && index === undefined && value.type === "Word" ? undefined : `the assignment of ${name}`;
}

/** How programs sort, count hours and colour. */
const HARMLESS = /^(LC_[A-Z]+|LANG|TZ|NO_COLOR|COLUMNS|FORCE_COLOR)$/;

/** Only to nowhere or from one descriptor to another; from files, since reaching outside is judged elsewhere. */
function findRedirectFault(redirect: Redirection): string | undefined {
  if (redirect.type === "HereDoc" || redirect.target === undefined) return undefined;
  const target = readWord(redirect.target);
  if (redirect.type === "HereString") return undefined;
  const { operator, descriptor } = redirect;
  const isPlain = !target.expands && !target.globs && target.parts.every(isUnescaped) && descriptor?.type !== "FileDescriptorVariable";
  const isSafe = /^[<>]&$/.test(operator) ? /^(\d|-)$/.test(target.value) : operator === "<" || /^\/dev\/(null|stdout|stderr)$/.test(target.value);
  return isPlain && isSafe ? undefined : `a redirect to ${target.text}`;
}

const isUnescaped = ({ type }: WordPart): boolean => type !== "AnsiCQuoted";

function findCommandFault({ name, prefix, args }: Command): string | undefined {
  const program = name && readWord(name);
  // What stands before a program is in its environment, where it may know the name; IFS is for `read` alone.
  const steering = prefix.find(
    (part) => part.type === "Assignment" && (name === undefined ? part.name === "IFS" : !isHarmlessBefore(program!.value, part.name)),
  );
  if (steering?.type === "Assignment") return `the assignment of ${steering.name}`;
  if (program === undefined) return undefined;
  const words: ShellWord[] = [program];
  for (const argument of args) {
    if (argument.type !== "Word") return "an assignment";
    words.push(readWord(argument));
  }
  return findProgramFault(words);
}

const isHarmlessBefore = (program: string, name: string): boolean => HARMLESS.test(name) || (program === "read" && name === "IFS");
