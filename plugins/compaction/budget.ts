import type { Config } from "agent-runtime";

/** Tokens of one model's context. */
export interface Budget {
  /** Where the context counts as nearly full: the window without what is reserved for the answer. */
  full: number;
}

/** Reserved for the answer, and kept of the newest messages: opencode's numbers. Small windows give a quarter. */
const RESERVED = 20_000;
const LEAST_KEPT = 2_000;
const MOST_KEPT = 15_000;

/** Undefined where nobody says how large the window is. `model` is `provider/model`. */
export function budgetOf(model: string, config: Readonly<Config>, contextTokens?: number): Budget | undefined {
  const limit = limitsOf(model, config);
  const window = limit?.input || limit?.context || contextTokens;
  if (!window) return undefined;
  const reserved = config.compaction?.reserved ?? Math.min(RESERVED, limit?.output || RESERVED, window / 4);
  // A reserve that leaves nothing would make every context full.
  return { full: Math.floor(window - Math.min(reserved, window / 2)) };
}

/** How many tokens of the newest messages stay word for word in a context of `size`. */
export function keptTokens(size: number, config: Readonly<Config>): number {
  const wanted = config.compaction?.preserve_recent_tokens ?? Math.min(MOST_KEPT, Math.max(LEAST_KEPT, size / 4));
  return Math.floor(Math.min(wanted, size / 2));
}

/** What stands behind a colon (`:free`) is the same model on other terms. */
function limitsOf(model: string, config: Readonly<Config>) {
  const slash = model.indexOf("/");
  const models = config.provider?.[model.slice(0, slash)]?.models ?? {};
  const id = model.slice(slash + 1);
  return [id, id.replace(/:[^:/]*$/, "")].map((name) => (Object.hasOwn(models, name) ? models[name]?.limit : undefined)).find((limit) => limit !== undefined);
}
