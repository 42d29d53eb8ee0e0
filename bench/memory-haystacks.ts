import { searchByDefaults } from "./memory-baselines.ts";
import type { Haystack } from "./memory-files.ts";
import { addFigures, type Case, createSearch, type Figures, measure, type Search } from "./memory-measure.ts";

/** Hits that are read, so that ten sessions come together. */
const LIMIT = 200;

export interface HaystackFigures {
  name: string;
  all: Figures;
  groups: Record<string, Figures>;
}

/** The questions of each haystack are asked of its own memory; figures over all questions. */
export async function measureHaystacks(haystacks: Iterable<Haystack>, now: number): Promise<HaystackFigures[]> {
  const rows: HaystackFigures[] = [
    { name: "memory", all: addFigures([]), groups: {} },
    { name: "MiniSearch, defaults", all: addFigures([]), groups: {} },
  ];
  for (const haystack of haystacks) {
    const searches = [await createSearch(haystack.observations, { now, limit: LIMIT }), searchByDefaults(haystack.observations, LIMIT)];
    for (const [i, row] of rows.entries()) await addHaystack(row, haystack, searches[i]!);
  }
  return rows;
}

async function addHaystack(row: HaystackFigures, { cases, unitOf }: Haystack, search: Search): Promise<void> {
  const units: Search = async (text) => [...new Set((await search(text)).map(unitOf))];
  for (const [group, asked] of groupCases(cases)) {
    const figures = await measure(units, asked);
    row.groups[group] = addFigures([row.groups[group] ?? addFigures([]), figures]);
    row.all = addFigures([row.all, figures]);
  }
}

function groupCases(cases: readonly Case[]): Map<string, Case[]> {
  const groups = new Map<string, Case[]>();
  for (const one of cases) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  return groups;
}
