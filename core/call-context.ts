import { dirname } from "node:path";
import { type Confine, checkConfinement } from "./confine.ts";
import { AgentError } from "./errors.ts";
import type { ToolCall } from "./hooks.ts";
import { newId } from "./id.ts";
import { acceptsMedia } from "./modalities.ts";
import { type AskDependencies, permit, putQuestion } from "./permission.ts";
import { createPlaces, type TakePlace } from "./places.ts";
import { offerNow } from "./prepare-request.ts";
import { hookContext, type PromptRun, permissionCeilings, rootOf } from "./prompt-run.ts";
import { check } from "./schema.ts";
import type { CallWatch } from "./snapshot.ts";
import type { TaskOptions, TaskResult, Tool, ToolContext, ToolResult } from "./tool.ts";
import { answerCall, authorise, type CallDependencies, type CallPlace } from "./tool-call.ts";
import { truncateOutput } from "./truncate.ts";

/** Calls inside calls, and tasks inside tasks, are refused beyond this depth. */
export const DEEPEST_NESTING = 3;

/** Calls of one level that run at the same time: those of the model, those that they make, and so on. */
const PARALLEL_CALLS = 16;

/** What the calls of one run may use. A call made by a tool goes the same way as one of the model. */
export function createCallDependencies(run: PromptRun, runTask: RunTask): CallDependencies {
  const { environment, tools, emit, signal } = run;
  const { hooks, redactor } = environment;
  const ratio = run.config.toolOutput?.ratio;
  // A call waits only for deeper ones, so no level waits for itself.
  const levels = Array.from({ length: DEEPEST_NESTING + 1 }, () => createPlaces(PARALLEL_CALLS));
  const dependencies: CallDependencies = {
    tools,
    isOffered: (tool) => offerNow(run)(tool),
    before: (call) => hooks.transform("toolBefore", call, hookContext(run)),
    after: (result, call) => hooks.transform("toolAfter", result, call, hookContext(run)),
    permit: (request) => permit(request, { ...askOf(run), hooks, grants: environment.grants, context: hookContext(run), ceilings: permissionCeilings(run) }),
    check: (tool, input) => check(tool.input, input),
    contextOf: (call, place, watch) => createToolContext(run, { call, place, watch, dependencies, runTask }),
    watch: (tool) => watchCall(run, tool),
    compress: async (text) => (ratio === undefined ? text : (await import("./compress.ts")).compressOutput(text, ratio, spillOf(run))),
    truncate: truncateIn(run),
    takePlace: (depth) => (levels[depth] as TakePlace)(signal),
    onError(error) {
      if (error.code === "QUESTION_UNANSWERED") rootOf(run).unanswered ??= error;
    },
    redact: redactor.redact,
    redactKnown: (input) => redactor.redactValue(input, { knownOnly: true }),
    fenceId: run.fenceId,
    emit,
    newId,
    now: Date.now,
    signal,
    cwd: environment.cwd,
  };
  return dependencies;
}

const spillOf =
  ({ environment, session }: PromptRun) =>
  (text: string) =>
    environment.spill(session.id, text);

/** Cuts what is too long for the conversation of this run. */
export const truncateIn =
  (run: PromptRun) =>
  (text: string): Promise<string> =>
    truncateOutput(text, spillOf(run), { lines: run.config.tool_output?.max_lines, bytes: run.config.tool_output?.max_bytes });

const askOf = ({ environment, emit, signal }: PromptRun): AskDependencies => ({ ask: environment.options.ask, emit, newId, signal });

/** `callId`: the call of the model that the task belongs to. */
export type RunTask = (task: TaskOptions, run: PromptRun, callId: string) => Promise<TaskResult>;

/** What a task changes is kept with the session that the task was given in, at its step: undoing that one takes it back. */
function watchCall(run: PromptRun, { effect }: Tool): CallWatch | undefined {
  if (run.config.snapshot === false || (effect !== "write" && effect !== "run")) return undefined;
  const { session } = rootOf(run);
  const { paths, secretFiles, log } = run.environment;
  return session.snapshots?.watch({ step: session.meta.steps, isCommand: effect === "run", paths, isSecret: secretFiles.isSecret, log });
}

interface RunningCall {
  runTask: RunTask;
  call: ToolCall;
  place: CallPlace;
  watch: CallWatch | undefined;
  dependencies: CallDependencies;
}

function createToolContext(run: PromptRun, { call, place, watch, dependencies, runTask }: RunningCall): ToolContext {
  const { environment, session, emit, signal } = run;
  const { cwd, fetch, exec, paths, log, hooks } = environment;
  return {
    cwd,
    sessionId: session.id,
    callId: call.id,
    signal,
    fetch,
    exec: async (file, args, options) => {
      const env = await hooks.transform("env", options.env ?? {}, hookContext(run));
      const { confine: _, ...own } = options;
      return exec(file, args, { ...own, env, ...(await confineCall(run, dependencies.tools.get(call.tool))) });
    },
    paths,
    state: session.state,
    log,
    depth: place.depth,
    model: run.last.model ?? "",
    progress(update) {
      if (update.title !== undefined) place.onTitle?.(update.title);
      emit({ type: "tool.progress", messageId: place.messageId, partId: place.partId, callId: call.id, tool: call.tool, ...update });
    },
    call: (tool, input) => callTool(tool, input, { place, dependencies }),
    ask: (question) => putQuestion(question, call, askOf(run)),
    permit: async (input) => void (await authorise(dependencies.tools.get(call.tool) as Tool, { ...call, input }, dependencies)),
    accepts: (mediaType) =>
      run.last.model === undefined ? undefined : acceptsMedia(run.last.model, mediaType, { config: run.config, refused: environment.refusedMedia }),
    snapshot: async (path) => watch?.keep(path),
    redact: environment.redactor.redact,
    runTask: (options) => runTask(options, run, place.callId),
    spill: (text) => environment.spill(session.id, text),
    spillPath: () => environment.spillPath(session.id),
  };
}

/** What tools run for the model is kept in bounds. What they only read with is our own doing, such as ripgrep. */
async function confineCall(run: PromptRun, tool: Tool | undefined): Promise<{ confine?: Confine }> {
  if (tool?.effect === "read" || tool?.effect === "net") return {};
  const { confining, secretFiles, spillPath } = run.environment;
  const found = await confining({ config: run.config, secretFiles, readable: [dirname(await spillPath(run.session.id))] });
  if (found.missing !== undefined) run.sender.sendOnce({ type: "sandbox.unavailable", reason: found.missing });
  checkConfinement(found, run.config);
  return found.confine === undefined ? {} : { confine: found.confine };
}

async function callTool(tool: string, input: unknown, { place, dependencies }: Pick<RunningCall, "place" | "dependencies">): Promise<ToolResult> {
  const depth = place.depth + 1;
  if (depth > DEEPEST_NESTING) throw new AgentError("NESTING_TOO_DEEP", { tool, limit: DEEPEST_NESTING });
  const asked = { id: newId("call"), tool, input: JSON.stringify(input ?? {}) };
  const { output, state } = await answerCall(asked, { ...place, partId: newId("prt"), depth }, dependencies);
  if (state.status === "error") throw new Error(state.error);
  return output;
}
