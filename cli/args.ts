import { resolve } from "node:path";
import { AgentError, type Config, type JsonSchema, type PromptOptions, type PromptRequest, type RuntimeOptions } from "agent-runtime";
import { Command, CommanderError } from "commander";
import { readMcpConfigs } from "./claude-mcp.ts";
import { readClaudeTools } from "./claude-names.ts";
import { checkFile, readChoice, readFlag, readJson, readList, readText } from "./option-values.ts";
import { addOptions, type ClaudeValues, type InputFormat, type OptionValues, OUTPUT_FORMATS, type OutputFormat, type PermissionMode } from "./options.ts";

export type Environment = Record<string, string | undefined>;

export interface LogChoice {
  verbose: boolean;
  quiet: boolean;
  file?: string;
}

/** A prompt, or many from stdin, and all that is said about them. */
export interface RunInvocation {
  kind: "run";
  /** The prompt of the command line; without it stdin is read. */
  prompt?: string;
  /** The words of the prompt where they were not given with -p: the first may name a command of a plugin. */
  words: string[];
  /** `-`: stdin's text follows the prompt. */
  joinStdin: boolean;
  inputFormat: InputFormat;
  /** Undefined: the configuration's, else auto. */
  outputFormat?: OutputFormat;
  stream: boolean;
  /** Somebody answers `can_use_tool`: Claude Code's mode `default` asks there. */
  asksPrompter: boolean;
  /** A frame may switch every question off. */
  allowsBypass: boolean;
  /** Under each request: what it says itself counts more. */
  request: Partial<PromptRequest>;
  /** Of the first request; the others go on with its session. */
  session: Pick<PromptOptions, "continueNewest" | "fork" | "title" | "sessionId"> & { id?: string };
  runtime: RuntimeOptions;
  log: LogChoice;
}

export interface CommandInvocation {
  kind: "command";
  name: string;
  words: string[];
  runtime: RuntimeOptions;
  log: LogChoice;
}

export type Invocation = RunInvocation | CommandInvocation | { kind: "help"; text: string } | { kind: "version" };

export const COMMANDS = ["auth", "session", "config", "trust", "mcp", "memory", "cache", "stats"] as const;
const MISSING_COMMANDS = ["models", "init", "plugin", "doctor", "viewer"];
const RUN_NAMES = ["run", "query"];

const HEADER = `Usage: agent [options] [prompt...]
       echo "prompt" | agent [options]
       agent <command> [words...]

A prompt goes in, an answer comes out. Several words are one prompt; - adds the
text of stdin to it; -- ends the options.
`;

const FOOTER = `
Commands:
  run, query                     ask; the default
  auth                           store, list and remove the keys of providers
  session                        list, show, undo and remove sessions
  config                         show and change the configuration
  trust                          trust the configuration of this workspace
  mcp                            add, list and approve MCP servers
  memory                         look into what is remembered, take care of it
  cache                          show and clear the answers that --cache keeps
  stats                          add up steps, tokens and cost of the sessions

Exit codes: 0 answered, 1 failed, 2 usage, 3 a limit, 4 provider, 5 key,
6 permission, 7 store, 130 interrupted, 141 the reader of the output went away.
`;

/** Reads the command line. Throws AgentErrors of usage: OPTION_UNKNOWN, OPTION_INVALID, NOT_AVAILABLE, FILE_NOT_FOUND. */
export function parseArgs(argv: readonly string[], env: Environment): Invocation {
  const program = createProgram();
  const first = findFirstWord(program, argv);
  const name = argv[first];
  if (name !== undefined && MISSING_COMMANDS.includes(name)) throw new AgentError("NOT_AVAILABLE", { name: `The command ${name}` });
  const isCommand = name !== undefined && (COMMANDS as readonly string[]).includes(name);
  const isRun = name !== undefined && RUN_NAMES.includes(name);
  const own = isCommand ? argv.slice(0, first) : isRun ? argv.toSpliced(first, 1) : argv;
  const { values, words } = parseOptions(program, own);

  if (values.version) return { kind: "version" };
  if (values.help || (name === "help" && words.length === 1)) return { kind: "help", text: formatHelp(program) };
  const log: LogChoice = { verbose: values.verbose ?? false, quiet: values.quiet ?? false, ...(values.logFile && { file: resolve(values.logFile) }) };
  const runtime = readRuntimeOptions(values, env);
  if (isCommand) return { kind: "command", name, ...readVerbose(argv.slice(first + 1), log), runtime };
  return readRun(values, words, { env, runtime, log });
}

function createProgram(): Command {
  const program = new Command("agent");
  program.argument("[prompt...]").helpOption(false).exitOverride();
  program.configureOutput({ writeOut() {}, writeErr() {}, outputError() {} }).configureHelp({ helpWidth: 80 });
  addOptions(program);
  return program;
}

export function formatHelp(program: Command): string {
  const [, options = ""] = program.helpInformation().split(/\n\n([\s\S]*)/);
  return `${HEADER}\n${options.replace(/^[\s\S]*?(?=^Prompt:)/m, "")}${FOOTER}`;
}

/** Index of the first word that is neither an option nor the value of one; -1 where there is none before `--`. */
function findFirstWord(program: Command, argv: readonly string[]): number {
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] as string;
    if (word === "--") return -1;
    if (word === "-" || !word.startsWith("-")) return i;
    if (takesNextWord(program, word)) i++;
  }
  return -1;
}

/** Of short options in one word the first that needs a value takes the rest of the word; where nothing is left, the next word. */
function takesNextWord({ options }: Command, word: string): boolean {
  if (word.startsWith("--")) return options.some((option) => option.long === word && option.required);
  const letters = [...word.slice(1)];
  const at = letters.findIndex((letter) => options.some((option) => option.short === `-${letter}` && option.required));
  return at !== -1 && at === letters.length - 1;
}

function parseOptions(program: Command, argv: readonly string[]): { values: OptionValues; words: string[] } {
  try {
    program.parse([...argv], { from: "user" });
  } catch (error) {
    throw error instanceof CommanderError ? translate(error) : error;
  }
  return { values: program.opts<OptionValues>() as OptionValues, words: program.args };
}

function translate(error: CommanderError): AgentError {
  const unknown = /unknown option '([^']*)'/.exec(error.message)?.[1];
  if (unknown !== undefined) {
    const suggestion = /Did you mean [^?]*\?/.exec(error.message)?.[0];
    return new AgentError("OPTION_UNKNOWN", { what: "option", name: unknown, suggestion: suggestion ? `${suggestion}\n` : "" });
  }
  const [, flags] = /option '([^']*)' argument missing/.exec(error.message) ?? [];
  if (flags !== undefined) return new AgentError("OPTION_INVALID", { option: /--[\w-]+/.exec(flags)?.[0] ?? flags, reason: "it needs a value." });
  return new AgentError("OPTION_INVALID", { option: "agent", reason: error.message.replace(/^error: /, "") });
}

/** An error names this option, so every command takes it among its words, too. */
function readVerbose(words: string[], log: LogChoice): Pick<CommandInvocation, "words" | "log"> {
  const end = words.includes("--") ? words.indexOf("--") : words.length;
  const at = words.slice(0, end).indexOf("--verbose");
  return at === -1 ? { words, log } : { words: words.toSpliced(at, 1), log: { ...log, verbose: true } };
}

function readRun(values: OptionValues, given: string[], { env, runtime, log }: { env: Environment; runtime: RuntimeOptions; log: LogChoice }): RunInvocation {
  const words = given.filter((word) => word !== "-");
  const prompt = [values.prompt, ...(words.length > 0 ? [words.join(" ")] : [])].filter((part) => part !== undefined).join("\n\n");
  const stated =
    values.outputFormat ?? values.jsonStandard ?? (env.AGENT_OUTPUT_FORMAT && readChoice("AGENT_OUTPUT_FORMAT", env.AGENT_OUTPUT_FORMAT, OUTPUT_FORMATS));
  const outputFormat = stated === "opencode" ? "json" : stated === "claude" ? "stream-json" : stated || undefined;
  return {
    kind: "run",
    ...((values.prompt !== undefined || words.length > 0) && { prompt }),
    words: values.prompt === undefined ? words : [],
    joinStdin: given.includes("-"),
    inputFormat: values.inputFormat ?? "auto",
    ...(outputFormat && { outputFormat }),
    stream: values.stream ?? extra(values).includePartialMessages === true,
    asksPrompter: extra(values).permissionPromptTool !== undefined,
    allowsBypass: extra(values).allowDangerouslySkipPermissions === true,
    request: readRequest(values),
    session: readSession(values),
    runtime,
    log,
  };
}

/** The values of Claude Code's own names. */
const extra = (values: OptionValues) => values as OptionValues & ClaudeValues;

function readRequest(values: OptionValues): Partial<PromptRequest> {
  return dropUndefined({
    agent: values.agent,
    files: values.file,
    outputSchema: readOutputSchema(values),
  });
}

function readOutputSchema(values: OptionValues): JsonSchema | undefined {
  const { jsonSchema } = extra(values);
  if (values.outputSchema !== undefined) return readSchema("--output-schema", readText("--output-schema", values.outputSchema));
  return jsonSchema === undefined ? undefined : readSchema("--json-schema", jsonSchema);
}

function readSchema(option: string, text: string): JsonSchema {
  const schema = readJson(option, text);
  if (typeof schema !== "object" || schema === null || Array.isArray(schema))
    throw new AgentError("OPTION_INVALID", { option, reason: "it is no JSON object." });
  return schema as JsonSchema;
}

function readSession(values: OptionValues): RunInvocation["session"] {
  const id = (typeof values.session === "string" ? values.session : undefined) ?? extra(values).resume;
  if (id !== undefined && values.continue) throw new AgentError("OPTION_INVALID", { option: "--continue", reason: "it cannot go with --session." });
  const fork = values.fork ?? extra(values).forkSession;
  if (fork && id === undefined && !values.continue) throw new AgentError("OPTION_INVALID", { option: "--fork", reason: "it needs --session or --continue." });
  return dropUndefined({ id, sessionId: values.sessionId, continueNewest: values.continue, fork, title: values.title });
}

function readRuntimeOptions(values: OptionValues, env: Environment): RuntimeOptions {
  const config = readConfig(values);
  const { strictMcpConfig } = extra(values);
  const only = strictMcpConfig ? [["mcp", { only: Object.keys(config.mcp ?? {}) }] as [string, Record<string, unknown>]] : [];
  return dropUndefined({
    cwd: values.cwd,
    roots: values.addDir,
    provider: values.provider,
    config: Object.keys(config).length > 0 ? config : undefined,
    configFile: values.config === undefined ? undefined : checkFile("--config", values.config),
    plugins: values.plugin || strictMcpConfig ? [...(values.plugin ?? []).map(readPlugin), ...only] : undefined,
    configuredPlugins: values.plugins ? undefined : false,
    skipBrokenPlugins: values.skipBrokenPlugins,
    trust: values.trust,
    requireTrust: values.requireTrust ?? readFlag("AGENT_REQUIRE_TRUST", env.AGENT_REQUIRE_TRUST),
    persist: values.session === false || extra(values).sessionPersistence === false ? false : undefined,
    tools: readTools(values),
    disableTools: readDisabled(values, env),
    readOnly: values.readOnly ?? readFlag("AGENT_READ_ONLY", env.AGENT_READ_ONLY),
    limits: readLimits(values),
    record: values.record,
    replay: values.replay,
    cache: values.cache,
  });
}

/** What the command line says of the configuration; the runtime reads the variables that go with it. */
function readConfig(values: OptionValues): Partial<Config> {
  const retry = dropUndefined({ timeoutSeconds: values.retryTimeout, maxRetries: values.maxRetries });
  return dropUndefined({
    model: values.model,
    fallback: (values.fallback ?? extra(values).fallbackModel?.split(","))?.flatMap((list) => readList(list) ?? []),
    systemPrompt: joinTexts("--system-file", values.system ?? extra(values).systemPrompt, values.systemFile),
    appendSystem: joinTexts("--append-system-file", values.appendSystem ?? extra(values).appendSystemPrompt, values.appendSystemFile),
    temperature: values.temperature,
    topP: values.topP,
    stop: values.stop,
    seed: values.seed,
    maxOutputTokens: values.maxOutputTokens,
    retry: Object.keys(retry).length > 0 ? retry : undefined,
    permissionMode: readPermissionMode(values),
    permission: readPermission(values),
    mcp: extra(values).mcpConfig && readMcpConfigs(extra(values).mcpConfig ?? []),
  });
}

/** Claude Code's `default` asks. So does a run that has somebody to ask and says nothing else. */
function readPermissionMode(values: OptionValues): PermissionMode | undefined {
  const { permissionPromptTool, dangerouslySkipPermissions } = extra(values);
  if (dangerouslySkipPermissions) return "yolo";
  const { permissionMode: mode = permissionPromptTool && "default" } = values;
  return mode === "default" ? (permissionPromptTool === undefined ? "auto" : "ask") : mode;
}

const joinTexts = (option: string, text: string | undefined, path: string | undefined): string | undefined =>
  path === undefined ? text : [text, readText(option, path)].filter((part) => part !== undefined).join("\n\n");

/** A path is meant from where the command was typed, whatever --cwd says. */
function readPlugin(spec: string): string | [string, Record<string, unknown>] {
  const anchor = (name: string) => (/^\.\.?\//.test(name) ? resolve(name) : name);
  if (!spec.startsWith("[")) return anchor(spec);
  const value = readJson("--plugin", spec);
  if (Array.isArray(value) && typeof value[0] === "string" && value.length <= 2) return [anchor(value[0]), (value[1] ?? {}) as Record<string, unknown>];
  throw new AgentError("OPTION_INVALID", { option: "--plugin", reason: 'write a path, a name, or ["name", {options}].' });
}

function readTools(values: OptionValues): string[] | undefined {
  const claude = values.allowedTools === undefined ? undefined : readClaudeTools(values.allowedTools, "allow").tools;
  if (values.tools === "default") return claude;
  // Claude Code's names have capitals.
  const named = values.tools !== undefined && /[A-Z]/.test(values.tools) ? readClaudeTools(values.tools, "allow").tools : readList(values.tools);
  return named ?? claude;
}

function readDisabled(values: OptionValues, env: Environment): string[] | undefined {
  const claude = values.disallowedTools === undefined ? [] : readClaudeTools(values.disallowedTools, "deny").tools;
  const list = [...(readList(values.disableTools ?? env.AGENT_DISABLE_TOOLS) ?? []), ...claude];
  return list.length > 0 ? list : undefined;
}

function readPermission({ permission: text, allowedTools, disallowedTools }: OptionValues): Config["permission"] {
  const rules = {
    ...(allowedTools && readClaudeTools(allowedTools, "allow").permission),
    ...(disallowedTools && readClaudeTools(disallowedTools, "deny").permission),
  };
  if (text === undefined) return Object.keys(rules).length > 0 ? rules : undefined;
  const value = /^[a-z]+$/.test(text) ? text : readJson("--permission", text);
  const map = typeof value === "string" ? { "*": readChoice("--permission", value, ["allow", "ask", "deny"]) } : value;
  if (typeof map !== "object" || map === null || Array.isArray(map))
    throw new AgentError("OPTION_INVALID", { option: "--permission", reason: "write allow, ask, deny, or a JSON object of tools." });
  return typeof value === "string" && Object.keys(rules).length === 0 ? (value as "allow") : { ...map, ...rules };
}

function readLimits(values: OptionValues): RuntimeOptions["limits"] {
  const limits = dropUndefined({
    steps: values.maxSteps ?? extra(values).maxTurns,
    costUsd: values.maxCost ?? extra(values).maxBudgetUsd,
    tokens: values.maxTokensTotal,
    timeoutMs: values.timeout === undefined ? undefined : values.timeout * 1000,
  });
  return Object.keys(limits).length > 0 ? limits : undefined;
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Without the keys that are not set, so that they cover nothing where objects are merged. */
function dropUndefined<T extends object>(value: T): Partial<Defined<T>> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Partial<Defined<T>>;
}
