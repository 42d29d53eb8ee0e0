import { orAborted } from "./abort.ts";
import { cleanCounted, cleanText, withoutControls } from "./clean-text.ts";
import { AgentError, errorMessage } from "./errors.ts";
import type { Emit, ToolState } from "./events.ts";
import { fence } from "./fence.ts";
import type { PermissionRequest, PermissionVerdict, ToolCall } from "./hooks.ts";
import { type FilePart, type Message, type ToolResultPart, toolFilesMessage } from "./message.ts";
import type { Checked } from "./schema.ts";
import type { CallWatch } from "./snapshot.ts";
import { type Attachment, findResultFault, type Tool, type ToolContext, type ToolOutput, type ToolResult } from "./tool.ts";
import { type AskedCall, parseInput } from "./turn.ts";

/** What answering a call needs; a nested call gets the same, one level deeper. */
export interface CallDependencies {
  tools: ReadonlyMap<string, Tool>;
  /** Whether the model is told of the tool now. */
  isOffered(tool: Tool): boolean;
  /** The hooks `toolBefore` and `toolAfter`. */
  before(call: ToolCall): Promise<ToolCall>;
  after(result: ToolResult, call: ToolCall): Promise<ToolResult>;
  /** Asks hooks and, where they say so, a person. */
  permit(request: PermissionRequest): Promise<PermissionVerdict>;
  check(tool: Tool, input: unknown): Promise<Checked>;
  /** Everything the tool may touch. */
  contextOf(call: ToolCall, place: CallPlace, watch: CallWatch | undefined): ToolContext;
  /** Keeps what the call changes; undefined where nothing is kept. */
  watch(tool: Tool): CallWatch | undefined;
  /** Shortens a long output where the configuration wants it. */
  compress(text: string): Promise<string>;
  truncate(text: string): Promise<string>;
  /** Waits until a call of this depth may run; what it gives ends its turn. Rejects when the run is aborted. */
  takePlace(depth: number): Promise<() => void>;
  /** Is told of each error of the table that a call ends with. */
  onError(error: AgentError): void;
  redact(text: string): string;
  /** Takes known secrets, and nothing else, out of what a model wants done. */
  redactKnown(input: unknown): unknown;
  /** Of the fences around what comes from outside. */
  fenceId: string;
  emit: Emit;
  newId(prefix: "prt" | "call"): string;
  now(): number;
  signal: AbortSignal;
  cwd: string;
}

/** Where a call stands: the message and the call in it that made it, itself or another, and how deep it is nested in other calls. */
export interface CallPlace {
  messageId: string;
  callId: string;
  partId: string;
  depth: number;
  /** A secret was taken out of the input of the call that made it. */
  isRedacted?: boolean;
  /** Is told how far the call is. */
  onTitle?(title: string): void;
  /** Is told that the call is made. */
  onRun?(source: CallSource): void;
}

/**
 * Answers the calls of one message, as many at a time as there are places. The results stand in the order of the calls; a
 * failed call is a result like any other, and so is one that an abort has ended.
 */
export async function answerCalls(calls: AskedCall[], messageId: string, dependencies: CallDependencies): Promise<Message[]> {
  const { newId } = dependencies;
  const answers = await Promise.all(calls.map((asked) => answerCall(asked, { messageId, callId: asked.id, partId: newId("prt"), depth: 0 }, dependencies)));
  const results = answers.map((answer, index): ToolResultPart => {
    const { id, tool } = calls[index] as AskedCall;
    const value = fenceAnswer(answer, dependencies);
    return { type: "tool-result", toolCallId: id, toolName: tool, output: { type: answer.state.status === "error" ? "error-text" : "text", value } };
  });
  return [{ role: "tool", content: results }, ...attachmentMessage(answers.flatMap(({ output }) => output.attachments ?? []))];
}

/**
 * What a tool says once it runs may quote anybody, so it stands in a fence. Not so what the runtime says of a call that was
 * not made, the words of a person, and the line with which a tool that writes confirms it.
 */
function fenceAnswer({ output: { output }, source }: AnsweredCall, { fenceId, redact }: CallDependencies): string {
  if (source === undefined || source.tool.effect === "ask") return output;
  if (source.tool.effect === "write" && !output.includes("\n")) return output;
  return fence(fenceId, output, { tool: source.tool.name, from: describePatterns(source.patterns, redact) });
}

/** What the call is about, as the rules of `permission` see it. */
function describePatterns([first, ...more]: string[], redact: CallDependencies["redact"]): string | undefined {
  if (first === undefined || first === "" || first === "*" || first === ".") return undefined;
  return redact(cleanText(more.length === 0 ? first : `${first} (+${more.length})`));
}

function attachmentMessage(attachments: Attachment[]): Message[] {
  if (attachments.length === 0) return [];
  const files = attachments.map(
    ({ mediaType, data, filename }): FilePart => ({ type: "file", mediaType, data, ...(filename !== undefined && { filename: withoutControls(filename) }) }),
  );
  return [toolFilesMessage(files)];
}

export interface AnsweredCall {
  output: ToolResult;
  state: ToolState;
  /** Who speaks; undefined where the call was not made. */
  source?: CallSource | undefined;
}

/** A tool that runs, and what its call was judged by. */
interface CallSource {
  tool: Tool;
  patterns: string[];
}

/** before → validate → permission → run → after → truncate. What is judged is what runs: the input as the schema gives it. */
export async function answerCall(asked: AskedCall, place: CallPlace, dependencies: CallDependencies): Promise<AnsweredCall> {
  const { emit, now, signal } = dependencies;
  // Who has got none has been aborted, and is answered all the same.
  const leave = await dependencies.takePlace(place.depth).catch(() => () => {});
  const startedAt = now();
  const shown = { messageId: place.messageId, partId: place.partId, callId: asked.id, tool: asked.tool, input: parseInput(asked.input) ?? asked.input };
  emit({ type: "tool.start", ...shown });
  let lastTitle = "";
  let source: CallSource | undefined;
  const told = { onTitle: (title: string) => (lastTitle = title), onRun: (running: CallSource) => (source = running) };
  const running = runCall(asked, { ...place, ...told }, dependencies);
  const answered = await orAborted(running, signal).then(
    (result): AnsweredCall => ({
      output: result,
      state: { status: "completed", output: result.output, title: result.title ?? "", metadata: result.metadata ?? {}, startedAt, endedAt: now() },
    }),
    (error: unknown): AnsweredCall => {
      const failure = signal.aborted && lastTitle !== "" ? `${describeFailure(error)}\nIt was at: ${lastTitle}` : describeFailure(error);
      const text = dependencies.redact(cleanText(failure));
      if (error instanceof AgentError) dependencies.onError(error);
      const code = error instanceof AgentError ? { code: error.code } : {};
      return { output: { output: text }, state: { status: "error", error: text, ...code, startedAt, endedAt: now() } };
    },
  );
  leave();
  const { tool, patterns } = source ?? {};
  emit({ type: "tool.finish", ...shown, state: answered.state, ...(tool && patterns && { source: { effect: tool.effect, patterns } }) });
  return { ...answered, source };
}

/** A call that may be made, and what it was judged by. */
interface JudgedCall {
  tool: Tool;
  call: ToolCall;
  isRedacted: boolean;
  effect?: PermissionVerdict["effect"];
  patterns: string[];
}

async function runCall(asked: AskedCall, place: CallPlace, dependencies: CallDependencies): Promise<ToolResult> {
  dependencies.signal.throwIfAborted();
  const judged = await judgeCall(asked, place, dependencies);
  const { tool, call, isRedacted, effect, patterns } = judged;
  // What is known to change nothing need not be watched.
  const watch = effect === "read" ? undefined : dependencies.watch(tool);
  const run = () => {
    place.onRun?.({ tool, patterns });
    return tool.run(call.input, dependencies.contextOf(call, { ...place, isRedacted }, watch));
  };
  const output = await runWatched(run, watch, dependencies.signal);
  return showResult(await dependencies.after(toResult(output, tool), call), tool, dependencies);
}

/** before → validate → permission, without the secrets that a model has put into the call. Throws where it is not made. */
async function judgeCall(asked: AskedCall, place: CallPlace, dependencies: CallDependencies): Promise<JudgedCall> {
  const tool = findTool(asked.tool, dependencies);
  const input = readInput(asked);
  const safe = dependencies.redactKnown(input);
  const isRedacted = place.isRedacted === true || safe !== input;
  // The mark would stand in the file for good.
  if (isRedacted && tool.effect === "write") throw new AgentError("SECRET_INPUT", { tool: tool.name });
  const call = await dependencies.before({ id: asked.id, tool: asked.tool, input: safe });
  const checked = await dependencies.check(tool, call.input);
  if (checked.reason !== undefined) throw new AgentError("TOOL_INPUT_INVALID", { tool: tool.name, reason: checked.reason });
  const judged = { ...call, input: checked.value };
  return { tool, call: judged, isRedacted, ...(await authorise(tool, judged, dependencies)) };
}

/** The result as a model may see it. */
async function showResult(result: ToolResult, tool: Tool, dependencies: CallDependencies): Promise<ToolResult> {
  // Redacted before it is cut: a cut through the middle of a secret would hide it.
  const whole = dependencies.redact(cleanOutput(result.output, tool));
  // What a tool reads stands there word by word: edits depend on it.
  const output = tool.effect === "read" ? whole : await dependencies.compress(whole);
  const title = result.title === undefined ? {} : { title: withoutControls(result.title) };
  return { ...result, ...title, output: tool.selfLimiting ? output : await dependencies.truncate(output) };
}

/** Whoever edits what was read has to know that there is more than is shown. */
function cleanOutput(output: string, { effect }: Tool): string {
  const { text, removed } = cleanCounted(output);
  if (removed === 0 || effect !== "read") return text;
  const noun = removed === 1 ? "character is" : "characters are";
  return `${text}\n(${removed} control or invisible ${noun} not shown.)`;
}

/** Whatever becomes of the call, what it changed is recorded. The result does not wait for that: who has to, does (see Snapshots). */
async function runWatched(run: () => ReturnType<Tool["run"]>, watch: CallWatch | undefined, signal: AbortSignal): Promise<ToolOutput> {
  await watch?.begin();
  try {
    signal.throwIfAborted();
    return await run();
  } finally {
    void watch?.end();
  }
}

function findTool(name: string, { tools, isOffered }: Pick<CallDependencies, "tools" | "isOffered">): Tool {
  const tool = tools.get(name);
  if (tool !== undefined) return tool;
  const offered = [...tools.values()].filter(isOffered).map((each) => each.name);
  throw new AgentError("TOOL_NOT_FOUND", { name: name.slice(0, 100), known: offered.sort().join(", ") });
}

const RAW_EXCERPT = 200;

function readInput({ tool, input }: AskedCall): unknown {
  const value = parseInput(input);
  if (value === undefined) throw new AgentError("TOOL_INPUT_INVALID", { tool, reason: `this is not JSON: ${input.slice(0, RAW_EXCERPT)}` });
  return value;
}

/** The effect of the call where it is known, and what it was judged by. Throws PERMISSION_DENIED where it may not be made. */
export async function authorise(
  tool: Tool,
  call: ToolCall,
  { permit, cwd }: Pick<CallDependencies, "permit" | "cwd">,
): Promise<{ effect?: PermissionVerdict["effect"]; patterns: string[] }> {
  const patterns: unknown = tool.patterns === undefined ? ["*"] : tool.patterns(call.input, { cwd });
  // Anything else matches no rule, and so would pass those that deny.
  if (!isTexts(patterns)) throw new AgentError("TOOL_FAILED", { tool: tool.name, reason: "its patterns are not a list of strings." });
  const verdict = await permit({
    tool: tool.name,
    permission: tool.permission ?? tool.name,
    effect: tool.effect,
    input: call.input,
    patterns,
    callId: call.id,
  });
  if (verdict.decision !== "allow") throw new AgentError("PERMISSION_DENIED", { reason: verdict.reason ?? `${tool.name} is not allowed here.` });
  return { ...(verdict.effect !== undefined && { effect: verdict.effect }), patterns };
}

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((text) => typeof text === "string");

function toResult(output: ToolOutput, tool: Tool): ToolResult {
  if (typeof output === "string") return { output };
  const fault = findResultFault(output);
  if (fault !== undefined) throw new AgentError("TOOL_FAILED", { tool: tool.name, reason: fault });
  return output;
}

const describeFailure = (error: unknown): string => (error instanceof AgentError ? error.text : errorMessage(error));
