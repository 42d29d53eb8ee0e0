import { consolidate, consolidateInPieces } from "../plugins/memory/consolidate.ts";
import type { Observation } from "../plugins/memory/observation.ts";
import { makeObservationSet } from "./memory-observations.ts";
import { SEEDS } from "./memory-own.ts";
import { makeMany } from "./memory-scale.ts";

export interface CareFigures {
  observations: number;
  /** Statements of the set that later ones replace, and how many of them were found. */
  replaced: number;
  found: number;
  /** Links that the set knows nothing of. */
  wrong: number;
  merged: number;
  conflicts: number;
}

/** A setting of the set is told three times; of a decision the set says itself what has taken its place. */
function truthOf(observations: Observation[]): Map<string, string> {
  const truth = new Map(observations.flatMap(({ id, supersededBy }) => (supersededBy === undefined ? [] : [[id, supersededBy] as const])));
  const settings = new Map<string, string>();
  for (const { id, title, type } of observations) {
    const [, setting] = / ?(.+) is \d+ /.exec(title) ?? [];
    if (type !== "change" || setting === undefined) continue;
    const before = settings.get(setting);
    if (before !== undefined) truth.set(before, id);
    settings.set(setting, id);
  }
  return truth;
}

/** What consolidation finds in the set of the searches, of which it is told nothing. */
export function measureCare(heldOut: boolean): CareFigures {
  const { observations } = makeObservationSet(heldOut ? SEEDS.heldOut : SEEDS.tuned, { heldOut });
  const truth = truthOf(observations);
  const { report } = consolidate(observations.map(({ supersededBy: _, ...one }) => one));
  const found = report.superseded.filter(([older, newer]) => truth.get(older) === newer).length;
  return {
    observations: observations.length,
    replaced: truth.size,
    found,
    wrong: report.superseded.length - found,
    merged: report.merged.length,
    conflicts: report.conflicts.length,
  };
}

/** ms of one consolidation of so many, the first of the process, and the longest time that others waited meanwhile. */
export async function measureCareTime(count: number): Promise<{ wholeMs: number; longestMs: number }> {
  const { observations } = makeMany(count);
  const startedAt = performance.now();
  let [last, longestMs] = [startedAt, 0];
  const tick = () => {
    longestMs = Math.max(longestMs, performance.now() - last);
    last = performance.now();
  };
  const timer = setInterval(tick, 1);
  await consolidateInPieces(observations);
  tick();
  clearInterval(timer);
  return { wholeMs: performance.now() - startedAt, longestMs };
}
