import type { Observation } from "../plugins/memory/observation.ts";
import type { Weights } from "../plugins/memory/search-index.ts";
import { BASELINES } from "./memory-baselines.ts";
import { type Case, createSearch, type Figures, measure, type Search } from "./memory-measure.ts";
import { GROUPS, makeObservationSet, SET_NOW } from "./memory-observations.ts";

export interface OwnFigures {
  name: string;
  all: Figures;
  groups: Record<string, Figures>;
  /** Of the questions without an answer: those that got hits, in percent. */
  falsePositives: number;
  /** Estimated tokens (characters / 4) of title and subtitle of ten hits, on average. */
  tokens: number;
}

export const SEEDS = { tuned: 1, heldOut: 20_260_615 };

export async function measureOwn({
  heldOut = false,
  seed = heldOut ? SEEDS.heldOut : SEEDS.tuned,
  weights,
  baselines = true,
}: {
  heldOut?: boolean;
  seed?: number;
  weights?: Weights;
  baselines?: boolean;
} = {}): Promise<{ observations: number; questions: number; rows: OwnFigures[] }> {
  const { observations, cases } = makeObservationSet(seed, { heldOut });
  const ours = await createSearch(observations, { now: SET_NOW, ...(weights && { weights }) });
  const searches: [string, Search][] = [
    ["memory", ours],
    ...(baselines ? Object.entries(BASELINES).map(([name, make]): [string, Search] => [name, make(observations)]) : []),
  ];
  const rows: OwnFigures[] = [];
  for (const [name, search] of searches) rows.push(await measureOne({ name, search, observations, cases }));
  return { observations: observations.length, questions: cases.length, rows };
}

async function measureOne({
  name,
  search,
  observations,
  cases,
}: {
  name: string;
  search: Search;
  observations: Observation[];
  cases: Case[];
}): Promise<OwnFigures> {
  const byId = new Map(observations.map((one) => [one.id, one]));
  const answered = cases.filter(({ evidence }) => evidence.length > 0);
  const none = cases.filter(({ evidence }) => evidence.length === 0);
  const groups: Record<string, Figures> = {};
  for (const group of GROUPS)
    if (group !== "none")
      groups[group] = await measure(
        search,
        answered.filter((one) => one.group === group),
      );
  let falsePositives = 0;
  for (const { text } of none) if ((await search(text)).length > 0) falsePositives++;
  let characters = 0;
  for (const { text } of cases) for (const id of (await search(text)).slice(0, 10)) characters += byId.get(id)!.title.length + byId.get(id)!.subtitle.length;
  return { name, all: await measure(search, answered), groups, falsePositives: (100 * falsePositives) / none.length, tokens: characters / 4 / cases.length };
}
