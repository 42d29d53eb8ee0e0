import type { PrefixPart } from "./cache-watch.ts";
import type { AgentError } from "./errors.ts";
import type { AssistantMessage, TokenCount } from "./message.ts";
import type { Effect } from "./tool.ts";

/** Where a model id came from, nearest source first. */
export type ModelSource = "input" | "cli" | "env" | "config" | "default";

/** What answered: the id that was asked for and the one that the provider says has answered. */
export interface ModelUse {
  providerId: string;
  requestedModelId: string;
  respondedModelId?: string;
}

/** `provider`: the provider said it; `catalogue`: tokens times listed prices; `unknown`: neither is known (costUsd is undefined). */
export type CostSource = "provider" | "catalogue" | "unknown";

export type RunStatus = "success" | "error" | "limit" | "interrupted";

/** How a prompt ended. `text` is the answer's: the text of the last step. */
export interface RunResult {
  sessionId: string;
  status: RunStatus;
  text: string;
  /** `provider/model` that gave the last answer; undefined when none did. */
  model?: string;
  steps: number;
  costUsd?: number;
  costSource: CostSource;
  tokens: TokenCount;
  durationMs: number;
  exitCode: number;
  /** False when the session could not be written; the run itself is not affected by that. */
  persisted: boolean;
  /** What `outputSchema` asked for, parsed and checked. */
  output?: unknown;
  error?: AgentError;
}

export type ToolState =
  | { status: "completed"; output: string; title: string; metadata: Record<string, unknown>; startedAt: number; endedAt: number }
  | { status: "error"; error: string; code?: string; metadata?: Record<string, unknown>; startedAt: number; endedAt: number };

interface Facts {
  /** `callId`: of a child session, the call of its parent that started it. */
  "session.start": { cwd: string; resumed: boolean; title: string; callId?: string };
  /** The user's message stands in the session. `text`: its words; `agent`: the profile, where there is one. */
  prompt: { messageId: string; text: string; agent?: string };
  /** Once a prompt, before its first request. */
  "model.resolved": { requested: string | null; selector: string; providerId: string; modelId: string; source: ModelSource; matchesRequest: boolean };
  "step.start": { step: number; messageId: string };
  "text.delta": { messageId: string; partId: string; delta: string };
  text: { messageId: string; partId: string; text: string; startedAt: number; endedAt: number };
  "reasoning.delta": { messageId: string; partId: string; delta: string };
  reasoning: { messageId: string; partId: string; text: string; startedAt: number; endedAt: number };
  /** What `text` and `text.delta` showed of this message does not count. */
  "text.void": { messageId: string; reason: string };
  /** An answer as it stands in the conversation, calls included, before its tools run. `model` is `provider/model`. */
  message: { messageId: string; message: AssistantMessage; model: string; reason: string; tokens: TokenCount; costUsd?: number };
  "tool.start": { messageId: string; partId: string; callId: string; tool: string; input: unknown };
  "tool.progress": { messageId: string; partId: string; callId: string; tool: string; title?: string; output?: string; metadata?: Record<string, unknown> };
  /** `source`: what the call may do, and what it was judged by: paths relative to the workspace, a command, a URL. Absent where it was not made. */
  "tool.finish": {
    messageId: string;
    partId: string;
    callId: string;
    tool: string;
    input: unknown;
    state: ToolState;
    source?: { effect: Effect; patterns: string[] };
  };
  "step.finish": {
    step: number;
    messageId: string;
    partId: string;
    reason: string;
    tokens: TokenCount;
    costUsd?: number;
    costSource: CostSource;
    /** The answer came from the response cache: `tokens` are those of the first time, `costUsd` is 0. */
    cached?: true;
    model: ModelUse;
  };
  retry: { attempt: number; delayMs: number; error: { code: string; message: string }; model: string };
  fallback: { from: string; to: string; error: { code: string; message: string } };
  /** Answered through the `ask` function of the host. With `question` it is words that are asked for. */
  /** `always`: what that answer covers, where it is not just the patterns. */
  "permission.request": {
    id: string;
    callId: string;
    tool: string;
    patterns: string[];
    title: string;
    always?: string[];
    question?: string;
    options?: string[];
  };
  /** Messages before and after, tokens estimated; with what a model was asked for it, where one was. */
  compaction: {
    reason: "overflow" | "nearly-full";
    before: number;
    after: number;
    tokensBefore: number;
    tokensAfter: number;
    model?: string;
    tokens?: TokenCount;
    costUsd?: number;
  };
  /** Who changed what the provider has in its cache of this session: a plugin, or "configuration" for all that is none. */
  "cache.broken": { by: string; part: PrefixPart };
  "loop.warning": { calls: string; times: number };
  "plugin.error": { plugin: string; hook?: string; message: string };
  /** A workspace that is not trusted sets these keys; they are ignored. */
  "config.untrusted": { keys: string[]; files: string[]; changed?: true };
  "sandbox.unavailable": { reason: string };
  "store.degraded": { path: string; reason: string };
  "store.recovered": { path: string; kept: number; lost: number; quarantine?: string };
  error: { error: AgentError };
  /** Last event of a prompt. */
  "session.finish": { result: RunResult };
}

interface EventBase {
  sessionId: string;
  /** ms since 1970 */
  at: number;
  /** Set on the events of a child session that `task` runs: the session that started it. */
  parentId?: string;
}

/** Everything that can be observed: the closed union that hooks, hosts and the command line see. */
export type AgentEvent = { [T in keyof Facts]: EventBase & { type: T } & Facts[T] }[keyof Facts];
export type EventType = keyof Facts;

const TYPES: Record<EventType, true> = {
  "session.start": true,
  prompt: true,
  "model.resolved": true,
  "step.start": true,
  "text.delta": true,
  text: true,
  "reasoning.delta": true,
  reasoning: true,
  "text.void": true,
  message: true,
  "tool.start": true,
  "tool.progress": true,
  "tool.finish": true,
  "step.finish": true,
  retry: true,
  fallback: true,
  "permission.request": true,
  compaction: true,
  "cache.broken": true,
  "loop.warning": true,
  "plugin.error": true,
  "config.untrusted": true,
  "sandbox.unavailable": true,
  "store.degraded": true,
  "store.recovered": true,
  error: true,
  "session.finish": true,
};
export const EVENT_TYPES: readonly string[] = Object.keys(TYPES);

export type EventOf<T extends EventType> = Extract<AgentEvent, { type: T }>;

/** An event without what the session adds to each: `sessionId`, `at`, `parentId`. */
export type EventFacts = { [T in keyof Facts]: { type: T } & Facts[T] }[keyof Facts];
export type Emit = (event: EventFacts) => void;
