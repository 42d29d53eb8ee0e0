import { findContradictions, readSaid } from "./contradictions.ts";
import type { ConsolidationReport } from "./memory.ts";
import { type DuplicateOptions, findDuplicates, readDuplicable } from "./near-duplicates.ts";
import type { Observation } from "./observation.ts";

export interface Consolidation {
  report: ConsolidationReport;
  /** Those that are not as they were, to be put in their place. */
  changed: Observation[];
}

/**
 * Brings order into what a project remembers, and deletes nothing: of near-duplicates the better one stays in front and notes
 * where the others came from (`merged`), what later work has replaced points to it (`supersededBy`), and what contradicts each
 * other says so on both sides (`conflictsWith`). All of it are links, so that `takeApart` can undo it. What it has done it
 * does not do again: a second time there is nothing to change.
 */
export function consolidate(observations: readonly Observation[], options: DuplicateOptions = {}): Consolidation {
  const state = new Map(observations.map((one) => [one.id, one]));
  const report: ConsolidationReport = { merged: [], superseded: [], conflicts: [] };
  const live = () => [...state.values()].filter((one) => isLive(one, state));
  const put = (one: Observation, change: Partial<Observation>) => state.set(one.id, { ...state.get(one.id)!, ...change });
  for (const [keeper, others] of findDuplicates(live(), { ...options, isApart })) {
    const taken = others.flatMap((other) => [provenanceOf(other), ...(other.merged ?? [])]);
    put(keeper, { merged: [...(keeper.merged ?? []), ...taken] });
    for (const other of others) put(other, { supersededBy: keeper.id });
    report.merged.push([keeper.id, others.map(({ id }) => id)]);
  }
  const { superseded, conflicts } = findContradictions(live());
  for (const [older, newer] of superseded) {
    put(older, { supersededBy: newer.id });
    report.superseded.push([older.id, newer.id]);
  }
  for (const [older, newer] of conflicts) {
    if (state.get(older.id)?.conflictsWith?.includes(newer.id)) continue;
    for (const [one, other] of [[older, newer] as const, [newer, older] as const]) {
      put(one, { conflictsWith: [...new Set([...(state.get(one.id)?.conflictsWith ?? []), other.id])] });
    }
    report.conflicts.push([older.id, newer.id]);
  }
  for (const one of live()) settle(one, state);
  return { report, changed: observations.flatMap((one) => (state.get(one.id) === one ? [] : [state.get(one.id)!])) };
}

/** ms of work after which others have their turn. */
const TURN_MS = 15;

/** The same, with the reading done in pieces: a prompt that begins meanwhile does not wait for it. */
export async function consolidateInPieces(observations: readonly Observation[], options: DuplicateOptions = {}): Promise<Consolidation> {
  let turnEndsAt = performance.now() + TURN_MS;
  for (const observation of observations) {
    if (observation.type === "summary") continue;
    readDuplicable(observation);
    readSaid(observation);
    if (performance.now() < turnEndsAt) continue;
    await new Promise((resolve) => setImmediate(resolve));
    turnEndsAt = performance.now() + TURN_MS;
  }
  return consolidate(observations, options);
}

/** What it points to is there. */
const isLive = ({ supersededBy }: Observation, state: ReadonlyMap<string, Observation>): boolean => supersededBy === undefined || !state.has(supersededBy);

const provenanceOf = ({ id, title, sessionId, callId, createdAt }: Observation): NonNullable<Observation["merged"]>[number] => ({
  id,
  title,
  sessionId,
  ...(callId !== undefined && { callId }),
  createdAt,
});

/** A conflict ends with one of its sides; a link to what was forgotten leads nowhere. */
function settle(one: Observation, state: Map<string, Observation>): void {
  const { supersededBy, conflictsWith, ...rest } = one;
  const left = conflictsWith?.filter((id) => state.has(id) && isLive(state.get(id)!, state));
  if (supersededBy === undefined && left?.length === conflictsWith?.length) return;
  state.set(one.id, { ...rest, ...(left !== undefined && left.length > 0 && { conflictsWith: left }) });
}

const APART = "keptApart";

/** Somebody has taken them apart. */
function isApart(a: Observation, b: Observation): boolean {
  const listed = (one: Observation, other: Observation) => {
    const ids = one.extra?.[APART];
    return Array.isArray(ids) && ids.includes(other.id);
  };
  return listed(a, b) || listed(b, a);
}

/**
 * Undoes what was merged into an observation: those that it took in stand for themselves again, and stay apart from now on.
 * Returns what has changed.
 */
export function takeApart(keeper: Observation, all: readonly Observation[]): Observation[] {
  const { merged, ...rest } = keeper;
  if (merged === undefined) return [];
  const ids = new Set(merged.map(({ id }) => id));
  const freed = all.filter(({ id, supersededBy }) => ids.has(id) && supersededBy === keeper.id);
  const before = keeper.extra?.[APART];
  const apart = [...new Set([...(Array.isArray(before) ? before : []), ...freed.map(({ id }) => id)])];
  return [{ ...rest, extra: { ...rest.extra, [APART]: apart } }, ...freed.map(({ supersededBy: _, ...one }) => one)];
}
