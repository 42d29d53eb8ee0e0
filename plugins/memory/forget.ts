import { rmSync } from "node:fs";
import { join } from "node:path";
import { AgentError } from "agent-runtime";
import { isPathOf } from "./filter.ts";
import { type Inbox, type Turn, turnKeys } from "./inbox.ts";
import type { Forgetting, Forgotten } from "./memory.ts";
import { fileFresh, INDEX, type MemoryParts, persist, readAll } from "./memory-parts.ts";
import type { Observation } from "./observation.ts";
import type { WorkItem } from "./work-item.ts";

/** What is to go. Whatever stood in one place may stand, in other words, in what came of it: that goes too. */
interface Plan {
  observations: Set<string>;
  items: Set<string>;
  turns: Set<string>;
  sessions: Set<string>;
  /** Those that stay, without what they say of those that go. */
  mended: Observation[];
}

/**
 * Forgets everywhere: archive, inbox, queue, extractors' conversations, texts of sessions, merged provenance; then the files
 * themselves are rewritten, and the index goes. One that was killed is gone on with by the next worker.
 */
export async function forgetIn(parts: MemoryParts, what: Forgetting, { dryRun }: { dryRun: boolean }): Promise<Forgotten> {
  if (Object.values(what).every((value) => value === undefined || value.length === 0))
    throw new AgentError("OPTION_INVALID", { option: "forget", reason: "say what: ids, a source, a session, or words that it holds." });
  return parts.change(async () => {
    // A changed one is put in the place of the old one first, whose words may be those that are meant.
    if (!dryRun && Object.keys(parts.inbox.store.all("changed")).length > 0) await fileFresh(parts);
    const plan = planFor(parts.inbox, await readAll(parts), what);
    const forgotten = { observations: [...plan.observations], others: plan.items.size + plan.turns.size + plan.sessions.size };
    if (dryRun) return forgotten;
    await carryOut(parts, plan, what.match);
    await eraseLeft(parts);
    return forgotten;
  });
}

/** Rewrites the files that may still hold what was removed. For `change`. Throws MEMORY_NOT_ERASED. */
export async function eraseLeft(parts: MemoryParts): Promise<void> {
  const { store } = parts.inbox;
  const left = Object.keys(store.all("erase"));
  if (left.length === 0) return;
  for (const name of left) {
    if (name === INDEX) rmSync(join(parts.dir, INDEX), { recursive: true, force: true });
    else if (!(await (name === "inbox" ? store.erase() : parts.archive.erase(name)))) throw new AgentError("MEMORY_NOT_ERASED", { path: parts.dir });
  }
  for (const name of left) store.remove("erase", name);
  await store.sync();
}

function planFor(inbox: Inbox, all: Map<string, Observation>, what: Forgetting): Plan {
  const ids = new Set((what.ids ?? []).flatMap((id) => [...all.keys()].filter((known) => known === id || (id.length >= 8 && known.startsWith(id)))));
  const wanted = { ...what, ids: what.ids && [...ids, ...what.ids] };
  const meant = [...all.values()].filter((observation) => isMeant(factsOf(observation), wanted));
  const meantItems = inbox.items().filter((item) => isMeant(factsOfItem(item), wanted));
  const isRepeated = what.source === undefined ? () => false : repeatsFrom([...meant, ...meantItems.map(({ at, ...item }) => ({ ...item, createdAt: at }))]);
  const repeated = [...all.values()].filter(({ source: { kind }, ...rest }) => (kind === "session" || kind === "save") && isRepeated(rest));
  const gone = new Set([...meant, ...repeated].map(({ id }) => id));
  const items = [...meantItems, ...inbox.items().filter(({ kind, at, ...rest }) => kind === "end" && isRepeated({ ...rest, createdAt: at }))];
  const turns = Object.entries(inbox.store.all("turns")).filter(
    ([key, turn]) => turn.observations.some((id) => gone.has(id)) || isMeant(factsOfTurn(key, turn), wanted),
  );
  const known = [inbox.store.all("sessions"), inbox.store.all("conversations")].flatMap((all) => Object.entries(all));
  const sessions = known.filter(([id, texts]) => isMeant({ ids: [], session: id, sources: [], texts }, wanted));
  const mended = [...all.values()].flatMap((observation) => (gone.has(observation.id) ? [] : (mend(observation, gone, wanted) ?? [])));
  return {
    observations: gone,
    items: new Set(items.map(({ id }) => id)),
    turns: new Set(turns.map(([key]) => key)),
    sessions: new Set(sessions.map(([id]) => id)),
    mended,
  };
}

type Told = Pick<Observation, "sessionId" | "trust" | "createdAt">;

/** Whether a session has read one of these strangers' words before it said this: what nobody vouches for in it may repeat them. */
function repeatsFrom(strange: Told[]): (told: Told) => boolean {
  const since = new Map<string, number>();
  for (const { sessionId, trust, createdAt } of strange)
    if (trust === "untrusted") since.set(sessionId, Math.min(createdAt, since.get(sessionId) ?? createdAt));
  return ({ sessionId, trust, createdAt }) => trust === "untrusted" && createdAt >= (since.get(sessionId) ?? Number.POSITIVE_INFINITY);
}

async function carryOut(parts: MemoryParts, plan: Plan, match: string | undefined): Promise<void> {
  const { inbox, archive } = parts;
  const { store } = inbox;
  // Said before anything goes, so that whoever comes after a kill knows which files to rewrite.
  const touch = (name: string) => store.put("erase", name, 1);
  touch("inbox");
  touch(INDEX);
  for (const observation of plan.mended) {
    store.put("observations", observation.id, observation);
    store.put("changed", observation.id, 1);
  }
  for (const id of plan.observations) {
    store.remove("observations", id);
    store.remove("changed", id);
    store.remove("uses", id);
  }
  for (const id of plan.items) inbox.removeItem(id);
  for (const key of plan.turns) store.remove("turns", key);
  for (const id of plan.sessions) forgetSession(inbox, id);
  for await (const { name, observations } of archive.all())
    if ([...plan.observations, ...plan.mended.map(({ id }) => id)].some((id) => observations[id] !== undefined)) touch(name);
  if (match !== undefined) for (const { name } of archive.segments()) if (archive.hasBytes(name, match)) touch(name);
  await persist(parts);
  await archive.remove(plan.observations);
  // What stays is in the archive without what it said of the rest before its files are rewritten.
  if (plan.mended.length > 0) {
    await archive.file(plan.mended.map((observation) => ({ observation, replaces: true })));
    for (const { id } of plan.mended) {
      store.remove("observations", id);
      store.remove("changed", id);
    }
    await persist(parts);
  }
}

function forgetSession({ store }: Inbox, id: string): void {
  const conversation = store.get("conversations", id);
  for (const key of conversation === undefined ? [] : turnKeys(id, conversation)) store.remove("turns", key);
  store.remove("conversations", id);
  store.remove("sessions", id);
  store.remove("summaries", id);
  for (const key of Object.keys(store.all("done"))) if (key.startsWith(`${id}/`)) store.remove("done", key);
}

/** What it says of those that go: that it took them in, contradicts them, or is out of date because of them. Undefined where it says nothing. */
function mend(observation: Observation, gone: ReadonlySet<string>, what: Forgetting): Observation | undefined {
  const { merged, supersededBy, conflictsWith, ...rest } = observation;
  const isGone = (each: NonNullable<Observation["merged"]>[number]) =>
    gone.has(each.id) || isMeant({ ids: [each.id], session: each.sessionId, sources: [], texts: each.title }, what);
  const left = { merged: merged?.filter((each) => !isGone(each)), conflictsWith: conflictsWith?.filter((id) => !gone.has(id)) };
  const isOverthrown = supersededBy !== undefined && !gone.has(supersededBy);
  const isSame =
    left.merged?.length === merged?.length && left.conflictsWith?.length === conflictsWith?.length && isOverthrown === (supersededBy !== undefined);
  if (isSame) return undefined;
  return {
    ...rest,
    ...(isOverthrown && { supersededBy }),
    ...(left.merged && left.merged.length > 0 && { merged: left.merged }),
    ...(left.conflictsWith && left.conflictsWith.length > 0 && { conflictsWith: left.conflictsWith }),
  };
}

/** What is asked of anything that the memory keeps. */
interface Facts {
  ids: string[];
  session: string;
  sources: string[];
  texts: unknown;
}

const factsOf = (observation: Observation): Facts => ({
  ids: [observation.id],
  session: observation.sessionId,
  sources: [
    observation.source.tool ?? "",
    ...(observation.source.from?.split("\n") ?? []),
    ...(observation.source.kind === "call" ? filesOf(observation) : []),
  ],
  // What it has taken in is mended, not a reason to lose the rest.
  texts: { ...observation, merged: undefined },
});

const factsOfItem = (item: WorkItem): Facts => ({
  ids: [item.id],
  session: item.sessionId,
  sources: [item.call?.tool ?? "", ...(item.call?.patterns ?? []), ...(item.call === undefined ? [] : filesOf(item.call))],
  texts: item,
});

const factsOfTurn = (key: string, { item, tool = "", from = "", ask, reply }: Turn): Facts => ({
  ids: [item],
  session: key.slice(0, key.lastIndexOf("#")),
  sources: [tool, ...from.split("\n")],
  texts: [ask, reply],
});

const filesOf = ({ filesRead, filesModified }: { filesRead: string[]; filesModified: string[] }): string[] => [...filesRead, ...filesModified];

/** All of what is named must hold. */
function isMeant({ ids, session, sources, texts }: Facts, what: Forgetting): boolean {
  return (
    (what.ids === undefined || ids.some((id) => what.ids?.includes(id))) &&
    (what.session === undefined || session.startsWith(what.session)) &&
    (what.source === undefined || sources.some((source) => isFrom(source, what.source as string))) &&
    (what.match === undefined || holds(texts, what.match.toLowerCase()))
  );
}

/** A tool, a path or one of its folders, a URL or the beginning of one, also in a command; a command or its first words. */
const isFrom = (source: string, wanted: string): boolean =>
  source === wanted || source.startsWith(`${wanted} `) || (wanted.includes("://") && source.includes(wanted)) || isPathOf(source, wanted);

function holds(value: unknown, words: string): boolean {
  if (typeof value === "string") return value.toLowerCase().includes(words);
  return typeof value === "object" && value !== null && Object.values(value).some((each) => holds(each, words));
}
