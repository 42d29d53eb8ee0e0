import MiniSearch from "minisearch";
import type { Observation } from "../plugins/memory/observation.ts";
import type { Search } from "./memory-measure.ts";

const LIMIT = 20;

export function textOf({ title, subtitle, facts, narrative, concepts, filesRead, filesModified, symbols }: Observation): string {
  return [title, subtitle, ...facts, narrative, ...concepts, ...filesRead, ...filesModified, ...symbols].join("\n");
}

const newestFirst = (observations: readonly Observation[]) => [...observations].sort((a, b) => b.createdAt - a.createdAt);

/** The newest, whatever was asked. */
export function searchByRecency(observations: readonly Observation[]): Search {
  const ids = newestFirst(observations)
    .slice(0, LIMIT)
    .map(({ id }) => id);
  return async () => ids;
}

/** The whole query as one phrase. */
export function searchByPhrase(observations: readonly Observation[]): Search {
  const texts = newestFirst(observations).map((one) => ({ id: one.id, text: textOf(one).toLowerCase() }));
  return async (query) =>
    texts
      .filter(({ text }) => text.includes(query.toLowerCase()))
      .slice(0, LIMIT)
      .map(({ id }) => id);
}

const setOf = (text: string) => new Set(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);

/** What two sets of words have in common, of what either has. */
export function searchByJaccard(observations: readonly Observation[]): Search {
  const sets = observations.map((one) => ({ id: one.id, words: setOf(textOf(one)) }));
  return async (query) => {
    const asked = setOf(query);
    const scored = sets.map(({ id, words }) => {
      const both = [...asked].filter((word) => words.has(word)).length;
      return { id, score: both / (asked.size + words.size - both) };
    });
    return scored
      .filter(({ score }) => score > 0)
      .sort((a, b) => b.score - a.score)
      .slice(0, LIMIT)
      .map(({ id }) => id);
  };
}

/** MiniSearch as it comes. */
export function searchByDefaults(observations: readonly Observation[], limit = LIMIT): Search {
  const index = new MiniSearch({ fields: ["text"] });
  index.addAll(observations.map((one) => ({ id: one.id, text: textOf(one) })));
  return async (query) =>
    index
      .search(query)
      .slice(0, limit)
      .map(({ id }) => id);
}

export const BASELINES = {
  "recency only": searchByRecency,
  "whole phrase": searchByPhrase,
  Jaccard: searchByJaccard,
  "MiniSearch, defaults": searchByDefaults,
};
