import { normalize } from "node:path";

/*
 * What text of a call has been written by strangers. It errs to the side of saying so: what is wrongly taken for a stranger's
 * is remembered all the same, and shown with a fence.
 */

export interface OutsideCall {
  tool: string;
  effect: string;
  input: unknown;
  /** What the call was judged by: paths, a command, a URL. */
  patterns: readonly string[];
  output: string;
}

/** Programs that talk to other hosts, whatever their arguments. */
const NETWORK = new Set(
  [
    "curl wget wget2 aria2c httpie http https xh lynx w3m links elinks nc ncat netcat socat telnet ftp lftp sftp ssh scp mosh dig nslookup host whois ping",
    "traceroute gh glab hub aws gcloud gsutil az doctl flyctl fly heroku vercel netlify wrangler kubectl helm terraform pulumi ansible ansible-playbook",
    "npx bunx pipx uvx apt apt-get aptitude dnf yum apk pacman zypper brew port snap flatpak choco winget scoop yt-dlp youtube-dl rclone s3cmd mail sendmail",
    "psql mysql mongosh redis-cli crane skopeo corepack degit tiged rsync",
  ].flatMap((line) => line.split(" ")),
);

/** Programs that do so with some of their commands. */
const NETWORK_COMMANDS: Record<string, RegExp> = {
  git: /^(clone|fetch|pull|push|ls-remote|submodule|remote\s+(?:update|show|add)|archive|lfs|svn|request-pull)\b/,
  npm: /^(i|in|ins|install|add|ci|clean-install|update|up|upgrade|view|info|show|v|search|s|exec|x|audit|outdated|create|init|pack|publish|ping|docs|fund)\b/,
  pnpm: /^(i|install|add|update|up|dlx|exec|create|view|info|audit|outdated|fetch|publish)\b/,
  yarn: /^(install|add|up|upgrade|dlx|create|info|npm|audit|outdated|$)/,
  bun: /^(i|install|add|update|x|create|pm)\b/,
  deno: /^(install|add|cache|run\s+.*https?:)/,
  pip: /^(install|download|index|search|wheel)\b/,
  uv: /^(add|sync|lock|run|tool|pip)\b/,
  poetry: /^(add|install|update|lock|search)\b/,
  conda: /^(install|create|update|search)\b/,
  cargo: /^(install|add|search|fetch|update|publish|info)\b/,
  go: /^(get|install|mod|list\s+.*-m)\b/,
  gem: /^(install|update|search|fetch)\b/,
  bundle: /^(install|update|add)\b/,
  composer: /^(install|update|require|create-project|show|search)\b/,
  dotnet: /^(add|restore|tool)\b/,
  mvn: /./,
  gradle: /./,
  docker: /^(pull|push|run|build|login|search|compose|buildx|image\s+pull)\b/,
  podman: /^(pull|push|run|build|login|search|compose)\b/,
  openssl: /^s_client\b/,
};
const ALSO: Record<string, string> = {
  pip3: "pip",
  mamba: "conda",
  micromamba: "conda",
  "docker-compose": "docker",
  gradlew: "gradle",
  mvnw: "mvn",
  bundler: "bundle",
};

/** Code of another language within a command that speaks to hosts, and the shell's own sockets. */
const NETWORK_CODE =
  /\/dev\/(?:tcp|udp)\/|\b(?:urllib|requests\.(?:get|post)|http\.client|httpx|aiohttp|fetch\(|node:https?|require\(['"]https?['"]\)|Net::HTTP|LWP|IO::Socket|Invoke-WebRequest|iwr\b)/i;
const WRAPPERS = new Set([
  "sudo",
  "doas",
  "env",
  "time",
  "nice",
  "nohup",
  "timeout",
  "xargs",
  "command",
  "exec",
  "builtin",
  "stdbuf",
  "setsid",
  "watch",
  "then",
  "do",
  "else",
  "if",
  "while",
  "until",
  "!",
]);
/** Programs to which a text in quotes may be a command. */
const SHELLS = /(?:^|[\s;|&(/])(?:(?:ba|z|da|k|fi)?sh|eval|su|parallel|xargs|watch|find|tmux|screen|flock|script|docker|podman|nsenter|unshare|chroot|make)\b/;
/** Where an apostrophe need not begin a quoted text: here-documents, comments, escapes. */
const UNCLEAR = /<<|\\['"]|(?:^|\s)#/;
/** Above this a command is not read, and taken for one that reaches the network. */
const READ_CHARACTERS = 20_000;

/** Text from outside that lies in the memory comes out of it so, whoever asks. */
const RECALL = /\bagent(?:\.[cm]?js)?["']?\s+memory\b/;
/** What a shell is given to run and nobody sees here. */
const UNSEEN_CODE = /\|\s*(?:sudo\s+)?(?:\S*\/)?(?:ba|da|z|k)?sh\b/;

/**
 * Text that speaks to a model as if it were in charge: somebody's attempt to be obeyed, wherever it lies. Written so that what
 * people tell their agents ("always run the tests") is none.
 */
const ORDERS = new RegExp(
  [
    "\\b(?:SYSTEM|ASSISTANT|DEVELOPER)(?:[ _-](?:PROMPT|MESSAGE|NOTICE|NOTE|OVERRIDE|INSTRUCTIONS?|UPDATE))?\\W{0,4}:",
    "(?:^|\\n|\\\\n)\\W{0,6}[Ss]ystem(?: (?:prompt|message|notice|note|override|instructions?))?\\W{0,4}: *(?:you|always|never|ignore|from now|new|please|run)\\b",
    "\\b[Ii](?:gnore|GNORE) (?:all |any |ALL |ANY )?(?:of )?(?:the |your |my |THE )?(?:previous|prior|earlier|above|preceding|PREVIOUS|PRIOR) (?:\\w+ )?(?:instruction|prompt|rule|message|INSTRUCTION)",
    "\\b[Dd]isregard (?:all |any |everything )?(?:of )?(?:the |your )?(?:previous|prior|earlier|above|preceding)",
    "<\\|(?:im_start|im_end|system|start_header_id)",
    "\\[/?INST\\]|<</?SYS>>|</?(?:system|system-prompt|assistant)>",
  ].join("|"),
);

export const givesOrders = (text: string): boolean => ORDERS.test(text);

/** Whether a command of a shell may bring text from another host. */
export function reachesNetwork(command: string): boolean {
  if (command.length > READ_CHARACTERS || NETWORK_CODE.test(command) || RECALL.test(command) || UNSEEN_CODE.test(command)) return true;
  const joined = command.replace(/\\\r?\n/g, " ");
  // What a quoted text says is a command only to a program that runs such; a substitution is one everywhere.
  const plain = SHELLS.test(joined) || UNCLEAR.test(joined) ? joined : joined.replace(/'[^']*'|"(?:[^"\\$`]|\\[\s\S])*"/g, "_");
  return plain.split(/[\n;|&()`"'{}]+/).some(isNetworkProgram);
}

function isNetworkProgram(part: string): boolean {
  const words = part
    .trim()
    .split(/\s+/)
    // `C=curl; $C …` names it where it is given a name.
    .map((word) => word.replace(/^\w+=/, (name) => (NETWORK.has(word.slice(name.length)) ? "" : name)))
    .filter((word) => !/^\w+=/.test(word));
  let at = 0;
  while (at < words.length && (WRAPPERS.has(words[at] as string) || (at > 0 && /^(?:-.*|\d+(?:\.\d+)?[smhd]?)$/.test(words[at] as string)))) at++;
  const program = (words[at] ?? "").replace(/^.*[\\/]|^\$\{?/, "").replace(/\.exe$/, "");
  if (NETWORK.has(program)) return true;
  const known = ALSO[program] ?? program;
  const rest = words.slice(at + 1);
  if (/^python[\d.]*$/.test(known)) return rest[0] === "-m" && ["pip", "ensurepip", "http.client", "urllib"].includes(rest[1] ?? "");
  if (!Object.hasOwn(NETWORK_COMMANDS, known)) return false;
  return NETWORK_COMMANDS[known]?.test(withoutOptions(rest).join(" ")) ?? false;
}

/** `git -C dir fetch` and `npm --prefix dir install` name their command behind options and their values. */
function withoutOptions(words: readonly string[]): string[] {
  const from = words.findIndex(
    (word, index) => !word.startsWith("-") && !["-C", "-c", "--prefix", "--git-dir", "--work-tree"].includes(words[index - 1] ?? ""),
  );
  return from < 0 ? [] : words.slice(from);
}

/** Code of strangers, and what the runtime has put aside of outputs that were too long. */
const FOREIGN = /(?:^|[\\/])(?:node_modules|bower_components|site-packages|dist-packages|tool-output|\.cargo[\\/]registry|pkg[\\/]mod|\.m2)(?:[\\/]|$)/;

const isForeign = (path: string): boolean => FOREIGN.test(path);

/** `server__tool`: see toolNameOf of the plugin "mcp". */
const isOfServer = (tool: string): boolean => tool.includes("__");

const textOf = (input: unknown, key: string): string => {
  const value = typeof input === "object" && input !== null ? (input as Record<string, unknown>)[key] : undefined;
  return typeof value === "string" ? value : "";
};

export interface OutsideSession {
  /** It has read text from outside. */
  hasOutside: boolean;
  /** Files that its calls, or those of earlier sessions, have brought from outside: see `findBrought`. */
  brought: readonly string[];
  /** What strangers have said in it: see `hear`. */
  heard?: Set<number>;
}

/** So many words in a row are nobody's chance. */
const RUN = 8;
const MOST_HEARD = 50_000;

/** Hashes (FNV-1a) of each eight words in a row. */
function* runsOf(text: string): Generator<number> {
  const words = text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
  for (let at = 0; at + RUN <= words.length; at++) {
    let hash = 0x811c9dc5;
    for (const letter of words.slice(at, at + RUN).join(" ")) hash = Math.imul(hash ^ (letter.codePointAt(0) as number), 0x01000193);
    yield hash;
  }
}

/** Whether a call has shown a stranger's text, and not only what a program that may reach the network says of one's own. */
export const isHeard = ({ tool, effect, input, patterns }: OutsideCall, { brought }: OutsideSession): boolean =>
  effect !== "run" || isOfServer(tool) || /\bhttps?:\/\/|\b(?:curl|wget)\b/.test(textOf(input, "command")) || patterns.some((path) => isBrought(path, brought));

/** Keeps in mind what a stranger has said, so that it is known again where the session writes it down. */
export function hear(heard: Set<number>, text: string): void {
  for (const run of runsOf(text)) {
    if (heard.size >= MOST_HEARD) return;
    heard.add(run);
  }
}

function* textsIn(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) yield* textsIn(each);
}

/** How much of what a call was given and has shown strangers have said before in its session: 0 to 1. */
function repeatedShare(texts: unknown, { heard }: OutsideSession): number {
  if (heard === undefined || heard.size === 0) return 0;
  let [known, all] = [0, 0];
  for (const text of textsIn(texts))
    for (const run of runsOf(text)) {
      all++;
      if (heard.has(run)) known++;
    }
  return all === 0 ? 0 : known / all;
}

/** Whether what a call has shown may be a stranger's words. */
export function isFromOutside(call: OutsideCall, session: OutsideSession): boolean {
  const { tool, effect, input, patterns, output } = call;
  if (effect === "net" || isOfServer(tool)) return true;
  if (effect !== "read" && repeatedShare([input, output], session) > 0) return true;
  // A session that may have read anything, and a command that was judged when it began.
  if (tool === "task" || tool === "bash_output") return session.hasOutside;
  const paths = [textOf(input, "filePath"), textOf(input, "path"), ...patterns];
  if (effect === "read")
    return paths.some((path) => isForeign(path) || isBrought(path, session.brought)) || (tool === "grep" && /^\S*node_modules\//m.test(output));
  if (effect !== "run") return false;
  const command = textOf(input, "command") || patterns.join("\n");
  return reachesNetwork(command) || isForeign(command.replace(/[\s"'=:]+/g, "/")) || session.brought.some((path) => command.includes(path));
}

const isBrought = (path: string, brought: readonly string[]): boolean => {
  const plain = normalize(path);
  return brought.some((each) => plain === each || plain.endsWith(`/${each}`) || plain.startsWith(`${each}/`) || plain.includes(`/${each}/`));
};

const MOST_BROUGHT = 20;

/** The files that a call has written with what came from outside, as far as it names them: reading them is reading that. */
export function findBrought(call: OutsideCall, session: OutsideSession): string[] {
  const { tool, effect, input, patterns } = call;
  if (isOfServer(tool)) return [];
  // A copy; an edit that quotes a line makes nobody a stranger in his own file.
  if (effect === "write" && repeatedShare(textOf(input, "content"), session) > 0.5) return patterns.filter((path) => path !== "*").slice(0, MOST_BROUGHT);
  if (effect !== "run") return [];
  const command = textOf(input, "command") || patterns.join("\n");
  if (command.length > READ_CHARACTERS || !(reachesNetwork(command) || repeatedShare(command, session) > 0)) return [];
  const named = [
    ...command.matchAll(/(?:>{1,2}\s*|\s-(?:o|O|P|d)\s*|\s--(?:output|output-document|directory-prefix|out)[= ]\s*|\btee\s+(?:-a\s+)?)["']?([^\s"'|;&<>()]+)/g),
  ];
  const remote = [
    ...command.matchAll(
      /\s-(?:O|OJ|JO|LO|sO|LsO|sLO|fsSLO|fLO|LJO)\s+["']?https?:\/\/\S*?\/([\w.-]+)["']?(?=\s|$)|\bwget\s+(?:-q\s+)?["']?https?:\/\/\S*?\/([\w.-]+)["']?(?=\s|$)/g,
    ),
  ];
  const paths = [...named.map(([, path]) => path), ...findClone(command), ...remote.map(([, first, second]) => first ?? second)];
  const usable = paths.filter((path): path is string => path !== undefined && !/^(?:-|\/dev\/|https?:|&?\d$)/.test(path) && path !== "." && path.length > 1);
  return [...new Set(usable.map((path) => normalize(path).replace(/\/$/, "")))].slice(0, MOST_BROUGHT);
}

const REMOTE = /^(?:[a-z+]+:\/\/|[\w.-]+@[\w.-]+:|[\w.-]+\/[\w.-]+$)/i;

/** The directory that a clone makes. */
function findClone(command: string): string[] {
  const words = (/\bclone\s([^\n;|&]*)/.exec(command)?.[1] ?? "").split(/\s+/).map((word) => word.replace(/^["']|["']$/g, ""));
  const at = words.findIndex((word) => REMOTE.test(word));
  const [url, directory] = [words[at], words.slice(at + 1).find((word) => word !== "" && !word.startsWith("-"))];
  if (url === undefined) return [];
  return [
    directory ??
      url
        .replace(/\/$/, "")
        .replace(/\.git$/, "")
        .split(/[/:]/)
        .at(-1) ??
      "",
  ];
}
