import { type Claim, isReplaced, readClaims, readSubstitution, type Substitution } from "./claims.ts";
import type { Observation } from "./observation.ts";
import { mayBeSameThing, readStatements, termsOf } from "./statement.ts";

/** Pairs, older first. */
export interface Contradictions {
  superseded: [Observation, Observation][];
  conflicts: [Observation, Observation][];
}

interface Made extends Claim {
  observation: Observation;
  isMain: boolean;
}

/** Newest values of one thing that are set against each other; more of them is no contradiction, but a thing that changes. */
const MOST_VALUES = 5;

/**
 * Finds what cannot both hold. Superseded is an older one whose statement a newer one says that it replaces (now, no longer,
 * changed from, instead of, the same key with another value), where that statement is what the older one is about; conflicts
 * are the others. What nobody vouches for supersedes nothing that somebody does, and is set against its like alone.
 * Notes without a model behind them tell what happened, and summaries tell of many things: neither claims anything.
 */
export function findContradictions(observations: readonly Observation[]): Contradictions {
  const claiming = observations.filter(({ type, by }) => type !== "summary" && by !== "heuristic").sort(byTime);
  const found = createFindings();
  const said = claiming.map(readSaid);
  const groups = groupClaims(said);
  for (const group of groups) findReplaced(group, found);
  for (const [older, newer] of findSubstituted(said)) found.supersede(older, newer);
  for (const group of groups) findContrary(group, found);
  return found.pairs;
}

const byTime = (a: Observation, b: Observation): number => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1);

type Findings = ReturnType<typeof createFindings>;

/** Each is superseded once, and conflicts with none that is. */
function createFindings() {
  const pairs: Contradictions = { superseded: [], conflicts: [] };
  const gone = new Set<string>();
  const known = new Set<string>();
  return {
    pairs,
    isGone: ({ id }: Observation) => gone.has(id),
    supersede(older: Observation, newer: Observation) {
      if (gone.has(older.id)) return;
      gone.add(older.id);
      pairs.superseded.push([older, newer]);
    },
    conflict(older: Observation, newer: Observation) {
      const key = [older.id, newer.id].sort().join(" ");
      if (known.has(key)) return;
      known.add(key);
      pairs.conflicts.push([older, newer]);
    },
  };
}

interface Said {
  observation: Observation;
  /** Of those that are main and substitute nothing. */
  main: string[][];
  substitutions: Substitution[];
  claims: Made[];
}

const known = new WeakMap<Observation, Said>();

/** What an observation says and claims; read once. */
export function readSaid(observation: Observation): Said {
  const said = known.get(observation);
  if (said !== undefined) return said;
  const statements = readStatements(observation);
  const claims = statements.flatMap(({ text, isMain }) => readClaims(text).map((claim) => ({ ...claim, observation, isMain })));
  const substitutions = statements.flatMap(({ text }) => readSubstitution(text) ?? []);
  const main = statements.filter(({ text, isMain }) => isMain && readSubstitution(text) === undefined).map(({ text }) => [...new Set(termsOf(text))]);
  const fresh = { observation, main, substitutions, claims };
  known.set(observation, fresh);
  return fresh;
}

function groupClaims(said: Said[]): Made[][] {
  const groups = new Map<string, Made[]>();
  for (const made of said.flatMap(({ claims }) => claims)) {
    const group = groups.get(made.key);
    if (group === undefined) groups.set(made.key, [made]);
    else group.push(made);
  }
  return [...groups.values()].filter((group) => group.some(({ value }) => value !== group[0]!.value));
}

/** The next one that says that it replaces it. */
function findReplaced(group: Made[], found: Findings): void {
  const replacing = group.filter(({ replaces }) => replaces !== undefined);
  for (const older of group) {
    if (found.isGone(older.observation) || !older.isMain) continue;
    const newer = replacing.find((one) => isLater(one, older) && replacesValue(one, older) && maySupersede(one.observation, older.observation));
    if (newer !== undefined) found.supersede(older.observation, newer.observation);
  }
}

const isLater = (newer: Made, older: Made): boolean =>
  newer.observation.createdAt > older.observation.createdAt && newer.observation.id !== older.observation.id;

function replacesValue({ value, replaces, isExclusive }: Made, older: Made): boolean {
  if (isSameValue(value, older.value)) return false;
  if (replaces?.from !== undefined) return isSameValue(replaces.from, older.value);
  return isExclusive || older.isExclusive || replaces !== undefined;
}

/** One that says more of the same is no other value. */
const isSameValue = (a: string, b: string): boolean => a === b || ` ${a} `.includes(` ${b} `) || ` ${b} `.includes(` ${a} `);

const maySupersede = (newer: Observation, older: Observation): boolean =>
  (newer.trust === "trusted" || older.trust === "untrusted") && mayBeSameThing(newer, older);

function findSubstituted(said: Said[]): [Observation, Observation][] {
  const substitutions = said.flatMap(({ observation, substitutions }) => substitutions.map((substitution) => ({ observation, substitution })));
  if (substitutions.length === 0) return [];
  const byTerm = indexMain(said, new Set(substitutions.flatMap(({ substitution }) => substitution.from)));
  return substitutions.flatMap(({ observation: newer, substitution }) =>
    olderOf(substitution, byTerm)
      .filter(({ createdAt, id }) => createdAt < newer.createdAt && id !== newer.id)
      .filter((older) => maySupersede(newer, older))
      .map((older): [Observation, Observation] => [older, newer]),
  );
}

type Indexed = Map<string, { observation: Observation; terms: string[] }[]>;

/** What speaks of what was replaced. */
function indexMain(said: Said[], replaced: ReadonlySet<string>): Indexed {
  const byTerm: Indexed = new Map();
  for (const { observation, main } of said) {
    for (const terms of main) {
      for (const term of terms) {
        if (!replaced.has(term)) continue;
        const list = byTerm.get(term);
        if (list === undefined) byTerm.set(term, [{ observation, terms }]);
        else list.push({ observation, terms });
      }
    }
  }
  return byTerm;
}

function olderOf(substitution: Substitution, byTerm: Indexed): Observation[] {
  const lists = substitution.from.map((term) => byTerm.get(term) ?? []).sort((a, b) => a.length - b.length);
  return (lists[0] ?? []).filter(({ terms }) => isReplaced(terms, substitution)).map(({ observation }) => observation);
}

/** The newest of each value against each other. */
function findContrary(group: Made[], found: Findings): void {
  for (const trust of ["trusted", "untrusted"] as const) {
    const newest = new Map<string, Made>();
    for (const made of group) {
      if (made.observation.trust !== trust || !made.isExclusive || found.isGone(made.observation)) continue;
      newest.delete(made.value);
      newest.set(made.value, made);
    }
    const values = [...newest.values()].slice(-MOST_VALUES);
    for (const [index, newer] of values.entries())
      for (const older of values.slice(0, index)) if (isContrary(older, newer)) found.conflict(older.observation, newer.observation);
  }
}

const isContrary = (older: Made, newer: Made): boolean =>
  older.observation.id !== newer.observation.id && !isSameValue(older.value, newer.value) && mayBeSameThing(older.observation, newer.observation);
