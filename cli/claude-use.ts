import type { RunResult } from "agent-runtime";
import { addTokens, type EventOf, NO_TOKENS, type TokenCount } from "agent-runtime/host";
import { readStopReason, type StopReason } from "./claude-message.ts";

/** Use of one model over all prompts of a command. Windows and limits are 0: they are not known here. */
export interface ModelUse {
  inputTokens: number;
  outputTokens: number;
  thinkingTokens: number;
  cacheReadInputTokens: number;
  cacheCreationInputTokens: number;
  webSearchRequests: number;
  costUSD: number;
  contextWindow: number;
  maxOutputTokens: number;
  provider: string;
  /** `unknown`: nobody said what some of it cost, and `costUSD` lacks that. */
  costBasis: "list" | "unknown";
}

export interface Denial {
  tool_name: string;
  tool_use_id: string;
  tool_input: Record<string, unknown>;
}

/** What `result` says of the prompt and of all before it. */
export interface ToldUse {
  apiMs: number;
  stopReason: StopReason | null;
  /** Of this prompt, without its tasks. */
  tokens: TokenCount;
  denials: Denial[];
  /** Of all prompts: what is known of it. */
  costUsd: number;
  costSource: RunResult["costSource"];
  models: Record<string, ModelUse>;
}

/** Counts what answers used: some figures over a prompt, others over all. */
export class ClaudeUse {
  denials: Denial[] = [];
  /** Tokens that the last request of the main session held. */
  lastInput = 0;
  #apiMs = 0;
  #stopReason: StopReason | null = null;
  #tokens: TokenCount = NO_TOKENS;
  #costUsd = 0;
  #costSource: RunResult["costSource"] | undefined;
  #models: Record<string, ModelUse> = {};

  add({ model, tokens, costUsd, reason, parentId }: EventOf<"message">, apiMs: number): void {
    if (model === "") return;
    this.#apiMs += apiMs;
    this.#models[model] = addUse(this.#models[model] ?? noUse(model), tokens, costUsd);
    if (parentId !== undefined) return;
    this.#stopReason = readStopReason(reason);
    this.#tokens = addTokens(this.#tokens, tokens);
    this.lastInput = tokens.input + tokens.cache.read + tokens.cache.write;
  }

  /** At the end of a prompt; what counts for it alone starts anew. */
  take({ costUsd = 0, costSource, steps }: RunResult): ToldUse {
    this.#costUsd += costUsd;
    if (steps > 0 || costUsd > 0) this.#costSource = weaker(this.#costSource ?? costSource, costSource);
    const told: ToldUse = {
      apiMs: this.#apiMs,
      stopReason: this.#stopReason,
      tokens: this.#tokens,
      denials: this.denials,
      costUsd: this.#costUsd,
      costSource: this.#costSource ?? costSource,
      models: structuredClone(this.#models),
    };
    this.denials = [];
    this.#apiMs = 0;
    this.#stopReason = null;
    this.#tokens = NO_TOKENS;
    return told;
  }
}

const weaker = (a: RunResult["costSource"], b: RunResult["costSource"]): RunResult["costSource"] =>
  a === "unknown" || b === "unknown" ? "unknown" : a === "catalogue" || b === "catalogue" ? "catalogue" : "provider";

const noUse = (model: string): ModelUse => ({
  inputTokens: 0,
  outputTokens: 0,
  thinkingTokens: 0,
  cacheReadInputTokens: 0,
  cacheCreationInputTokens: 0,
  webSearchRequests: 0,
  costUSD: 0,
  contextWindow: 0,
  maxOutputTokens: 0,
  provider: model.slice(0, model.indexOf("/")),
  costBasis: "list",
});

const addUse = (use: ModelUse, { input, output, reasoning, cache }: TokenCount, costUsd: number | undefined): ModelUse => ({
  ...use,
  inputTokens: use.inputTokens + input,
  outputTokens: use.outputTokens + output,
  thinkingTokens: use.thinkingTokens + reasoning,
  cacheReadInputTokens: use.cacheReadInputTokens + cache.read,
  cacheCreationInputTokens: use.cacheCreationInputTokens + cache.write,
  costUSD: use.costUSD + (costUsd ?? 0),
  costBasis: costUsd === undefined ? "unknown" : use.costBasis,
});
