import { withProvenance } from "./archive.ts";
import { importanceOf } from "./importance.ts";
import type { MemoryParts } from "./memory-parts.ts";
import { type Content, type Observation, observationId } from "./observation.ts";
import { givesOrders } from "./outside.ts";
import { withSymbols } from "./symbols.ts";
import type { WorkItem } from "./work-item.ts";

export interface Result {
  contents: Content[];
  /** `provider/model`, or "heuristic". */
  by: string;
  /** ms since 1970 */
  now: number;
}

/**
 * Puts what came of a piece of work, and takes that out of the queue. Not written yet: all of it goes with one write. For
 * whoever has the lock "change". Returns what is new.
 */
export async function storeResult(parts: MemoryParts, item: WorkItem, { contents, by, now }: Result): Promise<Observation[]> {
  const { inbox } = parts;
  const { store } = inbox;
  const added: Observation[] = [];
  for (const content of contents) {
    const observation = observationOf(content, item, by);
    const present = store.get("observations", observation.id);
    if (present === undefined) added.push(observation);
    store.put("observations", observation.id, present === undefined ? observation : withProvenance(present, observation));
    if (observation.type === "summary") await supersedeSummary(parts, observation);
  }
  if (contents.length === 0) inbox.spend({ empty: 1 });
  store.put("done", item.id, now);
  inbox.removeItem(item.id);
  return added;
}

/** Time, place and trust are those of the moment when it happened; a model's word proves no change of a file. */
function observationOf(content: Content, item: WorkItem, by: string): Observation {
  const { sessionId, callId, prompt, agent, at, trust, call } = item;
  const { filesRead, filesModified: _, ...rest } = withSymbols(content);
  const filesModified = call?.filesModified ?? [];
  const from = call?.patterns.join("\n") ?? "";
  return {
    id: observationId({ sessionId, title: content.title, narrative: content.narrative }),
    ...rest,
    filesRead: [...new Set([...(call?.filesRead ?? []), ...filesRead])],
    filesModified,
    sessionId,
    ...(callId !== undefined && { callId }),
    prompt,
    ...(agent !== undefined && { agent }),
    createdAt: at,
    source: call === undefined ? { kind: "session" } : { kind: "call", tool: call.tool, ...(from !== "" && { from }) },
    trust: givesOrders(JSON.stringify(content)) ? "untrusted" : trust,
    by,
    importance: importanceOf({ ...rest, filesModified }, { by, failed: call?.status === "error" || item.status === "error" }),
  };
}

/** The summary of a later prompt takes the place of that of an earlier one of its session. */
async function supersedeSummary({ inbox: { store }, archive }: MemoryParts, summary: Observation): Promise<void> {
  const { sessionId, id } = summary;
  const isEarlier = (each: Observation) =>
    each.type === "summary" && each.sessionId === sessionId && each.id !== id && each.supersededBy === undefined && each.prompt <= summary.prompt;
  // What strangers may have written takes no place of what a person can rely on.
  const isFit = (each: Observation) => isEarlier(each) && (summary.trust === "trusted" || each.trust === "untrusted");
  const known = store.get("summaries", sessionId);
  const fresh = Object.values(store.all("observations"));
  const earlier = known === undefined ? undefined : (store.get("observations", known.id) ?? (await archive.find(new Set([known.id]), [sessionId]))[0]);
  for (const each of new Set([...fresh, ...(earlier === undefined ? [] : [earlier])])) {
    if (!isFit(each)) continue;
    store.put("observations", each.id, { ...each, supersededBy: id });
    store.put("changed", each.id, 1);
  }
  store.put("summaries", sessionId, { id });
}
