/**
 * What is done about an error, decided by its row and nowhere else:
 * - `retry`: ask the same model again, then fall over to the next of the chain;
 * - `fallback`: fall over at once;
 * - `tell-model`: the text becomes a tool result and the run goes on;
 * - `stop`: the run ends with the row's exit code.
 */
export type Recovery = "retry" | "fallback" | "tell-model" | "stop";

interface ErrorRow {
  /** The fact. `{name}` is replaced by the value of that name in the error's data. */
  message: string;
  /** The way out; "" where the message says it already. */
  hint: string;
  recovery: Recovery;
  /** Exit code of the command when a run ends with this error. */
  exit: number;
  /** The name opencode gives to this class of error, where it has one. */
  name?: string;
}

const usage = { recovery: "stop", exit: 2 } as const;
const failed = { recovery: "stop", exit: 1 } as const;
const limit = { recovery: "stop", exit: 3 } as const;
const toModel = { recovery: "tell-model", exit: 1 } as const;
const transient = { recovery: "retry", exit: 4, name: "APIError" } as const;
const storage = { recovery: "stop", exit: 7 } as const;

/** Every error of the runtime: one row each. "What happens on a 429?" is answered by its row. */
export const ERRORS = {
  // usage, configuration, input
  OPTION_UNKNOWN: { ...usage, message: "unknown {what} '{name}'", hint: "{suggestion}See agent --help." },
  OPTION_INVALID: { ...usage, message: "{option}: {reason}", hint: "See agent --help." },
  NOT_AVAILABLE: { ...usage, message: "{name} is not available in this version.", hint: "See agent --help for what is." },
  INPUT_EMPTY: { ...usage, message: "There is no prompt.", hint: 'Pipe one in, or give it with -p: echo "prompt" | agent.' },
  INPUT_INVALID: {
    ...usage,
    message: "Line {line} of the input is not a request: {reason}",
    hint: 'Write {"message":"…"}, one object a line or pretty-printed.',
  },
  INPUT_TOO_LONG: {
    ...usage,
    message: "Line {line} of the input is longer than {limit} bytes.",
    hint: "Split it, or put the text into a file and attach it with --file.",
  },
  INPUT_ENCODING: { ...usage, message: "Line {line} of the input is not valid UTF-8.", hint: "Convert it to UTF-8, for example with iconv." },
  INPUT_TRUNCATED: {
    ...usage,
    message: "The input ends in the middle of the object that starts in line {line}.",
    hint: "Close the object; those before it were run.",
  },
  INPUT_CROWDED: {
    ...usage,
    message: "No prompt of {lines} was taken: more than {limit} bytes would wait.",
    hint: "Send them again when others are answered, or read them from a file: agent … < FILE.",
  },
  FILE_NOT_FOUND: { ...usage, message: "The file {path} of {option} cannot be read: {reason}", hint: "Check the path." },
  CONFIG_INVALID: { ...usage, message: "{file}{position}: {reason}", hint: "Correct the file; `agent config show --origin` prints what is in force." },
  CONFIG_REJECTED: {
    ...usage,
    message: "The configuration has changed, but cannot be used: {reason}",
    hint: "Correct it; the one before stays in force until then.",
  },
  CONFIG_NOT_FOUND: { ...usage, message: "There is no configuration file {file}.", hint: "Check --config or AGENT_CONFIG." },
  AGENT_NOT_FOUND: {
    ...usage,
    message: 'There is no agent profile "{name}"; there are: {known}.',
    hint: "Name one of them, or add it to the configuration.",
  },
  MODEL_INVALID: { ...usage, message: '"{id}" is not a model id: {reason}', hint: "Write provider/model, for example openrouter/anthropic/claude-sonnet-4." },
  MODEL_UNSET: {
    ...usage,
    message: "No model is set, and there is no saying which is meant. Providers with a key: {providers}.",
    hint: "Name one with --model provider/model, AGENT_MODEL, or model in the configuration.",
  },
  MODEL_NOT_FOUND: {
    ...usage,
    message: 'There is no provider "{provider}" for the model {id}.',
    hint: "{suggestion}Known providers: {known}.",
    name: "ProviderModelNotFoundError",
  },
  PLUGIN_NOT_FOUND: { ...usage, message: "The plugin {spec} cannot be found.", hint: "Give a path (./plugin.ts) or the name of an installed package." },
  PLUGIN_BROKEN: { ...usage, message: "The plugin {spec} cannot be loaded: {reason}", hint: "Mend it, or go on without it: --skip-broken-plugins." },
  PLUGIN_CONFLICT: {
    ...usage,
    message: 'Both {first} and {second} bring the {kind} "{name}".',
    hint: 'Remove one, or let the second say replaces: ["{name}"].',
  },
  TOOL_UNAVAILABLE: { ...usage, message: 'There is no tool "{name}" to switch on or off.', hint: "{suggestion}Tools: {known}." },
  RECORDING_MISSING: {
    ...usage,
    // The recording of a chain has no answer of a model that rested.
    recovery: "fallback",
    message: "{directory} holds no answer to this request of {model}.",
    hint: "{suggestion}Record it with --record {directory}.",
  },
  STEP_NOT_FOUND: { ...usage, message: "There is no step or message {name} in the session {id}.", hint: "See agent session show {id}." },
  SESSION_NOT_FOUND: { ...usage, message: "There is no session {id}.", hint: "See agent session list." },
  MEMORY_NOT_FOUND: {
    ...usage,
    message: "There is no observation {id} in the memory of {project}.",
    hint: "See agent memory list; --project '*' looks into all projects.",
  },
  IMPORT_REFUSED: { ...usage, message: "Nothing of {file} was imported: {reason}", hint: "{advice}" },

  // permission and trust
  UNTRUSTED: {
    recovery: "stop",
    exit: 6,
    message: "{what} comes from a workspace that is not trusted.",
    hint: "Read it, then run `agent trust` there, or give --trust for this run.",
  },
  TRUST_REFUSED: { recovery: "stop", exit: 6, message: "No trust: {reason}", hint: "{advice}" },
  PERSON_NEEDED: {
    recovery: "stop",
    exit: 6,
    message: "An agent runs this command, and {what} is for a person to do.",
    hint: "Do it in a terminal of your own.",
  },
  SANDBOX_MISSING: {
    ...toModel,
    message: "Nothing runs here without a sandbox, and there is none: {reason}.",
    hint: "A person can change that, or set sandbox.enabled to auto.",
  },
  PERMISSION_DENIED: { ...toModel, message: "Denied: {reason}", hint: "", name: "PermissionDeniedError" },

  // keys
  MODEL_NOT_FREE: {
    recovery: "stop",
    exit: 2,
    message: "{id} is not known to be free, and only free models may be asked (limits.freeOnly).",
    hint: "Take an id with its provider's ending for that (:free) or a local server (--model ollama/llama3.2), or say in the configuration that it costs nothing (provider.NAME.models.ID.cost).",
  },
  EMBEDDINGS_MISSING: {
    ...usage,
    message: "The provider {provider} has no embeddings.",
    hint: "Name a model of one that has, for example openai/text-embedding-3-small, or one of a local server.",
  },
  KEY_MISSING: {
    recovery: "stop",
    exit: 5,
    name: "ProviderAuthError",
    message: "No key is set for {provider}{suggestion}.",
    hint: "Three ways to get going: set a key (`agent auth login {provider}`, or {variable}=…); use a local server (--model ollama/llama3.2); or see it work without either (--model demo/tour). {advice}",
  },
  AUTH_REFUSED: {
    recovery: "stop",
    exit: 5,
    name: "ProviderAuthError",
    message: "{provider} refused the key from {source} ({status}): {reason}",
    hint: "Check the key. {advice}",
  },

  // the provider's answers
  REQUEST_INVALID: {
    ...failed,
    name: "APIError",
    message: "{model} refused the request ({status}): {reason}",
    hint: "Correct the request; it is not tried again.",
  },
  CONTENT_REFUSED: {
    ...failed,
    name: "ContentFilterError",
    message: "{model} refused the content: {reason}",
    hint: "Rephrase the prompt or choose another model.",
  },
  CONTEXT_OVERFLOW: {
    ...failed,
    name: "ContextOverflowError",
    message: "The conversation is too long for {model}: {reason}",
    hint: "Start a new session, or choose a model with a larger context.",
  },
  MEDIA_REFUSED: {
    recovery: "fallback",
    exit: 4,
    name: "APIError",
    message: "{model} takes no {media}: {reason}",
    hint: "Choose a model that does, name one with --fallback, or leave the file out.",
  },
  QUOTA_EXCEEDED: {
    recovery: "fallback",
    exit: 4,
    name: "APIError",
    message: "The credit of {provider} does not suffice for {model}: {reason}",
    hint: "Add credit, or choose a free model. {advice}",
  },
  MODEL_UNAVAILABLE: {
    recovery: "fallback",
    exit: 4,
    name: "APIError",
    message: "{provider} has no model {model}: {reason}",
    hint: "Check the id; see the provider's list of models. {advice}",
  },
  PROVIDER_BROKEN: {
    recovery: "fallback",
    exit: 4,
    name: "APIError",
    message: "The provider {provider} fails before anything is sent: {reason}",
    hint: "Mend the plugin that brings it, or choose another model.",
  },
  RATE_LIMITED: {
    ...transient,
    message: "{model} is rate limited ({status}): {reason}",
    hint: "Wait, raise --retry-timeout, or name another model with --fallback. {advice}",
  },
  OVERLOADED: { ...transient, message: "{model} failed ({status}): {reason}", hint: "Try again later, or name another model with --fallback. {advice}" },
  PROVIDER_TIMEOUT: {
    ...transient,
    message: "{model} did not answer in time: {reason}",
    hint: "Raise the time limits of the provider (headerTimeout, chunkTimeout), or name another model with --fallback. {advice}",
  },
  NETWORK_FAILED: {
    ...transient,
    message: "{model} could not be reached: {reason}",
    hint: "Check the network, the proxy and the base URL of the provider. {advice}",
  },
  TLS_FAILED: {
    recovery: "fallback",
    exit: 4,
    name: "APIError",
    message: "{model} could not be reached safely: {reason}",
    hint: "Check the base URL of the provider; NODE_EXTRA_CA_CERTS names the certificates of further authorities.",
  },
  RESPONSE_INVALID: {
    ...transient,
    message: "{model} answered with something that is not a model's answer: {reason}",
    hint: "Check the base URL of the provider. {advice}",
  },
  STREAM_CUT: { ...transient, message: "The answer of {model} ended without a finish: {reason}", hint: "Try again, or name another model with --fallback." },
  OUTPUT_INVALID: {
    ...failed,
    name: "StructuredOutputError",
    message: "The answer of {model} does not satisfy the output schema: {reason}",
    hint: "Simplify the schema or choose another model.",
  },
  ANSWER_EMPTY: {
    recovery: "retry",
    exit: 1,
    name: "APIError",
    message: "{model} gave an empty answer.",
    hint: "Try again, or name another model with --fallback.",
  },

  ANSWER_TOO_LONG: {
    recovery: "fallback",
    exit: 4,
    name: "APIError",
    message: "The answer of {model} has no end: it is longer than {limit}.",
    hint: "Set --max-output-tokens, or choose another model.",
  },

  // limits
  ANSWER_CUT: {
    ...limit,
    name: "MessageOutputLengthError",
    message: "The answer of {model} was cut by the limit of output tokens.",
    hint: "Raise --max-output-tokens, or go on with --continue.",
  },
  LIMIT_STEPS: { ...limit, message: "The limit of {limit} steps is reached.", hint: "Raise --max-steps, or go on with --continue." },
  LIMIT_COST: { ...limit, message: "The limit of {limit} USD is reached ({spent} spent).", hint: "Raise --max-cost, or go on with --continue." },
  COST_UNKNOWN: {
    ...limit,
    message: "The limit of {limit} USD cannot be kept: the provider does not say what an answer costs.",
    hint: "Give the prices of the model in the configuration (provider.NAME.models.ID.cost), or limit the tokens instead (--max-tokens-total).",
  },
  LIMIT_TOKENS: { ...limit, message: "The limit of {limit} tokens is reached ({spent} used).", hint: "Raise --max-tokens-total, or go on with --continue." },
  LIMIT_TIME: { ...limit, message: "The time limit of {limit} s is reached.", hint: "Raise --timeout, or go on with --continue." },
  LOOP_DETECTED: {
    ...limit,
    message: "The model repeats itself: {calls} came {times} times with the same result.",
    hint: "Go on with --continue and another instruction.",
  },

  // tools: the text goes to the model
  TOOL_NOT_FOUND: { ...toModel, message: 'There is no tool "{name}".', hint: "Use one of: {known}." },
  TOOL_INPUT_INVALID: { ...toModel, message: "The input of {tool} is invalid: {reason}", hint: "Call it again with input that fits its schema." },
  MCP_GONE: {
    ...toModel,
    message: "The MCP server {server} is gone: {reason}",
    hint: "Do what can be done without its tools, and say in the answer that they failed.",
  },
  TOOL_FAILED: { ...toModel, message: "{tool} failed: {reason}", hint: "" },
  PATH_OUTSIDE: { ...toModel, message: "{path} is outside the workspace.", hint: "Use a path below {root}." },
  SECRET_INPUT: {
    ...toModel,
    message: "{tool} was not run: a secret that the agent knows stands in its input, or in that of the call around it.",
    hint: "Write the name of the variable or of the file that holds it instead, and let the program look there.",
  },
  SECRET_FILE: {
    ...toModel,
    message: "{path} is kept from tools, because it is where secrets are.",
    hint: 'Do without it, or say in the answer what is needed of it. A person can allow it in the configuration: "permission": { "read": { "{path}": "allow" } }.',
  },
  PATH_INVALID: { ...toModel, message: "{path} is not a usable path: {reason}", hint: "" },
  FILE_MISSING: { ...toModel, message: "File not found: {path}", hint: "{suggestion}" },
  FILE_UNSUITABLE: { ...toModel, message: "{path} {reason}", hint: "{advice}" },
  EDIT_REFUSED: { ...toModel, message: "{path} was not changed: {reason}", hint: "{advice}" },
  PATCH_REFUSED: { ...toModel, message: "Nothing was changed. Line {line} of the patch: {reason}", hint: "{advice}" },
  PATTERN_INVALID: { ...toModel, message: "The pattern {pattern} is invalid: {reason}", hint: "" },
  URL_REFUSED: { ...toModel, message: "{url} is refused: {reason}", hint: "{advice}" },
  FETCH_FAILED: { ...toModel, message: "{url} could not be fetched: {reason}", hint: "" },
  SEARCH_FAILED: { ...toModel, message: "The search by {provider} failed: {reason}", hint: "{advice}" },
  QUESTION_UNANSWERED: {
    recovery: "tell-model",
    exit: 6,
    message: "Nobody is there to answer: {question}",
    hint: "Decide without the answer, or say in the final answer what has to be known. A person answers with --input-format stream-json; permission question: deny keeps a model from asking.",
  },
  TASKS_CROWDED: {
    ...toModel,
    message: "{limit} tasks run in the background already.",
    hint: "Go on with other work until you are told that one has ended, or start this one without background.",
  },
  NESTING_TOO_DEEP: { ...toModel, message: "{tool} is nested deeper than {limit} levels.", hint: "Do the work in this step instead." },

  // storage
  STORE_DAMAGED: { ...storage, message: "{path} cannot be read: {reason}", hint: "Move the file away to start without it." },
  STORE_NEWER: { ...storage, message: "{path} was written by a newer version ({version}).", hint: "Update agent-runtime; the file is untouched." },
  STORE_UNWRITABLE: { ...storage, message: "{path} cannot be written: {reason}", hint: "Make it writable, or name another directory with AGENT_DATA_DIR." },
  STORE_REFUSED: { ...storage, message: "{collection}/{id} cannot be kept: {reason}.", hint: "Keep less of it, or split it." },
  TASK_BUSY: { ...toModel, message: "The task {id} still runs; its answer comes first.", hint: "Go on with it when it has ended, or start another one." },
  MEMORY_BUSY: { ...storage, message: "The memory of {project} is being changed by process {pid}.", hint: "Try again when it has ended." },
  MEMORY_NOT_ERASED: {
    ...storage,
    message: "It is out of the memory, but its bytes may still stand in files below {path}, which cannot be rewritten now.",
    hint: "Forget it once more, or run agent memory compact, when there is room on the disk and no other process uses the memory.",
  },
  SESSION_BUSY: { ...storage, message: "The session {id} is in use by process {pid}.", hint: "Wait for it, or work on a copy with --fork." },

  UNDO_CONFLICT: {
    ...failed,
    message: "Nothing was undone: {count} of the files are not as the session left them.",
    hint: "Look at them; --force undoes their changes, too.",
  },
  SNAPSHOT_DAMAGED: {
    ...storage,
    message: "Nothing was undone: {path} cannot be restored: {reason}.",
    hint: "--force undoes what can be, and leaves such files as they are.",
  },

  // endings from outside, and our own faults
  INTERRUPTED: { recovery: "stop", exit: 130, name: "MessageAbortedError", message: "The run was interrupted.", hint: "Go on with --continue." },
  OUTPUT_CLOSED: { recovery: "stop", exit: 141, message: "Nobody takes the output any more{advice}.", hint: "" },
  STALLED: {
    ...failed,
    message: "{what} waits for what cannot come: nothing is left that could end it.",
    hint: "Mend the plugin that brings it, or run without it.",
  },
  COMMAND_FAILED: { ...failed, message: "The command {name} failed: {reason}", hint: "Mend the plugin that brings it." },
  HOOK_FAILED: { ...failed, message: "The hook {hook} of the plugin {plugin} failed: {reason}", hint: "Mend the plugin, or run without it." },
  INTERNAL: { ...failed, message: "Something went wrong inside: {reason}", hint: "Run again with --verbose and report what it prints." },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;
export type ErrorData = Record<string, unknown>;

const OPTIONAL = new Set(["suggestion", "advice", "position"]);

const fill = (template: string, data: ErrorData): string =>
  template.replace(/\{(\w+)\}/g, (whole, key: string) => (key in data ? String(data[key] ?? "") : OPTIONAL.has(key) ? "" : whole)).trim();

/**
 * The one error type that may leave the runtime. `new AgentError("PATH_OUTSIDE", { path, root })`.
 * `data` fills the row's texts and is printed with the error, so it holds no secret and no stack.
 */
export class AgentError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly data: ErrorData;

  constructor(code: ErrorCode, data: ErrorData = {}, options?: { cause?: unknown }) {
    super(fill(ERRORS[code].message, data), options);
    this.name = (ERRORS[code] as ErrorRow).name ?? "AgentError";
    this.code = code;
    this.hint = fill(ERRORS[code].hint, data);
    this.data = data;
  }

  get recovery(): Recovery {
    return ERRORS[this.code].recovery;
  }

  /** Exit code; an interruption by a signal carries its own in `data.exit`. */
  get exit(): number {
    return typeof this.data.exit === "number" ? this.data.exit : ERRORS[this.code].exit;
  }

  /** The fact and the way out, as a tool result or a line on stderr says it. */
  get text(): string {
    return this.hint ? `${this.message}\n${this.hint}` : this.message;
  }
}

/** Any thrown value as an AgentError: unchanged if it is one, else INTERNAL with its message. */
export function toAgentError(error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  return new AgentError("INTERNAL", { reason: errorMessage(error) }, { cause: error });
}

/** The message of any thrown value; never "[object Object]". */
export function errorMessage(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  if (typeof error === "string") return error;
  if (typeof error === "object" && error !== null && "message" in error && typeof error.message === "string") return error.message;
  try {
    return JSON.stringify(error) ?? String(error);
  } catch {
    return String(error);
  }
}
