import { randomUUID } from "node:crypto";
import type { Log } from "agent-runtime";
import { budgetOf, keptTokens } from "./budget.ts";
import { type CompactContext, clipOutputs, cutRecent, type Entry, type Parts } from "./conversation.ts";
import { summarise } from "./summary.ts";

export interface ShortenOptions {
  model?: string | string[] | undefined;
  contextTokens?: number | undefined;
  log: Log;
}

/** Share of the context that a compaction leaves at most, so that it serves for a while. */
const TARGET = 0.6;
/** Share of the context that the old messages must take before they are worth a summary: one of a summary is none. */
const WORTH_SUMMARY = 0.1;
/** After an overflow anything may help, but not a summary of the last one and the line after it. */
const FEWEST_SUMMARISED = 2;
/** Outputs of old tool calls that are not longer are left as they are; so opencode clips them, too. */
const OLD_OUTPUT_CHARACTERS = 2_000;
/** Outputs of the last calls are never shorter, however many there are. */
const NEW_OUTPUT_CHARACTERS = 2_000;

/**
 * The cheap way first: old tool outputs are clipped. Where that is not enough, everything old becomes a summary. The first
 * prompt, the prompt that is being answered and the newest messages stay word for word.
 */
export async function shorten(entries: Entry[], context: CompactContext, options: ShortenOptions): Promise<Entry[]> {
  const { config, model, usedTokens, reason } = context;
  const full = budgetOf(model, config, options.contextTokens)?.full ?? Number.POSITIVE_INFINITY;
  // What did not fit is larger than the context, whatever is said of its window.
  const size = Math.min(full, usedTokens);
  const kept = keptTokens(size, config);
  const parts = cutRecent(entries, { tokens: kept, turns: config.compaction?.tail_turns ?? Number.POSITIVE_INFINITY }, context);
  if (config.compaction?.prune !== false) {
    const pruned = [parts.first, ...parts.old.map((entry) => clipOutputs(entry, OLD_OUTPUT_CHARACTERS)), ...parts.recent];
    // System prompt and tools; where a window is on, the request holds less than the entries.
    const fixed = Math.max(0, usedTokens - context.estimateTokens(entries));
    if (fixed + context.estimateTokens(pruned) <= size * TARGET) return pruned;
  }
  const recent = clipRecent(parts.recent, kept, context);
  const isWorth = reason === "overflow" ? parts.old.length > FEWEST_SUMMARISED : context.estimateTokens(parts.old) > size * WORTH_SUMMARY;
  return isWorth ? replaceOld({ ...parts, recent }, context, { ...options, size }) : [parts.first, ...parts.old, ...recent];
}

/** The last step alone may be too much: then the outputs of its calls share what there is. */
function clipRecent(recent: Entry[], kept: number, { estimateTokens, charactersPerToken }: CompactContext): Entry[] {
  if (estimateTokens(recent) <= kept) return recent;
  const results = recent.flatMap(({ message }) => (message.role === "tool" ? message.content : []));
  const share = Math.max(NEW_OUTPUT_CHARACTERS, Math.floor((kept * charactersPerToken) / Math.max(1, results.length)));
  return recent.map((entry) => clipOutputs(entry, share));
}

const GO_ON = "(What came before this was summarised above. Go on from there.)";

/**
 * First prompt (user), summary (assistant), then a user message before an assistant's: the prompt that is being answered
 * where it was among the old, so that roles take turns as providers demand.
 */
async function replaceOld({ first, old, recent }: Parts, context: CompactContext, options: ShortenOptions & { size: number }): Promise<Entry[]> {
  const at = old.at(-1)?.at ?? first.at;
  const entryOf = (message: Entry["message"]): Entry => ({ id: `msg_${randomUUID()}`, at, message });
  const summary = await summarise(old, context, { ...options, first });
  const prompt = old.filter(({ id }) => id === context.promptId);
  const goOn = prompt.length > 0 || recent[0]?.message.role === "user" ? [] : [entryOf({ role: "user", content: [{ type: "text", text: GO_ON }] })];
  return [first, entryOf({ role: "assistant", content: [{ type: "text", text: summary }] }), ...prompt, ...goOn, ...recent];
}
