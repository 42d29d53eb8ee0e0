/** Before the command of git: nothing that sets a program or another repository. */
const GLOBAL = /^(--no-pager|-P|--no-optional-locks|--literal-pathspecs|--no-replace-objects)$/;
const HARMLESS_SETTING = /^(color\.[\w.]+|core\.(quotepath|abbrev)|log\.(date|decorate)|diff\.(renames|renamelimit|algorithm|context|noprefix))=[\w-]*$/i;

/** Options that write, run a program or look into other repositories; git takes any beginning of a long one for the whole. */
const REFUSED = [
  ...["--output", "--output-directory", "--ext-diff", "--textconv", "--open-files-in-pager", "--exec", "--upload-pack", "--receive-pack", "--filters"],
  ...["--show-signature", "--recurse-submodules", "--submodule", "--edit-description", "--remerge-diff", "--remote", "--paginate"],
  // These write the index anew.
  ...["--dirty", "--broken"],
];

type Check = (values: string[]) => boolean;
const anything: Check = () => true;

/** Those that print, whatever their options: but for REFUSED. */
const PRINTERS =
  "status log diff show blame annotate rev-parse rev-list ls-files ls-tree describe shortlog merge-base cat-file name-rev show-ref show-branch count-objects check-ignore " +
  "check-attr check-mailmap diff-tree diff-index diff-files whatchanged cherry range-diff for-each-ref version var verify-pack";

/** With one of `listing` it lists, and then operands are patterns. */
const lister =
  (allowed: RegExp, listing: RegExp): Check =>
  (values) => {
    const lists = values.some((value) => listing.test(value));
    return values.every((value) => allowed.test(value) || (!value.startsWith("-") && lists));
  };

const LISTING = /^(-l|--list|--(no-)?(contains|merged)(=.*)?|--points-at(=.*)?)$/;

const COMMANDS: Record<string, Check> = {
  ...Object.fromEntries(PRINTERS.split(" ").map((name) => [name, anything])),
  // -O, also among other letters, opens a pager.
  grep: (values) => values.every((value) => !/^-[^-]/.test(value) || /^-([nilLcwvEFGPIhHopqrz0]|[ABCmef].*)+$/.test(value)),
  branch: lister(
    /^(-[arvl]+|-i|--(list|all|remotes|verbose|show-current|no-color|column|no-column|ignore-case|sort=.*|format=.*|color(=.*)?|abbrev=\d+)|--(no-)?(contains|merged)(=.*)?|--points-at(=.*)?)$/,
    LISTING,
  ),
  tag: lister(/^(-l|-n\d*|-i|--(list|no-color|column|no-column|ignore-case|sort=.*|format=.*)|--(no-)?(contains|merged)(=.*)?|--points-at(=.*)?)$/, LISTING),
  remote: (values) =>
    values.length === 0 ||
    /^(-v|--verbose)$/.test(values.join(" ")) ||
    (values[0] === "get-url" && !values.some((value) => value.startsWith("-") && !/^--(all|push)$/.test(value))),
  stash: (values) => values[0] === "list" || values[0] === "show",
  worktree: (values) => values[0] === "list",
  notes: (values) => values.length === 0 || values[0] === "list" || values[0] === "show",
  reflog: (values) => values.length === 0 || values[0] === "show" || values[0] === "exists" || /^(-|HEAD|[\w./-]*@)/.test(values[0] as string),
  config: isReadOnlyConfig,
  // With two names it points the first to the second.
  "symbolic-ref": (values) =>
    values.filter((value) => !value.startsWith("-")).length === 1 && values.every((value) => /^(-q|--quiet|--short|[^-.].*)$/.test(value)),
  "--version": anything,
};

function isReadOnlyConfig(values: string[]): boolean {
  const allowed =
    /^(--(local|global|system|worktree|show-origin|show-scope|name-only|null|includes|bool|int|path|get|get-all|get-regexp|get-urlmatch|list|type=\w+|default=.*)|-[lz])$/;
  const operands = values.filter((value) => !value.startsWith("-"));
  // Names that match a wildcard could be more than one, and a value.
  if (operands.includes("./*")) return false;
  const gets = values.some((value) => /^--(get|get-all|get-regexp|get-urlmatch|list)$|^-l$/.test(value)) || /^(get|list)$/.test(operands[0] ?? "");
  return values.every((value) => !value.startsWith("-") || allowed.test(value)) && (gets || (operands.length === 1 && operands[0]!.includes(".")));
}

/** What git is asked: the words up to its command, the command, the rest; undefined where a word before the command is not in the list. */
export function splitGit(values: readonly string[]): { folders: string[]; command: string; rest: string[] } | undefined {
  const folders: string[] = [];
  for (let at = 0; at < values.length; at++) {
    const value = values[at] as string;
    if (GLOBAL.test(value)) continue;
    if (value === "-C") folders.push(values[++at] ?? "");
    else if (value === "-c" && HARMLESS_SETTING.test(values[at + 1] ?? "")) at++;
    else return /^(-|$)/.test(value) && value !== "--version" ? undefined : { folders, command: value, rest: values.slice(at + 1) };
  }
  return undefined;
}

export function isReadOnlyGit(values: string[]): boolean {
  const asked = splitGit(values);
  if (asked === undefined || !Object.hasOwn(COMMANDS, asked.command)) return false;
  const { command, rest } = asked;
  const names = rest.map((value) => value.split("=", 1)[0] as string);
  const isRefused = names.some((name) => name.startsWith("--") && name.length > 2 && REFUSED.some((refused) => refused.startsWith(name)));
  // A signature is looked at by a program.
  const asksForSignature = rest.some((value) => /%[ +-]*G|%\(\*?signature/.test(value));
  return !isRefused && !asksForSignature && (COMMANDS[command] as Check)(rest);
}
