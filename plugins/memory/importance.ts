import type { Content, Observation } from "./observation.ts";

/** What is known of how an observation came about. */
export interface Circumstances {
  by: Observation["by"];
  /** The call, or the run, ended with an error. */
  failed?: boolean;
}

const PERSON = 0.9;
const AGENT = 0.75;
/** What nobody has said in person stays behind it. */
const MOST = 0.85;
const MIDDLE = 0.5;

/** By type: what was decided and what went wrong is asked for again more often than what was looked at. Types that are not listed count 0.5. */
const OF_TYPE: Record<string, number> = {
  decision: 0.7,
  security: 0.7,
  bugfix: 0.65,
  gotcha: 0.65,
  preference: 0.65,
  feature: 0.6,
  summary: 0.55,
  refactor: 0.5,
  change: 0.45,
  discovery: 0.45,
};

const OF_CONCEPT: Record<string, number> = { gotcha: 0.12, "trade-off": 0.08, "problem-solution": 0.08, "why-it-exists": 0.06, pattern: 0.04 };
const MOST_OF_CONCEPTS = 0.15;
const CHANGED_FILES = 0.05;
const FAILED = 0.05;
const HEURISTIC = -0.15;

/** 0 to 1. What a person has said counts most, whatever it is about; what was noted without a model least. */
export function importanceOf({ type, concepts, filesModified }: Pick<Content, "type" | "concepts" | "filesModified">, { by, failed }: Circumstances): number {
  if (by === "person") return PERSON;
  const ofConcepts = concepts.reduce((sum, concept) => sum + (OF_CONCEPT[concept] ?? 0), 0);
  const more = Math.min(MOST_OF_CONCEPTS, ofConcepts) + (filesModified.length > 0 ? CHANGED_FILES : 0) + (failed ? FAILED : 0);
  const of = (OF_TYPE[type] ?? MIDDLE) + more + (by === "heuristic" ? HEURISTIC : 0);
  return round(Math.min(MOST, Math.max(0, by === "agent" ? Math.max(AGENT, of) : of)));
}

const round = (value: number): number => Math.round(value * 100) / 100;

/** The way that each repetition takes of what is left to 1. */
const REPETITION = 0.1;

/** The importance with what it has taken in: what comes again and again matters more, and never more than 1. */
export function standingOf({ importance, merged }: Pick<Observation, "importance" | "merged">): number {
  return 1 - (1 - importance) * (1 - REPETITION) ** (merged?.length ?? 0);
}

export interface Age {
  /** ms since 1970 */
  now: number;
  /** Days after which recency counts half, for what is of middling importance and was never used. */
  halfLifeDays: number;
  /** How often it was given to a model. */
  uses?: number;
}

const DAY_MS = 86_400_000;

/**
 * How recent it counts, 1 to 0: halved with each half-life (exponential forgetting). What is important, or was used, fades
 * more slowly: from half the half-life at importance 0 to one and a half at 1, and longer by a half with each doubling of its
 * uses. Nothing is ever deleted for its age; it only stands further behind.
 */
export function recencyOf(observation: Pick<Observation, "createdAt" | "importance" | "merged">, { now, halfLifeDays, uses = 0 }: Age): number {
  const days = Math.max(0, now - observation.createdAt) / DAY_MS;
  const lasting = halfLifeDays * (0.5 + standingOf(observation)) * (1 + Math.log2(1 + uses) / 2);
  return 2 ** (-days / lasting);
}

/** What is old keeps this share of its weight. */
const REST = 0.25;

/** What an observation weighs beside how well it fits: importance × recency, 0 to 1, and never 0 for its age alone. */
export function weightOf(observation: Pick<Observation, "createdAt" | "importance" | "merged">, age: Age): number {
  return standingOf(observation) * (REST + (1 - REST) * recencyOf(observation, age));
}
