import { isLiteral, type ShellWord } from "./shell-word.ts";

/** What a command starts besides itself. */
export interface Unwrapped {
  /** Commands among its words: `timeout 5 rm x` starts `rm x`. */
  commands: ShellWord[][];
  /** Texts that a shell reads: `sh -c TEXT`. */
  scripts: string[];
  /** Why what it runs cannot be seen. */
  opaque?: string;
  /** It runs, or passes on as words, what its input says. */
  takesInput?: boolean;
  /** What it takes is a script. */
  runsInput?: boolean;
}

interface WrapperOptions {
  /** Letters of options without and with a value. */
  flags?: string;
  valued?: string;
  /** Letters whose value, if any, is attached. */
  attached?: string;
  long?: string[];
  longValued?: string[];
  /** Words between the options and the command. */
  operands?: number;
  /** `NAME=value` may stand before the command. */
  assignments?: boolean;
  /** `-10` is an option. */
  numeric?: boolean;
}

/** Programs that run the command in their words, and their options. One that is not listed makes the command opaque. */
const WRAPPERS: Record<string, WrapperOptions> = {
  env: { flags: "i0v-", valued: "uC", long: ["ignore-environment", "null", "debug"], longValued: ["unset", "chdir"], assignments: true },
  timeout: { flags: "vfp", valued: "ks", long: ["foreground", "preserve-status", "verbose"], longValued: ["kill-after", "signal"], operands: 1 },
  nice: { valued: "n", longValued: ["adjustment"], numeric: true },
  ionice: { flags: "t", valued: "cnpPu", long: ["ignore"], longValued: ["class", "classdata"] },
  nohup: {},
  setsid: { flags: "cfw", long: ["ctty", "fork", "wait"] },
  stdbuf: { valued: "ioe", longValued: ["input", "output", "error"] },
  time: { flags: "pvaq", valued: "fo", long: ["portability", "verbose", "append", "quiet"], longValued: ["format", "output"] },
  command: { flags: "p" },
  builtin: {},
  exec: { flags: "cl", valued: "a" },
  busybox: {},
  toybox: {},
  sudo: { flags: "AbEHknPS", valued: "ugCpDhRrTt", long: ["preserve-env", "non-interactive", "set-home"], longValued: ["user", "group"], assignments: true },
  doas: { flags: "n", valued: "uC" },
  xargs: {
    flags: "0oprtx",
    valued: "aEILnPsd",
    attached: "iel",
    long: ["null", "no-run-if-empty", "verbose", "interactive", "open-tty", "exit"],
    longValued: ["arg-file", "delimiter", "max-args", "max-procs", "max-chars", "max-lines", "replace", "eof"],
  },
  watch: {
    flags: "bcdegptw",
    valued: "nq",
    long: ["beep", "color", "differences", "errexit", "chgexit", "precise", "no-title", "no-wrap"],
    longValued: ["interval"],
  },
};

/** Programs that run others in ways that are not looked through. */
const RUNNERS = new Set(
  (
    "parallel ssh su runuser script expect screen tmux at batch crontab systemd-run unshare nsenter strace ltrace chroot fakeroot flock taskset chrt prlimit setarch " +
    "linux32 linux64 start-stop-daemon catchsegv entr gdb vi vim nvim view ex ed emacs nano less more man fish pwsh osascript enable bind complete hash " +
    "pkexec run-parts setpriv unbuffer rlwrap faketime valgrind perf choom capsh chronic sem cgexec firejail proot mise xvfb-run dbus-run-session ssh-agent sshpass sg cpulimit numactl nix-shell direnv dotenv " +
    "cross-env env-cmd concurrently nodemon watchexec hyperfine tini dumb-init gosu"
  ).split(" "),
);
/** Behind a wrapper they are no program. */
const KEYWORDS = new Set("! { } [[ ]] case coproc do done elif else esac fi for function if in select then until while".split(" "));
/** The loader of programs, which takes one as its word. */
const LOADER = /^ld(-linux|-musl|64)?[\w.-]*\.so/;
const SHELLS = new Set(["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash"]);
const INTERPRETER = /^(python|pypy|node|nodejs|deno|bun|perl|ruby|php|lua|tclsh|Rscript)[\d.]*$/;
const INLINE_CODE = /^-[A-Za-z]*[ceEpr]|^--(eval|print|run)\b|^eval$/;

/** Variables that decide what a program runs. */
const STEERS_PROGRAMS =
  /^(PATH|IFS|ENV|BASH_ENV|PS4|PROMPT_COMMAND|SHELLOPTS|BASHOPTS|LD_\w+|DYLD_\w+|NODE_OPTIONS|PYTHON\w+|PERL5\w+|RUBYOPT|GIT_\w+|\w*PAGER|\w*EDITOR|VISUAL|LESSOPEN|LESSCLOSE|BROWSER|SHELL)$/;

export const steersPrograms = (variable: string): boolean => STEERS_PROGRAMS.test(variable);

/** The program's name without its folder. */
export const programOf = (words: readonly ShellWord[]): string => (words[0]?.value ?? "").split("/").at(-1) ?? "";

export function unwrapCommand(words: ShellWord[]): Unwrapped {
  const [first, ...rest] = words;
  if (first === undefined) return nothing();
  if (!isLiteral(first) || /\s/.test(first.value)) return opaque("its program is not a plain word");
  const program = programOf(words);
  if (KEYWORDS.has(first.value) || /^\w+=/.test(first.value)) return opaque(`"${first.value}" is a word of the shell`);
  if (SHELLS.has(program)) return unwrapShell(rest);
  if (Object.hasOwn(WRAPPERS, program)) return unwrapWrapper(program, words);
  if (RUNNERS.has(program) || LOADER.test(program)) return opaque(`${program} runs other programs`);
  if (INTERPRETER.test(program)) return unwrapInterpreter(program, rest);
  return Object.hasOwn(UNWRAP, program) ? (UNWRAP[program] as (typeof UNWRAP)[string])(rest) : nothing();
}

const nothing = (): Unwrapped => ({ commands: [], scripts: [] });
const opaque = (reason: string, more: Partial<Unwrapped> = {}): Unwrapped => ({ commands: [], scripts: [], ...more, opaque: reason });
const valuesOf = (words: readonly ShellWord[]): string[] => words.map(({ value }) => value);

const UNWRAP: Record<string, (words: ShellWord[]) => Unwrapped> = {
  eval: (words) => opaque("eval runs text", { scripts: [valuesOf(words).join(" ")] }),
  source: unwrapSource,
  ".": unwrapSource,
  trap: (words) => ({ commands: [], scripts: valuesOf(words.slice(0, 1)).filter((text) => !text.startsWith("-")) }),
  alias: (words) => ({ commands: [], scripts: valuesOf(words).flatMap((text) => (text.includes("=") ? [text.slice(text.indexOf("=") + 1)] : [])) }),
  jobs: (words) => ({ commands: words[0]?.value === "-x" && words.length > 1 ? [words.slice(1)] : [], scripts: [] }),
  mapfile: unwrapMapfile,
  readarray: unwrapMapfile,
  compgen: (words) => opaque("compgen runs and expands text", { scripts: valuesOf(words).filter((text) => !text.startsWith("-")) }),
  find: unwrapFind,
  git: unwrapGit,
  awk: unwrapAwk,
  gawk: unwrapAwk,
  mawk: unwrapAwk,
  nawk: unwrapAwk,
  sed: (words) => (valuesOf(words).some(runsFromSed) ? opaque("the sed script may run commands") : nothing()),
  tar: (words) =>
    valuesOf(words).some((text) => /^(--to-c|--checkpoint-a|--use-c|--rsh|--rmt|--info-s|--new-v|-[A-Za-z]*[IF])/.test(text))
      ? opaque("tar is told to run a program")
      : nothing(),
};

/** Runners of packages, and the verb behind which the package stands. */
const PACKAGE_RUNNERS: Record<string, RegExp> = {
  ...Object.fromEntries(["npx", "pnpx", "bunx", "uvx"].map((name) => [name, /^/])),
  ...Object.fromEntries(["npm", "pnpm", "yarn", "bun", "bundle"].map((name) => [name, /^(exec|x|dlx)$/])),
  ...Object.fromEntries(["uv", "poetry", "pipenv", "pipx", "hatch", "pdm", "rye"].map((name) => [name, /^run$/])),
};

/**
 * What a runner of packages may start, one text for each word that could be its program: `npx -y rm x` starts `rm x`
 * where no package has that name. Only rules that deny or ask look at it: who allows `npx vitest` means just that.
 */
export function packageCommandsOf(words: readonly ShellWord[]): string[] {
  const program = programOf(words);
  if (!Object.hasOwn(PACKAGE_RUNNERS, program)) return [];
  const values = valuesOf(words);
  const verb = values.findIndex((value) => PACKAGE_RUNNERS[program]!.test(value));
  return values.flatMap((value, index) => (verb < 0 || index <= verb || value.startsWith("-") ? [] : [values.slice(index).join(" ")]));
}

function unwrapWrapper(program: string, words: ShellWord[]): Unwrapped {
  const options = WRAPPERS[program] as WrapperOptions;
  const second = words[1]?.value ?? "";
  if (program === "command" && /^-[pvV]*[vV]/.test(second)) return nothing();
  if (program === "env" && /^-\w*S|^--sp/.test(second)) return unwrapSplitString(words);
  const start = findInner(words, options);
  if (start === undefined) return opaque(`the options of ${program} are not understood`, { takesInput: program === "xargs" });
  const inner = words.slice(start);
  if (program === "watch") return { commands: [], scripts: [valuesOf(inner).join(" ")] };
  const steering =
    options.assignments === true && words.slice(1, start).some(({ value }) => value.includes("=") && steersPrograms(value.split("=", 1)[0] as string));
  return {
    commands: inner.length > 0 ? [inner] : [],
    scripts: [],
    takesInput: program === "xargs",
    ...(steering && { opaque: `${program} sets a variable that decides what runs` }),
  };
}

/** `env -S "TEXT"`: the text is split into words like a command. */
function unwrapSplitString(words: ShellWord[]): Unwrapped {
  const text = valuesOf(words.slice(1))
    .join(" ")
    .replace(/^-\w*S|^--sp[a-z-]*=?/, "");
  return opaque("env -S runs text", { scripts: [text] });
}

/** Index of the first word of the inner command; undefined where an option is not known. */
function findInner(words: ShellWord[], options: WrapperOptions): number | undefined {
  let index = 1;
  for (; index < words.length; index++) {
    const word = words[index] as ShellWord;
    const { value } = word;
    if (!value.startsWith("-") || !isLiteral(word)) break;
    if (value === "--") {
      index++;
      break;
    }
    const taken = value.startsWith("--") ? takeLong(value, options) : takeShort(value, options);
    if (taken === undefined) return undefined;
    index += taken;
  }
  if (options.assignments) while (/^\w+=/.test(words[index]?.value ?? "")) index++;
  const start = index + (options.operands ?? 0);
  return words.slice(1, start).every(isLiteral) ? start : undefined;
}

/** Words that an option takes after itself: 0 or 1; undefined where it is not known. */
function takeLong(value: string, { long = [], longValued = [] }: WrapperOptions): number | undefined {
  const [name] = value.slice(2).split("=", 1) as [string];
  if (longValued.includes(name)) return value.includes("=") ? 0 : 1;
  return long.includes(name) ? 0 : undefined;
}

function takeShort(value: string, { flags = "", valued = "", attached = "", numeric }: WrapperOptions): number | undefined {
  if (value === "-") return flags.includes("-") ? 0 : undefined;
  if (numeric && /^-\d+$/.test(value)) return 0;
  for (const [index, letter] of [...value.slice(1)].entries()) {
    if (attached.includes(letter)) return 0;
    if (valued.includes(letter)) return index === value.length - 2 ? 1 : 0;
    if (!flags.includes(letter)) return undefined;
  }
  return 0;
}

function unwrapShell(words: ShellWord[]): Unwrapped {
  let isText = false;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as ShellWord;
    const { value } = word;
    if (value === "--") continue;
    if (/^--(rcfile|init-file)/.test(value)) return opaque("a shell begins with a file of commands");
    if (/^[-+]/.test(value) && value !== "-") {
      isText ||= /^-[a-zA-Z]*c/.test(value);
      if (/^-[a-zA-Z]*s/.test(value)) return opaque("a shell reads its commands from its input", { takesInput: true, runsInput: true });
      if (/^[-+][a-zA-Z]*[oO]$/.test(value)) index++;
    } else if (isText) return { commands: [], scripts: [value], ...(!isLiteral(word) && { opaque: "the text that a shell runs is not literal" }) };
    else if (value === "-" || value.startsWith("/dev/") || !isLiteral(word)) break;
    else return nothing();
  }
  return opaque("a shell reads its commands from its input", { takesInput: true, runsInput: true });
}

function unwrapSource([file]: ShellWord[]): Unwrapped {
  return file !== undefined && isLiteral(file) && !file.value.startsWith("/dev/")
    ? nothing()
    : opaque("what is sourced is not a file that is named", { takesInput: true, runsInput: true });
}

/** `mapfile -C TEXT`: the text runs for every line. */
function unwrapMapfile(words: ShellWord[]): Unwrapped {
  const at = words.findIndex(({ value }) => /^-[a-zA-Z]*C/.test(value));
  if (at < 0) return nothing();
  const attached = words[at]!.value.replace(/^-[a-zA-Z]*?C/, "");
  return { commands: [], scripts: [attached === "" ? (words[at + 1]?.value ?? "") : attached] };
}

/** Builtins whose words are names of variables: bash runs the substitutions in `a[$(…)]`. */
const NAMES_VARIABLES = new Set("read mapfile readarray declare typeset local export readonly unset getopts wait printf test [".split(" "));

/** Whether a command takes words of it, or what variables hold, for numbers or names of variables. */
export function computesWords(words: readonly ShellWord[]): boolean {
  const program = programOf(words);
  if (program === "let") return true;
  if (!NAMES_VARIABLES.has(program)) return false;
  const rest = words.slice(1);
  if (/^(printf|test|\[)$/.test(program)) return rest.some(({ value }) => /^-[vR]/.test(value));
  return rest.some((word) => !isLiteral(word) || word.value.includes("[") || /^-\w*[in]/.test(word.value));
}

function unwrapInterpreter(program: string, words: ShellWord[]): Unwrapped {
  if (valuesOf(words).some((text) => INLINE_CODE.test(text))) return opaque(`${program} runs code that is not looked through`);
  const hasOperand =
    words.some(({ value }) => !value.startsWith("-")) || words.some(({ value }) => /^(-V|-v|-h|-m|--version|--help|--test|--check)/.test(value));
  return hasOperand ? nothing() : opaque(`${program} runs code from its input`, { takesInput: true });
}

function unwrapFind(words: ShellWord[]): Unwrapped {
  if (words.some((word) => word.expands)) return opaque("an expansion of find may be -exec");
  const commands: ShellWord[][] = [];
  for (let index = 0; index < words.length; index++) {
    if (!/^-(exec|ok)(dir)?$/.test((words[index] as ShellWord).value)) continue;
    const end = words.findIndex(({ value }, at) => at > index && (value === ";" || (value === "+" && words[at - 1]?.value === "{}")));
    commands.push(words.slice(index + 1, end < 0 ? undefined : end));
    if (end > 0) index = end;
  }
  return { commands, scripts: [] };
}

const GIT_RUNS = /pager|editor|alias|command|helper|driver|textconv|external|fsmonitor|hookspath|program|askpass|proxy|gpg|cmd|include/i;

function unwrapGit(words: ShellWord[]): Unwrapped {
  const values = valuesOf(words);
  const settings = values.filter((_, index) => values[index - 1] === "-c");
  const runs =
    settings.some((text) => GIT_RUNS.test(text)) ||
    values.some((text) => /^--(config-env|exec-path=|upload-p|receive-p|extc|open-f)/.test(text)) ||
    /^(submodule foreach|bisect run|filter-branch|difftool|mergetool)\b/.test(values.filter((text) => !text.startsWith("-")).join(" ")) ||
    (values.includes("rebase") && values.some((text) => /^(-x|--exec)/.test(text))) ||
    (values.includes("config") && values.some((text) => GIT_RUNS.test(text) && text.includes(".")));
  return runs ? opaque("git is told to run a program") : nothing();
}

function unwrapAwk(words: ShellWord[]): Unwrapped {
  return valuesOf(words).some((text) => /\bsystem\s*\(|\|\s*&?\s*["a-z]|["a-z]\s*\|\s*&?\s*getline/.test(text))
    ? opaque("the awk program may run commands")
    : nothing();
}

/** The command `e`, or the flag `e` of `s`. */
const runsFromSed = (text: string): boolean => /(?:^|[;{}\n])[\d,$! ]*e(?:\s|$)|s([/|#,])(?:(?!\1).){0,1000}\1(?:(?!\1).){0,1000}\1[gpimIM\d]*e/.test(text);
