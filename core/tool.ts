import type { Exec } from "./exec.ts";
import type { GuardedFetch } from "./http.ts";
import type { Log } from "./log.ts";
import type { Paths } from "./paths.ts";
import { findSchemaFault, type StandardSchema } from "./schema.ts";

/** What a tool can do to the world; permissions and `--read-only` judge by it. */
export type Effect = "read" | "write" | "run" | "net" | "ask";

export type JsonSchema = { type?: unknown; properties?: unknown; [key: string]: unknown };

/** A file that goes to the model beside the text. */
export interface Attachment {
  mediaType: string;
  /** base64 */
  data: string;
  filename?: string;
}

export interface ToolResult {
  /** What the model reads. */
  output: string;
  /** One line for people. */
  title?: string;
  metadata?: Record<string, unknown>;
  attachments?: Attachment[];
}

/** What `run` returns: a string is short for `{ output }`. */
export type ToolOutput = string | ToolResult;

export interface TaskOptions {
  prompt: string;
  description?: string;
  /** `provider/model`; the parent's by default. */
  model?: string;
  /** Name of an agent profile of the configuration. */
  agent?: string;
  /** Goes on with a child session that an earlier task started. */
  sessionId?: string;
  /** Names of tools that the child does not get. */
  disableTools?: string[];
  /**
   * Resolves once the child has begun, with the status `running`; how it ended is told to the model at its next request. The
   * run waits for it before it ends. At most 8 at the same time: throws TASKS_CROWDED.
   */
  background?: boolean;
}

export interface TaskResult {
  sessionId: string;
  text: string;
  status: "running" | "success" | "error" | "limit" | "interrupted";
  error?: string;
  costUsd?: number;
  steps: number;
}

/** What a person is asked. */
export interface Question {
  question: string;
  /** Answers to choose from; another one may be given all the same. */
  options?: string[];
}

/** Values that live and persist with the session; `undefined` where nothing was set. */
export interface SessionState {
  get<T = unknown>(key: string): T | undefined;
  /** JSON values only; written with the session's next append. */
  set(key: string, value: unknown): void;
}

/** Everything that a tool may touch. Files go through `paths`, processes through `exec`, HTTP through `fetch`. */
export interface ToolContext {
  /** The workspace: absolute, real path. */
  cwd: string;
  sessionId: string;
  callId: string;
  /** Aborts when the call must end; a tool stops what it started and throws. */
  signal: AbortSignal;
  fetch: GuardedFetch;
  exec: Exec;
  paths: Paths;
  state: SessionState;
  log: Log;
  /** 0 for a call of the model, 1 for a call made through `call` from such a one, … */
  depth: number;
  /** `provider/model` that made the call. */
  model: string;
  /** Shows how far the call is; never blocks, may be thinned out. Where the call is interrupted the model is told the last title. */
  progress(update: { title?: string; output?: string; metadata?: Record<string, unknown> }): void;
  /** Runs another tool by the same path: permissions, hooks, limits, events. Throws where that call fails; the message is what a model would read. */
  call(tool: string, input: unknown): Promise<ToolResult>;
  /** Runs a prompt in a child session. Its events carry this session as parent. */
  runTask(options: TaskOptions): Promise<TaskResult>;
  /** Has this call judged once more, as if it had been made with this input: before a redirect is followed, for example. Throws PERMISSION_DENIED. */
  permit(input: unknown): Promise<void>;
  /** Asks a person, on the way of the permissions: their words, "yes" where they only agree, undefined where nobody can answer. Throws PERMISSION_DENIED where they do not want to. */
  ask(question: Question): Promise<string | undefined>;
  /** Whether the model takes files of this media type; undefined where nobody says. */
  accepts(mediaType: string): boolean | undefined;
  /** Keeps a file as it is, or that there is none, so that `session undo` brings it back. Call it before a tool of effect `write` changes, makes or deletes one. Never throws. */
  snapshot(path: string): Promise<void>;
  /** The text as a model gets it: known secrets and what looks like a key are replaced by `[redacted]`. */
  redact(text: string): string;
  /** Keeps text outside the context and returns the path at which the `read` and `grep` tools find it; undefined where the disk takes nothing. */
  spill(text: string): Promise<string | undefined>;
  /** A path there at which nothing exists yet, for output that is too long to hold: `exec` writes to it. */
  spillPath(): Promise<string>;
}

export interface Tool {
  name: string;
  description: string;
  /** A zod schema, any Standard Schema that can give JSON Schema, or JSON Schema itself. */
  input: StandardSchema | JsonSchema;
  effect: Effect;
  /** The key under which the permission map rules it; its name by default. `edit`, `write`, `patch` share `edit`. */
  permission?: string;
  /** What the patterns of the permission map are matched against: a path, a command, a URL. `["*"]` by default. */
  patterns?(input: any, context: { cwd: string }): string[];
  /** Off unless the configuration or `--tools` names it. */
  optional?: boolean;
  /**
   * Asked before each request where neither the configuration nor `--tools` names the tool: false leaves it out of what the
   * model is told, and a call of it is answered all the same. `tools` are the names of those that the run may use. Each
   * change of mind costs the provider's cache of the session.
   */
  offer?(request: { model: string; sessionId: string; tools: readonly string[] }): boolean;
  /** Tools whose work it does: who switches all of these off, and does not name this one, switches it off with them. */
  insteadOf?: readonly string[];
  /** Its result is complete: the general cut at 2,000 lines and 50 KB is left out because the tool limits itself. */
  selfLimiting?: boolean;
  /** Throws to fail: the message of the error is what the model reads. */
  run(input: any, context: ToolContext): ToolOutput | Promise<ToolOutput>;
}

/** A tool as its author writes it: `run` gets what the schema gives. */
export interface ToolDefinition<S extends StandardSchema> extends Omit<Tool, "input" | "run" | "patterns" | "effect"> {
  input: S;
  /** "run" by default, the effect that permissions watch most closely. */
  effect?: Effect;
  patterns?(input: OutputOf<S>, context: { cwd: string }): string[];
  run(input: OutputOf<S>, context: ToolContext): ToolOutput | Promise<ToolOutput>;
}

export type OutputOf<S extends StandardSchema> = NonNullable<S["~standard"]["types"]>["output"];

/** Why a run, or a `toolAfter` hook, cannot have returned this, or undefined. */
export function findResultFault(result: unknown): string | undefined {
  const { output, title = "", metadata = {}, attachments = [] } = (result ?? {}) as Partial<ToolResult>;
  if (typeof output !== "string") return "it returned neither a string nor { output }.";
  if (typeof title !== "string") return "the title that it returned is not a string.";
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata)) return "the metadata that it returned is not an object.";
  const isAttached = Array.isArray(attachments) && attachments.every((file) => typeof file?.mediaType === "string" && typeof file.data === "string");
  return isAttached ? undefined : "the attachments that it returned are not a list of { mediaType, data }.";
}

const NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const EFFECTS: readonly string[] = ["read", "write", "run", "net", "ask"] satisfies Effect[];

/** Why this is no tool, or undefined. */
export function findToolFault(tool: unknown): string | undefined {
  const { name, description, input, effect, run, offer, insteadOf = [] } = (tool ?? {}) as Partial<Tool>;
  if (typeof name !== "string" || !NAME.test(name)) return `"${String(name)}" is not a tool name: use 1 to 64 letters, digits, _ and -.`;
  if (typeof description !== "string") return `the tool "${name}" has no description.`;
  if (typeof input !== "object" || input === null) return `the tool "${name}" has no schema of its input.`;
  if (effect === undefined || !EFFECTS.includes(effect)) return `the tool "${name}" has no effect: read, write, run, net or ask.`;
  if (typeof run !== "function") return `the tool "${name}" has no run function.`;
  if (offer !== undefined && typeof offer !== "function") return `the offer of the tool "${name}" is not a function.`;
  if (!Array.isArray(insteadOf)) return `the insteadOf of the tool "${name}" is not a list of names.`;
  const fault = findSchemaFault(input);
  return fault && `the input of the tool "${name}": ${fault}`;
}

/**
 * Defines a tool. The name has 1–64 letters, digits, `_` and `-`; a wrong one throws at once, in the author's face.
 *
 *     const hello = tool({ name: "hello", description: "Greet someone.", input: z.object({ name: z.string() }),
 *       run: ({ name }) => `Hello, ${name}!` });
 */
export function tool<S extends StandardSchema>(definition: ToolDefinition<S>): Tool;
export function tool(definition: Omit<Tool, "effect" | "input"> & { input: JsonSchema; effect?: Effect }): Tool;
export function tool(definition: Omit<Tool, "effect"> & { effect?: Effect }): Tool {
  if (!NAME.test(definition.name)) throw new TypeError(`"${definition.name}" is not a tool name: use 1 to 64 letters, digits, _ and -.`);
  return Object.freeze({ effect: "run" as const, ...definition });
}
