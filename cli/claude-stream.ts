import type { EventOf } from "agent-runtime/host";
import { type ClaudeBlock, emptyMessage, messageUsage, toClaudeMessage } from "./claude-message.ts";

/** One event of a streamed message, as Anthropic's Messages API sends it. */
export type StreamFrame = { type: string; [field: string]: unknown };

type Delta = EventOf<"text.delta"> | EventOf<"reasoning.delta">;
type Block = EventOf<"text"> | EventOf<"reasoning">;

/** The answers of one session as they are written: `message_start`, blocks with their deltas, `message_delta`, `message_stop`. */
export class ClaudeStream {
  #isOpen = false;
  #blocks = new Map<string, number>();
  #open = new Set<number>();
  #next = 0;

  grow(event: Delta, model: string): StreamFrame[] {
    const frames = this.#begin(event.messageId, model);
    let index = this.#blocks.get(event.partId);
    if (index === undefined) {
      index = this.#next++;
      this.#blocks.set(event.partId, index);
      frames.push(...this.#start(index, event.type === "text.delta" ? { type: "text", text: "", citations: null } : EMPTY_THOUGHT));
    }
    const delta =
      event.type === "text.delta" ? { type: "text_delta", text: event.delta } : { type: "thinking_delta", thinking: event.delta, estimated_tokens: null };
    return [...frames, { type: "content_block_delta", index, delta }];
  }

  endBlock({ partId }: Block): StreamFrame[] {
    const index = this.#blocks.get(partId);
    return index === undefined ? [] : this.#stop(index);
  }

  /** The message is whole: its calls come in one piece, since their arguments are not shown as they are written. */
  end(answer: EventOf<"message">): StreamFrame[] {
    const { content, stop_reason } = toClaudeMessage(answer);
    const { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens_details } = messageUsage(answer.tokens);
    const used = { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens, output_tokens_details };
    return [
      ...this.#begin(answer.messageId, answer.model),
      ...this.#stopAll(),
      ...content.flatMap((block) => (block.type === "tool_use" ? this.#call(block) : [])),
      {
        type: "message_delta",
        delta: { stop_reason, stop_sequence: null, stop_details: null, container: null },
        usage: { ...used, server_tool_use: null, iterations: null, fallback_credit: null },
        context_management: null,
      },
      ...this.#close(),
    ];
  }

  /** What was shown of the message does not count: it stops without `message_delta`, and the next try starts a new one. */
  abandon(): StreamFrame[] {
    return this.#isOpen ? [...this.#stopAll(), ...this.#close()] : [];
  }

  #begin(messageId: string, model: string): StreamFrame[] {
    if (this.#isOpen) return [];
    this.#isOpen = true;
    return [{ type: "message_start", message: emptyMessage(messageId, model) }];
  }

  #call(block: Extract<ClaudeBlock, { type: "tool_use" }>): StreamFrame[] {
    const index = this.#next++;
    const delta = { type: "input_json_delta", partial_json: JSON.stringify(block.input ?? {}) };
    return [...this.#start(index, { ...block, input: {} }), { type: "content_block_delta", index, delta }, ...this.#stop(index)];
  }

  #start(index: number, content_block: ClaudeBlock): StreamFrame[] {
    this.#open.add(index);
    return [{ type: "content_block_start", index, content_block }];
  }

  #stop(index: number): StreamFrame[] {
    return this.#open.delete(index) ? [{ type: "content_block_stop", index }] : [];
  }

  #stopAll(): StreamFrame[] {
    return [...this.#open].flatMap((index) => this.#stop(index));
  }

  #close(): StreamFrame[] {
    this.#isOpen = false;
    this.#blocks.clear();
    this.#next = 0;
    return [{ type: "message_stop" }];
  }
}

const EMPTY_THOUGHT: ClaudeBlock = { type: "thinking", thinking: "", signature: "" };
