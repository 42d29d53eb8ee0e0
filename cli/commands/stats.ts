import { AgentError } from "agent-runtime";
import { addTokens, cacheHitRate, NO_TOKENS, type SessionMeta, type Sessions, type TokenCount } from "agent-runtime/host";

export interface StatsCommandContext {
  cwd: string;
  sessions: Sessions;
  write(text: string): void;
}

const DAY_MS = 24 * 60 * 60 * 1000;

interface Filter {
  isJson: boolean;
  isHere: boolean;
  days: number | undefined;
}

/** `agent stats [--days N] [--here] [--json]`. Resolves to the exit code; throws AgentErrors. */
export const statsCommand = {
  name: "stats",
  description: "Add up what the sessions used: steps, tokens, the cached share of them, and cost.",
  usage: ["stats [--days N] [--here] [--json]"],
  async run(words: string[], { cwd, sessions, write }: StatsCommandContext): Promise<number> {
    const { isJson, isHere, days } = readFilter(words);
    const since = days === undefined ? 0 : Date.now() - days * DAY_MS;
    const chosen = (await sessions.list()).filter((meta) => meta.updatedAt >= since && (!isHere || meta.cwd === cwd));
    const stats = addUp(chosen);
    write(isJson ? `${JSON.stringify(stats, null, 2)}\n` : describe(stats));
    return 0;
  },
};

function readFilter(words: string[]): Filter {
  const filter: Filter = { isJson: false, isHere: false, days: undefined };
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === "--json") filter.isJson = true;
    else if (word === "--here") filter.isHere = true;
    else if (word === "--days") filter.days = readDays(words[++at]);
    else throw new AgentError("OPTION_UNKNOWN", { what: "option", name: word, suggestion: "Use stats [--days N] [--here] [--json]. " });
  }
  return filter;
}

function readDays(word: string | undefined): number {
  const days = Number(word);
  if (word !== undefined && word.trim() !== "" && Number.isFinite(days) && days > 0) return days;
  throw new AgentError("OPTION_INVALID", { option: "--days", reason: "it takes a number of days above 0." });
}

interface Stats {
  sessions: number;
  /** Of them, those that a task has started. */
  children: number;
  steps: number;
  tokens: TokenCount;
  cacheHitRate: number | null;
  /** USD of the sessions whose cost is known. */
  cost: number;
  /** Sessions that asked a model and do not know what it cost: they are not in `cost`. */
  unknownCost: number;
}

function addUp(metas: SessionMeta[]): Stats {
  const tokens = metas.map((meta) => meta.tokens).reduce(addTokens, NO_TOKENS);
  const cost = metas.reduce((sum, { costUsd = 0 }) => sum + costUsd, 0);
  return {
    sessions: metas.length,
    children: metas.filter(({ parentId }) => parentId !== undefined).length,
    steps: metas.reduce((sum, { steps }) => sum + steps, 0),
    tokens,
    cacheHitRate: cacheHitRate(tokens),
    cost: Number(cost.toPrecision(12)),
    unknownCost: metas.filter(({ costUsd, steps }) => costUsd === undefined && steps > 0).length,
  };
}

function describe({ sessions, children, steps, tokens, cacheHitRate: rate, cost, unknownCost }: Stats): string {
  const share = rate === null || rate === 0 ? "" : ` (${Math.round(rate * 100)} % of the input)`;
  const rows = [
    ["sessions", `${sessions}${children > 0 ? `, ${children} of them by a task` : ""}`],
    ["steps", String(steps)],
    ["input", `${tokens.input} tokens`],
    ["cached", `${tokens.cache.read} tokens${share}`],
    ["into the cache", `${tokens.cache.write} tokens`],
    ["output", `${tokens.output} tokens`],
    [
      "cost",
      `$${cost.toFixed(4)}${unknownCost > 0 ? `, and what ${unknownCost} ${unknownCost === 1 ? "session" : "sessions"} cost that nobody knows of` : ""}`,
    ],
  ];
  return rows.map(([name, value]) => `${name!.padEnd(16)}${value}\n`).join("");
}
