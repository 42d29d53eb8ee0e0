import { isReadOnlyGit } from "./reading-git.ts";
import { isReadOnlyAwk, isReadOnlySed } from "./reading-scripts.ts";
import { isLiteral, type ShellWord } from "./shell-word.ts";
import { unwrapCommand } from "./unwrap.ts";

/** Whether a program that is given these words only reads. */
export type Check = (words: readonly ShellWord[]) => boolean;

/** Programs that only read, whatever their words are: those may be expansions, and names of files that look like options. */
const READERS =
  "cat head tail wc nl pwd cd ls stat du df basename dirname realpath readlink echo true false : cut tr comm cmp diff grep egrep fgrep md5sum sha1sum " +
  "sha224sum sha256sum sha384sum sha512sum b2sum cksum sum seq which uname nproc whoami id groups who uptime free od hexdump tac rev jq paste join " +
  "fold fmt expand unexpand column tsort factor numfmt strings ps pgrep pidof locale getconf type";

const anything: Check = () => true;

/** Known to the letter: no expansion, and no wildcard that could become an option (a file may be called -delete). Other wildcards are read as files. */
const literal =
  (isFine: (values: string[]) => boolean): Check =>
  (words) =>
    words.every((word) => isExact(word) && !isRiskyWildcard(word)) && isFine(words.map(({ globs, value }) => (globs ? "./*" : value)));

/** Where more words than are written would mean something else. */
const exact =
  (isFine: (values: string[]) => boolean): Check =>
  (words) =>
    words.every(isLiteral) && literal(isFine)(words);

const isRiskyWildcard = ({ globs, value }: ShellWord): boolean => globs && /^[*?[{+@!-]/.test(value);

/** What a quoted escape stands for is taken as read only where nobody can read it otherwise. */
const isExact = ({ expands, parts }: ShellWord): boolean => !expands && parts.every((part) => part.type !== "AnsiCQuoted" || /^\$'\\[tn0]'$/.test(part.text));

/** Every word that begins with a dash is one of these. */
const options = (allowed: RegExp): Check => literal((values) => values.every((value) => !value.startsWith("-") || /^--?$/.test(value) || allowed.test(value)));

/** Every word is one of these. */
const words = (allowed: RegExp): Check => exact((values) => values.every((value) => allowed.test(value)));

/** Like `check`, and what stands behind `--` may be anything: it is no option. */
const freeBehindDashes =
  (check: Check): Check =>
  (given) => {
    const end = given.findIndex((word) => isLiteral(word) && word.value === "--");
    return check(end < 0 ? given : given.slice(0, end + 1));
  };

/** Programs that are asked what they are, and nothing else. Not those that a file of the workspace tells what to run (cargo, yarn). */
const VERSIONED: Record<string, RegExp> = {
  "node npm": /^(-v|--version)$/,
  "python python3 pip pip3": /^(-V|--version)$/,
  "java javac": /^--?version$/,
  "ruby perl php gcc g++ clang cmake make bash docker curl": /^--version$/,
};

/** Programs of which some options write or run something: only what is listed here passes. */
const CHECKED: Record<string, Check> = {
  find: isReadOnlyFind,
  fd: options(
    /^-([HIaiFgpLs0]+|[tedEdS].*)$|^--(hidden|no-ignore|ignore-case|glob|full-path|type|extension|max-depth|min-depth|exclude|follow|absolute-path|changed-within|changed-before|size)(=.*)?$/,
  ),
  // Not -z, which runs programs that unpack, and not --pre and --hostname-bin.
  rg: freeBehindDashes(
    options(
      /^-[nilLcwovsSFUuHNxPa0.pIhqVb]*([ABCmgtTeMdjErf].*)?$|^--(files|hidden|glob|iglob|type|type-not|type-list|no-ignore|no-ignore-vcs|no-heading|heading|line-number|no-line-number|no-filename|with-filename|ignore-case|smart-case|case-sensitive|files-with-matches|files-without-match|count|count-matches|word-regexp|line-regexp|fixed-strings|multiline|multiline-dotall|max-count|max-depth|max-columns|max-filesize|context|before-context|after-context|json|sort|sortr|color|only-matching|invert-match|replace|regexp|file|pcre2|text|vimgrep|trim|stats|quiet|null|column|no-messages|no-config|follow|version|passthru|unrestricted|threads|byte-offset)(=.*)?$/,
    ),
  ),
  sort: options(
    /^-([bdfghiMnRrVcCmsuz]*([kt].*)?)$|^--(key|field-separator|numeric-sort|reverse|unique|human-numeric-sort|version-sort|ignore-case|general-numeric-sort|month-sort|stable|check|zero-terminated)(=.*)?$/,
  ),
  // The second operand is what it writes.
  uniq: exact(
    (values) =>
      values.filter((value) => /^(-$|[^-])/.test(value)).length <= 1 &&
      values.every((value) => /^(-[cdiuDz]+|-[fsw]\d+|--count|--repeated|--unique|--ignore-case|[^-].*|-)$/.test(value)),
  ),
  date: exact(isReadOnlyDate),
  // tree goes on reading letters behind -L, -I and -P, whose values are the next words.
  tree: options(
    /^-[adfiphsDuCnFgtrcUxNQJX]*[LIP]?$|^--(dirsfirst|noreport|gitignore|prune|du|si|matchdirs|ignore-case|filelimit|charset|sort|inodes|device)(=.*)?$/,
  ),
  sed: literal(isReadOnlySed),
  ...Object.fromEntries(["awk", "gawk", "mawk", "nawk"].map((name) => [name, literal(isReadOnlyAwk)])),
  git: freeBehindDashes(literal(isReadOnlyGit)),
  xargs: isReadOnlyXargs,
  // Both end bash's reading of options; a format with %n sets a variable, whose index bash would run.
  printf: ([format]) => format !== undefined && isExact(format) && isLiteral(format) && !/^-|%[^a-zA-Z%]*[hjlLtz]*n/.test(format.value),
  test: isReadOnlyTest,
  "[": (given) => given.at(-1)?.value === "]" && isReadOnlyTest(given.slice(0, -1)),
  read: words(/^(-[rs]+|-[da]|-d|-ra|-rd|[a-z_][a-z0-9_]*|)$/),
  set: words(/^([-+][eux]*o?|pipefail|errexit|nounset)$/),
  exit: words(/^\d+$/),
  break: words(/^\d+$/),
  continue: words(/^\d+$/),
  command: exact((values) => /^-[vV]$/.test(values[0] ?? "") && values.length > 1),
  // Elsewhere it starts what it is given.
  arch: (given) => given.length === 0,
  hostname: words(/^(-[sfiIdA]|--(short|fqdn|long|ip-address|all-ip-addresses|domain))$/),
  file: options(/^-[bhiLkNnprs0E]+$|^--(brief|mime|mime-type|mime-encoding|dereference|no-dereference|keep-going)$/),
  base64: exact((values) => values.every((value) => /^(-[di]+|-w\d*|--(decode|ignore-garbage|wrap)(=\d+)?|[^-].*)$/.test(value))),
  // Its second operand is what it writes; -r makes bytes.
  xxd: exact(
    (values) => values.every((value) => /^(-[abeEipu]+|-[lcgs]\d+|[^-].*|-)$/.test(value)) && values.filter((value) => /^(-$|[^-])/.test(value)).length <= 1,
  ),
  // A name with a colon is a file on another machine.
  tar: literal(([first, ...files]) => /^-?(t[vzjJ]*f|[vzjJ]+tf)$/.test(first ?? "") && files.every((value) => !/^-|:/.test(value))),
  unzip: literal(([first, ...files]) => /^-[lvZ]1?$/.test(first ?? "") && files.every((value) => !value.startsWith("-"))),
  zipinfo: words(/^(-[12slmvhtz]+|[^-].*)$/),
  zcat: words(/^[^-]/),
  ss: words(/^(-[tulpnasexmi46]+)$/),
  netstat: words(/^(-[tulpnaser46]+)$/),
  lsof: words(/^(-[nPt]+|-i.*|-p\d*|:\d+|\d+)$/),
  sleep: words(/^\d*\.?\d+$/),
  ...Object.fromEntries(
    Object.entries(VERSIONED).flatMap(([names, option]) =>
      names.split(" ").map((name): [string, Check] => [name, literal((values) => values.length === 1 && option.test(values[0]!))]),
    ),
  ),
};

const LISTED = new Map<string, Check>([...Object.entries(CHECKED), ...READERS.split(" ").map((name): [string, Check] => [name, anything])]);

/** Wrappers whose inner command is judged in their place. */
const WRAPPERS = new Set(["timeout", "nice", "stdbuf"]);

/** The commands of the list, for the text that refuses others. */
export const READ_ONLY_COMMANDS = [...LISTED.keys(), ...WRAPPERS].filter((name) => /^\w+$/.test(name)).join(", ");

/** Why a command does not provably only read, or undefined. */
export function findProgramFault(given: readonly ShellWord[]): string | undefined {
  const [program, ...rest] = given as [ShellWord, ...ShellWord[]];
  if (isLiteral(program) && WRAPPERS.has(program.value)) return findInnerFault(given);
  const check = isLiteral(program) && isExact(program) ? LISTED.get(program.value) : undefined;
  if (check === undefined) return program.text;
  if (check(rest)) return undefined;
  if (rest.some(isRiskyWildcard)) return `a wildcard at the beginning of a word of ${program.value} (write ./* instead)`;
  const unknown = rest.find((word) => !isExact(word));
  if (unknown !== undefined) return `${unknown.text} as a word of ${program.value}, whose options may write`;
  return given.map(({ text }) => text).join(" ");
}

function findInnerFault(given: readonly ShellWord[]): string | undefined {
  const { commands, opaque } = unwrapCommand([...given]);
  const [inner] = commands;
  return inner === undefined || opaque !== undefined ? given.map(({ text }) => text).join(" ") : findProgramFault(inner);
}

/** A program that only reads whatever it is told: it may get words that nobody knows. */
const isFreeReader = (word: ShellWord | undefined): boolean => word !== undefined && isLiteral(word) && isExact(word) && LISTED.get(word.value) === anything;

const FIND =
  /^-(i?name|i?path|i?wholename|i?regex|i?lname|regextype|x?type|maxdepth|mindepth|size|empty|newer\w{0,2}|anewer|cnewer|[acm](time|min)|daystart|not|a|and|o|or|print|print0|printf|ls|quit|true|false|prune|depth|d|follow|L|P|H|xdev|mount|perm|readable|writable|executable|user|group|uid|gid|nouser|nogroup|links|inum|samefile|used|noleaf|\d.*)$/;

/** Every action of find that is not in the list (-delete, -fprint, …) is refused with it; -exec starts what reads whatever it is told. */
function isReadOnlyFind(given: readonly ShellWord[]): boolean {
  const own: ShellWord[] = [];
  for (let index = 0; index < given.length; index++) {
    const word = given[index] as ShellWord;
    if (word.value !== "-exec") {
      own.push(word);
      continue;
    }
    const end = given.findIndex(({ value }, at) => at > index && (value === ";" || (value === "+" && given[at - 1]?.value === "{}")));
    // What a variable or a wildcard becomes could be the semicolon that ends it.
    if (end < 0 || !isFreeReader(given[index + 1]) || !given.slice(index, end).every((each) => isLiteral(each) && isExact(each))) return false;
    index = end;
  }
  return options(FIND)(own);
}

/** What it reads becomes words of the program, so the program must read whatever it is told; and with -I it must not become the program. */
function isReadOnlyXargs(given: readonly ShellWord[]): boolean {
  const { commands, opaque } = unwrapCommand([XARGS, ...given]);
  if (opaque !== undefined) return false;
  const [inner = []] = commands;
  const before = given.slice(0, given.length - inner.length);
  const replaces = before
    .map(({ value }, index) => (value === "-I" ? `-I${before[index + 1]?.value}` : value))
    .filter((value) => /^-[^-]*[iIl]|^--[rp]/.test(value));
  return (
    before.every(isLiteral) && replaces.every((value) => /^(-I\{\}|-I[%@]|--no-run-if-empty)$/.test(value)) && (inner.length === 0 || isFreeReader(inner[0]))
  );
}

const XARGS: ShellWord = { text: "xargs", value: "xargs", expands: false, globs: false, parts: [] };

/** An operand without a plus sets the clock. */
function isReadOnlyDate(values: string[]): boolean {
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as string;
    if (/^(-u?[dr]|--date|--reference)$/.test(value)) at++;
    else if (!/^(\+[\s\S]*|-u|-R|-I\w*|--(utc|iso-8601|rfc-3339|date|reference|rfc-email)(=.*)?|-u?[dr].+)$/.test(value)) return false;
  }
  return true;
}

/** Bash runs what stands in `test -v 'a[$(…)]'`, and what a word without quotes becomes may be just that. */
function isReadOnlyTest(given: readonly ShellWord[]): boolean {
  const [operator, operand] = given as [ShellWord, ShellWord];
  const isQuoted = operand?.parts.every(({ type }) => type === "DoubleQuoted") === true;
  if (given.length === 2 && isLiteral(operator) && /^-[defrwxszLhnSO]$/.test(operator.value) && isQuoted) return true;
  return given.every((word) => isExact(word) && isLiteral(word) && !/^-[vR]$/.test(word.value));
}
