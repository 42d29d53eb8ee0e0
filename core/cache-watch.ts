import { createHash } from "node:crypto";
import type { Emit } from "./events.ts";
import type { Stage } from "./hooks.ts";
import type { Entry, Message } from "./message.ts";
import type { SessionState } from "./tool.ts";

/** What stands before the newest message of a request, in the order in which a provider's cache reads it. */
export type PrefixPart = "tools" | "system" | "request" | "messages";

/** Who had the value in hand, and the hash of what it left. */
type Trail = [by: string, hash: string][];

/** What the request before had in one part. */
interface Seen {
  model: string;
  trail: Trail;
  /** Of the messages: how many of the conversation were sent, and the id of the last of them. */
  sent?: { count: number; last: string };
}

export interface CacheWatch {
  /** Compares a part with what the last request of the session had there. */
  see(part: Exclude<PrefixPart, "messages">, stages: Stage<unknown>[]): void;
  /** The same for the messages: those of the last request must be the first of this one. No stages where no plugin sees them. */
  seeMessages(stages: Stage<Message[]>[] | undefined, entries: readonly Entry[]): void;
}

/**
 * Tells with `cache.broken` who changed what a provider has in its cache of this session. What was seen last is kept as
 * hashes in the session, so a resumed one is watched, too. Another model has another cache, and a conversation that was
 * compacted, or that its window has shortened, is another conversation: neither is told. The conversation itself only
 * grows and is never read here; only what a `messages` hook makes of it is, each message once.
 */
export function createCacheWatch({ state, emit, model }: { state: SessionState; emit: Emit; model(): string }): CacheWatch {
  const tell = (part: PrefixPart, before: Seen, trail: Trail) => {
    const by = before.model === model() ? findDisturber(before.trail, trail) : undefined;
    if (by !== undefined) emit({ type: "cache.broken", by, part });
  };
  const keep = (part: PrefixPart, before: Seen | undefined, now: Seen | undefined) => {
    if (JSON.stringify(before) !== JSON.stringify(now)) state.set(`cache.${part}`, now);
  };
  return {
    see(part, stages) {
      const before = state.get<Seen>(`cache.${part}`);
      const trail = trailOf(stages, (value) => hash(JSON.stringify(value)));
      if (before !== undefined) tell(part, before, trail);
      keep(part, before, { model: model(), trail });
    },
    seeMessages(stages, entries) {
      const last = entries.at(-1);
      if (last === undefined) return;
      const known = state.get<Seen>("cache.messages");
      const before = known ?? (stages && seenAsItWas(stages, entries));
      const { count, last: lastSent } = before?.sent ?? { count: 0, last: "" };
      if (before !== undefined && entries[count - 1]?.id === lastSent) {
        // Without hooks the conversation goes out as the hooks of the request before were given it.
        const trail = stages === undefined ? before.trail.slice(0, 1) : hashMessages(stages, count);
        if (trail[0]?.[1] === before.trail[0]?.[1]) tell("messages", before, trail);
      }
      keep("messages", known, stages && { model: model(), trail: hashMessages(stages, entries.length), sent: { count: entries.length, last: last.id } });
    },
  };
}

/** What the last request had where no plugin saw it: the conversation up to its answer. */
function seenAsItWas(stages: Stage<Message[]>[], entries: readonly Entry[]): Seen | undefined {
  const count = entries.findLastIndex(({ message }) => message.role === "assistant");
  const [last, answer] = [entries[count - 1], entries[count]];
  if (last === undefined || answer?.model === undefined) return undefined;
  return { model: answer.model, trail: hashMessages(stages.slice(0, 1), count), sent: { count, last: last.id } };
}

/** The first whose result is another than before, though it was given the same. Undefined where all is as it was. */
function findDisturber(before: Trail, now: Trail): string | undefined {
  if (before.at(-1)?.[1] === now.at(-1)?.[1]) return undefined;
  const known = new Map(before);
  let given: string | undefined;
  for (const [by, left] of now) {
    if (left !== (known.get(by) ?? given)) return by;
    given = left;
  }
  // Each did what it did before: one that was there is gone.
  return now[0]?.[0];
}

function trailOf<T>(stages: Stage<T>[], hashOf: (value: T) => string): Trail {
  const hashes = new Map<T, string>();
  return stages.map(({ by, value }) => {
    const known = hashes.get(value) ?? hashOf(value);
    hashes.set(value, known);
    return [by, known];
  });
}

const hashMessages = (stages: Stage<Message[]>[], count: number): Trail =>
  trailOf(stages, (messages) => hash(messages.slice(0, count).map(hashMessage).join()));

const messageHashes = new WeakMap<Message, string>();

function hashMessage(message: Message): string {
  const known = messageHashes.get(message) ?? hash(JSON.stringify(message));
  messageHashes.set(message, known);
  return known;
}

const hash = (text: string): string => createHash("sha256").update(text).digest("base64url").slice(0, 16);
