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
  /** The same for the messages: those of the last request must be the first of this one. */
  seeMessages(stages: Stage<Message[]>[], entries: readonly Entry[]): void;
}

/**
 * Tells with `cache.broken` who changed what a provider has in its cache of this session. What was seen last is kept as
 * hashes in the session, so a resumed one is watched, too. Another model has another cache, and a conversation that was
 * compacted is another conversation: neither is told. The conversation itself only grows and is never read here; only
 * what a `messages` hook makes of it is, each message once.
 */
export function createCacheWatch({ state, emit, model }: { state: SessionState; emit: Emit; model(): string }): CacheWatch {
  const compare = (part: PrefixPart, now: Seen, trail: Trail = now.trail) => {
    const key = `cache.${part}`;
    const before = state.get<Seen>(key);
    const by = before?.model === now.model ? findDisturber(before.trail, trail) : undefined;
    if (by !== undefined) emit({ type: "cache.broken", by, part });
    if (JSON.stringify(before) !== JSON.stringify(now)) state.set(key, now);
  };
  return {
    see: (part, stages) => compare(part, { model: model(), trail: trailOf(stages, (value) => hash(JSON.stringify(value))) }),
    seeMessages(stages, entries) {
      const last = entries.at(-1);
      if (last === undefined) return;
      const before = state.get<Seen>("cache.messages");
      const now = { model: model(), trail: hashMessages(stages, entries.length), sent: { count: entries.length, last: last.id } };
      const sent = before?.sent;
      // Without a common beginning there is nothing to compare: the trail is what it was.
      const isGrown = sent !== undefined && entries[sent.count - 1]?.id === sent.last;
      compare("messages", now, isGrown ? hashMessages(stages, sent.count) : before?.trail);
    },
  };
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
