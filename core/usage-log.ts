import type { Log } from "./log.ts";
import type { TokenCount } from "./message.ts";
import type { Provider } from "./provider.ts";
import type { Turn } from "./turn.ts";

/**
 * One line for each answer, those included that a plugin asked for. Costs are USD as text, "0.00" for a free model and
 * "unknown" where nobody has said it: `estimatedCostUSD` by the best that is known, `actualCostUSD` by the provider's word.
 */
export function logUsage(log: Log, { id, name = id }: Provider, turn: Turn, sent: { model: string; messages: number }): void {
  const { costUsd, costSource } = turn;
  const cost = costUsd === undefined ? "unknown" : toUsd(costUsd);
  log.debug(`${name} API usage`, {
    model: sent.model,
    ...tokensOf(turn.tokens),
    estimatedCostUSD: cost,
    ...(costUsd !== undefined && costSource === "provider" && { actualCostUSD: cost }),
    costSource,
    messagesInContext: sent.messages,
  });
}

/** A provider that counts nothing says nothing: its 0 is no count. */
function tokensOf({ input, output, cache }: TokenCount): Record<string, unknown> {
  const inputTokens = input + cache.read + cache.write;
  if (inputTokens + output === 0) return { inputTokens: "unknown", outputTokens: "unknown", totalTokens: "unknown" };
  return { inputTokens, cachedTokens: cache.read, outputTokens: output, totalTokens: inputTokens + output };
}

/** To a millionth, and to a cent at least: 0 → "0.00", 0.0015 → "0.0015". */
const toUsd = (amount: number): string => amount.toFixed(6).replace(/0{1,4}$/, "");
