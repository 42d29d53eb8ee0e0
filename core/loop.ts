import { AgentError } from "./errors.ts";
import type { Emit } from "./events.ts";
import type { Message } from "./message.ts";
import { type ModelRequest, saysSomething } from "./request.ts";
import type { Route } from "./route.ts";
import type { AskedCall, Turn, TurnContext } from "./turn.ts";

/** What the loop is given. It can reach nothing else. */
export interface LoopDependencies {
  route: Route;
  /** System, messages and tools as they stand now. */
  request(): Promise<ModelRequest>;
  /** Answers the calls of one message, in their order: a tool message, and a user message where files came back. */
  answer(calls: AskedCall[], messageId: string): Promise<Message[]>;
  /** Writes to the session. Resolves when the operating system has it. */
  append(message: Message, origin: { id: string; model?: string }): Promise<void>;
  /** Is told of each answer once it is kept, before its tools run. */
  note(turn: Turn, model: string): void;
  /** Ends a step for good: what was appended survives a power loss from here on. */
  finishStep(step: AskedStep): Promise<void>;
  /** Throws when a limit, or a loop of calls without end, does not allow the request of this step. */
  checkLimits(step: number): void;
  emit: Emit;
  newId(prefix: "msg" | "prt" | "call"): string;
  now(): number;
  caughtUp: TurnContext["caughtUp"];
  signal: AbortSignal;
}

export interface AskedStep {
  step: number;
  messageId: string;
  model: string;
  turn: Turn;
}

/** How the loop ended by itself; everything else is thrown. */
export interface LoopEnd {
  text: string;
  model: string;
  steps: number;
}

/** Ask, run, repeat: asks the model, runs the tools it called, and repeats until it calls none. Steps are counted on from `first`. */
export async function runLoop(dependencies: LoopDependencies, first = 1): Promise<LoopEnd> {
  for (let step = first; ; step++) {
    dependencies.checkLimits(step);
    const asked = await askModel(step, dependencies);
    await runCalls(asked, dependencies);
    await dependencies.finishStep(asked);
    refuseUnfinished(asked);
    if (asked.turn.calls.length === 0) return { text: asked.turn.text, model: asked.model, steps: step };
  }
}

async function askModel(step: number, dependencies: LoopDependencies): Promise<AskedStep> {
  const { route, emit, newId, now, caughtUp, signal } = dependencies;
  signal.throwIfAborted();
  const messageId = newId("msg");
  const request = await dependencies.request();
  emit({ type: "step.start", step, messageId });
  const turn = await route.ask(request, { messageId, emit, newId, now, caughtUp, signal });
  const { model } = route;
  if (saysSomething(turn.message)) await dependencies.append(turn.message, { id: messageId, model });
  dependencies.note(turn, model);
  const { message, reason, tokens, costUsd } = turn;
  emit({ type: "message", messageId, message, model, reason, tokens, ...(costUsd !== undefined && { costUsd }) });
  return { step, messageId, model, turn };
}

async function runCalls({ turn, messageId }: AskedStep, dependencies: LoopDependencies): Promise<void> {
  if (turn.calls.length === 0) return;
  const results = isUnfinished(turn) ? [refuseCalls(turn.calls)] : await dependencies.answer(turn.calls, messageId);
  for (const message of results) await dependencies.append(message, { id: dependencies.newId("msg") });
}

const isUnfinished = (turn: Turn): boolean => turn.reason === "length" || turn.reason === "content-filter";

/** An answer that was cut is no success, though its text is kept. */
function refuseUnfinished({ turn, model }: AskedStep): void {
  if (turn.reason === "length") throw new AgentError("ANSWER_CUT", { model });
  if (turn.reason === "content-filter") throw new AgentError("CONTENT_REFUSED", { model, reason: "the provider's filter ended the answer." });
}

/** Calls of an answer that was cut are not run: their arguments may be cut, too. Each gets a result, so the history stays valid. */
function refuseCalls(calls: AskedCall[]): Message {
  const output = { type: "error-text" as const, value: "Not run: the answer was cut off before it was complete." };
  return { role: "tool", content: calls.map(({ id, tool }) => ({ type: "tool-result" as const, toolCallId: id, toolName: tool, output })) };
}
