import { EMPTY_CONTENT, type Observation } from "../plugins/memory/observation.ts";
import { parseQuery } from "../plugins/memory/query.ts";
import { rankCandidates } from "../plugins/memory/rank.ts";
import { openSearchIndex, type SearchIndex, type Weights } from "../plugins/memory/search-index.ts";

/** Ids best first, and whether it is known at all. */
export type Search = (text: string) => Promise<string[]>;

export interface Case {
  text: string;
  /** Ids; none for a question that has no answer. */
  evidence: string[];
  group: string;
}

export interface Figures {
  questions: number;
  at1: number;
  at5: number;
  at10: number;
  mrr: number;
  ndcg10: number;
}

/** An observation with everything that was not said left empty. */
export function makeObservation(fields: Partial<Observation> & { id: string }): Observation {
  return {
    ...EMPTY_CONTENT,
    sessionId: "session",
    prompt: 0,
    createdAt: 0,
    source: { kind: "import" },
    trust: "trusted",
    by: "import",
    importance: 0.5,
    ...fields,
  };
}

/** The search of this project over an index in memory, as the command does it. */
export async function createSearch(
  observations: Observation[],
  { now, weights, limit = 20 }: { now: number; weights?: Weights; limit?: number },
): Promise<Search & { index: SearchIndex }> {
  const file = { read: async () => undefined, write: async () => {} };
  const index = await openSearchIndex({ project: "bench", file, ...(weights && { weights }) });
  index.sync("all", "1", observations);
  const byId = new Map(observations.map((one) => [one.id, one]));
  const read = async (ids: string[]) => ids.flatMap((id) => byId.get(id) ?? []);
  const search = async (text: string) => {
    const query = parseQuery(text, now);
    return rankCandidates(await index.search(query, { read }), { query, now, halfLifeDays: 30, limit }).map(({ id }) => id);
  };
  return Object.assign(search, { index });
}

/** Any of the evidence found among the first k; mean of 1/rank; nDCG with every piece of evidence worth the same. In percent. */
export async function measure(search: Search, cases: readonly Case[]): Promise<Figures> {
  const sums = { at1: 0, at5: 0, at10: 0, mrr: 0, ndcg10: 0 };
  for (const { text, evidence } of cases) {
    const hits = await search(text);
    const wanted = new Set(evidence);
    const rank = hits.findIndex((id) => wanted.has(id)) + 1;
    if (rank === 0) continue;
    sums.at1 += rank === 1 ? 1 : 0;
    sums.at5 += rank <= 5 ? 1 : 0;
    sums.at10 += rank <= 10 ? 1 : 0;
    sums.mrr += 1 / rank;
    const gain = hits.slice(0, 10).reduce((sum, id, i) => sum + (wanted.has(id) ? 1 / Math.log2(i + 2) : 0), 0);
    const ideal = [...wanted].slice(0, 10).reduce((sum, _, i) => sum + 1 / Math.log2(i + 2), 0);
    sums.ndcg10 += gain / ideal;
  }
  const percent = (sum: number) => (100 * sum) / Math.max(1, cases.length);
  return {
    questions: cases.length,
    at1: percent(sums.at1),
    at5: percent(sums.at5),
    at10: percent(sums.at10),
    mrr: percent(sums.mrr),
    ndcg10: percent(sums.ndcg10),
  };
}

/** Figures of several runs, each counted by its questions. */
export function addFigures(list: readonly Figures[]): Figures {
  const questions = list.reduce((sum, one) => sum + one.questions, 0);
  const mean = (key: keyof Figures) => list.reduce((sum, one) => sum + one[key] * one.questions, 0) / Math.max(1, questions);
  return { questions, at1: mean("at1"), at5: mean("at5"), at10: mean("at10"), mrr: mean("mrr"), ndcg10: mean("ndcg10") };
}
