import { resolve } from "node:path";
import { AgentError } from "agent-runtime";
import { type Command, Option } from "commander";
import { checkDirectory, checkFile, type NumberRange, readChoice, readNumber } from "./option-values.ts";

export const INPUT_FORMATS = ["auto", "text", "json", "stream-json"] as const;
export const OUTPUT_FORMATS = ["auto", "text", "json", "stream-json"] as const;
export type InputFormat = (typeof INPUT_FORMATS)[number];
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

export const PERMISSION_MODES = ["auto", "ask", "plan", "readonly", "yolo"] as const;
export type PermissionMode = (typeof PERMISSION_MODES)[number];

/** Claude Code's modes and what they are here. */
export const CLAUDE_MODES: Record<string, PermissionMode> = { default: "auto", acceptEdits: "auto", bypassPermissions: "yolo", dontAsk: "readonly" };

/** What the options give, by commander's names. */
export interface OptionValues {
  model?: string;
  provider?: string;
  fallback?: string[];
  prompt?: string;
  system?: string;
  systemFile?: string;
  appendSystem?: string;
  appendSystemFile?: string;
  inputFormat?: InputFormat;
  outputFormat?: OutputFormat;
  jsonStandard?: "opencode" | "claude";
  stream?: true;
  session: string | false | undefined;
  sessionId?: string;
  continue?: true;
  fork?: true;
  title?: string;
  agent?: string;
  cwd?: string;
  addDir?: string[];
  tools?: string;
  disableTools?: string;
  allowedTools?: string;
  disallowedTools?: string;
  readOnly?: true;
  permissionMode?: PermissionMode | "default";
  permission?: string;
  maxSteps?: number;
  maxCost?: number;
  maxTokensTotal?: number;
  timeout?: number;
  temperature?: number;
  topP?: number;
  stop?: string[];
  seed?: number;
  maxOutputTokens?: number;
  file?: string[];
  outputSchema?: string;
  retryTimeout?: number;
  maxRetries?: number;
  record?: string;
  replay?: string;
  cache?: true;
  plugin?: string[];
  plugins: boolean;
  skipBrokenPlugins?: true;
  trust?: true;
  requireTrust?: true;
  config?: string;
  verbose?: true;
  quiet?: true;
  logFile?: string;
  version?: true;
  help?: true;
}

/** The values of Claude Code's own names. */
export interface ClaudeValues {
  includePartialMessages?: true;
  resume?: string;
  maxTurns?: number;
  systemPrompt?: string;
  appendSystemPrompt?: string;
  permissionPromptTool?: "stdio";
  allowDangerouslySkipPermissions?: true;
  dangerouslySkipPermissions?: true;
  maxBudgetUsd?: number;
  fallbackModel?: string;
  jsonSchema?: string;
  forkSession?: true;
  /** Files, or JSON itself. */
  mcpConfig?: string[];
  strictMcpConfig?: true;
  /** False with --no-session-persistence. */
  sessionPersistence: boolean;
}

const notAvailable = (name: string) => new AgentError("NOT_AVAILABLE", { name });

/** `default` is asked about where somebody answers, and `auto` elsewhere: readClaudeMode tells. */
export const readMode = (option: string, text: string): PermissionMode | "default" =>
  text === "default" ? text : ((Object.hasOwn(CLAUDE_MODES, text) ? CLAUDE_MODES[text] : undefined) ?? readChoice(option, text, PERMISSION_MODES));

/** The Agent SDK asks through its own streams. */
function readPrompter(name: string): "stdio" {
  if (name !== "stdio") throw notAvailable(`--permission-prompt-tool ${name}`);
  return name;
}

const collect = (value: string, list: string[] = []): string[] => [...list, value];
const number = (name: string, range: NumberRange) => (text: string) => readNumber(name, text, range);
const count: NumberRange = { min: 1, integer: true };

/** One group of the help: title, then `[flags, help, reader of the value]`. */
type Row = readonly [flags: string, help: string, read?: (text: string, before: never) => unknown];
const GROUPS: readonly (readonly [title: string, rows: readonly Row[]])[] = [
  [
    "Prompt:",
    [
      ["-p, --prompt <text>", "the prompt; stdin is then not waited for, unless - is also given"],
      ["-f, --file <path>", "attach a file (repeatable)", (path: string, list: never) => collect(checkFile("--file", path), list)],
      ["--system <text>", "replace the system prompt"],
      ["--system-file <path>", "the same, from a file"],
      ["--append-system <text>", "add to the system prompt"],
      ["--append-system-file <path>", "the same, from a file"],
      ["--output-schema <path>", "the answer must satisfy this JSON Schema"],
      ["--agent <name>", "agent profile of the configuration"],
    ],
  ],
  [
    "Model:",
    [
      ["-m, --model <ids>", "provider/model; a,b is a fallback chain (AGENT_MODEL)"],
      ["--provider <name>", "provider of a model id that is given without one"],
      ["--fallback <ids>", "next models of the chain (repeatable; AGENT_FALLBACK)", collect],
      ["--temperature <number>", "sampling temperature", number("--temperature", { min: 0 })],
      ["--top-p <number>", "nucleus sampling, 0 to 1", number("--top-p", { min: 0, max: 1 })],
      ["--stop <text>", "stop sequence (repeatable)", collect],
      ["--seed <number>", "seed of the sampling", number("--seed", { integer: true })],
      ["--max-output-tokens <n>", "limit of one answer", number("--max-output-tokens", count)],
      ["--retry-timeout <s>", "longest wait for retries of one model (600; 0: none)", number("--retry-timeout", { min: 0 })],
      ["--max-retries <n>", "retries of one model (5)", number("--max-retries", { min: 0, integer: true })],
      ["--record <dir>", "keep a copy of what models are asked and answer", (path: string) => resolve(path)],
      ["--replay <dir>", "answer from such copies, without network or key", (path: string) => checkDirectory("--replay", path)],
      ["--cache", "answer identical requests from disk (agent cache)"],
    ],
  ],
  [
    "Input and output:",
    [
      ["--input-format <format>", "auto, text, json or stream-json", (text: string) => readChoice("--input-format", text, INPUT_FORMATS)],
      [
        "--output-format <format>",
        "auto, text, json: one event a line, or stream-json: Claude Code's (AGENT_OUTPUT_FORMAT)",
        (text: string) => readChoice("--output-format", text, OUTPUT_FORMATS),
      ],
      [
        "--json-standard <name>",
        "opencode or claude: the same as --output-format json or stream-json",
        (text: string) => readChoice("--json-standard", text, ["opencode", "claude"]),
      ],
      ["--stream", "also show text and tools as they come"],
      ["--verbose", "debug messages on stderr"],
      ["-q, --quiet", "no progress on stderr, only errors"],
      ["--log-file <path>", "write log messages to a file"],
    ],
  ],
  [
    "Session:",
    [
      ["-s, --session <id>", "go on with a session (also -r, --resume)"],
      ["-c, --continue", "go on with the newest session of this workspace"],
      ["--fork", "work in a copy of that session"],
      ["--no-session", "keep no session"],
      ["--title <text>", "title of a new session"],
    ],
  ],
  [
    "Workspace, tools and permissions:",
    [
      ["--cwd <dir>", "the workspace; the current directory by default", (path: string) => checkDirectory("--cwd", path)],
      ["--add-dir <dir>", "a further directory for the tools (repeatable)", (path: string, list: never) => collect(checkDirectory("--add-dir", path), list)],
      ["--tools <a,b>", "only these tools"],
      ["--disable-tools <a,b>", "without these tools (AGENT_DISABLE_TOOLS)"],
      ["--read-only", "only tools that read (AGENT_READ_ONLY)"],
      ["--permission-mode <mode>", "auto, ask, plan, readonly or yolo (AGENT_PERMISSION_MODE)", (text: string) => readMode("--permission-mode", text)],
      ["--permission <json>", "permission rules (AGENT_PERMISSION)"],
      ["--trust", "trust this workspace's configuration for this run (AGENT_TRUST)"],
      ["--require-trust", "do not start without what is not trusted (AGENT_REQUIRE_TRUST)"],
    ],
  ],
  [
    "Limits of one run:",
    [
      ["--max-steps <n>", "steps (100)", number("--max-steps", count)],
      ["--max-cost <usd>", "cost", number("--max-cost", { min: 0 })],
      ["--max-tokens-total <n>", "tokens", number("--max-tokens-total", count)],
      ["--timeout <s>", "seconds", number("--timeout", { min: 0.001 })],
    ],
  ],
  [
    "Plugins and configuration:",
    [
      ["--plugin <spec>", "load a plugin: a path or a name (repeatable)", collect],
      ["--no-plugins", "only built-in plugins and those of --plugin"],
      ["--skip-broken-plugins", "go on without plugins that cannot be loaded"],
      ["--config <path>", "use this configuration file (AGENT_CONFIG)"],
    ],
  ],
  [
    "About:",
    [
      ["-V, --version", "print the version"],
      ["-h, --help", "print this help"],
    ],
  ],
];

/** Claude Code's names for options that exist here: accepted, not shown. */
const ALIASES: readonly Row[] = [
  ["-r, --resume <id>", ""],
  ["--session-id <id>", ""],
  ["--max-turns <n>", "", number("--max-turns", count)],
  ["--allowedTools, --allowed-tools <list>", ""],
  ["--disallowedTools, --disallowed-tools <list>", ""],
  ["--append-system-prompt <text>", ""],
  ["--system-prompt <text>", ""],
  ["--include-partial-messages", ""],
  ["--permission-prompt-tool <name>", "", readPrompter],
  ["--allow-dangerously-skip-permissions", ""],
  ["--dangerously-skip-permissions", ""],
  ["--max-budget-usd <usd>", "", number("--max-budget-usd", { min: 0 })],
  ["--fallback-model <ids>", ""],
  ["--json-schema <json>", ""],
  ["--fork-session", ""],
  ["--no-session-persistence", ""],
  ["--mcp-config <file>", "", collect],
  ["--strict-mcp-config", ""],
];

/** Claude Code's options that ask for nothing here: what they switch off or on is not there, or always so. */
const IDLE = [
  "--setting-sources <list>",
  "--replay-user-messages",
  "--include-hook-events",
  "--debug",
  "--debug-file <path>",
  "--thinking <mode>",
  "--thinking-display <mode>",
  "--max-thinking-tokens <n>",
  "--effort <level>",
  "--betas <list>",
];

/** Options of the contract that are not built yet. */
const MISSING = ["--variant <name>"];

/** Adds every option to the program: those of the help by group, the others hidden. */
export function addOptions(program: Command): void {
  for (const [title, rows] of GROUPS) {
    for (const [flags, help, read] of rows) program.addOption(makeOption(flags, help, read).helpGroup(title));
  }
  for (const [flags, help, read] of ALIASES) program.addOption(makeOption(flags, help, read).hideHelp());
  for (const flags of IDLE) program.addOption(makeOption(flags, "", undefined).hideHelp());
  for (const flags of MISSING) program.addOption(makeOption(flags, "", undefined).hideHelp());
  for (const flags of MISSING) {
    const [name = ""] = flags.split(" ");
    program.on(`option:${name.slice(2)}`, () => {
      throw notAvailable(name);
    });
  }
}

function makeOption(flags: string, help: string, read: Row[2]): Option {
  const option = new Option(flags, help);
  return read ? option.argParser(read as (value: string, previous: unknown) => unknown) : option;
}
