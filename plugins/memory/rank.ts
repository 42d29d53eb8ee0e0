import type { ScoreParts } from "./memory.ts";
import type { ParsedQuery } from "./query.ts";
import type { Candidate } from "./search-index.ts";

/** Cormack, Clarke, Büttcher: Reciprocal Rank Fusion outperforms Condorcet (SIGIR 2009). */
const FUSION_K = 60;
/** What the newest has over the oldest, and the most important over the least. Where the newest is asked for, more. */
const RECENCY = 0.1;
const RECENCY_LATEST = 0.5;
/** Part of the best score from which on one competes for being the newest. */
const FITS_TOO = 0.5;
const IMPORTANCE = 0.2;
/** The least that the best hit must have of a query. */
const FLOOR = 0.2;
const DAY_MS = 86_400_000;
/** Just behind what has taken its place. */
const BEHIND = 0.999;

export interface Ranked {
  id: string;
  score: number;
  parts: ScoreParts;
}

export interface RankOptions {
  query: ParsedQuery;
  /** ms since 1970 */
  now: number;
  halfLifeDays: number;
  limit?: number;
  /** Of a reranker: from 0 to 1 by id. */
  rerank?: ReadonlyMap<string, number>;
}

/** Best first. Age and importance only tip the scales: a much better match that is old comes first. */
export function rankCandidates(candidates: readonly Candidate[], options: RankOptions): Ranked[] {
  const fitting = dropUnrelated(candidates);
  const bases = baseScores(fitting);
  const newness = rankByTime(fitting, bases);
  const isHybrid = fitting.some(({ vector }) => vector !== undefined);
  const ranked = fitting.map((candidate) => {
    const parts = scoreParts(candidate, options);
    const base = bases.get(candidate)!;
    if (isHybrid) parts.fused = base;
    const age = 1 + RECENCY * parts.recency + (options.query.asks.latest ? RECENCY_LATEST * newness.get(candidate)! : 0);
    const score = (parts.rerank ?? base) * age * (1 + IMPORTANCE * (parts.importance - 0.5));
    return { candidate, id: candidate.id, score, parts };
  });
  putBehind(ranked);
  ranked.sort((a, b) => b.score - a.score || b.candidate.createdAt - a.candidate.createdAt || b.candidate.order - a.candidate.order);
  return ranked.slice(0, options.limit).map(({ id, score, parts }) => ({ id, score, parts }));
}

/** Where not even the best has a fair part of the query, nothing is known of it. What is like it by its vector stays. */
function dropUnrelated(candidates: readonly Candidate[]): readonly Candidate[] {
  const best = candidates.reduce((most, { coverage }) => Math.max(most, coverage), 0);
  return best >= FLOOR ? candidates : candidates.filter(({ vector }) => vector !== undefined);
}

/** 0 to 1: the words alone against the best of them, or both lists fused by their ranks. */
function baseScores(candidates: readonly Candidate[]): Map<Candidate, number> {
  const most = candidates.reduce((most, candidate) => Math.max(most, candidate.words), 0);
  if (candidates.every(({ vector }) => vector === undefined)) return new Map(candidates.map((one) => [one, most === 0 ? 1 : one.words / most]));
  const bases = new Map(candidates.map((candidate) => [candidate, 0]));
  const lists = [candidates.filter(({ words }) => words > 0).sort((a, b) => b.words - a.words), byVector(candidates)];
  for (const list of lists) for (const [i, one] of list.entries()) bases.set(one, bases.get(one)! + (FUSION_K + 1) / (FUSION_K + 1 + i) / lists.length);
  return bases;
}

function byVector(candidates: readonly Candidate[]): Candidate[] {
  return candidates.filter(({ vector }) => vector !== undefined).sort((a, b) => b.vector! - a.vector!);
}

function scoreParts({ id, words, vector, createdAt, importance }: Candidate, { now, halfLifeDays, rerank }: RankOptions): ScoreParts {
  const reranked = rerank?.get(id);
  return {
    words,
    ...(vector !== undefined && { vector }),
    ...(reranked !== undefined && { rerank: reranked }),
    recency: 2 ** (-Math.max(0, now - createdAt) / (halfLifeDays * DAY_MS)),
    importance,
  };
}

interface Scored {
  candidate: Candidate;
  score: number;
}

/**
 * The newest of two that fit takes the better place, and what it has superseded stands right behind it; unless the query names a
 * time, and only the old one is of it.
 */
function putBehind(ranked: Scored[]): void {
  const byId = new Map(ranked.map((one) => [one.candidate.id, one]));
  const nextOf = ({ candidate }: Scored) => byId.get(candidate.supersededBy ?? "");
  // As often as a chain is long at most; a circle ends there too.
  for (let round = 0, moved = true; moved && round < ranked.length; round++) {
    moved = false;
    for (const one of ranked) {
      const next = nextOf(one);
      if (next === undefined || one.score <= next.score * BEHIND || (one.candidate.timely && !next.candidate.timely)) continue;
      if (next.score < one.score) next.score = one.score;
      one.score = next.score * BEHIND;
      moved = true;
    }
  }
}

/** 0 for the oldest to 1 for the newest of those that fit about as well as the best; of one time all are alike. */
function rankByTime(candidates: readonly Candidate[], bases: ReadonlyMap<Candidate, number>): Map<Candidate, number> {
  // Of an import without dates each entry is a millisecond later than the one before.
  const minuteOf = ({ createdAt }: Candidate) => Math.floor(createdAt / 60_000);
  const times = [...new Set(candidates.filter((one) => bases.get(one)! >= FITS_TOO).map(minuteOf))].sort((a, b) => a - b);
  const places = new Map(times.map((time, i) => [time, times.length < 2 ? 0 : i / (times.length - 1)]));
  return new Map(candidates.map((one) => [one, bases.get(one)! >= FITS_TOO ? places.get(minuteOf(one))! : 0]));
}
