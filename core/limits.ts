import type { AgentProfile, Config } from "./config.ts";
import { AgentError } from "./errors.ts";
import type { CostSource } from "./events.ts";
import { addTokens, NO_TOKENS, type TokenCount, totalTokens } from "./message.ts";
import { createPlaces, type TakePlace } from "./places.ts";
import type { RunLimits } from "./runtime.ts";

/** What a prompt has used so far, the children of its tasks included. */
export interface Spending {
  readonly tokens: TokenCount;
  /** Undefined while no cost is known; a step of unknown cost makes the whole unknown. */
  readonly costUsd: number | undefined;
  /** The weakest of the steps: one that was priced makes the whole `catalogue`. */
  readonly costSource: CostSource;
  /**
   * Resolves when no other request is under way that could pass a limit of cost or tokens; what it gives ends this one's
   * turn. Tasks run side by side: of requests that do not know of each other each may be the one too many.
   */
  takeTurn: TakePlace;
  add(step: { tokens: TokenCount; costUsd?: number; costSource?: CostSource }): void;
  /** Throws LIMIT_STEPS, LIMIT_COST, COST_UNKNOWN or LIMIT_TOKENS when the request of `step` (from 1) may not be sent. */
  check(step: number): void;
}

/** The limits of one prompt: the host's, or else the configuration's. A profile has its own number of steps, never more than these. */
export function limitsOf(given: RunLimits = {}, config: Readonly<Config>, profile?: AgentProfile): RunLimits {
  const configured = config.limits ?? {};
  const steps = given.steps ?? configured.steps;
  const seconds = configured.timeoutSeconds;
  return {
    steps: profile?.steps === undefined ? steps : Math.min(profile.steps, steps ?? profile.steps),
    costUsd: given.costUsd ?? configured.costUsd,
    tokens: given.tokens ?? configured.tokens,
    timeoutMs: given.timeoutMs ?? (seconds === undefined ? undefined : seconds * 1000),
  };
}

/** Steps of a prompt when nothing else is said. */
export const DEFAULT_STEPS = 100;

interface Used {
  tokens: TokenCount;
  /** USD of the steps whose cost is known. */
  known: number;
  steps: number;
  /** Steps of unknown cost. */
  unknown: number;
  isPriced: boolean;
}

/** Counts and limits one prompt. What went over a limit is one request at most: the next one is not sent. */
export function createSpending(limits: RunLimits): Spending {
  const used: Used = { tokens: NO_TOKENS, known: 0, steps: 0, unknown: 0, isPriced: false };
  const takeTurn = createPlaces(1);
  const isLimited = limits.costUsd !== undefined || limits.tokens !== undefined;
  return {
    get tokens() {
      return used.tokens;
    },
    get costUsd() {
      return used.unknown === 0 ? plain(used.known) : undefined;
    },
    get costSource() {
      if (used.unknown > 0) return "unknown";
      return used.isPriced ? "catalogue" : "provider";
    },
    takeTurn: async (signal) => (isLimited ? takeTurn(signal) : () => {}),
    add(step) {
      used.tokens = addTokens(used.tokens, step.tokens);
      used.steps++;
      if (step.costUsd === undefined) used.unknown++;
      else used.known += step.costUsd;
      if (step.costSource === "catalogue") used.isPriced = true;
    },
    check: (step) => checkLimits(limits, used, step),
  };
}

function checkLimits(limits: RunLimits, { tokens, known, steps, unknown }: Used, step: number): void {
  const maxSteps = limits.steps ?? DEFAULT_STEPS;
  if (step > maxSteps) throw new AgentError("LIMIT_STEPS", { limit: maxSteps });
  if (limits.costUsd !== undefined && unknown > 0) throw new AgentError("COST_UNKNOWN", { limit: limits.costUsd });
  if (limits.costUsd !== undefined && known + averageCost(known, steps) > limits.costUsd + 1e-9)
    throw new AgentError("LIMIT_COST", { limit: limits.costUsd, spent: plain(known) });
  const spent = totalTokens(tokens);
  if (limits.tokens !== undefined && spent >= limits.tokens) throw new AgentError("LIMIT_TOKENS", { limit: limits.tokens, spent });
}

/** Without what adding binary fractions leaves behind. */
const plain = (amount: number): number => Number(amount.toPrecision(12));

/** What the next request will likely cost: as much as the ones before it. */
const averageCost = (known: number, steps: number): number => (steps === 0 ? 0 : known / steps);
