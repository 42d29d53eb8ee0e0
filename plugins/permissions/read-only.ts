import type { Command, Redirection, SyntaxNode } from "unbash";
import { readWord, type ShellWord } from "./shell-word.ts";

/** Judges the words after a program; they hold no expansion, and no wildcard that could become an option. */
type Check = (values: string[]) => boolean;

const anything: Check = () => true;

/** Programs that only read, whatever their options. Not `test`: bash runs what stands in `test -v 'a[$(…)]'`. */
const READERS =
  "cat head tail wc nl pwd cd ls stat du basename dirname realpath readlink echo true false cut tr comm cmp diff grep egrep fgrep md5sum sha1sum sha256sum seq which uname whoami id od tac rev jq";

/** Programs of which some options write or run something: only what is listed here passes. */
const CHECKED: Record<string, Check> = {
  // Every action of find that is not here (-delete, -exec, -fprint, …) is refused with it.
  find: everyOption(
    /^-(i?name|i?path|i?wholename|i?regex|regextype|type|maxdepth|mindepth|size|empty|newer|mtime|mmin|not|a|and|o|or|print|print0|prune|depth|follow|L|P|H|xdev|mount|perm|readable|writable|executable|\d\w*)$/,
  ),
  rg: everyOption(
    /^-([nilLcwovSsFUuH0]+|[ABCmgtTeMd].*)$|^--(files|hidden|glob|iglob|type|no-ignore|no-heading|heading|line-number|ignore-case|smart-case|files-with-matches|count|word-regexp|fixed-strings|multiline|max-count|max-depth|context|json|sort|color|only-matching|invert-match)(=.*)?$/,
  ),
  sort: everyOption(
    /^-([bdfghiMnRrVcCmsuz]*([kt].*)?)$|^--(key|field-separator|numeric-sort|reverse|unique|human-numeric-sort|version-sort|ignore-case|general-numeric-sort|month-sort|stable|check|zero-terminated)(=.*)?$/,
  ),
  uniq: (values) => values.every((value) => /^-[cdiu]+$|^-[fsw]\d+$/.test(value)),
  date: (values) => values.every((value) => value.startsWith("+") || value === "-u"),
  // tree goes on reading letters behind -L, -I and -P, whose values are the next words.
  tree: everyOption(/^-[adfiphsDu]*[LIP]?$/),
  sed: ([option, script, ...files]) => option === "-n" && /^(\d+|\$)(,(\d+|\$))?p$/.test(script ?? "") && files.every((value) => !value.startsWith("-")),
  git: isReadOnlyGit,
  ...Object.fromEntries(["node", "npm", "python3", "python"].map((name) => [name, (values: string[]) => values.length === 1 && values[0] === "--version"])),
};

const LISTED = new Map<string, Check>([...READERS.split(" ").map((name): [string, Check] => [name, anything]), ...Object.entries(CHECKED)]);

/** The commands of the list, for the text that refuses others. */
export const READ_ONLY_COMMANDS = [...LISTED.keys()].join(", ");

function everyOption(allowed: RegExp): Check {
  return (values) => values.every((value) => !value.startsWith("-") || value === "-" || value === "--" || allowed.test(value));
}

const GIT_GLOBAL = /^(--no-pager|-P|--no-optional-locks|--literal-pathspecs)$/;
/** Options that write, or run a program; git takes any beginning of a long one for the whole. */
const GIT_REFUSED = [
  "--output",
  "--output-directory",
  "--ext-diff",
  "--textconv",
  "--open-files-in-pager",
  "--exec",
  "--upload-pack",
  "--receive-pack",
  "--filters",
];

const GIT: Record<string, Check> = {
  ...Object.fromEntries(
    ["status", "log", "diff", "show", "blame", "rev-parse", "rev-list", "ls-files", "ls-tree", "describe", "shortlog", "merge-base"].map((name) => [
      name,
      anything,
    ]),
  ),
  branch: (values) =>
    values.every(
      (value) =>
        /^(-a|-r|-v|-vv|-l|--list|--all|--remotes|--verbose|--show-current|--no-color)$/.test(value) ||
        (!value.startsWith("-") && values.some((option) => /^(-l|--list)$/.test(option))),
    ),
  tag: (values) => values.length === 0 || (/^(-l|--list)$/.test(values[0] as string) && values.slice(1).every((value) => !value.startsWith("-"))),
  remote: (values) => values.length === 0 || (values.length === 1 && /^(-v|--verbose)$/.test(values[0] as string)),
  stash: (values) => values[0] === "list" && values.length === 1,
  worktree: (values) => values[0] === "list" && values.length === 1,
};

function isReadOnlyGit(values: string[]): boolean {
  const at = values.findIndex((value) => !GIT_GLOBAL.test(value));
  if (at < 0) return false;
  const [command, ...rest] = values.slice(at) as [string, ...string[]];
  const names = rest.map((value) => value.split("=", 1)[0] as string);
  const isRefused = names.some((name) => name.startsWith("--") && name.length > 2 && GIT_REFUSED.some((refused) => refused.startsWith(name)));
  return !isRefused && Object.hasOwn(GIT, command) && (GIT[command] as Check)(rest);
}

/** Why a text is not provably one that only reads, or undefined. `forEachChild` visits the parts of a node. */
export function findReadOnlyFault(node: SyntaxNode, forEachChild: (node: SyntaxNode, visit: (child: SyntaxNode) => void) => void): string | undefined {
  switch (node.type) {
    case "Script":
    case "AndOr":
    case "Pipeline":
    case "Negation":
    case "Word":
    case "Literal":
    case "SingleQuoted":
    case "DoubleQuoted":
    case "Glob":
    case "FileDescriptor":
      break;
    case "Statement":
      if (node.background) return "a command in the background";
      break;
    case "Redirect": {
      const fault = findRedirectFault(node);
      if (fault !== undefined) return fault;
      break;
    }
    case "Command": {
      const fault = findCommandFault(node);
      if (fault !== undefined) return fault;
      break;
    }
    default:
      return NAMES[node.type] ?? "something beside plain commands";
  }
  let found: string | undefined;
  forEachChild(node, (child) => {
    found ??= findReadOnlyFault(child, forEachChild);
  });
  return found;
}

const NAMES: Record<string, string> = {
  Assignment: "an assignment",
  CommandExpansion: "a substitution",
  ProcessSubstitution: "a substitution",
  SimpleExpansion: "a variable",
  ParameterExpansion: "a variable",
  HereDoc: "a here-document",
  HereString: "a here-document",
};

/** Only to /dev/null, or from one descriptor to another. */
function findRedirectFault(redirect: Redirection): string | undefined {
  if (redirect.type !== "Redirect") return NAMES[redirect.type];
  const target = redirect.target?.value ?? "";
  const isSafe = /^[<>]&$/.test(redirect.operator) ? /^\d$/.test(target) : target === "/dev/null";
  return isSafe ? undefined : `a redirect to ${target}`;
}

function findCommandFault({ name, args }: Command): string | undefined {
  if (name === undefined) return "an assignment";
  const program = readWord(name);
  const check = program.globs || program.expands ? undefined : LISTED.get(program.value);
  if (check === undefined) return program.value;
  const words: ShellWord[] = [];
  for (const argument of args) {
    if (argument.type !== "Word") return "an assignment";
    words.push(readWord(argument));
  }
  // A file may be called -delete: a wildcard at the beginning of a word could become an option.
  if (check !== anything && words.some(({ globs, value }) => globs && /^[*?[-]/.test(value)))
    return `a wildcard at the beginning of a word of ${program.value} (write ./* instead)`;
  return check(words.map(({ value }) => value)) ? undefined : [program.value, ...words.map(({ text }) => text)].join(" ");
}
