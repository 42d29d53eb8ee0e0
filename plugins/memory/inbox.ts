import type { PluginContext } from "agent-runtime";
import type { ExtractedSession } from "./instructions.ts";
import type { Observation } from "./observation.ts";
import { PROJECTS } from "./project.ts";
import type { WorkItem } from "./work-item.ts";

type InboxStore = Awaited<ReturnType<typeof openStore>>;
export type StoreContext = Pick<PluginContext, "openStore" | "lock" | "dataDir">;

/** Where a piece of work stands; without an entry it is pending. Apart from the item, so that a change is a few bytes. */
export type ItemState = Pick<WorkItem, "state" | "attempts" | "reason">;

/** What is known of a session. */
export interface SessionRecord {
  /** Its first prompt, without private text and secrets. */
  first: string;
  /** Prompts so far. */
  prompts: number;
  /** What the system prompt of the session was given of the memory; kept, so that the prefix stays the same. */
  context?: string;
  /** It has read text from outside. */
  tainted: boolean;
  /** Files that came from outside, as far as it knows. */
  brought?: string[];
  agent?: string;
  /** ms since 1970: last use. */
  at: number;
}

/** What an extractor was told and has answered. */
export interface Turn {
  /** Id of the item. */
  item: string;
  ask: string;
  reply: string;
  /** Of the item, for `forget`. */
  tool?: string;
  from?: string;
  /** The observations that came of it. */
  observations: string[];
}

/** The extractor's conversation of a session: its turns are `SESSION#NUMBER`, `from` inclusive to `next` exclusive. */
export interface Conversation {
  /** What it begins with; it never changes, so that the prefix stays. */
  session: ExtractedSession;
  from: number;
  next: number;
  at: number;
}

/** Of extraction, since the store began. Written by whoever has the worker's lock. */
export interface Spent {
  requests: number;
  input: number;
  output: number;
  costUsd: number;
  /** Replies in which there was nothing to keep. */
  empty: number;
}

/** Failures of extraction in a row. */
export interface Health {
  failures: number;
  since: number;
  at: number;
  reason: string;
  /** A person has been told. */
  told: boolean;
}

interface InboxData {
  items: WorkItem;
  states: ItemState;
  observations: Observation;
  /** Ids of observations above that take the place of one in the archive. */
  changed: number;
  sessions: SessionRecord;
  turns: Turn;
  conversations: Conversation;
  /** Id of the newest summary, by session. */
  summaries: { id: string };
  /** Ids of items that were worked on, with the time. */
  done: number;
  /** Calls that were left out: one entry for each time they were noted, so that several processes may count. */
  skips: Record<string, number>;
  skipped: number;
  spent: Spent;
  health: Health;
  uses: { count: number; at: number };
  /** What has been removed and may still stand in files: "inbox", "index", or a segment of the archive. */
  erase: number;
}

const NO_SPENT: Spent = { requests: 0, input: 0, output: 0, costUsd: 0, empty: 0 };

/** Keys of work that was done, sessions and uses that are kept: each costs its bytes at every start. */
const MAX_DONE = 2_000;
const MAX_SESSIONS = 200;
const MAX_USES = 2_000;
/** Characters of all conversations together, the youngest first. */
const MAX_CONVERSATION_CHARACTERS = 2_000_000;

function openStore(context: StoreContext, project: string) {
  return context.openStore<InboxData>(inboxName(project), {
    version: 1,
    defaults: {
      ...{ items: {}, states: {}, observations: {}, changed: {}, sessions: {}, turns: {}, conversations: {}, summaries: {}, done: {} },
      ...{ skips: {}, skipped: {}, spent: {}, health: {}, uses: {}, erase: {} },
    },
  });
}

export const inboxName = (project: string): string => `${PROJECTS}/${project}/inbox`;

/**
 * Everything of a project that is still on its way, in one store, so that one write can take an item out and put in what came
 * of it: the queue, the conversations of extractors, sessions, fresh observations. Small, whatever the archive holds.
 * Several processes append to it. What is removed or replaced is changed by whoever has the lock "change" (see `change.ts`);
 * the states of items and the counters by whoever has the lock "worker".
 */
export class Inbox {
  readonly store: InboxStore;
  #skips: Record<string, number> = {};

  constructor(store: InboxStore) {
    this.store = store;
  }

  /** One small write; false where the same thing is there already or was worked on. */
  append(item: WorkItem): boolean {
    if (this.store.get("items", item.id) !== undefined || this.store.get("done", item.id) !== undefined) return false;
    this.store.put("items", item.id, item);
    this.#putSkips();
    void this.store.write();
    return true;
  }

  /** Counts a call that is not remembered. Written with the next item, or at the end. */
  skip(reason: string): void {
    this.#skips[reason] = (this.#skips[reason] ?? 0) + 1;
  }

  session(id: string): SessionRecord | undefined {
    return this.store.get("sessions", id);
  }

  /** Files that sessions have brought from outside. */
  brought(): string[] {
    return [...new Set(Object.values(this.store.all("sessions")).flatMap(({ brought = [] }) => brought))];
  }

  putSession(id: string, record: SessionRecord): void {
    this.store.put("sessions", id, record);
    void this.store.write();
  }

  /** Somebody has looked at these. */
  noteUse(ids: readonly string[], now: number): void {
    for (const id of ids) this.store.put("uses", id, { count: (this.store.get("uses", id)?.count ?? 0) + 1, at: now });
    void this.store.write();
  }

  /** In the order in which they came. */
  items(): WorkItem[] {
    return Object.values(this.store.all("items")).map((item) => ({ ...item, ...this.store.get("states", item.id) }));
  }

  item(id: string): WorkItem | undefined {
    const item = this.store.get("items", id);
    return item && { ...item, ...this.store.get("states", id) };
  }

  /** Not written yet. */
  setState(id: string, state: ItemState): void {
    this.store.put("states", id, state);
  }

  /** Not written yet. */
  removeItem(id: string): void {
    this.store.remove("items", id);
    this.store.remove("states", id);
  }

  spent(): Spent {
    return this.store.get("spent", "all") ?? NO_SPENT;
  }

  /** Not written yet. */
  spend(more: Partial<Spent>): void {
    const sum = { ...this.spent() };
    for (const [key, value] of Object.entries(more)) sum[key as keyof Spent] += value;
    this.store.put("spent", "all", sum);
  }

  health(): Health | undefined {
    return this.store.get("health", "extraction");
  }

  skipped(): Record<string, number> {
    const sum: Record<string, number> = { ...this.store.all("skipped") };
    for (const counts of [...Object.values(this.store.all("skips")), this.#skips])
      for (const [reason, count] of Object.entries(counts)) sum[reason] = (sum[reason] ?? 0) + count;
    return sum;
  }

  /** Takes out what is no longer needed, for whoever has the lock "change" and the worker's. Not written yet. */
  prune(): void {
    const { store } = this;
    for (const [reason, count] of Object.entries(this.#foldable())) store.put("skipped", reason, (store.get("skipped", reason) ?? 0) + count);
    for (const id of Object.keys(store.all("skips"))) store.remove("skips", id);
    for (const id of oldest(Object.entries(store.all("done")), ([, at]) => at, MAX_DONE)) store.remove("done", id);
    for (const id of oldest(Object.entries(store.all("uses")), ([, { at }]) => at, MAX_USES)) store.remove("uses", id);
    for (const id of oldest(Object.entries(store.all("sessions")), ([, { at }]) => at, MAX_SESSIONS)) {
      store.remove("sessions", id);
      store.remove("summaries", id);
    }
    this.#pruneConversations();
  }

  #foldable(): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const counts of Object.values(this.store.all("skips"))) for (const [reason, count] of Object.entries(counts)) sum[reason] = (sum[reason] ?? 0) + count;
    return sum;
  }

  #pruneConversations(): void {
    const { store } = this;
    let left = MAX_CONVERSATION_CHARACTERS;
    const young = Object.entries(store.all("conversations")).sort(([, a], [, b]) => b.at - a.at);
    for (const [session, conversation] of young) {
      for (const key of turnKeys(session, conversation)) left -= lengthOf(store.get("turns", key));
      if (left >= 0) continue;
      for (const key of turnKeys(session, conversation)) store.remove("turns", key);
      store.remove("conversations", session);
    }
  }

  #putSkips(): void {
    if (Object.keys(this.#skips).length === 0) return;
    this.store.put("skips", `${process.pid}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`, this.#skips);
    this.#skips = {};
  }

  async close(): Promise<void> {
    this.#putSkips();
    await this.store.close();
  }
}

export async function openInbox(context: StoreContext, project: string): Promise<Inbox> {
  return new Inbox(await openStore(context, project));
}

export const turnKeys = (session: string, { from, next }: Conversation): string[] =>
  Array.from({ length: Math.max(0, next - from) }, (_, index) => `${session}#${from + index}`);

const lengthOf = (turn: Turn | undefined): number => (turn === undefined ? 0 : turn.ask.length + turn.reply.length);

/** Keys of all but the youngest. */
function oldest<T>(entries: [string, T][], at: (entry: [string, T]) => number, keep: number): string[] {
  if (entries.length <= keep) return [];
  return entries
    .sort((a, b) => at(b) - at(a))
    .slice(keep)
    .map(([id]) => id);
}
