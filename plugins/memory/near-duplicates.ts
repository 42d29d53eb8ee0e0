import type { Observation } from "./observation.ts";
import { mayBeSameThing, readTokens, type Token } from "./statement.ts";

export interface DuplicateOptions {
  /** Jaccard of the sets of words from which two say the same; 0.85 by default. */
  threshold?: number;
  /** Cosine of the vectors of two, where both are there. */
  cosine?: ((a: string, b: string) => number | undefined) | undefined;
  /** Two that are never merged. */
  isApart?(a: Observation, b: Observation): boolean;
}

/** Jaccard index from which two texts are near-duplicates, as consolidators of memories use it. */
const THRESHOLD = 0.85;
/** Where the vectors agree so far, fewer words have to. */
const COSINE = 0.92;
const THRESHOLD_WITH_COSINE = 0.7;
/** Share of the words that has to stand in the same order. */
const ORDER = 0.6;
/** Where there are fewer, each has its place. */
const FEW = 5;
const LONGEST_ORDER = 300;

interface Read {
  observation: Observation;
  terms: Set<string>;
  /** Numbers, names and what turns a sentence round, in their order. */
  hard: string[];
  order: string[];
  /** It says where from and where to: then every word has its place. */
  isDirected: boolean;
}

/**
 * Finds what says the same in nearly the same words: [the better one, what it takes in]. Two are only taken for one where
 * all numbers, names of code, paths and negations are equal, the other words of one are among those of the other, in the same
 * order, and their files do not differ. Candidates come from the rarest words of each (prefix filtering: Chaudhuri,
 * Ganti & Kaushik 2006), so that not every pair is looked at.
 */
export function findDuplicates(observations: readonly Observation[], options: DuplicateOptions = {}): [Observation, Observation[]][] {
  const taken = new Map<Observation, Observation[]>();
  const least = options.cosine === undefined ? (options.threshold ?? THRESHOLD) : Math.min(options.threshold ?? THRESHOLD, THRESHOLD_WITH_COSINE);
  for (const group of groupByHard(observations.filter(({ type }) => type !== "summary").map(readDuplicable))) {
    const rank = rankOf(group);
    const keepers = new Map<string, Read[]>();
    for (const one of group.sort((a, b) => compareWorth(a.observation, b.observation))) {
      const prefix = prefixOf(one, rank, least);
      const keeper = findKeeper(one, prefix, { keepers, options });
      if (keeper !== undefined) taken.set(keeper, [...(taken.get(keeper) ?? []), one.observation]);
      else for (const term of prefix) keepers.set(term, [...(keepers.get(term) ?? []), one]);
    }
  }
  return [...taken];
}

/** The better one first: importance, then the newer, then the longer one. */
function compareWorth(a: Observation, b: Observation): number {
  return b.importance - a.importance || b.createdAt - a.createdAt || lengthOf(b) - lengthOf(a) || (a.id < b.id ? -1 : 1);
}

const textOf = ({ title, subtitle, facts, narrative }: Observation): string => [title, subtitle, ...facts, narrative].join("\n");
const lengthOf = (observation: Observation): number => textOf(observation).length;

const reads = new WeakMap<Observation, Read>();

/** What is compared of an observation; read once. */
export function readDuplicable(observation: Observation): Read {
  const known = reads.get(observation) ?? read(observation);
  reads.set(observation, known);
  return known;
}

function read(observation: Observation): Read {
  const tokens = readTokens(textOf(observation));
  const ordered = readTokens([observation.title, observation.narrative].join("\n"));
  return {
    observation,
    terms: new Set(termsOf(tokens)),
    hard: unique(tokens.filter(({ hard }) => hard)),
    order: termsOf(ordered).slice(0, LONGEST_ORDER),
    isDirected: /\bfrom\b.*\bto\b|\b(?:into|onto)\b/is.test(`${observation.title}\n${observation.narrative}`),
  };
}

const termsOf = (tokens: Token[]): string[] => tokens.map(({ term }) => term);
const unique = (tokens: Token[]): string[] => [...new Set(termsOf(tokens))];

/** Of different trust, numbers or names: never the same. */
function groupByHard(all: Read[]): Read[][] {
  const groups = new Map<string, Read[]>();
  for (const one of all) {
    const key = JSON.stringify([one.observation.trust, [...one.hard].sort()]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return [...groups.values()];
}

/** How rare each word is in the group. */
function rankOf(group: Read[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { terms } of group) for (const term of terms) counts.set(term, (counts.get(term) ?? 0) + 1);
  return counts;
}

/** Two sets with a Jaccard index of `least` share one of these, of each the rarest. */
function prefixOf({ terms }: Read, rank: Map<string, number>, least: number): string[] {
  const sorted = [...terms].sort((a, b) => rank.get(a)! - rank.get(b)! || (a < b ? -1 : 1));
  return sorted.slice(0, sorted.length - Math.ceil(least * sorted.length) + 1);
}

function findKeeper(one: Read, prefix: string[], { keepers, options }: { keepers: Map<string, Read[]>; options: DuplicateOptions }): Observation | undefined {
  const seen = new Set<Read>();
  for (const term of prefix) {
    for (const keeper of keepers.get(term) ?? []) {
      if (seen.has(keeper)) continue;
      seen.add(keeper);
      if (isSame(keeper, one, options)) return keeper.observation;
    }
  }
  return undefined;
}

function isSame(a: Read, b: Read, { threshold = THRESHOLD, cosine, isApart }: DuplicateOptions): boolean {
  if (isApart?.(a.observation, b.observation)) return false;
  const shared = [...a.terms].filter((term) => b.terms.has(term)).length;
  const union = a.terms.size + b.terms.size - shared;
  if (union === 0) return false;
  const isNear = (cosine?.(a.observation.id, b.observation.id) ?? 0) >= COSINE;
  if (shared / union < (isNear ? Math.min(threshold, THRESHOLD_WITH_COSINE) : threshold)) return false;
  // A word here and another one there is a substitution: tabs are no spaces.
  if (shared < Math.min(a.terms.size, b.terms.size)) return false;
  return mayBeSameThing(a.observation, b.observation) && isSameOrder(a, b);
}

function isSameOrder(a: Read, b: Read): boolean {
  const inBoth = (own: string[], other: string[]) => own.filter((term) => other.includes(term));
  const [left, right] = [inBoth(a.order, b.order), inBoth(b.order, a.order)];
  const hard = (order: string[]) => [...new Set(order.filter((term) => a.hard.includes(term)))].join(" ");
  if (hard(left) !== hard(right)) return false;
  const shorter = Math.min(left.length, right.length);
  return shorter === 0 || commonLength(left, right) / shorter >= (a.isDirected || b.isDirected || shorter < FEW ? 1 : ORDER);
}

/** Length of the longest common subsequence. */
function commonLength(a: string[], b: string[]): number {
  let before = new Array<number>(b.length + 1).fill(0);
  for (const term of a) {
    const row = [0];
    for (let i = 0; i < b.length; i++) row.push(b[i] === term ? before[i]! + 1 : Math.max(before[i + 1]!, row[i]!));
    before = row;
  }
  return before[b.length] ?? 0;
}
