import type { EventOf, TokenCount } from "agent-runtime/host";

/** An answer in the shape of Anthropic's Messages API. What nobody knows here is null, as that API writes it. */
export interface ClaudeMessage {
  id: string;
  type: "message";
  role: "assistant";
  model: string;
  content: ClaudeBlock[];
  stop_reason: StopReason | null;
  stop_sequence: null;
  stop_details: null;
  container: null;
  context_management: null;
  diagnostics: null;
  usage: MessageUsage;
}

export type ClaudeBlock =
  | { type: "text"; text: string; citations: null }
  | { type: "thinking"; thinking: string; signature: string }
  | { type: "tool_use"; id: string; name: string; input: unknown };

export type StopReason = "end_turn" | "max_tokens" | "tool_use" | "refusal";
export type MessageUsage = ReturnType<typeof messageUsage>;

type Answer = EventOf<"message">;

export const readStopReason = (reason: string): StopReason =>
  reason === "length" ? "max_tokens" : reason === "content-filter" ? "refusal" : reason === "tool-calls" ? "tool_use" : "end_turn";

export function toClaudeMessage({ messageId, message, model, reason, tokens }: Answer): ClaudeMessage {
  return { ...emptyMessage(messageId, model), content: message.content.flatMap(toBlock), stop_reason: readStopReason(reason), usage: messageUsage(tokens) };
}

/** As a message starts: nothing said, nothing used. */
export const emptyMessage = (id: string, model: string): ClaudeMessage => ({
  id,
  type: "message",
  role: "assistant",
  model,
  content: [],
  stop_reason: null,
  stop_sequence: null,
  stop_details: null,
  container: null,
  context_management: null,
  diagnostics: null,
  usage: messageUsage({ input: 0, output: 0, reasoning: 0, cache: { read: 0, write: 0 } }),
});

type Part = Answer["message"]["content"][number];

function toBlock(part: Part): ClaudeBlock[] {
  switch (part.type) {
    case "text":
      return part.text === "" ? [] : [{ type: "text", text: part.text, citations: null }];
    case "reasoning":
      // Signatures stay with the session: they are of use to the provider alone.
      return part.text === "" ? [] : [{ type: "thinking", thinking: part.text, signature: "" }];
    case "tool-call":
      return [{ type: "tool_use", id: part.toolCallId, name: part.toolName, input: part.input }];
    default:
      return [];
  }
}

export const messageUsage = ({ input, output, reasoning, cache }: TokenCount) => ({
  input_tokens: input,
  output_tokens: output,
  cache_creation_input_tokens: cache.write,
  cache_read_input_tokens: cache.read,
  cache_creation: null,
  output_tokens_details: { thinking_tokens: reasoning },
  server_tool_use: null,
  service_tier: null,
  inference_geo: null,
  iterations: null,
  speed: null,
  fallback_credit: null,
});

/** The use of a whole run, in which nothing may be null. */
export const runUsage = (tokens: TokenCount) => ({
  ...messageUsage(tokens),
  cache_creation: { ephemeral_5m_input_tokens: tokens.cache.write, ephemeral_1h_input_tokens: 0 },
  server_tool_use: { web_search_requests: 0, web_fetch_requests: 0 },
  service_tier: "standard" as const,
  inference_geo: "",
  iterations: [],
  speed: "standard" as const,
});
