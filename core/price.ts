import { type TokenCount, totalTokens } from "./message.ts";
import type { Turn } from "./turn.ts";

/** What a model costs, in USD per million tokens, as `provider.NAME.models.ID.cost` of the configuration gives it. */
export interface Price {
  input?: number | undefined;
  output?: number | undefined;
  /** Those of the cache cost what input costs, unless they are given. */
  cache_read?: number | undefined;
  cache_write?: number | undefined;
  /** Prices of a request with more than 200,000 input tokens. */
  context_over_200k?: unknown;
}

const LONG_CONTEXT = 200_000;

/** USD of so many tokens; undefined where a price is missing, or nobody has counted the tokens of a model that is not free. */
export function costOf(tokens: TokenCount, price: Price): number | undefined {
  const isLong = tokens.input + tokens.cache.read + tokens.cache.write > LONG_CONTEXT;
  const { input, output, cache_read = input, cache_write = input } = { ...price, ...(isLong && (price.context_over_200k as Price | undefined)) };
  if (!isPrice(input) || !isPrice(output) || !isPrice(cache_read) || !isPrice(cache_write)) return undefined;
  if (totalTokens(tokens) === 0 && input + output > 0) return undefined;
  return (tokens.input * input + tokens.output * output + tokens.cache.read * cache_read + tokens.cache.write * cache_write) / 1e6;
}

/** A negative price says that it varies. */
const isPrice = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value >= 0;

/** The turn with its cost: the provider's word counts, else the prices. */
export function withCost(turn: Turn, price: Price | undefined): Turn {
  if (turn.costUsd !== undefined || price === undefined) return turn;
  const costUsd = costOf(turn.tokens, price);
  return costUsd === undefined ? turn : { ...turn, costUsd, costSource: "catalogue" };
}
