import { abortError, orAborted, wait } from "./abort.ts";
import { createAsk } from "./ask.ts";
import { readAttachments } from "./attach.ts";
import { createBackgroundTasks } from "./background.ts";
import { createCallDependencies, DEEPEST_NESTING, truncateIn } from "./call-context.ts";
import type { Channel } from "./channel.ts";
import { cleanText } from "./clean-text.ts";
import { Compaction } from "./compaction.ts";
import type { Config } from "./config.ts";
import { AgentError, toAgentError } from "./errors.ts";
import { EventSender } from "./event-sender.ts";
import type { AgentEvent, RunResult } from "./events.ts";
import { FENCE_ID_LENGTH, fence } from "./fence.ts";
import { resultOf } from "./hooks.ts";
import { newId, newSecret } from "./id.ts";
import { createSpending, limitsOf } from "./limits.ts";
import { type AskedStep, type LoopDependencies, type LoopEnd, runLoop } from "./loop.ts";
import { createLoopGuard } from "./loop-guard.ts";
import { type AssistantMessage, findMessageFault, type Message, messageText, NO_TOKENS, saysNothing, textMessage, userMessage } from "./message.ts";
import { openRoutes } from "./open-routes.ts";
import type { OpenedSession } from "./open-sessions.ts";
import { checkOutputSchema, readOutput } from "./output-schema.ts";
import { prepareRequest } from "./prepare-request.ts";
import { findProfile, type Profile, profileConfig } from "./profile.ts";
import { ancestorsOf, checkSpending, hookContext, type PromptEnvironment, type PromptRun, withinLimits } from "./prompt-run.ts";
import { withoutRefusedMedia } from "./refused-media.ts";
import { type Route, readRetry, route, withCompaction } from "./route.ts";
import { createRunWindow } from "./run-window.ts";
import type { PromptOptions, PromptRequest } from "./runtime.ts";
import { selectTools } from "./select-tools.ts";
import type { TaskOptions, TaskResult, Tool } from "./tool.ts";
import { answerCalls } from "./tool-call.ts";
import type { AskedCall } from "./turn.ts";

/** What starts a prompt; a task starts one with a parent. */
export interface PromptStart {
  request: PromptRequest;
  options: PromptOptions;
  signal: AbortSignal;
  channel: Channel<AgentEvent>;
  /** `begun` is told the id of the session once the prompt stands in it. */
  parent?: { run: PromptRun; task: TaskOptions; callId: string; begun?: ((sessionId: string) => void) | undefined };
}

/** Runs one prompt from the request to the result. Never rejects: a failure is a result. */
export async function runPrompt(start: PromptStart, environment: PromptEnvironment): Promise<RunResult> {
  const startedAt = performance.now();
  const { request, options, signal, channel, parent } = start;
  const { hooks } = environment;
  let opened: OpenedSession | undefined;
  let run: PromptRun | undefined;
  let failure: AgentError | undefined;
  let output: unknown;
  const deltas = parent?.run.deltas ?? options.deltas ?? false;
  const sender = new EventSender({ sessionId: request.session ?? "", channel, hooks, parent: parent?.run.sender, deltas });
  let detach = () => {};
  try {
    signal.throwIfAborted();
    checkMessage(request.message);
    opened = await (parent === undefined ? environment.openSession(request, options) : environment.openChild(parent.run.session.id, parent.task));
    sender.sessionId = opened.session.id;
    if (parent === undefined)
      detach = environment.notices.attach((facts) => (facts.type === "sandbox.unavailable" ? sender.sendOnce(facts) : sender.send(facts)));
    run = await beginPrompt(start, { environment, sender, deltas, ...opened });
    output = await answerPrompt(run, parent?.begun);
    if (run.unanswered !== undefined) throw run.unanswered;
  } catch (error) {
    failure = signal.aborted ? abortError(signal) : await environment.opener.advise(toAgentError(error), signal);
    sender.send({ type: "error", error: failure });
  }
  if (run !== undefined) await endBackground(run);
  await run?.durable;
  await opened?.session.settle().catch(() => {});
  opened?.release();
  const result = makeResult(run, { failure, output, sessionId: sender.sessionId, durationMs: performance.now() - startedAt });
  // What observers did wrong is told before the last event.
  if (parent === undefined && !signal.aborted) await hooks.drain();
  detach();
  sender.end({ type: "session.finish", result });
  return result;
}

function checkMessage(message: unknown): void {
  if (typeof message === "string" || (Array.isArray(message) && findMessageFault({ role: "user", content: message }) === undefined)) return;
  throw new AgentError("INPUT_INVALID", { line: 1, reason: "message must be a string or a list of parts." });
}

interface Beginning extends OpenedSession {
  environment: PromptEnvironment;
  sender: EventSender;
  deltas: boolean;
}

async function beginPrompt(
  { request, options, signal, channel, parent }: PromptStart,
  { environment, sender, deltas, session, resumed }: Beginning,
): Promise<PromptRun> {
  const profile = findProfile(request.agent, environment.config);
  const configNow = followMode({ options, parent }, profile, environment.config);
  const tools = new Map<string, Tool>();
  const run: PromptRun = {
    environment,
    request,
    session,
    get config() {
      return configNow();
    },
    profile,
    tools,
    renewTools: async () => {},
    toolStages: [{ by: "configuration", value: [] }],
    spending: createSpending(limitsOf(environment.options.limits, environment.config, profile)),
    guard: createLoopGuard(),
    fenceId: newSecret(FENCE_ID_LENGTH),
    sender,
    emit: (facts) => sender.send(facts),
    signal,
    channel,
    deltas,
    steer: options.steer ?? (() => []),
    whenSteered: options.whenSteered ?? (() => new Promise(() => {})),
    durable: Promise.resolve(),
    parent: parent?.run,
    background: createBackgroundTasks({ signal, state: session.state, count: parent?.run.background.count }),
    promptId: "",
    words: messageText(userMessage(request.message)),
    last: { text: "", steps: 0 },
  };
  run.emit({ type: "session.start", cwd: environment.cwd, resumed, title: session.meta.title, ...(parent && { callId: parent.callId }) });
  const renewTools = createRenewal(run, tools, parent?.task.disableTools);
  await renewTools();
  return Object.assign(run, { renewTools });
}

/** Chooses the tools, and once more where servers have brought others since. `tools` stays the same map: calls that run have it. */
function createRenewal(run: PromptRun, tools: Map<string, Tool>, withheld: string[] | undefined): () => Promise<void> {
  const { registry, hooks } = run.environment;
  let seen: number | undefined;
  return async () => {
    const refreshed = registry.refreshTools();
    const version = typeof refreshed === "number" ? refreshed : await orAborted(refreshed, run.signal);
    if (version === seen) return;
    seen = version;
    run.toolStages = await hooks.trace("tools", chooseTools(run, withheld), hookContext(run));
    tools.clear();
    for (const tool of resultOf(run.toolStages)) tools.set(tool.name, tool);
  };
}

function chooseTools(run: PromptRun, withheld: string[] = []): Tool[] {
  const { environment, config, profile } = run;
  const above = ancestorsOf(run).map((each) => each.profile);
  const { tools, mayCome } = environment.registry;
  return [...selectTools(tools, { options: environment.options, config, profile, withheld, above, mayCome }).values()];
}

/** The configuration of a run as it is now: its mode may change while it runs, and a profile may narrow it. */
function followMode({ options, parent }: Pick<PromptStart, "options" | "parent">, profile: Profile | undefined, config: Readonly<Config>) {
  const { permissionMode: given } = options;
  // A child may have another profile, but never a wider mode than its parent.
  const modeNow = () => (parent !== undefined ? parent.run.config.permissionMode : typeof given === "function" ? given() : given);
  const configOf = (permissionMode = config.permissionMode) => profileConfig({ ...config, ...(permissionMode !== undefined && { permissionMode }) }, profile);
  let mode = modeNow();
  let made = configOf(mode);
  return (): Readonly<Config> => {
    const now = modeNow();
    if (now !== mode) made = configOf(now);
    mode = now;
    return made;
  };
}

/** Appends to the session; what is kept holds no known secret. */
async function append(run: PromptRun, message: Message, { id, model }: { id: string; model?: string }): Promise<void> {
  const kept = run.environment.redactor.redactValue(message);
  await run.session.append({ id, at: Date.now(), ...(model !== undefined && { model, step: run.session.meta.steps }), message: kept });
}

/** The user's message, the calls that came with it, then the loop. Nothing is written before the model is known to be there. */
async function answerPrompt(run: PromptRun, begun?: (sessionId: string) => void): Promise<unknown> {
  const { request, environment } = run;
  if (saysNothing(request.message) && !request.tools?.length) throw new AgentError("INPUT_EMPTY");
  if (request.outputSchema !== undefined) await checkOutputSchema(request.outputSchema);
  const routes = request.noReply ? undefined : await openRoutes(run);
  const files = await readAttachments(request.files ?? [], environment.cwd, run.signal);
  run.promptId = newId("msg");
  await append(run, userMessage(request.message, files), { id: run.promptId });
  run.emit({ type: "prompt", messageId: run.promptId, text: run.words, ...(request.agent !== undefined && { agent: request.agent }) });
  begun?.(run.session.id);
  if (request.tools?.length) await runGivenCalls(request.tools, run);
  if (routes !== undefined) return askUntilValid(routes, run);
  await run.background.hasNews();
  return undefined;
}

/** `tools` of a request: told to the model as if it had called them, and run one after the other. */
async function runGivenCalls(given: NonNullable<PromptRequest["tools"]>, run: PromptRun): Promise<void> {
  const messageId = newId("msg");
  const calls = given.map(({ name, params }): AskedCall => ({ id: newId("call"), tool: name, input: JSON.stringify(params ?? {}) }));
  const asked = calls.map(({ id, tool }, index) => ({ type: "tool-call" as const, toolCallId: id, toolName: tool, input: given[index]?.params ?? {} }));
  const message: AssistantMessage = { role: "assistant", content: asked };
  await append(run, message, { id: messageId });
  run.emit({ type: "message", messageId, message, model: "", reason: "tool-calls", tokens: NO_TOKENS });
  const results: Message[] = [];
  for (const call of calls) results.push(...(await answerCalls([call], messageId, createCallDependencies(run, runTask))));
  const answers = results.flatMap((message) => (message.role === "tool" ? message.content : []));
  await append(run, { role: "tool", content: answers }, { id: newId("msg") });
  for (const message of results) if (message.role !== "tool") await append(run, message, { id: newId("msg") });
  run.signal.throwIfAborted();
}

/** Answers that do not satisfy the output schema are asked for again this often. */
const OUTPUT_RETRIES = 2;

async function askUntilValid(routes: Route[], run: PromptRun): Promise<unknown> {
  const { outputSchema } = run.request;
  const ask = await prepareLoop(routes, run);
  for (let attempt = 0; ; attempt++) {
    const { text, model } = await askToTheEnd(ask, run);
    if (outputSchema === undefined) return undefined;
    const output = await readOutput(text, outputSchema);
    if (output.reason === undefined) return output.value;
    if (attempt >= OUTPUT_RETRIES) throw new AgentError("OUTPUT_INVALID", { model, reason: output.reason });
    await append(run, textMessage(`Your answer does not satisfy the JSON Schema: ${output.reason} Answer again with the JSON value alone.`), {
      id: newId("msg"),
    });
  }
}

/** The model has the last word when it knows how all of its background tasks have ended, and what the user said meanwhile. */
async function askToTheEnd(ask: () => Promise<LoopEnd>, run: PromptRun): Promise<LoopEnd> {
  for (;;) {
    const end = await ask();
    if (!(await run.background.hasNews(run.whenSteered))) return end;
  }
}

/** How background tasks have ended joins the conversation as a user's words do. */
async function tellEnded(run: PromptRun): Promise<void> {
  const safe = (text: string) => run.environment.redactor.redact(cleanText(text));
  for (const { text, words } of run.background.takeEnded()) {
    const answer = words === "" ? "" : `\n${fence(run.fenceId, await truncateIn(run)(safe(words)), { tool: "task" })}`;
    await append(run, textMessage(safe(text) + answer), { id: newId("msg") });
  }
}

/** Nothing goes on after the run, and the next prompt of its session knows how each task has ended. */
async function endBackground(run: PromptRun): Promise<void> {
  await run.background.stop();
  await tellEnded(run);
}

/** Everything the loop asks for, bound to this run. */
async function prepareLoop(routes: Route[], run: PromptRun): Promise<() => Promise<LoopEnd>> {
  const { environment, config, guard } = run;
  const retry = readRetry(config.retry);
  const outside = { wait, now: Date.now, random: Math.random, rests: environment.rests };
  const toChain = (models: Route[]) => route(withoutRefusedMedia(models, run), retry, outside);
  const chain = toChain(routes);
  const window = await createRunWindow(run, routes);
  const request = await prepareRequest(run, window);
  const compaction = new Compaction(run, createAsk(run, chain, toChain));
  const calls = createCallDependencies(run, runTask);
  const dependencies: LoopDependencies = {
    route: withCompaction(withinLimits(chain, run, 1), async () => ((await compaction.afterOverflow()) ? request() : undefined)),
    async request() {
      for (const said of run.steer()) await append(run, userMessage(said), { id: newId("msg") });
      await tellEnded(run);
      const first = await request();
      return (await compaction.beforeRequest(first)) ? request() : first;
    },
    answer: async (asked, messageId) => warnOfLoop(run, asked, await answerCalls(asked, messageId, calls)),
    append: (message, origin) => append(run, message, origin),
    note(turn, model) {
      if (window.learn(turn, model)) compaction.note(turn.tokens);
      run.last = { text: turn.text, model, steps: run.last.steps + 1 };
    },
    finishStep: (step) => finishStep(run, step),
    checkLimits(step) {
      guard.check();
      checkSpending(run, step);
    },
    emit: run.emit,
    newId,
    now: Date.now,
    caughtUp: run.channel.caughtUp,
    signal: run.signal,
  };
  return () => runLoop(dependencies, run.last.steps + 1);
}

/** A step is told of as finished once it is safe on the disk; the next request need not wait for that. */
async function finishStep(run: PromptRun, { step, messageId, model, turn }: AskedStep): Promise<void> {
  await run.durable;
  const slash = model.indexOf("/");
  run.durable = run.sender.sendAfter(run.session.commit(), {
    type: "step.finish",
    step,
    messageId,
    partId: newId("prt"),
    reason: turn.reason,
    tokens: turn.tokens,
    ...(turn.costUsd !== undefined && { costUsd: turn.costUsd }),
    costSource: turn.costSource,
    ...(turn.cached && { cached: true }),
    model: {
      providerId: model.slice(0, slash),
      requestedModelId: model.slice(slash + 1),
      ...(turn.respondedModelId !== undefined && { respondedModelId: turn.respondedModelId }),
    },
  });
}

/** The model reads in the results that it repeats itself, before the run is stopped for it. */
function warnOfLoop({ guard, emit }: PromptRun, calls: AskedCall[], results: Message[]): Message[] {
  const times = guard.watch(calls, results);
  if (!guard.claimWarning(times)) return results;
  emit({ type: "loop.warning", calls: calls.map(({ tool }) => tool).join(", "), times });
  const warning: Message = textMessage(
    `(These calls came ${times} times in a row with the same result. Another repetition will not change it: try another way, or answer.)`,
  );
  return [...results, warning];
}

/** A task is a prompt like any other, in a session of its own, with this one as its parent. */
async function runTask(task: TaskOptions, run: PromptRun, callId: string): Promise<TaskResult> {
  const depth = ancestorsOf(run).length + 1;
  const limit = run.config.subagent_depth ?? DEEPEST_NESTING;
  if (depth > limit) throw new AgentError("NESTING_TOO_DEEP", { tool: "task", limit });
  const own = task.model ?? (task.agent === undefined ? undefined : run.config.agent?.[task.agent]?.model);
  const agent = task.agent ?? run.request.agent;
  const inherited = run.chain === undefined ? {} : { model: run.chain, fallback: [] };
  const models = own === undefined ? inherited : { model: own };
  const request = { message: task.prompt, ...models, ...(agent !== undefined && { agent }) };
  const runToEnd = async (signal: AbortSignal, begun?: (sessionId: string) => void) =>
    toTaskResult(await runPrompt({ request, options: {}, signal, channel: run.channel, parent: { run, task, callId, begun } }, run.environment));
  return task.background ? run.background.start(task, runToEnd) : runToEnd(run.signal);
}

const toTaskResult = ({ sessionId, text, status, error, costUsd, steps }: RunResult): TaskResult => ({
  sessionId,
  text,
  status,
  ...(error !== undefined && { error: error.message }),
  ...(costUsd !== undefined && { costUsd }),
  steps,
});

interface Ending {
  failure: AgentError | undefined;
  output: unknown;
  sessionId: string;
  durationMs: number;
}

function makeResult(run: PromptRun | undefined, { failure, output, sessionId, durationMs }: Ending): RunResult {
  const spending = run?.spending ?? createSpending({});
  // Nobody says what a request cost that failed.
  const isKnown = spending.costUsd !== undefined && (failure === undefined || (run?.last.steps ?? 0) > 0);
  return {
    sessionId,
    status: statusOf(failure),
    text: run?.last.text ?? "",
    ...(run?.last.model !== undefined && run.last.steps > 0 && { model: run.last.model }),
    steps: run?.last.steps ?? 0,
    ...(isKnown && { costUsd: spending.costUsd as number }),
    costSource: isKnown ? spending.costSource : "unknown",
    tokens: spending.tokens,
    durationMs: Math.round(durationMs),
    exitCode: failure?.exit ?? 0,
    persisted: run?.session.persisted ?? false,
    ...(output !== undefined && { output }),
    ...(failure !== undefined && { error: failure }),
  };
}

function statusOf(failure: AgentError | undefined): RunResult["status"] {
  if (failure === undefined) return "success";
  if (failure.code === "INTERRUPTED" || failure.code === "OUTPUT_CLOSED") return "interrupted";
  return failure.exit === 3 ? "limit" : "error";
}
