import type { AgentError, AgentEvent, RunResult } from "agent-runtime";
import { cacheHitRate, type EventOf, type ToolState } from "agent-runtime/host";
import { TRUST_HINT } from "./output-text.ts";

/** One event as it stands on a line of `--output-format json`: opencode's names, and ours beside them. */
export interface JsonEvent {
  type: string;
  /** ms since 1970 */
  timestamp: number;
  /** "" where there is no session yet. */
  sessionID: string;
  [field: string]: unknown;
}

/**
 * What `--output-format json` prints of an event, or nothing. `deltas`: also text and tools while they come. Events of
 * a child session carry `parentSessionID`; how that child resolved its model and ended is its parent's tool result, or is
 * told to its parent's model.
 */
export function projectJson(event: AgentEvent, { deltas }: { deltas: boolean }): JsonEvent | undefined {
  const fields =
    event.parentId !== undefined && (event.type === "model.resolved" || event.type === "session.finish") ? undefined : projectFields(event, deltas);
  if (fields === undefined) return undefined;
  const { type, ...rest } = fields;
  return { type, timestamp: event.at, sessionID: event.sessionId, ...(event.parentId !== undefined && { parentSessionID: event.parentId }), ...rest };
}

type Fields = { type: string; [field: string]: unknown };

function projectFields(event: AgentEvent, deltas: boolean): Fields | undefined {
  switch (event.type) {
    case "session.start":
    case "message":
      return undefined;
    case "model.resolved":
      return projectModel(event);
    case "step.start":
      return { type: "step_start", part: part(event, { partId: `${event.messageId.replace(/^msg_/, "prt_")}-start`, type: "step-start" }) };
    case "text":
    case "reasoning":
      return { type: event.type, part: { ...part(event, { type: event.type }), text: event.text, time: { start: event.startedAt, end: event.endedAt } } };
    case "text.delta":
      return deltas ? { type: "text_delta", messageID: event.messageId, partID: event.partId, delta: event.delta } : undefined;
    case "reasoning.delta":
      return deltas ? { type: "reasoning_delta", messageID: event.messageId, partID: event.partId, delta: event.delta } : undefined;
    case "text.void":
      return { type: "text_void", messageID: event.messageId, reason: event.reason };
    case "tool.start":
      return deltas ? { type: "tool_start", part: toolPart(event, { status: "running", input: event.input }) } : undefined;
    case "tool.progress":
      return deltas ? projectProgress(event) : undefined;
    case "tool.finish":
      return { type: "tool_use", part: toolPart(event, projectState(event.input, event.state)) };
    case "step.finish":
      return projectStep(event);
    case "retry":
      return { type: "retry", attempt: event.attempt, delayMs: event.delayMs, error: event.error, model: event.model };
    case "fallback":
      return { type: "fallback", from: event.from, to: event.to, error: event.error };
    case "prompt":
      return undefined;
    case "session.finish":
      return { type: "result", ...projectResult(event.result) };
    case "error":
      return { type: "error", error: projectError(event.error) };
    default:
      return projectNotice(event);
  }
}

type Notice = EventOf<
  | "permission.request"
  | "compaction"
  | "cache.broken"
  | "loop.warning"
  | "plugin.error"
  | "config.untrusted"
  | "sandbox.unavailable"
  | "store.degraded"
  | "store.recovered"
>;

function projectNotice(event: Notice): Fields {
  switch (event.type) {
    case "permission.request":
      return projectAsked(event);
    case "compaction":
      return projectCompaction(event);
    case "cache.broken":
      return { type: "cache_broken", by: event.by, part: event.part };
    case "loop.warning":
      return { type: "loop_warning", calls: event.calls, times: event.times };
    case "plugin.error":
      return { type: "plugin_error", plugin: event.plugin, ...(event.hook !== undefined && { hook: event.hook }), message: event.message };
    case "config.untrusted":
      return { type: "untrusted_config", keys: event.keys, files: event.files, reason: event.changed ? "changed" : "untrusted", hint: TRUST_HINT };
    case "sandbox.unavailable":
      return { type: "sandbox_unavailable", reason: event.reason };
    case "store.degraded":
      return { type: "store_degraded", path: event.path, reason: event.reason };
    case "store.recovered":
      return {
        type: "store_recovered",
        path: event.path,
        kept: event.kept,
        lost: event.lost,
        ...(event.quarantine !== undefined && { quarantine: event.quarantine }),
      };
    default:
      event satisfies never;
      return { type: "unknown" };
  }
}

const projectAsked = ({ id, callId, tool, patterns, title, always, question, options }: EventOf<"permission.request">): Fields => ({
  type: "permission_request",
  id,
  callID: callId,
  tool,
  patterns,
  title,
  ...(always !== undefined && { always }),
  ...(question !== undefined && { question }),
  ...(options !== undefined && { options }),
});

const projectCompaction = ({ reason, before, after, tokensBefore, tokensAfter, model, tokens, costUsd }: EventOf<"compaction">): Fields => ({
  type: "compaction",
  reason,
  before,
  after,
  tokensBefore,
  tokensAfter,
  ...(model !== undefined && { model, tokens, cost: costUsd ?? null }),
});

type PartEvent = { sessionId: string; messageId: string; partId?: string };

const part = (event: PartEvent, { type, partId = event.partId ?? "" }: { type: string; partId?: string }) => ({
  id: partId,
  messageID: event.messageId,
  sessionID: event.sessionId,
  type,
});

const toolPart = (event: PartEvent & { callId: string; tool: string }, state: Record<string, unknown>) => ({
  ...part(event, { type: "tool" }),
  callID: event.callId,
  tool: event.tool,
  state,
});

function projectModel({ requested, selector, providerId, modelId, source, matchesRequest }: EventOf<"model.resolved">): Fields {
  return { type: "model_resolved", requested, selector, providerID: providerId, modelID: modelId, source, matchesRequest };
}

function projectState(input: unknown, state: ToolState): Record<string, unknown> {
  const time = { start: state.startedAt, end: state.endedAt };
  if (state.status === "completed") return { status: "completed", input, output: state.output, title: state.title, metadata: state.metadata, time };
  return { status: "error", input, error: state.error, ...(state.metadata && { metadata: state.metadata }), time };
}

function projectProgress(event: EventOf<"tool.progress">): Fields {
  const { title, output, metadata } = event;
  const state = {
    status: "running",
    ...(title !== undefined && { title }),
    ...(output !== undefined && { output }),
    ...(metadata !== undefined && { metadata }),
  };
  return { type: "tool_progress", part: toolPart(event, state) };
}

function projectStep(event: EventOf<"step.finish">): Fields {
  const { model } = event;
  return {
    type: "step_finish",
    part: {
      ...part(event, { type: "step-finish" }),
      reason: event.reason,
      cost: event.costUsd ?? null,
      costSource: event.costSource,
      ...(event.cached && { cached: true }),
      tokens: event.tokens,
      cacheHitRate: cacheHitRate(event.tokens),
      model: { providerID: model.providerId, requestedModelID: model.requestedModelId, respondedModelID: model.respondedModelId ?? null },
    },
  };
}

/** `cost` is null where it is not known, which is not the same as 0. */
export function projectResult(result: RunResult): Record<string, unknown> {
  return {
    status: result.status,
    text: result.text,
    model: result.model ?? null,
    steps: result.steps,
    cost: result.costUsd ?? null,
    costSource: result.costSource,
    tokens: result.tokens,
    cacheHitRate: cacheHitRate(result.tokens),
    durationMs: result.durationMs,
    exitCode: result.exitCode,
    persisted: result.persisted,
    ...(result.output !== undefined && { output: result.output }),
    ...(result.error && { error: projectError(result.error) }),
  };
}

/** `data.message` repeats the message where readers of opencode's events look for it. */
export function projectError(error: AgentError): Record<string, unknown> {
  return { name: error.name, code: error.code, message: error.message, hint: error.hint, data: { ...error.data, message: error.message } };
}
