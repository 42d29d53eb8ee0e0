import { randomUUID } from "node:crypto";
import type { AgentError, AgentEvent, RunResult } from "agent-runtime";
import type { EventOf } from "agent-runtime/host";
import { runUsage, toClaudeMessage } from "./claude-message.ts";
import { ClaudeStream } from "./claude-stream.ts";
import { ClaudeUse } from "./claude-use.ts";
import { holdWords } from "./held-deltas.ts";
import { toJsonLine } from "./json-line.ts";
import type { PermissionMode } from "./options.ts";
import type { Output, OutputOptions } from "./output.ts";
import { projectError } from "./output-json.ts";
import { createTextProjection, formatError } from "./output-text.ts";

/** One line of `--output-format stream-json`, as Claude Code prints it. */
export type ClaudeLine = { type: string; [field: string]: unknown };

/** What `system/init` says besides the session and the model. */
export interface ClaudeFacts {
  version: string;
  cwd: string;
  tools: string[];
  permissionMode: PermissionMode;
  agents: string[];
  servers: { name: string; status: string }[];
  maxRetries: number;
}

export interface ClaudeOptions {
  /** Also what is written as it comes: `stream_event`. */
  partial: boolean;
  /** The input of a call that somebody is asked about. */
  askedInput(id: string): Record<string, unknown>;
}

/** Our modes in Claude Code's words. */
export const CLAUDE_WORD_OF = { auto: "auto", ask: "default", plan: "plan", readonly: "dontAsk", yolo: "bypassPermissions" } as const satisfies Record<
  PermissionMode,
  string
>;

/**
 * Turns the events of a command's prompts into Claude Code's messages. Lives as long as the command: cost and use are
 * counted over all its prompts, as `result` states them. Frames of a task carry the call that started it.
 */
export class ClaudeProjection {
  /** Of the prompt at hand; known once the runtime is. */
  facts: ClaudeFacts | undefined;
  readonly #options: ClaudeOptions;
  readonly #notice = createTextProjection({ deltas: false, terminal: false });
  readonly #use = new ClaudeUse();
  #sessionId = "";
  #model = "";
  /** Of each session that runs: its stream, when its step began, and the call that it belongs to. */
  #streams = new Map<string, ClaudeStream>();
  #stepAt = new Map<string, number>();
  #callOf = new Map<string, string>();
  /** Calls that the reader has seen and that have no result yet. */
  #calls = new Set<string>();
  /** The answer at hand has called tools. */
  #isInTools = false;

  constructor(options: ClaudeOptions = { partial: false, askedInput: () => ({}) }) {
    this.#options = options;
  }

  project(event: AgentEvent): ClaudeLine[] {
    switch (event.type) {
      case "session.start":
        return this.#enter(event);
      case "model.resolved":
        return event.parentId === undefined ? [this.#init(event.selector)] : [];
      case "step.start":
        return this.#beginStep(event);
      case "text.delta":
      case "reasoning.delta":
        return this.#options.partial ? this.#frames(event, this.#streamOf(event).grow(event, this.#model)) : [];
      case "text":
      case "reasoning":
        return this.#frames(event, this.#streamOf(event).endBlock(event));
      case "text.void":
        return this.#voidText(event);
      case "message":
        return this.#say(event);
      case "tool.finish":
        return this.#answerCall(event);
      case "tool.start":
      case "tool.progress":
      case "step.finish":
        return [];
      case "retry":
        return [this.#retry(event)];
      case "permission.request":
        return [this.#ask(event)];
      case "compaction":
        return [this.#line("system", { subtype: "compact_boundary", compact_metadata: { trigger: "auto", pre_tokens: this.#use.lastInput } })];
      case "error":
        return this.#frames(event, this.#streamOf(event).abandon());
      case "session.finish":
        return event.parentId === undefined ? [this.result(event.result)] : this.#leave(event);
      default:
        return this.#inform(event);
    }
  }

  /** An error that belongs to no run: of a frame, of the configuration. */
  error(error: AgentError): ClaudeLine {
    return this.#line("system", { subtype: "informational", level: "warning", content: error.message, error: projectError(error) });
  }

  result(result: RunResult): ClaudeLine {
    const error = result.error;
    const told = this.#use.take(result);
    const ending =
      error === undefined
        ? { subtype: "success", is_error: false, result: result.text, terminal_reason: "completed" }
        : { subtype: subtypeOf(error.code), is_error: true, errors: [error.text], error: projectError(error), ...this.#reasonOf(error) };
    this.#calls.clear();
    return this.#line("result", {
      ...ending,
      duration_ms: result.durationMs,
      duration_api_ms: told.apiMs,
      num_turns: result.steps,
      stop_reason: told.stopReason,
      total_cost_usd: told.costUsd,
      cost_source: told.costSource,
      usage: runUsage(told.tokens),
      modelUsage: told.models,
      permission_denials: told.denials,
      ...(result.output !== undefined && { structured_output: result.output }),
    });
  }

  #line(type: string, { subtype, ...fields }: Record<string, unknown>): ClaudeLine {
    return { type, ...(subtype !== undefined && { subtype }), ...fields, session_id: this.#sessionId, uuid: randomUUID() };
  }

  #parentOf = ({ sessionId }: AgentEvent): string | null => this.#callOf.get(sessionId) ?? null;

  #streamOf({ sessionId }: AgentEvent): ClaudeStream {
    const stream = this.#streams.get(sessionId) ?? new ClaudeStream();
    this.#streams.set(sessionId, stream);
    return stream;
  }

  #frames(event: AgentEvent, frames: { type: string }[]): ClaudeLine[] {
    return frames.map((frame) => this.#line("stream_event", { event: frame, parent_tool_use_id: this.#parentOf(event) }));
  }

  #enter(event: EventOf<"session.start">): ClaudeLine[] {
    if (event.parentId === undefined) {
      this.#sessionId = event.sessionId;
      this.#isInTools = false;
    } else this.#callOf.set(event.sessionId, event.callId ?? "");
    return [];
  }

  #beginStep({ sessionId, parentId, at }: EventOf<"step.start">): ClaudeLine[] {
    this.#stepAt.set(sessionId, at);
    if (parentId === undefined) this.#isInTools = false;
    return [];
  }

  #leave({ sessionId }: AgentEvent): ClaudeLine[] {
    for (const kept of [this.#streams, this.#stepAt, this.#callOf]) kept.delete(sessionId);
    return [];
  }

  #init(model: string): ClaudeLine {
    this.#model = model;
    const { version = "", cwd = "", tools = [], permissionMode = "auto", agents = [], servers = [] } = this.facts ?? {};
    return this.#line("system", {
      subtype: "init",
      cwd,
      model,
      tools,
      mcp_servers: servers.map(({ name, status }) => ({ name, status })),
      permissionMode: CLAUDE_WORD_OF[permissionMode],
      apiKeySource: "none",
      agents,
      slash_commands: [],
      skills: [],
      plugins: [],
      output_style: "default",
      claude_code_version: version,
    });
  }

  #voidText(event: EventOf<"text.void">): ClaudeLine[] {
    const frames = this.#frames(event, this.#streamOf(event).abandon());
    if (frames.length === 0) return [];
    const content = `what was streamed of ${event.messageId} does not count: ${event.reason}`;
    return [...frames, this.#line("system", { subtype: "informational", level: "notice", content })];
  }

  #say(event: EventOf<"message">): ClaudeLine[] {
    if (event.parentId === undefined) {
      this.#model = event.model || this.#model;
      this.#isInTools = event.reason === "tool-calls";
    }
    this.#use.add(event, event.at - (this.#stepAt.get(event.sessionId) ?? event.at));
    const frames = this.#options.partial ? this.#frames(event, this.#streamOf(event).end(event)) : [];
    const message = toClaudeMessage(event);
    for (const block of message.content) if (block.type === "tool_use") this.#calls.add(block.id);
    return message.content.length === 0 ? frames : [...frames, this.#line("assistant", { message, parent_tool_use_id: this.#parentOf(event) })];
  }

  /** A call inside a call, as `batch` makes them, is part of that one's result. */
  #answerCall(event: EventOf<"tool.finish">): ClaudeLine[] {
    const { callId, tool, state } = event;
    const isDenied = state.status === "error" && state.code === "PERMISSION_DENIED";
    if (isDenied) this.#use.denials.push({ tool_name: tool, tool_use_id: callId, tool_input: toObject(event.input) });
    if (!this.#calls.delete(callId)) return [];
    const block = { type: "tool_result", tool_use_id: callId, content: state.status === "completed" ? state.output : state.error };
    const content = [state.status === "completed" ? block : { ...block, is_error: true }];
    const facts = state.status === "completed" ? { tool_use_result: { title: state.title, metadata: state.metadata } } : {};
    return [this.#line("user", { message: { role: "user", content }, parent_tool_use_id: this.#parentOf(event), ...facts })];
  }

  #retry({ attempt, delayMs, error }: EventOf<"retry">): ClaudeLine {
    return this.#line("system", {
      subtype: "api_retry",
      attempt,
      max_retries: this.facts?.maxRetries ?? attempt,
      retry_delay_ms: delayMs,
      error_status: null,
      error: error.code === "RATE_LIMITED" ? "rate_limit" : error.code === "OVERLOADED" ? "overloaded" : "server_error",
      message: error.message,
    });
  }

  #ask(event: EventOf<"permission.request">): ClaudeLine {
    const { id, callId, tool, title } = event;
    const request = { subtype: "can_use_tool", tool_name: tool, input: this.#options.askedInput(id), tool_use_id: callId, decision_reason: title, title };
    const parent = this.#parentOf(event);
    return { type: "control_request", request_id: id, request, ...(parent !== null && { parent_tool_use_id: parent }) };
  }

  #inform(event: Parameters<typeof this.project>[0]): ClaudeLine[] {
    if (event.type === "fallback" && event.parentId === undefined) this.#model = event.to;
    const text = this.#notice(event).map((piece) => piece.text.trim());
    return text.map((content) =>
      this.#line("system", {
        subtype: "informational",
        level: content.startsWith("warning: ") ? "warning" : "notice",
        content: content.replace("warning: ", ""),
      }),
    );
  }

  #reasonOf({ code }: AgentError): { terminal_reason?: string } {
    if (code === "INTERRUPTED") return { terminal_reason: this.#isInTools ? "aborted_tools" : "aborted_streaming" };
    const reason = TERMINAL_REASONS[code];
    return reason === undefined ? {} : { terminal_reason: reason };
  }
}

/** Without a projection it can tell of errors alone. */
export function createClaudeOutput(projection = new ClaudeProjection(), { streams, redact, log }: Pick<OutputOptions, "streams" | "redact" | "log">): Output {
  const hold = holdWords();
  const write = (lines: ClaudeLine[]) => (lines.length === 0 ? undefined : streams.write(lines.map((line) => `${redact(toJsonLine(line))}\n`).join("")));
  const trace = (error: AgentError) => {
    if (log.verbose) streams.say(redact(formatError(error, { stack: true })));
  };
  return {
    event(event) {
      if (event.type === "error") trace(event.error);
      return write(hold(event).flatMap((each) => projection.project(each)));
    },
    error(error) {
      trace(error);
      return write([projection.error(error)]);
    },
    result: (result) => write([projection.result(result)]),
  };
}

const toObject = (input: unknown): Record<string, unknown> =>
  typeof input === "object" && input !== null && !Array.isArray(input) ? (input as Record<string, unknown>) : { input };

const subtypeOf = (code: string): string => SUBTYPES[code] ?? "error_during_execution";

const SUBTYPES: Record<string, string> = {
  LIMIT_STEPS: "error_max_turns",
  LIMIT_COST: "error_max_budget_usd",
  OUTPUT_INVALID: "error_max_structured_output_retries",
};

const TERMINAL_REASONS: Record<string, string> = {
  LIMIT_STEPS: "max_turns",
  LIMIT_COST: "budget_exhausted",
  OUTPUT_INVALID: "structured_output_retry_exhausted",
  CONTEXT_OVERFLOW: "prompt_too_long",
};
